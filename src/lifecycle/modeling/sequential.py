"""Tests that are repeated: p-values that hold at any number of looks, and a level that is spent over looks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lifecycle.modeling.intervals import Estimate

Array = np.ndarray[Any, Any]

_TUNED = 1_000  # cases at which the sequence is about as narrow as it can be at a level of 0.01
_TUNED_LEVEL = 0.01


def compare_always(first: Array, second: Array, entities: Array | None = None) -> Estimate:
    """Return the mean of paired differences, first less second, and a two-sided p-value that holds at any number of looks.

    It is the inverse of an asymptotic confidence sequence (Waudby-Smith et al. 2024, Annals of Statistics 52, Theorem 2.2): with
    data that only grow, the chance that p is ever below a level is at most the level. entities: the entity of each row, whose
    rows count as one case.
    """
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    value = float(difference.mean())
    if entities is not None:
        difference = np.bincount(np.unique(entities, return_inverse=True)[1], difference).astype(np.float64)
    cases, mean, deviation = len(difference), float(difference.mean()), float(difference.std())
    if deviation == 0:
        return {"value": value, "p": 1.0 if abs(mean) < 1e-12 else 0.0}
    spread = (
        -2 * math.log(_TUNED_LEVEL) + math.log(-2 * math.log(_TUNED_LEVEL)) + 1
    ) / _TUNED  # the paper's rho, squared
    shrunk = cases * spread / (cases * spread + 1)
    log_p = 0.5 * math.log(cases * spread + 1) - cases * (mean / deviation) ** 2 / 2 * shrunk
    return {"value": value, "p": math.exp(min(0.0, log_p))}


def spend_level(level: float, look: int) -> float:
    """Return the part of a level for a look, from 1: 6 / (pi look)^2 of it, which over all looks adds up to the level.

    So the chance that any of them is wrong is at most the level, however many there are (Bonferroni).
    """
    return level * 6 / (math.pi * look) ** 2
