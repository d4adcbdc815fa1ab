"""Whether ingestion survives crashes: `lifecycle ingest --follow` is killed at random while rows arrive.

    python -m benchmarks.crash_recovery [--kills 100] [--sources kafka sqlite] [--broker HOST:PORT] [--seed 0]

A producer sends rows without pause while ingestion is started and killed (SIGKILL) again and again, each time at a random
moment. Some rows have a number written as 5.0, some a whole number among fractions, and a few text in place of a number, which
belong in quarantine. The producer stops after the last kill; a final run lands the remaining rows, and the landed rows are
compared with those that were sent. Kafka is librdkafka's mock cluster, or the broker that is named.

Limits: no row is lost or altered, none lands twice, and none lands that was not sent.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.command import Benchmark, Progress, announce, run_benchmark
from benchmarks.figures import Figure, none_of
from benchmarks.mock_kafka import start_mock
from benchmarks.project import CHECKOUT, LIFECYCLE
from lifecycle.core.errors import ProjectError
from lifecycle.core.params import read_yaml
from lifecycle.core.paths import LANDED
from lifecycle.pipeline.workspaces import write_yaml
from lifecycle.sources.landing import COMMITS, open_landed

SPAN = 0.5, 2.0  # when a kill comes, in durations of a run without rows to land, which is mostly its start
PAUSE = 0.02  # seconds between two sendings
SENT_TOGETHER = 20  # rows

Collect = dict[str, Any]
Send = Callable[[int], None]
SOURCES = ("kafka", "sqlite")


def make_row(number: int) -> dict[str, Any]:
    """Return a row: an identifier, an event time, which is days late in every seventh row, and numbers of mixed types."""
    day = number // 400 % 28 - (3 if number % 7 == 0 else 0)
    return {
        "id": float(number) if number % 5 == 3 else number,
        "at": f"2026-11-{max(day, 0) + 1:02d}T{number % 24:02d}:00:00",
        "size": number if number % 6 == 0 else number / 3,
        "account": "unknown" if is_poison(number) else 2**53 + 1 + number,
    }


def is_poison(number: int) -> bool:
    """Return whether a row belongs in quarantine."""
    return number % 200 == 77


@contextmanager
def open_sqlite(root: Path) -> Iterator[tuple[Collect, Send]]:
    """Yield the `collect` section for a table that grows and a function that adds rows; several rows share each watermark."""
    with sqlite3.connect(root / "source.db", timeout=30, check_same_thread=False) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute(
            "create table visits (id integer primary key, at text, size real, account integer, step integer)"
        )
        connection.execute("create index by_step on visits (step)")

        def send(first: int) -> None:
            rows = [make_row(number) for number in range(first, first + SENT_TOGETHER)]
            with connection:
                connection.executemany(
                    "insert into visits values (?, ?, ?, ?, ?)", [(*row.values(), row["id"] // 50) for row in rows]
                )

        options = {"table": "visits", "watermark": "step", "time": "at", "batch": 100}
        yield {"source": "sqlite:///source.db", "options": options}, send


@contextmanager
def open_kafka(broker: str | None) -> Iterator[tuple[Collect, Send]]:
    """Yield the `collect` section for a topic that grows, on a broker or a mock cluster, and a function that adds rows."""
    if broker:
        from confluent_kafka import Producer

        producer, address = Producer({"bootstrap.servers": broker, "enable.idempotence": True, "log_level": 0}), broker
    else:
        producer, address = start_mock()
    topic = f"visits{time.time_ns()}"
    partitions = 3 if broker else 4

    def send(first: int) -> None:
        for number in range(first, first + SENT_TOGETHER):
            producer.produce(topic, json.dumps(make_row(number)), partition=number // SENT_TOGETHER % partitions)
        if producer.flush(60):
            raise OSError("the broker does not take messages")

    send(0)
    yield {"source": f"kafka://{address}/{topic}", "options": {"time": "at", "batch": 100}}, send


def run(words: list[str], environment: dict[str, str]) -> None:
    """Run a command; raise ProjectError with the end of its errors when it fails."""
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise ProjectError(f"{' '.join(words)} failed: {ended.stderr[-500:]}")


def run_kills(
    root: Path, collect: Collect, send: Send, kills: int, seed: int, idle: float | None = None
) -> dict[str, int]:
    """Kill so many ingestions while rows are sent, and count the rows that were sent, lost, altered, and landed twice.

    idle: seconds of a run without rows to land (None: it is measured).
    """
    params = read_yaml(CHECKOUT / "params.yaml")
    write_yaml({**params, "collect": {**collect, "watch": LANDED}}, root / "params.yaml")
    (root / "dvc.yaml").touch()
    words = [*LIFECYCLE, "ingest"]
    environment = {**os.environ, "LIFECYCLE_ROOT": str(root)}
    sent, ended = SENT_TOGETHER, threading.Event()
    if "sqlite" in collect["source"]:
        send(0)

    def produce() -> None:
        nonlocal sent
        while not ended.wait(PAUSE):
            send(sent)
            sent += SENT_TOGETHER

    if idle is None:
        run(words, environment)
        began = time.monotonic()
        run(words, environment)
        idle = time.monotonic() - began
    producer = threading.Thread(target=produce)
    producer.start()
    chance, progress = random.Random(seed), Progress(kills, "kills")  # noqa: S311 no secret
    try:
        for _ in range(kills):
            with (root / "ingest.log").open("wb") as log:
                process = subprocess.Popen([*words, "--follow"], env=environment, stdout=log, stderr=log)
                time.sleep(idle * chance.uniform(*SPAN))
                if process.poll() is not None:
                    raise ProjectError(f"lifecycle ingest ended by itself: {(root / 'ingest.log').read_text()[-500:]}")
                process.kill()
                process.wait()
            progress.advance()
    finally:
        ended.set()
        producer.join()
    commits = len(list((root / LANDED).rglob(f"{COMMITS}/*.json")))
    run(words, environment)
    found: Counter[int] = Counter()
    altered = 0
    with open_landed(root / LANDED) as stream:
        for batch in stream:
            for row in batch.select(["id", "at", "size", "account"]).to_pylist():
                found[row["id"]] += 1
                altered += row != make_row(row["id"]) or type(row["id"]) is not int
    quarantined = sum(path.read_bytes().count(b"\n") for path in (root / LANDED).glob("_quarantine/*.jsonl"))
    good = {number for number in range(sent) if not is_poison(number)}
    return {
        "kills": kills,
        "commits of the killed runs": commits,
        "rows sent": sent,
        "rows lost": len(good - set(found)) + abs(sent - len(good) - quarantined),
        "rows landed twice": sum(count > 1 for count in found.values()),
        "rows altered": altered,
        "rows landed but never sent": len(set(found) - good),
    }


LIMITED = ("rows lost", "rows landed twice", "rows altered", "rows landed but never sent")


def measure(options: argparse.Namespace) -> list[Figure]:
    """Kill ingestion from each source."""
    figures = []
    for name in options.sources:
        announce(f"{name}, {options.kills} kills")
        with tempfile.TemporaryDirectory() as folder:
            opened = open_kafka(options.broker) if name == "kafka" else open_sqlite(Path(folder))
            with opened as (collect, send):
                found = run_kills(Path(folder), collect, send, options.kills, options.seed, options.idle)
        figures += [
            Figure.of(f"{name}: {key}", count, limit=none_of(count) if key in LIMITED else None)
            for key, count in found.items()
        ]
    return figures


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--kills", type=int, default=100, help="of each source")
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--broker", metavar="HOST:PORT", help="a Kafka broker (a mock cluster)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--idle", type=float, help="seconds of a run without rows to land (measured)")


BENCHMARK = Benchmark("crash_recovery", measure, add_options, small={"kills": 2, "idle": 1.5})

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
