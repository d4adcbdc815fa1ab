"""Compaction of the prediction log: sealed segments become Parquet, and old partitions are removed."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO, Any

from lifecycle.core.errors import ProjectError
from lifecycle.core.files import sync_folder
from lifecycle.prediction_log.reader import (
    FEATURES,
    KINDS,
    build_table,
    find_partitions,
    find_segments,
    fold_features,
    split_lines,
)
from lifecycle.prediction_log.writer import SEGMENTS, Record

DAMAGED = "damaged"
DAMAGED_SUFFIX = ".lines"


@dataclass(frozen=True)
class Compaction:
    """How many segments became Parquet, with how many records; how many lines were damaged."""

    segments: int
    records: int
    damaged: int


def compact_segments(folder: Path) -> Compaction:
    """Turn each segment whose writer is gone into FOLDER/KIND/date=YYYY-MM-DD/SEGMENT.parquet, then remove it.

    Damaged lines are kept in FOLDER/damaged. A crash loses and doubles nothing: the next run writes the same files again.
    Raises OSError when the disk refuses.
    """
    done: Counter[str] = Counter()
    for path in find_segments(folder):
        with hold_segment(path) as file:
            if file is None:
                continue
            records, damaged = split_lines(file.read())
            write_partitions(folder, path.stem, records)
            if damaged:
                put_file(folder, DAMAGED, f"{path.stem}{DAMAGED_SUFFIX}", partial(write_lines, damaged))
            path.unlink()
            done.update(segments=1, records=len(records), damaged=len(damaged))
    if done["segments"]:
        sync_folder(folder / SEGMENTS)
    return Compaction(done["segments"], done["records"], done["damaged"])


def prune_log(folder: Path, days: int) -> int:
    """Remove the partitions of days that ended `days` days ago or earlier, and damaged lines as old; how many went.

    Segments that are not compacted yet stay. Raises ProjectError for less than one day.
    """
    if days < 1:
        raise ProjectError(f"The prediction log keeps at least 1 day, not {days}.")
    first = datetime.now(UTC).date() - timedelta(days=days)
    old = [path for kind in KINDS for path, day in find_partitions(folder / kind) if day < first]
    for path in old:
        shutil.rmtree(path)
    lines = [path for path in (folder / DAMAGED).glob(f"*{DAMAGED_SUFFIX}") if path.name[:8] < f"{first:%Y%m%d}"]
    for path in lines:
        path.unlink()
    return len(old) + len(lines)


@contextmanager
def hold_segment(path: Path) -> Iterator[IO[bytes] | None]:
    """Open a segment for this process alone; None where its writer lives, or somebody else has compacted it."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except (BlockingIOError, FileNotFoundError):
            held = False
        yield file if held else None


def write_partitions(folder: Path, name: str, records: list[Record]) -> None:
    """Write a segment's records, a file a kind and day."""
    import pyarrow.parquet as pq

    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        at = datetime.fromtimestamp(record["at"] // 1_000_000, UTC)
        groups.setdefault((record["kind"], f"date={at.date()}"), []).append(record)
    for (kind, partition), group in groups.items():
        table = fold_features(build_table(group, kind), kind)
        if kind == "prediction" and not table.schema.field(FEATURES).type.num_fields:
            table = table.drop_columns(FEATURES)  # Parquet has no empty struct
        put_file(folder, f"{kind}/{partition}", f"{name}.parquet", partial(pq.write_table, table, compression="zstd"))


def write_lines(lines: list[bytes], file: IO[bytes]) -> None:
    """Write lines as they are."""
    file.writelines(lines)


def put_file(root: Path, folder: str, name: str, write: Callable[[IO[bytes]], Any]) -> None:
    """Write ROOT/FOLDER/NAME aside, for its owner alone, and rename it when the disk has it."""
    target = root
    for part in Path(folder).parts:
        (target / part).mkdir(mode=0o700, exist_ok=True)
        sync_folder(target)
        target /= part
    aside = target / f".{name}.aside"  # always the same: what a crash leaves is written over
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target / name)
        sync_folder(target)
    finally:
        with suppress(OSError):
            aside.unlink()
