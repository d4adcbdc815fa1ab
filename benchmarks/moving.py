"""Rows a second and memory of databases and topics, each against the bare library's own loop.

    python -m benchmarks.moving [--rows N ...] [--source sqlite|postgresql|kafka ...]

Each measurement runs in a process of its own. `open_query` into Parquet stands against SQLAlchemy's streamed rows into
Parquet; `lifecycle ingest` of a topic stands against a loop of confluent-kafka, json and pyarrow that writes the same number of
rows a file, without commit records, partitions or checks. PostgreSQL and Apache Kafka are started where they are installed.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.project import CHECKOUT
from lifecycle.core.tables import write_batches
from lifecycle.sources.kafka import land_topic, name_topic, read_options, split_address
from lifecycle.sources.landing import open_landing
from lifecycle.sources.sql import open_query
from tests.support.servers import install_kafka, start_kafka, start_postgresql

SIZES = (1_000_000, 10_000_000)
BATCH = 50_000  # rows of a file, and of the bare loop's
FETCH = 10_000  # rows a round trip
PARTITIONS = 3


def describe_row_text(number: int) -> tuple[Any, ...]:
    """A row of ten columns: identifiers, numbers, words, a truth, a time."""
    minute = f"2026-{number // 1440 // 28 % 12 + 1:02d}-{number // 1440 % 28 + 1:02d} {number // 60 % 24:02d}:{number % 60:02d}:00"
    return (
        number, minute, number % 2 == 0, number * 0.37, number % 97 / 7, number % 1000, f"word {number % 100}",
        f"{number * 7919 % 1_000_003:08x}", number % 13, None if number % 20 == 0 else number / 3,
    )  # fmt: skip


COLUMNS = ("id", "at", "ok", "price", "share", "size", "word", "code", "kind", "gap")
CREATE = (
    "create table visits (id bigint primary key, at timestamp, ok boolean, price double precision, share double precision,"
    " size integer, word text, code text, kind integer, gap double precision)"
)


@contextmanager
def fill_database(folder: Path, name: str, rows: int) -> Iterator[str]:
    """A database with a table of so many rows, and its address."""
    import sqlalchemy as sa

    if name == "sqlite":
        url = f"sqlite:///{folder}/source.db"
        insert_rows(sa.create_engine(url), rows)
        yield url
        return
    initdb = shutil.which("initdb") or max(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")))
    with start_postgresql(folder / "postgresql", initdb) as url:
        insert_rows(sa.create_engine(url), rows)
        yield url


def insert_rows(engine: Any, rows: int) -> None:
    """Make the table and fill it."""
    import sqlalchemy as sa

    statement = sa.text(f"insert into visits values ({', '.join(f':{name}' for name in COLUMNS)})")  # noqa: S608 fixed names
    with engine.begin() as connection:
        connection.exec_driver_sql(CREATE)
        for first in range(0, rows, FETCH):
            numbers = range(first, min(rows, first + FETCH))
            connection.execute(
                statement, [dict(zip(COLUMNS, describe_row_text(number), strict=True)) for number in numbers]
            )
    engine.dispose()


@contextmanager
def fill_topic(folder: Path, rows: int) -> Iterator[str]:
    """Apache Kafka with a topic of so many messages, and the topic's address."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    java, mvn = shutil.which("java"), shutil.which("mvn")
    if java is None or mvn is None:
        raise OSError("Apache Kafka needs java and mvn: `apt-get install openjdk-17-jre-headless maven`")
    with start_kafka(folder / "kafka", install_kafka(CHECKOUT, mvn), java) as address:
        admin = AdminClient({"bootstrap.servers": address})
        admin.create_topics([NewTopic("visits", PARTITIONS, 1)])["visits"].result(60)
        producer = Producer({"bootstrap.servers": address, "linger.ms": 50, "compression.type": "lz4"})
        for number in range(rows):
            value = json.dumps(dict(zip(COLUMNS, describe_row_text(number), strict=True)))
            while True:
                try:
                    producer.produce("visits", value, partition=number % PARTITIONS)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        producer.flush()
        yield f"kafka://{address}/visits"


def query_ours(source: str, folder: Path) -> int:
    """The table as `collect` reads and writes it."""
    with open_query(source, folder, {"table": "visits"}) as stream:
        write_batches(stream, stream.schema, folder / "ours.parquet")
    return pq.read_metadata(folder / "ours.parquet").num_rows  # type: ignore[no-any-return]


def query_bare(source: str, folder: Path) -> int:
    """SQLAlchemy's streamed rows into Parquet, as one writes it."""
    import sqlalchemy as sa

    rows = 0
    with sa.create_engine(source).connect() as connection, (folder / "bare.parquet").open("wb") as file:
        table = sa.Table("visits", sa.MetaData(), autoload_with=connection)
        statement = sa.select(table).order_by(table.c.id)
        writer = None
        for part in connection.execution_options(yield_per=FETCH).execute(statement).mappings().partitions():
            batch = pa.Table.from_pylist([dict(row) for row in part], writer.schema if writer else None)
            writer = writer or pq.ParquetWriter(file, batch.schema, compression="zstd")
            writer.write_table(batch)
            rows += len(part)
        assert writer is not None
        writer.close()
    return rows


def query_read(source: str, folder: Path) -> int:
    """SQLAlchemy's streamed rows, thrown away."""
    import sqlalchemy as sa

    with sa.create_engine(source).connect() as connection:
        table = sa.Table("visits", sa.MetaData(), autoload_with=connection)
        result = connection.execution_options(yield_per=FETCH).execute(sa.select(table).order_by(table.c.id))
        return sum(1 for _ in result)


def topic_ours(source: str, folder: Path) -> int:
    """The topic as `lifecycle ingest` lands it."""
    with open_landing(folder / "landed", name_topic(source)) as landing:
        return sum(commit.rows for commit in land_topic(source, folder, read_options({"batch": BATCH}), landing))


def topic_bare(source: str, folder: Path) -> int:
    """consume, json.loads, a Parquet file."""
    from confluent_kafka import Consumer, TopicPartition

    brokers, topic = split_address(source)
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "bare", "enable.auto.commit": False})
    places = [TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)]
    due = sum(consumer.get_watermark_offsets(place)[1] for place in places)
    consumer.assign(places)
    rows: list[Any] = []
    done = 0
    while done < due:
        messages = consumer.consume(min(FETCH, due - done), 1.0)
        rows += [json.loads(message.value()) for message in messages if message.error() is None]
        done += len(messages)
        if len(rows) >= BATCH or done == due:
            pq.write_table(pa.Table.from_pylist(rows), folder / f"bare-{done}.parquet", compression="zstd")
            rows = []
    consumer.close()
    return done


DOERS: dict[str, Callable[[str, Path], int]] = {
    "query_ours": query_ours, "query_bare": query_bare, "query_read": query_read, "topic_ours": topic_ours,
    "topic_bare": topic_bare,
}  # fmt: skip


def measure(name: str, source: str) -> dict[str, float]:
    """Rows, seconds and peak megabytes of one of the doers, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "benchmarks.moving", "--do", name, source, folder]
        done = subprocess.run(words, cwd=CHECKOUT, check=True, capture_output=True, text=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found


def do(name: str, source: str, folder: str) -> None:
    """What the process of its own does."""
    begun = time.perf_counter()
    rows = DOERS[name](source, Path(folder))
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": rows, "seconds": seconds, "megabytes": peak}))


def compare(name: str, rows: int) -> None:
    """Print a source's lines at one size."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        opened = fill_topic(Path(folder), rows) if name == "kafka" else fill_database(Path(folder), name, rows)
        with opened as source:
            doers = ["topic_ours", "topic_bare"] if name == "kafka" else ["query_ours", "query_bare", "query_read"]
            found = {doer: measure(doer, source) for doer in doers}
    ours = found[doers[0]]
    for doer, result in found.items():
        assert result["rows"] == rows
        ratio = "" if doer == doers[0] else f", ours is {result['seconds'] / ours['seconds']:.2f} of its speed"
        print(
            f"{name} {doer.partition('_')[2]:4s} {rows:>10,} rows: {result['seconds']:6.1f} s, {rows / result['seconds']:>9,.0f} rows/s, "
            f"peak {result['megabytes']:,.0f} MB{ratio}",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.moving")
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument(
        "--source", nargs="+", choices=("sqlite", "postgresql", "kafka"), default=["sqlite", "postgresql", "kafka"]
    )
    parser.add_argument("--do", nargs=3, metavar=("DOER", "SOURCE", "FOLDER"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.do:
        do(*chosen.do)
        return
    for name in chosen.source:
        for rows in chosen.rows:
            compare(name, rows)


if __name__ == "__main__":
    main()
