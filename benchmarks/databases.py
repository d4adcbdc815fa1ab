"""What reading databases and landing topics costs, against a loop over the bare client library.

    python -m benchmarks.databases [--rows 1000000 10000000] [--sources sqlite postgresql kafka] [--mock-kafka]

`open_query` into a Parquet file is compared with SQLAlchemy's streamed rows written to a Parquet file, and with the same rows
only fetched. `lifecycle ingest` of a topic is compared with a loop of confluent-kafka, json and pyarrow that writes the same
number of rows a file, without commit records, partitions or checks. Each measurement runs in a process of its own. PostgreSQL
and Apache Kafka are started here; with `--mock-kafka` the topic is on librdkafka's mock cluster.

Limits: a query reads at least 0.6 times the rows a second of the bare loop, and so does a topic.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.command import Benchmark, announce, run_benchmark
from benchmarks.figures import Figure, at_least
from benchmarks.isolated import measure_apart
from benchmarks.mock_kafka import start_mock
from benchmarks.project import CHECKOUT
from lifecycle.core.errors import ProjectError
from lifecycle.core.tables import write_batches
from lifecycle.sources.kafka import land_topic, name_topic, read_options, split_address
from lifecycle.sources.landing import open_landing
from lifecycle.sources.sql import open_query
from tests.support.servers import install_kafka, start_kafka, start_postgresql

SIZES = (1_000_000, 10_000_000)
SOURCES = ("sqlite", "postgresql", "kafka")
BATCH = 50_000  # rows of a landed file, of ours and of the bare loop
FETCH = 10_000  # rows a round trip
PARTITIONS = 3
LEAST_SPEED = 0.6  # of the bare loop's rows a second


def make_row(number: int) -> tuple[Any, ...]:
    """Return a row of ten columns: identifiers, numbers, text, a boolean, a time."""
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
    """Start a database with a table of so many rows and yield its address."""
    import sqlalchemy as sa

    if name == "sqlite":
        url = f"sqlite:///{folder}/source.db"
        insert_rows(sa.create_engine(url), rows)
        yield url
        return
    debian = max(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None)  # not on the PATH there
    initdb = shutil.which("initdb") or debian
    if initdb is None:
        raise OSError("PostgreSQL is not installed: `apt-get install postgresql`")
    with start_postgresql(folder / "postgresql", initdb) as url:
        insert_rows(sa.create_engine(url), rows)
        yield url


def insert_rows(engine: Any, rows: int) -> None:
    """Create the table and fill it."""
    import sqlalchemy as sa

    statement = sa.text(f"insert into visits values ({', '.join(f':{name}' for name in COLUMNS)})")  # noqa: S608 fixed names
    with engine.begin() as connection:
        connection.exec_driver_sql(CREATE)
        for first in range(0, rows, FETCH):
            numbers = range(first, min(rows, first + FETCH))
            connection.execute(statement, [dict(zip(COLUMNS, make_row(number), strict=True)) for number in numbers])
    engine.dispose()


@contextmanager
def fill_topic(folder: Path, rows: int, mock: bool) -> Iterator[str]:
    """Start Kafka, or its mock, with a topic of so many messages, and yield the address of the topic."""
    with open_kafka(folder, mock) as (producer, address):
        for number in range(rows):
            value = json.dumps(dict(zip(COLUMNS, make_row(number), strict=True)))
            while True:
                try:
                    producer.produce("visits", value, partition=number % PARTITIONS)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        producer.flush()
        yield f"kafka://{address}/visits"


@contextmanager
def open_kafka(folder: Path, mock: bool) -> Iterator[tuple[Any, str]]:
    """Yield a producer and the address of Apache Kafka, which is started here, or of a mock cluster."""
    if mock:
        yield start_mock()
        return
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    java, mvn = shutil.which("java"), shutil.which("mvn")
    if java is None or mvn is None:
        raise OSError("Apache Kafka needs java and mvn: `apt-get install openjdk-17-jre-headless maven`")
    with start_kafka(folder / "kafka", install_kafka(CHECKOUT, mvn), java) as address:
        admin = AdminClient({"bootstrap.servers": address})
        admin.create_topics([NewTopic("visits", PARTITIONS, 1)])["visits"].result(60)
        yield Producer({"bootstrap.servers": address, "linger.ms": 50, "compression.type": "lz4"}), address


def query_ours(source: str, scratch: str) -> int:
    """Read and write the table as `collect` does, and return its rows."""
    folder = Path(scratch)
    with open_query(source, folder, {"table": "visits"}) as stream:
        write_batches(stream, stream.schema, folder / "ours.parquet")
    return pq.read_metadata(folder / "ours.parquet").num_rows  # type: ignore[no-any-return]


def query_bare(source: str, scratch: str) -> int:
    """Write SQLAlchemy's streamed rows to a Parquet file with a plain loop, and return how many there were."""
    import sqlalchemy as sa

    rows, folder = 0, Path(scratch)
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


def query_read(source: str, scratch: str) -> int:
    """Fetch SQLAlchemy's streamed rows without using them, and return how many there were."""
    import sqlalchemy as sa

    with sa.create_engine(source).connect() as connection:
        table = sa.Table("visits", sa.MetaData(), autoload_with=connection)
        result = connection.execution_options(yield_per=FETCH).execute(sa.select(table).order_by(table.c.id))
        return sum(1 for _ in result)


def topic_ours(source: str, scratch: str) -> int:
    """Land the topic as `lifecycle ingest` does, and return its rows."""
    folder = Path(scratch)
    with open_landing(folder / "landed", name_topic(source)) as landing:
        return sum(commit.rows for commit in land_topic(source, folder, read_options({"batch": BATCH}), landing))


def topic_bare(source: str, scratch: str) -> int:
    """Consume the topic, parse JSON and write Parquet files in a plain loop, and return the number of messages."""
    from confluent_kafka import Consumer, TopicPartition

    folder = Path(scratch)
    brokers, topic = split_address(source)
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "bare", "enable.auto.commit": False})
    places = [TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)]
    waiting = sum(consumer.get_watermark_offsets(place)[1] for place in places)
    consumer.assign(places)
    rows: list[Any] = []
    done = 0
    while done < waiting:
        messages = consumer.consume(min(FETCH, waiting - done), 1.0)
        rows += [json.loads(message.value()) for message in messages if message.error() is None]
        done += len(messages)
        if len(rows) >= BATCH or done == waiting:
            pq.write_table(pa.Table.from_pylist(rows), folder / f"bare-{done}.parquet", compression="zstd")
            rows = []
    consumer.close()
    return done


PEERS = {  # function of the bare loop: its name
    "query_bare": "SQLAlchemy into Parquet",
    "query_read": "SQLAlchemy, rows fetched only",
    "topic_bare": "confluent-kafka into Parquet",
}


def compare(name: str, rows: int, options: argparse.Namespace) -> Iterator[Figure]:
    """Return the figures of a source at one size."""
    functions = ["topic_ours", "topic_bare"] if name == "kafka" else ["query_ours", "query_bare", "query_read"]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as another user where this is root
        opened = (
            fill_topic(Path(folder), rows, options.mock_kafka)
            if name == "kafka"
            else fill_database(Path(folder), name, rows)
        )
        costs = {}
        with opened as source:
            for function in functions:
                with tempfile.TemporaryDirectory() as scratch:
                    costs[function] = measure_apart(
                        f"benchmarks.databases:{function}", source, scratch, apart=not options.small
                    )
    for function, cost in costs.items():
        if cost.result != rows:
            raise ProjectError(f"{name}: {function} read {cost.result:,} rows, expected {rows:,}.")
    ours = costs.pop(functions[0])
    for function, cost in costs.items():
        ratio = cost.seconds / ours.seconds
        limit = None if function == "query_read" else at_least(ratio, LEAST_SPEED)
        title = f"{name}, {rows:,} rows"
        yield Figure.of(f"{title}: rows a second", rows / ours.seconds, rows / cost.seconds, PEERS[function], limit)
        yield Figure.of(f"{title}: megabytes at the peak", ours.megabytes, cost.megabytes, PEERS[function])


def measure(options: argparse.Namespace) -> list[Figure]:
    """Compare each source at each size."""
    figures = []
    for name in options.sources:
        for rows in options.rows:
            announce(f"{name}, {rows:,} rows")
            figures += compare(name, rows, options)
    if options.mock_kafka:
        print("kafka: librdkafka's mock cluster, not a broker")
    return figures


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--mock-kafka", action="store_true", help="librdkafka's mock cluster in place of Apache Kafka")


BENCHMARK = Benchmark(
    "databases", measure, add_options, small={"rows": [2000], "sources": ["sqlite", "kafka"], "mock_kafka": True}
)

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
