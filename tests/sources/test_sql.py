"""Tables and queries of databases: SQLite here and now, PostgreSQL where it is installed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from lifecycle.core.errors import ProjectError
from lifecycle.sources.landing import UnavailableError, open_landed, open_landing
from lifecycle.sources.sql import name_rows, open_query, read_options
from lifecycle.sources.sql_landing import land_rows
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
        (SOURCE, {}, r"expected a table or a query"),
        (SOURCE, {"table": "visits", "query": "select 1"}, r"expected a table or a query"),
        (SOURCE, {"query": "select 1", "columns": ["x"]}, r"a query names its own columns"),
        (SOURCE, {"query": "select nope from visits"}, r"no such column: nope"),
        (SOURCE, {"query": "select id, id from visits"}, r"more than one column named 'id'"),
        ("sqlite:///other.db", {"table": "visits"}, r"sqlite:///other\.db does not exist"),
        ("sqlite://", {"table": "visits"}, r"sqlite:// does not exist"),
        ("sqlite", {"table": "visits"}, r"not a database address"),
        ("postgresql://u:${NO_SUCH_NAME}@h/x", {"table": "t"}, r"no variable NO_SUCH_NAME"),
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


def test_a_value_of_another_type_is_named(shop: sa.Engine, tmp_path: Path) -> None:
    execute(shop, "update visits set at = 'soon' where id = 57")
    with pytest.raises(ProjectError, match=r"Row 58 of collect\.source: at is 'soon', expected timestamp\[us\]"):
        read(SOURCE, tmp_path, table="visits")


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
    execute(shop, "update visits set ok = 7 where id in (50, 99)")
    assert land(tmp_path) == (98, 2)
    assert land(tmp_path) == (0, 0)
    execute(shop, "insert into visits (id, at) values (100, 'soon')")
    assert land(tmp_path) == (0, 1)
    assert land(tmp_path) == (0, 0)


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
        "int64", "timestamp[us, tz=UTC]", "timestamp[us]", "date32[day]", "bool", "decimal128(10, 2)", "double", "string",
        "string", "string", "string", "double", "binary",
    ]  # fmt: skip
    assert {name: str(value) for name, value in table.slice(6, 1).to_pylist()[0].items()} == {
        "id": "7", "at": "2026-11-24 15:00:00+00:00", "here": "2026-11-24 10:00:00", "day": "2026-11-24", "ok": "True",
        "price": "0.07", "free": "0.875", "name": "ä7", "more": '{"a":[1],"b":1}', "list": "[1,7]", "spent": "90.0",
        "code": "7652d2b5-4d9d-446a-b1f1-fb6a8dee3150", "raw": repr(b"\x00\xff"),
    }  # fmt: skip
    assert read(url, tmp_path, query="select * from shop.visits order by id -- all of it") == table


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
