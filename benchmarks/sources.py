"""What reading a source costs, beside the bare library's read of the same.

    python -m benchmarks.sources [--rows 1000000] [--cases csv,parquet,...]

A table of so many rows and ten columns (seeded; numbers, words, days) is put where each kind of source reads it. Ours
streams it through `open_source` into one Parquet file; the peer reads it whole with the kind's own library, as one
would in a notebook, and writes the same Parquet. Each runs in a process of its own; counted are the seconds from the
first request to the file's end, and the peak of resident memory. Limit: ours makes 0.6 of the peer's rows a second or
more, and its memory does not grow with the rows.

Needs Linux, and for ten million rows 5 GB of disk.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
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

from lifecycle.core.tables import GROUP, write_batches
from lifecycle.sources.dispatch import open_source

PART = 100_000  # rows that are made, and written, at once
PAGE = 1_000  # records of an API's page
LIMIT = 0.6


@dataclass(frozen=True)
class Place:
    """Where a prepared table is: the source, its options, and variables of the environment."""

    source: str
    options: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A kind of source: how a table gets there, and how its own library reads it whole."""

    prepare: Callable[[Path, int], AbstractContextManager[Place]]
    read: Callable[[Place], pa.Table]


def make_part(number: int, rows: int) -> pa.Table:
    """The rows of a part of the table."""
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
    """The table in parts."""
    for number in range(-(-rows // PART)):
        yield make_part(number, min(PART, rows - number * PART))


@contextmanager
def prepare_csv(folder: Path, rows: int) -> Iterator[Place]:
    """One CSV file."""
    path = folder / "table.csv"
    with pa.csv.CSVWriter(path, make_part(0, 1).schema) as writer:
        for part in make_parts(rows):
            writer.write_table(part)
    yield Place(str(path))


@contextmanager
def prepare_parquet(folder: Path, rows: int) -> Iterator[Place]:
    """One Parquet file, as pyarrow writes it."""
    path = folder / "table.parquet"
    with pq.ParquetWriter(path, make_part(0, 1).schema) as writer:
        for part in make_parts(rows):
            writer.write_table(part)
    yield Place(str(path))


@contextmanager
def prepare_lines(folder: Path, rows: int) -> Iterator[Place]:
    """One file of JSON lines."""
    path = folder / "table.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for part in make_parts(rows):
            part.to_pandas().to_json(file, orient="records", lines=True, date_format="iso", date_unit="s")
    yield Place(str(path))


@contextmanager
def prepare_lake(folder: Path, rows: int) -> Iterator[Place]:
    """Parquet files of an S3 server, a folder for each part."""
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
    """Serves a folder and says nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *words: object) -> None:
        """Nothing."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """The address of a server of a folder's files."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@contextmanager
def prepare_web(folder: Path, rows: int) -> Iterator[Place]:
    """A CSV file on a web server."""
    with prepare_csv(folder, rows), serve(folder) as address:
        yield Place(f"{address}/table.csv")


@contextmanager
def prepare_pages(folder: Path, rows: int) -> Iterator[Place]:
    """A JSON API whose pages name the next."""
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

    store, path = s3fs.S3FileSystem(), place.source.removeprefix("s3://")
    return pa.dataset.dataset(path, filesystem=store, partitioning="hive").to_table()


def read_web(place: Place) -> pa.Table:
    """Read a CSV file of the web, fetched into memory."""
    import requests

    return pa.csv.read_csv(pa.BufferReader(requests.get(place.source, timeout=600).content))


def read_pages(place: Place) -> pa.Table:
    """Read the pages of a JSON API as one does: requests and pandas.json_normalize."""
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
    "csv": Case(prepare_csv, lambda place: pa.csv.read_csv(place.source)),
    "parquet": Case(prepare_parquet, lambda place: pq.read_table(place.source)),
    "lines": Case(prepare_lines, lambda place: pa.json.read_json(place.source)),
    "lake": Case(prepare_lake, read_lake),
    "web": Case(prepare_web, read_web),
    "pages": Case(prepare_pages, read_pages),
}


def run(case: str, side: str, place: Place, path: Path) -> dict[str, float]:
    """Read the table, ours or the peer's way, and write it: seconds, megabytes and rows."""
    begun = time.perf_counter()
    if side == "ours":
        with open_source(place.source, Path("/"), place.options) as stream:
            write_batches(stream, stream.schema, path)
    else:
        pq.write_table(CASES[case].read(place), path, compression="zstd", row_group_size=GROUP)
    return {
        "seconds": time.perf_counter() - begun,
        "megabytes": read_peak(),
        "rows": pq.read_metadata(path).num_rows,
    }


def read_peak() -> float:
    """The peak of this process's resident memory, in megabytes; `getrusage` would count the parent's before the start."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) / 1024


def measure(case: str, side: str, place: Place, path: Path) -> dict[str, float]:
    """Run one side in a process of its own."""
    values = json.dumps([place.source, place.options, place.variables])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sources", "--run", case, side, values, str(path)],
        env={**os.environ, **place.variables},
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.run:
        case, side, values, path = words.run
        print(json.dumps(run(case, side, Place(*json.loads(values)), Path(path))))
        return
    for case in words.cases.split(","):
        with tempfile.TemporaryDirectory() as folder, CASES[case].prepare(Path(folder), words.rows) as place:
            ours, bare = (measure(case, side, place, Path(folder, f"{side}.out.parquet")) for side in ("ours", "bare"))
        assert ours["rows"] == bare["rows"] == words.rows
        ratio = bare["seconds"] / ours["seconds"]
        print(
            f"{case:8s} {words.rows:>10,} rows: {words.rows / ours['seconds']:>9,.0f} rows/s, "
            f"{ratio:.2f} of the bare library's{'' if ratio >= LIMIT else ' (too slow)'}; "
            f"peak {ours['megabytes']:,.0f} MB, {bare['megabytes']:,.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
