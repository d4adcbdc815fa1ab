"""Encode categories: each as a column, each as a code, or a column of many categories as one number (target encoding).

A one-hot column for each of thousands of categories makes a wide, slow model that hardly learns from the rare ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

from lifecycle.core.contract import ENCODED_CATEGORIES, ONE_HOT_CATEGORIES
from lifecycle.modeling.entities import find_entities

Array = np.ndarray[Any, Any]

MISSING, OTHER = -1, -2  # the numbers of a missing and of any other category
_FOLDS = 5  # of the cross-fitting
_RARE_ROWS, _RARE_SHARE = 20, 0.01  # a category with fewer rows, and than this share of them, is rare
_ABSENT = ""  # stands for a missing category where it is one of the categories; no category is blank
_SMOOTH = 10.0  # rows at which a category's own share and that of all rows weigh the same


class LevelEncoder(OneHotEncoder):  # type: ignore[misc]
    """One-hot encoding in which rare categories share a column: those of fewer than 20 rows, or than 1 % of a small table's rows."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the categories of X, shape (rows, columns), and which of them are rare."""
        self.min_frequency = _count_rare(len(X))
        super().fit(X, y)
        return self


class LevelCoder(OrdinalEncoder):  # type: ignore[misc]
    """Codes of categories from 0, for models that split a column by sets of categories.

    A missing category has a code of its own, and rare ones, as in `LevelEncoder`, share the last. A category that was not in the
    rows it was fitted on counts as a rare one, or as the most common one where none was rare: for codes that they never saw, a
    library and the server may give different answers.
    """

    def __init__(self) -> None:
        super().__init__(handle_unknown="use_encoded_value", unknown_value=np.nan)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the categories of X, shape (rows, columns), which of them are rare, and the code of any other category."""
        self._fit_codes(X)
        return self

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Array:
        """Fit as `fit` does and return the codes of X."""
        return self._fit_codes(X)

    def _fit_codes(self, X: Any) -> Array:
        """Fit on X and return its codes; none of them is of another category."""
        self.min_frequency = _count_rare(len(X))
        named = _name_missing(X)
        super().fit(named)
        codes = np.asarray(super().transform(named), dtype="float64")
        self.others_ = np.array(
            [
                np.bincount(column).argmax() if rare is None else column.max()
                for column, rare in zip(codes.T.astype(np.int64), self.infrequent_categories_, strict=True)
            ],
            dtype="float64",
        )
        return codes

    def transform(self, X: Any) -> Array:
        """Return the codes of X, float64 of its shape."""
        codes = np.asarray(super().transform(_name_missing(X)), dtype="float64")
        return np.where(np.isnan(codes), self.others_, codes)

    def list_codes(self) -> list[tuple[dict[Any, float], float]]:
        """Return the codes of the frequent categories of each column, and the code of a missing one."""
        found = []
        for known, rare, other in zip(self.categories_, self.infrequent_categories_, self.others_, strict=True):
            frequent = [category for category in known if rare is None or category not in set(rare)]
            codes = {category: float(code) for code, category in enumerate(frequent)}
            found.append((codes, codes.pop(_ABSENT, float(other))))
        return found


def _name_missing(X: Any) -> pd.DataFrame:
    """Return a table of categories in which a missing one is a category."""
    frame = pd.DataFrame(X)
    return frame.where(frame.notna(), _ABSENT)


def _count_rare(rows: int) -> int:
    """Return the number of rows below which a category is rare."""
    return int(np.clip(np.ceil(_RARE_SHARE * rows), 1, _RARE_ROWS))


class CategoryNumbers(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Number the most common categories of each column from 0, MISSING and OTHER being numbers of their own.

    With `impute` a missing category gets the number of the most common one. `most` bounds what a served model holds: rarer
    categories count as OTHER, together with those that occur later for the first time.
    """

    def __init__(self, *, impute: bool = False, most: int = ENCODED_CATEGORIES) -> None:
        self.impute = impute
        self.most = most

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Find the most common categories of each column of X, shape (rows, columns); of equally common ones the first by name."""
        self.categories_ = []
        for name in X:
            counts = X[name].value_counts()
            order = sorted(counts.index, key=lambda category, counts=counts: (-counts[category], str(category)))  # type: ignore[misc]
            self.categories_.append(order[: self.most])
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return the number of each category, int64, with the index of X."""
        numbers = {}
        for name, categories in zip(X, self.categories_, strict=True):
            places = pd.Index(categories, dtype=object).get_indexer(pd.Index(X[name].astype(object)))
            numbers[name] = np.where(
                X[name].isna(), self._number_missing(categories), np.where(places < 0, OTHER, places)
            )
        return pd.DataFrame(numbers, index=X.index, dtype="int64")

    def list_numbers(self, names: list[str]) -> pd.DataFrame:
        """Return a table of the numbers of each column's categories, and in the last two rows of a missing and of another one."""
        longest = range(max(map(len, self.categories_)))
        return pd.DataFrame(
            {
                name: [*longest, self._number_missing(categories), OTHER]
                for name, categories in zip(names, self.categories_, strict=True)
            }
        )

    def _number_missing(self, categories: list[Any]) -> int:
        """Return the number of a missing category."""
        return 0 if self.impute and categories else MISSING

    def get_feature_names_out(self, names: Any = None) -> Any:
        """Return the names of the input."""
        return names


class EntityFolds:
    """Folds with about the same share of positives each, in which rows with the same index label, an entity, stay together."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds."""
        return _FOLDS

    def split(self, X: pd.DataFrame, y: Any, groups: Any = None) -> Iterator[tuple[Array, Array]]:
        """Yield the positions of the rows outside and inside each fold; entities are dealt out in the order of their shares."""
        rows, entities = pd.factorize(X.index)
        shares = np.bincount(rows, weights=np.asarray(y, dtype="float64")) / np.bincount(rows)
        shuffled = np.random.default_rng(self.seed).permutation(len(entities))
        order = shuffled[np.argsort(shares[shuffled], kind="stable")]
        folds = np.empty(len(entities), dtype=np.int64)
        folds[order] = np.arange(len(entities)) % _FOLDS
        for fold in np.unique(folds):
            inside = folds[rows] == fold
            yield np.flatnonzero(~inside), np.flatnonzero(inside)


def select_features(table: pd.DataFrame, declaration: Mapping[str, Any]) -> pd.DataFrame:
    """Return the features of a table; where an id repeats the index is each row's entity, which `EntityFolds` keeps together."""
    X = table[[feature["name"] for feature in declaration["features"]]]
    entities = find_entities(table, declaration)
    return X if entities is None else X.set_axis(entities)


def select_by_size(names: list[str], *, many: bool) -> partial[list[str]]:
    """Return a function that chooses, from the rows it is fitted on, those of the columns that have many categories, or few."""
    return partial(_choose_columns, names=names, many=many)


def _choose_columns(frame: pd.DataFrame, *, names: list[str], many: bool) -> list[str]:
    """Return the columns with more than ONE_HOT_CATEGORIES categories, or the others."""
    return [name for name in names if (frame[name].nunique() > ONE_HOT_CATEGORIES) is many]


def build_target_encoding(*, impute: bool, scale: bool, seed: int) -> Pipeline:
    """Return the steps that make a number of each category: its share of positives, shrunk towards that of all rows.

    Micci-Barreca 2001 (SIGKDD Explorations 3). With n rows the category's own share weighs n / (n + 10). Training rows get
    the shares of the other folds (cross-fitting), so that no row's own label is in its features.
    """
    encode = TargetEncoder(target_type="binary", smooth=_SMOOTH, cv=EntityFolds(seed))
    return make_pipeline(CategoryNumbers(impute=impute), encode, *([StandardScaler()] if scale else []))
