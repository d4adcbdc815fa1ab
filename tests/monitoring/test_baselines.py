"""Tests of windows that are compared with earlier ones: seasons are quiet, real changes are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.core.params import Monitor
from lifecycle.monitoring import traffic
from lifecycle.monitoring.baselines import build_baseline
from lifecycle.monitoring.drift import PREDICTION, compare_window
from lifecycle.monitoring.reference import build_reference, count_window
from lifecycle.monitoring.report import Results
from lifecycle.monitoring.scenarios import begin_month
from lifecycle.serving.bundle import Bundle
from lifecycle.stages import monitor
from tests.support.monitor_reports import LIMITS
from tests.support.traffic import draw_rows, to_rows, write_watched

SETTINGS: dict[str, Any] = {
    "log": "", "backtests": "", "window": "month", "maturity_days": 0, "treated": "keep", "false_alarms": 0.01, "min_rows": 150, "min_class": 20, "min_psi": 0.01,
    "min_effect": 0.02, "severity": LIMITS,
}  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path]:
    folder = tmp_path_factory.mktemp("baselines") / "bundle"
    return write_watched(folder), folder


def judge(served: tuple[Bundle, Path], months: list[pd.DataFrame], kind: str, windows: int = 6) -> Results:
    """What monitoring finds in months of traffic whose labels are known at once, each compared as `kind` says."""
    bundle, folder = served
    reference = traffic.read_reference(bundle, folder)
    parts = []
    for place, frame in enumerate(months):
        start, end = begin_month("2026-01", place + 1), begin_month("2026-01", place + 2)
        probability = np.asarray(bundle.score(to_rows(frame)))
        label = np.random.default_rng([place, 1]).random(len(frame)) < probability
        at = pd.Series(pd.date_range(start, end, periods=len(frame) + 1, inclusive="left"))
        known = {"label": label.astype(int), "probability": probability, "entity": None}
        labelled = pd.DataFrame({"at": at, "labelled_at": at, **known})
        parts.append(traffic.Traffic(
            window=traffic.TimeWindow(f"{start:%Y-%m}", start, end),
            counts=count_window(frame.assign(**{PREDICTION: probability}), reference), probability=probability,
            mature=len(frame), labelled=labelled, groups=pd.DataFrame(index=labelled.index), last=end,
        ))  # fmt: skip
    return monitor.judge_traffic(parts, reference, Monitor(reference=kind, reference_windows=windows, **SETTINGS))  # type: ignore[arg-type]


def draw_year(first: int, december: dict[str, Any]) -> list[pd.DataFrame]:
    """Twelve months, the last of which has many customers of the plan pro."""
    rng = np.random.default_rng(first)
    season = {"plan": rng.choice(["basic", "plus", "pro"], 300, p=[0.2, 0.2, 0.6])} | december
    return [draw_rows(300, first + month, **(season if month == 11 else {})) for month in range(12)]


def test_a_season_alarms_every_december_against_the_hold_out_only(served: tuple[Bundle, Path]) -> None:
    months = [*draw_year(10, {}), *draw_year(40, {})]
    holdout = judge(served, months, "holdout")
    assert holdout.alerts[11] and holdout.alerts[23] and "hold-out" in holdout.alerts[23][0].message
    seasonal = judge(served, months, "same_month_last_year")
    assert seasonal.alerts[11] and not seasonal.alerts[23], "the first December has no month to be compared with"
    assert [baseline.name for baseline in seasonal.baselines] == [""] * 12 + seasonal.names[:12]
    assert "12 of 24 windows" in monitor.describe_baselines(seasonal)


def test_a_real_change_in_a_season_is_found(served: tuple[Bundle, Path]) -> None:
    spend = {"spend": np.random.default_rng(5).integers(3, 13, 300) * 10.0}
    found = judge(served, [*draw_year(10, {}), *draw_year(40, spend)], "same_month_last_year")
    assert [alert.column for alert in found.alerts[23] if alert.column] == ["spend"]
    assert "compared with" in found.alerts[23][0].message and "in 2026-12" in found.alerts[23][0].message


def test_a_change_that_stays_is_over_once_the_last_windows_have_it(served: tuple[Bundle, Path]) -> None:
    months = [draw_rows(300, month) for month in range(6)]
    months += [
        draw_rows(300, 50 + month, spend=np.random.default_rng(month).integers(3, 13, 300) * 10.0) for month in range(8)
    ]
    found = judge(served, months, "last_windows", 3)
    fired = [any(alert.column == "spend" for alert in alerts) for alerts in found.alerts]
    assert fired[6] and not any(fired[:6]) and not fired[13]
    assert [baseline.name for baseline in found.baselines][:6] == [""] * 5 + ["2026-01 to 2026-03"]
    held_out = judge(served, months, "holdout")
    assert any(alert.column == "spend" for alert in held_out.alerts[13])


def test_a_baseline_of_a_window_is_the_reference_of_its_rows() -> None:
    """The sum of windows' counts compares as a reference that was built from their rows, in the same bins."""
    rng = np.random.default_rng(0)
    kinds: Any = {"x": "numeric", "y": "categories"}
    first, second = (
        pd.DataFrame({"x": rng.integers(0, 50, 900) * 1.5 + move, "y": rng.choice(["a", "b", "c"], 900)})
        for move in (0, 15)
    )
    reference = build_reference(first, kinds)
    baseline = build_baseline(reference, [count_window(second[:400], reference), count_window(second[400:], reference)])
    built = build_reference(second, kinds)["columns"]["x"]
    assert baseline["columns"]["x"]["mean"] == pytest.approx(built["mean"])
    assert baseline["columns"]["x"]["sd"] == pytest.approx(built["sd"])
    table = compare_window(baseline, count_window(second, reference)).set_index("column")
    assert table["psi"].loc[["x", "y"]].max() < 1e-9, "the same rows"
