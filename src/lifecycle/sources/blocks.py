"""Bytes of files in blocks of whole lines, and work on blocks ahead of their reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

BLOCK_BYTES = 1 << 20  # bytes of text that are parsed at once
_READ_AHEAD = 2  # blocks or row groups that are read ahead

Open = Callable[[], Any]  # opens a stream of bytes, without its compression, in a `with` block

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def run_ahead(
    function: Callable[[_Item], _Result], items: Iterable[_Item], threads: int = _READ_AHEAD
) -> Iterator[_Result]:
    """Apply a function to items in threads, at most a few items ahead; yield the results in order."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[_Result]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def read_lines(stream: Any) -> Iterator[tuple[int, bytes]]:
    """Yield blocks of whole lines that are not all blank, each with the number of its first line, from 1."""
    rest, number = b"", 1
    while piece := stream.read(max(BLOCK_BYTES, len(rest))):  # a long line is not searched again and again
        head, newline, tail = piece.rpartition(b"\n")
        if not newline:
            rest += tail
            continue
        block, rest = rest + head + newline, tail
        if block.strip():
            yield number, block
        number += block.count(b"\n")
    if rest.strip():
        yield number, rest
