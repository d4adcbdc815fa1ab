"""Tables and queries of databases: SQLite here and now, PostgreSQL where it is installed."""

from __future__ import annotations

import json
import re
import sqlite3
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import mssql, mysql, oracle

from lifecycle.core.errors import ProjectError
from lifecycle.core.tables import Reject
from lifecycle.sources.landing import UnavailableError, open_landed, open_landing
from lifecycle.sources.sql import _convert_stored, name_rows, open_query, read_options
from lifecycle.sources.sql_landing import land_rows
from lifecycle.sources.sql_types import find_type
from tests.support.servers import find_port, start_postgresql

SOURCE = "sqlite:///shop.db"


@pytest.fixture
def shop(tmp_path: Path) -> sa.Engine:
    """A SQLite database with a hundred visits."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "create table visits (id integer primary key, at datetime, day date, ok boolean, price numeric(10,2),"
            " free numeric, name text, more json)"
        )
        rows = [
            (
                i,
                f"2026-11-{i // 10 + 1:02d} 10:00:{i % 10:02d}",
                "2026-11-24",
                i % 2,
                i / 100,
                i / 7,
                f"ä{i}",
                '{"a":1}',
            )
            for i in reversed(range(100))
        ]
        connection.exec_driver_sql("insert into visits values (?,?,?,?,?,?,?,?)", rows)
        connection.exec_driver_sql("create view late as select id, at from visits where id >= 90")
        connection.exec_driver_sql("create table 'odd one' (\"a b\" integer, 'class' text)")
        connection.exec_driver_sql("insert into 'odd one' values (2, 'x'), (1, null)")
    return engine


def execute(engine: sa.Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def insert(engine: sa.Engine, *rows: tuple[int, str]) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("insert into visits (id, at) values (?, ?)", list(rows))


def read(source: str, root: Path, **options: Any) -> pa.Table:
    with open_query(source, root, options) as stream:
        return pa.Table.from_batches(list(stream), stream.schema)


def test_a_table_comes_by_its_key_with_the_types_that_it_declares(shop: sa.Engine, tmp_path: Path) -> None:
    table = read(SOURCE, tmp_path, table="visits")
    assert table["id"].to_pylist() == list(range(100))
    assert {field.name: str(field.type) for field in table.schema} == {
        "id": "int64", "at": "timestamp[us]", "day": "date32[day]", "ok": "bool", "price": "decimal128(10, 2)",
        "free": "double", "name": "string", "more": "string",
    }  # fmt: skip
    row = table.slice(13, 1).to_pylist()[0]
    assert str(row["at"]) == "2026-11-02 10:00:03" and str(row["price"]) == "0.13" and row["ok"] is True
    assert row["free"] == 13 / 7 and row["more"] == '{"a":1}'


def test_columns_order_views_and_names_that_need_quotes(shop: sa.Engine, tmp_path: Path) -> None:
    table = read(SOURCE, tmp_path, table="visits", columns=["name", "id"], order_by=["ok", "id"])
    assert table.column_names == ["name", "id"] and table["id"].to_pylist() == [*range(0, 100, 2), *range(1, 100, 2)]
    assert read(SOURCE, tmp_path, table="late")["id"].to_pylist() == list(range(90, 100))
    assert read(SOURCE, tmp_path, table="odd one").to_pylist() == [{"a b": 1, "class": None}, {"a b": 2, "class": "x"}]


def test_a_query_is_run_as_it_is_and_its_values_tell_its_types(shop: sa.Engine, tmp_path: Path) -> None:
    query = "select id, id / 2.0 as half, '12:30 :id' as text, null as none, x'00ff' as raw from visits where id > 97; "
    assert read(SOURCE, tmp_path, query=query).to_pylist() == [
        {"id": 98, "half": 49.0, "text": "12:30 :id", "none": None, "raw": b"\x00\xff"},
        {"id": 99, "half": 49.5, "text": "12:30 :id", "none": None, "raw": b"\x00\xff"},
    ]


def test_digits_of_a_declared_whole_number_are_no_warning(shop: sa.Engine, tmp_path: Path) -> None:
    execute(shop, "create table flags (a tinyint(1))", "insert into flags values (1)")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(SOURCE, tmp_path, table="flags").to_pydict() == {"a": [1]}


def test_reading_never_writes(shop: sa.Engine, tmp_path: Path) -> None:
    for query in ("delete from visits returning id", "insert into visits (id) values (-1) returning id"):
        with pytest.raises(ProjectError):
            read(SOURCE, tmp_path, query=query)
    assert read(SOURCE, tmp_path, table="visits").num_rows == 100


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (SOURCE, {"table": "visit"}, r"There is no table 'visit'; the tables are: late, odd one, visits\."),
        (
            SOURCE,
            {"table": "visits", "columns": ["no"]},
            r"There is no column 'no'; the columns are: id, at, day, .*more\.",
        ),
        (SOURCE, {"table": "visits", "order_by": ["no"]}, r"There is no column 'no'"),
        (SOURCE, {"tabel": "visits"}, r"params\.yaml: collect\.options: tabel: is not a known key"),
        (SOURCE, {}, r"needs the option table or query .*; the tables are: late, odd one, visits\."),
        (SOURCE, {"table": "visits", "query": "select 1"}, r"expected a table or a query"),
        (SOURCE, {"query": "select 1", "columns": ["x"]}, r"a query names its own columns"),
        (SOURCE, {"query": "select nope from visits"}, r"no such column: nope"),
        (SOURCE, {"query": "select id, id from visits"}, r"more than one column named 'id'"),
        ("sqlite:///other.db", {"table": "visits"}, r"sqlite:///other\.db does not exist"),
        ("sqlite://", {"table": "visits"}, r"sqlite:// does not exist"),
        ("sqlite", {"table": "visits"}, r"not a database address"),
        ("postgresql://u:${NO_SUCH_NAME}@h/x", {"table": "t"}, r"no variable NO_SUCH_NAME"),
        ("postgres://u:${NO_SUCH_NAME}@h/x", {"table": "t"}, r"no variable NO_SUCH_NAME"),
        ("mysql://u:secret@127.0.0.1/x", {"table": "t"}, r"mysql://u:\*\*\*@127\.0\.0\.1/x needs the package MySQLdb"),
        (
            "oracle+no://u:secret@127.0.0.1/x",
            {"table": "t"},
            r"oracle\+no://u:\*\*\*@.*does not know this database or driver",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(
    shop: sa.Engine, tmp_path: Path, source: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProjectError, match=message) as caught:
        read(source, tmp_path, **options)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "p@ss/word")
    address = f"postgresql://me:${{SHOP_PASSWORD}}@127.0.0.1:{find_port()}/shop?application_name=x"
    with pytest.raises(UnavailableError, match=r"postgresql\+psycopg://me:\*\*\*@127\.0\.0\.1") as caught:
        read(address, tmp_path, table="visits")
    assert not re.search("p@ss|p%40ss", str(caught.value))


def read_all(source: str, root: Path, **options: Any) -> tuple[pa.Table, list[Reject]]:
    with open_query(source, root, options) as stream:
        return pa.Table.from_batches(list(stream), stream.schema), stream.rejected.rows


def test_a_cell_of_another_type_is_a_row_in_quarantine_with_its_key(shop: sa.Engine, tmp_path: Path) -> None:
    execute(shop, "update visits set at = 'soon' where id = 57")
    table, rejected = read_all(SOURCE, tmp_path, table="visits")
    assert table["id"].to_pylist() == [n for n in range(100) if n != 57]
    (found,) = rejected
    assert found.where == "id = 57" and found.reason == "at is 'soon', expected a date and time (timestamp[us])"
    assert json.loads(found.text)["at"] == "soon" and json.loads(found.text)["name"] == "ä57"
    assert read_all(SOURCE, tmp_path, table="visits", columns=["at", "name"])[1][0].where == "row 58", "without its key"


def test_a_row_without_a_key_is_named_by_its_number_and_one_of_two_columns_by_both(
    shop: sa.Engine, tmp_path: Path
) -> None:
    execute(
        shop,
        "create table plain (n integer, x real)",
        "create table pair (a integer, b text, x real, primary key (b, a))",
        "insert into plain select 200 - id, id from visits",
        "insert into pair select id, 'b', id from visits",
        "update plain set x = 'abc' where n = 150",
        "update pair set x = x'00ff' where a = 7",
    )
    assert [found.where for found in read_all(SOURCE, tmp_path, table="plain", order_by=["n"])[1]] == ["row 50"]
    (found,) = read_all(SOURCE, tmp_path, table="pair")[1]
    assert found.where == "b = 'b', a = 7" and "x is b'\\x00\\xff', expected a number (double)" in found.reason


@pytest.mark.parametrize(
    ("declared", "cells", "kind"),
    [
        ("integer", ["1", "'x'"], "string"),
        ("integer", ["9223372036854775807", "0.5"], "string"),
        ("integer", ["1", "0.5"], "double"),
        ("real", ["1.5", "'n/a'"], "string"),
        ("boolean", ["1", "0", "2"], "int64"),
        ("boolean", ["1", "'true'"], "string"),
        ("date", ["'2026-11-24'", "'24.11.2026'", "'20261124'"], "string"),
        ("date", ["'2026-11-24'", "'2026-11-24 10:00:00'"], "string"),
        ("datetime", ["1764547200", "1764547201"], "int64"),
        ("time", ["'10:00'", "'10:00:00.5'"], "time64[us]"),
        ("time", ["'10:00'", "'soon'"], "string"),
        ("numeric(10,2)", ["1.25", "3"], "decimal128(10, 2)"),
        ("numeric(10,2)", ["1.25", "0.125"], "double"),
        ("numeric(3,2)", ["1.25", "12345"], "double"),
        ("numeric(10,2)", ["1.25", "'1.250,00'"], "string"),
        ("numeric", ["1", "2"], "int64"),
        ("numeric", ["0.5", "9007199254740993"], "string"),
        ("", ["1", "-9223372036854775808"], "int64"),
        ("", ["1", "'x'", "x'ff'"], "string"),
        ("blob", ["x'ff'", "'x'"], "string"),
        ("integer", ["null"], "int64"),
        ("", ["null"], "string"),
    ],
)
def test_a_mixed_column_of_sqlite_is_what_its_cells_are(
    shop: sa.Engine, tmp_path: Path, declared: str, cells: list[str], kind: str
) -> None:
    execute(shop, f"create table mixed (id integer primary key, x {declared})")
    execute(shop, f"insert into mixed (x) values {', '.join(f'({cell})' for cell in cells)}")  # noqa: S608
    table, rejected = read_all(SOURCE, tmp_path, table="mixed")
    assert table.num_rows == len(cells) and not rejected
    assert str(table.schema.field("x").type) == kind
    if kind == "string" and cells != ["null"]:
        with shop.connect() as connection:
            stored = connection.exec_driver_sql("select x from mixed order by id").scalars().all()
        assert table["x"].to_pylist() == [value.hex() if type(value) is bytes else str(value) for value in stored]


CELLS = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(0, 1), st.floats(allow_nan=False), st.text(max_size=5),
    st.binary(max_size=3), st.dates().map(str), st.datetimes().map(str), st.times().map(str),
    st.decimals(-1000, 1000, places=2).map(float),
)  # fmt: skip
DECLARED = ["integer", "real", "boolean", "date", "datetime", "time", "numeric(7,2)", "numeric", "text", "blob", ""]


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(DECLARED), st.lists(CELLS, max_size=8), st.integers(0, 600))
def test_whatever_cells_sqlite_stores_none_is_altered_and_none_is_lost(
    declared: str, cells: list[Any], plain: int
) -> None:
    usual = {"date": "2026-11-24", "datetime": "2026-11-24 10:00:00", "time": "10:00:00", "text": "x", "blob": b"x"}
    with tempfile.TemporaryDirectory() as folder:
        with closing(sqlite3.connect(f"{folder}/shop.db")) as connection:
            connection.execute(f"create table t (id integer primary key, x {declared})")
            rows = [(value,) for value in [*cells, *[usual.get(declared, 1)] * plain]]
            connection.executemany("insert into t (x) values (?)", rows)
            connection.commit()
            stored = dict(connection.execute("select id, x from t").fetchall())
        table, rejected = read_all(SOURCE, Path(folder), table="t")
    found = {row["id"]: row["x"] for row in table.to_pylist()}
    kind = table.schema.field("x").type
    assert found.keys() | {int(line.where.removeprefix("id = ")) for line in rejected} == stored.keys()
    assert len(found) + len(rejected) == len(stored) and len(rejected) <= 0.01 * len(stored)
    for number, value in found.items():
        before = stored[number]
        if pa.types.is_string(kind):
            before = before.hex() if type(before) is bytes else None if before is None else str(before)
        elif pa.types.is_temporal(kind) and before is not None:
            value, before = str(value), str(type(value).fromisoformat(before))  # noqa: PLW2901
        assert value == before or float(value) == before


NOON = datetime(2026, 11, 24, 12)  # noqa: DTZ001 a database's times have no zone


@pytest.mark.parametrize(
    ("declared", "values", "kind", "stored"),
    [
        (mysql.BIGINT(unsigned=True), [2**64 - 1, 5], pa.uint64(), [2**64 - 1, 5]),
        (mysql.DECIMAL(20, 0), [Decimal(10**20 - 1)], pa.decimal128(20, 0), [Decimal(10**20 - 1)]),
        (mysql.DECIMAL(65, 30), [Decimal("1E+30"), Decimal("1E-8")], pa.string(), [f"1{'0' * 30}", "0.00000001"]),
        (mysql.DOUBLE(asdecimal=True), [Decimal("0.1"), None], pa.float64(), [0.1, None]),
        (
            mysql.TIME(),
            [timedelta(hours=10, microseconds=5), timedelta(-1)],
            pa.time64("us"),
            [time(10, 0, 0, 5), None],
        ),
        (mysql.DATETIME(), [NOON, "0000-00-00 00:00:00"], pa.timestamp("us"), [NOON, None]),
        (mysql.YEAR(), [2026, None], pa.string(), ["2026", None]),
        (mysql.BIT(3), [b"\x05"], pa.string(), ["05"]),
        (mssql.MONEY(), [Decimal("1234.5000")], pa.string(), ["1234.5000"]),
        (mssql.BIT(), [True, 0, 2], pa.bool_(), [True, False, None]),
        (mssql.UNIQUEIDENTIFIER(), [uuid.UUID(int=5)], pa.string(), [str(uuid.UUID(int=5))]),
        (oracle.NUMBER(), [Decimal("12345678901234567890.5"), 5], pa.string(), ["12345678901234567890.5", "5"]),
        (oracle.NUMBER(38, 0), [10**37, 5, 0.5], pa.decimal128(38, 0), [10**37, 5, None]),
        (
            sa.Numeric(10, 2),
            [0.25, 0.125, "0.5", "x"],
            pa.decimal128(10, 2),
            [Decimal("0.25"), None, Decimal("0.5"), None],
        ),
        (sa.Interval(), [timedelta(days=1, seconds=0.5)], pa.float64(), [86_400.5]),
    ],
)
def test_other_databases_types_hold_their_values(
    declared: sa.types.TypeEngine[Any], values: list[Any], kind: pa.DataType, stored: list[Any]
) -> None:
    assert find_type(declared, pa.string()) == kind
    array, wrong = _convert_stored(values, kind)
    assert array.to_pylist() == stored
    assert wrong == [place for place, value in enumerate(values) if value is not None and stored[place] is None]


def test_text_that_is_not_utf_8_is_one_row(shop: sa.Engine, tmp_path: Path) -> None:
    execute(shop, "update visits set name = cast(x'ff41' as text) where id = 3")
    table, (found,) = read_all(SOURCE, tmp_path, table="visits")
    assert table.num_rows == 99 and found.where == "id = 3" and found.reason.startswith("name is '\\udcffA'")


def test_a_json_column_is_its_text(shop: sa.Engine, tmp_path: Path) -> None:
    more = '{"id": 123456789012345678901234567890, "price": 1.10, "list": [null]}'
    with shop.begin() as connection:
        connection.exec_driver_sql("update visits set more = ? where id = 1", (more,))
    assert read(SOURCE, tmp_path, table="visits")["more"].to_pylist()[1] == more


def land(root: Path, source: str = SOURCE, **options: Any) -> tuple[int, int]:
    """Rows landed and rejected by a run."""
    chosen = read_options({"table": "visits", "watermark": "at", "time": "at", "batch": 30, **options})
    with open_landing(root / "landed", name_rows(chosen)) as landing:
        commits = list(land_rows(source, root, chosen, landing))
    return sum(commit.rows for commit in commits), sum(commit.rejected for commit in commits)


def list_ids(root: Path) -> list[int]:
    with open_landed(root / "landed") as stream:
        ids: list[int] = pa.Table.from_batches(list(stream), stream.schema)["id"].to_pylist()
    return sorted(ids)


def test_new_rows_land_once_and_the_same_run_twice_changes_nothing(shop: sa.Engine, tmp_path: Path) -> None:
    assert land(tmp_path) == (100, 0)
    before = {path: path.read_bytes() for path in (tmp_path / "landed").rglob("*") if path.is_file()}
    assert land(tmp_path) == (0, 0)
    assert {path: path.read_bytes() for path in (tmp_path / "landed").rglob("*") if path.is_file()} == before
    assert len(list((tmp_path / "landed").glob("date=2026-11-*"))) == 10
    execute(shop, "insert into visits (id, at) values (100, '2026-11-11 00:00:00'), (101, '2026-12-01 00:00:00')")
    assert land(tmp_path) == (2, 0)
    assert list_ids(tmp_path) == list(range(102))


@pytest.mark.parametrize("form", ["2026-11-10 10:00:09", "2026-11-10 10:00:09.000000", "2026-11-10T10:00:09"])
def test_a_row_that_shares_the_last_watermark_is_not_lost_and_none_comes_twice(
    shop: sa.Engine, tmp_path: Path, form: str
) -> None:
    land(tmp_path)
    insert(shop, (100, form))
    assert land(tmp_path) == (1, 0)
    assert land(tmp_path) == (0, 0)
    assert list_ids(tmp_path) == list(range(101))


def test_rows_that_were_committed_late_are_found_within_the_overlap(shop: sa.Engine, tmp_path: Path) -> None:
    land(tmp_path, overlap=3)
    late = ("2026-11-10 10:00:07", "2026-11-10 10:00:06", "2026-11-10 10:00:05", "2026-11-09 10:00:00")
    insert(shop, *enumerate(late, 100))
    assert land(tmp_path, overlap=3) == (2, 0)
    assert land(tmp_path, overlap=3) == (0, 0)
    assert list_ids(tmp_path) == [*range(100), 100, 101]


def test_rows_alike_without_a_key_count_as_often_as_the_source_has_them(shop: sa.Engine, tmp_path: Path) -> None:
    execute(shop, "create table plain (id integer, at integer)", "insert into plain values (1, 5), (1, 5), (2, 5)")
    assert land(tmp_path, table="plain", time=None, batch=2) == (3, 0)
    execute(shop, "insert into plain values (1, 5), (3, 4)")
    assert land(tmp_path, table="plain", time=None) == (1, 0)
    assert land(tmp_path, table="plain", time=None, overlap=1) == (1, 0)
    assert list_ids(tmp_path) == [1, 1, 1, 2, 3]


def test_a_changed_row_is_landed_again_beside_what_it_was(shop: sa.Engine, tmp_path: Path) -> None:
    land(tmp_path)
    execute(shop, "update visits set name = 'new', at = '2026-11-30 00:00:00' where id = 3")
    assert land(tmp_path) == (1, 0)
    assert list_ids(tmp_path).count(3) == 2


def test_a_row_that_does_not_fit_goes_to_quarantine_once(shop: sa.Engine, tmp_path: Path) -> None:
    execute(shop, "update visits set ok = 7 where id = 99")
    assert land(tmp_path) == (99, 1)
    assert land(tmp_path) == (0, 0)
    execute(shop, "insert into visits (id, at) values (100, 'soon')")
    assert land(tmp_path) == (0, 1)
    execute(shop, "insert into visits (id, at, ok) values (101, '2026-12-24', 'perhaps'), (102, '2026-12-24', true)")
    assert land(tmp_path) == (1, 1), "the landed type stays, however many cells do not fit it"
    assert land(tmp_path) == (0, 0)


def test_a_mixed_column_lands_as_text_and_stays_so(shop: sa.Engine, tmp_path: Path) -> None:
    execute(shop, "update visits set day = '24.11.2026', price = 0.125 where id < 50")
    assert land(tmp_path) == (100, 0)
    execute(shop, "insert into visits (id, at, day, price) values (100, '2026-12-24', '2026-12-24', 9.99)")
    assert land(tmp_path) == (1, 0)
    with open_landed(tmp_path / "landed") as stream:
        rows = {row["id"]: row for row in pa.Table.from_batches(list(stream), stream.schema).to_pylist()}
    assert rows[0]["day"] == "24.11.2026" and rows[99]["day"] == "2026-11-24" and rows[100]["day"] == "2026-12-24"
    assert rows[0]["price"] == 0.125 and rows[100]["price"] == 9.99


def test_fractions_widen_landed_whole_numbers_only_where_none_is_altered(shop: sa.Engine, tmp_path: Path) -> None:
    execute(shop, "create table plain (id integer primary key, n numeric, big numeric)")
    execute(shop, "insert into plain values (1, 1, 9007199254740993), (2, 2, 2)")
    assert land(tmp_path, table="plain", watermark="id", time=None) == (2, 0)
    execute(shop, "insert into plain values (3, 0.5, 3), (4, 4, 0.5), (5, 5, 5)")
    assert land(tmp_path, table="plain", watermark="id", time=None) == (2, 1)
    with open_landed(tmp_path / "landed") as stream:
        table = pa.Table.from_batches(list(stream), stream.schema)
    assert table["n"].to_pylist() == [1, 2, 0.5, 5] and table["big"].to_pylist() == [2**53 + 1, 2, 3, 5]


def test_a_table_of_nothing_but_misfits_is_no_error(shop: sa.Engine, tmp_path: Path) -> None:
    execute(shop, "delete from visits")
    insert(shop, (1, "soon"))
    assert land(tmp_path) == (0, 1)
    execute(shop, "delete from visits")
    insert(shop, (2, "2026-11-24 10:00:00"))
    assert land(tmp_path) == (1, 0)


def test_columns_that_come_and_go_do_not_stop_it(shop: sa.Engine, tmp_path: Path) -> None:
    land(tmp_path)
    execute(shop, "alter table visits add column extra real", "alter table visits drop column name")
    execute(shop, "insert into visits (id, at, extra) values (100, '2026-11-11 00:00:00', 1.5)")
    assert land(tmp_path) == (1, 0)
    assert land(tmp_path) == (0, 0)


def test_rows_without_a_watermark_are_told(shop: sa.Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    execute(shop, "update visits set at = null where id < 5")
    assert land(tmp_path) == (95, 0)
    assert "5 rows of the table visits have no at" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"watermark": "no"}, "There is no column 'no'"),
        ({"watermark": "ok"}, "column 'ok' is bool: expected a number, a date or a time"),
        ({"watermark": "name", "overlap": 1}, "column 'name' is string: expected a number"),
        ({"columns": ["id"]}, "Column 'at' must be in the result"),
        ({"overlap": -1}, "collect.options: overlap: Input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_watermark_is_one_sentence(
    shop: sa.Engine, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProjectError, match=re.escape(message)):
        land(tmp_path, **options)


def test_texts_of_several_forms_are_no_watermark(shop: sa.Engine, tmp_path: Path) -> None:
    execute(shop, "update visits set at = '2026-11-01T09:00:00' where id = 0")
    with pytest.raises(ProjectError, match="Column 'at' is out of order"):
        land(tmp_path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Start PostgreSQL with the first test that names its initdb."""
    with ExitStack() as stack:
        urls: list[str] = []

        def start(initdb: str) -> str:
            if not urls:
                urls.append(stack.enter_context(start_postgresql(tmp_path_factory.mktemp("postgresql"), initdb)))
            return urls[0]

        yield start


@pytest.fixture
def postgresql(
    server: Callable[[str], str], require_program: Callable[[str, str], str]
) -> Iterator[tuple[str, sa.Engine]]:
    """PostgreSQL with a schema `shop` that is made anew for each test."""
    url = server(require_program("initdb", "postgresql"))
    engine = sa.create_engine(url)
    execute(
        engine,
        "create schema shop",
        "create table shop.visits (id bigint primary key, at timestamptz, here timestamp, day date, ok boolean,"
        " price numeric(10,2), free numeric, name text, more jsonb, code uuid, list int[], spent interval, raw bytea)",
        "insert into shop.visits select i, timestamptz '2026-11-24 10:00+02' + i * interval '1 hour', '2026-11-24 10:00',"
        " '2026-11-24', true, i / 100.0, i / 8.0, 'ä' || i, '{\"b\": 1, \"a\": [1]}',"
        " '7652d2b5-4d9d-446a-b1f1-fb6a8dee3150', array[1, i], interval '90 seconds', '\\x00ff'"
        " from generate_series(1, 100) i",
    )
    yield url, engine
    execute(engine, "drop schema shop cascade")
    engine.dispose()


@pytest.mark.integration
def test_postgresql_gives_the_same_types_for_a_table_and_for_a_query(
    postgresql: tuple[str, sa.Engine], tmp_path: Path
) -> None:
    url, _ = postgresql
    table = read(url, tmp_path, table="visits", schema="shop")
    assert [str(kind) for kind in table.schema.types] == [
        "int64", "timestamp[us, tz=UTC]", "timestamp[us]", "date32[day]", "bool", "decimal128(10, 2)", "string", "string",
        "string", "string", "string", "double", "binary",
    ]  # fmt: skip
    assert {name: str(value) for name, value in table.slice(6, 1).to_pylist()[0].items()} == {
        "id": "7", "at": "2026-11-24 15:00:00+00:00", "here": "2026-11-24 10:00:00", "day": "2026-11-24", "ok": "True",
        "price": "0.07", "free": "0.87500000000000000000", "name": "ä7", "more": '{"a": [1], "b": 1}', "list": "[1,7]", "spent": "90.0",
        "code": "7652d2b5-4d9d-446a-b1f1-fb6a8dee3150", "raw": repr(b"\x00\xff"),
    }  # fmt: skip
    assert read(url, tmp_path, query="select * from shop.visits order by id -- all of it") == table


ODD = {  # a type of PostgreSQL: an ordinary value, a strange one, and the column's type, and what the values are there
    "numeric(20,0)": ("12345678901234567890", "99999999999999999999", "decimal128(20, 0)"),
    "numeric": ("12345678901234567890.123456789012345678901", "NaN", "string"),
    "numeric(50,2)": ("1234567890123456789012345678901234567890.12", "NaN", "string"),
    "numeric(3,-2)": ("12300", "-100", "string"),
    "bit(3)": ("101", "000", "string"),
    "bit varying": ("1", "", "string"),
    "uuid": ("7652d2b5-4d9d-446a-b1f1-fb6a8dee3150", "00000000-0000-0000-0000-000000000000", "string"),
    "inet": ("10.0.0.1/8", "::1", "string"),
    "macaddr": ("08:00:2b:01:02:03", "00:00:00:00:00:00", "string"),
    "odd.mood": ("sad", "so so", "string"),
    "odd.code": ("0007", "0000", "string"),
    "int8range": ("[1,10)", "empty", "string"),
    "daterange": ("[2026-01-01,infinity)", "(,)", "string"),
    "timetz": ("10:00:00+02", "24:00:00-15:59", "string"),
    "time": ("10:00:00.5", "23:59:59.999999", "time64[us]"),
    "xml": ("<a>1</a>", "<b/>", "string"),
    "point": ("(1,2)", "(NaN,Infinity)", "string"),
    "tsvector": ("'a' 'b'", "", "string"),
    "jsonb": ('{"id": 123456789012345678901234567890}', "[1.10, null]", "string"),
    "json": ('{"a":  1e400}', '{"a": 1, "a": 2}', "string"),
    "float8": ("0.1", "-Infinity", "double"),
    "float4": ("0.1", "NaN", "double"),
    "oid": ("4294967295", "0", "string"),
}  # fmt: skip


PARSERS: dict[str, Callable[[str], Any]] = {
    "double": float,
    "time64[us]": time.fromisoformat,
    "decimal128(20, 0)": Decimal,
}


@pytest.fixture
def odd(postgresql: tuple[str, sa.Engine]) -> Iterator[tuple[str, sa.Engine]]:
    """A schema `odd` for tables of odd types."""
    url, engine = postgresql
    execute(
        engine, "create schema odd", "create type odd.mood as enum ('sad', 'so so')", "create domain odd.code as text"
    )
    yield url, engine
    execute(engine, "drop schema odd cascade")


@pytest.mark.integration
def test_postgresql_alters_no_value_of_any_type(odd: tuple[str, sa.Engine], tmp_path: Path) -> None:
    url, engine = odd
    columns = ", ".join(f"c{place} {kind}" for place, kind in enumerate(ODD))
    execute(
        engine, f"create table odd.t (id int primary key, {columns}, cash money, tags text[], days date[], x float8[])"
    )
    marks = ", ".join(["%s"] * (len(ODD) + 5))
    with engine.begin() as connection:
        for row in range(2):
            given = [values[row] for values in ODD.values()]
            more = ["-1234.5", ["a", None, "null"], ["2026-01-01", "infinity"], [0.5, float("nan")]]
            connection.exec_driver_sql(f"insert into odd.t values ({marks})", (row, *given, *more))  # noqa: S608
    table, rejected = read_all(url, tmp_path, table="t", schema="odd")
    again, also = read_all(url, tmp_path, query="select * from odd.t order by id")
    assert not rejected and not also
    for place, (kind, (*values, found)) in enumerate(ODD.items()):
        column = table[f"c{place}"]
        assert str(column.type) == found and again[f"c{place}"].type == column.type, kind
        parse = PARSERS.get(found, str)
        assert repr(column.to_pylist()) == repr([parse(value) for value in values]), kind
    assert table["cash"].to_pylist() == ["-1234.50"] * 2 and again["cash"].to_pylist() == ["-$1,234.50"] * 2
    assert table["tags"].to_pylist()[0] == again["tags"].to_pylist()[0] == '["a",null,"null"]'
    assert table["days"].to_pylist()[0] == '["2026-01-01","infinity"]' and table["x"].to_pylist()[0] == "[0.5,NaN]"


MISFITS = {
    "date": ["infinity", "-infinity", "0044-03-15 BC", "12026-01-01"],
    "timestamp": ["infinity", "-infinity", "0044-03-15 10:00:00 BC"],
    "timestamptz": ["infinity", "-infinity"],
    "numeric(10,2)": ["NaN"],
    "interval": ["1 year 2 mons", "-1 mons +1 day"],
    "time": ["24:00:00"],
}
USUAL = {"date": "2026-11-24", "timestamp": "2026-11-24 10:00", "timestamptz": "2026-11-24 10:00+00",
         "numeric(10,2)": "1.25", "interval": "-1 days -10:00:00.5", "time": "10:00"}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("kind", MISFITS)
def test_postgresql_has_values_that_arrow_lacks_in_quarantine_or_in_a_column_of_text(
    odd: tuple[str, sa.Engine], tmp_path: Path, kind: str
) -> None:
    url, engine = odd
    values = MISFITS[kind]
    execute(engine, f"create table odd.t (id int primary key, x {kind})")
    execute(engine, f"insert into odd.t select n, '{USUAL[kind]}' from generate_series(1, 1000) n")  # noqa: S608
    with engine.begin() as connection:
        for place, value in enumerate(values, 1):
            connection.exec_driver_sql(f"update odd.t set x = '{value}' where id = {place}")  # noqa: S608
    table, rejected = read_all(url, tmp_path, table="t", schema="odd")
    assert table["id"].to_pylist() == list(range(len(values) + 1, 1001)) and table["x"].null_count == 0
    assert [line.where for line in rejected] == [f"id = {place}" for place in range(1, len(values) + 1)]
    assert all(f"x is '{value}', expected" in line.reason for value, line in zip(values, rejected, strict=True))
    if kind == "interval":
        assert set(table["x"].to_pylist()) == {-86_400 - 36_000.5}
    execute(engine, f"update odd.t set x = '{values[0]}' where id <= 20")  # noqa: S608
    table, rejected = read_all(url, tmp_path, table="t", schema="odd")
    assert table.schema.field("x").type == pa.string() and not rejected
    assert table["x"].to_pylist()[0] == values[0] and table["id"].to_pylist() == list(range(1, 1001))


@pytest.mark.integration
def test_postgresql_lands_by_a_number_without_declared_digits(odd: tuple[str, sa.Engine], tmp_path: Path) -> None:
    url, engine = odd
    options = {"table": "t", "schema": "odd", "watermark": "n", "time": None}
    execute(engine, "create table odd.t (n numeric, free numeric, at date)")
    execute(
        engine, "insert into odd.t values (9007199254740993, 0.1, '2026-01-01'), (9007199254740992, 'NaN', 'infinity')"
    )
    assert land(tmp_path, url, **options) == (2, 0)
    execute(engine, "insert into odd.t values (9007199254740993.5, 0.10, '2026-01-02'), (9007199254740992, 1, null)")
    assert land(tmp_path, url, **options) == (1, 0)
    assert land(tmp_path, url, **options) == (0, 0)
    with open_landed(tmp_path / "landed") as stream:
        rows = pa.Table.from_batches(list(stream), stream.schema).to_pylist()
    assert [(str(row["n"])[14:], row["free"], row["at"]) for row in rows] == [
        ("92.0000000000", "NaN", "infinity"),
        ("93.0000000000", "0.1", "2026-01-01"),
        ("93.5000000000", "0.10", "2026-01-02"),
    ]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": "visits"}, "There is no table 'visits'; the tables are: none"),
        ({"table": "visit", "schema": "shop"}, "There is no table 'visit' in schema 'shop'; the tables are: visits"),
        ({"query": "select nextval('shop.numbers')"}, "cannot execute nextval.. in a read-only transaction"),
    ],
)
def test_postgresql_refuses_in_a_sentence(
    postgresql: tuple[str, sa.Engine], tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    execute(postgresql[1], "create sequence shop.numbers")
    with pytest.raises(ProjectError, match=message):
        read(postgresql[0], tmp_path, **options)


@pytest.mark.integration
def test_postgresql_lands_rows_of_a_table_and_of_a_query_once(
    postgresql: tuple[str, sa.Engine], tmp_path: Path
) -> None:
    url, engine = postgresql
    (tmp_path / "query").mkdir()
    query = {"table": None, "query": "select id, at, price from shop.visits where id > 0", "key": ["id"]}
    assert land(tmp_path, url, schema="shop") == land(tmp_path / "query", url, **query) == (100, 0)
    execute(
        engine,
        "insert into shop.visits (id, at) select 101, max(at) from shop.visits",
        "insert into shop.visits (id, at) select 102, max(at) - interval '1 second' from shop.visits",
        "insert into shop.visits (id, at) values (103, '2026-12-24 00:00+00')",
    )
    assert land(tmp_path, url, schema="shop") == (2, 0)
    assert land(tmp_path / "query", url, **query, overlap=60) == (3, 0)
    assert land(tmp_path, url, schema="shop") == land(tmp_path / "query", url, **query) == (0, 0)
    assert list_ids(tmp_path / "query") == list(range(1, 104))


@pytest.mark.integration
def test_a_connection_that_breaks_is_a_sentence_and_what_is_landed_stays(
    postgresql: tuple[str, sa.Engine], tmp_path: Path
) -> None:
    url, engine = postgresql
    chosen = read_options({"table": "visits", "schema": "shop", "watermark": "at", "batch": 10})
    with open_landing(tmp_path / "landed", name_rows(chosen)) as landing:
        commits = land_rows(url, tmp_path, chosen, landing)
        next(commits)
        execute(
            engine,
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'",
        )
        with pytest.raises(UnavailableError, match="does not answer"):
            list(commits)
    assert land(tmp_path, url, schema="shop", time=None) == (90, 0)
    assert list_ids(tmp_path) == list(range(1, 101))
