"""The gate: the named conditions that a candidate must meet to be blessed, judged on what was measured of it.

The numbers come from the evaluation's record (reports/evaluate.json), the limits from params.yaml's `evaluate.gate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lifecycle.core.paths import CONTRACT

Record = dict[str, Any]
Estimate = Mapping[str, float]


def judge_candidate(evaluation: Record, gate: Mapping[str, float]) -> list[Record]:
    """Every condition of the gate, judged on what was measured: name, title, limit, value, passed and message.

    What cannot be told apart from chance does not fail, with one exception: the least ROC AUC must be shown, so its
    lower bound counts.
    """
    level = gate["significance"]
    compared = {record["name"]: record for record in evaluation["baselines"]}
    return [
        judge_auc(evaluation["metrics"]["roc_auc"], gate["min_roc_auc"]),
        judge_calibration(evaluation["metrics"]["ece"]["value"], evaluation["chance"], gate["max_ece"]),
        judge_overfitting(evaluation["cv"], gate["max_cv_gap"]),
        judge_holdout(evaluation["cv"]),
        judge_slices(evaluation["slices"], gate["min_slice_roc_auc"]),
        judge_fairness(evaluation["fairness"], gate["max_fairness_gap"]),
        judge_prior(compared["prior"], level),
        judge_baseline("logistic", "the logistic regression", compared.get("logistic"), level),
        judge_baseline("tutorial", "the tutorials' random forest", compared.get("tutorial"), level),
        judge_champion(evaluation["champion"], compared.get("champion"), level),
        judge_protected(evaluation["protected"], level),
    ]


def make_condition(
    name: str, title: str, *, passed: bool, message: str, limit: float | None = None, value: float | None = None
) -> Record:
    """One condition of the gate."""
    return {
        "name": name, "title": title, "limit": limit, "value": value, "passed": bool(passed), "message": message
    }  # fmt: skip


def judge_auc(measured: Estimate, limit: float) -> Record:
    """The lower 95% bound of the hold-out's ROC AUC reaches the limit."""
    low = measured["low"]
    message = (
        f"ROC AUC is {measured['value']:.3f} (95% interval {low:.3f} to {measured['high']:.3f}); the interval must "
        f"begin at {limit:.3f} or above."
    )
    return make_condition(
        "min_roc_auc", "Ranks well", passed=low >= limit, limit=limit, value=low, message=message
    )  # fmt: skip


def judge_calibration(error: float, chance: Estimate, limit: float) -> Record:
    """The calibration error is within the limit, or no more than chance alone gives on so few rows."""
    message = (
        f"Probabilities are off by {error:.3f} on average; the limit is {limit:.3f}. On so many rows chance alone "
        f"gives {chance['value']:.3f}, and up to {chance['high']:.3f}."
    )
    passed = error <= max(limit, chance["high"])
    return make_condition(
        "max_ece", "Probabilities mean what they say", passed=passed, limit=limit, value=error, message=message
    )


def judge_overfitting(cv: Record, limit: float) -> Record:
    """In cross-validation, training rows are not ranked much better than held-back ones."""
    message = (
        f"In cross-validation ROC AUC is {cv['train_mean']:.3f} on rows learned from and {cv['test_mean']:.3f} on "
        f"others: {cv['gap']:.3f} apart; the limit is {limit:.3f}."
    )
    passed = cv["gap"] <= limit
    return make_condition(
        "max_cv_gap", "Has not learned by heart", passed=passed, limit=limit, value=cv["gap"], message=message
    )


def judge_holdout(cv: Record) -> Record:
    """The hold-out is not ranked worse than cross-validation led to expect."""
    message = (
        f"ROC AUC is {cv['holdout']:.3f} on the hold-out; after {cv['test_mean']:.3f} in cross-validation at least "
        f"{cv['least']:.3f} was to be expected."
    )
    passed = cv["holdout"] >= cv["least"]
    return make_condition(
        "holdout_as_expected", "Keeps what cross-validation promised", passed=passed, limit=cv["least"],
        value=cv["holdout"], message=message,
    )  # fmt: skip


def judge_slices(slices: Sequence[Record], limit: float) -> Record:
    """No judged slice is shown to be ranked worse than the limit: its whole interval below it."""
    judged = [record for record in slices if record["judged"]]
    name, title = "min_slice_roc_auc", "Ranks well in every group"
    if not judged:
        return make_condition(name, title, passed=True, limit=limit, message="No group has rows enough to be judged.")
    weakest = min(judged, key=lambda record: record["roc_auc"]["value"])
    failed = [record for record in judged if record["roc_auc"]["high"] < limit]
    below = sum(record["roc_auc"]["value"] < limit for record in judged)
    shown = min(failed, key=lambda record: record["roc_auc"]["high"]) if failed else weakest
    area = shown["roc_auc"]
    message = (
        f"Of {len(judged)} groups judged, {shown['column']} = {shown['category']} is "
        f"{'shown to be below the limit' if failed else 'ranked worst'}: ROC AUC {area['value']:.3f} "
        f"({area['low']:.3f} to {area['high']:.3f}, {shown['rows']:,} rows); the limit is {limit:.3f}, and the whole "
        "interval must be below it to fail."
    )
    if below and not failed:
        message += f" {below} of them {'is' if below == 1 else 'are'} below it by what may be chance."
    return make_condition(name, title, passed=not failed, limit=limit, value=area["value"], message=message)


def judge_fairness(fairness: Sequence[Record], limit: float) -> Record:
    """No gap between the true positive rates of a fairness column's groups is shown to exceed the limit."""
    name, title = "max_fairness_gap", "Catches groups alike"
    gaps = [record for record in fairness if record["metric"] == "recall"]
    if not gaps:
        return make_condition(
            name, title, passed=True, limit=limit, message=f"{CONTRACT} names no column for fairness."
        )
    if absent := [record["column"] for record in gaps if not record["groups"]]:
        message = (
            f"{CONTRACT} names {', '.join(absent)} for fairness, which the feature table does not have: nobody can "
            "tell. Fairness needs a column with role categorical, boolean or numeric."
        )
        return make_condition(name, title, passed=False, limit=limit, message=message)
    judged = [record for record in gaps if record["gap"]]
    if not judged:
        return make_condition(
            name, title, passed=True, limit=limit, message="No two groups have rows enough to be compared."
        )
    failed = [record for record in judged if record["gap"]["low"] > limit]
    shown = max(failed or judged, key=lambda record: record["gap"]["low" if failed else "value"])
    gap = shown["gap"]
    message = (
        f"The widest gap is that of {shown['column']}: the share of positives caught differs by {gap['value']:.3f} "
        f"({gap['low']:.3f} to {gap['high']:.3f}) between {gap['most']} (more) and {gap['least']}; the limit is "
        f"{limit:.3f}, and the whole interval must be above it to fail."
    )
    return make_condition(name, title, passed=not failed, limit=limit, value=gap["value"], message=message)


def judge_prior(prior: Record, significance: float) -> Record:
    """The log loss is shown to be less than that of the prior rate for everybody."""
    found = prior["differences"]["log_loss"]
    message = (
        f"Log loss differs by {found['value']:+.3f} from giving everybody the prior rate ({format_p(found['p'])}); "
        "less is better."
    )
    passed = found["value"] < 0 and found["p"] < significance
    return make_condition(
        "beats_prior", "Beats the prior rate", passed=passed, limit=0.0, value=found["value"], message=message
    )


def judge_baseline(name: str, title: str, record: Record | None, significance: float) -> Record:
    """The ROC AUC is not shown to be lower than the baseline's."""
    key, heading = f"not_worse_than_{name}", f"Not worse than {title}"
    if record is None:
        return make_condition(key, heading, passed=True, message="Left out: no columns are named for it.")
    found = record["differences"]["roc_auc"]
    message = (
        f"ROC AUC differs by {found['value']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f}, {format_p(found['p'])}) "
        f"from {title}."
    )
    passed = not is_worse(found, significance)
    return make_condition(key, heading, passed=passed, limit=0.0, value=found["value"], message=message)


def judge_champion(champion: Record, record: Record | None, significance: float) -> Record:
    """The ROC AUC is not shown to be lower than the champion's; holds without one, fails when nobody can tell."""
    key, heading = "not_worse_than_champion", "Not worse than the champion"
    if champion["relation"] != "comparable" or record is None:
        return make_condition(
            key, heading, passed=champion["relation"] in ("none", "same"), message=champion["message"]
        )
    condition = judge_baseline("champion", "the champion", record, significance)
    return {**condition, "message": f"{condition['message']} {champion['message']}"}


def judge_protected(protected: Sequence[Record], significance: float) -> Record:
    """No group of a fairness column is shown to have a higher Brier score than with the champion.

    The level is shared out over the groups (Bonferroni).
    """
    name, title = "not_worse_for_protected", "Not worse for any protected group"
    if not protected:
        return make_condition(name, title, passed=True, message="There is no group to compare with a champion.")
    worst = max(protected, key=lambda record: record["brier"]["value"])
    limit = significance / len(protected)
    failed = [record for record in protected if record["brier"]["value"] > 0 and record["brier"]["p"] < limit]
    shown = max(failed, key=lambda record: record["brier"]["value"]) if failed else worst
    message = (
        f"Of {len(protected)} groups, {shown['column']} = {shown['category']} is {'shown to lose' if failed else 'served worst'}: its "
        f"Brier score differs by {shown['brier']['value']:+.4f} from the champion's ({format_p(shown['brier']['p'])}, "
        f"{shown['rows']:,} rows); less is better."
    )
    return make_condition(name, title, passed=not failed, limit=0.0, value=shown["brier"]["value"], message=message)


def is_worse(difference: Mapping[str, float], significance: float) -> bool:
    """Whether a paired difference is below zero by more than chance."""
    return difference["value"] < 0 and difference["p"] < significance


def is_better(champion: Record, record: Record | None, significance: float) -> bool:
    """Whether the candidate is shown to be better than the champion; so it is when there is none.

    Better is a higher ROC AUC, or a lower cost without a ROC AUC shown to be lower; each by more than chance.
    """
    if champion["relation"] != "comparable" or record is None:
        return bool(champion["relation"] == "none")
    area, cost = record["differences"]["roc_auc"], record["differences"]["cost"]
    ranks_better = area["value"] > 0 and area["p"] < significance
    costs_less = cost["value"] < 0 and cost["p"] < significance
    return ranks_better or (costs_less and not is_worse(area, significance))


def format_p(p: float) -> str:
    """A p-value as a reader wants it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
