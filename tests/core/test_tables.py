"""Tables in parts: the same bytes however they were cut, and a line now and then that tells how far a pass is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lifecycle.core import progress, tables
from lifecycle.core.progress import show_progress
from lifecycle.core.tables import count_rows, open_table, read_batches, size_part, write_batches


@pytest.fixture
def table() -> pa.Table:
    """Numbers, words and notes, more than fit into a page of Parquet."""
    rng = np.random.default_rng(0)
    rows = 60_000
    notes = np.char.add("note ", rng.integers(0, rows, rows).astype(str))
    words = rng.choice(["a", "b", "c"], rows)
    columns = {"number": pa.array(rng.normal(size=rows), mask=rng.random(rows) < 0.1), "note": notes, "word": words}
    return pa.table({name: pa.array(values) for name, values in columns.items()})


@pytest.mark.parametrize("rows", [999, 7_777, 20_000, 59_999])
def test_bytes_do_not_depend_on_the_parts(
    rows: int, table: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "GROUP", 25_000)
    whole = write_batches([table], table.schema, tmp_path / "whole.parquet")
    parts = (table.slice(start, rows) for start in range(0, len(table), rows))
    assert write_batches(parts, table.schema, tmp_path / "parts.parquet") == whole
    assert pq.read_table(tmp_path / "parts.parquet").equals(table)
    assert count_rows(tmp_path / "parts.parquet") == 60_000
    assert pq.read_metadata(tmp_path / "parts.parquet").num_row_groups == 3


def test_what_cannot_be_written_leaves_the_former_table(table: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    before = write_batches([table], table.schema, path)
    wrong = table.set_column(0, "number", table["note"])
    with pytest.raises(ValueError, match="schema"), open_table(path, table.schema) as writer:
        writer.write(wrong)
    assert write_batches([pq.read_table(path)], table.schema, path) == before
    assert [file.name for file in tmp_path.iterdir()] == ["table.parquet"]


def test_reading_in_parts_keeps_one_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "GROUP", 20_000)
    numbers = pa.table({"number": np.random.default_rng(0).normal(size=2_000_000)})  # 16 MB that do not compress
    write_batches([numbers], numbers.schema, tmp_path / "long.parquet")
    del numbers
    before, peak = pa.total_allocated_bytes(), 0
    for _ in read_batches(tmp_path / "long.parquet", rows=20_000):
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert peak < 4_000_000


def test_wide_tables_go_by_in_fewer_rows() -> None:
    assert size_part(20) == tables.GROUP
    assert size_part(500) * 500 <= 2 * tables._CELLS < tables.GROUP * 500


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS", -1.0)
    assert list(show_progress([[1, 2], [3]], "survey", 3)) == [[1, 2], [3]]
    told = capsys.readouterr()
    assert told.err.splitlines() == ["survey: 2 of 3 rows", "survey: 3 of 3 rows"]
    assert not told.out
