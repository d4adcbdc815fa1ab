"""Alerts: turn findings into sentences that say what changed, compared with what, since when, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.params import AlertLimits
from lifecycle.monitoring.drift import MULTIVARIATE, PREDICTION
from lifecycle.serving.monitor_report import SEVERITIES, Alert, Severity, Status

Row = Mapping[Any, Any]  # of a drift table or a degradation table

_HOLDOUT = "the hold-out that the model was evaluated on"
_CONTINUED = 0.05  # p-value up to which the windows before an alert belong to it
_UNIT_FACTORS = (7, 10, 12, 24, 60, 100, 1000, 1024, 3600)  # by which a change of unit may multiply a column
_UNIT_SHIFT = 0.5  # standard deviations that the mean has moved at least if the unit has changed
_MIN_VOLUMES = 4  # windows whose volume is known, the newest included, from which it is compared
_ADVICE: dict[Severity, str] = {
    "critical": "Retrain on newer rows, or fix the source.",
    "warning": "Find out where the change comes from.",
    "info": "No action is needed yet.",
}
_ADVICE_LIGHT = "The model hardly depends on it."


def find_onset(tables: Sequence[pd.DataFrame | None], place: int, column: str) -> int:
    """Return the first of the consecutive windows up to `place` in which the column differs from the reference."""
    onset = place
    for earlier in range(place - 1, -1, -1):
        table = tables[earlier]
        if table is None:
            break
        row = table.set_index("column").loc[column]
        if not (row["drifted"] or row["p_alone"] <= _CONTINUED):
            break
        onset = earlier
    return onset


def describe_drift(
    tables: Sequence[pd.DataFrame | None], place: int, names: Sequence[str], weights: Mapping[str, float],
    units: Mapping[str, str], limits: AlertLimits,
) -> list[Alert]:  # fmt: skip
    """Return the alerts of the drifted columns of the window `place`, the most serious first.

    names: of the windows. weights: each column's share of the model's attributions. units: of numeric columns.
    """
    table = tables[place]
    if table is None:
        return []
    alerts = []
    for row in table[table["drifted"]].to_dict("records"):
        column = str(row["column"])
        since = names[find_onset(tables, place, column)]
        window = names[place]
        if column in (MULTIVARIATE, PREDICTION):
            alerts.append(_describe_overall(row, since, window, limits))
        else:
            alerts.append(_describe_column(row, since, window, weights.get(column), units.get(column, ""), limits))
    return sort_alerts(alerts)


def sort_alerts(alerts: Sequence[Alert]) -> list[Alert]:
    """Sort the most serious first, then by weight, then by PSI."""
    return sorted(
        alerts, key=lambda alert: (-SEVERITIES.index(alert.severity), -(alert.weight or 0), -(alert.psi or 0))
    )


def find_worst(alerts: Sequence[Alert]) -> Status:
    """Return the highest severity among the alerts; ok if there are none."""
    return max((alert.severity for alert in alerts), key=SEVERITIES.index, default="ok")


def _get_psi(row: Row) -> float | None:
    """Return the larger PSI, of the window alone and of the pooled windows; None where it is unknown."""
    psi = max(row["psi"], row["psi_pooled"])
    return None if np.isnan(psi) else float(psi)


def _describe_overall(row: Row, since: str, window: str, limits: AlertLimits) -> Alert:
    """Return the alert of the predictions, or of all columns together."""
    psi = _get_psi(row)
    if row["column"] == MULTIVARIATE:
        return Alert(
            kind="multivariate", column=None, since=since, window=window, severity="warning", psi=psi, weight=None,
            message=f"The columns are related differently in {window} than in {_name_baseline(row)}: the mean error of its principal "
            f"components differs by {row['distance']:+.0%} (since {since}). Other alerts may name the columns.",
        )  # fmt: skip
    return Alert(
        kind="prediction", column=None, since=since, window=window, severity=grade_drift(psi or 0.0, 1.0, limits), psi=psi,
        weight=None,
        message=f"The predicted probabilities have moved: {row['mean']:.3f} on average in {window}, compared with "
        f"{row['mean_before']:.3f} in {_name_baseline(row)} (since {since}; {_describe_psi(psi or 0.0, limits)}). Other alerts may name "
        "the columns that moved them.",
    )  # fmt: skip


def _describe_column(
    row: Row, since: str, window: str, weight: float | None, unit: str, limits: AlertLimits
) -> Alert:  # fmt: skip
    """Return the alert of one drifted column."""
    psi = _get_psi(row)
    kind, severity, change = explain_column(row, window, weight or 0.0, unit, limits)
    light = severity == "info" and weight is not None and weight < limits.little_weight
    share = f"; {weight:.0%} of the model's weight" if weight is not None else ""
    return Alert.model_validate({
        "kind": kind, "column": str(row["column"]), "since": since, "window": window, "severity": severity,
        "message": f"{row['column']} {change} (since {since}; {_describe_psi(psi or 0.0, limits)}{share}). "
        f"{_ADVICE_LIGHT if light else _ADVICE[severity]}",
        "psi": psi, "weight": weight,
    })  # fmt: skip


def _describe_psi(psi: float, limits: AlertLimits) -> str:
    """Return a PSI with its size in words."""
    size = "plain" if psi >= limits.plain_psi else "slight" if psi >= limits.slight_psi else "small"
    return f"PSI {psi:.2f}, a {size} shift"


def grade_drift(psi: float, weight: float, limits: AlertLimits) -> Severity:
    """Return the severity of a shift of this size in a column of this weight."""
    if psi >= limits.plain_psi and weight >= limits.much_weight:
        return "critical"
    return "warning" if psi >= limits.slight_psi and weight >= limits.little_weight else "info"


def explain_column(row: Row, window: str, weight: float, unit: str, limits: AlertLimits) -> tuple[str, Severity, str]:
    """Return the kind of a drifted column's alert, its severity, and a clause that compares the window with the hold-out."""
    severity = grade_drift(_get_psi(row) or 0.0, weight, limits)
    more_missing = row["missing"] - row["missing_before"]
    if abs(more_missing) >= limits.missing_gap / 2 or np.isnan(row["distance"]):  # then or now no value is present
        critical = more_missing >= limits.missing_gap and weight >= limits.little_weight
        change = (
            f"is missing in {row['missing']:.1%} of the rows of {window}, compared with {row['missing_before']:.1%} in"
        )
        return "missing", "critical" if critical else "warning", f"{change} {_name_baseline(row)}"
    if row["new"]:
        change = f"has categories in {window} that {_name_baseline(row)} does not have: {_list_names(row['new'])}"
        return "category", max(severity, "warning", key=SEVERITIES.index), change
    if row["vanished"]:
        change = f"has no rows in {window} of categories that {_name_baseline(row)} has: {_list_names(row['vanished'])}"
        return "category", severity, change
    if row["kind"] == "categories":
        change = f"has a different mix of categories in {window} than in {_name_baseline(row)}: Jensen-Shannon distance"
        return "column", severity, f"{change} {row['distance']:.2f} (0 to 1)"
    return _explain_number(row, window, weight, unit, limits)


def _name_baseline(row: Row) -> str:
    """Return what a window was compared with, in words."""
    return str(row["against"]) or _HOLDOUT


def _list_names(names: Sequence[str]) -> str:
    """Return up to three names in quotes."""
    return ", ".join(repr(name) for name in names[:3]) + (" and more" if len(names) > 3 else "")


def _explain_number(row: Row, window: str, weight: float, unit: str, limits: AlertLimits) -> tuple[str, Severity, str]:
    """Return the kind, the severity and the clause of a numeric column whose values moved."""
    mean, before = row["mean"], row["mean_before"]
    percent = f", {(mean - before) / abs(before):+.0%}" if 0.01 < mean / (before or np.inf) < 100 else ""
    verb = "has risen" if mean > before else "has fallen"
    spread = ""
    if _is_spread_change(row):
        verb, spread = (
            "is distributed differently",
            f", and a Wasserstein distance of {row['distance']:.2g} standard deviations",
        )
    change = (
        f"{verb}: mean {_format_number(mean, unit)} in {window}, compared with {_format_number(before, unit)} in "
        f"{_name_baseline(row)}{percent}{spread}"
    )
    if row["shift"] >= _UNIT_SHIFT and (factor := guess_unit(mean, before)) is not None:
        severity: Severity = "critical" if weight >= limits.little_weight else "warning"
        return "unit", severity, f"{change}, as if its unit had changed by {factor}"
    return "column", grade_drift(_get_psi(row) or 0.0, weight, limits), change


def _is_spread_change(row: Row) -> bool:
    """Return whether the distribution changed its shape and kept its mean."""
    return bool(row["distance"] > 0.1 and row["shift"] < row["distance"] / 2)


def _format_number(value: float, unit: str) -> str:
    """Return a number with three digits or as a whole one, and its unit."""
    text = f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def guess_unit(now: float, before: float) -> str | None:
    """Return the factor by which a unit may have changed, None where the ratio is close to none of the known factors."""
    if before == 0 or now == 0 or now / before <= 0:
        return None
    known = {f"× {unit}": np.log(unit) for unit in _UNIT_FACTORS}
    known |= {f"÷ {unit}": -np.log(unit) for unit in _UNIT_FACTORS}
    ratio = np.log(now / before)
    text = min(known, key=lambda name: abs(ratio - known[name]))
    return text if abs(ratio - known[text]) < np.log(1.15) else None


def describe_label_shift(
    rate: float, before: float, p: float, window: str, false_alarms: float, limits: AlertLimits, against: str = ""
) -> Alert | None:  # fmt: skip
    """Return the alert of a share of positives that has moved, None where it is small or chance explains it."""
    if not p <= false_alarms or abs(rate - before) < limits.label_shift:
        return None
    verb = "has risen" if rate > before else "has fallen"
    return Alert(
        kind="label", column=None, since=window, window=window, psi=None, weight=None,
        severity="critical" if abs(rate - before) >= limits.large_label_shift else "warning",
        message=f"The share of positives {verb}: {rate:.1%} of the labels of {window}, compared with {before:.1%} in "
        f"{against or _HOLDOUT}. "
        "The threshold and the probabilities may no longer fit.",
    )  # fmt: skip


def describe_degradation(
    row: Row, since: str, window: str, metrics: Mapping[str, Any], limits: AlertLimits
) -> Alert:  # fmt: skip
    """Return the alert of a window whose labels no longer agree with the probabilities.

    row: of the table of `degradation.judge_degradation`. metrics: of the hold-out.
    """
    found = []
    if row["roc_auc"] <= -0.01:
        found.append(f"its ROC AUC is {-row['roc_auc']:.3f} lower")
    if row["brier"] > 0:
        found.append(f"its Brier score is {row['brier']:.3f} higher")
    if abs(row["calibration"]) >= 0.02:
        side = "too low" if row["calibration"] > 0 else "too high"
        found.append(f"its probabilities are {abs(row['calibration']):.3f} {side} on average")
    if not found:
        found.append(
            f"its ROC AUC differs by {row['roc_auc']:+.3f}, its Brier score by {row['brier']:+.3f} and its probabilities by "
            f"{-row['calibration']:+.3f}"
        )
    critical = (
        row["roc_auc"] <= -limits.roc_auc
        or row["brier"] >= limits.brier * metrics["brier"]["value"]
        or abs(row["calibration"]) >= limits.calibration
    )  # fmt: skip
    return Alert(
        kind="degradation", column=None, since=since, window=window, severity="critical" if critical else "warning",
        psi=None, weight=None,
        message=f"The model has performed worse since {since}. On {int(row['used']):,} labels up to {window}, "
        f"{', '.join(found)}, compared with what the probabilities of the same rows imply (less the same difference in "
        f"{_HOLDOUT}). "
        + ("Retrain on the rows since then." if critical else "Watch the next window."),
    )  # fmt: skip


def describe_volume(rates: Sequence[float], names: Sequence[str], limits: AlertLimits) -> Alert | None:
    """Return the alert of a newest window with far fewer or more rows per day than the median of those before it."""
    if len(rates) < _MIN_VOLUMES:
        return None
    usual = float(np.median(rates[:-1]))
    if not usual or limits.volume_ratio <= rates[-1] / usual <= 1 / limits.volume_ratio:
        return None
    verb = "fewer" if rates[-1] < usual else "more"
    return Alert(
        kind="volume", column=None, since=names[-1], window=names[-1], severity="warning", psi=None, weight=None,
        message=f"There are {verb} predictions: {rates[-1]:,.1f} per day in {names[-1]}, compared with {usual:,.1f} in the "
        "windows before (median). Check the clients that send the requests.",
    )  # fmt: skip
