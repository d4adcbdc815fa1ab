"""Choose the earlier windows of a log that each window is compared with: last year's month, or the last few."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lifecycle.core.records import Record
from lifecycle.monitoring.baselines import Baseline, build_baseline
from lifecycle.monitoring.entities import code_entities, count_together, inflate
from lifecycle.monitoring.traffic import Traffic


def choose_baselines(
    reference: Record, traffic: Sequence[Traffic], kind: str, most: int, *, min_rows: int, gap: int, min_labels: int
) -> list[Baseline]:
    """Return what each window is compared with: `kind` is holdout, same_month_last_year or last_windows.

    most: of the last windows, the number that is added up; they end before the `gap` windows that are tested together. Until the log has so many
    windows, or last year's month from its beginning, and `min_rows` rows in them, a window is compared with the hold-out. With fewer than
    `min_labels` labels the share of positives is that of the hold-out.
    """
    performance = reference["performance"]
    worth = inflate(performance.get("rows_together", 1.0), performance.get("correlation", 1.0))
    holdout = Baseline("", reference, True, performance["rows"] / worth, performance["rate"])
    baselines = []
    for place in range(len(traffic)):
        past = _find_past(traffic, place, kind, most, gap)
        counts = [part.counts for part in past]
        if not past or sum(count.rows for count in counts) < min_rows:
            baselines.append(holdout)
            continue
        labels = np.concatenate([part.labels[0] for part in past])
        enough = len(labels) >= min_labels
        names = [part.window.name for part in past]
        baselines.append(Baseline(
            names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}", build_baseline(reference, counts),
            kind == "last_windows", count_labels(performance, past) if enough else holdout.rows,
            float(labels.mean()) if enough else holdout.rate,
        ))  # fmt: skip
    return baselines


def count_labels(performance: Record, traffic: Sequence[Traffic]) -> float:
    """Return how many independent labels those of some windows are worth, as labels of one entity resemble one another.

    By how much is measured on the hold-out; where it cannot be, only entities count.
    """
    together = count_together(
        code_entities(pd.concat([part.labelled["entity"] for part in traffic], ignore_index=True))
    )
    return sum(len(part.labelled) for part in traffic) / inflate(together, performance.get("correlation", 1.0))


def _find_past(traffic: Sequence[Traffic], place: int, kind: str, most: int, gap: int) -> list[Traffic]:
    """Return the windows that a window is compared with; none where the log does not have all of them."""
    if kind == "last_windows":
        end = place - gap + 1
        return list(traffic[end - most : end]) if end >= most else []
    if kind == "same_month_last_year":
        start = traffic[place].window.start
        year, month = start.year - 1, start.month
        if traffic[0].window.start > start.replace(year=year, day=1):
            return []
        return [part for part in traffic if (part.window.start.year, part.window.start.month) == (year, month)]
    return []
