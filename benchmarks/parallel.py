"""Run the same work on many items, in processes of one thread each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from typing import TypeVar

from benchmarks.command import Progress

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
Item = TypeVar("Item")
Result = TypeVar("Result")


def map_items(work: Callable[[Item], Result], items: Sequence[Item], processes: int, unit: str) -> Iterator[Result]:
    """Yield the result of each item in order, computed in so many processes, or in this one where `processes` is 0.

    Progress goes to stderr, in `unit`.
    """
    progress = Progress(len(items), unit)
    with ExitStack() as stack:
        if processes:
            os.environ.update(dict.fromkeys(THREADS, "1"))  # processes of more threads than cores wait for one another
            pool = stack.enter_context(ProcessPoolExecutor(processes, mp_context=get_context("spawn")))
            found = pool.map(work, items)
        else:
            found = map(work, items)
        for result in found:
            progress.advance()
            yield result
