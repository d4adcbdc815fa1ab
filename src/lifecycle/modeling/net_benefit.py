"""Decision curves: what a model's decisions are worth at each threshold, next to acting on every row and on none."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lifecycle.core.records import Record
from lifecycle.modeling.bootstrap import draw_tallies
from lifecycle.modeling.intervals import bound_draws, count_cases, estimate_draws
from lifecycle.modeling.metrics import Array, Tally, tally_scores

_THRESHOLDS = np.arange(1, 100) / 100


def trace_net_benefit(
    target: Array, probability: Array, threshold: float, replicates: int, seed: int, entities: Array | None = None
) -> tuple[pd.DataFrame, Record]:
    """Return the decision curve, and its values at the model's own threshold.

    The net benefit at a threshold t is the share of rows that are true positives, less the share that are false positives
    times the odds t / (1 - t), which is what a false positive costs in true positives if it pays to act from t on (Vickers
    & Elkin 2006, Medical Decision Making 26). Acting on no row is worth 0. target is 0 or 1, probability within 0 and 1,
    both of shape (rows,); entities: the entity of each row, where rows of one are not independent.

    The curve has a row for each of 99 thresholds: threshold, model with low and high (a pointwise 95% interval from a
    bootstrap), and everyone. The record has threshold, and estimates of model, everyone and over_everyone, their
    difference on the same rows. Raises ValueError when the target lacks a class.
    """
    grid, cases = np.append(_THRESHOLDS, threshold), count_cases(target, entities)
    model, everyone = _measure(tally_scores(target, probability), grid)
    parts = [_measure(tally, grid) for tally in draw_tallies(target, probability, replicates, seed, entities)]
    models, all_rows = (np.concatenate(part) for part in zip(*parts, strict=True))
    low, high = bound_draws(model, models, cases)
    curve = pd.DataFrame({"threshold": grid, "model": model, "low": low, "high": high, "everyone": everyone})
    return curve.iloc[:-1], {
        "threshold": threshold,
        "model": estimate_draws(model[-1], models[:, -1], cases),
        "everyone": estimate_draws(everyone[-1], all_rows[:, -1], cases),
        "over_everyone": estimate_draws(model[-1] - everyone[-1], models[:, -1] - all_rows[:, -1], cases),
    }


def _measure(tally: Tally, grid: Array) -> tuple[Array, Array]:
    """Return the net benefit of the model and of acting on every row, of the counts' leading axes and (thresholds,)."""
    first = np.searchsorted(tally.score, grid, side="left")
    odds = grid / (1 - grid)

    def count_from(counts: Array) -> Array:
        ahead = np.concatenate([np.zeros((*counts.shape[:-1], 1)), np.cumsum(counts, axis=-1)], axis=-1)
        return np.asarray(ahead[..., -1:] - ahead[..., first])

    positives, negatives = (counts.sum(-1, keepdims=True) for counts in (tally.positives, tally.negatives))
    rows = positives + negatives
    model = (count_from(tally.positives) - count_from(tally.negatives) * odds) / rows
    return model, (positives - negatives * odds) / rows
