"""Build the monitoring report from the results of all windows, and summarize backtests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.records import Record
from lifecycle.monitoring.alerts import find_worst
from lifecycle.monitoring.baselines import Baseline
from lifecycle.monitoring.traffic import Traffic
from lifecycle.serving.bundle import Bundle
from lifecycle.serving.monitor_report import (
    FORMAT,
    Alert,
    Backtest,
    Budget,
    Drift,
    Interval,
    MonitorReport,
    Performance,
    Window,
)

_MOST_NEW = 10  # new categories of a column and window that the report names
_DRIFT_COLUMNS = ("column", "kind", "p", "q", "psi", "distance", "missing", "drifted")  # of a drift table


@dataclass(frozen=True)
class Results:
    """The results of monitoring a log: traffic, drift tables and alerts by window, the alerts that are current, the budget."""

    traffic: list[Traffic]
    tables: list[pd.DataFrame | None]
    degradation: pd.DataFrame
    alerts: list[list[Alert]]
    current: list[Alert]
    budget: Budget
    baselines: list[Baseline]

    @property
    def names(self) -> list[str]:
        """The names of the windows."""
        return [part.window.name for part in self.traffic]


def build_report(
    bundle: Bundle, reference: Record, results: Results, performance: pd.DataFrame, backtests: Sequence[Backtest], *,
    window: str, mature_until: datetime, simulated: bool,
) -> MonitorReport:  # fmt: skip
    """Return the report: everything that was found, for the server and for retraining."""
    weights = reference["weights"]
    last = [part.last for part in results.traffic if part.last is not None]
    return MonitorReport(
        format=FORMAT,
        model=bundle.name,
        bundle=bundle.sha256,
        simulated=simulated,
        since=results.traffic[0].window.start,
        at=max(last).replace(microsecond=0),
        mature_until=mature_until.replace(microsecond=0),
        window=window,
        budget=results.budget,
        severity=find_worst(results.current),
        windows=[
            _describe_window(part, table, baseline.name)
            for part, table, baseline in zip(results.traffic, results.tables, results.baselines, strict=True)
        ],
        columns=sorted(weights, key=lambda name: (-weights[name], name)),
        weights=weights,
        drift=[
            Drift.model_validate(
                {
                    "window": name,
                    **{key: _to_plain(row[key]) for key in _DRIFT_COLUMNS},
                    "new": tuple(row["new"][:_MOST_NEW]),
                }
            )
            for name, table in zip(results.names, results.tables, strict=True)
            if table is not None
            for row in table.to_dict("records")
        ],
        performance=[
            Performance(
                window=row["window"],
                metric=row["metric"],
                realised=_read_interval(row, "realised"),
                expected=_read_interval(row, "expected"),
            )
            for row in performance.to_dict("records")
        ],
        alerts=results.current,
        timeline=[alert for found in results.alerts for alert in found],
        backtests=list(backtests),
    )


def _describe_window(part: Traffic, table: pd.DataFrame | None, against: str) -> Window:
    """Return a window as the report has it."""
    window = part.window
    return Window(
        name=window.name, start=window.start, end=window.end, rows=part.counts.rows, mature=part.mature,
        labelled=len(part.labelled), judged=table is not None, against=against,
    )  # fmt: skip


def _to_plain(value: Any) -> Any:
    """Return a value as JSON holds it: null for NaN and infinities."""
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return bool(value) if isinstance(value, np.bool_) else value


def _read_interval(row: Mapping[Any, Any], kind: str) -> Interval | None:
    """Return an estimate of a row of the performance table; None where it is unknown."""
    if np.isnan(row[kind]):
        return None
    return Interval(value=float(row[kind]), low=_to_plain(row[f"{kind}_low"]), high=_to_plain(row[f"{kind}_high"]))


def summarize_backtest(log: str, results: Results, errors: pd.DataFrame) -> Backtest:
    """Return what monitoring finds in a log: the first alert, the highest severity, and the expected metrics' mean error.

    errors: realised less expected metrics, one row per window that has enough labels.
    """
    fired = [(name, alert) for name, found in zip(results.names, results.alerts, strict=True) for alert in found]
    return Backtest(
        log=log,
        windows=len(results.traffic),
        windows_with_alerts=sum(bool(found) for found in results.alerts),
        first_alert=f"{fired[0][0]}: {fired[0][1].column or fired[0][1].kind}" if fired else "",
        severity=find_worst([alert for _, alert in fired]),
        degradation_since=next((name for name, alert in fired if alert.kind == "degradation"), ""),
        roc_auc_error=_to_plain(errors["roc_auc"].mean()),
        accuracy_error=_to_plain(errors["accuracy"].mean()),
        brier_error=_to_plain(errors["brier"].mean()),
    )
