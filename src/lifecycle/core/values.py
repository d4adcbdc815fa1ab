"""A column's values under one name or number, in whichever dtype a table or the JSON of a request has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]

_LARGEST = 1e150  # larger numbers are cut off, so that a sum of a million squares stays finite


def to_numbers(values: pd.Series) -> Array:
    """Return a column as float64, NaN where it is not a number; extreme numbers are cut off, so that sums stay finite."""
    if not pd.api.types.is_numeric_dtype(values.dtype):
        values = pd.to_numeric(values, errors="coerce")
    array = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(array), np.clip(array, -_LARGEST, _LARGEST), array)


def name_category(category: Any) -> str:
    """Return a category's name; 1, 1.0 and True have one name, since formats differ in how they write them."""
    if isinstance(category, bool | np.bool_):
        return str(int(category))
    return str(int(category)) if isinstance(category, float) and category.is_integer() else str(category)
