"""Fill the online feature store from the offline table, and compare the two."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lifecycle.core import paths
from lifecycle.core.contract import Contract, Role, load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.expressions import parse_expression
from lifecycle.core.files import lock_file, read_json, replace_file
from lifecycle.core.paths import Project
from lifecycle.core.records import Record
from lifecycle.core.tables import read_batches
from lifecycle.features.cache import cut, open_cache
from lifecycle.features.inputs import to_array
from lifecycle.features.store import SMALLEST, Entity, FeatureStore, UnknownEntityError, pack, read_meta, write_rows

_PATIENCE = 10.0  # seconds that the cache may take for a batch
_ROLES = (Role.NUMERIC, Role.CATEGORICAL, Role.BOOLEAN, Role.TIME, Role.TEXT)  # roles of columns that features may read
_TYPES = {
    "string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_(), "datetime": pa.timestamp("us"),
}  # fmt: skip
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - moments are in UTC, without a zone
_PART = 1 << 14  # rows in memory at once, as Python objects
_CLOSE = 1e-9  # relative: the arithmetic of single rows and of arrays may differ in the last digits
_SHOWN = 5  # differences that are printed
Report = Callable[[str], None]


@dataclass(frozen=True)
class Offline:
    """The offline table: its file, its id column, its time column if it has one, and the dtypes of the columns to keep."""

    path: Path
    entity: str
    entity_dtype: str
    time: str | None
    columns: dict[str, str]
    features: list[Record]

    @property
    def read(self) -> list[str]:
        """The columns to read, each once."""
        return list(dict.fromkeys([self.entity, *([self.time] if self.time else []), *self.columns]))


@dataclass(frozen=True)
class Filled:
    """The result of a materialisation."""

    entities: int
    cached: int
    skipped: int  # rows without an id
    changed: bool
    version: str


@dataclass
class Comparison:
    """The result of a comparison of the online store with the offline table."""

    entities: int = 0
    values: int = 0
    origins: dict[str, int] = field(default_factory=dict)
    missing: int = 0  # entities that the online store lacks
    different: int = 0  # entities with a value that differs
    wrong: int = 0  # values that differ
    examples: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether both agree."""
        return not self.missing and not self.different


def _open_offline(project: Project) -> Offline:
    """Describe the validated table by the contract and features.json; raise ProjectError when it has no usable id."""
    contract = load_contract(project.read(paths.CONTRACT))
    table, declared = project.read(paths.VALIDATED_TABLE), read_json(project.read(paths.FEATURES))
    present = pq.read_schema(table).names
    ids = [name for name in contract.names(Role.ID) if name in present]
    if not ids:
        raise ProjectError(f"{paths.CONTRACT}: no column has role id: entities need one.")
    dtype = contract.columns[ids[0]].dtype
    if dtype not in ("int64", "string"):
        raise ProjectError(f"{paths.CONTRACT}: {ids[0]!r} is {dtype}; the id of an entity must be int64 or string.")
    columns: dict[str, str] = {
        name: contract.columns[name].dtype for name in contract.names(*_ROLES) if name in present
    }
    kept = ("name", "kind", "source", "expression", "columns", "values")
    features = [{key: feature[key] for key in kept} for feature in declared["features"]]
    return Offline(table, ids[0], dtype, _find_time(contract, present), columns, features)


def _find_time(contract: Contract, present: Sequence[str]) -> str | None:
    """Return the contract's time column if the table has it."""
    return contract.time if contract.time in present else None


def _find_url(environment: Mapping[str, str]) -> str:
    """Return the store's address: $LIFECYCLE_FEATURE_STORE, by default the embedded one."""
    return environment.get(paths.FEATURE_STORE_VARIABLE) or paths.FEATURE_STORE


def open_store(
    project: Project, rows: Path | None = None, *, timeout: float = 0.1, ttl: float = 3600.0
) -> FeatureStore:
    """Open the project's store at $LIFECYCLE_FEATURE_STORE, with the features of features.json; for any Python code."""
    declared = read_json(project.read(paths.FEATURES))["features"]
    cache = open_cache(_find_url(os.environ), project.output, timeout)
    return FeatureStore(rows or project.output / paths.ONLINE_ROWS, cache, declared, ttl=ttl)


def materialize(project: Project, since: datetime | None = None, report: Report = lambda line: None) -> Filled:
    """Write each entity's newest row to the online file, and cache all features; the same table again changes nothing.

    since: read only rows from this moment (UTC) on, and leave the other entities as they are; the first time all rows are
    read. Until it has finished, readers use the previous rows and their cached features. Raises ProjectError, in which
    case nothing has changed.
    """
    offline, target = _open_offline(project), project.write(paths.ONLINE_ROWS)
    if since is not None and offline.time is None:
        raise ProjectError(f"--since needs a column with role time; {paths.CONTRACT} has none.")
    with lock(target), replace_file(target) as aside:
        before = read_meta(target) if target.is_file() else None
        columns = {"entity": {"name": offline.entity, "dtype": offline.entity_dtype}, "columns": offline.columns}
        if before is None:
            since = None
        if since is not None and before is not None:
            if any(before[key] != columns[key] or list(before[key]) != list(columns[key]) for key in columns):
                raise ProjectError(f"{target} has other columns than the table: leave --since out once.")
            shutil.copyfile(target, aside)
        else:
            aside.unlink()
        skipped = _Count()
        version = write_rows(
            aside, list_rows(offline, since, skipped, report), {**columns, "features": offline.features}
        )
        store = open_store(project, aside, timeout=_PATIENCE)
        entities, cached = store.look().count, 0
        try:
            for cached in store.fill(store.cache.capacity):
                report(f"{cached:,} of {entities:,} entities cached in {store.cache.name}")
        except store.cache.errors as error:
            raise ProjectError(
                f"{store.cache.name} cannot be filled: {error}; the previous features are still served."
            ) from error
    return Filled(entities, cached, skipped.rows, before is None or before["version"] != version, version)


@contextmanager
def lock(target: Path) -> Iterator[None]:
    """Let no other process materialise at the same time, as one of the two results would be lost."""
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_file(target.with_name(".lock"), mode="w", blocking=False))
        except BlockingIOError:
            raise ProjectError(f"{target} is being written by another `lifecycle materialize`.") from None
        yield


@dataclass
class _Count:
    """The number of rows that were left out."""

    rows: int = 0


def list_rows(
    offline: Offline, since: datetime | None, skipped: _Count, report: Report
) -> Iterator[list[tuple[Entity, int, bytes]]]:
    """Yield the table's rows for the online file, in parts; rows without an id are counted and left out."""
    done = 0
    for batch in read_batches(offline.path, offline.read, _PART):
        table = _convert(pa.Table.from_batches([batch]), offline)
        if since is not None:
            table = table.filter(pc.greater_equal(table[offline.time], pa.scalar(since, pa.timestamp("us"))))
        named = table.filter(pc.is_valid(table[offline.entity]))
        skipped.rows += table.num_rows - named.num_rows
        done += batch.num_rows
        report(f"{done:,} rows read")
        entities = named[offline.entity].to_pylist()
        moments = [SMALLEST] * len(entities)
        if offline.time is not None:
            moments = pc.fill_null(named[offline.time].cast(pa.int64()), SMALLEST).to_pylist()
        rows = zip(*(named[name].to_pylist() for name in offline.columns), strict=True)
        yield [(entity, at, pack(row)) for entity, at, row in zip(entities, moments, rows, strict=True)]


def _convert(table: pa.Table, offline: Offline) -> pa.Table:
    """Convert the columns to the contract's dtypes; raise ProjectError naming one that cannot be converted."""
    dtypes = {**offline.columns, offline.entity: offline.entity_dtype}
    if offline.time is not None:
        dtypes[offline.time] = "datetime"
    for place, name in enumerate(table.column_names):
        try:
            column = table[name]
            if pa.types.is_timestamp(column.type):
                column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
            table = table.set_column(place, name, column.cast(_TYPES[dtypes[name]]))
        except pa.ArrowInvalid as error:
            raise ProjectError(f"{offline.path}: column {name!r} is not {dtypes[name]}: {error}.") from error
    return table


# --- comparison of online and offline


def compare_stores(project: Project, sample: int | None = None, seed: int = 0) -> Comparison:
    """Compare the online store's features of all or of `sample` random entities with the offline table, value by value.

    Numbers agree within 1e-9 of their size. Offline, each entity's newest row is found and all features are computed as
    arrays, as for training, without the online code.
    """
    offline, found = _open_offline(project), Comparison()
    store = open_store(project, timeout=_PATIENCE)
    newest = _find_newest(offline)
    if sample is not None and sample < len(newest):
        newest = np.sort(np.random.default_rng(seed).choice(newest, sample, replace=False))
    features = [feature for feature in offline.features if feature["expression"] is not None]
    names, first = [*offline.columns, *(feature["name"] for feature in features)], 0
    for batch in read_batches(offline.path, offline.read, _PART):
        inside = newest[(newest >= first) & (newest < first + batch.num_rows)] - first
        first += batch.num_rows
        if len(inside):
            table = _convert(pa.Table.from_batches([batch]).take(inside), offline)
            _compare_part(table, offline, features, names, store, found)
    return found


def _find_newest(offline: Offline) -> np.ndarray[Any, Any]:
    """Return the position of each entity's newest row (the last of equally new ones), ascending."""
    columns = [offline.entity, *([offline.time] if offline.time else [])]
    frame = pq.read_table(offline.path, columns=columns).to_pandas()
    frame = frame[frame[offline.entity].notna()]
    if offline.time:
        frame = frame.sort_values(offline.time, kind="stable", na_position="first")
    return np.sort(frame.drop_duplicates(offline.entity, keep="last").index.to_numpy())


def _compare_part(
    table: pa.Table, offline: Offline, features: list[Record], names: list[str], store: FeatureStore, found: Comparison
) -> None:
    """Compare the entities of a part of the table."""
    frame = table.to_pandas()
    arrays = {name: to_array(frame[name]) for name in offline.columns}
    expected: dict[str, list[Any]] = {name: table[name].to_pylist() for name in offline.columns}
    for feature in features:
        expected[feature["name"]] = parse_expression(feature["expression"], feature["name"]).evaluate(arrays).tolist()
    entities = table[offline.entity].to_pylist()
    online = _read_online(store, entities, names)
    for number, entity in enumerate(entities):
        found.entities += 1
        given = online.get(entity)
        if given is None:
            found.missing += 1
            _note(found, f"{offline.entity} {entity!r} is not online")
            continue
        found.origins[given.origin] = found.origins.get(given.origin, 0) + 1
        found.values += len(names)
        wrong = [name for name in names if not agrees(given[name], expected[name][number])]
        found.wrong += len(wrong)
        found.different += bool(wrong)
        for name in wrong:
            _note(
                found, f"{offline.entity} {entity!r}: {name} is {given[name]!r} online, {expected[name][number]!r} offline"
            )  # fmt: skip


def _read_online(store: FeatureStore, entities: list[Entity], names: list[str]) -> dict[Entity, Any]:
    """Read the features of the entities that the store has, a thousand at a time."""
    online: dict[Entity, Any] = {}
    for part in cut(entities, 1000):
        wanted = list(part)
        try:
            answers = store.get_many(wanted, names)
        except UnknownEntityError as error:
            unknown = set(error.entities)
            wanted = [entity for entity in wanted if entity not in unknown]
            answers = store.get_many(wanted, names)
        online.update(zip(wanted, answers, strict=True))
    return online


def _note(found: Comparison, sentence: str) -> None:
    """Add a difference to the examples, of which the first few are kept."""
    if len(found.examples) < _SHOWN:
        found.examples.append(sentence)


def agrees(given: Any, expected: Any) -> bool:
    """Return whether two values are equal: of one type, numbers within CLOSE, both missing or neither."""
    if isinstance(expected, float) and expected != expected:  # noqa: PLR0124 - NaN alone is not itself
        return isinstance(given, float) and given != given  # noqa: PLR0124
    if type(given) is not type(expected):
        return False
    if isinstance(expected, float):
        return bool(abs(given - expected) <= _CLOSE * max(1.0, abs(expected)))
    return bool(given == expected)


def describe_filled(filled: Filled) -> str:
    """Describe a materialisation in a line."""
    skipped = f", {filled.skipped:,} rows without an id left out" if filled.skipped else ""
    state = "new" if filled.changed else "as they were"
    return (
        f"materialize: {filled.entities:,} entities online, {state} (version {filled.version[:12]}); "
        f"{filled.cached:,} cached{skipped}"
    )


def describe_comparison(found: Comparison) -> list[str]:
    """Describe a comparison, line by line."""
    origins = ", ".join(f"{count:,} {origin}" for origin, count in sorted(found.origins.items())) or "none answered"
    equal = found.values - found.wrong
    share = f" ({equal / found.values:.4%})" if found.values else ""
    counts = f"{found.missing:,} not online, {found.different:,} differ"
    heading = f"materialize: {found.entities:,} entities compared ({origins}): {counts}"
    return [f"{heading}; {equal:,} of {found.values:,} values agree{share}", *found.examples]


def parse_moment(text: str) -> datetime:
    """Parse a moment in ISO 8601 (UTC by default) as UTC without a zone; raise ProjectError for any other text."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ProjectError(
            f"--since takes a moment such as 2026-01-31 or 2026-01-31T12:00:00Z, got {text!r}."
        ) from None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
