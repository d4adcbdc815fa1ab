"""Tests of the figures of decisions, where a model is worth nothing."""

from __future__ import annotations

import pandas as pd
import pytest

from lifecycle.reporting.decisions import draw_net_benefit


@pytest.mark.parametrize("threshold", [0.001, 0.25])
def test_a_decision_curve_is_drawn_where_no_decision_is_worth_anything(threshold: float) -> None:
    """Of very rare positives no threshold of the curve has a positive bound."""
    flat = {"model": 0.0, "low": -0.01, "high": 0.0, "everyone": -0.2}
    curve = pd.DataFrame([{"threshold": place / 100, **flat} for place in range(1, 100)])
    (axes,) = draw_net_benefit(curve, threshold).axes
    assert axes.get_xlim()[1] > 0
    assert axes.get_ylim()[0] < 0 < axes.get_ylim()[1]
