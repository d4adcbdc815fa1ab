"""A short history of a server's traffic, for the dashboard: totals every five seconds over the last five minutes.

Each worker keeps its own totals. Several workers share theirs in the folder in which they share their metrics.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections import deque
from pathlib import Path

import orjson

from lifecycle.core.files import replace_file
from lifecycle.core.records import Record
from lifecycle.serving.metrics import Metrics
from lifecycle.serving.settings import METRICS_FOLDER_VARIABLE

SLOT_SECONDS = 5
_SLOTS = 61  # five minutes, both ends included
_PATTERN = "traffic-{}.json"


class TrafficHistory:
    """Totals of predictions, errors and latencies at the end of each of the last slots."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        folder = os.environ.get(METRICS_FOLDER_VARIABLE)
        self.folder = Path(folder) if folder else None
        self.samples: deque[Record] = deque(maxlen=_SLOTS)

    def record(self) -> None:
        """Record this worker's totals once in a slot; share them with the other workers."""
        slot = int(time.time() // SLOT_SECONDS)
        if self.samples and self.samples[-1]["slot"] >= slot:
            return
        self.samples.append({"slot": slot, **self.metrics.count_traffic()})
        if self.folder is not None and self.folder.is_dir():
            with replace_file(self.folder / _PATTERN.format(os.getpid())) as temporary:
                temporary.write_bytes(orjson.dumps(list(self.samples)))

    def read(self) -> list[Record]:
        """Return the totals of all workers by slot, oldest first: age in seconds, answered, asked, failed, refused, buckets.

        A worker that has ended keeps its last totals; one that had not started yet counts as zero.
        """
        workers = [list(self.samples)]
        if self.folder is not None:
            workers = [orjson.loads(path.read_bytes()) for path in self.folder.glob(_PATTERN.format("*"))] or workers
        newest = max((samples[-1]["slot"] for samples in workers if samples), default=0)
        slots = sorted(
            {sample["slot"] for samples in workers for sample in samples if sample["slot"] > newest - _SLOTS}
        )
        now = time.time()
        return [{"age": max(0.0, now - slot * SLOT_SECONDS), **_add(workers, slot)} for slot in slots]


def _add(workers: list[list[Record]], slot: int) -> Record:
    """Return the sum of the workers' latest totals at a slot."""
    total: Record = {"answered": 0.0, "asked": 0.0, "failed": 0.0, "refused": 0.0, "buckets": {}}
    for samples in workers:
        place = bisect_right(samples, slot, key=lambda sample: sample["slot"])
        if not place:
            continue
        sample = samples[place - 1]
        for name in ("answered", "asked", "failed", "refused"):
            total[name] += sample[name]
        for bound, count in sample["buckets"].items():
            total["buckets"][bound] = total["buckets"].get(bound, 0.0) + count
    return total
