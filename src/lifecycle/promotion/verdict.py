"""The verdict on a candidate: which conditions hold, what follows from it, and the headline numbers of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lifecycle.modeling.intervals import LEVEL
from lifecycle.promotion.gate import describe_comparison, is_better, test_better
from lifecycle.promotion.records import Condition, Verdict


def describe_consequence(verdict: Verdict, champion: Mapping[str, Any]) -> str:
    """Return a sentence about what follows from the verdict; `champion` is the evaluation's record of the champion."""
    if not verdict.blessed:
        return "No model is promoted: the champion, if there is one, stays."
    if champion["relation"] == "same":
        return "It stays the champion."
    if champion["relation"] == "incomparable":
        return "It can be registered, and the champion, with which it cannot be compared, stays."
    if not verdict.better:
        return "It can be registered, but it is not shown to be better than the champion, which stays."
    return "`lifecycle promote --if-blessed` makes it the champion."


def list_cards(evaluation: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the headline numbers at the top of the report: label, value and note."""
    metrics, confusion = evaluation["metrics"], evaluation["confusion"]
    prior = next(record for record in evaluation["baselines"] if record["name"] == "prior")
    found, flagged = confusion["tp"], confusion["tp"] + confusion["fp"]
    gain = next(point for point in evaluation["gain"] if abs(point["predicted_positive"] - 0.2) < 1e-9)
    return [
        {"label": "ROC AUC", "value": f"{metrics['roc_auc']['value']:.3f}", "note": _format_range(metrics["roc_auc"])},
        {"label": "Positives found", "value": f"{metrics['recall']['value']:.0%}",
         "note": f"{found:,} of {found + confusion['fn']:,}, with {flagged:,} of {evaluation['rows']:,} rows predicted positive"},
        {"label": "Correct among predicted positives", "value": "\u2013" if not flagged else f"{found / flagged:.0%}",
         "note": f"at the threshold {evaluation['threshold']:.2f}"},
        {"label": "Found in the top fifth", "value": f"{gain['gain']:.0%}",
         "note": f"{gain['lift']:.1f} times as many as at random"},
        {"label": "Cost per row", "value": f"{metrics['cost']['value']:.2f}",
         "note": f"{prior['metrics']['cost']['value']:.2f} without a model"},
    ]  # fmt: skip


def _format_range(estimate: Mapping[str, float]) -> str:
    """Return an interval as the note of a card."""
    return f"{estimate['low']:.3f} to {estimate['high']:.3f} with {LEVEL:.0%} confidence"


def reach_verdict(evaluation: Mapping[str, Any], conditions: Sequence[Condition], significance: float) -> Verdict:
    """Return the verdict on the model that was evaluated; what could not be measured does not refuse it."""
    compared = {record["name"]: record for record in evaluation["baselines"]}
    comparison = evaluation["champion"], compared.get("champion"), significance
    blessed = all(condition.passed is not False for condition in conditions)
    if blessed:
        reasons = [evaluation["champion"]["message"], describe_comparison(*comparison)]
    else:
        reasons = [f"{condition.title}: {condition.message}" for condition in conditions if condition.passed is False]
    return Verdict(
        blessed=blessed,
        better=blessed and is_better(*comparison),
        p=test_better(*comparison),
        significance=significance,
        model=evaluation["model"],
        conditions=tuple(conditions),
        because=" ".join([count_conditions(conditions), *filter(None, reasons)]),
    )


def count_conditions(conditions: Sequence[Condition]) -> str:
    """Return a sentence with how many conditions hold, fail and could not be measured."""
    total, passed = len(conditions), [condition.passed for condition in conditions]
    if all(passed):
        return f"All {total} conditions of the gate hold."
    parts = []
    if failed := passed.count(False):
        parts.append(f"{failed} of the gate's {total} conditions {'fails' if failed == 1 else 'fail'}")
    else:
        held = passed.count(True)
        parts.append(f"{held} of the gate's {total} conditions {'holds' if held == 1 else 'hold'}")
    if missing := passed.count(None):
        parts.append(f"{missing} could not be measured")
    return ", ".join(parts) + "."
