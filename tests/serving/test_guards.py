from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.serving import guards
from lifecycle.serving.guards import MAX_CLIENTS, KeyRing, RateLimit

BURST = 2.0  # seconds


@dataclass
class Clock:
    """Stands for the module `time` and goes only when told."""

    at: float = 1000.0

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(guards, "time", clock)
    return clock


def test_without_keys_the_service_is_open() -> None:
    assert KeyRing(()).admits({})


@pytest.mark.parametrize(
    ("headers", "admitted"),
    [
        ({}, False),
        ({b"x-api-key": b"first"}, True),
        ({b"x-api-key": "sécond".encode("latin-1")}, False),
        ({b"x-api-key": "sécond".encode()}, True),
        ({b"x-api-key": b"First"}, False),
        ({b"x-api-key": b"firs"}, False),
        ({b"x-api-key": b"first,"}, False),
        ({b"x-api-key": b""}, False),
        ({b"x-api-key": b"\xff\x00"}, False),
        ({b"authorization": b"Bearer first"}, True),
        ({b"authorization": b"bearer   first "}, True),
        ({b"authorization": b"Bearer"}, False),
        ({b"authorization": b"Bearer "}, False),
        ({b"authorization": b"first"}, False),
        ({b"authorization": b"Basic first"}, False),
        ({b"authorization": b"Basic x", b"x-api-key": b"first"}, True),
        ({b"authorization": b"Bearer wrong", b"x-api-key": b"first"}, False),
        ({b"cookie": b"first"}, False),
    ],
)  # fmt: skip
def test_a_key_opens_and_nothing_else(headers: dict[bytes, bytes], admitted: bool) -> None:
    assert KeyRing(("first", "sécond")).admits(headers) is admitted


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.binary())
def test_only_a_known_key_opens(keys: list[str], given_key: bytes) -> None:
    ring, known = KeyRing(tuple(keys)), [key.encode() for key in keys]
    assert ring.admits({b"x-api-key": given_key}) is (given_key in known)
    assert all(ring.admits({b"x-api-key": key}) for key in known)


def test_a_burst_is_taken_and_what_follows_waits(clock: Clock) -> None:
    limit = RateLimit(5, BURST)
    burst = int(5 * BURST)
    assert [limit.take("a") for _ in range(burst)] == [0] * burst
    assert limit.take("a") == pytest.approx(0.2)
    assert limit.take("a") == pytest.approx(0.2)  # who asks too often waits no longer for it
    clock.at += 0.1
    assert limit.take("a") == pytest.approx(0.1)
    clock.at += 0.15
    assert limit.take("a") == 0
    assert limit.take("a") > 0


def test_a_pause_refills_no_more_than_a_burst(clock: Clock) -> None:
    limit = RateLimit(3, BURST)
    for _ in range(2):
        taken = 0
        while limit.take("a") == 0:
            taken += 1
        assert taken == 3 * BURST
        clock.at += 1e6


def test_a_rate_below_one_still_takes_one(clock: Clock) -> None:
    limit = RateLimit(0.1, BURST)
    assert limit.take("a") == 0
    assert limit.take("a") == pytest.approx(10)
    clock.at += 10.001
    assert limit.take("a") == 0


def test_clients_do_not_share(clock: Clock) -> None:
    limit = RateLimit(1, BURST)
    while limit.take("greedy") == 0:
        pass
    assert limit.take("patient") == 0


def test_a_client_that_is_seen_again_is_not_forgotten_and_memory_is_bounded(clock: Clock) -> None:
    limit = RateLimit(1, BURST)
    while limit.take("greedy") == 0:
        pass
    for number in range(2 * MAX_CLIENTS):
        limit.take(str(number))
        if number % 1000 == 0:
            assert limit.take("greedy") > 0
    assert len(limit.buckets) == MAX_CLIENTS
    for number in range(MAX_CLIENTS):
        limit.take(f"other {number}")
    assert limit.take("greedy") == 0  # unseen for longest, it begins anew


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([0.1, 0.7, 1.0, 3.0, 1000.0]), st.lists(st.floats(0, 10), max_size=40))
def test_no_stretch_of_time_has_more_than_its_share(rate: float, pauses: list[float]) -> None:
    """A token bucket's law: in any stretch at most the bucket and what the rate gives; and a wait that is told suffices."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(0.0)
        patch.setattr(guards, "time", clock)
        limit, taken = RateLimit(rate, BURST), []
        for pause in pauses:
            clock.at += pause / rate
            wait = limit.take("a")
            if wait:
                clock.at += wait + 1e-6
                assert limit.take("a") == 0
            taken.append(clock.at)
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= limit.size + (taken[last] - start) * rate + 1e-6
