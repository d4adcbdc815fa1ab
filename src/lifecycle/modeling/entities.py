"""Which rows must be on the same side of a split: those of one entity, and those that are equal.

Ids and contents are compared by 64-bit hashes, as duplicates are (`validation.duplicates`), so that a long table takes a
few numbers a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.contract import Contract, Role
from lifecycle.core.split_rule import ValueKind
from lifecycle.core.tables import count_rows
from lifecycle.features.definitions import WORDED
from lifecycle.features.inputs import to_array
from lifecycle.modeling.rule import hash_ids, hash_rows, list_kinds
from lifecycle.modeling.task import task_for
from lifecycle.validation.conversion import read_frames
from lifecycle.validation.sampling import scramble

Array = np.ndarray[Any, Any]
_Reader = Callable[[list[str]], Iterable[pd.DataFrame]]

NO_MOMENT = int(np.iinfo(np.int64).min)  # stands for a missing time; it is older than any other
CONTENT = (
    Role.NUMERIC,
    Role.CATEGORICAL,
    Role.BOOLEAN,
    Role.TIME,
    Role.TEXT,
)  # roles of columns that features may read
_MOST = 0.5  # share of the rows up to which ids may make one group, and rows may repeat others, to be kept together
_FEW = 0.1  # share of the rows up to which equal rows may make one group: more often, a content is no sign of one case


@dataclass(frozen=True)
class Link:
    """A hash of each row's value, uint64 (rows,), and the rows that have one: those with the same hash belong together."""

    values: Array
    known: Array


@dataclass(frozen=True)
class SplitKeys:
    """What a split depends on, by row.

    encoded: the target, 1 for the positive class. ids: a link by id column. moments: microseconds since 1970, NO_MOMENT where
    the time is missing; None without a time column. content: a hash of what features may read, uint64; None where that is
    nothing. alike: the rows that equal another in it; None where that is more than half, so that equal rows are different cases.
    """

    encoded: Array
    ids: Mapping[str, Link]
    moments: Array | None
    content: Array | None
    alike: Array | None

    def __len__(self) -> int:
        return len(self.encoded)

    def take(self, rows: Array) -> SplitKeys:
        """Return the keys of some rows, given as a mask or positions."""
        return SplitKeys(
            self.encoded[rows],
            {name: Link(link.values[rows], link.known[rows]) for name, link in self.ids.items()},
            None if self.moments is None else self.moments[rows],
            None if self.content is None else self.content[rows],
            None if self.alike is None else self.alike[rows],
        )

    @property
    def contents(self) -> Link | None:
        """The link of rows that are equal; None where equal rows are different cases."""
        return None if self.content is None or self.alike is None else Link(self.content, self.alike)

    @cached_property
    def repeating(self) -> tuple[str, ...]:
        """The id columns in which a value occurs twice."""
        return tuple(name for name, link in self.ids.items() if _find_repeated(link.values[link.known]).size)


@dataclass(frozen=True)
class Groups:
    """The groups of rows that belong together.

    labels: the group of each row, int32 (rows,), from 0. hashes: of each group, uint64 (groups,), by its ids alone, so that
    neither the order of the rows nor other groups change it. ids: the columns whose equal values connect rows. unused: those
    that repeat but would connect more than half of the rows. contents: whether equal rows are connected too.
    """

    labels: Array
    hashes: Array
    ids: tuple[str, ...]
    unused: tuple[str, ...]
    contents: bool

    def __len__(self) -> int:
        return len(self.hashes)

    def count(self, rows: Array) -> int:
        """Return how many groups have one of the rows, given as a mask."""
        found = np.zeros(len(self), dtype=bool)
        found[self.labels[rows]] = True
        return int(found.sum())

    def find_newest(self, moments: Array) -> Array:
        """Return each group's newest moment, int64 (groups,)."""
        newest = np.full(len(self), NO_MOMENT)
        np.maximum.at(newest, self.labels, moments)
        return newest


def read_keys(path: Path, contract: Contract, content: Mapping[str, ValueKind] | None = None) -> SplitKeys:
    """Read what a split of a validated table depends on, in parts. content: the columns that features read, by default any."""
    import pyarrow.parquet as pq

    names = pq.read_schema(path).names
    return _build_keys(lambda columns: read_frames(path, columns), names, count_rows(path), contract, content)


def find_keys(frame: pd.DataFrame, contract: Contract, content: Mapping[str, ValueKind] | None = None) -> SplitKeys:
    """Return what a split of a validated table in memory depends on."""
    return _build_keys(lambda columns: [frame[columns]], [str(name) for name in frame], len(frame), contract, content)


def find_feature_keys(table: pd.DataFrame, declaration: Mapping[str, Any]) -> SplitKeys:
    """Return what the folds of a feature table depend on."""
    time = declaration.get("time")
    kinds: dict[str, ValueKind] = {
        feature["name"]: "text" if feature["kind"] in WORDED else "number" for feature in declaration["features"]
    }
    if time in table:
        kinds[str(time)] = "time"
    content, alike = _find_equal(lambda columns: [table[columns]], kinds, len(table))
    moments = _read_moments(table[time]) if time in table else None
    return SplitKeys(table[declaration["target"]].to_numpy(), _link_ids(table, declaration), moments, content, alike)


def find_entities(table: pd.DataFrame, declaration: Mapping[str, Any]) -> Array | None:
    """Return the entity of each row of a feature table, from 0, int32 (rows,); None where no id repeats."""
    keys = SplitKeys(table[declaration["target"]].to_numpy(), _link_ids(table, declaration), None, None, None)
    return group_rows(keys).labels if keys.repeating else None


def _link_ids(table: pd.DataFrame, declaration: Mapping[str, Any]) -> dict[str, Link]:
    """Link the rows of a feature table by each of its id columns."""
    names = [name for name in declaration.get("id", []) if name in table]
    return {name: Link(hash_ids(table[name]), table[name].notna().to_numpy()) for name in names}


def _build_keys(
    read: _Reader, names: Sequence[str], rows: int, contract: Contract, content: Mapping[str, ValueKind] | None
) -> SplitKeys:  # fmt: skip
    """Build the keys of a validated table with these columns from its parts."""
    ids = [name for name in contract.names(Role.ID) if name in names]
    time = contract.time if contract.time in names else None
    kinds = list_kinds(contract, [name for name in contract.names(*CONTENT) if name in names])
    hashes, alike = _find_equal(read, kinds if content is None else content, rows)
    task, start = task_for(contract), 0
    encoded, moments = np.empty(rows, dtype=np.int8), np.empty(rows if time else 0, dtype=np.int64)
    links = {name: Link(np.empty(rows, dtype=np.uint64), np.empty(rows, dtype=bool)) for name in ids}
    for part in read([contract.target, *ids, *([time] if time else [])]):
        here = slice(start, start + len(part))
        start = here.stop
        encoded[here] = task.encode(part[contract.target])
        for name, link in links.items():
            link.values[here], link.known[here] = hash_ids(part[name]), part[name].notna()
        if time:
            moments[here] = _read_moments(part[time])
    return SplitKeys(encoded, links, moments if time else None, hashes, alike)


def _read_moments(column: pd.Series) -> Array:
    """Return times as microseconds since 1970."""
    return to_array(column).astype("datetime64[us]").view(np.int64)


def _find_equal(read: _Reader, kinds: Mapping[str, ValueKind], rows: int) -> tuple[Array | None, Array | None]:
    """Return the hash of each row's content and which rows equal another; see `SplitKeys`."""
    if not kinds:
        return None, None
    hashes = hash_rows(lambda name: (part[name] for part in read([name])), kinds, rows)
    repeated = _find_repeated(hashes.copy())
    alike = np.isin(hashes, repeated) if len(repeated) else np.zeros(rows, dtype=bool)
    distinct = rows - int(alike.sum()) + len(repeated)
    return hashes, None if rows - distinct > _MOST * rows else alike


def _find_repeated(values: Array) -> Array:
    """Return the distinct values that occur twice, ascending; `values` are sorted in place."""
    values.sort()
    return np.unique(values[1:][values[1:] == values[:-1]])


def group_rows(keys: SplitKeys, ids: Sequence[str] | None = None) -> Groups:
    """Group the rows that share a value of any id column, or are equal; a row without an id is a group of its own.

    `ids`: the columns to use. Without it, the columns of repeating ids are added in the contract's order, except for one
    with which a single group would have more than half of the rows (a country, in most tables). The first is
    used anyway where no other is left. Equal rows are connected too, unless that makes one group of more than a tenth of the
    rows, or adds more than a tenth to the largest: then they are equal by chance.
    """
    wanted = list(keys.repeating if ids is None else ids)
    labels = np.arange(len(keys), dtype=np.int32)
    used: list[str] = []
    for name in wanted:
        joined = _connect(labels, keys.ids[name])
        if ids is not None or _largest_share(joined) <= _MOST:
            labels, used = joined, [*used, name]
    if wanted and not used:
        labels, used = _connect(labels, keys.ids[wanted[0]]), wanted[:1]
    contents = False
    if keys.contents is not None:
        joined = _connect(labels, keys.contents)
        contents = _largest_share(joined) <= max(_FEW, (1 + _FEW) * _largest_share(labels))
        labels = joined if contents else labels
    unused = tuple(name for name in wanted if name not in used)
    return Groups(labels, _hash_groups(labels, [keys.ids[name] for name in used]), tuple(used), unused, contents)


def _connect(labels: Array, link: Link) -> Array:
    """Join the groups of rows that share a value; return the new labels."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    complete = bool(link.known.all())
    known = slice(None) if complete else link.known
    values, distinct = pd.factorize(link.values[known])
    if not len(distinct):
        return labels
    if int(labels.max()) + 1 == len(labels):  # each row is a group of its own
        joined = np.arange(len(distinct), len(distinct) + len(labels), dtype=np.int32)
        joined[known] = values
        return np.asarray(joined if complete else pd.factorize(joined)[0].astype(np.int32))
    groups, touched = pd.factorize(labels[known])  # only these can change
    size = len(touched) + len(distinct)
    edges = coo_array((np.ones(len(values), dtype=bool), (groups, len(touched) + values)), shape=(size, size))
    _, joined = connected_components(edges, directed=False)
    renamed = np.arange(int(labels.max()) + 1)
    renamed[touched] = len(renamed) + joined[: len(touched)]
    return pd.factorize(renamed[labels])[0].astype(np.int32)


def _largest_share(labels: Array) -> float:
    """Return the share of the rows that the largest group has."""
    return float(np.bincount(labels).max() / len(labels)) if len(labels) else 0.0


def _hash_groups(labels: Array, links: Sequence[Link]) -> Array:
    """Return a hash of each group: the smallest of its ids' hashes, or one of its first row's position without an id."""
    count = int(labels.max(initial=-1)) + 1
    hashes = np.full(count, np.iinfo(np.uint64).max, dtype=np.uint64)
    for link in links:
        np.minimum.at(hashes, labels, np.where(link.known, link.values, np.iinfo(np.uint64).max))
    firsts = np.full(count, len(labels), dtype=np.int32)
    np.minimum.at(firsts, labels, np.arange(len(labels), dtype=np.int32))
    nameless = hashes == np.iinfo(np.uint64).max
    hashes[nameless] = scramble(firsts[nameless].astype(np.uint64))
    return hashes
