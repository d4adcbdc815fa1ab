"""Which limits a benchmark kept, for people and as an exit status."""

from __future__ import annotations

from collections.abc import Sequence


def describe_limits_text(limits: Sequence[tuple[bool, str]]) -> int:
    """Print which limits were kept; 1 where one was missed, else 0."""
    for kept, text in limits:
        print(f"{'kept' if kept else 'missed':7s} {text}")
    return int(not all(kept for kept, _ in limits))
