"""The online feature store: an entity's features from a cache, or computed from its newest row and cached.

Rows come from one SQLite file, which `lifecycle materialize` replaces as a whole; the cache is SQLite or Redis, by its
address. A cached value's key holds the hash of all that it was computed from: the features' definitions, the language that
they are written in, and the rows. So neither changed code nor changed rows ever read an old value.
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
from lifecycle.features.cache import SQL_VARIABLES, Cache, cut

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

Record = dict[str, Any]
Entity = int | str
FORMAT = 1  # of what is packed
TTL = 3600.0  # seconds that a computed value is served
REST = 5.0  # seconds in which a cache that failed is not asked again
REMIND = 60.0  # seconds between two lines of the log that say so
CACHED, COMPUTED, DIRECT = "cached", "computed", "direct"
DEFINING = ("kind", "expression", "columns", "values")  # of a feature's record: what its values follow from
SPECIAL: dict[str, Callable[[str], Any]] = {"f": float, "i": int, "t": datetime.fromisoformat}
PLAIN = {float, int, bool, str, type(None)}  # what JSON has words for, but for floats that are not finite
SMALLEST, LARGEST = -(2**63), 2**63 - 1
ROWS_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -262144;
CREATE TABLE IF NOT EXISTS rows (entity PRIMARY KEY, at INTEGER NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
UPSERT = """
INSERT INTO rows VALUES (?, ?, ?) ON CONFLICT (entity)
DO UPDATE SET at = excluded.at, value = excluded.value WHERE excluded.at >= rows.at
"""
logger = logging.getLogger("lifecycle.features.store")


class UnknownEntityError(LookupError):
    """Entities of which there is no row."""

    def __init__(self, entities: Sequence[Any], kind: str) -> None:
        more = f" and {len(entities) - 3:,} more" if len(entities) > 3 else ""
        told = ", ".join(repr(entity)[:60] for entity in entities[:3])
        super().__init__(f"the feature store has no row of {kind} {told}{more}")
        self.entities = list(entities)


class ReplacedError(Exception):
    """The file of rows is another one than was looked at."""


class Features(dict[str, Any]):
    """An entity's features by name. origin: `cached`, `computed` just now, or `direct`: computed as the cache is down."""

    __slots__ = ("origin",)
    origin: str


class FeatureStore:
    """Gives entities' features; safe to share between threads.

    rows: the file that `lifecycle materialize` writes; it may be replaced at any time. cache: see `caches.open_cache`.
    features: records as of features.json; None: those that the rows were materialised with. ttl, rest: seconds. clock:
    seconds since 1970.
    """

    def __init__(
        self, rows: Path, cache: Cache, features: Sequence[Record] | None = None, *, ttl: float = TTL, rest: float = REST,
        clock: Callable[[], float] = time.time, metrics: StoreMetrics | None = None,
    ) -> None:  # fmt: skip
        self.rows, self.cache, self.features, self.ttl, self.clock = rows, cache, features, ttl, clock
        self.breaker = Breaker(rest)
        self.metrics = metrics or StoreMetrics(None)
        self.metrics.set_up(up=True)
        self.current: Snapshot | None = None

    def get_features(self, entity: Entity, names: Sequence[str] | None = None) -> Features:
        """The features `names` (all) of an entity; raises UnknownEntityError, and ProjectError for an unknown name."""
        return self.get_many([entity], names)[0]

    def get_many(self, entities: Sequence[Entity], names: Sequence[str] | None = None) -> list[Features]:
        """The features of many entities, in their order, in one round trip to the cache, and one to fill it.

        Raises UnknownEntityError naming all that have no row, ProjectError for an unknown name or where there are no rows.
        """
        began = time.perf_counter()
        while entities:
            snapshot = self.look()
            try:
                answers = self.answer(snapshot, entities, snapshot.find_places(names))
            except ReplacedError:
                self.current = None
                continue
            self.metrics.observe_latency(time.perf_counter() - began)
            return answers
        return []

    def describe(self) -> Record | None:
        """When the rows were last materialised, and the newest of their moments, in seconds since 1970; None: no rows."""
        try:
            snapshot = self.look()
        except ProjectError:
            return None
        newest = None if snapshot.newest is None else snapshot.newest / 1e6
        return {"materialized": snapshot.stamp[1] / 1e9, "newest": newest, "rows": snapshot.count}

    def look(self) -> Snapshot:
        """The rows as they are now; raises ProjectError where there are none."""
        stamp = stamp_rows(self.rows)
        current = self.current
        if current is None or current.stamp != stamp:
            current = self.current = Snapshot(self.rows, stamp, self.features)
        return current

    def answer(self, snapshot: Snapshot, entities: Sequence[Entity], places: Places) -> list[Features]:
        """What `get_many` gives, of one state of the rows."""
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
            record = None if blob is None else unpack(blob, width)
            if record is None or type(record[0]) is not float or now - record[0] >= self.ttl:
                missing.append(number)
                answers.append(None)
            else:
                oldest = min(oldest, record[0])
                answers.append(make_features(CACHED, places, record))
        if hits := len(found) - len(missing):
            self.metrics.count(CACHED, hits)
            self.metrics.observe_age(now - oldest)
        if missing:
            origin = COMPUTED if up else DIRECT
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
                answers[number] = make_features(origin, places, fresh[entity])
            self.metrics.count(origin, len(missing))
            if up:
                self.keep([(key(entity), pack(record)) for entity, record in fresh.items()], now)
        return answers

    def fetch(self, keys: list[bytes], now: float) -> tuple[list[bytes | None], bool]:
        """What the cache has of keys, and whether it answers; one that does not is left alone for a while."""
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
        """Cache what was computed. That it cannot be is no reason not to read: a full Redis is read, and refuses this."""
        try:
            self.cache.put_many(items, now, self.ttl)
        except self.cache.errors as error:
            self.metrics.count_unkept(len(items))
            if self.breaker.reminds():
                logger.warning("%s takes nothing, features are not cached: %s", self.cache.name, type(error).__name__)

    def fill(self, most: int | None = None, batch: int = 2000) -> Iterator[int]:
        """Cache the features of all entities, or the first `most`; gives how many are done after each batch.

        The errors of the cache are raised.
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


def make_features(origin: str, places: Places, record: list[Any]) -> Features:
    """The features at some places of a record."""
    names, pick = places
    features = Features(zip(names, pick(record), strict=True))
    features.origin = origin
    return features


# Names, and what takes their values from a record: when it was computed, and the values of all features.
Places = tuple[tuple[str, ...], Callable[[list[Any]], Sequence[Any]]]


class Snapshot:
    """One state of the file of rows, and how features follow from a row."""

    def __init__(self, path: Path, stamp: Stamp, features: Sequence[Record] | None) -> None:
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
                    f"{path}: the feature {feature['name']!r} reads {unknown}, which the rows lack: run `lifecycle materialize`."
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
        self.chosen: dict[tuple[str, ...], Places] = {}
        told = [FORMAT, self.version, self.dtypes, [[f["name"], hash_feature(f)] for f in self.features]]
        self.prefix = b"lifecycle:" + hash_canonically(told)[:16].encode() + b":"

    def find_places(self, names: Sequence[str] | None) -> Places:
        """Where the features `names` (all) are in a record; raises ProjectError naming one that there is not."""
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
        """The key of an entity's features; raises UnknownEntityError for what no entity can be."""
        plain = to_plain(entity)
        whole = type(plain) is int and SMALLEST <= plain <= LARGEST
        if whole if self.dtype == "int64" else type(plain) is str:
            try:
                return self.prefix + orjson.dumps(plain)
            except TypeError:  # a string that is no Unicode
                pass
        raise UnknownEntityError([entity], self.kind)

    def connect(self) -> sqlite3.Connection:
        """This thread's connection; raises ReplacedError where the file is of another version."""
        held: tuple[int, sqlite3.Connection] | None = getattr(self.local, "held", None)
        if held is None or held[0] != os.getpid():
            connection = open_rows(self.path)
            found = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
            if found is None or json.loads(found[0]) != self.version:
                raise ReplacedError
            held = self.local.held = os.getpid(), connection
        return held[1]

    def read_rows(self, entities: Sequence[Entity]) -> dict[Entity, list[Any]]:
        """The rows of those entities that there are."""
        found: dict[Entity, list[Any]] = {}
        for part in cut(entities, SQL_VARIABLES):
            marks = ",".join("?" * len(part))
            question = f"SELECT entity, value FROM rows WHERE entity IN ({marks})"  # noqa: S608 - marks alone
            values = [to_plain(entity) for entity in part]
            found.update((entity, self.unpack_row(value)) for entity, value in self.ask(question, values))
        return found

    def ask(self, question: str, values: Sequence[Any] = ()) -> Iterator[tuple[Entity, bytes]]:
        """What the file answers; raises ProjectError where it is damaged."""
        try:
            yield from self.connect().execute(question, values)
        except sqlite3.Error as error:
            raise ProjectError(f"{self.path} cannot be read ({error}): run `lifecycle materialize`.") from error

    def unpack_row(self, value: bytes) -> list[Any]:
        """A row's values; raises ProjectError where it is damaged."""
        row = unpack(value, len(self.columns))
        if row is None:
            raise ProjectError(f"{self.path} is damaged: run `lifecycle materialize`.")
        return row

    def list_rows(self, batch: int) -> Iterator[list[tuple[Entity, list[Any]]]]:
        """All entities and their rows, in parts, ordered by entity."""
        rows = self.ask("SELECT entity, value FROM rows ORDER BY entity")
        while part := list(islice(rows, batch)):
            yield [(entity, self.unpack_row(value)) for entity, value in part]

    def compute(self, row: list[Any]) -> list[Any]:
        """The values of all features of a row: its columns, then what is derived, NaN where undefined."""
        if not self.derived:
            return row
        values = {name: to_value(row[place], dtype) for name, place, dtype in self.read}
        computed = [float(compute(values)) for compute in self.derived]
        return [*row, *(number if math.isfinite(number) else math.nan for number in computed)]

    def compute_many(self, rows: list[list[Any]]) -> list[list[Any]]:
        """What `compute` gives for many rows, but for the last digits, as arrays."""
        if not self.derived:
            return rows
        arrays = {name: to_array([row[place] for row in rows], dtype) for name, place, dtype in self.read}
        computed = [expression.evaluate(arrays).tolist() for expression in self.parsed]
        return [[*row, *values] for row, values in zip(rows, zip(*computed, strict=True), strict=True)]


class Breaker:
    """Keeps callers from waiting for what is down: after a failure one try every `rest` seconds (Nygard, Release It!)."""

    def __init__(self, rest: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rest, self.clock, self.lock = rest, clock, threading.Lock()
        self.until = 0.0  # 0: nothing is wrong
        self.reminded = -math.inf

    def allows(self) -> bool:
        """Whether to try."""
        if not self.until:
            return True
        with self.lock:
            now = self.clock()
            if now < self.until:
                return False
            self.until = now + self.rest  # the others wait for what becomes of this try
            return True

    def open(self) -> None:
        """It failed."""
        self.until = self.clock() + self.rest

    def close(self) -> None:
        """It works."""
        self.until, self.reminded = 0.0, -math.inf

    def reminds(self) -> bool:
        """Whether it is time for a line in the log."""
        now = self.clock()
        if now - self.reminded < REMIND:
            return False
        self.reminded = now
        return True


class StoreMetrics:
    """What Prometheus is told of a store; with no registry, nothing."""

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
        self.counters = {result: self.lookups.labels(result) for result in (CACHED, COMPUTED, DIRECT, "unknown")}

    def count(self, result: str, entities: int) -> None:
        """Count entities that were looked up."""
        if self.registry is not None:
            self.counters[result].inc(entities)

    def count_unkept(self, entities: int) -> None:
        """Count entities that were not cached."""
        if self.registry is not None:
            self.unkept.inc(entities)

    def observe_age(self, seconds: float) -> None:
        """Tell how old the oldest cached value of an answer is."""
        if self.registry is not None:
            self.ages.observe(seconds)

    def observe_latency(self, seconds: float) -> None:
        """Tell how long a lookup took."""
        if self.registry is not None:
            self.latency.observe(seconds)

    def set_up(self, *, up: bool) -> None:
        """Tell whether the cache answers."""
        if self.registry is not None:
            self.up.set(float(up))


# --- definitions


def hash_feature(feature: Mapping[str, Any]) -> str:
    """The hash (SHA-256) of what a feature's values follow from: its definition, and the code that evaluates expressions."""
    language = None if feature["expression"] is None else hash_language()
    return hash_canonically([{key: feature[key] for key in DEFINING}, language])


def hash_canonically(value: Any) -> str:
    """The hash of a value's canonical JSON (RFC 8785 in all that occurs here: sorted keys, no blanks)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def hash_language() -> str:
    """The hash of the code that evaluates expressions."""
    return hash_file(Path(expressions.__file__))


# --- values


def to_plain(entity: Any) -> Any:
    """An id as Python has it: numpy's scalars are none."""
    return entity.item() if hasattr(entity, "item") else entity


def pack(values: Sequence[Any]) -> bytes:
    """Values as bytes, exactly: a JSON list; what JSON has no word for stands beside it with its place.

    Takes float (NaN and infinities too), int, bool, str, None and datetime; raises TypeError for anything else.
    """
    if PLAIN.issuperset(map(type, values)):
        try:
            blob = orjson.dumps(values)
        except TypeError:  # a whole number of more than 64 bits
            return pack_special(values)
        if b"null" not in blob:  # which NaN and infinities become too
            return blob
    return pack_special(values)


def pack_special(values: Sequence[Any]) -> bytes:
    """What `pack` gives of values some of which JSON may have no word for."""
    plain, special = list(values), []
    for place, value in enumerate(values):
        kind = type(value)
        if kind is float:
            if not math.isfinite(value):
                special.append((place, "f", repr(value)))
        elif kind is int:
            if not SMALLEST <= value <= LARGEST:
                special.append((place, "i", str(value)))
        elif kind is datetime:
            special.append((place, "t", value.isoformat()))
        elif kind not in PLAIN:
            raise TypeError(f"a {kind.__name__} cannot be packed: {value!r}")
    for place, _, _ in special:
        plain[place] = None
    return orjson.dumps({"values": plain, "special": special} if special else plain)


def unpack(blob: bytes, width: int) -> list[Any] | None:
    """The `width` values that were packed; None where the bytes are no such thing."""
    try:
        record = orjson.loads(blob)
        if type(record) is dict:
            special, record = record["special"], record["values"]
            for place, kind, text in special:
                record[place] = SPECIAL[kind](text)
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return record if type(record) is list and len(record) == width else None


# --- the file of rows

Stamp = tuple[int, int, int]


def stamp_rows(path: Path) -> Stamp:
    """What the file is now; raises ProjectError where there is none."""
    try:
        state = os.stat(path)  # noqa: PTH116 - half as long as by the path, at every lookup
    except FileNotFoundError:
        raise ProjectError(f"{path} is not there: `lifecycle materialize` makes it.") from None
    return state.st_ino, state.st_mtime_ns, state.st_size


def open_rows(path: Path) -> sqlite3.Connection:
    """The file to read from; it never changes, so that SQLite need not lock it."""
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True, check_same_thread=False)


def read_meta(path: Path) -> Record:
    """What the file says of itself; raises ProjectError where it is none of ours."""
    try:
        with closing(open_rows(path)) as connection:
            meta = {key: json.loads(value) for key, value in connection.execute("SELECT key, value FROM meta")}
        if meta.get("format") != FORMAT:
            raise ProjectError(
                f"{path} is of format {meta.get('format')!r}, not {FORMAT}: run `lifecycle materialize`."
            )
    except (sqlite3.Error, ValueError) as error:
        raise ProjectError(f"{path} is no file of rows ({error}): run `lifecycle materialize`.") from error
    return meta


def write_rows(path: Path, rows: Iterable[Sequence[tuple[Entity, int, bytes]]], meta: Record) -> str:
    """Add rows (entity, moment, packed values), in parts, to a file; an entity keeps its newest, of equals the last.

    meta: entity (name, dtype), columns (dtype by name, in the packed order), features (records). Gives the version: the
    hash of all that is in it.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(ROWS_SCHEMA)
        connection.execute("BEGIN")
        for part in rows:
            connection.executemany(UPSERT, part)
        digest, count, newest = hashlib.sha256(), 0, SMALLEST
        for entity, at, value in connection.execute("SELECT entity, at, value FROM rows ORDER BY entity"):
            digest.update(b"%d:%r:%d:" % (len(value), entity, at) + value)
            count, newest = count + 1, max(newest, at)
        version = hash_canonically([FORMAT, meta["entity"], list(meta["columns"].items()), digest.hexdigest()])
        facts = {
            **meta, "format": FORMAT, "version": version, "rows": count, "newest": newest if newest > SMALLEST else None,
        }  # fmt: skip
        connection.execute("DELETE FROM meta")
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)", [(key, json.dumps(value)) for key, value in facts.items()]
        )
        connection.execute("COMMIT")
    return version
