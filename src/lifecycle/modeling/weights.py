"""Sample weights: how much each training row counts in fitting a model, from the contract's column with role weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import CONTRACT

Array = np.ndarray[Any, Any]


def read_weights(table: pd.DataFrame, declaration: Mapping[str, Any]) -> Array | None:
    """Return the weight of each row of a feature table, float64 (rows,), scaled to a mean of 1; None without such a column.

    With the mean of 1, regularisation and least rows of a leaf mean what they mean without weights. Raises ProjectError for
    a missing, negative or infinite weight, which validation leaves no row with, and when all of a class are zero.
    """
    name = declaration.get("weight")
    if name is None:
        return None
    weights = table[name].to_numpy(dtype="float64", na_value=np.nan)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ProjectError(
            f"column {name!r} has weights that are missing, infinite or below 0: validate the table again."
        )
    target = table[declaration["target"]].to_numpy()
    if any(weights[target == label].sum() == 0 for label in np.unique(target)):
        raise ProjectError(
            f"column {name!r} is 0 in every training row of a class: give it another role in {CONTRACT}."
        )
    return np.asarray(weights / weights.mean())


def take_weights(weights: Array | None, rows: Any) -> Array | None:
    """Return the weights of some rows, given as positions; None without weights."""
    return None if weights is None else weights[rows]


def fit_weighted(model: Any, X: Any, y: Array, weights: Array | None, **options: Any) -> Any:
    """Fit a model, or the last step of a pipeline, with a weight for each row; without weights if they are None.

    The steps before it, such as imputation and target encoding, count each row once. options: further arguments of `fit`.
    """
    if weights is None:
        return model.fit(X, y, **options)
    prefix, step = "", model
    while isinstance(step, Pipeline):
        name, step = step.steps[-1]
        prefix += f"{name}__"
    return model.fit(X, y, **{f"{prefix}sample_weight": weights}, **options)
