"""Tests of the budget of false alarms and of how the tests of a window share it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lifecycle.core.params import Monitor
from lifecycle.monitoring import traffic
from lifecycle.monitoring.budget import describe_budget, share_budget
from lifecycle.monitoring.seasons import choose_baselines
from lifecycle.stages import monitor
from tests.support.monitor_reports import LIMITS
from tests.support.traffic import draw_rows, make_months, write_segment, write_watched

SETTINGS = Monitor(
    log="", backtests="", window="month", maturity_days=0, reference="holdout", reference_windows=6, treated="keep", false_alarms=0.01, min_rows=150, min_class=20, min_psi=0.01, min_effect=0.02,
    severity=LIMITS,
)  # fmt: skip


@pytest.mark.parametrize("total", [0.001, 0.01, 0.3])
def test_the_parts_of_the_budget_add_up_to_it(total: float) -> None:
    budget = share_budget(total)
    assert budget.drift + budget.degradation + budget.label == pytest.approx(total)
    assert f"at most {total:g}" in describe_budget(budget)


def test_a_share_of_positives_that_would_use_the_whole_budget_raises_no_alert(tmp_path: Path) -> None:
    """Its chance is below the budget and above its part of it: with the other tests it would exceed the budget."""
    bundle = write_watched(tmp_path / "bundle")
    reference = traffic.read_reference(bundle, tmp_path / "bundle")
    log = write_segment(tmp_path / "log", make_months(bundle, [draw_rows(300, 1)]))
    (month,) = traffic.read_traffic(log, traffic.list_windows(log, "month")[:1], bundle, reference, [])
    baselines = choose_baselines(reference, [month], "holdout", 6, min_rows=150, gap=3, min_labels=30)
    fired = {}
    usual = round(300 * reference["performance"]["rate"])
    for positives in range(usual - 30, usual + 31):
        labelled = month.labelled.assign(label=np.arange(300) < positives)
        table = monitor.judge_labels([replace(month, labelled=labelled)], reference, SETTINGS, baselines)
        alerts = monitor.raise_alerts([None], table, [replace(month, labelled=labelled)], reference, SETTINGS)[0]
        moved = abs(table["rate"][0] - reference["performance"]["rate"]) >= LIMITS.label_shift
        fired[positives] = table["rate_p"][0], moved and any(alert.kind == "label" for alert in alerts)
    assert all(p <= share_budget(0.01).label for p, found in fired.values() if found)
    assert any(0.0025 < p <= 0.01 for p, _ in fired.values()) and any(found for _, found in fired.values())
