"""One budget of false alarms: the chance that a window raises any alert although nothing has changed, shared by its tests."""

from __future__ import annotations

from lifecycle.serving.monitor_report import Budget

# Shares of the budget; the rest is for the share of positives. Drift has most of it, as it is tested in every column and detected first.
_DRIFT, _DEGRADATION = 0.7, 0.15


def share_budget(false_alarms: float) -> Budget:
    """Return how the chance that a window raises any false alarm is shared by the kinds of tests."""
    drift, degradation = _DRIFT * false_alarms, _DEGRADATION * false_alarms
    return Budget(total=false_alarms, drift=drift, degradation=degradation, label=false_alarms - drift - degradation)


def describe_budget(budget: Budget) -> str:
    """Return the budget and its parts in a sentence."""
    return (
        f"A window in which nothing has changed raises any alert with a chance of at most {budget.total:.3g}: {budget.drift:.3g} "
        f"for drift of columns and predictions, {budget.degradation:.3g} for degradation, {budget.label:.3g} for the share of "
        "positives."
    )
