import errno
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.prediction_log.reader import read_segment
from lifecycle.prediction_log.writer import PredictionLog

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)


def tell(number: int) -> dict[str, Any]:
    return {"kind": "feedback", "id": str(number), "at": number, "label": "yes"}


def find(folder: Path) -> list[Path]:
    return sorted((folder / "segments").iterdir())


def read(folder: Path) -> list[dict[str, Any]]:
    """All records, of segments that must be whole."""
    records = []
    for path in find(folder):
        told, damaged = read_segment(path)
        assert damaged == 0, path
        records.extend(told)
    return records


def numbers(folder: Path) -> list[int]:
    return [int(record["id"]) for record in read(folder)]


def wait(until: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)


@pytest.fixture
def keep() -> Iterator[Callable[..., PredictionLog]]:
    """Makes logs, which are closed afterwards."""
    logs = []

    def make(folder: Path, **settings: Any) -> PredictionLog:
        logs.append(PredictionLog(folder, **{"flush_seconds": 0.01, **settings}))
        return logs[-1]

    yield make
    for log in logs:
        assert log.close(10)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=8), VALUES, max_size=6), max_size=6))
def test_records_come_back_as_they_were(rows: list[dict[str, Any]]) -> None:
    records = [
        {"kind": "prediction", "id": str(number), "at": number, "probability": 0.1 + number, "features": row}
        for number, row in enumerate(rows)
    ]
    with tempfile.TemporaryDirectory() as name:
        log = PredictionLog(Path(name))
        assert all(log.append(record) for record in records)
        assert log.close()
        assert (log.written, log.dropped, log.errors) == (len(rows), 0, 0)
        assert (read(Path(name)) if rows else []) == records


def test_lines_can_be_searched_and_are_written_while_the_log_is_open(
    tmp_path: Path, keep: Callable[..., PredictionLog]
) -> None:
    log = keep(tmp_path)
    log.append({**tell(1), "label": "a\nb ☃"})
    wait(lambda: log.written)
    (path,) = find(tmp_path)
    assert path.suffix == ".open"
    (line,) = path.read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r'[0-9a-f]{8} \{"kind":"feedback","id":"1","at":1,"label":"a\\nb ☃"\}', line)
    assert log.state() == {"written": 1, "dropped": 0, "errors": 0, "waiting": 0, "healthy": True, "problem": ""}


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "some" / "log"
    before = os.umask(0)
    try:
        log = PredictionLog(folder)
        log.append(tell(1))
        log.close()
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, folder / "segments", *find(folder))}
    assert list(modes.values()) == [0o700, 0o700, 0o600]


def test_what_json_cannot_say_is_an_error_and_harms_no_other(tmp_path: Path) -> None:
    class Rude:
        def __str__(self) -> str:
            raise RuntimeError

    log = PredictionLog(tmp_path)
    loop: list[Any] = []
    loop.append(loop)
    for bad in ({1: 2}, {"x": 2**70}, {"x": "\ud800"}, {"x": Rude()}, {"x": loop}):
        log.append(tell(1))
        log.append({**tell(0), **bad})
    log.append({**tell(2), "nan": float("nan"), "path": Path("a"), "half": np.float32(0.5), "one": np.int64(1)})
    log.close()
    *told, last = read(tmp_path)
    assert told == [tell(1)] * 5
    assert last == {**tell(2), "nan": None, "path": "a", "half": 0.5, "one": 1}
    assert (log.written, log.errors, log.dropped) == (6, 5, 0)


def test_a_segment_is_sealed_when_it_is_full(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, segment_bytes=20_000)
    for number in range(2000):
        log.append(tell(number))
    log.close()
    assert numbers(tmp_path) == list(range(2000))
    sizes = [path.stat().st_size for path in find(tmp_path)]
    assert len(sizes) > 4 and max(sizes) < 40_000
    assert {path.suffix for path in find(tmp_path)} == {".sealed"}


def test_a_segment_is_sealed_when_it_is_old_though_nothing_comes(
    tmp_path: Path, keep: Callable[..., PredictionLog]
) -> None:
    log = keep(tmp_path, segment_seconds=0.05)
    log.append(tell(1))
    wait(lambda: log.written and find(tmp_path)[0].suffix == ".sealed")
    time.sleep(0.1)
    assert len(find(tmp_path)) == 1  # none is begun before there is something to write
    log.append(tell(2))
    wait(lambda: log.written == 2)
    assert numbers(tmp_path) == [1, 2]


def test_a_queue_that_fills_is_written_before_its_time(tmp_path: Path, keep: Callable[..., PredictionLog]) -> None:
    log = keep(tmp_path, capacity=400, flush_seconds=60)
    for number in range(99):
        log.append(tell(number))
    assert log.written == 0
    for number in range(99, 300):
        assert log.append(tell(number))
    wait(lambda: log.written > 99)


def test_a_closed_log_takes_nothing(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    assert log.close() and log.close()
    assert not log.append(tell(1))
    assert log.dropped == 1
    assert not (tmp_path / "segments").exists()


def test_a_disk_that_hangs_stops_no_one_and_fills_no_memory(
    tmp_path: Path, keep: Callable[..., PredictionLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    hang, hanging, sync = threading.Event(), threading.Event(), os.fsync

    def fsync(handle: int) -> None:
        if threading.current_thread().name == "prediction-log":
            hanging.set()
            hang.wait(20)
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    log = keep(tmp_path, capacity=1000)
    assert log.append(tell(0))
    assert hanging.wait(10)
    begun = time.perf_counter()
    taken = [log.append(tell(number)) for number in range(1, 3001)]
    assert time.perf_counter() - begun < 1
    assert taken == [True] * 1000 + [False] * 2000
    assert log.state()["waiting"] <= 1001 and log.dropped == 2000
    assert not log.close(0.05)  # it gives up waiting
    hang.set()
    assert log.close(10)
    assert numbers(tmp_path) == list(range(1001))
    assert log.written == 1001


class Disk:
    """Stands before os.write of the log's thread: with `room` left it takes so many bytes and is full then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: float = float("inf")
        self.refused = 0
        write = os.write

        def limited(handle: int, data: Any) -> int:
            if threading.current_thread().name != "prediction-log":
                return write(handle, data)
            if not self.room:
                self.refused += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done = write(handle, data[: int(min(self.room, len(data)))])
            self.room -= done
            return done

        monkeypatch.setattr(os, "write", limited)


@pytest.mark.parametrize("room", [0, 1, 70, 5000, 12_345])
def test_a_full_disk_loses_and_doubles_nothing(
    room: int, tmp_path: Path, keep: Callable[..., PredictionLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    log = keep(tmp_path, flush_seconds=0.02)
    for number in range(10):
        log.append(tell(number))
    wait(lambda: log.written == 10)
    disk.room = room
    for number in range(10, 500):
        assert log.append(tell(number))
    wait(lambda: disk.refused)
    wait(lambda: not log.healthy)
    assert "No space left on device" in log.state()["problem"]
    before = log.written  # a flush that ended before it was full may have had a few
    wait(lambda: disk.refused > 2)  # it is tried again
    assert numbers(tmp_path) == list(range(before))  # and leaves nothing half-written
    assert log.state()["waiting"] == 500 - before
    disk.room = float("inf")
    wait(lambda: log.written == 500)
    wait(lambda: log.healthy)
    assert numbers(tmp_path) == list(range(500))
    assert (log.dropped, log.errors) == (0, 0)


def test_a_disk_that_stays_full_costs_the_oldest(
    tmp_path: Path, keep: Callable[..., PredictionLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    disk.room = 0
    log = keep(tmp_path, capacity=1000, flush_seconds=0.02)
    for number in range(10_000):
        log.append(tell(number))
        if number % 500 == 0:
            wait(lambda: not log.queue)  # so that the queue takes all
    wait(lambda: not log.queue)
    wait(lambda: log.state()["waiting"] <= 1000)
    kept, dropped = log.state()["waiting"], log.dropped
    assert 800 < kept <= 1000 and kept + dropped == 10_000
    disk.room = float("inf")
    wait(lambda: log.written == kept)
    assert numbers(tmp_path) == list(range(10_000 - kept, 10_000))


def test_what_waits_when_a_full_disk_is_closed_counts_as_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    disk.room = 100
    log = PredictionLog(tmp_path)
    for number in range(300):
        log.append(tell(number))
    assert log.close()
    assert (log.written, log.dropped, log.healthy) == (0, 300, False)
    assert find(tmp_path) == []


def test_a_sync_that_fails_is_written_again_elsewhere(
    tmp_path: Path, keep: Callable[..., PredictionLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, failing = os.fsync, threading.Event()

    def fsync(handle: int) -> None:
        if failing.is_set() and threading.current_thread().name == "prediction-log":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(handle)

    log = keep(tmp_path)
    log.append(tell(0))
    wait(lambda: log.written == 1)
    monkeypatch.setattr(os, "fsync", fsync)
    failing.set()
    log.append(tell(1))
    wait(lambda: not log.healthy)
    assert numbers(tmp_path) == [0]
    failing.clear()
    wait(lambda: log.written == 2)
    assert numbers(tmp_path) == [0, 1]
    assert [path.suffix for path in find(tmp_path)] == [".sealed", ".open"]


def test_a_cut_that_fails_is_made_up_for_before_anything_is_written_again(
    tmp_path: Path, keep: Callable[..., PredictionLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, cut, failing = Disk(monkeypatch), os.ftruncate, threading.Event()

    def ftruncate(handle: int, size: int) -> None:
        if failing.is_set():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        cut(handle, size)

    monkeypatch.setattr(os, "ftruncate", ftruncate)
    log = keep(tmp_path)
    failing.set()
    disk.room = 1000
    for number in range(300):
        log.append(tell(number))
    wait(lambda: "Input/output error" in log.state()["problem"])
    disk.room = float("inf")
    failing.clear()
    wait(lambda: log.written == 300)
    assert numbers(tmp_path) == list(range(300))


def test_a_segment_that_is_deleted_is_begun_anew(tmp_path: Path, keep: Callable[..., PredictionLog]) -> None:
    log = keep(tmp_path)
    log.append(tell(1))
    wait(lambda: log.written == 1)
    find(tmp_path)[0].unlink()
    (tmp_path / "segments").rmdir()
    log.append(tell(2))
    wait(lambda: log.written == 2)
    assert numbers(tmp_path) == [2]


def test_a_folder_that_cannot_be_made_is_no_ones_end(tmp_path: Path, keep: Callable[..., PredictionLog]) -> None:
    blocked = tmp_path / "log"
    blocked.write_text("a file")
    log = keep(blocked)
    assert log.append(tell(1))
    wait(lambda: not log.healthy)
    assert str(blocked) in log.state()["problem"]
    blocked.unlink()
    wait(lambda: log.written == 1)
    assert log.healthy and numbers(blocked) == [1]


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


BEGIN = """
import json, resource, sys, time
from pathlib import Path
from lifecycle.prediction_log.writer import PredictionLog
def tell(number):
    return {"kind": "feedback", "id": str(number), "at": number, "label": "yes"}
"""

LIMITED = """
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
log = PredictionLog(Path(sys.argv[1]), flush_seconds=0.02)
taken = [log.append(tell(number)) for number in range(2000)]
while log.healthy:
    time.sleep(0.01)
time.sleep(0.2)
print(json.dumps(log.state()), flush=True)
input()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
while log.state()["waiting"]:
    time.sleep(0.01)
print(log.close(), all(taken), log.written, log.dropped)
"""


def test_a_limit_of_the_system_is_outlived(tmp_path: Path) -> None:
    with run(BEGIN + LIMITED, tmp_path) as process:
        assert process.stdout
        state = json.loads(process.stdout.readline())
        assert (state["healthy"], state["dropped"]) == (False, 0)
        assert "File too large" in state["problem"]
        assert numbers(tmp_path) == list(range(state["written"]))
        out, _ = process.communicate("\n", timeout=20)
    assert out.split() == ["True", "True", "2000", "0"]
    assert numbers(tmp_path) == list(range(2000))


WINDOW, MARGIN = 0.05, 0.5  # the margin is the machine's, which may be busy
ENDLESS = f"""
log, number = PredictionLog(Path(sys.argv[1]), flush_seconds={WINDOW}, segment_bytes=20_000), 0
while True:
    for _ in range(20):
        assert log.append(tell(number))
        number += 1
    print(number, time.monotonic(), log.written, flush=True)
    time.sleep(0.005)
"""


def kill(folder: Path) -> tuple[int, int]:
    """Kill a writer at a moment of chance; how many records were surely to be on the disk, and how many are."""
    with run(BEGIN + ENDLESS, folder) as process:
        assert process.stdout and process.stdout.readline()
        time.sleep(float(np.random.default_rng().uniform(0.6, 1.2)))
        killed = time.monotonic()
        process.send_signal(signal.SIGKILL)
        lines = [line.split() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    sure = max(int(number) for number, at, _ in lines if float(at) < killed - WINDOW - MARGIN)
    synced = max(int(written) for _, _, written in lines)
    found: list[int] = []
    damaged = 0
    for path in find(folder):
        records, torn = read_segment(path)
        damaged += torn
        found.extend(int(record["id"]) for record in records)
    assert found == list(range(len(found)))  # none missing, none twice, in order
    assert damaged <= 1  # the line that was being written
    assert len(found) >= synced
    return sure, len(found)


@pytest.mark.integration
def test_a_killed_server_loses_no_more_than_the_window(tmp_path: Path) -> None:
    with ThreadPoolExecutor(5) as pool:
        ends = list(pool.map(lambda number: kill(tmp_path / str(number)), range(20)))
    assert all(0 < sure <= found for sure, found in ends), ends


TOGETHER = """
log = PredictionLog(Path(sys.argv[1]), flush_seconds=0.01, segment_bytes=20_000)
input()
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    log.append(tell(number))
    if number % 100 == 0:
        time.sleep(0.005)
assert log.close()
"""


def test_two_processes_write_side_by_side(tmp_path: Path) -> None:
    processes = [run(BEGIN + TOGETHER, tmp_path, start, start + 2000) for start in (0, 2000)]
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=20)
        assert process.returncode == 0
    assert sorted(numbers(tmp_path)) == list(range(4000))
    owners = {path.name.split("-")[1] for path in find(tmp_path)}
    assert owners == {str(process.pid) for process in processes}
