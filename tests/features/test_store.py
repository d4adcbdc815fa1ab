"""The online feature store: cached or computed, exact, versioned, bounded, and never in a request's way."""

from __future__ import annotations

import logging
import math
import multiprocessing
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from lifecycle.core.errors import ProjectError
from lifecycle.features.cache import RedisCache, SQLiteCache, hide_password, open_cache
from lifecycle.features.store import FeatureStore, StoreMetrics, UnknownEntityError, _unpack, hash_feature, pack
from tests.support.servers import find_port, start_redis
from tests.support.stores import DTYPES, ROWS, declare, declare_all, write_small_rows

START = 1_800_000_000.0
EMBEDDED = "sqlite:///cache.db"


class Clock:
    """Time as a test tells it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with start_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, redis_url: str) -> str:
    """Either backend's address, with nothing in it."""
    if request.param == "sqlite":
        return EMBEDDED
    RedisCache(redis_url, 5).client.flushall()
    return redis_url


@pytest.fixture
def clock() -> Clock:
    return Clock()


def open_small(root: Path, url: str = EMBEDDED, **more: Any) -> FeatureStore:
    """A store of the rows in `root`, whose backend may take its time: the machine is busy."""
    return FeatureStore(root / "data/online/rows.db", open_cache(url, root, timeout=5), **more)


def count(registry: CollectorRegistry, result: str) -> float:
    return registry.get_sample_value("feature_store_lookups_total", {"result": result}) or 0.0


# --- what is asked for


def test_features_are_computed_once_and_cached_after(tmp_path: Path, url: str) -> None:
    write_small_rows(tmp_path)
    store = open_small(tmp_path, url)
    first = store.get_features(1, ["pace", "plan", "months"])
    assert (first, first.origin) == ({"pace": 40.5 / 13, "plan": "basic", "months": 12}, "computed")
    again = open_small(tmp_path, url).get_features(1)
    assert again.origin == "cached"
    assert again == {**dict(zip(DTYPES, ROWS[1], strict=True)), "pace": 40.5 / 13, "late": 0.0}
    assert [type(value) for value in again.values()] == [int, float, str, int, float, float]


def test_what_is_absent_stays_absent_and_what_is_undefined_is_nan(tmp_path: Path, url: str) -> None:
    write_small_rows(tmp_path)
    store = open_small(tmp_path, url)
    for origin in ("computed", "cached"):
        found = store.get_features(2)
        assert found.origin == origin and found["spend"] is None and math.isnan(found["pace"]) and found["late"] == 1.0


def test_many_come_in_order_from_wherever_they_are(tmp_path: Path, url: str) -> None:
    write_small_rows(tmp_path)
    store = open_small(tmp_path, url)
    store.get_many([5, 7])
    assert store.get_many([]) == []
    found = store.get_many([9, 7, 9, 5, np.int64(4)], ["months"])
    assert [features["months"] for features in found] == [9, 7, 9, 5, 4]
    assert [features.origin for features in found] == ["computed", "cached", "computed", "cached", "computed"]
    assert {features.origin for features in store.get_many([4, 5, 7, 9])} == {"cached"}


def test_more_than_a_statement_holds_at_once(tmp_path: Path, url: str) -> None:
    rows = {entity: (entity, 1.0, "pro", 0) for entity in range(1300)}
    write_small_rows(tmp_path, rows)
    store = open_small(tmp_path, url)
    for origin in ("computed", "cached"):
        found = store.get_many(list(rows)[::-1], ["months"])
        assert [features["months"] for features in found] == list(rows)[::-1]
        assert {features.origin for features in found} == {origin}


@pytest.mark.parametrize("entity", [99, "1", True, 1.0, 2**63, -(2**70), None])
def test_an_unknown_entity_is_named(tmp_path: Path, entity: Any) -> None:
    write_small_rows(tmp_path)
    store = open_small(tmp_path)
    with pytest.raises(UnknownEntityError, match=r"no row of id \(int64\)") as error:
        store.get_features(entity)
    assert repr(entity)[:20] in str(error.value)
    with pytest.raises(UnknownEntityError) as error:
        store.get_many([1, entity, 2])
    assert error.value.entities == [entity]


@pytest.mark.parametrize("entity", ["é", "a b", "'; DROP TABLE rows; --", "", "\x00", "1", "💡" * 50])
def test_ids_may_be_any_strings(tmp_path: Path, url: str, entity: str) -> None:
    write_small_rows(tmp_path, {entity: (3, 1.0, "pro", 0), "other": (4, 1.0, "pro", 0)}, dtype="string")
    store = open_small(tmp_path, url)
    assert [store.get_features(entity, ["months"])["months"] for _ in range(2)] == [3, 3]
    for unknown in (1, "nobody", "\ud800"):
        with pytest.raises(UnknownEntityError):
            store.get_features(unknown)


def test_missing_rows_and_features_are_reported(tmp_path: Path) -> None:
    store = open_small(tmp_path)
    with pytest.raises(ProjectError, match="is missing: run `lifecycle materialize`"):
        store.get_features(1)
    path = write_small_rows(tmp_path)
    with pytest.raises(ProjectError, match="has no 'speed'; it has months, spend, plan, senior, pace, late"):
        store.get_features(1, ["pace", "speed"])
    features = [*declare_all(), declare("far", "distance * 2", "distance")]
    with pytest.raises(ProjectError, match=r"'far' reads \['distance'\], which the rows do not have"):
        open_small(tmp_path, features=features).get_features(1)
    path.write_bytes(b"no database, but long enough to look like one" * 100)
    with pytest.raises(ProjectError, match="is not a file of rows"):
        store.get_features(1)


# --- values

ZONES = st.sampled_from([None, UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=3))])
MOMENTS = st.datetimes().flatmap(lambda moment: ZONES.map(lambda zone: moment.replace(tzinfo=zone, fold=0)))
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")) | MOMENTS


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES, max_size=8))
def test_values_come_back_as_they_were(values: list[Any]) -> None:
    blob = pack(values)
    found = _unpack(blob, len(values))
    assert found is not None
    assert [(type(value), repr(value)) for value in found] == [(type(value), repr(value)) for value in values]
    assert _unpack(blob, len(values) + 1) is None


@pytest.mark.parametrize("value", [np.float64(1), b"x", [1], object()])
def test_values_without_an_exact_form_are_rejected(value: Any) -> None:
    with pytest.raises(TypeError):
        pack([value])


@pytest.mark.parametrize("blob", [b"", b"x", b"1", b"{}", b'{"values":[1],"special":[[5,"f","nan"]]}', b'{"values":[1],"special":[[0,"q",""]]}'])  # fmt: skip
def test_foreign_bytes_are_not_values(tmp_path: Path, blob: bytes) -> None:
    assert _unpack(blob, 1) is None
    write_small_rows(tmp_path)
    store = open_small(tmp_path)
    key, width = store.look().make_key(1), store.look().width
    for foreign in (blob, pack([None] * width), pack(["x"] * width)):
        store.cache.put_many([(key, foreign)], time.time(), 60)
        assert store.get_features(1).origin == "computed"
        assert store.get_features(1).origin == "cached"
    assert store.get_features(1)["months"] == 12


# --- versions


def test_another_definition_never_reads_an_old_value(tmp_path: Path, url: str) -> None:
    write_small_rows(tmp_path)
    before = open_small(tmp_path, url)
    assert before.get_features(1)["pace"] == 40.5 / 13
    changed = open_small(tmp_path, url, features=declare_all("spend / (2 + months)"))
    assert (changed.get_features(1)["pace"], changed.get_features(1).origin) == (40.5 / 14, "cached")
    assert (before.get_features(1)["pace"], before.get_features(1).origin) == (40.5 / 13, "cached")


def test_another_language_is_another_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    feature = declare_all()[-1]
    assert hash_feature(feature) == hash_feature({**feature, "description": "said otherwise", "unit": "s"})
    hashes = {hash_feature(feature), hash_feature({**feature, "expression": 'plan == "basic"'}), hash_feature({**feature, "values": [0]})}  # fmt: skip
    monkeypatch.setattr("lifecycle.features.store._hash_language", lambda: "another")
    assert len({*hashes, hash_feature(feature)}) == 4


def test_replaced_rows_are_read_at_once_and_old_values_never(tmp_path: Path, url: str) -> None:
    write_small_rows(tmp_path)
    store = open_small(tmp_path, url)
    store.get_many([1, 2])
    write_small_rows(tmp_path, {1: (13, 40.5, "basic", 0)})
    assert (store.get_features(1)["months"], store.get_features(1).origin) == (13, "cached")
    with pytest.raises(UnknownEntityError):
        store.get_features(2)
    write_small_rows(tmp_path, ROWS)
    assert (store.get_features(1)["months"], store.get_features(1).origin) == (12, "cached"), (
        "it is the first version again"
    )


def test_readers_see_one_version_or_the_other_while_rows_are_replaced(tmp_path: Path) -> None:
    versions = [{entity: (number, float(number), "pro", 0) for entity in range(20)} for number in (1, 2)]
    write_small_rows(tmp_path, versions[0])
    store, over = open_small(tmp_path), threading.Event()

    def read() -> int:
        reads = 0
        while not over.is_set():
            found = store.get_many(list(range(20)), ["months", "spend"])
            assert len({(features["months"], features["spend"]) for features in found}) == 1
            reads += 1
        return reads

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for number in range(30):
            write_small_rows(tmp_path, versions[number % 2])
        over.set()
        assert all(reader.result() > 0 for reader in readers)


# --- time and size


def test_a_value_is_served_for_its_time_and_no_longer(tmp_path: Path, url: str, clock: Clock) -> None:
    write_small_rows(tmp_path)
    registry = CollectorRegistry()
    store = open_small(tmp_path, url, clock=clock, ttl=3600, metrics=StoreMetrics(registry))
    assert store.get_features(1).origin == "computed"
    clock.now += 3599.5
    assert store.get_features(1).origin == "cached"
    assert registry.get_sample_value("feature_store_age_seconds_sum") == pytest.approx(3599.5, abs=0.01)
    clock.now += 1
    assert [store.get_features(1).origin for _ in range(2)] == ["computed", "cached"]
    assert {result: count(registry, result) for result in ("cached", "computed", "direct")} == {
        "cached": 2, "computed": 2, "direct": 0,
    }  # fmt: skip


def test_redis_lets_values_expire_itself(tmp_path: Path, redis_url: str) -> None:
    write_small_rows(tmp_path)
    store = open_small(tmp_path, redis_url, ttl=100)
    store.cache.client.flushall()
    store.get_features(1)
    assert 0 < store.cache.client.ttl(store.look().make_key(1)) <= 100


def test_an_embedded_cache_stays_within_its_size(tmp_path: Path, clock: Clock) -> None:
    cache = SQLiteCache(tmp_path / "cache.db", 5, capacity=200)

    def list_keys() -> set[bytes]:
        return {key for (key,) in cache.connect().execute("SELECT key FROM cache")}

    for number in range(1000):
        cache.put_many([(b"%d" % number, b"x" * 100)], clock.now + number, 3600)
        assert len(list_keys()) <= 200 + cache.step
    assert list_keys() >= {b"%d" % number for number in range(800, 1000)}, "what would expire first goes first"
    size = (tmp_path / "cache.db").stat().st_size
    cache.put_many([(b"late", b"")], clock.now + 10_000, 60)
    cache.put_many([(b"later", b"")], clock.now + 10_000, 60)
    assert list_keys() == {b"late", b"later"} and (tmp_path / "cache.db").stat().st_size <= size


def test_all_are_cached_in_parts_or_as_many_as_there_is_room_for(tmp_path: Path, url: str) -> None:
    write_small_rows(tmp_path)
    store = open_small(tmp_path, url)
    assert list(store.fill(10, batch=4)) == [4, 8, 10]
    assert [features.origin for features in store.get_many([10, 11])] == ["cached", "computed"]
    assert list(store.fill(batch=25)) == [25, len(ROWS)]
    found = store.get_many(list(ROWS))
    assert {features.origin for features in found} == {"cached"}
    direct = FeatureStore(tmp_path / "data/online/rows.db", open_cache("sqlite:///other.db", tmp_path, timeout=5))
    for one, other in zip(found, direct.get_many(list(ROWS)), strict=True):
        assert {name: repr(value) for name, value in one.items()} == {
            name: repr(value) for name, value in other.items()
        }, "at once or one by one, it is the same"


def work(root: str, url: str, number: int) -> list[tuple[str, float]]:
    """What a process of several does with one store."""
    store = open_small(Path(root), url)
    entities = [1 + (number + step) % 30 for step in range(200)]
    return [(features.origin, features["months"]) for entity in entities for features in [store.get_features(entity)]]


def test_processes_share_a_store(tmp_path: Path, url: str) -> None:
    write_small_rows(tmp_path)
    expected = {entity: row[0] for entity, row in ROWS.items()}
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        done = pool.starmap(work, [(str(tmp_path), url, number) for number in range(2)])
    for number, answers in enumerate(done):
        assert [months for _, months in answers] == [expected[1 + (number + step) % 30] for step in range(200)]
        assert all(origin in ("cached", "computed") for origin, _ in answers)
    assert {features.origin for features in open_small(tmp_path, url).get_many(list(range(1, 31)))} == {"cached"}


def test_threads_share_a_store(tmp_path: Path, url: str) -> None:
    write_small_rows(tmp_path)
    store = open_small(tmp_path, url)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: store.get_features(4 + number % 30)["months"], range(600)))
    assert found == [4 + number % 30 for number in range(600)]


# --- when the backend is down


def test_a_redis_that_is_killed_and_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_small_rows(tmp_path)
    port, registry = find_port(), CollectorRegistry()
    caplog.set_level(logging.INFO, "lifecycle.features.store")
    up = lambda: registry.get_sample_value("feature_store_up")  # noqa: E731
    with start_redis(tmp_path / "redis", port) as url:
        store = open_small(tmp_path, url, metrics=StoreMetrics(registry), rest=0.2)
        assert [store.get_features(1).origin for _ in range(2)] == ["computed", "cached"] and up() == 1
    found = [store.get_features(1) for _ in range(50)]
    assert {features.origin for features in found} == {"direct"} and found[0]["pace"] == 40.5 / 13 and up() == 0
    assert sum("does not answer, features are computed directly" in line for line in caplog.messages) == 1
    assert count(registry, "direct") == 50
    with start_redis(tmp_path / "redis", port):
        end = time.monotonic() + 20
        while store.get_features(2).origin == "direct":
            assert time.monotonic() < end
            time.sleep(0.01)
        assert store.get_features(2).origin == "cached" and up() == 1
        assert caplog.messages[-1].endswith("answers again")


def test_a_redis_that_hangs_costs_one_timeout_and_no_more(tmp_path: Path) -> None:
    write_small_rows(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"redis://127.0.0.1:{mute.getsockname()[1]}/0"
        store = FeatureStore(tmp_path / "data/online/rows.db", open_cache(url, tmp_path, timeout=0.1), rest=60)
        began = time.perf_counter()
        assert store.get_features(1).origin == "direct"
        first = time.perf_counter() - began
        assert 0.09 < first < 3
        began = time.perf_counter()
        assert {features.origin for _ in range(100) for features in store.get_many([1, 2])} == {"direct"}
        assert time.perf_counter() - began < 100 * 0.1


def test_a_redis_that_is_full_is_still_read(tmp_path: Path) -> None:
    write_small_rows(tmp_path)
    with start_redis(tmp_path / "redis") as url:
        registry = CollectorRegistry()
        store = open_small(tmp_path, url, metrics=StoreMetrics(registry))
        store.get_features(1)
        store.cache.client.config_set("maxmemory", 1)
        assert [store.get_features(entity).origin for entity in (1, 2, 2, 1)] == [
            "cached",
            "computed",
            "computed",
            "cached",
        ]
        assert registry.get_sample_value("feature_store_unkept_total") == 2


def test_an_embedded_cache_that_cannot_be_written_is_not_used(tmp_path: Path) -> None:
    write_small_rows(tmp_path)
    (tmp_path / "cache.db").write_bytes(b"this is no database, whatever its name says" * 200)
    assert [open_small(tmp_path).get_features(1).origin for _ in range(2)] == ["direct", "direct"]
    (tmp_path / "cache.db").unlink()
    store = open_small(tmp_path)
    store.cache.timeout = 0.05
    store.get_features(1)
    holder = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert [store.get_features(entity).origin for entity in (1, 3)] == ["cached", "computed"], "readers do not wait"
    holder.execute("ROLLBACK")
    holder.close()
    assert [store.get_features(3).origin for _ in range(2)] == ["computed", "cached"]


# --- addresses


def test_a_password_is_used_but_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_small_rows(tmp_path)
    with start_redis(tmp_path / "redis") as url:
        RedisCache(url, 5).client.config_set("requirepass", "s3cret")
        locked = open_small(tmp_path, url)
        assert [locked.get_features(1).origin for _ in range(2)] == ["direct", "direct"]
        opened = open_small(tmp_path, url.replace("//", "//:s3cret@"))
        assert [opened.get_features(1).origin for _ in range(2)] == ["computed", "cached"]
        wrong = open_small(tmp_path, url.replace("//", "//:s3cret-no@"))
        assert wrong.get_features(1).origin == "direct"
    assert "does not answer" in caplog.text and "s3cret" not in caplog.text + wrong.cache.name


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://user:s3cret@h:1/0?password=s3cret", "redis://h:1/0"),
        ("rediss://:s3/c@ret@h:1", "rediss://h:1"),
        ("sqlite:///.lifecycle/features.db", "sqlite:///.lifecycle/features.db"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, told: str) -> None:
    assert hide_password(url) == told


@pytest.mark.parametrize("url", ["", "redis", "postgresql://:s3cret@h/d", "sqlite://", "sqlite:///", "redis://:s3/cret@h:1", "redis://h:port"])  # fmt: skip
def test_an_invalid_address_is_rejected_without_its_secrets(url: str, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="is not an address") as error:
        open_cache(url, tmp_path)
    assert "s3" not in str(error.value)


def test_an_embedded_store_is_below_the_project_or_where_it_is_said(tmp_path: Path) -> None:
    assert open_cache("sqlite:///a/b.db", Path("/project")).path == Path("/project/a/b.db")
    assert open_cache(f"sqlite:///{tmp_path}/b.db", Path("/project")).path == tmp_path / "b.db"
