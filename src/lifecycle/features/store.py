"""The online feature store: read an entity's features from a cache, or compute and cache them from its newest row.

Rows are in one SQLite file, which `lifecycle materialize` replaces as a whole; the address of the cache chooses SQLite or
Redis. A cached value's key contains the hash of everything that it was computed from: the features' definitions, the code
that evaluates expressions, and the rows. After a change of any of these, old values are not read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from functools import cache
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from lifecycle.core import expressions
from lifecycle.core.errors import ProjectError
from lifecycle.core.expressions import parse_expression, to_array, to_value
from lifecycle.core.files import hash_file
from lifecycle.core.records import Record
from lifecycle.features.cache import SQL_VARIABLES, Cache, cut

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

Entity = int | str
_FORMAT = 1  # of the file of rows and of packed values
_TTL = 3600.0  # seconds for which a computed value is served
_COOLDOWN_SECONDS = 5.0  # seconds for which a cache that failed is not used
_REMINDER_SECONDS = 60.0  # seconds between two warnings about it in the log
_CACHED, _COMPUTED, _DIRECT = "cached", "computed", "direct"
_DEFINING = ("kind", "expression", "columns", "values")  # keys of a feature's record that its values depend on
_SPECIAL: dict[str, Callable[[str], Any]] = {"f": float, "i": int, "t": datetime.fromisoformat}
_PLAIN = {float, int, bool, str, type(None)}  # types that JSON can express, except for floats that are not finite
SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_ROWS_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -262144;
CREATE TABLE IF NOT EXISTS rows (entity PRIMARY KEY, at INTEGER NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_UPSERT = """
INSERT INTO rows VALUES (?, ?, ?) ON CONFLICT (entity)
DO UPDATE SET at = excluded.at, value = excluded.value WHERE excluded.at >= rows.at
"""
logger = logging.getLogger("lifecycle.features.store")


class UnknownEntityError(LookupError):
    """Raised for entities without a row."""

    def __init__(self, entities: Sequence[Any], kind: str) -> None:
        more = f" and {len(entities) - 3:,} more" if len(entities) > 3 else ""
        listed = ", ".join(repr(entity)[:60] for entity in entities[:3])
        super().__init__(f"the feature store has no row of {kind} {listed}{more}")
        self.entities = list(entities)


class _ReplacedError(Exception):
    """Raised when the file of rows was replaced in the meantime."""


class Features(dict[str, Any]):
    """An entity's features by name. origin: `cached`, `computed`, or `direct`: computed because the cache is down."""

    __slots__ = ("origin",)
    origin: str


class FeatureStore:
    """Reads entities' features; threads may share it.

    rows: the file that `lifecycle materialize` writes; it may be replaced at any time. cache: see `cache.open_cache`.
    features: records of features.json; None: those that the rows were materialised with. ttl, rest: seconds. clock:
    seconds since 1970.
    """

    def __init__(
        self, rows: Path, cache: Cache, features: Sequence[Record] | None = None, *, ttl: float = _TTL, rest: float = _COOLDOWN_SECONDS,
        clock: Callable[[], float] = time.time, metrics: StoreMetrics | None = None,
    ) -> None:  # fmt: skip
        self.rows, self.cache, self.features, self.ttl, self.clock = rows, cache, features, ttl, clock
        self.breaker = _Breaker(rest)
        self.metrics = metrics or StoreMetrics(None)
        self.metrics.set_up(up=True)
        self.current: Snapshot | None = None

    def get_features(self, entity: Entity, names: Sequence[str] | None = None) -> Features:
        """Return the features `names` (by default all) of an entity; raise UnknownEntityError, or ProjectError for a name."""
        return self.get_many([entity], names)[0]

    def get_many(self, entities: Sequence[Entity], names: Sequence[str] | None = None) -> list[Features]:
        """Return the features of many entities, in their order, in one round trip to the cache and one to fill it.

        Raises UnknownEntityError naming all entities without a row, ProjectError for an unknown name or a missing file.
        """
        began = time.perf_counter()
        while entities:
            snapshot = self.look()
            try:
                answers = self.answer(snapshot, entities, snapshot.find_places(names))
            except _ReplacedError:
                self.current = None
                continue
            self.metrics.observe_latency(time.perf_counter() - began)
            return answers
        return []

    def describe(self) -> Record | None:
        """Return when the rows were materialised and their newest moment, in seconds since 1970; None without rows."""
        try:
            snapshot = self.look()
        except ProjectError:
            return None
        newest = None if snapshot.newest is None else snapshot.newest / 1e6
        return {"materialized": snapshot.stamp[1] / 1e9, "newest": newest, "rows": snapshot.count}

    def look(self) -> Snapshot:
        """Return the current rows; raise ProjectError without any."""
        stamp = _stamp_rows(self.rows)
        current = self.current
        if current is None or current.stamp != stamp:
            current = self.current = Snapshot(self.rows, stamp, self.features)
        return current

    def answer(self, snapshot: Snapshot, entities: Sequence[Entity], places: _Places) -> list[Features]:
        """Return the features of entities from one state of the rows."""
        now, key = self.clock(), snapshot.make_key
        try:
            keys = [key(entity) for entity in entities]
        except UnknownEntityError:
            self.metrics.count("unknown", 1)
            raise
        found, up = self.fetch(keys, now)
        answers: list[Any] = []
        missing: list[int] = []
        oldest, width = now, snapshot.width
        for number, blob in enumerate(found):
            record = None if blob is None else _unpack(blob, width)
            if record is None or type(record[0]) is not float or now - record[0] >= self.ttl:
                missing.append(number)
                answers.append(None)
            else:
                oldest = min(oldest, record[0])
                answers.append(_make_features(_CACHED, places, record))
        if hits := len(found) - len(missing):
            self.metrics.count(_CACHED, hits)
            self.metrics.observe_age(now - oldest)
        if missing:
            origin = _COMPUTED if up else _DIRECT
            rows = snapshot.read_rows([entities[number] for number in missing])
            unknown = list(dict.fromkeys(entity for number in missing if (entity := entities[number]) not in rows))
            if unknown:
                self.metrics.count("unknown", len(unknown))
                raise UnknownEntityError(unknown, snapshot.kind)
            fresh: dict[Entity, list[Any]] = {}
            for number in missing:
                entity = entities[number]
                if entity not in fresh:
                    fresh[entity] = [round(now, 3), *snapshot.compute(rows[entity])]
                answers[number] = _make_features(origin, places, fresh[entity])
            self.metrics.count(origin, len(missing))
            if up:
                self.keep([(key(entity), pack(record)) for entity, record in fresh.items()], now)
        return answers

    def fetch(self, keys: list[bytes], now: float) -> tuple[list[bytes | None], bool]:
        """Return the cached values of keys, and whether the cache answers; after a failure it is not used for a while."""
        if not self.breaker.allows():
            return [None] * len(keys), False
        try:
            found = self.cache.get_many(keys, now)
        except self.cache.errors as error:
            self.breaker.open()
            self.metrics.set_up(up=False)
            if self.breaker.reminds():
                logger.warning(
                    "%s does not answer, features are computed directly: %s", self.cache.name, type(error).__name__
                )
            return [None] * len(keys), False
        if self.breaker.until:
            self.breaker.close()
            self.metrics.set_up(up=True)
            logger.info("%s answers again", self.cache.name)
        return found, True

    def keep(self, items: list[tuple[bytes, bytes]], now: float) -> None:
        """Cache computed features. A failure does not stop reading: a full Redis refuses writes but answers reads."""
        try:
            self.cache.put_many(items, now, self.ttl)
        except self.cache.errors as error:
            self.metrics.count_unkept(len(items))
            if self.breaker.reminds():
                logger.warning("%s refuses writes, features are not cached: %s", self.cache.name, type(error).__name__)

    def fill(self, most: int | None = None, batch: int = 2000) -> Iterator[int]:
        """Cache the features of all entities, or of the first `most`; yield how many are done after each batch.

        Raises the cache's exceptions.
        """
        snapshot, done = self.look(), 0
        for part in snapshot.list_rows(batch):
            now, kept = self.clock(), part if most is None else part[: most - done]
            if not kept:
                return
            records = snapshot.compute_many([row for _, row in kept])
            items = [
                (snapshot.make_key(entity), pack([round(now, 3), *record]))
                for (entity, _), record in zip(kept, records, strict=True)
            ]
            self.cache.put_many(items, now, self.ttl)
            done += len(items)
            yield done


def _make_features(origin: str, places: _Places, record: list[Any]) -> Features:
    """Return the features at some places of a record."""
    names, pick = places
    features = Features(zip(names, pick(record), strict=True))
    features.origin = origin
    return features


# Names, and the function that picks their values from a record: its time, then the values of all features.
_Places = tuple[tuple[str, ...], Callable[[list[Any]], Sequence[Any]]]


class Snapshot:
    """One state of the file of rows, and the computation of features from a row."""

    def __init__(self, path: Path, stamp: _Stamp, features: Sequence[Record] | None) -> None:
        self.path, self.stamp = path, stamp
        self.local = threading.local()
        meta = read_meta(path)
        self.version: str = meta["version"]
        self.entity, self.dtype = meta["entity"]["name"], meta["entity"]["dtype"]
        self.kind = f"{self.entity} ({self.dtype})"
        self.newest: int | None = meta["newest"]
        self.count: int = meta["rows"]
        self.dtypes: dict[str, str] = meta["columns"]
        self.features: list[Record] = list(meta["features"] if features is None else features)
        self.columns = list(self.dtypes)
        derived = [feature for feature in self.features if feature["expression"] is not None]
        for feature in self.features:
            if unknown := [name for name in feature["columns"] if name not in self.dtypes]:
                raise ProjectError(
                    f"{path}: the feature {feature['name']!r} reads {unknown}, which the rows do not have: run `lifecycle materialize`."
                )
        self.parsed = [parse_expression(feature["expression"], feature["name"]) for feature in derived]
        self.derived = [expression.compute_one for expression in self.parsed]
        self.read = [
            (name, self.columns.index(name), self.dtypes[name])
            for name in dict.fromkeys(name for expression in self.parsed for name in expression.columns)
        ]
        names = [*self.columns, *(feature["name"] for feature in derived)]
        self.places = {name: place for place, name in enumerate(names, start=1)}
        self.width = 1 + len(names)
        self.chosen: dict[tuple[str, ...], _Places] = {}
        inputs = [_FORMAT, self.version, self.dtypes, [[f["name"], hash_feature(f)] for f in self.features]]
        self.prefix = b"lifecycle:" + _hash_canonically(inputs)[:16].encode() + b":"

    def find_places(self, names: Sequence[str] | None) -> _Places:
        """Return the places of the features `names` (by default all) in a record; raise ProjectError for an unknown one."""
        chosen = tuple(self.places) if names is None else tuple(names)
        places = self.chosen.get(chosen)
        if places is None:
            if unknown := [name for name in chosen if name not in self.places]:
                raise ProjectError(f"the feature store has no {unknown[0]!r}; it has {', '.join(self.places)}.")
            numbers = [self.places[name] for name in chosen]
            places = chosen, itemgetter(*numbers) if len(numbers) > 1 else lambda record: [record[n] for n in numbers]
            if len(self.chosen) < 1000:
                self.chosen[chosen] = places
        return places

    def make_key(self, entity: Entity) -> bytes:
        """Return the key of an entity's features; raise UnknownEntityError for a value that cannot be an id."""
        plain = _to_plain(entity)
        whole = type(plain) is int and SMALLEST <= plain <= _LARGEST
        if whole if self.dtype == "int64" else type(plain) is str:
            try:
                return self.prefix + orjson.dumps(plain)
            except TypeError:  # a string with a lone surrogate
                pass
        raise UnknownEntityError([entity], self.kind)

    def connect(self) -> sqlite3.Connection:
        """Return this thread's connection; raise ReplacedError when the file has another version."""
        held: tuple[int, sqlite3.Connection] | None = getattr(self.local, "held", None)
        if held is None or held[0] != os.getpid():
            connection = _open_rows(self.path)
            found = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
            if found is None or json.loads(found[0]) != self.version:
                raise _ReplacedError
            held = self.local.held = os.getpid(), connection
        return held[1]

    def read_rows(self, entities: Sequence[Entity]) -> dict[Entity, list[Any]]:
        """Return the rows of those entities that have one."""
        found: dict[Entity, list[Any]] = {}
        for part in cut(entities, SQL_VARIABLES):
            places = ",".join("?" * len(part))
            question = f"SELECT entity, value FROM rows WHERE entity IN ({places})"  # noqa: S608 - question marks only
            values = [_to_plain(entity) for entity in part]
            found.update((entity, self.unpack_row(value)) for entity, value in self.ask(question, values))
        return found

    def ask(self, question: str, values: Sequence[Any] = ()) -> Iterator[tuple[Entity, bytes]]:
        """Run a query on the file; raise ProjectError when it is damaged."""
        try:
            yield from self.connect().execute(question, values)
        except sqlite3.Error as error:
            raise ProjectError(f"{self.path} cannot be read ({error}): run `lifecycle materialize`.") from error

    def unpack_row(self, value: bytes) -> list[Any]:
        """Return a row's values; raise ProjectError when they are damaged."""
        row = _unpack(value, len(self.columns))
        if row is None:
            raise ProjectError(f"{self.path} is damaged: run `lifecycle materialize`.")
        return row

    def list_rows(self, batch: int) -> Iterator[list[tuple[Entity, list[Any]]]]:
        """Yield all entities and their rows, in parts, ordered by entity."""
        rows = self.ask("SELECT entity, value FROM rows ORDER BY entity")
        while part := list(islice(rows, batch)):
            yield [(entity, self.unpack_row(value)) for entity, value in part]

    def compute(self, row: list[Any]) -> list[Any]:
        """Return the values of all features of a row: its columns, then the derived ones, NaN when undefined."""
        if not self.derived:
            return row
        values = {name: to_value(row[place], dtype) for name, place, dtype in self.read}
        computed = [float(compute(values)) for compute in self.derived]
        return [*row, *(number if math.isfinite(number) else math.nan for number in computed)]

    def compute_many(self, rows: list[list[Any]]) -> list[list[Any]]:
        """Compute many rows as arrays; the last digits may differ from those of `compute`."""
        if not self.derived:
            return rows
        arrays = {name: to_array([row[place] for row in rows], dtype) for name, place, dtype in self.read}
        computed = [expression.evaluate(arrays).tolist() for expression in self.parsed]
        return [[*row, *values] for row, values in zip(rows, zip(*computed, strict=True), strict=True)]


class _Breaker:
    """A circuit breaker: after a failure it allows one attempt every `rest` seconds (Nygard, Release It!)."""

    def __init__(self, rest: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rest, self.clock, self.lock = rest, clock, threading.Lock()
        self.until = 0.0  # 0: no failure
        self.reminded = -math.inf

    def allows(self) -> bool:
        """Return whether to make an attempt."""
        if not self.until:
            return True
        with self.lock:
            now = self.clock()
            if now < self.until:
                return False
            self.until = now + self.rest  # other callers wait for the result of this attempt
            return True

    def open(self) -> None:
        """Record a failure."""
        self.until = self.clock() + self.rest

    def close(self) -> None:
        """Record a success."""
        self.until, self.reminded = 0.0, -math.inf

    def reminds(self) -> bool:
        """Return whether it is time for another warning in the log."""
        now = self.clock()
        if now - self.reminded < _REMINDER_SECONDS:
            return False
        self.reminded = now
        return True


class StoreMetrics:
    """The store's Prometheus metrics; without a registry it does nothing."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self.registry = registry
        if registry is None:
            return
        from prometheus_client import Counter, Gauge, Histogram

        self.lookups = Counter(
            "feature_store_lookups", "Entities looked up: cached, computed, direct (the cache is down), unknown.",
            ["result"], registry=registry,
        )  # fmt: skip
        self.unkept = Counter(
            "feature_store_unkept", "Computed entities that the cache did not take.", registry=registry
        )
        self.ages = Histogram(
            "feature_store_age_seconds", "Since the oldest cached value of an answer was computed.",
            buckets=(1, 10, 60, 300, 900, 1800, 3600, 7200, 14400, 86400), registry=registry,
        )  # fmt: skip
        self.latency = Histogram(
            "feature_store_seconds", "Of a lookup, of however many entities.",
            buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0), registry=registry,
        )  # fmt: skip
        self.up = Gauge("feature_store_up", "1: the cache answers.", multiprocess_mode="livemin", registry=registry)
        self.counters = {result: self.lookups.labels(result) for result in (_CACHED, _COMPUTED, _DIRECT, "unknown")}

    def count(self, result: str, entities: int) -> None:
        """Count entities that were looked up."""
        if self.registry is not None:
            self.counters[result].inc(entities)

    def count_unkept(self, entities: int) -> None:
        """Count entities that were not cached."""
        if self.registry is not None:
            self.unkept.inc(entities)

    def observe_age(self, seconds: float) -> None:
        """Record the age of the oldest cached value of an answer."""
        if self.registry is not None:
            self.ages.observe(seconds)

    def observe_latency(self, seconds: float) -> None:
        """Record the duration of a lookup."""
        if self.registry is not None:
            self.latency.observe(seconds)

    def set_up(self, *, up: bool) -> None:
        """Record whether the cache answers."""
        if self.registry is not None:
            self.up.set(float(up))


# --- definitions


def hash_feature(feature: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what a feature's values depend on: its definition and the code that evaluates expressions."""
    language = None if feature["expression"] is None else _hash_language()
    return _hash_canonically([{key: feature[key] for key in _DEFINING}, language])


def _hash_canonically(value: Any) -> str:
    """Return the hash of a value's canonical JSON (as RFC 8785 for the values used here: sorted keys, no blanks)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _hash_language() -> str:
    """Return the hash of the code that evaluates expressions."""
    return hash_file(Path(expressions.__file__))


# --- values


def _to_plain(entity: Any) -> Any:
    """Convert a numpy scalar to a Python value."""
    return entity.item() if hasattr(entity, "item") else entity


def pack(values: Sequence[Any]) -> bytes:
    """Pack values into bytes without loss: a JSON list, with values that JSON cannot express in a second list.

    Takes float (NaN and infinities too), int, bool, str, None and datetime; raises TypeError for anything else.
    """
    if _PLAIN.issuperset(map(type, values)):
        try:
            blob = orjson.dumps(values)
        except TypeError:  # a whole number of more than 64 bits
            return _pack_special(values)
        if b"null" not in blob:  # which NaN and infinities become too
            return blob
    return _pack_special(values)


def _pack_special(values: Sequence[Any]) -> bytes:
    """Pack values some of which JSON may not be able to express."""
    plain, special = list(values), []
    for place, value in enumerate(values):
        kind = type(value)
        if kind is float:
            if not math.isfinite(value):
                special.append((place, "f", repr(value)))
        elif kind is int:
            if not SMALLEST <= value <= _LARGEST:
                special.append((place, "i", str(value)))
        elif kind is datetime:
            special.append((place, "t", value.isoformat()))
        elif kind not in _PLAIN:
            raise TypeError(f"a {kind.__name__} cannot be packed: {value!r}")
    for place, _, _ in special:
        plain[place] = None
    return orjson.dumps({"values": plain, "special": special} if special else plain)


def _unpack(blob: bytes, width: int) -> list[Any] | None:
    """Return the `width` packed values; None when the bytes are not such a record."""
    try:
        record = orjson.loads(blob)
        if type(record) is dict:
            special, record = record["special"], record["values"]
            for place, kind, text in special:
                record[place] = _SPECIAL[kind](text)
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return record if type(record) is list and len(record) == width else None


# --- the file of rows

_Stamp = tuple[int, int, int]


def _stamp_rows(path: Path) -> _Stamp:
    """Return the file's identity, time and size; raise ProjectError when it is missing."""
    try:
        state = os.stat(path)  # noqa: PTH116 - takes half of the time of Path.stat, at every lookup
    except FileNotFoundError:
        raise ProjectError(f"{path} is missing: run `lifecycle materialize`.") from None
    return state.st_ino, state.st_mtime_ns, state.st_size


def _open_rows(path: Path) -> sqlite3.Connection:
    """Open the file for reading; it never changes, so that SQLite does not need to lock it."""
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True, check_same_thread=False)


def read_meta(path: Path) -> Record:
    """Return the file's metadata; raise ProjectError when it is not a file of rows."""
    try:
        with closing(_open_rows(path)) as connection:
            meta = {key: json.loads(value) for key, value in connection.execute("SELECT key, value FROM meta")}
        if meta.get("format") != _FORMAT:
            raise ProjectError(
                f"{path} has format {meta.get('format')!r}, expected {_FORMAT}: run `lifecycle materialize`."
            )
    except (sqlite3.Error, ValueError) as error:
        raise ProjectError(f"{path} is not a file of rows ({error}): run `lifecycle materialize`.") from error
    return meta


def write_rows(path: Path, rows: Iterable[Sequence[tuple[Entity, int, bytes]]], meta: Record) -> str:
    """Add rows (entity, moment, packed values), in parts, to a file; an entity keeps its newest (of equal ones the last).

    meta: entity (name, dtype), columns (dtype by name, in the packed order), features (records). Returns the version:
    the hash of the content.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(_ROWS_SCHEMA)
        connection.execute("BEGIN")
        for part in rows:
            connection.executemany(_UPSERT, part)
        digest, count, newest = hashlib.sha256(), 0, SMALLEST
        for entity, at, value in connection.execute("SELECT entity, at, value FROM rows ORDER BY entity"):
            digest.update(b"%d:%r:%d:" % (len(value), entity, at) + value)
            count, newest = count + 1, max(newest, at)
        version = _hash_canonically([_FORMAT, meta["entity"], list(meta["columns"].items()), digest.hexdigest()])
        facts = {
            **meta, "format": _FORMAT, "version": version, "rows": count, "newest": newest if newest > SMALLEST else None,
        }  # fmt: skip
        connection.execute("DELETE FROM meta")
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)", [(key, json.dumps(value)) for key, value in facts.items()]
        )
        connection.execute("COMMIT")
    return version
