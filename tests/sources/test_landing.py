"""The landing zone: what is landed counts once and whole, in the partition of its date; what is not landed is never seen."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.core.errors import ProjectError
from lifecycle.sources.landing import Landing, Rejected, find_dates, open_landed, open_landing
from lifecycle.sources.typing import convert_values, infer_type


def read(folder: Path) -> pa.Table:
    with open_landed(folder) as stream:
        return pa.Table.from_batches(list(stream), stream.schema)


def land(landing: Landing, first: int, columns: dict[str, Sequence[Any]], time: str | None = None) -> None:
    table = pa.table(columns)
    dates = None if time is None else find_dates(table[time].combine_chunks())[0]
    end = first + table.num_rows
    landing.land("visits-0", first, end - 1, table, {"next": end}, dates=dates)


def test_late_rows_land_in_the_partition_of_their_own_date_and_rows_keep_their_order(tmp_path: Path) -> None:
    with open_landing(tmp_path, "visits") as landing:
        land(landing, 0, {"id": [1, 2, 3], "at": ["2026-11-25T00:10:00+01:00", "2026-11-25", None]}, "at")
        land(landing, 3, {"id": [4, 5], "at": ["2026-11-24T23:59:59.999Z", "2026-11-25T12:00:00"]}, "at")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "_commits", "date=2026-11-24", "date=2026-11-25", "date=__HIVE_DEFAULT_PARTITION__",
    ]  # fmt: skip
    assert read(tmp_path)["id"].to_pylist() == [1, 4, 2, 5, 3]


def test_a_new_column_is_null_in_older_files_and_integers_widen_to_floats(tmp_path: Path) -> None:
    with open_landing(tmp_path, "visits") as landing:
        land(landing, 0, {"id": [1], "size": [7], "gone": [True]})
        land(landing, 1, {"id": [2], "size": [0.5], "new": ["x"]})
        with pytest.raises(ProjectError, match=r"Column 'size' is string now, but was landed as double: move"):
            land(landing, 2, {"id": [3], "size": ["large"]})
    assert read(tmp_path).to_pylist() == [
        {"id": 1, "size": 7.0, "gone": True, "new": None},
        {"id": 2, "size": 0.5, "gone": None, "new": "x"},
    ]


@pytest.mark.parametrize(("most", "kind"), [(2**53, pa.float64()), (-(2**53), pa.float64()), (2**53 + 1, pa.int64())])
def test_whole_numbers_become_floats_only_where_all_landed_ones_are_exact(
    tmp_path: Path, most: int, kind: pa.DataType
) -> None:
    with open_landing(tmp_path, "visits") as landing:
        land(landing, 0, {"id": [None, None]})
        land(landing, 2, {"other": ["x"]})
        land(landing, 3, {"id": [1, most]})
        land(landing, 5, {"id": pa.nulls(2, pa.int64())})
        assert landing.widen("id", pa.float64()) == kind
        assert landing.widen("id", pa.string()) == pa.int64() and landing.widen("new", pa.string()) == pa.string()
        if kind == pa.int64():
            with pytest.raises(ProjectError, match=r"'id' has landed values that are not exact as double"):
                read_as(landing, kind=pa.float64())


def read_as(landing: Landing, kind: pa.DataType) -> None:
    """Widen the column `id` to a type in spite of `widen`, and read it back."""
    land(landing, 7, {"id": pa.array([1], kind)})
    read(landing.folder)


def test_the_next_writer_removes_leftovers_and_readers_never_see_them(tmp_path: Path) -> None:
    with open_landing(tmp_path, "visits") as landing:
        land(landing, 0, {"id": [1], "at": ["2026-11-24"]}, "at")
    before = read(tmp_path)
    leftovers = [
        "date=2026-11-24/visits-0-1-1.parquet", "date=2026-11-30/visits-0-1-1.parquet", "x.parquet",
        "_commits/.0000000002.json.aside", "_quarantine/visits-0-1-1.jsonl", "date=2026-11-24/.x.parquet.aside",
    ]  # fmt: skip
    for name in leftovers:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "README.md").write_text("somebody's")
    assert read(tmp_path) == before
    with open_landing(tmp_path, "visits") as landing:
        assert landing.position == {"next": 1}
    assert not [name for name in leftovers if (tmp_path / name).exists()]
    assert not (tmp_path / "date=2026-11-30").exists() and (tmp_path / "README.md").exists()
    assert read(tmp_path) == before


def test_there_is_one_writer_and_one_source(tmp_path: Path) -> None:
    with open_landing(tmp_path, "visits") as landing:
        land(landing, 0, {"id": [1]})
        with (
            pytest.raises(ProjectError, match="Another `lifecycle ingest` is landing rows"),
            open_landing(tmp_path, "visits"),
        ):
            pass
    with pytest.raises(ProjectError, match="holds the rows of visits, not of orders"), open_landing(tmp_path, "orders"):
        pass


def test_nothing_landed_is_a_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(ProjectError, match="holds no rows: run `lifecycle ingest` first"),
        open_landed(tmp_path / "landed"),
    ):
        pass


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "is missing, though a commit record lists it"),
        (
            lambda path: path.write_bytes(path.read_bytes().replace(b"alpha", b"ALPHA")),
            "was altered after it was landed",
        ),
    ],
)
def test_a_file_that_is_gone_or_was_altered_is_named(tmp_path: Path, damage: Any, message: str) -> None:
    with open_landing(tmp_path, "visits") as landing:
        land(landing, 0, {"name": ["alpha"]})
        land(landing, 1, {"name": ["beta"]})
    (path,) = tmp_path.glob("visits-0-*0.parquet")
    damage(path)
    with pytest.raises(ProjectError, match=rf"{path.name} {message}"):
        read(tmp_path)


def test_rejected_records_are_kept_with_their_bytes(tmp_path: Path) -> None:
    rejected = [Rejected({"offset": 1}, b"\xff\x00", "not JSON"), Rejected({"offset": 2}, None, "a tombstone")]
    with open_landing(tmp_path, "visits") as landing:
        commit = landing.land("visits-0", 0, 1, pa.table({}), {"next": 2}, rejected=rejected)
    assert (commit.rows, commit.rejected) == (0, 2)
    lines = [json.loads(line) for line in next(tmp_path.glob("_quarantine/*.jsonl")).read_text().splitlines()]
    assert lines[0] == {"offset": 1, "value": base64.b64encode(b"\xff\x00").decode(), "reason": "not JSON"}
    assert lines[1]["value"] is None


def test_compacting_joins_files_and_changes_no_row_and_no_order(tmp_path: Path) -> None:
    days = ["2026-11-24", "2026-11-25"]
    with open_landing(tmp_path, "visits") as landing:
        for first in range(0, 20, 2):
            land(landing, first, {"id": [first, first + 1], "at": days}, "at")
        land(landing, 20, {"id": [0.5], "at": days[:1]}, "at")
        before, position = read(tmp_path), landing.position
        assert landing.compact() == 19
        assert landing.compact() == 0
        land(landing, 21, {"id": [22], "at": days[:1]}, "at")
    assert len(list(tmp_path.glob("date=*/*.parquet"))) == 3
    with open_landing(tmp_path, "visits") as landing:
        assert landing.position == {"next": 22} and position == {"next": 21}
    assert read(tmp_path)["id"].to_pylist() == [*before["id"].to_pylist()[:11], 22.0, *before["id"].to_pylist()[11:]]


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.tuples(st.one_of(st.none(), st.dates(date(1970, 1, 1))), st.integers(-5, 5)), min_size=1, max_size=40),
    st.integers(1, 7),
)
def test_whatever_the_dates_and_batches_every_row_is_there_once(rows: list[tuple[date | None, int]], size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with open_landing(Path(folder), "visits") as landing:
            for first in range(0, len(rows), size):
                part = rows[first : first + size]
                land(
                    landing,
                    first,
                    {"at": pa.array([at for at, _ in part], pa.date32()), "n": [n for _, n in part]},
                    "at",
                )
        found = read(Path(folder))
        order = sorted(range(len(rows)), key=lambda place: (str(rows[place][0] or "~"), place // size))
        assert found["n"].to_pylist() == [rows[place][1] for place in order]
        for path in Path(folder).glob("date=2*"):
            assert {f"date={at}" for at in pa.parquet.read_table(path, partitioning=None)["at"].to_pylist()} == {
                path.name
            }


@pytest.mark.parametrize(
    ("values", "days", "wrong"),
    [
        ([1_700_000_000, 1_700_000_000_000, 1_700_000_000_000_000], ["2023-11-14"] * 3, []),
        ([1_700_000_000_000_000_000, None], ["2023-11-14", None], []),
        ([1.7e9, float("nan"), -1.0], ["2023-11-14", None, "1969-12-31"], [1]),
        (["2023-11-14T23:30:00-01:00", "soon", None, "20231114T120000"], ["2023-11-15", None, None, "2023-11-14"], [1]),
        ([True, None], [None, None], [0]),
    ],
)
def test_event_times_are_told_by_their_form(values: list[Any], days: list[str | None], wrong: list[int]) -> None:
    dates, found = find_dates(pa.array(values))
    assert [None if day is None else str(day) for day in dates.to_pylist()] == days
    assert found == wrong


@pytest.mark.parametrize(
    ("text", "kind"), [("1E-38", pa.decimal128(38, 38)), ("4.19E-40", pa.string()), ("NaN", pa.string())]
)
def test_decimals_that_arrow_lacks_are_their_digits(text: str, kind: pa.DataType) -> None:
    assert infer_type([Decimal(text)]) == kind
    array, wrong = convert_values([Decimal(text)], kind)
    assert not wrong and str(Decimal(array.to_pylist()[0])) == text


@pytest.mark.parametrize(
    ("values", "kind", "wrong"),
    [
        ([1, 5.0, -(2**63), 2**63 - 1], pa.int64(), []),
        ([1, 2.5, 2**53], pa.float64(), []),
        ([1, 2.5, 2**53 + 1, 2**54 + 2], pa.int64(), [1]),
        ([0.5, 1.5, 2**53 + 1, 3], pa.float64(), [2]),
        ([1, 1e300], pa.float64(), []),
        ([2**64, 1, -(2**64)], pa.decimal128(38, 0), []),
        ([*range(200), 2**63], pa.int64(), [200]),
        ([1, 2, "x", True], pa.int64(), [2, 3]),
        ([2**63, 5.0, 5.5], pa.int64(), [0, 2]),
        ([2**63, 2**63 + 1, 5.0, 5.5], pa.decimal128(38, 0), [3]),
        ([1.0, 2.0], pa.float64(), []),
    ],
)
def test_numbers_of_several_kinds_are_exact_or_named(values: list[Any], kind: pa.DataType, wrong: list[int]) -> None:
    assert infer_type(values) == kind
    array, found = convert_values(values, kind)
    assert found == wrong
    assert [value for place, value in enumerate(values) if place not in wrong] == array.drop_null().to_pylist()


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(codec="utf-8")), st.dates(), st.decimals(),
    st.binary(), st.datetimes(),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(VALUES, max_size=20))
def test_values_that_fit_come_through_and_the_others_are_named(values: list[Any]) -> None:
    kind = infer_type(values)
    array, wrong = convert_values(values, kind)
    assert len(array) == len(values) and array.type == kind
    for place, (value, found) in enumerate(zip(values, array.to_pylist(), strict=True)):
        if place in wrong:
            assert found is None and value is not None
        else:
            assert (
                found == value
                or str(value).lower().endswith("nan")
                or (isinstance(value, Decimal) and Decimal(found) in {value, Decimal(float(value))})
            )
