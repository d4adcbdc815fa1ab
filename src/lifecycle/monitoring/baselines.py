"""Baselines from the log: compare a window with earlier ones, the same month of last year or the last few, not with the hold-out.

Traffic that changes with the seasons differs from a hold-out every December. The counts of windows add up, so that a baseline is the
sum of those of its windows, in the bins of the model's reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np

from lifecycle.core.histograms import CategoryCounts
from lifecycle.core.records import Record
from lifecycle.monitoring.reference import NumericSummary, WindowCounts

_CATEGORIES = 500  # that are counted one by one, as in the model's reference


@dataclass(frozen=True)
class Baseline:
    """What a window is compared with.

    name: in words; empty for the hold-out. reference: of the form of `build_reference`. pooled: whether the window is also tested together with
    those before it. rows, rate: labels (as many independent ones as they are worth) and the share of positives among them.
    """

    name: str
    reference: Record
    pooled: bool
    rows: float
    rate: float

    def center(self, counts: WindowCounts, reference: Record) -> WindowCounts:
        """Return a window's counts with its sums about this baseline's means, instead of those of the model's reference."""
        if not self.name:
            return counts
        columns: dict[str, NumericSummary | CategoryCounts] = {}
        for name, counted in counts.columns.items():
            if isinstance(counted, NumericSummary):
                step = self.reference["columns"][name]["mean"] - reference["columns"][name]["mean"]
                total = counted.total - step * counted.present
                square = counted.square - 2 * step * counted.total + step * step * counted.present
                columns[name] = replace(counted, total=total, square=square)
            else:
                columns[name] = counted
        return replace(counts, columns=columns)


def build_baseline(reference: Record, windows: Sequence[WindowCounts]) -> Record:
    """Return a reference like the model's, of the sum of some windows' counts; its weights and performance stay the model's."""
    total = reduce(add, windows)
    columns = {
        name: _add_numbers(summary, counted)
        if isinstance(counted, NumericSummary)
        else _add_categories(summary, counted)
        for (name, summary), counted in zip(reference["columns"].items(), total.columns.values(), strict=True)
    }
    components, (rows, errors, square) = reference["components"], total.errors
    if components is not None and rows:
        mean = errors / rows
        components = {**components, "rows": rows, "mean": mean, "variance": max(0.0, square / rows - mean * mean)}
    about = {"rows": total.rows, "rows_together": total.together}
    return {**reference, **about, "columns": columns, "components": components}


def _add_numbers(summary: Record, counted: NumericSummary) -> Record:
    """Return a numeric column of a baseline."""
    shift = counted.total / max(counted.present, 1)
    variance = max(0.0, counted.square / max(counted.present, 1) - shift * shift)
    return {
        **summary, "missing": counted.missing, "mean": summary["mean"] + shift, "sd": float(np.sqrt(variance)),
        "counts": counted.counts.tolist(), "sums": counted.sums.tolist(),
    }  # fmt: skip


def _add_categories(summary: Record, counted: CategoryCounts) -> Record:
    """Return a categorical column of a baseline; what the hold-out or the training rows have is not new."""
    known = counted.counts
    trained = {**summary.get("trained", {})}
    for name, count in summary["categories"].items():
        trained[name] = trained.get(name, 0) + count
    kept = dict(sorted(known.items(), key=lambda item: (-item[1], item[0]))[:_CATEGORIES])
    return {
        **summary, "missing": counted.missing, "categories": kept, "other": counted.present - sum(kept.values()),
        "trained": trained,
    }  # fmt: skip
