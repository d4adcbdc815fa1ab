"""Slices: the groups of rows that the values of a column make, with names for a report."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from lifecycle.modeling.metrics import Array
from lifecycle.modeling.pipelines import FeatureRecord

_OTHER = "(other)"


def name_categories(column: pd.Series, feature: FeatureRecord) -> pd.Series:
    """Return a column's values as names, for numbers as an ordered categorical; missing values are "(missing)"."""
    if feature["kind"] == "boolean":
        words = {float(code): str(value) for code, value in enumerate(feature.get("values") or ["no", "yes"])}
        return column.map(words).astype(object).where(column.notna(), "(missing)").astype(str)
    if feature["kind"] == "categorical":
        return column.astype(object).where(column.notna(), "(missing)").astype(str)
    values = np.unique(column.dropna())
    names = _name_numbers(values)
    places = np.searchsorted(values, column.to_numpy(np.float64, na_value=np.nan))
    return _name_ordered(np.where(column.isna(), len(names), places), [*names, "(missing)"], column.index)


def _name_numbers(values: Array) -> list[str]:
    """Format distinct numbers with few digits, or with all digits when two would look the same."""
    names = [f"{value:g}" for value in values]
    return names if len(set(names)) == len(names) else [repr(float(value)) for value in values]


def _name_ordered(codes: Array, names: list[str], index: pd.Index) -> pd.Series:
    """Return the names of codes as a categorical in the order of `names`."""
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(names)), index=index)


def band_numbers(column: pd.Series, train: pd.Series) -> pd.Series:
    """Cut a numeric column into four bands at the training part's quartiles, as an ordered categorical."""
    edges = np.unique(train.dropna().quantile([0.25, 0.5, 0.75]).dropna())
    marks = _name_numbers(edges)
    names = (
        [f"up to {marks[0]}", *(f"{a} to {b}" for a, b in pairwise(marks)), f"above {marks[-1]}"] if marks else ["any"]
    )
    codes = np.searchsorted(edges, column.to_numpy(np.float64), side="left")
    return _name_ordered(np.where(column.isna(), len(names), codes), [*names, "(missing)"], column.index)


def sort_categories(categories: pd.Series) -> list[str]:
    """Return the categories that occur, in the order of an ordered categorical, else by name."""
    return [str(category) for category in pd.factorize(categories, sort=True)[1]]


def slice_columns(
    frame: pd.DataFrame, train: pd.DataFrame, features: Sequence[FeatureRecord], most: int = 10
) -> dict[str, pd.Series]:
    """Return the slices of each column of a feature table that has at least two of them, derived features and texts apart.

    Numbers with more than `most` values in the training part are cut at its quartiles, and of so many categories all but its
    most frequent are "(other)", so that both parts have the same slices.
    """
    slices: dict[str, pd.Series] = {}
    for feature in features:
        if feature["source"] != "column" or feature["kind"] == "text":
            continue
        name = str(feature["name"])
        column, known = frame[name], train[name]
        many = known.nunique() > most
        if many and feature["kind"] == "numeric":
            categories = band_numbers(column, known)
        else:
            categories = name_categories(column, feature)
            if many:
                counts = name_categories(known, feature).value_counts().sort_index(kind="stable")
                frequent = counts.sort_values(ascending=False, kind="stable").index[: most - 1]
                categories = categories.where(categories.isin(frequent), _OTHER)
        if len(categories.unique()) > 1:
            slices[name] = categories
    return slices
