"""Parquet columns of every type: read as plain values, or named."""

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lifecycle.core.errors import ProjectError
from lifecycle.sources.detect import detect_options
from lifecycle.sources.dispatch import read_source


def read(name: str, root: Path, **options: Any) -> pa.Table:
    return read_source(name, root, options)[0]


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        (pa.array(np.array([1, 2.5], "float16")), pa.float32(), [1.0, 2.5]),
        (pa.array([2**63 + 1, None], pa.uint64()), pa.uint64(), [2**63 + 1, None]),
        (
            pa.array([Decimal("12345678901234567890.10"), None]),
            pa.decimal128(22, 2),
            [Decimal("12345678901234567890.10"), None],
        ),
        (pa.array([dt.time(9, 30), dt.time(23, 59, 59)], pa.time32("s")), pa.string(), ["09:30:00", "23:59:59"]),
        (
            pa.array([dt.time(9, 30), dt.time(9, 30, 0, 500)], pa.time64("us")),
            pa.string(),
            ["09:30:00", "09:30:00.000500"],
        ),
        (pa.array([1500, None], pa.duration("ms")), pa.float64(), [1.5, None]),
        (pa.array(["a", None]).dictionary_encode(), pa.dictionary(pa.int32(), pa.string()), ["a", None]),
        (pa.array([b"a", "é".encode()]), pa.string(), ["a", "é"]),
        (pa.array([b"ab", b"cd"], pa.binary(2)), pa.string(), ["ab", "cd"]),
        (pa.array(["a", "b"], pa.large_string()), pa.large_string(), ["a", "b"]),
        (pa.array([dt.date(2026, 1, 2), None]), pa.date32(), [dt.date(2026, 1, 2), None]),
        (pa.nulls(2), pa.null(), [None, None]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_a_column_of_any_type_is_read(tmp_path: Path, column: pa.Array, kind: pa.DataType, values: list[Any]) -> None:
    pq.write_table(pa.table({"c": column, "n": [1, 2]}), tmp_path / "t.parquet")
    table = read("t.parquet", tmp_path)
    assert table.schema.field("c").type == kind
    assert table["c"].to_pylist() == values
    assert read("t.parquet", tmp_path, filter=[["n", ">", 1]])["c"].to_pylist() == values[1:]


def test_bytes_that_are_not_text_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"picture": [b"\x89PNG\xff"], "n": [1]}), tmp_path / "t.parquet")
    with pytest.raises(
        ProjectError, match=r"t\.parquet: column 'picture' holds bytes that are not text: leave it out with .*columns"
    ):
        read("t.parquet", tmp_path)
    assert read("t.parquet", tmp_path, columns=["n"]).to_pydict() == {"n": [1]}


def test_what_is_read_otherwise_is_said(tmp_path: Path) -> None:
    table = pa.table({"clock": pa.array([1, 2], pa.time32("s")), "wait": pa.array([1, 2], pa.duration("s"))})
    pq.write_table(table, tmp_path / "t.parquet")
    assert detect_options("t.parquet", tmp_path, {}).notes == (
        "t.parquet: 'clock' hold times of day and are read as text.",
        "t.parquet: 'wait' hold durations and are read as seconds.",
    )


def test_the_index_of_a_frame_is_no_column_unless_it_has_a_name(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [1, 2, 3]}).iloc[[2, 0, 1]].reset_index().set_index("index")
    frame.rename_axis(None).to_parquet(tmp_path / "t.parquet")
    assert "__index_level_0__" in pq.read_schema(tmp_path / "t.parquet").names
    assert read("t.parquet", tmp_path).to_pydict() == {"n": [3, 1, 2]}
    assert (
        "__index_level_0__ is the index of a pandas frame without a name"
        in detect_options("t.parquet", tmp_path, {}).notes[0]
    )
    assert read("t.parquet", tmp_path, columns=["n", "__index_level_0__"]).column_names == ["n", "__index_level_0__"]
    frame.rename_axis("customer").to_parquet(tmp_path / "t.parquet")
    assert read("t.parquet", tmp_path).to_pydict() == {"n": [3, 1, 2], "customer": [2, 0, 1]}


def test_files_with_numbers_of_several_types_have_the_widest(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, kind in enumerate(("float16", "float64", "int8")):
        pq.write_table(pa.table({"n": np.array([1, 2], kind)}), tmp_path / f"in/{number}.parquet")
    table = read("in", tmp_path)
    assert table.schema.field("n").type == pa.float64() and table["n"].to_pylist() == [1, 2] * 3
    pq.write_table(pa.table({"n": ["x"]}), tmp_path / "in/3.parquet")
    with pytest.raises(ProjectError, match=r"The column 'n' is double in in/1\.parquet and string in in/3\.parquet"):
        read("in", tmp_path)
    pq.write_table(pa.table({"n": [1], "k": [5]}), tmp_path / "in/4.parquet")
    assert read("in", tmp_path, columns=["k"])["k"].to_pylist() == [None] * 7 + [5]


def test_files_that_differ_in_their_columns_are_said(tmp_path: Path) -> None:
    for name, columns in (("a", ["n", "old"]), ("b", ["n", "new"])):
        pq.write_table(pa.table({column: [1, 2] for column in columns}), tmp_path / f"{name}.parquet")
    assert detect_options("*.parquet", tmp_path, {}).notes == (
        "b.parquet has no column 'old', which is missing in its rows.",
        "a.parquet has no column 'new', which is missing in its rows.",
    )


def test_categories_and_zones_of_one_file_go_with_those_of_another(tmp_path: Path) -> None:
    noon = pd.Timestamp("2026-06-01 12:00")
    for number, (zone, kind) in enumerate((("UTC", "category"), ("Europe/Zurich", "str"))):
        frame = pd.DataFrame({"plan": pd.Series(["a"], dtype=kind), "at": [noon.tz_localize(zone)]})
        frame.to_parquet(tmp_path / f"{number}.parquet", index=False)
    table = read("*.parquet", tmp_path)
    assert table["plan"].to_pylist() == ["a", "a"]
    assert [at.isoformat() for at in table["at"].to_pylist()] == [
        "2026-06-01T12:00:00+00:00",
        "2026-06-01T10:00:00+00:00",
    ]


def test_fractions_do_not_alter_the_whole_numbers_of_another_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [2**53 + 1], "k": [1]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"n": [0.5], "k": [2]}), tmp_path / "1.parquet")
    with pytest.raises(ProjectError, match=r"'n' has fractions in one file, and whole numbers beyond .*columns"):
        read("*.parquet", tmp_path)
    assert read("*.parquet", tmp_path, columns=["k"])["k"].to_pylist() == [1, 2]
