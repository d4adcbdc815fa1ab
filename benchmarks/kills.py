"""Kills during ingestion: a hundred SIGKILLs of `lifecycle ingest --follow` while a producer goes on; no row lost, none twice.

    python -m benchmarks.kills [--kills N] [--source kafka|sqlite] [--broker HOST:PORT] [--seed N]

Kafka is librdkafka's mock cluster, or the broker that is named. The producer stops after the last kill; a last run lands the
rest, and the landed identifiers are held against those that were produced.
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

from benchmarks.project import CHECKOUT
from lifecycle.core.errors import ProjectError
from lifecycle.core.params import read_yaml
from lifecycle.core.paths import LANDED
from lifecycle.pipeline.workspaces import write_yaml
from lifecycle.sources.landing import open_landed

SPAN = 0.5, 2.0  # when a kill comes, in times of a run that has nothing to land: starting takes the most of that
PAUSE = 0.02  # seconds between two drops
DROP = 20  # rows

Collect = dict[str, Any]
Send = Callable[[int], None]


def describe_row_text(number: int) -> tuple[int, str, float]:
    """A row's identifier, its event time, of which every seventh is late by days, and a measure."""
    day = number // 400 % 28 - (3 if number % 7 == 0 else 0)
    return number, f"2026-11-{max(day, 0) + 1:02d}T{number % 24:02d}:00:00", number / 3


@contextmanager
def open_sqlite(root: Path) -> Iterator[tuple[Collect, Send]]:
    """A table that grows; several rows share each watermark."""
    with sqlite3.connect(root / "source.db", timeout=30, check_same_thread=False) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.execute("create table visits (id integer primary key, step integer, at text, size real)")
        connection.execute("create index by_step on visits (step)")

        def send(first: int) -> None:
            rows = [describe_row_text(number) for number in range(first, first + DROP)]
            with connection:
                connection.executemany(
                    "insert into visits values (?, ?, ?, ?)", [(row[0], row[0] // 50, *row[1:]) for row in rows]
                )

        options = {"table": "visits", "watermark": "step", "time": "at", "batch": 100}
        yield {"source": "sqlite:///source.db", "options": options}, send


@contextmanager
def open_kafka(broker: str | None) -> Iterator[tuple[Collect, Send]]:
    """A topic that grows, on a mock cluster of this process or on a broker."""
    from confluent_kafka import Producer

    where = {"bootstrap.servers": broker} if broker else {"bootstrap.servers": "ignored:1", "test.mock.num.brokers": 1}
    producer = Producer({**where, "enable.idempotence": bool(broker), "log_level": 0})
    known = next(iter(producer.list_topics(timeout=30).brokers.values()))
    topic = f"kills{time.time_ns()}"
    partitions = 3 if broker else 4

    def send(first: int) -> None:
        for number in range(first, first + DROP):
            row = dict(zip(("id", "at", "size"), describe_row_text(number), strict=True))
            producer.produce(topic, json.dumps(row), partition=number // DROP % partitions)
        if producer.flush(60):
            raise OSError("the broker does not take messages")

    send(0)
    address = broker or f"{known.host}:{known.port}"
    yield {"source": f"kafka://{address}/{topic}", "options": {"time": "at", "batch": 100}}, send


def run_kills(
    root: Path, collect: Collect, send: Send, kills: int, seed: int, idle: float | None = None
) -> dict[str, Any]:
    """Kill so many ingestions while rows are sent; how many were sent, lost and landed twice.

    `idle`: seconds of a run that has nothing to land (None: it is measured).
    """
    params = read_yaml(CHECKOUT / "params.yaml")
    write_yaml({**params, "collect": {**collect, "watch": LANDED}}, root / "params.yaml")
    (root / "dvc.yaml").touch()
    words = [sys.executable, "-m", "lifecycle.cli.main", "ingest"]
    environment = {**os.environ, "LIFECYCLE_ROOT": str(root)}
    sent, ended = DROP, threading.Event()
    if "sqlite" in collect["source"]:
        send(0)

    def produce() -> None:
        nonlocal sent
        while not ended.wait(PAUSE):
            send(sent)
            sent += DROP

    if idle is None:
        subprocess.run(words, env=environment, check=True, capture_output=True)
        began = time.monotonic()
        subprocess.run(words, env=environment, check=True, capture_output=True)
        idle = time.monotonic() - began
    producer = threading.Thread(target=produce)
    producer.start()
    chance, commits = random.Random(seed), 0  # noqa: S311 no secret
    try:
        for _ in range(kills):
            with (root / "ingest.log").open("wb") as log:
                process = subprocess.Popen([*words, "--follow"], env=environment, stdout=log, stderr=log)
                time.sleep(idle * chance.uniform(*SPAN))
                if process.poll() is not None:
                    raise ProjectError(f"lifecycle ingest ended by itself: {(root / 'ingest.log').read_text()[-500:]}")
                process.kill()
                process.wait()
            commits += (root / "ingest.log").read_bytes().count(b" to ")
    finally:
        ended.set()
        producer.join()
    subprocess.run(words, env=environment, check=True, capture_output=True)
    with open_landed(root / LANDED) as stream:
        found = Counter(number for batch in stream for number in batch.column("id").to_pylist())
    return {
        "kills": kills,
        "commits of killed runs": commits,
        "rows": sent,
        "lost": len(set(range(sent)) - set(found)),
        "twice": sum(count > 1 for count in found.values()),
        "unknown": len(set(found) - set(range(sent))),
    }


def main() -> None:
    """Kill and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--source", choices=("kafka", "sqlite"))
    parser.add_argument("--broker", help="host:port of a broker (a mock cluster)")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    for name in [chosen.source] if chosen.source else ["kafka", "sqlite"]:
        with tempfile.TemporaryDirectory() as folder:
            opened = open_kafka(chosen.broker) if name == "kafka" else open_sqlite(Path(folder))
            with opened as (collect, send):
                results = run_kills(Path(folder), collect, send, chosen.kills, chosen.seed)
        print(f"{name}: " + ", ".join(f"{value:,} {key}" for key, value in results.items()), flush=True)


if __name__ == "__main__":
    main()
