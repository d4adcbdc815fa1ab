"""Which ids and rows of a long table occur again, in memory that does not grow with it: hashes are set aside on disk.

Rows count as alike when 64 bits of hash are: of ten million, two that differ do so with a chance of one in 400,000.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from lifecycle.validation.sampling import hash_values, scramble

Array = np.ndarray[Any, Any]

BUCKET = 1 << 20  # records of a file, which are looked at together
FILES = 256
FEW = 3  # places that are kept as examples


@dataclass(frozen=True)
class Places:
    """Where something was found: in how many rows, and the positions of the first few, ascending."""

    count: int
    first: tuple[int, ...]

    def __bool__(self) -> bool:
        return self.count > 0


def gather_places(parts: Iterable[Array]) -> Places:
    """Places from positions, int64, in any order."""
    count, first = 0, np.array([], dtype=np.int64)
    for positions in parts:
        count += len(positions)
        first = np.sort(np.append(first, positions))[:FEW]
    return Places(count, tuple(map(int, first)))


def merge_places(parts: Sequence[Places]) -> Places:
    """The places of several parts together."""
    first = sorted(place for part in parts for place in part.first)
    return Places(sum(part.count for part in parts), tuple(first[:FEW]))


class Spool:
    """Records of a few words of 64 bits, set aside in files by the first word, so that those alike come back together."""

    def __init__(self, folder: Path, rows: int, width: int) -> None:
        self.width = width
        count = min(FILES, rows // BUCKET + 1)
        self.files = [tempfile.TemporaryFile(dir=folder) for _ in range(count)]  # noqa: SIM115 (closed with the block)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files:
            file.close()

    def add(self, *words: Array) -> None:
        """Set records aside: one array of 64 bits for each of their words, shape (records,)."""
        records = np.column_stack([word.view(np.uint64) for word in words])
        buckets = (records[:, 0] >> np.uint64(32)).astype(np.int64) % len(self.files)
        ends = np.cumsum(np.bincount(buckets, minlength=len(self.files)))[:-1]
        for file, part in zip(self.files, np.split(records[np.argsort(buckets, kind="stable")], ends), strict=True):
            file.write(part.tobytes())

    def __iter__(self) -> Iterator[Array]:
        """The records of each file, uint64 (records, width), in the order in which they were added."""
        for file in self.files:
            file.seek(0)
            yield np.frombuffer(file.read(), dtype=np.uint64).reshape(-1, self.width)


@dataclass(frozen=True)
class Repeats:
    """Rows that occur again.

    `repeated`: a mask (rows,) of those like an earlier one of the same id in all columns. `varied`: others with the id of an
    earlier one. `duplicated`: those like an earlier one in all but the ids.

    The first of several rows that are alike is kept. Without an id nothing is a repeat: two rows may well be alike.
    """

    repeated: Array
    varied: Places
    duplicated: Places


def hash_rows(columns: Iterable[Array], rows: int) -> Array:
    """A hash of each row from those of its cells, uint64 (rows,)."""
    mixed = np.zeros(rows, dtype=np.uint64)
    for hashes in columns:
        mixed = scramble(mixed ^ hashes)
    return mixed


class RepeatFinder:
    """Takes a table in parts and finds its repeats; files are made in `folder`, and gone with the block."""

    def __init__(self, keys: list[str], folder: Path, rows: int) -> None:
        self.keys = keys
        self.rows = rows
        self.shared = Spool(folder, rows, 3)
        self.alike = Spool(folder, rows, 2)
        self.near: list[Places] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shared.__exit__()
        self.alike.__exit__()

    def add(self, part: pd.DataFrame) -> None:
        """Take rows, whose index holds their positions in the table."""
        places = part.index.to_numpy(dtype=np.int64)
        rest = hash_rows((hash_values(part[name]) for name in part if name not in self.keys), len(part))
        if self.keys:
            ids = hash_rows((hash_values(part[name]) for name in self.keys), len(part))
            known = part[self.keys].notna().all(axis=1).to_numpy()
            self.shared.add(ids[known], rest[known], places[known])
        if len(self.keys) < part.shape[1]:
            again = pd.Series(rest).duplicated().to_numpy()  # so that a row that occurs often does not fill a file
            self.near.append(gather_places([places[again]]))
            self.alike.add(rest[~again], places[~again])

    def find(self) -> Repeats:
        """The repeats of all rows that were taken."""
        repeated = np.zeros(self.rows, dtype=bool)
        varied = gather_places(list_varied(records, repeated) for records in self.shared)
        far = gather_places(list_again(records) for records in self.alike)
        return Repeats(repeated, varied, merge_places([far, *self.near]))


def list_varied(records: Array, repeated: Array) -> Array:
    """The positions of records (id, rest, position) with the id of an earlier one; those alike are marked in `repeated`."""
    frame = pd.DataFrame(records[pd.Series(records[:, 0]).duplicated(keep=False).to_numpy()])
    places = frame[2].to_numpy(dtype=np.int64)
    alike = frame.duplicated([0, 1]).to_numpy()
    repeated[places[alike]] = True
    return np.asarray(places[frame.duplicated([0]).to_numpy() & ~alike])


def list_again(records: Array) -> Array:
    """The positions of records (hash, position) that an earlier one is like."""
    return np.asarray(records[pd.Series(records[:, 0]).duplicated().to_numpy(), 1].astype(np.int64))
