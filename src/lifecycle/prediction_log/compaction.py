"""Compaction of the prediction log: sealed segments become Parquet files, and old partitions are removed."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO, Any

from lifecycle.core.errors import ProjectError
from lifecycle.core.files import lock_file, replace_file, sync_folder
from lifecycle.core.records import Record
from lifecycle.prediction_log.reader import (
    FEATURES,
    KINDS,
    build_table,
    find_partitions,
    find_segments,
    fold_features,
    split_lines,
)
from lifecycle.prediction_log.writer import SEGMENTS, mark_format

_DAMAGED = "damaged"
_DAMAGED_SUFFIX = ".lines"


@dataclass(frozen=True)
class Compaction:
    """How many segments became Parquet files, and their numbers of records and of damaged lines."""

    segments: int
    records: int
    damaged: int


def compact_segments(folder: Path) -> Compaction:
    """Turn each segment whose writer has ended into FOLDER/KIND/date=YYYY-MM-DD/SEGMENT.parquet, then remove it.

    Damaged lines are kept in FOLDER/damaged. A crash loses and duplicates no record, because the next run writes the same
    files again. Raises OSError when a file cannot be written.
    """
    done: Counter[str] = Counter()
    for path in find_segments(folder):
        with _hold_segment(path) as file:
            if file is None:
                continue
            records, damaged = split_lines(file.read())
            write_partitions(folder, path.stem, records)
            if damaged:
                _put_file(folder, _DAMAGED, f"{path.stem}{_DAMAGED_SUFFIX}", partial(_write_lines, damaged))
            path.unlink()
            done.update(segments=1, records=len(records), damaged=len(damaged))
    if done["segments"]:
        sync_folder(folder / SEGMENTS)
    return Compaction(done["segments"], done["records"], done["damaged"])


def prune_log(folder: Path, days: int) -> int:
    """Remove the partitions and damaged lines of days that ended `days` days ago or earlier; return their number.

    Segments that are not compacted yet stay. Raises ProjectError for less than one day.
    """
    if days < 1:
        raise ProjectError(f"The prediction log keeps at least 1 day, not {days}.")
    first = datetime.now(UTC).date() - timedelta(days=days)
    old = [path for kind in KINDS for path, day in find_partitions(folder / kind) if day < first]
    for path in old:
        shutil.rmtree(path)
    lines = [path for path in (folder / _DAMAGED).glob(f"*{_DAMAGED_SUFFIX}") if path.name[:8] < f"{first:%Y%m%d}"]
    for path in lines:
        path.unlink()
    return len(old) + len(lines)


@contextmanager
def _hold_segment(path: Path) -> Iterator[IO[bytes] | None]:
    """Lock a segment and yield its file; yield None while its writer lives, and when it was compacted already."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(lock_file(path, mode="rb", blocking=False))
            held = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except (BlockingIOError, FileNotFoundError):
            held = False
        yield file if held else None


def write_partitions(folder: Path, name: str, records: list[Record]) -> None:
    """Write records as one Parquet file called `name` for each kind and day."""
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    mark_format(folder)
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        at = datetime.fromtimestamp(record["at"] // 1_000_000, UTC)
        groups.setdefault((record["kind"], f"date={at.date()}"), []).append(record)
    for (kind, partition), group in groups.items():
        table = fold_features(build_table(group, kind), kind)
        if kind == "prediction" and not table.schema.field(FEATURES).type.num_fields:
            table = table.drop_columns(FEATURES)  # Parquet has no empty struct
        _put_file(folder, f"{kind}/{partition}", f"{name}.parquet", partial(pq.write_table, table, compression="zstd"))


def _write_lines(lines: list[bytes], file: IO[bytes]) -> None:
    """Write lines unchanged."""
    file.writelines(lines)


def _put_file(root: Path, folder: str, name: str, write: Callable[[IO[bytes]], Any]) -> None:
    """Write ROOT/FOLDER/NAME atomically and durably; only its owner may read it."""
    target = root
    for part in Path(folder).parts:
        (target / part).mkdir(mode=0o700, exist_ok=True)
        sync_folder(target)
        target /= part
    fixed = target / f".{name}.aside"  # readers ignore it, and the next attempt overwrites what a crash leaves
    with (
        replace_file(target / name, mode=0o600, durable=True, temporary=fixed) as temporary,
        temporary.open("wb") as file,
    ):
        write(file)
