"""Distances between two histograms with the same bins."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import chdtri

_Array = np.ndarray[Any, Any]
_CHANCE = 0.001  # share of comparisons of like samples in which chance goes as far
_PSEUDO = 0.5  # added to each count, so that an empty bin leaves the index finite (Jeffreys' prior)


def measure_psi(expected: _Array, actual: _Array) -> float:
    """The population stability index of two arrays of counts in the same bins, shape (bins,): 0 when alike, never less.

    The sum of (a - e) ln(a / e) over the bins' shares, which is Jeffreys' divergence (1946); Siddiqi (2006, Credit Risk
    Scorecards) holds 0.1 for a slight and 0.25 for a plain shift. Half a row is added to every bin that either has, so
    that an empty one does not make it infinite. NaN where either has no rows.
    """
    used = (expected > 0) | (actual > 0)
    if not expected.sum() or not actual.sum():
        return float("nan")
    e, a = expected[used] + _PSEUDO, actual[used] + _PSEUDO
    e, a = e / e.sum(), a / a.sum()
    return max(0.0, float(np.sum((a - e) * np.log(a / e))))


def bound_psi(expected: _Array, actual: _Array) -> float:
    """What the index reaches by chance in 1 of 1000 pairs of samples that are alike, of these sizes and bins.

    (1/n + 1/m) times a chi-squared of bins - 1 degrees of freedom (Yurdakul & Naranjo 2020, J. Risk Model Valid. 14).
    """
    bins = int(((expected > 0) | (actual > 0)).sum())
    if bins < 2 or not expected.sum() or not actual.sum():
        return 0.0
    return float(chdtri(bins - 1, _CHANCE) * (1 / expected.sum() + 1 / actual.sum()))
