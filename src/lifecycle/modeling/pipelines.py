"""Pipelines: from declared features to a probability, one family of models at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import BaseCrossValidator, StratifiedGroupKFold, StratifiedKFold, TimeSeriesSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer, StandardScaler

from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import PARAMS

FeatureRecord = dict[str, Any]
Settings = dict[str, Any]


class FenceClipper(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Clip each column to Tukey's outer fences, Q1 - 3 IQR and Q3 + 3 IQR, of the rows it was fitted on."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the fences of X, shape (rows, columns); NaN is left aside."""
        first, third = np.nanquantile(np.asarray(X, dtype="float64"), [0.25, 0.75], axis=0)
        reach = 3 * (third - first)
        self.low_, self.high_ = first - reach, third + reach
        self.n_features_in_ = np.shape(X)[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """X clipped to the fences; NaN stays."""
        return np.asarray(np.clip(np.asarray(X, dtype="float64"), self.low_, self.high_))

    def get_feature_names_out(self, names: Any = None) -> Any:
        """The names that came in."""
        return names


class SplineAppender(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Beside the columns as they are, a cubic B-spline basis (de Boor 1978) of those with many values.

    Knots stand at quantiles of the rows it was fitted on; beyond the outer knots the basis stays constant.
    """

    def __init__(self, knots: int = 5) -> None:
        self.knots = knots

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the columns with more distinct values than a basis has parts, and their knots."""
        X = np.asarray(X, dtype="float64")
        self.columns_ = [column for column in range(X.shape[1]) if len(np.unique(X[:, column])) > 4 * self.knots]
        self.bases_ = []
        for column in self.columns_:
            places = np.unique(np.quantile(X[:, column], np.linspace(0, 1, self.knots)))
            self.bases_.append(SplineTransformer(knots=places[:, None], include_bias=False).fit(X[:, [column]]))
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """X with the bases' columns to its right."""
        X = np.asarray(X, dtype="float64")
        return np.hstack([X, *(b.transform(X[:, [c]]) for c, b in zip(self.columns_, self.bases_, strict=True))])


@dataclass(frozen=True)
class Family:
    """A family of models: how it is built from settings, and what its features need beforehand."""

    build: Callable[[Settings, int, int], Any]  # settings, seed, threads
    scale: bool  # numbers standardised
    takes_missing: bool  # NaN may reach the model where the contract says `keep`


def build_logistic(settings: Settings, seed: int, threads: int) -> Any:
    """Logistic regression with an L2 penalty; with `knots` above 0 it sees each number also as a cubic spline."""
    settings = dict(settings)
    knots = settings.pop("knots", 0)
    model = LogisticRegression(max_iter=1000, **settings)
    return make_pipeline(SplineAppender(knots), model) if knots else model


def build_forest(settings: Settings, seed: int, threads: int) -> Any:
    """Random forest, on one thread: scikit-learn adds up its trees in the order in which threads end, which moves last bits."""
    return RandomForestClassifier(random_state=seed, n_jobs=1, **settings)


def build_hist_boosting(settings: Settings, seed: int, threads: int) -> Any:
    """Histogram gradient boosting."""
    return HistGradientBoostingClassifier(random_state=seed, early_stopping=False, **settings)


FAMILIES: dict[str, Family] = {
    "logistic": Family(build_logistic, scale=True, takes_missing=False),
    "forest": Family(build_forest, scale=False, takes_missing=False),
    "hist_boosting": Family(build_hist_boosting, scale=False, takes_missing=True),
}


def find_family(name: str) -> Family:
    """A family by its name; raises ProjectError for an unknown one."""
    if name not in FAMILIES:
        raise ProjectError(f"{PARAMS}: tune.families names {name!r}; there are {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def build_pipeline(
    family: str, settings: Settings, features: list[FeatureRecord], *, seed: int, threads: int
) -> Pipeline:
    """An unfitted classifier over the named feature columns: imputing, scaling and encoding are fitted with it."""
    chosen = find_family(family)
    return Pipeline(
        [
            ("prepare", build_preparation(features, scale=chosen.scale, takes_missing=chosen.takes_missing)),
            ("model", chosen.build(settings, seed, threads)),
        ]
    )


def build_preparation(features: list[FeatureRecord], *, scale: bool, takes_missing: bool) -> ColumnTransformer:
    """The part before the model: a column transformer with one branch for each way that columns are treated.

    Unknown and rare levels share a column; the output has NaN only where `takes_missing` and the contract says `keep`.
    """
    branches: dict[str, tuple[Any, list[str]]] = {}
    for feature in features:
        key, steps = choose_steps(feature, scale=scale, takes_missing=takes_missing)
        branches.setdefault(key, (make_pipeline(*steps), []))[1].append(feature["name"])
    return ColumnTransformer(
        [(key, steps, names) for key, (steps, names) in branches.items()], verbose_feature_names_out=False
    )


def choose_steps(feature: FeatureRecord, *, scale: bool, takes_missing: bool) -> tuple[str, list[Any]]:
    """How one feature is treated: the branch's name and its steps."""
    if feature["kind"] == "categorical":
        levels = FunctionTransformer(to_levels, feature_names_out="one-to-one")
        fill = SimpleImputer(strategy="most_frequent", keep_empty_features=True)
        encode = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20, sparse_output=False)
        if feature["missing"] == "impute":
            return "categorical_imputed", [levels, fill, encode]
        return "categorical", [levels, encode]
    name, steps = feature["kind"], []
    if feature["outliers"] == "clip":
        name, steps = name + "_clipped", [FenceClipper()]
    if feature["missing"] == "keep" and takes_missing:
        return name + "_kept", [*steps, FunctionTransformer(feature_names_out="one-to-one")]
    strategy = "median" if feature["kind"] == "numeric" else "most_frequent"
    indicator = feature["missing"] == "category"
    steps.append(SimpleImputer(strategy=strategy, add_indicator=indicator, keep_empty_features=True))
    if scale and feature["kind"] == "numeric":
        steps.append(StandardScaler())
    return name + ("_marked" if indicator else ""), steps


def to_levels(frame: pd.DataFrame) -> pd.DataFrame:
    """Categorical columns as objects with NaN where absent, however the table that they came from says so."""
    return frame.astype(object).where(frame.notna(), np.nan)


def make_folds(strategy: str, folds: int, seed: int) -> BaseCrossValidator:
    """The cross-validation that goes with the split: stratified, forward in time, or whole groups."""
    if strategy == "time":
        return TimeSeriesSplit(folds)
    if strategy == "group":
        return StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return StratifiedKFold(folds, shuffle=True, random_state=seed)


def split_folds(
    table: pd.DataFrame, declaration: dict[str, Any], folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Row positions (fit, judge) of each fold of a feature table, by the split that its declaration names.

    Raises ProjectError when a class has fewer rows than there are folds.
    """
    strategy, target = declaration["split"]["strategy"], table[declaration["target"]]
    if target.value_counts().min() < folds:
        raise ProjectError(
            f"column {declaration['target']!r} has fewer than {folds} training rows of one class: lower `folds`."
        )
    order = np.arange(len(table))
    if strategy == "time":
        order = table[declaration["time"]].argsort(kind="stable").to_numpy()
    groups = table[declaration["id"][0]] if strategy == "group" else None
    return [
        (order[fit], order[judge])
        for fit, judge in make_folds(strategy, folds, seed).split(np.zeros(len(table)), target.iloc[order], groups)
    ]
