"""The test of a difference that was measured on the folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

from lifecycle.modeling.comparisons import estimate_fold_error

Array = np.ndarray[Any, Any]


def compare_folds(differences: Array, folds: Sequence[tuple[Array, Array]]) -> dict[str, float]:
    """Return the mean of the differences of two scores with its 95 % interval and two-sided p: value, low, high, p.

    folds: the rows (fit, judge) of each difference. The corrected resampled t-test (Nadeau & Bengio 2003, Machine Learning 52)
    has one degree of freedom less than there are folds. Without a spread, p is 1 for a mean of zero and otherwise 0.
    """
    mean, error, freedom = float(differences.mean()), estimate_fold_error(differences, folds), len(folds) - 1
    reach = float(stdtrit(freedom, 0.975)) * error
    p = 2 * float(stdtr(freedom, -abs(mean) / error)) if error > 0 else float(mean == 0)
    return {"value": mean, "low": mean - reach, "high": mean + reach, "p": p}
