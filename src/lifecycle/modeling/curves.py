"""The curves of a probability of the positive class, each thinned to what a picture can show."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lifecycle.modeling.intervals import bound_share
from lifecycle.modeling.metrics import Array, cut_mass, tally_scores


def trace_roc(target: Array, probability: Array, points: int = 1000) -> pd.DataFrame:
    """Return the ROC curve at up to `points` places: false_positive_rate and true_positive_rate, from (0, 0) to (1, 1)."""
    tally = tally_scores(target, probability)
    caught = np.concatenate([[0.0], np.cumsum(tally.positives[::-1])]) / tally.positives.sum()
    alarmed = np.concatenate([[0.0], np.cumsum(tally.negatives[::-1])]) / tally.negatives.sum()
    kept = _thin(len(caught), points)
    return pd.DataFrame({"false_positive_rate": alarmed[kept], "true_positive_rate": caught[kept]})


def trace_pr(target: Array, probability: Array, points: int = 1000) -> pd.DataFrame:
    """Return the precision-recall curve at up to `points` places: recall (ascending) and precision."""
    tally = tally_scores(target, probability)
    caught, reached = np.cumsum(tally.positives[::-1]), np.cumsum(tally.rows[::-1])
    kept = _thin(len(caught), points)
    return pd.DataFrame({"recall": (caught / tally.positives.sum())[kept], "precision": (caught / reached)[kept]})


def _thin(length: int, points: int) -> Array:
    """Return at most `points` positions of `length`, evenly spread, with both ends."""
    return np.asarray(np.unique(np.linspace(0, length - 1, min(length, points)).round()), dtype=np.int64)


def trace_gain(target: Array, probability: Array, steps: int = 20) -> pd.DataFrame:
    """Return the gain curve of predicting the most likely rows positive.

    Columns: predicted_positive (a share of the rows), gain (the share of the positives among them), lift.

    Of rows with equal scores the same share is taken, as a random choice does on average.
    """
    tally = tally_scores(target, probability)
    reached = np.concatenate([[0.0], np.cumsum(tally.rows[::-1])]) / tally.rows.sum()
    caught = np.concatenate([[0.0], np.cumsum(tally.positives[::-1])]) / tally.positives.sum()
    predicted = np.linspace(0, 1, steps + 1)[1:]
    gain = np.interp(predicted, reached, caught)
    return pd.DataFrame({"predicted_positive": predicted, "gain": gain, "lift": gain / predicted})


def trace_calibration(target: Array, probability: Array) -> pd.DataFrame:
    """Return the observed rate by mean probability in ten bins of equal size: predicted, observed, low, high, rows."""
    tally = tally_scores(target, probability)
    bin_of = cut_mass(tally)
    rows, positives = np.bincount(bin_of, weights=tally.rows), np.bincount(bin_of, weights=tally.positives)
    predicted = np.bincount(bin_of, weights=tally.rows * tally.score)
    kept = rows > 0
    rows, positives, predicted = rows[kept], positives[kept], predicted[kept]
    low, high = bound_share(positives, rows)
    return pd.DataFrame({
        "predicted": predicted / rows, "observed": positives / rows, "low": low, "high": high, "rows": rows.astype(int)
    })  # fmt: skip
