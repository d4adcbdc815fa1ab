"""The writer of the prediction log: a queue takes records at once, and a thread appends them to segments.

A line is the CRC-32 of the JSON in 8 hexadecimal digits, a blank and the JSON. A segment is FOLDER/segments/NAME.open while
its writer lives (which holds a lock on it), and NAME.sealed afterwards; `prediction_log.reader` reads both. FOLDER/FORMAT
holds the version of the log's format.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson

from lifecycle.core.files import lock_handle, replace_file, sync_folder
from lifecycle.core.records import Record

FORMAT, FORMAT_FILE = 2, "FORMAT"
SEGMENTS = "segments"
OPEN, SEALED = ".open", ".sealed"
_SLICE = 128  # records encoded without a pause: the event loop waits for the GIL a fraction of a millisecond at most
_MAX_SLICES = 16  # of a flush: when many records wait, slices grow
_MAX_PAUSE_SECONDS = 30.0  # between two attempts on a disk that refuses writes
_NEW_FILE = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL


class PredictionLog:
    """Writes records to FOLDER/segments.

    There is one log for each process, created in the process that uses it, because threads do not survive a fork.

    flush_seconds: a crash loses at most the records of this period and of one write. segment_bytes, segment_seconds: when a
    segment is sealed and the next one started. capacity: how many records may wait in the queue, and how many more while
    the disk refuses writes.

    written: records on the disk. dropped: records lost because the queue was full. errors: records that JSON cannot
    represent. healthy: whether the last write succeeded; problem: why it did not. NaN and infinities are written as null,
    unknown types as their str.
    """

    def __init__(
        self,
        folder: Path,
        *,
        flush_seconds: float = 0.5,
        segment_bytes: int = 32 * 1024 * 1024,
        segment_seconds: float = 600,
        capacity: int = 50_000,
    ) -> None:
        self.folder = folder / SEGMENTS
        self.flush_seconds, self.segment_bytes, self.segment_seconds = flush_seconds, segment_bytes, segment_seconds
        self.capacity = capacity
        self.written, self.errors = 0, 0
        self.refused, self.expired = 0, 0  # counted by callers of `append`, and by the thread
        self.problem = ""
        self.queue: deque[Record] = deque()
        self.pending: deque[tuple[int, bytes]] = deque()  # slices (number of lines, lines) that are not on the disk yet
        self.sent = 0  # how many of the first slices are in the segment, but not synced
        self.segment: _Segment | None = None
        self.pause, self.retry_at = flush_seconds, 0.0
        self.closing, self.hurry = threading.Event(), threading.Event()  # hurry: write now, not at the next tick
        self.thread = threading.Thread(target=self.run, name="prediction-log", daemon=True)
        self.thread.start()

    @property
    def dropped(self) -> int:
        """The records that were lost because the queue was full, or because the disk refused writes for too long."""
        return self.refused + self.expired

    @property
    def healthy(self) -> bool:
        """Whether the last write succeeded and the thread is alive."""
        return not self.problem and (self.closing.is_set() or self.thread.is_alive())

    def append(self, record: Record) -> bool:
        """Queue a record from any thread; return False when it was dropped. The record must not be changed afterwards."""
        waiting = len(self.queue)
        if waiting >= self.capacity or self.closing.is_set():
            self.refused += 1
            return False
        self.queue.append(record)
        if waiting == self.capacity // 4:
            self.hurry.set()
        return True

    def state(self) -> dict[str, Any]:
        """Return the counters, the number of waiting records and the problem, if there is one."""
        return {
            "written": self.written,
            "dropped": self.dropped,
            "errors": self.errors,
            "waiting": len(self.queue) + sum(count for count, _ in list(self.pending)),
            "healthy": self.healthy,
            "problem": self.problem,
        }

    def close(self, timeout: float = 5) -> bool:
        """Write the waiting records, seal the segment and stop; return False when `timeout` seconds were not enough."""
        self.closing.set()
        self.hurry.set()
        self.thread.join(timeout)
        return not self.thread.is_alive()

    def run(self) -> None:
        """Run the thread: flush at every tick and once more at the end, and count records that could not be written."""
        while not self.closing.is_set():
            self.hurry.wait(self.flush_seconds)
            self.hurry.clear()
            self.flush()
        self.retry_at = 0.0
        self.flush()
        if self.segment and not self.problem:
            self.segment.seal()
        self.expired += sum(count for count, _ in self.pending)
        self.pending.clear()

    def flush(self) -> None:
        """Write and sync the waiting records; when that fails, keep them for a later attempt, within the capacity."""
        if not self.problem or time.monotonic() >= self.retry_at:
            try:
                self.write()
            except OSError as error:
                self.fail(error)
            else:
                self.problem, self.pause = "", self.flush_seconds
                return
        while self.queue:
            self.pending.append(self.encode(_SLICE))
        waiting = sum(count for count, _ in self.pending)
        while waiting > self.capacity:
            count, _ = self.pending.popleft()
            waiting -= count
            self.expired += count

    def fail(self, error: OSError) -> None:
        """Discard records that were written but not synced, and schedule another attempt, which writes them again."""
        self.problem, self.sent = f"{self.folder}: {error}", 0
        self.retry_at = time.monotonic() + self.pause
        self.pause = min(2 * self.pause, _MAX_PAUSE_SECONDS)
        with suppress(OSError):
            self.leave_segment()

    def leave_segment(self) -> None:
        """Cut the segment to its synced part and seal it: after an error its later pages cannot be trusted."""
        if self.segment:
            self.segment.restore()
            self.segment.seal()
            self.segment = None

    def write(self) -> None:
        """Write the pending and then the queued records, slice by slice, and sync; raise OSError."""
        if self.segment and (self.problem or self.segment.is_removed()):
            self.leave_segment()
        for _, lines in list(self.pending):
            self.send(lines)
        size = max(
            _SLICE, len(self.queue) // _MAX_SLICES
        )  # a busy event loop keeps the GIL for 5 ms each time it is released
        for _ in range(0, len(self.queue), size):
            self.pending.append(self.encode(size))
            self.send(self.pending[-1][1])  # this releases the GIL
        if self.segment:
            self.commit()
            if self.segment.size >= self.segment_bytes or self.segment.age() >= self.segment_seconds:
                self.segment.seal()
                self.segment = None

    def encode(self, size: int) -> tuple[int, bytes]:
        """Return the queue's next slice as a number of lines and the lines."""
        lines = []
        for _ in range(min(size, len(self.queue))):
            try:
                text = orjson.dumps(self.queue.popleft(), default=str, option=orjson.OPT_SERIALIZE_NUMPY)
            except orjson.JSONEncodeError:
                self.errors += 1
            else:
                lines.append(b"%08x %b\n" % (crc32(text), text))
        return len(lines), b"".join(lines)

    def send(self, lines: bytes) -> None:
        """Write a slice to the segment, or to a new one when it is full."""
        if self.segment and self.segment.grown >= self.segment_bytes:
            self.commit()
            self.segment.seal()
            self.segment = None
        if self.segment is None:
            self.segment = _Segment(self.folder)
        self.segment.write(lines)
        self.sent += 1

    def commit(self) -> None:
        """Sync the segment and count the slices that were sent to it as written."""
        if self.segment and self.sent:
            self.segment.sync()
            while self.sent:
                self.written += self.pending.popleft()[0]
                self.sent -= 1


class _Segment:
    """An open segment: `size` bytes are synced, `grown` are written. All methods but `seal` raise OSError."""

    def __init__(self, folder: Path) -> None:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark_format(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{os.getpid()}-{secrets.token_hex(4)}"
        self.path = folder / f"{name}{OPEN}"
        self.size, self.grown, self.opened = 0, 0, time.monotonic()
        hidden = folder / f".{name}"  # a visible segment without a lock would look like one of a dead writer
        self.handle = os.open(hidden, _NEW_FILE, 0o600)
        try:
            lock_handle(self.handle, blocking=False)
            hidden.rename(self.path)
            sync_folder(folder)
        except OSError:
            os.close(self.handle)
            for path in (hidden, self.path):
                with suppress(OSError):
                    path.unlink()
            raise

    def age(self) -> float:
        """Return the seconds since the segment was opened."""
        return time.monotonic() - self.opened

    def is_removed(self) -> bool:
        """Return whether the file was deleted."""
        return os.fstat(self.handle).st_nlink == 0

    def write(self, lines: bytes) -> None:
        """Append lines; after an error a part of them may be written."""
        rest = memoryview(lines)
        while rest:
            done = os.write(self.handle, rest)
            self.grown += done
            rest = rest[done:]

    def sync(self) -> None:
        """Make the written lines durable."""
        os.fsync(self.handle)
        self.size = self.grown

    def restore(self) -> None:
        """Cut off the lines since the last sync."""
        os.ftruncate(self.handle, self.size)
        self.grown = self.size

    def seal(self) -> None:
        """Rename the segment, or remove an empty one, and release its lock; without that it looks like a dead writer's."""
        with suppress(OSError):
            if self.size:
                self.path.rename(self.path.with_suffix(SEALED))
            else:
                self.path.unlink()
        os.close(self.handle)


def mark_format(folder: Path) -> None:
    """Write the version of the format into the folder of a new log; a log that has records already stays as it is.

    Raises OSError.
    """
    path = folder / FORMAT_FILE
    if path.exists() or any(entry.is_dir() for entry in folder.iterdir()):
        return
    with replace_file(path, mode=0o600) as temporary:
        temporary.write_text(f"{FORMAT}\n", encoding="utf-8")
