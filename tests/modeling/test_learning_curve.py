"""The learning curve: its rows are nested, stay together and go forward in time, and it says only what it shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.modeling.comparisons import estimate_fold_error
from lifecycle.modeling.learning_curve import shrink_folds, trace_learning_curve
from lifecycle.modeling.pipelines import Recipe
from lifecycle.modeling.split import split_folds
from lifecycle.reporting.fitting import describe_learning_curve
from tests.support.contracts import make_contract, make_table

Made = tuple[pd.DataFrame, dict[str, Any]]


@pytest.fixture
def made(customers: pd.DataFrame) -> Made:
    return make_table(pd.concat([customers.assign(id=customers["id"] + 300 * copy, spend=customers["spend"] + copy)
                                 for copy in range(3)], ignore_index=True), make_contract())  # fmt: skip


def fits(table: pd.DataFrame, declaration: dict, share: float, folds: int = 4) -> list[np.ndarray]:
    made = split_folds(table, declaration, folds, 0)
    smaller = shrink_folds(table, declaration, made, share, 0)
    for (fit, judge), (part, same) in zip(made, smaller, strict=True):
        assert set(part) <= set(fit) and np.array_equal(judge, same)
    return [fit for fit, _ in smaller]


def test_smaller_shares_are_part_of_larger_ones_and_have_both_classes(made: Made) -> None:
    table, declaration = made
    target = table["left"].to_numpy()
    whole = split_folds(table, declaration, 4, 0)
    for small, half, (fit, _) in zip(fits(*made, 0.125), fits(*made, 0.5), whole, strict=True):
        assert set(small) <= set(half)
        assert len(half) == pytest.approx(len(fit) / 2, abs=1) and len(small) == pytest.approx(len(fit) / 8, abs=1)
        assert target[small].sum() == round(target[fit].sum() / 8)


def test_the_rows_of_an_entity_stay_together(customers: pd.DataFrame) -> None:
    table, declaration = make_table(customers.assign(id=np.arange(300) // 5), make_contract(), "group")
    for fit, (before, _) in zip(fits(table, declaration, 0.5), split_folds(table, declaration, 4, 0), strict=True):
        owners = table["id"].to_numpy()
        assert set(owners[fit]).isdisjoint(owners[np.setdiff1d(before, fit)])
        assert len(before) / 2 <= len(fit) < len(before) / 2 + 5


def test_folds_that_go_forward_in_time_keep_the_newest_rows(customers: pd.DataFrame) -> None:
    times = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.random.default_rng(0).permutation(300), "D")
    contract = make_contract(seen={"role": "time", "dtype": "datetime"})
    table, declaration = make_table(customers.assign(seen=times), contract, "time")
    seen = table["seen"]
    whole = split_folds(table, declaration, 4, 0)
    for fit, (before, judge) in zip(fits(table, declaration, 0.5), whole, strict=True):
        left_out = np.setdiff1d(before, fit)
        assert seen.iloc[left_out].max() < seen.iloc[fit].min() and seen.iloc[fit].max() < seen.iloc[judge].min()


def trace(made: Made, shares: list[float], whole: list[float] | None = None) -> dict[str, Any]:
    table, declaration = made
    folds = split_folds(table, declaration, 3, 0)
    recipe = Recipe("logistic", {"C": 1.0, "knots": 0}, 0, 1)
    areas = np.array(whole or [0.8, 0.81, 0.79])
    return trace_learning_curve(table, declaration, folds, recipe, shares, areas, 0).to_json()


def test_the_last_point_is_what_was_measured_and_the_gain_is_paired(made: Made) -> None:
    curve = trace(made, [0.5, 0.25])
    assert [point["share"] for point in curve["points"]] == [0.25, 0.5, 1.0]
    assert curve["points"][-1]["roc_auc"] == pytest.approx(0.8) and curve["points"][-1]["rows"] == 600
    gain = curve["gain"]
    assert gain["value"] == pytest.approx(curve["points"][-1]["roc_auc"] - curve["points"][-2]["roc_auc"])
    assert gain["low"] < gain["value"] < gain["high"] and trace(made, [0.5, 0.25]) == curve
    folds = split_folds(*made, 3, 0)
    error = estimate_fold_error(np.array([0.8, 0.81, 0.79]), folds)
    assert curve["points"][-1]["error"] == pytest.approx(error)


def test_shares_with_too_few_rows_are_left_out(made: Made) -> None:
    assert [point["share"] for point in trace(made, [0.02, 0.5])["points"]] == [0.5, 1.0]
    alone = trace(made, [])
    assert alone["gain"] is None and len(alone["points"]) == 1
    assert "too few" in describe_learning_curve(alone)


def test_it_says_that_rows_help_only_where_that_is_shown(made: Made) -> None:
    half = trace(made, [0.5])["points"][0]["roc_auc"]
    assert "not shown that more rows would help" in describe_learning_curve(
        trace(made, [0.5], [half - 0.2, half, half + 0.2])
    )
    rising = trace(made, [0.5], [0.999, 0.999, 0.999])
    assert rising["gain"]["low"] > 0 and "More rows would probably help" in describe_learning_curve(rising)
    falling = trace(made, [0.5], [0.3, 0.3, 0.3])
    assert "it even fell" in describe_learning_curve(falling)
