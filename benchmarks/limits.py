"""Which limits a benchmark kept, for people and as an exit status."""

from __future__ import annotations

import os
from collections.abc import Sequence


def tell_limits(limits: Sequence[tuple[bool, str]]) -> int:
    """Print how busy the machine is and which limits were kept; 1 where one was missed, else 0."""
    print(f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
    for kept, text in limits:
        print(f"{'kept' if kept else 'missed':7s} {text}")
    return int(not all(kept for kept, _ in limits))
