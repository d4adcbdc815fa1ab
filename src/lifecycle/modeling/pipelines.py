"""Build scikit-learn pipelines from declared features, for each family of models."""

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
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer, StandardScaler

from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import PARAMS
from lifecycle.modeling.encoders import build_target_encoding, select_by_size

FeatureRecord = dict[str, Any]
Hyperparameters = dict[str, Any]

_RARE_ROWS, _RARE_SHARE = 20, 0.01  # a category with fewer rows, and than this share of them, is rare


class FenceClipper(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Clip each column to Tukey's outer fences, Q1 - 3 IQR and Q3 + 3 IQR, of the rows it was fitted on.

    A column with equal quartiles, such as one that is zero in most rows, has no fences: every value but the most common one
    would lie outside (`validation.outliers` has the same rule).
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Compute the fences of X, shape (rows, columns), without NaN."""
        first, third = np.nanquantile(np.asarray(X, dtype="float64"), [0.25, 0.75], axis=0)
        reach = np.where(third > first, 3 * (third - first), np.inf)
        self.low_, self.high_ = first - reach, third + reach
        self.n_features_in_ = np.shape(X)[1]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return X clipped to the fences; NaN stays."""
        return np.asarray(np.clip(np.asarray(X, dtype="float64"), self.low_, self.high_))

    def get_feature_names_out(self, names: Any = None) -> Any:
        """Return the names of the input."""
        return names


class LevelEncoder(OneHotEncoder):  # type: ignore[misc]
    """One-hot encoding in which rare categories share a column: those of fewer than 20 rows, or than 1 % of a small table's rows."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the categories of X, shape (rows, columns), and which of them are rare."""
        self.min_frequency = int(np.clip(np.ceil(_RARE_SHARE * len(X)), 1, _RARE_ROWS))
        super().fit(X, y)
        return self


class SplineAppender(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Append a cubic B-spline basis (de Boor 1978) of the columns with many values.

    Knots are at quantiles of the rows it was fitted on; beyond the outer knots the basis stays constant.
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
        """Return X with the columns of the bases appended."""
        X = np.asarray(X, dtype="float64")
        return np.hstack([X, *(b.transform(X[:, [c]]) for c, b in zip(self.columns_, self.bases_, strict=True))])


@dataclass(frozen=True)
class Family:
    """A family of models: how it is built from hyperparameters, and how its features are prepared."""

    build: Callable[[Hyperparameters, int, int], Any]  # hyperparameters, seed, threads
    scale: bool  # numbers standardised
    takes_missing: bool  # NaN may reach the model where the contract says `keep`


def _build_logistic(hyperparameters: Hyperparameters, seed: int, threads: int) -> Any:
    """Build a logistic regression with an L2 penalty; with `knots` above 0 it also has a cubic spline of each number."""
    hyperparameters = dict(hyperparameters)
    knots = hyperparameters.pop("knots", 0)
    model = LogisticRegression(max_iter=1000, **hyperparameters)
    return make_pipeline(SplineAppender(knots), model) if knots else model


def _build_forest(hyperparameters: Hyperparameters, seed: int, threads: int) -> Any:
    """Build a random forest that predicts on one thread.

    scikit-learn adds up the trees in the order in which threads finish, which changes the last bits.
    """
    return RandomForestClassifier(random_state=seed, n_jobs=1, **hyperparameters)


def _build_hist_boosting(hyperparameters: Hyperparameters, seed: int, threads: int) -> Any:
    """Build histogram gradient boosting."""
    return HistGradientBoostingClassifier(random_state=seed, early_stopping=False, **hyperparameters)


FAMILIES: dict[str, Family] = {
    "logistic": Family(_build_logistic, scale=True, takes_missing=False),
    "forest": Family(_build_forest, scale=False, takes_missing=False),
    "hist_boosting": Family(_build_hist_boosting, scale=False, takes_missing=True),
}


@dataclass(frozen=True)
class Recipe:
    """How a pipeline is built: the family, its hyperparameters, the seed, and the number of threads."""

    family: str
    hyperparameters: Hyperparameters
    seed: int
    threads: int

    def build(self, features: list[FeatureRecord]) -> Pipeline:
        """Return an unfitted pipeline over the feature columns."""
        return build_pipeline(self.family, self.hyperparameters, features, seed=self.seed, threads=self.threads)


def find_family(name: str) -> Family:
    """Return a family by its name; raise ProjectError for an unknown one."""
    if name not in FAMILIES:
        raise ProjectError(f"{PARAMS}: tune.families names {name!r}; there are {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def build_pipeline(
    family: str, hyperparameters: Hyperparameters, features: list[FeatureRecord], *, seed: int, threads: int
) -> Pipeline:
    """Return an unfitted classifier over the feature columns, with imputation, scaling and encoding as its steps."""
    chosen = find_family(family)
    return Pipeline(
        [
            ("prepare", build_preparation(features, scale=chosen.scale, takes_missing=chosen.takes_missing, seed=seed)),
            ("model", chosen.build(hyperparameters, seed, threads)),
        ]
    )


def build_preparation(
    features: list[FeatureRecord], *, scale: bool, takes_missing: bool, seed: int
) -> ColumnTransformer:
    """Return the preparation before the model: a column transformer with a branch for each treatment of columns.

    Unknown and rare categories share a column; columns of many categories are target encoded, for which `fit_transform`
    needs the target. The output has NaN only where `takes_missing` and the contract says `keep`.
    """
    branches: dict[str, tuple[Any, list[str]]] = {}
    for feature in features:
        key, steps = _choose_steps(feature, scale=scale, takes_missing=takes_missing)
        branches.setdefault(key, (make_pipeline(*steps), []))[1].append(feature["name"])
    transformers: list[tuple[str, Any, Any]] = []
    for key, (steps, names) in branches.items():
        if key.startswith("categorical"):
            encode = build_target_encoding(impute=key == "categorical_imputed", scale=scale, seed=seed)
            transformers.append((key, steps, select_by_size(names, many=False)))
            transformers.append((key + "_by_target", encode, select_by_size(names, many=True)))
        else:
            transformers.append((key, steps, names))
    return ColumnTransformer(transformers, verbose_feature_names_out=False)


def _choose_steps(feature: FeatureRecord, *, scale: bool, takes_missing: bool) -> tuple[str, list[Any]]:
    """Return the treatment of one feature: the branch's name and its steps."""
    if feature["kind"] == "categorical":
        convert = FunctionTransformer(to_levels, feature_names_out="one-to-one")
        fill = SimpleImputer(strategy="most_frequent", keep_empty_features=True)
        encode = LevelEncoder(handle_unknown="infrequent_if_exist", sparse_output=False)
        if feature["missing"] == "impute":
            return "categorical_imputed", [convert, fill, encode]
        return "categorical", [convert, encode]
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
    """Return categorical columns as objects, with NaN for every kind of missing value."""
    return frame.astype(object).where(frame.notna(), np.nan)
