"""Monitor: compare a prediction log, window by window, with the hold-out that the model was evaluated on, and raise alerts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import AlertLimits, Monitor
from lifecycle.core.paths import PARAMS
from lifecycle.core.records import Record
from lifecycle.core.values import name_category
from lifecycle.modeling.comparisons import measure_slices
from lifecycle.modeling.metrics import TITLES
from lifecycle.monitoring.alerts import (
    describe_degradation,
    describe_drift,
    describe_label_shift,
    describe_volume,
    explain_column,
    sort_alerts,
)
from lifecycle.monitoring.baselines import Baseline
from lifecycle.monitoring.budget import share_budget
from lifecycle.monitoring.degradation import (
    METRICS,
    expect_performance,
    has_classes,
    judge_degradation,
    measure_error,
    measure_performance,
)
from lifecycle.monitoring.drift import POOLED_WINDOWS, PREDICTION, cells_pvalue, judge_windows
from lifecycle.monitoring.entities import code_entities
from lifecycle.monitoring.report import Results
from lifecycle.monitoring.seasons import choose_baselines, count_labels
from lifecycle.monitoring.traffic import Traffic
from lifecycle.monitoring.treatment import measure_positives
from lifecycle.reporting.wording import format_estimate
from lifecycle.serving.monitor_report import SEVERITIES, Alert, Backtest

Array = np.ndarray[Any, Any]

_SHOWN_METRICS = ("roc_auc", "accuracy", "recall", "brier", "ece", "cost")
_MIN_LABELS = 30  # of a window whose share of positives may raise a current alert
_MIN_ELAPSED = 0.5  # share of a window that must have passed before its volume is judged


# Judging.


def judge_traffic(traffic: Sequence[Traffic], reference: Record, settings: Monitor) -> Results:
    """Test every window for drift and degradation and raise its alerts; see `Results`.

    The tests share one budget, `settings.false_alarms` (see `share_budget`).
    """
    budget = share_budget(settings.false_alarms)
    baselines = choose_baselines(
        reference, traffic, settings.reference, settings.reference_windows, min_rows=settings.min_rows,
        gap=POOLED_WINDOWS, min_labels=_MIN_LABELS,
    )  # fmt: skip
    tables = judge_windows(
        reference,
        [part.counts for part in traffic],
        false_alarms=budget.drift,
        min_rows=settings.min_rows,
        min_psi=settings.min_psi,
        baselines=baselines,
    )
    degradation = judge_labels(traffic, reference, settings, baselines)
    alerts = raise_alerts(tables, degradation, traffic, reference, settings)
    return Results(
        list(traffic), tables, degradation, alerts, choose_current(alerts, tables, degradation), budget, baselines
    )


def judge_labels(
    traffic: Sequence[Traffic], reference: Record, settings: Monitor, baselines: Sequence[Baseline]
) -> pd.DataFrame:
    """Return every window's degradation (see `judge_degradation`), the share of positives among its labels and its p-value.

    The share is compared with that of the window's baseline (columns rate_before, against), degradation with the hold-out.
    Where treated rows are left out, the share is that of the control group: the other rows are those with low probabilities. Column
    rate_rows has the number of labels behind it.
    """
    table = judge_degradation(
        reference["performance"],
        [part.labels for part in traffic],
        false_alarms=share_budget(settings.false_alarms).degradation,
        min_class=settings.min_class,
        min_effect=settings.min_effect,
        entities=[part.labelled["entity"] for part in traffic],
    )
    rates, p, counts = [], [], []
    for part, baseline in zip(traffic, baselines, strict=True):
        label = part.sample["label"].to_numpy()
        before = baseline.rows, baseline.rate
        counts.append(len(label))
        rates.append(float(label.mean()) if len(label) else np.nan)
        independent = count_labels(reference["performance"], [part]) * len(label) / max(len(part.labelled), 1)
        p.append(_compare_rates(before, label, independent))
    return table.assign(
        window=[part.window.name for part in traffic], rate=rates, rate_p=p, rate_rows=counts,
        rate_before=[baseline.rate for baseline in baselines], against=[baseline.name for baseline in baselines],
    )  # fmt: skip


def _compare_rates(before: tuple[float, float], label: Array, independent: float) -> float:
    """Return the p-value of two shares of positives being equal; NaN without labels.

    before: independent labels and their share of positives; independent: how many of them `label` is worth.
    """
    positives = before[0] * before[1]
    now = np.array([label.sum(), len(label) - label.sum()], dtype=float) * (independent / max(len(label), 1))
    return cells_pvalue(np.array([positives, before[0] - positives]), now)


def raise_alerts(
    tables: Sequence[pd.DataFrame | None], degradation: pd.DataFrame, traffic: Sequence[Traffic], reference: Record,
    settings: Monitor,
) -> list[list[Alert]]:  # fmt: skip
    """Return each window's alerts, the most serious first: of drift, of labels, of volume."""
    names = [part.window.name for part in traffic]
    rates = [_measure_volume(part, traffic[-1].last) for part in traffic]
    limits, before = settings.severity, reference["performance"]
    false_alarms = share_budget(settings.false_alarms).label
    alerts = []
    for place, name in enumerate(names):
        found = describe_drift(tables, place, names, reference["weights"], reference["units"], limits)
        row = degradation.iloc[place].to_dict()
        label = describe_label_shift(
            row["rate"], row["rate_before"], row["rate_p"], name, false_alarms, limits, row["against"]
        )
        if row["degraded"]:
            since = place
            while since and degradation["degraded"].iloc[since - 1]:
                since -= 1
            found.append(describe_degradation(row, names[since], name, before["metrics"], limits))
        known = [rate for rate in rates[: place + 1] if rate is not None]
        volume = describe_volume(known, names[: place + 1], limits) if rates[place] is not None else None
        found += [alert for alert in (label, volume) if alert is not None]
        alerts.append(sort_alerts(found))
    return alerts


def _measure_volume(part: Traffic, last: datetime | None) -> float | None:
    """Return a window's predictions per day; None while too little of it has passed."""
    whole = (part.window.end - part.window.start).total_seconds()
    passed = min((last - part.window.start).total_seconds(), whole) if last else whole
    return part.counts.rows / (passed / 86_400) if passed >= _MIN_ELAPSED * whole else None


def choose_current(
    alerts: Sequence[list[Alert]], tables: Sequence[pd.DataFrame | None], degradation: pd.DataFrame
) -> list[Alert]:
    """Return the current alerts: of drift those of the newest judged window, of labels those of the newest with enough."""
    newest = next((place for place in reversed(range(len(tables))) if tables[place] is not None), None)
    enough = {"degradation": degradation["p"].notna(), "label": degradation["rate_rows"] >= _MIN_LABELS}
    current = [alert for alert in (alerts[newest] if newest is not None else []) if alert.kind not in enough]
    for kind, known in enough.items():
        places = np.flatnonzero(known)
        current += [alert for alert in (alerts[places[-1]] if len(places) else []) if alert.kind == kind]
    return sort_alerts(current)


def judge_performance(
    traffic: Sequence[Traffic], reference: Record, threshold: float, min_class: int, seed: int
) -> pd.DataFrame:
    """Return each window's metrics, expected of the probabilities and realised on its labels: one row per window and metric.

    Columns: window, metric, expected, expected_low, expected_high, realised, realised_low, realised_high, rows, labelled.
    Realised is NaN where a class has fewer than `min_class` labels. Where treated rows are left out, both are of the labelled others: the
    metrics of rows with low probabilities differ from those of all rows.
    """
    rows = []
    for part in traffic:
        if min(len(part.probability), len(part.labelled) if len(part.left_out) else 2) < 2:
            continue
        options = {"threshold": threshold, "cost": reference["cost"], "seed": seed}
        expected = expect_performance(
            part.probability if part.left_out.empty else part.labels[1],
            **options,
            estimation=reference["performance"].get("estimation"),
        )
        label, p = part.labels
        entities = code_entities(part.labelled["entity"])
        realised = measure_performance(label, p, entities=entities, **options) if has_classes(label, min_class) else {}
        for name in METRICS:
            row = {"window": part.window.name, "metric": name, "rows": len(part.probability), "labelled": len(label)}
            for kind, found in (("expected", expected), ("realised", realised)):
                estimate = found.get(name, {"value": np.nan, "low": np.nan, "high": np.nan})
                row |= {kind: estimate["value"], f"{kind}_low": estimate["low"], f"{kind}_high": estimate["high"]}
            rows.append(row)
    return pd.DataFrame(rows)


def measure_groups(traffic: Sequence[Traffic], columns: Sequence[str], threshold: float) -> pd.DataFrame:
    """Return the live performance of each group of the columns, over all windows, as `measure_slices` does, by entity."""
    labelled = pd.concat([part.labelled for part in traffic], ignore_index=True)
    groups = pd.concat([part.groups for part in traffic], ignore_index=True)
    if not columns or labelled["label"].nunique() < 2:
        return pd.DataFrame()
    label, p = labelled["label"].to_numpy(), labelled["probability"].to_numpy(dtype=np.float64)
    entities = code_entities(labelled["entity"])
    tables = [
        measure_slices(label, p, groups[name].map(name_category).astype(str), threshold, entities).assign(column=name)
        for name in columns
    ]
    return pd.concat(tables, ignore_index=True)


def list_losses(traffic: Sequence[Traffic]) -> pd.DataFrame:
    """Return the labels in the order of their arrival: columns labelled_at, loss (squared error less the expected one)."""
    labelled = pd.concat([part.labelled for part in traffic], ignore_index=True)
    labelled = labelled.sort_values("labelled_at", kind="stable")
    p = labelled["probability"].to_numpy(dtype=np.float64)
    loss = (labelled["label"].to_numpy() - p) ** 2 - p * (1 - p)
    return pd.DataFrame({"labelled_at": labelled["labelled_at"].to_numpy(), "loss": loss})


# Backtests.


def list_backtests(root: Path, folder: str) -> list[Path]:
    """Return the logs in a folder, by name; none where no folder is named."""
    if not folder:
        return []
    if not (root / folder).is_dir():
        raise ProjectError(f"{PARAMS}: monitor.backtests is {folder!r}, which is not a folder of {root}.")
    return sorted(path for path in (root / folder).iterdir() if path.is_dir())


def measure_errors(traffic: Sequence[Traffic], reference: Record, threshold: float, min_class: int) -> pd.DataFrame:
    """Return the errors of the expected metrics, realised less expected: one row per window that has enough labels."""
    labels = [(part.window.name, *part.labels) for part in traffic]
    rows = [
        {"window": name, **measure_error(label, p, threshold, reference["cost"])}
        for name, label, p in labels
        if has_classes(label, min_class)
    ]
    return pd.DataFrame(rows, columns=["window", *METRICS])


# Tables and choices for the notebook.


def tabulate_windows(results: Results) -> pd.DataFrame:
    """Return one row per window: predictions, mature ones, their labels, the share of positives by entity, and alerts by severity."""
    rows = []
    for part, found in zip(results.traffic, results.alerts, strict=True):
        sample = part.sample
        rows.append({
            "window": part.window.name, "predictions": f"{part.counts.rows:,}", "mature": f"{part.mature:,}",
            "labels": f"{len(part.labelled):,}",
            "positive": format_estimate(measure_positives(sample)) if len(sample) else "",
            **{name: str(sum(alert.severity == name for alert in found) or "") for name in SEVERITIES[:0:-1]},
        })  # fmt: skip
    return pd.DataFrame(rows).set_index("window")


def describe_baselines(results: Results) -> str:
    """Return what the windows are compared with, in a sentence."""
    held_out = sum(not baseline.name for baseline in results.baselines)
    if held_out == len(results.baselines):
        return "Every window is compared with the hold-out."
    if not held_out:
        return "Every window is compared with earlier windows."
    return (
        f"{held_out} of {len(results.baselines)} windows are compared with the hold-out, because the log has too few windows "
        "before them; the others with earlier windows."
    )


def count_all(traffic: Sequence[Traffic]) -> tuple[int, int, int]:
    """Return the number of predictions, of mature ones, and of these with a label."""
    rows, mature, labelled = np.sum([(part.counts.rows, part.mature, len(part.labelled)) for part in traffic], axis=0)
    return int(rows), int(mature), int(labelled)


def describe_left_out(traffic: Sequence[Traffic]) -> str:
    """Return how many labels of treated rows are left out and what that means, in sentences; empty where none is."""
    count = sum(len(part.left_out) for part in traffic)
    if not count:
        return ""
    return (
        f" {count:,} further labels are left out, because their rows were treated. The other rows have lower probabilities than all "
        "predictions; where there is a control group, the share of positives is that of its labels."
    )


def title_metrics() -> dict[str, str]:
    """Return the metrics that are drawn, with their titles."""
    return {name: TITLES[name].partition(" (")[0] for name in _SHOWN_METRICS}


def describe_realised(performance: pd.DataFrame, before: Record) -> str:
    """Return the ROC AUC of the newest window with labels, next to the expected one and the hold-out's, in a sentence."""
    known = performance[(performance["metric"] == "roc_auc") & performance["realised"].notna()]
    if known.empty:
        return "No window has enough labels of each class yet to measure the model on them."
    row = known.iloc[-1]
    return (
        f"In {row['window']}, the newest window with enough labels, the ROC AUC on {row['labelled']:,} labels is "
        f"{row['realised']:.3f} ({row['realised_low']:.3f}\u2013{row['realised_high']:.3f}); {row['expected']:.3f} "
        f"({row['expected_low']:.3f}\u2013{row['expected_high']:.3f}) was expected from the probabilities alone, and the hold-out "
        f"had {before['roc_auc']['value']:.3f}."
    )


def order_columns(reference: Record, tables: Sequence[pd.DataFrame | None]) -> list[str]:
    """Return the predictions, then the columns by weight."""
    weights = reference["weights"]
    names = next((list(table["column"]) for table in tables if table is not None), [])
    columns = [name for name in names if name in weights]
    return [PREDICTION, *sorted(columns, key=lambda name: (-weights[name], name))]


def find_newest(tables: Sequence[pd.DataFrame | None]) -> int:
    """Return the newest judged window; raise ProjectError where none is."""
    for place in reversed(range(len(tables))):
        if tables[place] is not None:
            return place
    raise ProjectError(f"No window of the log has enough rows to be judged: lower monitor.min_rows in {PARAMS}.")


def tabulate_drift(
    table: pd.DataFrame | None, window: str, reference: Record, limits: AlertLimits, most: int = 12
) -> pd.DataFrame:
    """Return the columns that moved most in a window, those that drifted first, with a clause on each of these."""
    if table is None:
        return pd.DataFrame()
    ordered = table.assign(weight=table["column"].map(reference["weights"])).sort_values(
        ["drifted", "psi"], ascending=False, kind="stable"
    )
    rows = []
    for row in ordered.head(most).to_dict("records"):
        change = ""
        if row["drifted"] and row["column"] in reference["weights"]:
            unit = reference["units"].get(row["column"], "")
            change = explain_column(row, window, row["weight"], unit, limits)[2]
        rows.append({
            "column": row["column"], "PSI": _format(row["psi"], ".3f"), "distance": _format(row["distance"], ".2f"),
            "p": "< 0.001" if row["p"] < 0.001 else _format(row["p"], ".3f"), "weight": _format(row["weight"], ".0%"),
            "drifted": "yes" if row["drifted"] else "", "change": change,
        })  # fmt: skip
    shown = pd.DataFrame(rows).set_index("column")
    return shown if shown["change"].any() else shown.drop(columns="change")


def _format(value: float | None, form: str) -> str:
    """Return a number in a format; empty where it is unknown."""
    return "" if value is None or np.isnan(value) else format(value, form)


def choose_moved(table: pd.DataFrame | None, reference: Record, most: int = 4) -> list[str]:
    """Return the drifted columns that moved most, the predictions among them."""
    if table is None:
        return []
    moved = table[table["drifted"] & table["column"].isin(reference["columns"])]
    return [str(name) for name in moved.sort_values("psi", ascending=False, kind="stable")["column"].head(most)]


def tabulate_groups(groups: pd.DataFrame) -> pd.DataFrame:
    """Return the live performance of the fairness columns' groups, as text."""
    titles = {
        "roc_auc": "ROC AUC",
        "recall": "Recall",
        "false_alarms": "False positive rate",
        "predicted_positive": "Predicted positive",
    }
    rows = [
        {
            "group": f"{row['column']} = {row['category']}", "labels": f"{row['rows']:,}",
            **{
                title: format_estimate({"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]})
                for name, title in titles.items()
            },
        }
        for row in groups.to_dict("records")
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["group", "labels", *titles.values()]).set_index("group")


def tabulate_backtests(backtests: Sequence[Backtest]) -> pd.DataFrame:
    """Return the backtests as text: one row per log."""
    rows = [
        {
            "log": backtest.log, "windows with alerts": f"{backtest.windows_with_alerts} of {backtest.windows}",
            "first alert": backtest.first_alert, "highest severity": backtest.severity,
            "degradation since": backtest.degradation_since, "ROC AUC error": _format(backtest.roc_auc_error, "+.3f"),
            "accuracy error": _format(backtest.accuracy_error, "+.3f"), "Brier error": _format(backtest.brier_error, "+.3f"),
        }
        for backtest in backtests
    ]  # fmt: skip
    return pd.DataFrame(rows).set_index("log")
