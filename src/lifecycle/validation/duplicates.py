"""Find repeated ids and rows of a long table in bounded memory: their hashes are kept on disk.

Rows count as equal when their 64-bit hashes are: in ten million rows, the chance of one false match is one in 400,000.
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

_BUCKET = 1 << 20  # records of a file, which are compared in memory
_FILES = 256
_FEW = 3  # positions that are kept as examples


@dataclass(frozen=True)
class Places:
    """The rows with a finding: their number, and the positions of the first few, ascending."""

    count: int
    first: tuple[int, ...]

    def __bool__(self) -> bool:
        return self.count > 0


def gather_places(parts: Iterable[Array]) -> Places:
    """Build Places from positions, int64, in any order."""
    count, first = 0, np.array([], dtype=np.int64)
    for positions in parts:
        count += len(positions)
        first = np.sort(np.append(first, positions))[:_FEW]
    return Places(count, tuple(map(int, first)))


def merge_places(parts: Sequence[Places]) -> Places:
    """Combine the places of several parts."""
    first = sorted(place for part in parts for place in part.first)
    return Places(sum(part.count for part in parts), tuple(first[:_FEW]))


class Spool:
    """Keeps records of a few 64-bit words in files by their first word, so that equal ones are read back together."""

    def __init__(self, folder: Path, rows: int, width: int) -> None:
        self.width = width
        count = min(_FILES, rows // _BUCKET + 1)
        self.files = [tempfile.TemporaryFile(dir=folder) for _ in range(count)]  # noqa: SIM115 (closed with the block)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files:
            file.close()

    def add(self, *words: Array) -> None:
        """Add records: one array of 64-bit values for each of their words, shape (records,)."""
        records = np.column_stack([word.view(np.uint64) for word in words])
        buckets = (records[:, 0] >> np.uint64(32)).astype(np.int64) % len(self.files)
        ends = np.cumsum(np.bincount(buckets, minlength=len(self.files)))[:-1]
        for file, part in zip(self.files, np.split(records[np.argsort(buckets, kind="stable")], ends), strict=True):
            file.write(part.tobytes())

    def __iter__(self) -> Iterator[Array]:
        """Yield the records of each file, uint64 (records, width), in the order in which they were added."""
        for file in self.files:
            file.seek(0)
            yield np.frombuffer(file.read(), dtype=np.uint64).reshape(-1, self.width)


@dataclass(frozen=True)
class Repeats:
    """Repeated rows.

    `repeated`: a mask (rows,) of rows equal to an earlier one of the same id. `varied`: other rows with the id of an earlier
    one. `duplicated`: rows equal to an earlier one except for the ids.

    The first of several equal rows is kept. Without an id no row is a repeat, as two cases may be equal.
    """

    repeated: Array
    varied: Places
    duplicated: Places


def hash_rows(columns: Iterable[Array], rows: int) -> Array:
    """Return a hash of each row from those of its cells, uint64 (rows,)."""
    mixed = np.zeros(rows, dtype=np.uint64)
    for hashes in columns:
        mixed = scramble(mixed ^ hashes)
    return mixed


class RepeatFinder:
    """Finds the repeats of a table in parts; its files in `folder` are removed with the block."""

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
        """Add rows, whose index holds their positions in the table."""
        places = part.index.to_numpy(dtype=np.int64)
        rest = hash_rows((hash_values(part[name]) for name in part if name not in self.keys), len(part))
        if self.keys:
            ids = hash_rows((hash_values(part[name]) for name in self.keys), len(part))
            known = part[self.keys].notna().all(axis=1).to_numpy()
            self.shared.add(ids[known], rest[known], places[known])
        if len(self.keys) < part.shape[1]:
            again = pd.Series(rest).duplicated().to_numpy()  # so that a frequent row does not fill a file
            self.near.append(gather_places([places[again]]))
            self.alike.add(rest[~again], places[~again])

    def find(self) -> Repeats:
        """Return the repeats of all added rows."""
        repeated = np.zeros(self.rows, dtype=bool)
        varied = gather_places(_list_varied(records, repeated) for records in self.shared)
        far = gather_places(_list_again(records) for records in self.alike)
        return Repeats(repeated, varied, merge_places([far, *self.near]))


def _list_varied(records: Array, repeated: Array) -> Array:
    """List the positions of records (id, rest, position) with the id of an earlier one; mark equal ones in `repeated`."""
    frame = pd.DataFrame(records[pd.Series(records[:, 0]).duplicated(keep=False).to_numpy()])
    places = frame[2].to_numpy(dtype=np.int64)
    alike = frame.duplicated([0, 1]).to_numpy()
    repeated[places[alike]] = True
    return np.asarray(places[frame.duplicated([0]).to_numpy() & ~alike])


def _list_again(records: Array) -> Array:
    """List the positions of records (hash, position) that equal an earlier one."""
    return np.asarray(records[pd.Series(records[:, 0]).duplicated().to_numpy(), 1].astype(np.int64))
