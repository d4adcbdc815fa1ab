"""Fit scikit-learn pipelines to declared features: the preparation of the columns, and a model of any family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from lifecycle.modeling.encoders import LevelCoder, LevelEncoder, build_target_encoding, select_by_size
from lifecycle.modeling.families import (
    SplineAppender,  # noqa: F401 - a model saved by an earlier version has it here
    find_family,
)
from lifecycle.modeling.family import Hyperparameters, Preparation, TrainingMatrix
from lifecycle.modeling.texts import TermEncoder

Array = np.ndarray[Any, Any]
FeatureRecord = dict[str, Any]

_CODED = ("categorical_coded", "categorical_coded_imputed")  # the branches of categories that become codes


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


@dataclass(frozen=True)
class Recipe:
    """How a pipeline is fitted: the family, its hyperparameters, the seed, and the number of threads."""

    family: str
    hyperparameters: Hyperparameters
    seed: int
    threads: int

    def fit(self, features: list[FeatureRecord], X: pd.DataFrame, y: Any, weights: Array | None = None) -> Pipeline:
        """Return a pipeline over the feature columns, fitted to X, shape (rows, features), and y, 0 or 1."""
        return fit_pipeline(
            self.family, self.hyperparameters, features, X, y, seed=self.seed, threads=self.threads, weights=weights
        )


def fit_pipeline(
    family: str,
    hyperparameters: Hyperparameters,
    features: list[FeatureRecord],
    X: pd.DataFrame,
    y: Any,
    *,
    seed: int,
    threads: int,
    weights: Array | None = None,
) -> Pipeline:
    """Return a fitted classifier over the feature columns, with imputation, scaling and encoding as its first step.

    X: the feature columns, shape (rows, features). y: 0 or 1, shape (rows,). weights: how much each row counts in the model,
    float64 (rows,); the steps before it count each row once. Raises ProjectError for an unknown family,
    and for one that cannot keep the directions of the features.
    """
    chosen = find_family(family)
    chosen.check_features(features)
    prepare = build_preparation(features, chosen.prepare(hyperparameters), seed)
    training = fit_preparation(prepare, features, X, y, weights)
    return Pipeline([("prepare", prepare), ("model", chosen.fit(hyperparameters, training, seed, threads))])


def build_preparation(features: list[FeatureRecord], preparation: Preparation, seed: int) -> ColumnTransformer:
    """Return the preparation before the model: a column transformer with a branch for each treatment of columns.

    Unknown and rare categories share a column; columns of many categories are target encoded and the terms
    of texts weighted; the former is why `fit_transform`
    needs the target. The output has NaN only where the family takes it and the contract says `keep`.
    """
    branches: dict[str, tuple[Any, list[str]]] = {}
    for feature in features:
        key, steps = _choose_steps(feature, preparation)
        branches.setdefault(key, (make_pipeline(*steps), []))[1].append(feature["name"])
    transformers: list[tuple[str, Any, Any]] = []
    for key, (steps, names) in branches.items():
        if key.startswith("categorical"):
            encode = build_target_encoding(impute=key.endswith("_imputed"), scale=preparation.scale, seed=seed)
            transformers.append((key, steps, select_by_size(names, many=False)))
            transformers.append((key + "_by_target", encode, select_by_size(names, many=True)))
        else:
            transformers.append((key, steps, names))
    return ColumnTransformer(transformers, verbose_feature_names_out=False)


def fit_preparation(
    prepare: ColumnTransformer, features: list[FeatureRecord], X: pd.DataFrame, y: Any, weights: Array | None
) -> TrainingMatrix:
    """Fit the preparation to the rows X, shape (rows, features), and return what a family is fitted to."""
    matrix = prepare.fit_transform(X, y)
    directions = _place_directions(prepare, features, matrix.shape[1])
    places = {branch: tuple(range(place.start, place.stop)) for branch, place in prepare.output_indices_.items()}
    texts = sum((places[branch] for branch in places if branch.startswith("text_")), ())
    codes = sum((places[branch] for branch in places if branch in _CODED), ())
    return TrainingMatrix(matrix, np.asarray(y), weights, directions, texts, codes)


def _place_directions(prepare: ColumnTransformer, features: list[FeatureRecord], width: int) -> tuple[int, ...]:
    """Return the direction of each column of the prepared matrix; empty where no feature has one.

    Only numbers and booleans have directions; they come first in their branch, in order, before its missing indicators.
    """
    declared = {feature["name"]: feature["monotone"] for feature in features if feature.get("monotone")}
    if not declared:
        return ()
    directions = [0] * width
    for branch, _, names in prepare.transformers_:
        for place, name in enumerate(names, prepare.output_indices_[branch].start):
            if name in declared:
                directions[place] = 1 if declared[name] == "increasing" else -1
    return tuple(directions)


def _choose_steps(feature: FeatureRecord, preparation: Preparation) -> tuple[str, list[Any]]:
    """Return the treatment of one feature: the branch's name and its steps."""
    if feature["kind"] == "categorical":
        convert = FunctionTransformer(to_levels, feature_names_out="one-to-one")
        fill = SimpleImputer(strategy="most_frequent", keep_empty_features=True)
        one_hot = LevelEncoder(handle_unknown="infrequent_if_exist", sparse_output=False)
        name, encode = ("categorical_coded", LevelCoder()) if preparation.codes else ("categorical", one_hot)
        if feature["missing"] == "impute":
            return f"{name}_imputed", [convert, fill, encode]
        return name, [convert, encode]
    if feature["kind"] == "text":
        return f"text_{feature['terms']}", [TermEncoder(feature["terms"])]
    name, steps = feature["kind"], []
    if feature["outliers"] == "clip":
        name, steps = name + "_clipped", [FenceClipper()]
    if feature["missing"] == "keep" and preparation.takes_missing:
        return name + "_kept", [*steps, FunctionTransformer(feature_names_out="one-to-one")]
    strategy = "median" if feature["kind"] == "numeric" else "most_frequent"
    indicator = feature["missing"] == "category"
    steps.append(SimpleImputer(strategy=strategy, add_indicator=indicator, keep_empty_features=True))
    if preparation.scale and feature["kind"] == "numeric":
        steps.append(StandardScaler())
    return name + ("_marked" if indicator else ""), steps


def to_levels(frame: pd.DataFrame) -> pd.DataFrame:
    """Return categorical columns as objects, with NaN for every kind of missing value."""
    return frame.astype(object).where(frame.notna(), np.nan)
