"""The verdict on a candidate: which conditions hold, what follows, and the few numbers that sum it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lifecycle.modeling.metrics import LEVEL
from lifecycle.promotion.gate import Record, is_better


def describe_consequence(verdict: Record, champion: Record) -> str:
    """What follows from the verdict; `champion` is the evaluation's record of it."""
    if not verdict["blessed"]:
        return "Nothing is promoted: the champion, if there is one, stays."
    if champion["relation"] == "same":
        return "It stays the champion."
    if not verdict["better"]:
        return "It may be registered, but it is not shown to be better than the champion, which stays."
    return "`lifecycle promote --if-blessed` makes it the champion."


def list_cards(evaluation: Record) -> list[dict[str, str]]:
    """The few numbers at the top of the report."""
    metrics, confusion = evaluation["metrics"], evaluation["confusion"]
    prior = next(record for record in evaluation["baselines"] if record["name"] == "prior")
    found, called = confusion["tp"], confusion["tp"] + confusion["fp"]
    gain = next(point for point in evaluation["gain"] if abs(point["predicted_positive"] - 0.2) < 1e-9)
    return [
        {"label": "ROC AUC", "value": f"{metrics['roc_auc']['value']:.3f}", "note": format_range(metrics["roc_auc"])},
        {"label": "Positives caught", "value": f"{metrics['recall']['value']:.0%}",
         "note": f"{found:,} of {found + confusion['fn']:,}, calling {called:,} of {evaluation['rows']:,} rows"},
        {"label": "Calls that are right", "value": "\u2013" if not called else f"{found / called:.0%}",
         "note": f"at the threshold {evaluation['threshold']:.2f}"},
        {"label": "Found in the top fifth", "value": f"{gain['gain']:.0%}",
         "note": f"{gain['lift']:.1f} times as many as at random"},
        {"label": "Cost per row", "value": f"{metrics['cost']['value']:.2f}",
         "note": f"{prior['metrics']['cost']['value']:.2f} without a model"},
    ]  # fmt: skip


def format_range(estimate: Mapping[str, float]) -> str:
    """An interval in a card's words."""
    return f"{estimate['low']:.3f} to {estimate['high']:.3f} with {LEVEL:.0%} confidence"


def give_verdict(evaluation: Record, conditions: Sequence[Record], significance: float) -> Record:
    """The verdict on the model that was evaluated: blessed, better (than the champion), the conditions, and why."""
    failed = [condition for condition in conditions if not condition["passed"]]
    compared = {record["name"]: record for record in evaluation["baselines"]}
    if failed:
        verb = "fails" if len(failed) == 1 else "fail"
        reasons = " ".join(f"{condition['title']}: {condition['message']}" for condition in failed)
        because = f"{len(failed)} of {len(conditions)} conditions of the gate {verb}. {reasons}"
    else:
        because = f"All {len(conditions)} conditions of the gate hold. {evaluation['champion']['message']}"
    return {
        "blessed": not failed,
        "better": not failed and is_better(evaluation["champion"], compared.get("champion"), significance),
        "model": evaluation["model"],
        "conditions": list(conditions),
        "because": because,
    }
