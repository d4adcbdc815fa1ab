"""The columns that a model's features are computed from: changing one changes the features derived from it.

A feature table contains derived features and their sources. An explanation that changes a column must change both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.expressions import parse_expression
from lifecycle.core.tables import set_columns

Array = np.ndarray[Any, Any]
_FeatureRecord = dict[str, Any]


@dataclass(frozen=True)
class Inputs:
    """The columns of a feature table that may be changed freely, and the features that are recomputed from them.

    names: the columns, in the table's order. derived: records of the recomputed features. sources: the record of each
    column that is itself a feature (a time column is not).
    """

    names: list[str]
    derived: list[_FeatureRecord]
    sources: dict[str, _FeatureRecord]

    def complete(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return `frame`, which has the columns `names`, with the derived features added."""
        arrays = {
            name: _restore_values(frame[name], self.sources.get(name))
            for name in dict.fromkeys(name for feature in self.derived for name in feature["columns"])
        }
        computed = {
            feature["name"]: parse_expression(feature["expression"], feature["name"]).evaluate(arrays)
            for feature in self.derived
        }
        return set_columns(frame, computed) if computed else frame

    def wrap(self, predict: Callable[[pd.DataFrame], Array]) -> Callable[[pd.DataFrame], Array]:
        """Return the model's `predict` as a function of the columns `names` only."""
        return lambda frame: predict(self.complete(frame))


def select_raw_rows(valid: pd.DataFrame, split: pd.DataFrame, *, held_out: bool) -> pd.DataFrame:
    """Return the validated rows of one part of the split: the requests that a client would send for that part."""
    chosen = split["held_out"] if held_out else ~(split["held_out"] | split["left_out"])
    return valid[chosen.to_numpy()].reset_index(drop=True)


def find_inputs(table: pd.DataFrame, features: list[_FeatureRecord], used: list[str]) -> Inputs:
    """Find the columns of a feature table that the features `used` by a model are computed from.

    A derived feature that cannot be recomputed from the table's columns (one that reads text, for example) counts as a
    column of its own; every derived feature is recomputed and compared to find out.
    """
    known = {feature["name"]: feature for feature in features}
    sources = {name: feature for name, feature in known.items() if feature["source"] == "column"}
    derived = [
        known[name]
        for name in used
        if known[name]["expression"] is not None and _can_recompute(table, known[name], sources)
    ]
    wanted = {name for name in used if name not in {feature["name"] for feature in derived}}
    wanted |= {name for feature in derived for name in feature["columns"]}
    return Inputs([name for name in table.columns if name in wanted], derived, sources)


def _can_recompute(table: pd.DataFrame, feature: _FeatureRecord, sources: dict[str, _FeatureRecord]) -> bool:
    """Return whether the derived feature's values can be recomputed from the table's columns."""
    if any(name not in table.columns for name in feature["columns"]):
        return False
    again = Inputs(feature["columns"], [feature], sources).complete(table[feature["columns"]])[feature["name"]]
    return bool(np.allclose(again.to_numpy(), table[feature["name"]].to_numpy(np.float64), rtol=1e-9, equal_nan=True))


def to_array(column: pd.Series) -> Array:
    """Convert a column to numpy: float64, datetime64 (UTC), or objects with None for missing values."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    if column.dtype.kind == "M":
        return column.to_numpy()
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype="float64", na_value=np.nan)
    return np.asarray(column.astype(object).where(column.notna(), None).to_numpy())


def _restore_values(column: pd.Series, feature: _FeatureRecord | None) -> Array:
    """Convert a column of the feature table to the values that an expression reads: a boolean's 0 and 1 to its names."""
    if feature is not None and feature["kind"] == "boolean" and feature.get("values"):
        numeric = all(isinstance(value, bool | int | float) for value in feature["values"])
        words = np.array([*feature["values"], np.nan if numeric else None], dtype="float64" if numeric else object)
        codes = column.to_numpy(np.float64, na_value=np.nan)
        return np.asarray(words[np.where(np.isnan(codes), len(words) - 1, np.nan_to_num(codes)).astype(np.int64)])
    return to_array(column)
