"""Metrics of a probability of the positive class, their intervals, and paired tests of their differences.

Everything is a function of how many rows of each class stand at each score (a Tally), so that a bootstrap replicate is
a draw of counts, whose time depends on the number of distinct scores, not of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.special import ndtr, ndtri, stdtr
from scipy.stats import rankdata

from lifecycle.core.ranking import convert_rank_sum, measure_counted_roc_auc
from lifecycle.modeling.intervals import bound_estimate, count_cases, widen_reach

Array = np.ndarray[Any, Any]
Estimate = dict[str, float]  # value, low, high; and p for a test

_BINS = 10  # of the expected calibration error
LEVEL = 0.95  # of every interval
_CELLS = 5_000  # distinct scores in a bootstrap; more are joined with their neighbours in quantile groups
_FEW_ENTITIES = 300  # up to which a bootstrap is held against the jackknife
_CHUNK = 300_000  # cells of a matrix of replicates at once: 2.4 MB, which fit a processor's cache
TITLES = {  # titles in tables, in their order
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC (average precision)",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "predicted_positive": "Share predicted positive",
    "cost": "Cost per row",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "ece": "Calibration error (ten bins of equal width)",
    "ece_mass": "Calibration error (ten bins of equal size)",
}
_UNBOUNDED = ("cost", "log_loss")  # metrics that may be larger than 1
_ROUNDING = 1e-12  # a smaller difference of two losses of a row comes from the order of additions
_TINY = float(np.finfo(np.float64).eps)  # keeps the log loss of a wrong certainty finite, as scikit-learn does


@dataclass(frozen=True)
class Tally:
    """The number of rows of each class at each distinct score: three float64 arrays of shape (scores,), ascending."""

    score: Array
    positives: Array
    negatives: Array

    @property
    def rows(self) -> Array:
        """Rows at each score, shape (scores,)."""
        return self.positives + self.negatives


def tally_scores(target: Array, probability: Array) -> Tally:
    """Count both classes at each distinct probability.

    `target` is 0 or 1, `probability` within 0 and 1, both of shape (rows,). Raises ValueError otherwise, or
    when a class is absent, as a ranking cannot be measured then.
    """
    target, probability = np.asarray(target), np.asarray(probability, dtype=np.float64)
    if target.shape != probability.shape or target.ndim != 1:
        raise ValueError(f"target and probability need one shape (rows,), not {target.shape} and {probability.shape}")
    if not (np.isin(target, (0, 1)).all() and 0 in target and 1 in target):
        raise ValueError("the target needs both of its classes, as 0 and 1")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("probabilities need to be numbers from 0 to 1")
    score, place = np.unique(probability, return_inverse=True)
    positives = np.bincount(place, weights=target, minlength=len(score))
    return Tally(score, positives, np.bincount(place, minlength=len(score)) - positives)


def join_scores(tally: Tally, cells: int = _CELLS) -> Tally:
    """Return the tally with at most `cells` scores; neighbours are joined in quantile groups at their mean score."""
    if len(tally.score) <= cells:
        return tally
    rows, group = tally.rows, _group_scores(tally, cells)
    total = np.bincount(group, weights=rows)
    return Tally(
        np.bincount(group, weights=rows * tally.score) / total,
        np.bincount(group, weights=tally.positives),
        np.bincount(group, weights=tally.negatives),
    )


def _group_scores(tally: Tally, cells: int = _CELLS) -> Array:
    """Return the cell of each score: its own, or that of its quantile group where there are more than so many."""
    if len(tally.score) <= cells:
        return np.arange(len(tally.score))
    rows = tally.rows
    group = ((np.cumsum(rows) - rows / 2) * (cells / rows.sum())).astype(np.int64)
    return np.asarray(np.unique(group, return_inverse=True)[1])


def measure_tally(
    tally: Tally, threshold: float, cost: Mapping[str, float], bins: Tally | None = None
) -> dict[str, Array]:
    """Return every metric of a tally, whose counts may have leading axes (replicates), as arrays of those axes' shape.

    roc_auc: area under the ROC curve, ties half (Hanley & McNeil 1982). pr_auc: average precision, which does not
    interpolate (Davis & Goadrich 2006). brier, log_loss: means over rows. ece: expected calibration error in ten bins
    of equal width (Naeini et al. 2015); ece_mass: in ten bins of equal size, as `bins` (this tally if none) has them.
    accuracy, precision, recall, f1, predicted_positive (a share) and cost (per row) are those at the threshold. An
    undefined ratio is NaN.
    """
    positives, negatives, score = tally.positives, tally.negatives, tally.score
    total_positive, total_negative = positives.sum(-1), negatives.sum(-1)
    rows = total_positive + total_negative
    predicted = score >= threshold
    tp, fp = positives[..., predicted].sum(-1), negatives[..., predicted].sum(-1)
    fn, tn = total_positive - tp, total_negative - fp
    caught = np.cumsum(positives[..., ::-1], axis=-1)
    reached = np.cumsum((positives + negatives)[..., ::-1], axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = np.where(reached > 0, caught / reached, 0.0)
        return {
            "roc_auc": measure_counted_roc_auc(positives, negatives),
            "pr_auc": (positives[..., ::-1] * exact).sum(-1) / total_positive,
            "accuracy": (tp + tn) / rows,
            "precision": tp / (tp + fp),
            "recall": tp / total_positive,
            "f1": 2 * tp / (2 * tp + fp + fn),
            "predicted_positive": (tp + fp) / rows,
            "cost": (fp * cost["false_positive"] + fn * cost["false_negative"]) / rows,
            "brier": (positives @ (1 - score) ** 2 + negatives @ score**2) / rows,
            "log_loss": -(
                positives @ np.log(np.maximum(score, _TINY)) + negatives @ np.log(np.maximum(1 - score, _TINY))
            )
            / rows,
            "ece": _measure_ece(tally, _cut_width(score)),
            "ece_mass": _measure_ece(tally, cut_mass(bins or tally)),
        }


def _cut_width(score: Array) -> Array:
    """Return the bin (0 to 9) of each score, ten of equal width."""
    return np.minimum((score * _BINS).astype(np.int64), _BINS - 1)


def cut_mass(tally: Tally) -> Array:
    """Return the bin (0 to 9) of each score of a tally without leading axes; bins have about equal size, ties share one."""
    rows = tally.rows
    return np.asarray((np.cumsum(rows) - rows / 2) * (_BINS / rows.sum())).astype(np.int64)


def _measure_ece(tally: Tally, bin_of: Array) -> Array:
    """Return the mean over rows of |observed rate - mean probability| of the row's bin (Naeini et al. 2015, AAAI)."""
    return np.asarray(np.abs(_measure_gaps(tally, bin_of)).sum(-1))


def _measure_gaps(tally: Tally, bin_of: Array) -> Array:
    """Return the observed rate less the mean probability of each bin, times its share of the rows; shape (..., bins)."""
    member = (bin_of[:, None] == np.arange(_BINS)).astype(np.float64)
    gap = (tally.positives - tally.rows * tally.score) @ member
    return np.asarray(gap / tally.rows.sum(-1)[..., None])


def count_decisions(target: Array, probability: Array, threshold: float) -> dict[str, int]:
    """Return the confusion matrix at the threshold: tn, fp, fn, tp."""
    predicted, actual = np.asarray(probability) >= threshold, np.asarray(target) == 1
    return {
        "tn": int((~predicted & ~actual).sum()),
        "fp": int((predicted & ~actual).sum()),
        "fn": int((~predicted & actual).sum()),
        "tp": int((predicted & actual).sum()),
    }


def draw_counts(counts: Array, replicates: int, seed: int) -> Iterator[Array]:
    """Yield plain bootstrap replicates of counts (cells,): chunks of shape (some, cells), `replicates` in all.

    Drawing n rows with replacement is a multinomial draw of the counts of equal rows (Efron & Tibshirani 1993, ch. 6).
    """
    generator = np.random.default_rng(seed)
    rows = int(counts.sum())
    step = max(1, _CHUNK // max(len(counts), 1))
    for begin in range(0, replicates, step):
        size = min(step, replicates - begin)
        yield generator.multinomial(rows, counts / rows, size=size).astype(np.float64)


def draw_entities(matrix: Any, replicates: int, seed: int) -> Iterator[Array]:
    """Yield bootstrap replicates of sums over entities: chunks of shape (some, columns), `replicates` in all.

    `matrix` has a row for each entity; entities are drawn whole, with replacement (Davison & Hinkley 1997, 3.8).
    """
    generator = np.random.default_rng(seed)
    entities = matrix.shape[0]
    step = max(1, _CHUNK // max(*matrix.shape))
    for begin in range(0, replicates, step):
        size = min(step, replicates - begin)
        drawn = generator.multinomial(entities, np.full(entities, 1 / entities), size=size)
        yield np.asarray(drawn @ matrix, dtype=np.float64)


def draw_tallies(
    target: Array, probability: Array, replicates: int, seed: int, entities: Array | None = None
) -> Iterator[Tally]:
    """Yield bootstrap replicates of rows, or of entities with all of their rows: tallies whose counts have shape (some, scores)."""
    tally = tally_scores(target, probability)
    joined = join_scores(tally)
    cells = len(joined.score)
    counts = np.concatenate([joined.positives, joined.negatives])
    kept = np.flatnonzero(counts)
    if entities is None:
        chunks = draw_counts(counts[kept], replicates, seed)
    else:
        matrix = _count_entities(tally, target, probability, entities, cells)
        chunks = draw_entities(matrix.tocsc()[:, kept].tocsr(), replicates, seed)
    for chunk in chunks:
        full = np.zeros((len(chunk), 2 * cells))
        full[:, kept] = chunk
        yield Tally(joined.score, full[:, :cells], full[:, cells:])


def _count_entities(tally: Tally, target: Array, probability: Array, entities: Array, cells: int) -> coo_array:
    """Return the positives and the negatives of each entity at each joined score, shape (entities, 2 cells)."""
    place = _group_scores(tally)[np.searchsorted(tally.score, np.asarray(probability, dtype=np.float64))]
    column = np.where(np.asarray(target) == 1, place, cells + place)
    return coo_array((np.ones(len(column)), (entities, column)), shape=(int(entities.max()) + 1, 2 * cells))


def _jackknife_errors(
    target: Array, probability: Array, threshold: float, cost: Mapping[str, float], entities: Array
) -> dict[str, float]:
    """Return the standard error of every metric by leaving out one entity at a time (Efron & Stein 1981, Annals of Statistics 9).

    It leans upwards where a bootstrap of few entities leans downwards. NaN where a metric is undefined without one of them.
    """
    tally = tally_scores(target, probability)
    joined = join_scores(tally)
    cells = len(joined.score)
    counts = _count_entities(tally, target, probability, entities, cells).toarray()
    others = counts.sum(axis=0) - counts
    left = measure_tally(Tally(joined.score, others[:, :cells], others[:, cells:]), threshold, cost, bins=joined)
    scale = (len(counts) - 1) / len(counts)
    return {name: float(np.sqrt(scale * ((part - part.mean()) ** 2).sum())) for name, part in left.items()}


def bootstrap_metrics(
    target: Array, probability: Array, *, threshold: float, cost: Mapping[str, float], replicates: int, seed: int,
    entities: Array | None = None,
) -> dict[str, Estimate]:  # fmt: skip
    """Return every metric with its 95% interval from a plain bootstrap, in which the class balance varies.

    entities: the entity of each row, from 0, where rows of one are not independent; then entities are drawn, not rows.
    The value is that of the rows themselves. The interval is Student's, by the replicates' standard deviation, or that of the
    jackknife where few entities make it larger, and by the number of cases of the rarer class, on the scale of the log-odds for
    shares (see `intervals`). A calibration error is biased upwards by chance: see `_bound_ece`. NaN where undefined.
    """
    few = entities is not None and int(entities.max()) < _FEW_ENTITIES
    errors = _jackknife_errors(target, probability, threshold, cost, entities) if few and entities is not None else {}
    tally = tally_scores(target, probability)
    values = {name: float(value) for name, value in measure_tally(tally, threshold, cost).items()}
    joined, cases = join_scores(tally), count_cases(target, entities)
    bins = {"ece": _cut_width(joined.score), "ece_mass": cut_mass(joined)}
    gaps = {name: _measure_gaps(joined, bin_of) for name, bin_of in bins.items()}
    drawn: dict[str, list[Array]] = {name: [] for name in values}
    moved: dict[str, list[Array]] = {name: [] for name in bins}
    for replicate in draw_tallies(target, probability, replicates, seed, entities):
        for name, measured in measure_tally(replicate, threshold, cost, bins=joined).items():
            drawn[name].append(measured)
        for name, bin_of in bins.items():
            moved[name].append(np.abs(_measure_gaps(replicate, bin_of) - gaps[name]).sum(-1))
    estimates = {
        name: _bound_value(name, values[name], np.concatenate(drawn[name]), cases, errors.get(name, 0.0))
        for name in values
    }
    return estimates | {
        name: _bound_ece(values[name], np.concatenate(drawn[name]), np.concatenate(moved[name])) for name in bins
    }


def _bound_value(name: str, value: float, draws: Array, cases: float, least: float) -> Estimate:
    """Return a value with its interval from bootstrap draws (replicates,), without undefined ones.

    least: the standard error is at least this, unless it is NaN.
    """
    draws = draws[np.isfinite(draws)]
    if not np.isfinite(value) or len(draws) < 2:
        return {"value": value, "low": np.nan, "high": np.nan}
    share = name not in _UNBOUNDED
    if share and not 0 < value < 1:  # without a spread to see
        low, high = (float(bound) for bound in bound_share(value * cases, cases))
    else:
        error = float(np.fmax(draws.std(ddof=1), least))
        low, high = bound_estimate(value, error, cases, LEVEL, share=share)
    return {"value": value, "low": low, "high": high}


def _bound_ece(value: float, draws: Array, moved: Array) -> Estimate:
    """Return a calibration error with its interval, which holds although chance alone makes such an error larger.

    draws: the error in each bootstrap replicate, biased upwards twice, whose quantile is the upper end. moved: the sum over bins of how far
    each replicate's gap is from the rows' own; by the triangle inequality the true error is less than the value by no more than that.
    """
    low, high = max(0.0, value - float(np.quantile(moved, LEVEL))), float(np.quantile(draws, (1 + LEVEL) / 2))
    return {"value": value, "low": low, "high": max(value, high)}


def expect_ece(probability: Array, replicates: int, seed: int) -> tuple[float, float]:
    """Return the calibration error of perfectly calibrated probabilities by chance: its mean and 95% quantile.

    Labels are drawn from the probabilities themselves (consistency resampling, Broecker & Smith 2007).
    """
    score, rows = np.unique(np.asarray(probability, dtype=np.float64), return_counts=True)
    joined = join_scores(Tally(score, rows * score, rows * (1 - score)))
    rows = np.rint(joined.rows).astype(np.int64)
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(rows))
    errors = []
    for begin in range(0, replicates, step):
        positives = generator.binomial(rows, joined.score, size=(min(step, replicates - begin), len(rows)))
        errors.append(_measure_ece(Tally(joined.score, positives, rows - positives), _cut_width(joined.score)))
    drawn = np.concatenate(errors)
    return float(drawn.mean()), float(np.quantile(drawn, LEVEL))


def estimate_delong(target: Array, scores: Array, entities: Array | None = None) -> tuple[Array, Array]:
    """Return the ROC AUC of each of several models, and their covariance: shapes (models,) and (models, models).

    `scores` has shape (models, rows). DeLong, DeLong & Clarke-Pearson 1988, by mid-ranks (Sun & Xu 2014). With `entities`, the
    entity of each row from 0, the covariance is that of clustered rows (Obuchowski 1997, Biometrics 53), which DeLong's
    understates.
    """
    actual = np.asarray(target) == 1
    scores = np.asarray(scores, dtype=np.float64)
    positive, negative = scores[:, actual], scores[:, ~actual]
    m, n = positive.shape[1], negative.shape[1]
    if min(m, n) < 2:
        raise ValueError("DeLong's variance needs two rows of each class")
    ranks = rankdata(scores, axis=1)
    above = (ranks[:, actual] - rankdata(positive, axis=1)) / n  # share of negatives below each positive
    under = 1 - (ranks[:, ~actual] - rankdata(negative, axis=1)) / m
    areas = above.mean(axis=1)
    if entities is None:
        return areas, np.atleast_2d(np.cov(above)) / m + np.atleast_2d(np.cov(under)) / n
    count = int(entities.max()) + 1

    def sum_up(parts: Array, rows: Array) -> tuple[Array, int]:
        sums = np.stack([np.bincount(entities[rows], weights=part, minlength=count) for part in parts - areas[:, None]])
        return sums, len(np.unique(entities[rows]))

    (of_positives, some), (of_negatives, others) = sum_up(above, actual), sum_up(under, ~actual)
    if min(some, others) < 2:
        raise ValueError("Obuchowski's variance needs two entities of each class")
    present = len(np.unique(entities))
    mixed = of_positives @ of_negatives.T
    return areas, (
        of_positives @ of_positives.T * (some / (some - 1)) / m**2
        + of_negatives @ of_negatives.T * (others / (others - 1)) / n**2
        + (mixed + mixed.T) * (present / (present - 1)) / (m * n)
    )


def compare_auc(target: Array, one: Array, other: Array, entities: Array | None = None) -> Estimate:
    """Return the ROC AUC of `one` minus that of `other` on the same rows: value, low, high, two-sided p (DeLong, paired).

    entities: the entity of each row, where rows of one are not independent.
    """
    areas, covariance = estimate_delong(target, np.stack([one, other]), entities)
    difference = float(areas[0] - areas[1])
    error = float(np.sqrt(max(0.0, covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    if error < 1e-12:  # the same ranking
        return {"value": difference, "low": difference, "high": difference, "p": float(abs(difference) < 1e-12)}
    reach = float(ndtri((1 + LEVEL) / 2)) * error
    p = 2 * float(ndtr(-abs(difference) / error))
    return {"value": difference, "low": difference - reach, "high": difference + reach, "p": p}


def lose_rows(target: Array, probability: Array, threshold: float, cost: Mapping[str, float]) -> dict[str, Array]:
    """Return each row's part of the metrics that are means over rows: brier, log_loss, cost; arrays of shape (rows,)."""
    actual, probability = np.asarray(target) == 1, np.asarray(probability, dtype=np.float64)
    predicted = probability >= threshold
    return {
        "brier": (probability - actual) ** 2,
        "log_loss": -np.log(np.maximum(np.where(actual, probability, 1 - probability), _TINY)),
        "cost": cost["false_positive"] * (predicted & ~actual) + cost["false_negative"] * (~predicted & actual),
    }


def compare_means(one: Array, other: Array, replicates: int, seed: int, entities: Array | None = None) -> Estimate:
    """Return the mean of `one` minus `other`, row by row: value, low, high and two-sided p of a paired bootstrap.

    Both have shape (rows,). Rows with the same difference are drawn together; with more than CELLS distinct differences,
    so are neighbours. p is twice the share of replicates on the other side of 0 (Davison & Hinkley 1997, 4.4). Where
    there is none, the replicates are too few to say how small it is, and p is that of Student's paired t test. With `entities`,
    the entity of each row, entities are drawn whole, and the test is about them.
    """
    apart = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    apart[np.abs(apart) < _ROUNDING] = 0.0
    mean = float(apart.mean())
    if entities is None:
        differences, counts = np.unique(apart, return_counts=True)
        mean = float(differences @ counts) / len(apart)
        joined = join_scores(Tally(differences, counts.astype(np.float64), np.zeros(len(counts))))
        draws = np.concatenate(
            [chunk @ joined.score for chunk in draw_counts(joined.positives, replicates, seed)]
        ) / len(apart)
        cases, error = (
            len(apart),
            float(np.sqrt((differences - mean) ** 2 @ counts / max(len(apart) - 1, 1) / len(apart))),
        )
    else:
        codes = np.unique(entities, return_inverse=True)[1]
        sums = np.column_stack([np.bincount(codes, weights=apart), np.bincount(codes)])
        drawn = np.concatenate([*draw_entities(sums, replicates, seed)])
        draws, cases = drawn[:, 0] / drawn[:, 1], len(sums)
        residuals = sums[:, 0] - mean * sums[:, 1]
        error = float(np.sqrt(residuals @ residuals * cases / max(cases - 1, 1))) / len(apart)
    low, high = (float(bound) for bound in np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    beyond = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    p = min(1.0, 2 * (beyond + 1) / (replicates + 1))
    if not beyond and error > 0 and cases > 1:
        p = 2 * float(stdtr(cases - 1, -abs(mean) / error))
    return {"value": mean, "low": low, "high": high, "p": p}


def estimate_fold_error(values: Array, folds: Sequence[tuple[Array, Array]]) -> float:
    """Return the standard error of the mean of a value over folds (fit, judge), whose values have shape (folds,).

    Folds share most of the rows that they are fitted on, so that it is larger than the deviation by the root of the number of
    folds (Nadeau & Bengio 2003, Machine Learning 52).
    """
    share = np.mean([len(judge) / len(fit) for fit, judge in folds])
    return float(np.std(values, ddof=1) * np.sqrt(1 / len(folds) + share))


def bound_share(hits: Any, rows: Any, z: float | None = None) -> tuple[Array, Array]:
    """Return Wilson's interval of a proportion `hits` / `rows` (Wilson 1927, JASA 22); from 0 to 1 without rows."""
    z = float(ndtri((1 + LEVEL) / 2)) if z is None else z
    hits, rows = np.asarray(hits, np.float64), np.asarray(rows, np.float64)
    middle, spread = hits + z * z / 2, z * np.sqrt(hits * (1 - hits / np.maximum(rows, 1)) + z * z / 4)
    return np.maximum((middle - spread) / (rows + z * z), 0.0), np.minimum((middle + spread) / (rows + z * z), 1.0)


def bound_gap(hits: tuple[float, float], rows: tuple[float, float], pairs: int = 1) -> Estimate:
    """Return the difference of two proportions with Newcombe's interval (1998, Stat. Med. 17, method 10).

    With `pairs` the interval holds for the most extreme of so many pairs (Bonferroni).
    """
    z = float(ndtri(1 - (1 - LEVEL) / 2 / pairs))
    first, second = (hit / row for hit, row in zip(hits, rows, strict=True))
    low, high = bound_share(np.array(hits), np.array(rows), z)
    value = first - second
    return {
        "value": value,
        "low": float(value - np.hypot(first - low[0], high[1] - second)),
        "high": float(value + np.hypot(high[0] - first, second - low[1])),
    }


def bound_auc(area: Any, positives: Any, negatives: Any) -> tuple[Array, Array]:
    """Return Newcombe's interval of a ROC AUC (2006, Stat. Med. 25, method 5) as arrays of the inputs' shape.

    It needs only the area and the two counts, and does not collapse when a small group is ranked perfectly.
    """
    area, m, n = np.broadcast_arrays(*(np.asarray(value, np.float64) for value in (area, positives, negatives)))
    z = float(ndtri((1 + LEVEL) / 2))

    def lies_outside(theta: Array) -> Array:
        middle = (m + n) / 2
        shape = 2 * middle - 1 - (3 * middle - 3) / ((2 - theta) * (1 + theta))
        return np.asarray((area - theta) ** 2 > z * z * theta * (1 - theta) * shape / (m * n), dtype=bool)

    bounds = []
    for end in (0.0, 1.0):
        outer, inner = np.full(area.shape, end), area.copy()
        for _ in range(50):
            middle = (outer + inner) / 2
            outside = lies_outside(middle)
            outer, inner = np.where(outside, middle, outer), np.where(outside, inner, middle)
        bounds.append(np.where(np.isfinite(area), inner, np.nan))
    return bounds[0], bounds[1]


def inflate_share(hit: Array, within: Array, codes: Array, entities: Array) -> Array:
    """Return by how much rows of one entity inflate the variance of each category's share: the design effect (Kish 1965), at least 1.

    It is larger where few entities show it (Korn & Graubard 1998, Survey Methodology 24).
    hit, within: masks of the rows that are counted and of those that they are a share of; codes: the category of each row
    (-1: none). So many times fewer independent rows would have the same variance.
    """
    names = int(codes.max(initial=-1)) + 1
    chosen = within & (codes >= 0)
    code = codes[chosen]
    rows = np.bincount(code, minlength=names).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.bincount(code, weights=hit[chosen], minlength=names) / rows
        span = int(entities.max()) + 1
        pairs, cell = np.unique(code.astype(np.int64) * span + entities[chosen], return_inverse=True)
        owner, sums = pairs // span, np.bincount(cell, weights=hit[chosen] - share[code])
        present = np.bincount(owner, minlength=names)
        variance = np.bincount(owner, weights=sums**2, minlength=names) * present / np.maximum(present - 1, 1)
        found = variance / (rows * share * (1 - share))
        sizes = np.bincount(owner, weights=np.bincount(cell).astype(np.float64) ** 2, minlength=names)
        found = np.maximum(found, 1.0) * _inflate_few(rows**2 / sizes)
        # without a spread to see, rows of one entity may all be alike
        return np.where(np.isfinite(found) & (present > 1), found, rows / np.maximum(present, 1))


def _inflate_few(entities: Any) -> Array:
    """Return by how much larger a variance is to be taken that was estimated from so many entities; infinite below two."""
    z = float(ndtri((1 + LEVEL) / 2))
    cases = np.asarray(entities, np.float64)
    return np.asarray((widen_reach(cases, LEVEL) / z) ** 2 * np.maximum(cases - 1, 0) / np.maximum(cases, 1))


def _inflate_auc(target: Array, probability: Array, entities: Array) -> float:
    """Return by how much rows of one entity inflate the variance of a ROC AUC, at least 1."""
    with suppress(ValueError):  # an entity has all rows of a class
        (_, alone), (_, clustered) = (estimate_delong(target, probability[None, :], each) for each in (None, entities))
        if alone[0, 0] > 0:
            inflation = max(1.0, float(clustered[0, 0] / alone[0, 0]))
            return inflation * float(_inflate_few(count_cases(target, entities)))
    return len(target) / len(np.unique(entities))


def measure_slices(
    target: Array, probability: Array, categories: pd.Series, threshold: float, entities: Array | None = None
) -> pd.DataFrame:
    """Return the metrics of each category of a column: a row per category, sorted.

    `categories` are strings or an ordered categorical, shape (rows,). Columns: category, rows, positives, rate, roc_auc,
    recall, false_alarms (false positive rate), precision, predicted_positive; the ratios also with _low and _high (by
    Wilson, the area by Newcombe). Undefined ones are NaN. entities: the entity of each row, where rows of one are not independent;
    then the intervals are those of fewer rows, by the design effect.
    """
    target, probability = np.asarray(target), np.asarray(probability)
    actual, predicted = np.asarray(target) == 1, np.asarray(probability) >= threshold
    codes, names = pd.factorize(categories, sort=True)

    def count(mask: Array) -> Array:
        return np.asarray(np.bincount(codes[mask], minlength=len(names)), dtype=np.float64)

    rows, positives = count(np.ones(len(actual), bool)), count(actual)
    negatives = rows - positives
    ranks = pd.Series(np.asarray(probability)).groupby(codes).rank().to_numpy()
    rank_sum = np.bincount(codes, weights=np.where(actual, ranks, 0.0), minlength=len(names))
    table: dict[str, Any] = {"category": names, "rows": rows.astype(np.int64), "positives": positives.astype(np.int64)}
    with np.errstate(divide="ignore", invalid="ignore"):
        area = convert_rank_sum(rank_sum, positives, negatives)
        both = (positives > 0) & (negatives > 0)
        table["roc_auc"] = np.where(both, area, np.nan)
        inflated = np.ones(len(names))
        if entities is not None:
            for code in np.flatnonzero(both):
                member = codes == code
                inflated[code] = _inflate_auc(target[member], probability[member], entities[member])
        low, high = bound_auc(
            table["roc_auc"], np.maximum(positives / inflated, 1), np.maximum(negatives / inflated, 1)
        )
        table["roc_auc_low"], table["roc_auc_high"] = low, high
        everywhere = np.ones(len(actual), dtype=bool)
        shares = {
            "rate": (actual, everywhere), "recall": (predicted, actual), "false_alarms": (predicted, ~actual),
            "precision": (actual, predicted), "predicted_positive": (predicted, everywhere),
        }  # fmt: skip
        for name, (hit, within) in shares.items():
            hits, among = count(hit & within), count(within)
            inflation = 1.0 if entities is None else inflate_share(hit, within, codes, entities)
            low, high = bound_share(hits / inflation, among / inflation)
            table[name] = hits / among
            table[f"{name}_low"], table[f"{name}_high"] = (np.where(among > 0, bound, np.nan) for bound in (low, high))
    return pd.DataFrame(table)
