"""Object stores and Delta tables: a real S3 server, of which no more is read than is asked for."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import s3fs
from deltalake import write_deltalake

from lifecycle.core.errors import ProjectError
from lifecycle.sources.dispatch import open_source, read_source
from tests.support.servers import S3, start_s3

ROWS = 20_000
LAKE = "s3://lake/visits"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A server with a partitioned table of four days, each of two row groups, and text files."""
    rng = np.random.default_rng(0)
    with start_s3(tmp_path_factory.mktemp("s3")) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        store = s3fs.S3FileSystem(skip_instance_cache=True)
        store.mkdir("lake")
        for day in range(4):
            frame = pd.DataFrame(
                {"n": np.arange(ROWS) + day * ROWS, "noise": rng.random(ROWS), "more": rng.random(ROWS)}
            )
            with store.open(f"lake/visits/date=2026-01-0{day + 1}/part.parquet", "wb") as file:
                frame.to_parquet(file, index=False, row_group_size=ROWS // 2)
        for number in range(2):
            store.pipe(f"lake/text/{number}.csv", f"a,b\n{number},x\n".encode())
            store.pipe(f"lake/lines/{number}.jsonl", f'{{"a": {number}, "b": "x"}}\n'.encode())
        yield running


@pytest.fixture(autouse=True)
def environment(server: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a shell would hold: the server's address and key."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Bytes that were asked for, by object."""
    counts: dict[str, int] = {}
    fetch = s3fs.core.S3File._fetch_range

    def count(file: Any, start: int, end: int) -> Any:
        counts[file.path] = counts.get(file.path, 0) + end - start
        return fetch(file, start, end)

    monkeypatch.setattr(s3fs.core.S3File, "_fetch_range", count)
    return counts


def read(source: str, root: Path = Path(), **options: Any) -> pa.Table:
    return read_source(source, root, options)[0]


def test_a_partitioned_table_is_read_in_order(fetched: dict[str, int]) -> None:
    table = read(LAKE)
    assert table.column_names == ["n", "noise", "more", "date"]
    assert table["n"].to_pylist() == list(range(4 * ROWS))
    assert table["date"].to_pylist()[::ROWS] == [f"2026-01-0{day}" for day in (1, 2, 3, 4)]
    assert len(fetched) == 4


def test_less_is_read_where_less_is_asked_for(fetched: dict[str, int]) -> None:
    """A key leaves files out, a column leaves columns out, a filter leaves row groups out."""

    def cost(**options: Any) -> int:
        fetched.clear()
        read(LAKE, **options)
        return sum(fetched.values())

    whole = cost()
    day = [["date", "==", "2026-01-02"]]
    one_day = cost(filter=day)
    assert list(fetched) == ["lake/visits/date=2026-01-02/part.parquet"]
    assert one_day < whole / 3
    half_a_day = cost(filter=[*day, ["n", "<", ROWS + 10]])
    assert half_a_day < one_day * 0.6
    assert cost(columns=["noise"]) < whole / 2


@pytest.mark.parametrize("source", ["s3://lake/text", "s3://lake/text/*.csv", "s3://lake/lines/"])
def test_text_in_a_store(source: str) -> None:
    kind = int if "lines" in source else str
    assert read(source).to_pylist() == [{"a": kind(0), "b": "x"}, {"a": kind(1), "b": "x"}]
    assert read("s3://lake/text/1.csv").to_pylist() == [{"a": "1", "b": "x"}]


def test_text_in_a_store_is_read_anew_at_each_iteration() -> None:
    with open_source("s3://lake/text", Path()) as stream:
        assert stream.text
        assert [batch.to_pylist() for batch in stream] == [batch.to_pylist() for batch in stream]


def test_other_stores_that_fsspec_knows(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe("/in/k=1/t.csv", b"a\n1\n")
    assert read("memory://in").to_pylist() == [{"a": "1", "k": 1}]
    (tmp_path / "t.csv").write_text("a\n1\n")
    assert read(f"file://{tmp_path}/t.csv").to_pylist() == [{"a": "1"}]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("s3://absent/table.parquet", r"s3://absent/table\.parquet could not be read: .*bucket"),
        ("s3://absent/in/*.csv", r"s3://absent/in/\*\.csv could not be read: .*bucket"),
        ("s3://lake/absent", r"s3://lake/absent could not be read"),
        ("s3://lake/text/*.parquet", r"s3://lake/text/\*\.parquet does not exist"),
        ("s3://lake/visits/date=2026-01-01/part.txt", r"part\.txt could not be read"),
        ("nothing://lake", r"nothing://lake could not be read: Protocol not known: nothing"),
        ("delta:s3://lake/absent", r"delta:s3://lake/absent could not be read as a Delta table"),
    ],
)
def test_what_is_not_there_is_one_sentence(source: str, message: str) -> None:
    with pytest.raises(ProjectError, match=message) as raised:
        read(source)
    assert "\n" not in str(raised.value)


def test_a_wrong_key_is_one_sentence_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ProjectError, match=r"s3://lake/visits could not be read") as raised:
        read(LAKE)
    assert "wrong-secret" not in str(raised.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(ProjectError, match="delta:t needs the package deltalake, which is not installed"):
        read("delta:t", tmp_path)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3")
    with pytest.raises(ProjectError, match=r"s3://lake/visits needs a package that is not installed: .*s3fs"):
        read(LAKE)


def test_a_delta_table_and_its_versions(tmp_path: Path) -> None:
    for address in (str(tmp_path / "table"), "s3://lake/delta"):
        options = {"storage_options": {"AWS_ALLOW_HTTP": "true"}, "partition_by": ["day"]}
        for n in (1, 2):
            write_deltalake(address, pa.table({"day": ["a", "b"], "n": [n, 10 * n]}), mode="append", **options)
        source = "delta:table" if "://" not in address else f"delta:{address}"
        table, version = read_source(source, tmp_path)
        assert sorted(table["n"].to_pylist()) == [1, 2, 10, 20] and version == "Delta version 1"
        old, version = read_source(source, tmp_path, {"version": 0, "columns": ["n"], "filter": [["day", "==", "b"]]})
        assert old.to_pylist() == [{"n": 10}] and version == "Delta version 0"
        with pytest.raises(ProjectError, match="could not be read as a Delta table"):
            read(source, tmp_path, version=7)


def test_a_file_that_goes_away_is_one_sentence() -> None:
    """What there is was listed at the beginning; a file is gone when its turn comes."""
    store = s3fs.S3FileSystem()
    store.pipe({"lake/going/a.csv": b"a\n1\n", "lake/going/b.csv": b"a\n2\n"})
    with open_source("s3://lake/going", Path()) as stream:
        store.rm("lake/going/b.csv")
        with pytest.raises(ProjectError, match=r"s3://lake/going"):
            list(stream)
