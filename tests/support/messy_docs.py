"""The table of messy tables in the documentation: `python -m tests.support.messy_docs` writes it anew."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lifecycle.cli.main import main
from lifecycle.core import paths
from lifecycle.core.contract import load_contract
from tests.support.messy_tables import TABLES, Messy, write_messy

DOCS = "docs/explanation/adopting.md"
_BLOCK = re.compile(r"(<!-- messy tables: .*? -->\n)(.*)(<!-- end of messy tables -->)", re.DOTALL)
_SHOWN = 70  # characters of a cell


def read_block(text: str) -> str:
    """Return the table in the page."""
    found = _BLOCK.search(text)
    assert found is not None
    return found[2]


def describe_tables(project: Path, folder: Path, known: Mapping[str, list[str]]) -> str:
    """Return what becomes of each table as a table in Markdown; those that are not known are adopted in a project."""
    lines = ["| a table with | in the file | taken as | outcome |", "| --- | --- | --- | --- |"]
    for name, table in TABLES.items():
        cells = known.get(name)
        if cells is None:
            path = write_messy(table, folder)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                status = main(["adopt", str(path), "--target", "y", "--force", *table.words])
            cells = describe_outcome(table, project, status)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def describe_outcome(table: Messy, project: Path, status: int) -> list[str]:
    """Describe a table that was adopted in the cells of a line."""
    sample = _show_sample(table)
    if status:
        return [table.kind, sample, "", "refused with a reason"]
    column = load_contract(project / paths.CONTRACT).columns[table.column]
    rules = [f"`{column.format}`"] if column.format else []
    rules += [f"{', '.join(f'`{word}`' for word in column.null_values)} missing"] if column.null_values else []
    taken = ", ".join([f"{column.role.value}, {column.dtype}", *rules])
    return [table.kind, sample, taken.replace("|", "\\|"), table.outcome]


def _show_sample(table: Messy) -> str:
    """Show a line of a text file; binary files are named."""
    if table.file.endswith((".parquet", ".xlsx")):
        return f"`{table.file.rpartition('.')[2]}`"
    text = table.content.decode(
        "utf-16"
        if table.content[:2] in (b"\xff\xfe", b"\xfe\xff")
        else "latin-1"
        if b"\xf6" in table.content
        else "utf-8-sig"
    )
    line = text.splitlines()[2 if table.file.endswith(".csv") else 1][:_SHOWN].replace("|", "\\|").replace("\t", "→")
    return f"`{line}`"


def write_docs() -> None:
    """Write the table into the page."""
    root = Path(__file__).parents[2]
    with tempfile.TemporaryDirectory() as name:
        project = Path(name, "project")
        (project / "data").mkdir(parents=True)
        (project / "models").mkdir()
        for file in (paths.PARAMS, paths.CONTRACT, "dvc.yaml", paths.LOCK):
            shutil.copyfile(root / file, project / file)
        os.environ["LIFECYCLE_ROOT"] = str(project)
        made = describe_tables(project, Path(name), {})
    page = root / DOCS
    page.write_text(
        _BLOCK.sub(lambda found: found[1] + made + found[3], page.read_text(encoding="utf-8")), encoding="utf-8"
    )


if __name__ == "__main__":
    write_docs()
