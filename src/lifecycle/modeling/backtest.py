"""Backtesting: how models that were fitted at past moments would have done, with and without retraining (rolling origin)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from lifecycle.core.records import Frozen
from lifecycle.modeling.comparisons import compare_auc, measure_auc
from lifecycle.modeling.encoders import select_features
from lifecycle.modeling.entities import find_entities, find_feature_keys
from lifecycle.modeling.intervals import LEVEL
from lifecycle.modeling.learning_curve import Area
from lifecycle.modeling.metrics import Array
from lifecycle.modeling.pipelines import Recipe
from lifecycle.modeling.split import measure_gap
from lifecycle.modeling.task import task_for
from lifecycle.modeling.weights import read_weights, take_weights

_UNITS = {
    "month": "M",
    "quarter": "Q",
    "year": "Y",
    "week": "W",
    "day": "D",
}  # the first that gives enough periods is taken
_FEWEST = 3  # periods to say anything from
_FIT_CLASS = 20  # rows of each class that a model is fitted on, at least
_SHORTER = 0.9  # share of the rows up to which those of the last days are another window


class Period(Frozen):
    """A period and its rows, scored by three models: fitted once, before the first period; again, before each; recent, on its last days."""

    name: str
    rows: int
    positives: int
    once: Area
    again: Area
    recent: Area | None


class Backtest(Frozen):
    """The periods, oldest first; by how much fitting again is better than once, and recent rows than all, on average."""

    unit: str
    periods: list[Period]
    again: Area
    recent: Area | None


def trace_backtest(
    table: pd.DataFrame, declaration: Mapping[str, Any], recipe: Recipe, periods: int, recent_days: int, min_class: int
) -> Backtest | None:
    """Return how a recipe would have done in the last `periods` of the training rows that have `min_class` rows of each class.

    Each model is fitted on the rows before a period, less the gap of the split, and never on an entity that it is scored on
    where the split keeps entities together (Tashman 2000, International Journal of Forecasting 16, on rolling origins). The hyperparameters
    are those chosen for all rows, so that the level is a little too high; the differences compare alike models, by DeLong's
    test in each period. None without a time column, and where periods, or the rows before them, are too few.
    """
    moments, y = find_feature_keys(table, declaration).moments, table[declaration["target"]].to_numpy()
    if moments is None or not periods:
        return None
    unit, spans = _choose_periods(moments, y, periods, min_class)
    if not spans:
        return None
    rows = _Rows(table, declaration, recipe, moments)
    first = rows.find_before(spans[0][1], np.concatenate([rows.find_between(start, end) for _, start, end in spans]))
    if not rows.suffice(first):
        return None
    once = rows.fit(first)
    found, again, recent = [], [], []
    for name, start, end in spans:
        judged = rows.find_between(start, end)
        whole = rows.find_before(start, judged)
        if not rows.suffice(whole):
            return None
        since = whole[moments[whole] >= start - timedelta(days=recent_days) // timedelta(microseconds=1)]
        scores = {"once": rows.score(once, judged)}
        scores["again"] = scores["once"] if len(whole) == len(first) else rows.score(rows.fit(whole), judged)
        if len(since) < _SHORTER * len(whole) and rows.suffice(since):
            scores["recent"] = rows.score(rows.fit(since), judged)
            recent.append(rows.compare(judged, scores["recent"], scores["again"]))
        if scores["again"] is not scores["once"]:
            again.append(rows.compare(judged, scores["again"], scores["once"]))
        areas = {key: rows.measure(judged, score) for key, score in scores.items()}
        found.append(Period(
            name=name, rows=len(judged), positives=int(y[judged].sum()), once=areas["once"], again=areas["again"],
            recent=areas.get("recent"),
        ))  # fmt: skip
    if not again:
        return None
    return Backtest(unit=unit, periods=found, again=_average(again), recent=_average(recent) if recent else None)


class _Rows:
    """The rows of a feature table, by which models are fitted and scored."""

    def __init__(self, table: pd.DataFrame, declaration: Mapping[str, Any], recipe: Recipe, moments: Array) -> None:
        self.features, self.recipe, self.moments = declaration["features"], recipe, moments
        self.task, self.entities = task_for(declaration), find_entities(table, declaration)
        self.X, self.y = select_features(table, declaration), table[declaration["target"]].to_numpy()
        self.weights = read_weights(table, declaration)
        self.gap = measure_gap(declaration["split"].get("gap", ""))
        self.apart = self.entities is not None and declaration["split"]["strategy"] == "time_group"

    def find_between(self, start: int, end: int) -> Array:
        """Return the rows of a period."""
        return np.flatnonzero((self.moments >= start) & (self.moments < end))

    def find_before(self, start: int, judged: Array) -> Array:
        """Return the rows to fit a model on that is scored on others."""
        before = self.moments < start - self.gap
        if self.apart and self.entities is not None:
            before &= ~np.isin(self.entities, self.entities[judged])
        return np.flatnonzero(before)

    def suffice(self, rows: Array) -> bool:
        """Return whether a model can be fitted on these rows."""
        return int(np.bincount(self.y[rows], minlength=2).min()) >= _FIT_CLASS

    def fit(self, rows: Array) -> Any:
        """Fit the recipe."""
        return self.recipe.fit(self.features, self.X.iloc[rows], self.y[rows], take_weights(self.weights, rows))

    def score(self, model: Any, rows: Array) -> Array:
        """Return a model's probabilities."""
        return self.task.predict(model, self.X.iloc[rows])

    def measure(self, rows: Array, probability: Array) -> Area:
        """Return the ROC AUC of some rows."""
        return Area(**measure_auc(self.y[rows], probability, self._find_cases(rows)))

    def compare(self, rows: Array, one: Array, other: Array) -> Area:
        """Return the difference of two ROC AUCs of the same rows."""
        found = compare_auc(self.y[rows], one, other, self._find_cases(rows))
        return Area(value=found["value"], low=found["low"], high=found["high"])

    def _find_cases(self, rows: Array) -> Array | None:
        """Return the entities of some rows, if there are any."""
        return None if self.entities is None else self.entities[rows]


def _choose_periods(moments: Array, y: Array, periods: int, min_class: int) -> tuple[str, list[tuple[str, int, int]]]:
    """Return the unit of the periods, and the name, first and last moment of the last of them that can be judged."""
    known = pd.Series(pd.to_datetime(moments[moments > np.iinfo(np.int64).min], unit="us"))
    target = y[moments > np.iinfo(np.int64).min]
    for unit, code in _UNITS.items():
        period = known.dt.to_period(code)
        counts = pd.crosstab(period, target).reindex(columns=[0, 1], fill_value=0).sort_index()
        before = counts.cumsum().shift(fill_value=0)
        judged = counts[(counts.min(axis=1) >= min_class) & (before.min(axis=1) >= _FIT_CLASS)].index[-periods:]
        if len(judged) >= _FEWEST:
            return unit, [(str(one), _to_micros(one.start_time), _to_micros((one + 1).start_time)) for one in judged]
    return "", []


def _to_micros(moment: pd.Timestamp) -> int:
    """Return a moment in microseconds since 1970."""
    return int(moment.value) // 1000


def _average(differences: list[Area]) -> Area:
    """Return the mean of differences of the periods, whose rows are independent, with its interval."""
    reach = float(ndtri((1 + LEVEL) / 2))
    value = float(np.mean([one.value for one in differences]))
    error = float(np.sqrt(sum(((one.high - one.low) / (2 * reach)) ** 2 for one in differences)) / len(differences))
    return Area(value=value, low=value - reach * error, high=value + reach * error)
