"""Progress of long work, on stderr, at most one line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

_SECONDS = 5.0  # between two lines

Part = TypeVar("Part", bound=Sized)


def report_slowly(task: str) -> Callable[[str], None]:
    """Return a function that prints `task` and a line of progress, and drops lines that come too soon."""
    last = time.monotonic()

    def report(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS:
            last = time.monotonic()
            print(f"{task}: {line}", file=sys.stderr, flush=True)

    return report


def show_progress(parts: Iterable[Part], task: str, rows: int | None = None) -> Iterator[Part]:
    """Yield the parts, and report how many rows have passed, of `rows` in total where that is known."""
    report, done = report_slowly(task), 0
    total = "" if rows is None else f" of {rows:,}"
    for part in parts:
        yield part
        done += len(part)
        report(f"{done:,}{total} rows")
