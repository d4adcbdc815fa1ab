"""The shadow: a challenger scores the same requests in a thread; its probabilities are logged and never returned."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from lifecycle.core.records import Record
from lifecycle.serving.bundle import Bundle
from lifecycle.serving.fallback import score_rows

_PENDING = 1000  # requests that may wait; further ones are dropped and counted


class Shadow:
    """A thread that scores requests and passes a record for each row to `log`.

    count: called with the model, the result and the number of rows of each request.
    """

    def __init__(self, log: Callable[[Record], bool], count: Callable[[str, str, int], None]) -> None:
        self.log, self.count = log, count
        self.waiting: queue.Queue[tuple[Bundle, list[str], list[Record], int] | None] = queue.Queue(_PENDING)
        self.thread: threading.Thread | None = None

    def offer(self, bundle: Bundle, ids: list[str], rows: list[Record], at: int) -> None:
        """Queue a request without waiting."""
        if self.thread is None:
            self.thread = threading.Thread(target=self.run, name="shadow", daemon=True)
            self.thread.start()
        try:
            self.waiting.put_nowait((bundle, ids, rows, at))
        except queue.Full:
            self.count(bundle.name, "dropped", len(rows))

    def run(self) -> None:
        """Score requests until the queue holds None; errors of the challenger are only counted."""
        while (offered := self.waiting.get()) is not None:
            bundle, ids, rows, at = offered
            self.count(bundle.name, self.score(bundle, ids, rows, at), len(rows))

    def score(self, bundle: Bundle, ids: list[str], rows: list[Record], at: int) -> str:
        """Score one request and log the probabilities; return the result for the metrics."""
        if not bundle.schema.accepts(rows):
            return "other columns"
        try:
            probabilities = score_rows(bundle, rows)
        except Exception:  # noqa: BLE001 - a challenger may fail in any way
            return "failed"
        for identity, probability in zip(ids, probabilities, strict=True):
            self.log({"kind": "shadow", "id": identity, "at": at, "model": bundle.name, "probability": probability})
        return "scored"

    def close(self, seconds: float = 5) -> None:
        """Score the requests that wait, then end the thread."""
        if self.thread is not None:
            self.waiting.put(None)
            self.thread.join(seconds)
