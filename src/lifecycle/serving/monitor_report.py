"""The record of the monitoring report, which `lifecycle monitor` writes and the server shows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from lifecycle.core.records import Frozen, Moment

FORMAT: Literal[2] = 2
SEVERITIES = ("ok", "info", "warning", "critical")  # from the least to the most serious; ok: no alert

Severity = Literal["info", "warning", "critical"]
Status = Literal["ok", "info", "warning", "critical"]
Chance = Annotated[float, Field(gt=0, lt=1)]
AlertKind = Literal[
    "column", "missing", "unit", "category", "prediction", "multivariate", "label", "degradation", "volume"
]


class _Part(Frozen):
    """A record without NaN or infinities, which browsers cannot read."""

    model_config = ConfigDict(allow_inf_nan=False)


class Window(_Part):
    """A stretch of time whose predictions are looked at together.

    mature: the rows that are older than `monitor.maturity_days`. labelled: those of them whose label is known. judged: it had
    enough rows to test for drift. against: the earlier windows that it is compared with; empty for the hold-out.
    """

    name: str
    start: Moment
    end: Moment
    rows: int
    mature: int
    labelled: int
    judged: bool
    against: str = ""


class Drift(_Part):
    """How far a column of a window is from its reference.

    p: of the test that nothing moved. q: p, adjusted for the number of columns. psi: the population stability index.
    distance: Wasserstein's, in standard deviations, or Jensen-Shannon's. missing: the share of missing values. new: categories
    that the reference does not have, the most frequent first.
    """

    window: str
    column: str
    kind: str
    p: float | None
    q: float | None
    psi: float | None
    distance: float | None
    missing: float | None
    drifted: bool
    new: tuple[str, ...] = ()


class Interval(_Part):
    """A value with its 95 % interval."""

    value: float
    low: float | None
    high: float | None


class Performance(_Part):
    """A metric of a window: realised, from the labels that have arrived, and expected, from the probabilities alone."""

    window: str
    metric: str
    realised: Interval | None
    expected: Interval | None


class Budget(_Part):
    """The chance of any false alarm in a window, and the part of it that each kind of test may use.

    The parts add up to the whole (Bonferroni), which holds whatever the dependence of the tests. They are fixed before any row is
    seen: a window without labels does not hand its unused parts to the tests for drift. drift: all columns, the predictions and
    all columns together. degradation: labels against probabilities. label: the share of positives. Volume is compared by a
    ratio, without a test.
    """

    total: Chance
    drift: Chance
    degradation: Chance
    label: Chance


class Alert(_Part):
    """A finding of one window in a sentence; `since` is the window in which it began."""

    kind: AlertKind
    column: str | None
    since: str
    window: str
    severity: Severity
    message: str
    psi: float | None
    weight: float | None


class Backtest(_Part):
    """What monitoring finds in a log of which it is known what happened, and the mean error of the expected metrics."""

    log: str
    windows: int
    windows_with_alerts: int
    first_alert: str
    severity: Status
    degradation_since: str
    roc_auc_error: float | None
    accuracy_error: float | None
    brier_error: float | None


class MonitorReport(_Part):
    """The whole report: reports/monitor.json, and reports/live/monitor.json of the server's log.

    `alerts` are those of the newest windows; `timeline` holds those of every window. `simulated`: the log was written by
    the stage `simulate`, not by a server.
    """

    format: Literal[2]
    model: Annotated[str, Field(pattern="^[0-9a-f]{12}$")]  # the short name, as in answers and in the log
    bundle: str
    simulated: bool
    since: Moment
    at: Moment
    mature_until: Moment
    window: str
    budget: Budget | None = None  # None in a report of an earlier version
    severity: Status
    windows: list[Window]
    columns: list[str]
    weights: dict[str, float]
    drift: list[Drift]
    performance: list[Performance]
    alerts: list[Alert]
    timeline: list[Alert]
    backtests: list[Backtest]
