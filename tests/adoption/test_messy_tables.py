"""Small tables as people have them: each is read right, or the terminal says what is not certain."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from lifecycle.cli.main import main
from lifecycle.core import paths
from lifecycle.core.contract import load_contract
from lifecycle.core.params import load_params
from lifecycle.stages.collect import collect_table
from lifecycle.validation.conversion import convert_columns, read_raw
from tests.support.messy_docs import DOCS, describe_outcome, describe_tables, read_block
from tests.support.messy_tables import TABLES, write_messy


@pytest.fixture(scope="module")
def described() -> dict[str, list[str]]:
    """The lines of the documentation for the tables that were adopted so far."""
    return {}


def plain(value: object) -> object:
    """A value for a comparison: numbers as numbers, missing as None."""
    if value is None or pd.isna(value):  # type: ignore[call-overload]
        return None
    return value.item() if hasattr(value, "item") else value


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read_right_or_told(
    name: str, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], described: dict[str, list[str]]
) -> None:
    table = TABLES[name]
    path = write_messy(table, tmp_path)
    target = ("--target", "y")
    status = main(["adopt", str(path), *target, *table.words])
    output = capsys.readouterr()
    described[name] = describe_outcome(table, project, status)
    if table.outcome == "refused":
        assert status == 1 and "nothing to learn from" in output.err and table.column in output.err
        return
    assert status == 0, output.err
    assert main(["adopt", str(path), "--check"]) == 0
    differs = [line for line in capsys.readouterr().out.splitlines() if "nothing would change" not in line]
    assert all("cannot be read" in line or "expected a value" in line for line in differs), differs
    contract, collect = load_contract(project / paths.CONTRACT), load_params(project / paths.PARAMS).collect
    column = (
        next(other for other in (f"{table.column}_2", table.column) if other in contract.columns)
        if name == "twice"
        else table.column
    )
    general = ("train.cost", "explain.intended_use", "--positive names the other")
    lines = [
        line.partition("; ")[2] if general[2] in line else line for line in output.out.splitlines() if "check:" in line
    ]
    about = [line for line in lines if line and not any(word in line for word in general)]
    assert bool(about) == (table.outcome == "with a check"), output.out
    assert not table.role or contract.columns[table.column if name != "twice" else "x"].role == table.role, output.out
    raw, rejected = project / "raw.parquet", project / "rejected.parquet"
    collect_table(collect.source, project, collect.options, contract, raw, rejected)
    assert pq.read_metadata(rejected).num_rows == table.rejected
    if table.truth is None:
        return
    typed, broken = convert_columns(pd.concat(read_raw(raw, contract)), contract.columns)
    read = [plain(value) for value in typed[column if name != "twice" else "x"].astype(object)]
    assert column not in broken
    expected = [plain(value) for value in table.truth]
    if contract.columns[table.column].dtype == "string":
        expected = [None if value is None else str(value) for value in expected]
    if contract.columns[table.column].dtype == "float64":
        assert read == pytest.approx(expected)
    else:
        assert read == expected


def test_the_documentation_shows_every_table(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], described: dict[str, list[str]]
) -> None:
    """`python -m tests.support.messy_docs` writes the table anew."""
    made = describe_tables(project, tmp_path, described)
    capsys.readouterr()
    assert read_block((Path(__file__).parents[2] / DOCS).read_text(encoding="utf-8")) == made
