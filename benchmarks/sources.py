"""What reading a source costs, against the read of the same with the library of its kind.

    python -m benchmarks.sources [--rows 1000000] [--cases csv parquet ...]

A generated table of so many rows and ten columns (numbers, text, times) is put where each kind of source reads it. Ours
streams it through `open_source` into one Parquet file; the peer reads it whole with the library that one would use in a
notebook, and writes the same Parquet file. Each runs in a process of its own; the seconds run from the first request to the end
of the file.

Limit: ours reads at least 0.6 times the rows a second of the peer. Needs 5 GB of disk for ten million rows.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.json
import pyarrow.parquet as pq

from benchmarks.command import Benchmark, announce, run_benchmark
from benchmarks.figures import Figure, at_least
from benchmarks.isolated import measure_apart
from lifecycle.core.errors import ProjectError
from lifecycle.core.tables import GROUP, write_batches
from lifecycle.sources.dispatch import open_source

PART = 100_000  # rows that are generated and written at once
PAGE = 1_000  # records of a page of the JSON API
LEAST_SPEED = 0.6  # of the peer's rows a second


@dataclass(frozen=True)
class Place:
    """Where a prepared table is: the source, its options, and the environment variables that reading it needs."""

    source: str
    options: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A kind of source: how a table gets there, and how the peer, which `peer` names, reads it whole."""

    prepare: Callable[[Path, int], AbstractContextManager[Place]]
    read: Callable[[Place], pa.Table]
    peer: str


def make_part(number: int, rows: int) -> pa.Table:
    """Return the rows of a part of the table."""
    rng = np.random.default_rng(number)
    begin = np.datetime64("2026-01-01", "s")
    return pa.table({
        "id": np.arange(rows) + number * PART,
        **{f"count_{place}": rng.integers(0, 10_000, rows) for place in range(3)},
        **{f"amount_{place}": np.round(rng.gamma(3, 20, rows), 2) for place in range(3)},
        "word": rng.choice(["basic", "plus", "pro", "Zürich, Genève"], rows),
        "code": np.char.add("c", rng.integers(0, 50_000, rows).astype(str)),
        "at": pa.array(begin + rng.integers(0, 86_400 * 365, rows).astype("timedelta64[s]")),
    })  # fmt: skip


def make_parts(rows: int) -> Iterator[pa.Table]:
    """Return the table in parts."""
    for number in range(-(-rows // PART)):
        yield make_part(number, min(PART, rows - number * PART))


@contextmanager
def prepare_csv(folder: Path, rows: int) -> Iterator[Place]:
    """Write one CSV file."""
    path = folder / "table.csv"
    with pa.csv.CSVWriter(path, make_part(0, 1).schema) as writer:
        for part in make_parts(rows):
            writer.write_table(part)
    yield Place(str(path))


@contextmanager
def prepare_parquet(folder: Path, rows: int) -> Iterator[Place]:
    """Write one Parquet file, as pyarrow writes it."""
    path = folder / "table.parquet"
    with pq.ParquetWriter(path, make_part(0, 1).schema) as writer:
        for part in make_parts(rows):
            writer.write_table(part)
    yield Place(str(path))


@contextmanager
def prepare_lines(folder: Path, rows: int) -> Iterator[Place]:
    """Write one file of JSON lines."""
    path = folder / "table.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for part in make_parts(rows):
            part.to_pandas().to_json(file, orient="records", lines=True, date_format="iso", date_unit="s")
    yield Place(str(path))


@contextmanager
def prepare_lake(folder: Path, rows: int) -> Iterator[Place]:
    """Start an S3 server and put Parquet files there, in a folder for each part."""
    import s3fs

    from tests.support.servers import start_s3

    with start_s3(folder / "s3") as server:
        store = s3fs.S3FileSystem(key=server.key, secret=server.secret, endpoint_url=server.endpoint)
        store.mkdir("lake")
        for number, part in enumerate(make_parts(rows)):
            with store.open(f"lake/table/part={number:05d}/part.parquet", "wb") as file:
                pq.write_table(part, file)
        yield Place("s3://lake/table", {}, server.environment)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serve a folder without a log."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *words: object) -> None:
        """Write nothing."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve the files of a folder and yield the address."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@contextmanager
def prepare_web(folder: Path, rows: int) -> Iterator[Place]:
    """Put a CSV file on a web server."""
    with prepare_csv(folder, rows), serve(folder) as address:
        yield Place(f"{address}/table.csv")


@contextmanager
def prepare_pages(folder: Path, rows: int) -> Iterator[Place]:
    """Serve a JSON API whose pages name the next page."""
    last = -(-rows // PAGE)
    for number, part in enumerate(make_parts(rows)):
        text = part.set_column(9, "at", part["at"].cast(pa.string())).to_pylist()
        for begin in range(0, len(text), PAGE):
            page = (number * PART + begin) // PAGE + 1
            body = {"rows": text[begin : begin + PAGE], "next": f"/{page + 1}" if page < last else None}
            (folder / str(page)).write_text(json.dumps(body), encoding="utf-8")
    with serve(folder) as address:
        yield Place(f"{address}/1", {"records": "rows", "next": "next"})


def read_lake(place: Place) -> pa.Table:
    """Read partitioned Parquet with pyarrow over s3fs."""
    import s3fs

    store, path = s3fs.S3FileSystem(skip_instance_cache=True), place.source.removeprefix("s3://")
    return pa.dataset.dataset(path, filesystem=store, partitioning="hive").to_table()


def read_web(place: Place) -> pa.Table:
    """Read a CSV file from the web, fetched into memory."""
    import requests

    return pa.csv.read_csv(pa.BufferReader(requests.get(place.source, timeout=600).content))


def read_pages(place: Place) -> pa.Table:
    """Read the pages of a JSON API with requests and pandas.json_normalize."""
    from urllib.parse import urljoin

    import requests

    frames, following = [], place.source
    with requests.Session() as session:
        while following:
            page = session.get(following, timeout=60).json()
            frames.append(pd.json_normalize(page["rows"]))
            following = page["next"] and urljoin(following, page["next"])
    return pa.Table.from_pandas(pd.concat(frames, ignore_index=True), preserve_index=False)


CASES = {
    "csv": Case(prepare_csv, lambda place: pa.csv.read_csv(place.source), "pyarrow.csv"),
    "parquet": Case(prepare_parquet, lambda place: pq.read_table(place.source), "pyarrow.parquet"),
    "lines": Case(prepare_lines, lambda place: pa.json.read_json(place.source), "pyarrow.json"),
    "lake": Case(prepare_lake, read_lake, "pyarrow over s3fs"),
    "web": Case(prepare_web, read_web, "requests and pyarrow.csv"),
    "pages": Case(prepare_pages, read_pages, "requests and pandas"),
}


def run_ours(case: str, source: str, options: dict[str, Any], variables: dict[str, str], path: str) -> int:
    """Stream a source into a Parquet file and return its rows."""
    os.environ.update(variables)
    with open_source(source, Path("/"), options) as stream:
        write_batches(stream, stream.schema, Path(path))
    return count_rows(path)


def run_peer(case: str, source: str, options: dict[str, Any], variables: dict[str, str], path: str) -> int:
    """Read a source whole as its peer does, write it as a Parquet file, and return its rows."""
    os.environ.update(variables)
    table = CASES[case].read(Place(source, options, variables))
    pq.write_table(table, path, compression="zstd", row_group_size=GROUP)
    return count_rows(path)


def count_rows(path: str) -> int:
    """Return the rows of a Parquet file."""
    return pq.read_metadata(path).num_rows  # type: ignore[no-any-return]


def compare(name: str, options: argparse.Namespace) -> list[Figure]:
    """Return the figures of a kind of source."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder, case.prepare(Path(folder), options.rows) as place:
        values = name, place.source, place.options, place.variables
        ours, peer = (
            measure_apart(
                f"benchmarks.sources:{function}", *values, f"{folder}/{function}.parquet", apart=not options.small
            )
            for function in ("run_ours", "run_peer")
        )
    if not ours.result == peer.result == options.rows:
        raise ProjectError(
            f"{name}: ours read {ours.result:,} rows, the peer {peer.result:,}, expected {options.rows:,}."
        )
    ratio = peer.seconds / ours.seconds
    title = f"{name}, {options.rows:,} rows"
    rates = options.rows / ours.seconds, options.rows / peer.seconds
    return [
        Figure.of(f"{title}: rows a second", *rates, case.peer, at_least(ratio, LEAST_SPEED)),
        Figure.of(f"{title}: megabytes at the peak", ours.megabytes, peer.megabytes, case.peer),
    ]


def measure(options: argparse.Namespace) -> list[Figure]:
    """Compare each kind of source with its peer."""
    figures = []
    for name in options.cases:
        announce(f"{name}, {options.rows:,} rows")
        figures += compare(name, options)
    return figures


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))


BENCHMARK = Benchmark("sources", measure, add_options, small={"rows": 2000})

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
