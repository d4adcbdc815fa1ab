"""The prediction log's writer: records go to a queue at once, and from there to append-only segments by a thread.

A line is `CRC-32 of the JSON as 8 hexadecimal digits, blank, JSON`. A segment is FOLDER/segments/NAME.open while its writer
lives, which holds an flock on it, and NAME.sealed afterwards; `lifecycle.prediction_log.reader` reads both.
"""

from __future__ import annotations

import fcntl
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

from lifecycle.core.files import sync_folder

SEGMENTS = "segments"
OPEN, SEALED = ".open", ".sealed"
SLICE = 128  # records encoded without a pause: the event loop waits for the GIL a fraction of a millisecond at most
SLICES = 16  # of a flush, at most: when many records wait, slices grow
LONGEST_PAUSE = 30.0  # seconds between two attempts on a disk that refuses
NEWS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL

Record = dict[str, Any]


class PredictionLog:
    """Writes records to FOLDER/segments; one a process, made in the process that uses it (threads do not survive a fork).

    flush_seconds: a crash loses at most what came in so long, and the time of one write. segment_bytes, segment_seconds:
    when a segment is sealed and the next begun. capacity: how many records may wait in the queue, and how many more while
    the disk refuses them.

    written: records on the disk. dropped: records lost for want of room. errors: records that JSON cannot say. healthy:
    whether the last write went well; problem: why not. NaN and infinities are written as null, unknown types as their str.
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
        self.refused, self.expired = 0, 0  # one is counted by those who append, the other by the thread
        self.problem = ""
        self.queue: deque[Record] = deque()
        self.pending: deque[tuple[int, bytes]] = deque()  # slices, each a number of lines, that are not on the disk yet
        self.sent = 0  # the first so many of them are in the segment, but not synced
        self.segment: Segment | None = None
        self.pause, self.retry_at = flush_seconds, 0.0
        self.closing, self.called = threading.Event(), threading.Event()  # the second: write now, not at the next tick
        self.thread = threading.Thread(target=self.run, name="prediction-log", daemon=True)
        self.thread.start()

    @property
    def dropped(self) -> int:
        """How many records were lost for want of room: in the queue, or later because the disk went on refusing."""
        return self.refused + self.expired

    @property
    def healthy(self) -> bool:
        """Whether the last write went well, and there is somebody to do the next."""
        return not self.problem and (self.closing.is_set() or self.thread.is_alive())

    def append(self, record: Record) -> bool:
        """Leave a record to be written, from any thread; False when it was dropped. It must not be changed afterwards."""
        waiting = len(self.queue)
        if waiting >= self.capacity or self.closing.is_set():
            self.refused += 1
            return False
        self.queue.append(record)
        if waiting == self.capacity // 4:
            self.called.set()
        return True

    def state(self) -> dict[str, Any]:
        """The counters, how many records wait, and what is wrong, if anything is."""
        return {
            "written": self.written,
            "dropped": self.dropped,
            "errors": self.errors,
            "waiting": len(self.queue) + sum(count for count, _ in list(self.pending)),
            "healthy": self.healthy,
            "problem": self.problem,
        }

    def close(self, timeout: float = 5) -> bool:
        """Write what waits, seal the segment and end; False when that took longer than `timeout` seconds."""
        self.closing.set()
        self.called.set()
        self.thread.join(timeout)
        return not self.thread.is_alive()

    def run(self) -> None:
        """The thread: flush at every tick, once more at the end, and count what could not be written."""
        while not self.closing.is_set():
            self.called.wait(self.flush_seconds)
            self.called.clear()
            self.flush()
        self.retry_at = 0.0
        self.flush()
        if self.segment and not self.problem:
            self.segment.seal()
        self.expired += sum(count for count, _ in self.pending)
        self.pending.clear()

    def flush(self) -> None:
        """Write and sync what waits; when the disk refuses, keep it for a later attempt, within the capacity."""
        if not self.problem or time.monotonic() >= self.retry_at:
            try:
                self.write()
            except OSError as error:
                self.fail(error)
            else:
                self.problem, self.pause = "", self.flush_seconds
                return
        while self.queue:
            self.pending.append(self.encode(SLICE))
        waiting = sum(count for count, _ in self.pending)
        while waiting > self.capacity:
            count, _ = self.pending.popleft()
            waiting -= count
            self.expired += count

    def fail(self, error: OSError) -> None:
        """Take back what was written but not synced, which the next attempt writes again; that attempt comes later."""
        self.problem, self.sent = f"{self.folder}: {error}", 0
        self.retry_at = time.monotonic() + self.pause
        self.pause = min(2 * self.pause, LONGEST_PAUSE)
        with suppress(OSError):
            self.leave_segment()

    def leave_segment(self) -> None:
        """Cut the segment to what is synced and seal it: after an error its later pages cannot be trusted."""
        if self.segment:
            self.segment.restore()
            self.segment.seal()
            self.segment = None

    def write(self) -> None:
        """Write what is pending, then what is queued, a slice at a time, and sync; raises OSError."""
        if self.segment and (self.problem or self.segment.is_removed()):
            self.leave_segment()
        for _, lines in list(self.pending):
            self.send(lines)
        size = max(SLICE, len(self.queue) // SLICES)  # each time the GIL is let go, a busy event loop keeps it for 5 ms
        for _ in range(0, len(self.queue), size):
            self.pending.append(self.encode(size))
            self.send(self.pending[-1][1])  # the GIL is free meanwhile
        if self.segment:
            self.commit()
            if self.segment.size >= self.segment_bytes or self.segment.age() >= self.segment_seconds:
                self.segment.seal()
                self.segment = None

    def encode(self, size: int) -> tuple[int, bytes]:
        """The queue's next slice as lines."""
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
        """Write a slice to the segment, or to a new one where it is full."""
        if self.segment and self.segment.grown >= self.segment_bytes:
            self.commit()
            self.segment.seal()
            self.segment = None
        if self.segment is None:
            self.segment = Segment(self.folder)
        self.segment.write(lines)
        self.sent += 1

    def commit(self) -> None:
        """Sync the segment; what was sent to it is written."""
        if self.segment and self.sent:
            self.segment.sync()
            while self.sent:
                self.written += self.pending.popleft()[0]
                self.sent -= 1


class Segment:
    """A file that is being written: `size` bytes are synced, `grown` are written. All methods but `seal` raise OSError."""

    def __init__(self, folder: Path) -> None:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{os.getpid()}-{secrets.token_hex(4)}"
        self.path = folder / f"{name}{OPEN}"
        self.size, self.grown, self.opened = 0, 0, time.monotonic()
        aside = folder / f".{name}"  # locked before anybody sees it, or it would be taken for a dead writer's
        self.handle = os.open(aside, NEWS, 0o600)
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            aside.rename(self.path)
            sync_folder(folder)
        except OSError:
            os.close(self.handle)
            for path in (aside, self.path):
                with suppress(OSError):
                    path.unlink()
            raise

    def age(self) -> float:
        """Seconds since it was opened."""
        return time.monotonic() - self.opened

    def is_removed(self) -> bool:
        """Whether somebody deleted it."""
        return os.fstat(self.handle).st_nlink == 0

    def write(self, lines: bytes) -> None:
        """Append; on an error some of it may be there."""
        rest = memoryview(lines)
        while rest:
            done = os.write(self.handle, rest)
            self.grown += done
            rest = rest[done:]

    def sync(self) -> None:
        """Have the disk keep all that was written."""
        os.fsync(self.handle)
        self.size = self.grown

    def restore(self) -> None:
        """Cut off what was written since the last sync."""
        os.ftruncate(self.handle, self.size)
        self.grown = self.size

    def seal(self) -> None:
        """Rename it, or remove it when it is empty, and let go of it; a name that stays is taken for a dead writer's."""
        with suppress(OSError):
            if self.size:
                self.path.rename(self.path.with_suffix(SEALED))
            else:
                self.path.unlink()
        os.close(self.handle)
