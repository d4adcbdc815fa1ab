"""The quality gate: the conditions that a candidate must meet before it may become the champion.

The numbers come from the evaluation (reports/evaluate.json), the limits from `evaluate.gate` in params.yaml. A candidate
that meets every condition is called blessed, a word of TensorFlow Extended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lifecycle.core.paths import CONTRACT
from lifecycle.core.records import Record
from lifecycle.modeling.sequential import spend_level
from lifecycle.promotion.records import Condition
from lifecycle.reporting.wording import format_p

Estimate = Mapping[str, float]


def judge_candidate(evaluation: Record, gate: Mapping[str, float]) -> list[Condition]:
    """Return every condition of the gate, judged by the measurements in `evaluation` and the limits in `gate`.

    A shortfall that may be due to chance fails no condition, with one exception: the minimum ROC AUC must be
    demonstrated, so its lower bound counts. A condition without anything to measure is neither met nor failed.
    """
    level = gate["significance"]
    compared = {record["name"]: record for record in evaluation["baselines"]}
    return [
        _judge_auc(evaluation["metrics"]["roc_auc"], gate["min_roc_auc"]),
        _judge_calibration(evaluation["metrics"]["ece"]["value"], evaluation["chance"], gate["max_ece"]),
        _judge_overfitting(evaluation["cv"], gate["max_cv_gap"]),
        _judge_holdout(evaluation["cv"]),
        _judge_slices(evaluation["slices"], gate["min_slice_roc_auc"]),
        _judge_fairness(evaluation["fairness"], gate["max_fairness_gap"]),
        _judge_prior(compared["prior"], level),
        _judge_baseline("logistic", "the logistic regression", compared.get("logistic"), level),
        _judge_baseline("tutorial", "the tutorials' random forest", compared.get("tutorial"), level),
        _judge_champion(evaluation["champion"], compared.get("champion"), level),
        _judge_protected(evaluation["protected"], level),
        _judge_flips(evaluation["champion"], evaluation["flips"], gate["max_flips"]),
    ]


def _judge_auc(measured: Estimate, limit: float) -> Condition:
    """Require the lower 95% bound of the hold-out's ROC AUC to reach the limit."""
    low = measured["low"]
    message = (
        f"ROC AUC is {measured['value']:.3f} (95% interval {low:.3f} to {measured['high']:.3f}); the interval must "
        f"start at {limit:.3f} or above."
    )
    return Condition(
        name="min_roc_auc", title="Ranks well", limit=limit, value=low, passed=low >= limit, message=message
    )  # fmt: skip


def _judge_calibration(error: float, chance: Estimate, limit: float) -> Condition:
    """Require a calibration error within the limit, or one that chance explains on so few rows."""
    message = (
        f"Predicted probabilities differ from observed rates by {error:.3f} on average; the limit is {limit:.3f}. On this "
        f"many rows chance alone causes {chance['value']:.3f}, and up to {chance['high']:.3f}."
    )
    passed = error <= max(limit, chance["high"])
    return Condition(
        name="max_ece", title="Probabilities are calibrated", limit=limit, value=error, passed=passed, message=message
    )


def _judge_overfitting(cv: Record, limit: float) -> Condition:
    """Require that cross-validation ranks training rows not much better than validation rows."""
    message = (
        f"In cross-validation ROC AUC is {cv['train_mean']:.3f} on training rows and {cv['test_mean']:.3f} on validation "
        f"rows: a gap of {cv['gap']:.3f}; the limit is {limit:.3f}."
    )
    passed = cv["gap"] <= limit
    return Condition(
        name="max_cv_gap", title="Does not overfit", limit=limit, value=cv["gap"], passed=passed, message=message
    )


def _judge_holdout(cv: Record) -> Condition:
    """Require that the hold-out is not ranked worse than cross-validation predicts."""
    message = (
        f"ROC AUC is {cv['holdout']:.3f} on the hold-out; cross-validation ({cv['test_mean']:.3f}) predicts at least "
        f"{cv['least']:.3f}."
    )
    passed = cv["holdout"] >= cv["least"]
    return Condition(
        name="holdout_as_expected", title="Confirms cross-validation", limit=cv["least"], value=cv["holdout"],
        passed=passed, message=message,
    )  # fmt: skip


def _judge_slices(slices: Sequence[Record], limit: float) -> Condition:
    """Require that no group with enough rows is shown to be ranked below the limit: its whole interval below it."""
    judged = [record for record in slices if record["judged"]]
    name, title = "min_slice_roc_auc", "Ranks well in every group"
    if not judged:
        return Condition(name=name, title=title, limit=limit, passed=None, message="No group has enough rows.")
    weakest = min(judged, key=lambda record: record["roc_auc"]["value"])
    failed = [record for record in judged if record["roc_auc"]["high"] < limit]
    below = sum(record["roc_auc"]["value"] < limit for record in judged)
    shown = min(failed, key=lambda record: record["roc_auc"]["high"]) if failed else weakest
    area = shown["roc_auc"]
    message = (
        f"Of {len(judged)} groups with enough rows, {shown['column']} = {shown['category']} is "
        f"{'shown to be below the limit' if failed else 'ranked worst'}: ROC AUC {area['value']:.3f} "
        f"({area['low']:.3f} to {area['high']:.3f}, {shown['rows']:,} rows); the limit is {limit:.3f}, and a group fails "
        "when its whole interval is below it."
    )
    if below and not failed:
        message += f" {below} {'group is' if below == 1 else 'groups are'} below it, possibly by chance."
    return Condition(
        name=name, title=title, limit=limit, value=area["value"], passed=not failed, message=message
    )  # fmt: skip


def _judge_fairness(fairness: Sequence[Record], limit: float) -> Condition:
    """Require that no gap between the true positive rates of a fairness column's groups is shown to exceed the limit."""
    name, title = "max_fairness_gap", "Finds positives alike in every group"
    gaps = [record for record in fairness if record["metric"] == "recall"]
    if not gaps:
        message = f"{CONTRACT} names no column for fairness."
        return Condition(name=name, title=title, limit=limit, passed=None, message=message)
    if absent := [record["column"] for record in gaps if not record["groups"]]:
        message = (
            f"{CONTRACT} names {', '.join(absent)} for fairness, but the feature table does not have this column, so the "
            "gap cannot be measured. Fairness needs a column with role categorical, boolean or numeric."
        )
        return Condition(name=name, title=title, limit=limit, passed=False, message=message)
    judged = [record for record in gaps if record["gap"]]
    if not judged:
        message = "No two groups have enough rows to be compared."
        return Condition(name=name, title=title, limit=limit, passed=None, message=message)
    failed = [record for record in judged if record["gap"]["low"] > limit]
    shown = max(failed or judged, key=lambda record: record["gap"]["low" if failed else "value"])
    gap = shown["gap"]
    message = (
        f"The widest gap is that of {shown['column']}: the share of positives found (recall) differs by "
        f"{gap['value']:.3f} ({gap['low']:.3f} to {gap['high']:.3f}) between {gap['most']} (more) and {gap['least']}; the "
        f"limit is {limit:.3f}, and the condition fails when the whole interval is above it."
    )
    return Condition(
        name=name, title=title, limit=limit, value=gap["value"], passed=not failed, message=message
    )  # fmt: skip


def _judge_prior(prior: Record, significance: float) -> Condition:
    """Require that the log loss is shown to be lower than that of predicting the prior rate for every row."""
    found = prior["differences"]["log_loss"]
    message = (
        f"Log loss differs by {found['value']:+.3f} from predicting the prior rate for every row "
        f"({format_p(found['p'])}); lower is better."
    )
    passed = found["value"] < 0 and found["p"] < significance
    return Condition(
        name="beats_prior",
        title="Beats the prior rate",
        limit=0.0,
        value=found["value"],
        passed=passed,
        message=message,
    )


def _judge_baseline(name: str, title: str, record: Record | None, significance: float) -> Condition:
    """Require that the ROC AUC is not shown to be lower than the baseline's."""
    key, heading = f"not_worse_than_{name}", f"Not worse than {title}"
    if record is None:
        message = "This baseline was left out: `evaluate.tutorial_columns` names no columns."
        return Condition(name=key, title=heading, passed=None, message=message)
    found = record["differences"]["roc_auc"]
    message = (
        f"ROC AUC differs by {found['value']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f}, {format_p(found['p'])}) "
        f"from {title}."
    )
    passed = not is_worse(found, significance)
    return Condition(name=key, title=heading, limit=0.0, value=found["value"], passed=passed, message=message)


def _judge_champion(champion: Record, record: Record | None, significance: float) -> Condition:
    """Require that the ROC AUC is not shown to be lower than the champion's.

    Without a champion that can be compared there is nothing to measure.
    """
    key, heading = "not_worse_than_champion", "Not worse than the champion"
    if champion["relation"] != "comparable" or record is None:
        passed = True if champion["relation"] == "same" else None
        return Condition(name=key, title=heading, passed=passed, message=champion["message"])
    condition = _judge_baseline("champion", "the champion", record, significance)
    return condition.model_copy(update={"message": f"{condition.message} {champion['message']}"})


def _judge_protected(protected: Sequence[Record], significance: float) -> Condition:
    """Require that no group of a fairness column is shown to have a higher Brier score than with the champion.

    The significance level is divided by the number of groups (Bonferroni).
    """
    name, title = "not_worse_for_protected", "Not worse for any protected group"
    if not protected:
        message = "There is no group, or no champion, to compare with."
        return Condition(name=name, title=title, passed=None, message=message)
    worst = max(protected, key=lambda record: record["brier"]["value"])
    limit = significance / len(protected)
    failed = [record for record in protected if record["brier"]["value"] > 0 and record["brier"]["p"] < limit]
    shown = max(failed, key=lambda record: record["brier"]["value"]) if failed else worst
    message = (
        f"Of {len(protected)} groups, {shown['column']} = {shown['category']} "
        f"{'is shown to lose accuracy' if failed else 'has the least favourable difference'}: its "
        f"Brier score differs by {shown['brier']['value']:+.4f} from the champion's ({format_p(shown['brier']['p'])}, "
        f"{shown['rows']:,} rows); lower is better."
    )
    return Condition(
        name=name, title=title, limit=0.0, value=shown["brier"]["value"], passed=not failed, message=message
    )


def _judge_flips(champion: Record, flips: Record | None, limit: float) -> Condition:
    """Require that no more rows than the limit are shown to be treated otherwise than by the champion."""
    name, title = "max_flips", "Changes few decisions"
    if flips is None:
        passed, message = (True if champion["relation"] == "same" else None), champion["message"]
        return Condition(name=name, title=title, limit=limit, passed=passed, message=message)
    share = flips["flips"]
    message = (
        f"{share['value']:.1%} of the rows ({share['low']:.1%} to {share['high']:.1%}) would be treated otherwise than by the "
        f"champion: {flips['to_positive']['value']:.1%} only this model predicts positive, {flips['to_negative']['value']:.1%} "
        f"only the champion; the limit is {limit:.0%}, and the condition fails when the whole interval is above it."
    )
    return Condition(
        name=name, title=title, limit=limit, value=share["value"], passed=share["low"] <= limit, message=message
    )


def is_worse(difference: Mapping[str, float], significance: float) -> bool:
    """Return whether a paired difference is significantly below zero."""
    return difference["value"] < 0 and difference["p"] < significance


def test_better(champion: Record, record: Record | None, significance: float) -> float | None:
    """Return the p-value of the candidate being no better than the champion; None where they cannot be compared.

    Better means a higher ROC AUC, or a lower cost without a significantly lower ROC AUC. As these are two ways to be better, the
    smaller p-value counts twice (Bonferroni).
    """
    if champion["relation"] != "comparable" or record is None:
        return None
    area, cost = record["differences"]["roc_auc"], record["differences"]["cost"]
    routes = [area["p"]] if area["value"] > 0 else []
    if cost["value"] < 0 and not is_worse(area, significance):
        routes.append(cost["p"])
    return min(1.0, 2 * min(routes, default=1.0))


def is_better(champion: Record, record: Record | None, significance: float, look: int = 1) -> bool:
    """Return whether the candidate is shown to be better than the champion, or there is no champion.

    look: how many models the champion was compared with, this one included. The level is spent over all of them, so that the
    chance that a model that is no better ever replaces it is at most `significance`.
    """
    p = test_better(champion, record, significance)
    return champion["relation"] == "none" if p is None else p < spend_level(significance, look)


def describe_comparison(champion: Record, record: Record | None, significance: float) -> str:
    """Say by which measure, and by how much, the candidate is better than the champion, or that this is not shown.

    Empty when there is no champion that it can be compared with.
    """
    p = test_better(champion, record, significance)
    if p is None or record is None:
        return ""
    area, cost = record["differences"]["roc_auc"], record["differences"]["cost"]
    found = (
        f"its ROC AUC differs by {area['value']:+.3f} ({format_p(area['p'])}), its cost per row by {cost['value']:+.3f} "
        f"({format_p(cost['p'])}); together {format_p(p)}."
    )
    better = p < spend_level(significance, 1)
    return f"It is {'better' if better else 'not shown to be better'} than the champion: {found}"
