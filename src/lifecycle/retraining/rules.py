"""The rules that decide whether a new model is trained, and the comparison with the previous model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import pandas as pd

from lifecycle.core.contract import Contract
from lifecycle.core.params import Retrain
from lifecycle.core.paths import PARAMS
from lifecycle.modeling.comparisons import compare_auc, lose_rows
from lifecycle.modeling.sequential import compare_always
from lifecycle.retraining.records import Comparison, Decision, Rule
from lifecycle.retraining.window import AT, DAY, ENTITY, MODEL, SCORE, find_unlearned_rows
from lifecycle.serving.bundle import Bundle, to_requests
from lifecycle.serving.monitor_report import SEVERITIES, Alert, AlertKind, MonitorReport

NOT_TRIGGERED = "No rule triggers retraining."

_LABEL_KINDS: tuple[AlertKind, ...] = ("degradation", "label")  # of alerts that labels raise
_DRIFT_KINDS: tuple[AlertKind, ...] = ("column", "missing", "unit", "category", "prediction", "multivariate")
_BROKEN_KINDS: tuple[AlertKind, ...] = ("missing", "unit")  # of a broken source, which a model must not learn from


# The decision.


def decide(
    report: MonitorReport, labelled: pd.DataFrame, rules: Retrain, learned_since: datetime | None = None
) -> Decision:  # fmt: skip
    """Decide by rule whether a new model is required.

    Triggers are the model's age, drift and degradation. Conditions are a source that does not look broken, and enough
    labels since the change. The onset is that of concept drift, or `learned_since`, that of the drift after which the current
    model was fitted: older rows show something else. It is None without these, or where `rules.window` ignores them.
    """
    triggers = list_triggers(report, rules)
    degraded = _choose_alerts(report, ("degradation",), "info")
    drift_onset = (_find_onset(report, degraded) or learned_since) if rules.window == "drift_aware" else None
    shift = _find_onset(report, _choose_alerts(report, _DRIFT_KINDS, rules.on_drift))
    since = drift_onset or shift
    recent = labelled if since is None else labelled[labelled[AT] >= since]
    least = rules.holdout_rows if shift and not drift_onset else rules.min_rows
    conditions = [_judge_source(report), _judge_rows(len(recent), least, since)]
    triggered = [rule for rule in triggers if rule.met]
    unmet = [rule for rule in conditions if not rule.met]
    if not triggered:
        because = NOT_TRIGGERED
    elif unmet:
        because = " ".join(["A new model is required, but has to wait.", *(rule.message for rule in unmet)])
    else:
        because = " ".join(["A new model is required.", *(rule.message for rule in triggered)])
    return Decision(
        required=bool(triggered and not unmet),
        because=because,
        at=report.at,
        model=report.model,
        simulated=report.simulated,
        onset=drift_onset,
        rules=[*triggers, *conditions],
    )


def list_triggers(report: MonitorReport, rules: Retrain) -> list[Rule]:
    """Return the rules that may require a new model, evaluated."""
    return [
        _judge_age(report, rules.max_age_days),
        _judge_alerts("drift", report, _DRIFT_KINDS, rules.on_drift, "columns or predictions"),
        _judge_alerts("degradation", report, _LABEL_KINDS, rules.on_degradation, "the labels"),
    ]


def _judge_age(report: MonitorReport, most: int) -> Rule:
    """Trigger if the model has been in use for longer than it should."""
    days = int((report.at - report.since).total_seconds() / DAY)
    use = "The simulated use of the model has lasted" if report.simulated else "The model has been in use for"
    message = f"{use} {days} days; a model is replaced after more than {most}."
    return Rule(name="age", kind="trigger", met=days > most, message=message)


def _choose_alerts(report: MonitorReport, kinds: Sequence[AlertKind], least: str) -> list[Alert]:
    """Return the current alerts of these kinds and at least this severity; none for `never`."""
    severities = SEVERITIES[SEVERITIES.index(least) :] if least != "never" else ()
    return [alert for alert in report.alerts if alert.kind in kinds and alert.severity in severities]


def _judge_alerts(name: str, report: MonitorReport, kinds: Sequence[AlertKind], least: str, subject: str) -> Rule:
    """Trigger if there is an alert of these kinds and at least this severity."""
    alerts = _choose_alerts(report, kinds, least)
    if least == "never":
        message = f"Alerts about {subject} never trigger retraining, as {PARAMS} says."
    elif not alerts:
        message = f"There is no alert about {subject} of severity {least}" + (
            " or higher." if least == "warning" else "."
        )
    else:
        message = alerts[0].message
    return Rule(name=name, kind="trigger", met=bool(alerts), message=message)


def _judge_source(report: MonitorReport) -> Rule:
    """Require that the source does not look broken."""
    broken = [alert for alert in report.alerts if alert.kind in _BROKEN_KINDS and alert.severity == "critical"]
    message = (
        f"The source looks broken and has to be fixed first. {broken[0].message}"
        if broken
        else "The source does not look broken."
    )
    return Rule(name="source", kind="condition", met=not broken, message=message)


def _judge_rows(rows: int, least: int, since: datetime | None) -> Rule:
    """Require enough labels to learn from and to evaluate on, of rows since the change."""
    which = f" of rows since {since:%Y-%m-%d}, when the change began," if since else ""
    message = f"{rows:,} labels{which} are known; {least:,} are required."
    return Rule(name="rows", kind="condition", met=rows >= least, message=message)


def _find_onset(report: MonitorReport, alerts: Sequence[Alert]) -> datetime | None:
    """Return the start of the window in which the first of these alerts began; None without alerts."""
    since = {alert.since for alert in alerts}
    return min((window.start for window in report.windows if window.name in since), default=None)


# The previous model.


def compare_previous(
    labelled: pd.DataFrame, bundle: Bundle, previous: Bundle | None, contract: Contract, cost: Mapping[str, float],
    rules: Retrain,
) -> Comparison:  # fmt: skip
    """Return whether the previous model would have done better on the rows that the current one scored.

    Both are compared on the same labels, of rows that neither can have learned from, by Brier score and ROC AUC (DeLong). The
    previous model is better if its Brier score is lower and its ROC AUC is not significantly lower. As the question comes
    again with every monitoring, on more and more labels, the p-value of the Brier score holds for any number of looks.
    """
    if previous is None:
        return Comparison(rollback=False, message="There is no previous model.")
    mine = labelled[labelled[MODEL] == bundle.name]
    mine = mine[find_unlearned_rows(bundle, mine) & find_unlearned_rows(previous, mine)]
    label = (mine[contract.target] == contract.positive).to_numpy().astype(np.int8)
    if min(label.sum(), len(label) - label.sum()) < 2 or len(label) < rules.min_compared:
        message = f"{len(label):,} labels of rows that neither learned from are too few to compare the model with the previous one."
        return Comparison(rollback=False, message=message)
    missing = [name for name in previous.schema.columns if name not in mine]
    if missing:
        message = f"The previous model needs columns that the log does not have: {missing}."
        return Comparison(rollback=False, message=message)
    before = np.asarray(previous.score(to_requests(mine, previous.schema.names)))
    now = mine[SCORE].to_numpy(dtype=np.float64)
    losses = [lose_rows(label, p, 0.5, cost)["brier"] for p in (now, before)]
    named = mine[ENTITY].notna().all()
    entities = pd.factorize(mine[ENTITY])[0] if named else None
    loss, area = compare_always(losses[0], losses[1], entities), compare_auc(label, now, before, entities)
    limit = rules.significance
    worse = loss["value"] > 0 and loss["p"] < limit and not (area["value"] > 0 and area["p"] < limit)
    return Comparison(
        rollback=bool(worse),
        message=f"On {len(label):,} labels of rows that the current model scored, its Brier score differs by {loss['value']:+.4f} "
        f"from that of the previous model (p = {loss['p']:.3f} at any number of looks; lower is better), its ROC AUC by {area['value']:+.3f} "
        f"(p = {area['p']:.3f}; higher is better)."
        + (" The previous model is better and becomes the champion again." if worse else ""),
    )  # fmt: skip
