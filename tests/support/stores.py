"""Small feature stores: rows of the columns that the bundles of tests.support.bundles read, and two derived features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lifecycle.core import paths
from lifecycle.core.files import replace_file
from lifecycle.features.store import pack, write_rows

Record = dict[str, Any]
DTYPES = {"months": "int64", "spend": "float64", "plan": "string", "senior": "int64"}
ROWS: dict[Any, tuple[Any, ...]] = {
    1: (12, 40.5, "basic", 0), 2: (0, None, "pro", 1), 3: (50, 10.0, None, 0), **{n: (n, 1.5 * n, "plus", 0) for n in range(4, 40)},
}  # fmt: skip
PACE = "spend / (1 + months)"


def declare(name: str, expression: str | None = None, *columns: str, kind: str = "numeric") -> Record:
    """A feature's record."""
    return {
        "name": name, "kind": kind, "source": "derived" if expression else "column", "expression": expression,
        "columns": list(columns or [name]), "values": None,
    }  # fmt: skip


def declare_all(pace: str = PACE) -> list[Record]:
    """The features of DTYPES, and two that are derived."""
    return [
        *(declare(name) for name in DTYPES),
        declare("pace", pace, "spend", "months"),
        declare("late", 'plan == "pro"', "plan"),
    ]


def write_small_rows(
    root: Path, rows: Mapping[Any, tuple[Any, ...]] = ROWS, *, dtype: str = "int64", pace: str = PACE, name: str = "id"
) -> Path:
    """Write the online rows of a project, as `lifecycle materialize` does; their file."""
    path = root / paths.ONLINE_ROWS
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = {"entity": {"name": name, "dtype": dtype}, "columns": DTYPES, "features": declare_all(pace)}
    with replace_file(path) as aside:
        write_rows(aside, [[(entity, 0, pack(row)) for entity, row in rows.items()]], meta)
    return path
