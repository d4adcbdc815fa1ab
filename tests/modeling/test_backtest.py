"""Tests of backtests: what retraining would have been worth, on tables whose past is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.modeling.backtest import Backtest, trace_backtest
from lifecycle.modeling.pipelines import Recipe
from lifecycle.reporting.backtests import describe_backtest, draw_backtest

NUMBER = {
    "kind": "numeric", "source": "column", "expression": None, "missing": "impute", "outliers": "keep", "values": None,
}  # fmt: skip
RECIPE = Recipe("logistic", {}, seed=0, threads=1)


def declare(strategy: str = "time", gap: str = "") -> dict[str, Any]:
    features = [{**NUMBER, "name": name, "columns": [name]} for name in ("x", "z")]
    split = {"strategy": strategy, "gap": gap, "ids": ["id"]}
    return {"target": "left", "positive": 1, "id": ["id"], "time": "at", "features": features, "split": split}


def draw(turn: int | None, months: int = 12, rows: int = 150, seed: int = 0) -> pd.DataFrame:
    """Months of rows; from the month `turn` on, `z` has the effect that `x` had before."""
    rng = np.random.default_rng(seed)
    count = months * rows
    month = np.repeat(np.arange(months), rows)
    x, z = rng.normal(size=(2, count))
    effect = np.where(month < (months if turn is None else turn), x, z)
    at = pd.Timestamp("2024-01-01") + pd.to_timedelta(month * 30.4 + rng.random(count) * 30, unit="D")
    left = (rng.random(count) < 1 / (1 + np.exp(-2 * effect))).astype("int8")
    return pd.DataFrame({"id": np.arange(count), "at": at, "x": x, "z": z, "left": left})


def trace(table: pd.DataFrame, declaration: dict[str, Any] | None = None, days: int = 365) -> Backtest:
    found = trace_backtest(table, declaration or declare(), RECIPE, 6, days, 20)
    assert found is not None
    return found


def test_where_nothing_changes_retraining_is_not_said_to_pay() -> None:
    shown = [trace(draw(None, seed=seed)) for seed in range(20)]
    assert sum(found.again.low > 0 for found in shown) <= 2
    assert all(len(found.periods) == 6 and found.unit == "month" and found.recent is None for found in shown)
    assert np.mean([period.again.value for period in shown[0].periods]) > 0.75


def test_where_a_relation_changed_retraining_pays_and_recent_rows_do_better() -> None:
    found = trace(draw(7), days=60)
    assert found.again.low > 0.05 and found.recent is not None and found.recent.low > 0
    assert found.periods[-1].once.value < 0.6
    last = found.periods[-1].recent
    assert last is not None and last.value > 0.7
    said = describe_backtest(found, "at")
    assert said.startswith("**Retraining would have paid.**") and "`retrain.window: sliding` would suit" in said
    draw_backtest(found)


def test_the_newest_period_is_the_last_and_names_its_unit() -> None:
    days = draw(None, months=1, rows=1200)
    found = trace(days)
    assert found.unit in ("week", "day") and found.periods[-1].name == str(
        days["at"].max().to_period(found.unit[0].upper())
    )


@pytest.mark.parametrize(("strategy", "gap"), [("time", "20 days"), ("time_group", "")])
def test_models_do_not_see_what_the_split_keeps_from_them(
    monkeypatch: pytest.MonkeyPatch, strategy: str, gap: str
) -> None:
    """Neither rows in the gap, nor rows of an entity that is scored."""
    table = draw(None).assign(id=lambda frame: (frame.index + 2) // 4)  # some across two months
    fitted: list[tuple[pd.Timestamp, set[int]]] = []

    def fit(recipe: Recipe, features: Any, X: pd.DataFrame, y: Any, weights: Any = None) -> Any:
        rows = table.loc[table["x"].isin(X["x"])]
        fitted.append((rows["at"].max(), set(rows["id"])))
        return whole(recipe, features, X, y, weights)

    whole = Recipe.fit
    monkeypatch.setattr(Recipe, "fit", fit)
    found = trace(table, declare(strategy, gap))
    starts = [pd.Period(period.name).start_time for period in found.periods]
    for (newest, ids), start in zip(fitted, [starts[0], *starts[1:]], strict=False):
        assert newest < start - pd.Timedelta(gap or "0 days")
        judged = set(table.loc[(table["at"] >= start) & (table["at"] < start + pd.offsets.MonthBegin(1)), "id"])
        assert strategy == "time" or not ids & judged


def test_without_times_or_enough_rows_there_is_no_backtest() -> None:
    table = draw(None)
    assert trace_backtest(table.drop(columns="at"), {**declare(), "time": None}, RECIPE, 6, 365, 20) is None
    assert trace_backtest(table, declare(), RECIPE, 0, 365, 20) is None
    assert trace_backtest(table.head(100), declare(), RECIPE, 6, 365, 20) is None
    assert describe_backtest(None, None).startswith("The table has no column of times")
    assert "Too few past periods" in describe_backtest(None, "at")
