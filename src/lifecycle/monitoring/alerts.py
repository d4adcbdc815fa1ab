"""Alerts: what was found, in sentences that a person can act on: what, since when, how large, how much rides on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.monitoring.drift import MULTIVARIATE, PREDICTION

Record = dict[str, Any]
Row = Mapping[Any, Any]  # a row of a table
SEVERITIES = ("quiet", "note", "look", "act")
SLIGHT, PLAIN = 0.1, 0.25  # of a PSI (Siddiqi 2006, Credit Risk Scorecards)
LITTLE, MUCH = 0.02, 0.05  # of the model's weight
GAP = 0.1  # share of rows in which values newly missing, or of a new level, are no detail
RUNNING = 0.05  # p-value up to which the windows before an alarm belong to it
UNITS = (7, 10, 12, 24, 60, 100, 1000, 1024, 3600)  # by which a unit changes
HALF = 0.5  # a volume below it, or above its inverse, of the usual one is told
ADVICE = {
    "act": "Retrain on newer rows, or mend the source.",
    "look": "Look where it comes from.",
    "note": "Nothing need be done yet.",
    "light": "Little rides on it.",
}
STEP = 0.5  # standard deviations that a mean has moved at least where its unit has changed


def find_onset(tables: Sequence[pd.DataFrame | None], place: int, column: str) -> int:
    """The window from which a column has been apart without a break until the window `place`."""
    onset = place
    for earlier in range(place - 1, -1, -1):
        table = tables[earlier]
        if table is None:
            break
        row = table.set_index("column").loc[column]
        if not (row["drifted"] or row["p_alone"] <= RUNNING):
            break
        onset = earlier
    return onset


def describe_drift_text(
    tables: Sequence[pd.DataFrame | None], place: int, names: Sequence[str], weights: Mapping[str, float],
    units: Mapping[str, str],
) -> list[Record]:  # fmt: skip
    """The alerts of one window's drifted columns, the gravest first: records as reports/monitor.json has them."""
    table = tables[place]
    if table is None:
        return []
    alerts = []
    for row in table[table["drifted"]].to_dict("records"):
        column = str(row["column"])
        since = names[find_onset(tables, place, column)]
        alerts.append(describe_drift(row, since, names[place], weights.get(column), units.get(column, "")))
    return sort_alerts(alerts)


def sort_alerts(alerts: list[Record]) -> list[Record]:
    """The gravest first; of equal ones that with more weight, then the larger."""
    return sorted(
        alerts, key=lambda alert: (-SEVERITIES.index(alert["severity"]), -(alert["weight"] or 0), -(alert["psi"] or 0))
    )


def describe_drift(row: Row, since: str, window: str, weight: float | None, unit: str) -> Record:
    """The alert of one drifted column."""
    column, psi = str(row["column"]), max(row["psi"], row["psi_longer"])
    psi = None if np.isnan(psi) else float(psi)
    if column == MULTIVARIATE:
        kind, severity = "multivariate", "look"
        said = f"The columns no longer go together as they did: {row['distance']:+.0%} of what their components leave, since {since}. Look which ones the others name."
    elif column == PREDICTION:
        kind, severity = "prediction", grade(psi or 0.0, 1.0)
        said = f"The predictions have moved: {row['mean']:.3f} on average, {row['mean_before']:.3f} in the reference, since {since} (PSI {psi:.2f}, {name_psi(psi or 0)}). Look which columns moved them."
    else:
        kind, severity, what = explain_column(row, psi or 0.0, weight or 0.0, unit)
        advice = ADVICE["light" if severity == "note" and weight is not None and weight < LITTLE else severity]
        rides = f"; {weight:.0%} of the model's weight rides on it" if weight is not None else ""
        said = f"{column} {what}, since {since} (PSI {psi or 0:.2f}, {name_psi(psi or 0)}{rides}). {advice}"
    return {
        "kind": kind, "column": None if kind in ("multivariate", "prediction") else column, "since": since,
        "window": window, "severity": severity, "message": said, "psi": psi, "weight": weight,
    }  # fmt: skip


def name_psi(psi: float) -> str:
    """A PSI in words."""
    return "plain" if psi >= PLAIN else "slight" if psi >= SLIGHT else "small"


def grade(psi: float, weight: float) -> str:
    """How grave a shift of this size in a column of this weight is."""
    if psi >= PLAIN and weight >= MUCH:
        return "act"
    return "look" if psi >= SLIGHT and weight >= LITTLE else "note"


def explain_column(row: Row, psi: float, weight: float, unit: str) -> tuple[str, str, str]:
    """A drifted column's kind of alert, its severity, and what happened to it in words."""
    severity = grade(psi, weight)
    more = row["missing"] - row["missing_before"]
    if abs(more) >= GAP / 2 or np.isnan(row["distance"]):  # of then or of now there is no value to compare
        worse = "act" if more >= GAP and weight >= LITTLE else "look"
        return "missing", worse, f"is missing in {row['missing']:.1%} of the rows, {row['missing_before']:.1%} before"
    if row["new"]:
        names = ", ".join(repr(name) for name in row["new"][:3]) + (" and more" if len(row["new"]) > 3 else "")
        return "category", max(severity, "look", key=SEVERITIES.index), f"has levels that it never had: {names}"
    if row["vanished"]:
        return "category", severity, f"has lost the levels {', '.join(repr(name) for name in row['vanished'][:3])}"
    if row["kind"] == "categories":
        return "column", severity, f"has another mix of levels, {row['distance']:.2f} apart (Jensen-Shannon, 0 to 1)"
    mean, before = row["mean"], row["mean_before"]
    change = f", {(mean - before) / abs(before):+.0%}" if 0.01 < mean / (before or np.inf) < 100 else ""
    verb = "has risen" if mean > before else "has fallen"
    if is_spread_change(row):
        verb = "is spread otherwise"
    what = f"{verb}: mean {format_number_with_unit(mean, unit)}, {format_number_with_unit(before, unit)} before{change}"
    if row["shift"] >= STEP and (factor := guess_unit(mean, before)) is not None:
        return "unit", "act" if weight >= LITTLE else "look", f"{what}, as if its unit had changed by {factor}"
    return "column", severity, what


def is_spread_change(row: Row) -> bool:
    """Whether the distance is not one of the mean: the distribution changed its shape and stayed where it was."""
    return bool(row["distance"] > 0.1 and row["shift"] < row["distance"] / 2)


def format_number_with_unit(value: float, unit: str) -> str:
    """A number in three digits or whole, with its unit."""
    text = f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def guess_unit(now: float, before: float) -> str | None:
    """The factor by which a unit may have changed, None where the ratio is like none."""
    if before == 0 or now == 0 or now / before <= 0:
        return None
    known = {f"× {unit}": np.log(unit) for unit in UNITS} | {f"÷ {unit}": -np.log(unit) for unit in UNITS}
    ratio = np.log(now / before)
    text = min(known, key=lambda name: abs(ratio - known[name]))
    return text if abs(ratio - known[text]) < np.log(1.15) else None


def describe_label_shift(rate: float, before: float, p: float, window: str, limit: float) -> Record | None:
    """The alert of a share of positives that has moved, None where chance explains it."""
    if not p <= limit or abs(rate - before) < 0.02:
        return None
    severity = "act" if abs(rate - before) >= 0.1 else "look"
    verb = "has risen" if rate > before else "has fallen"
    return {
        "kind": "label", "column": None, "since": window, "window": window, "severity": severity, "psi": None, "weight": None,
        "message": f"The share of positives {verb}: {rate:.1%} of the truths, {before:.1%} in the reference. The threshold and the probabilities may no longer fit.",
    }  # fmt: skip


def describe_decay(row: Row, since: str, window: str, metrics: Mapping[str, Any]) -> Record:
    """The alert of a window in which truths no longer agree with the probabilities."""
    found = []
    if row["roc_auc"] <= -0.01:
        found.append(f"its ROC AUC is {-row['roc_auc']:.3f} below what the probabilities promise")
    if row["brier"] > 0:
        found.append(f"its Brier score is {row['brier']:.3f} above it")
    if abs(row["calibration"]) >= 0.02:
        side = "too low" if row["calibration"] > 0 else "too high"
        found.append(f"its probabilities are {abs(row['calibration']):.3f} {side} on average")
    if not found:
        found.append(
            f"its ROC AUC differs by {row['roc_auc']:+.3f}, its Brier score by {row['brier']:+.3f} and its probabilities by "
            f"{-row['calibration']:+.3f} from what was to be expected"
        )
    grave = (
        row["roc_auc"] <= -0.05
        or row["brier"] >= 0.15 * metrics["brier"]["value"]
        or abs(row["calibration"]) >= 0.1
    )  # fmt: skip
    severity = "act" if grave else "look"
    return {
        "kind": "decay", "column": None, "since": since, "window": window, "severity": severity, "psi": None, "weight": None,
        "message": f"The model is worse than it was, since {since}: {'; '.join(found)} ({int(row['used']):,} truths). "
        + ("Retrain on rows since then." if severity == "act" else "Watch the next window."),
    }  # fmt: skip


def describe_volume(rates: Sequence[float], names: Sequence[str]) -> Record | None:
    """The alert of a newest window with far fewer or more rows a day than those before it (their median)."""
    if len(rates) < 4:
        return None
    usual = float(np.median(rates[:-1]))
    if not usual or HALF <= rates[-1] / usual <= 1 / HALF:
        return None
    verb = "fallen" if rates[-1] < usual else "risen"
    return {
        "kind": "volume", "column": None, "since": names[-1], "window": names[-1], "severity": "look", "psi": None, "weight": None,
        "message": f"The volume has {verb}: {rates[-1]:,.1f} rows a day, {usual:,.1f} before. Ask the callers.",
    }  # fmt: skip


def find_worst(alerts: Sequence[Record]) -> str:
    """The gravest severity among alerts."""
    return max((alert["severity"] for alert in alerts), key=SEVERITIES.index, default="quiet")
