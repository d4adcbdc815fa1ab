"""The history of a server's traffic: what the dashboard shows of the minutes before it was opened."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from lifecycle.serving import traffic
from lifecycle.serving.acceptance import start_server
from lifecycle.serving.settings import METRICS_FOLDER_VARIABLE
from lifecycle.serving.traffic import SLOT_SECONDS, TrafficHistory
from tests.support.bundles import ROW, make_champion, write_release


class FakeMetrics:
    """Metrics whose totals are set by the test."""

    def __init__(self) -> None:
        self.asked = 0.0

    def count_traffic(self) -> dict[str, Any]:
        return {
            "answered": self.asked,
            "asked": self.asked,
            "failed": 0.0,
            "refused": 0.0,
            "buckets": {"+Inf": self.asked},
        }


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(traffic, "time", clock)
    return clock


def record(history: TrafficHistory, asked: float) -> None:
    history.metrics.asked = asked  # type: ignore[attr-defined]
    history.record()


def test_totals_are_kept_once_per_slot_for_five_minutes(clock: Clock) -> None:
    history = TrafficHistory(FakeMetrics())  # type: ignore[arg-type]
    for number in range(100):
        record(history, number)
        history.record()
        clock.now += SLOT_SECONDS
    samples = history.read()
    assert len(samples) == 300 / SLOT_SECONDS + 1
    assert [sample["asked"] for sample in samples] == list(range(39, 100))
    assert [sample["age"] for sample in samples[-2:]] == [2 * SLOT_SECONDS, SLOT_SECONDS]


def test_the_totals_of_workers_add_up(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(METRICS_FOLDER_VARIABLE, str(tmp_path))
    one, other = (TrafficHistory(FakeMetrics()) for _ in range(2))  # type: ignore[arg-type]
    monkeypatch.setattr("os.getpid", lambda: 1)
    record(one, 10)
    clock.now += SLOT_SECONDS
    record(one, 20)  # and then it ends
    monkeypatch.setattr("os.getpid", lambda: 2)
    clock.now += SLOT_SECONDS
    record(other, 5)
    for history in (one, other):
        assert [sample["asked"] for sample in history.read()] == [10, 20, 25]
        assert history.read()[-1]["buckets"] == {"+Inf": 25}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_tells_its_traffic(tmp_path: Path, workers: int) -> None:
    make_champion(tmp_path, write_release(tmp_path))
    with start_server(tmp_path, workers=workers, drain_seconds=0) as server:
        for _ in range(20):
            assert server.ask("/predict", json.dumps(ROW).encode())[0] == 200
        assert server.ask("/predict", b"{")[0] == 400
        end = time.monotonic() + 4 * SLOT_SECONDS
        while time.monotonic() < end:
            status, _, body = server.ask("/dashboard/traffic")
            assert status == 200
            samples = json.loads(body)
            if samples[-1]["asked"] == 21:
                break
            time.sleep(0.2)
        assert (samples[-1]["answered"], samples[-1]["refused"], samples[-1]["failed"]) == (20, 1, 0)
        assert samples[-1]["buckets"]["+Inf"] == 20
        assert samples[0]["asked"] == 0 or len(samples) == 1
