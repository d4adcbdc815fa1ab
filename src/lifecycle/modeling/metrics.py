"""Metrics of a probability of the positive class, their intervals, and paired tests of their differences.

Everything is a function of how many rows of each class stand at each score (a Tally), so that a bootstrap replicate is
a draw of counts: its price depends on the distinct scores, not on the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

Array = np.ndarray[Any, Any]
Estimate = dict[str, float]  # value, low, high; a test adds p

BINS = 10  # of the expected calibration error
LEVEL = 0.95  # of every interval
CELLS = 5_000  # distinct scores that a bootstrap keeps apart; more are joined, neighbours in quantile groups
CHUNK = 300_000  # cells of a replicates matrix held at once: what a processor keeps near (2.4 MB)
TITLES = {  # what a table calls them, in its order
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC (average precision)",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "predicted_positive": "Share called positive",
    "cost": "Cost per row",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "ece": "Calibration error (ten bins of equal width)",
    "ece_mass": "Calibration error (ten bins of equal size)",
}
TINY = float(np.finfo(np.float64).eps)  # the log loss of a wrong certainty stays finite, as scikit-learn has it


@dataclass(frozen=True)
class Tally:
    """How many rows of each class stand at each distinct score: three float64 arrays of shape (scores,), ascending."""

    score: Array
    positives: Array
    negatives: Array

    @property
    def rows(self) -> Array:
        """Rows at each score, shape (scores,)."""
        return self.positives + self.negatives


def tally_scores(target: Array, probability: Array) -> Tally:
    """Count both classes at each distinct probability.

    `target` is 0 or 1, `probability` within 0 and 1, both of shape (rows,). Raises ValueError where they are not, or
    where one class is absent: no ranking can be judged then.
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


def join_scores(tally: Tally, cells: int = CELLS) -> Tally:
    """The tally with at most `cells` scores: neighbours joined in quantile groups, at their mean score."""
    if len(tally.score) <= cells:
        return tally
    rows = tally.rows
    group = np.unique(((np.cumsum(rows) - rows / 2) * (cells / rows.sum())).astype(np.int64), return_inverse=True)[1]
    total = np.bincount(group, weights=rows)
    return Tally(
        np.bincount(group, weights=rows * tally.score) / total,
        np.bincount(group, weights=tally.positives),
        np.bincount(group, weights=tally.negatives),
    )


def measure_tally(
    tally: Tally, threshold: float, cost: Mapping[str, float], bins: Tally | None = None
) -> dict[str, Array]:
    """Every metric of a tally whose counts may have leading axes (replicates): arrays of those axes' shape.

    roc_auc: area under the ROC curve, ties half (Hanley & McNeil 1982). pr_auc: average precision, which does not
    interpolate (Davis & Goadrich 2006). brier, log_loss: means over rows. ece: expected calibration error in ten bins
    of equal width (Naeini et al. 2015); ece_mass: in ten bins of equal size, as `bins` (this tally if none) has them.
    accuracy, precision, recall, f1, called (share called positive) and cost (per row) are those at the threshold.
    An undefined ratio is NaN.
    """
    positives, negatives, score = tally.positives, tally.negatives, tally.score
    total_positive, total_negative = positives.sum(-1), negatives.sum(-1)
    rows = total_positive + total_negative
    called = score >= threshold
    tp, fp = positives[..., called].sum(-1), negatives[..., called].sum(-1)
    fn, tn = total_positive - tp, total_negative - fp
    below = np.cumsum(negatives, axis=-1) - negatives / 2
    caught = np.cumsum(positives[..., ::-1], axis=-1)
    reached = np.cumsum((positives + negatives)[..., ::-1], axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = np.where(reached > 0, caught / reached, 0.0)
        return {
            "roc_auc": (positives * below).sum(-1) / (total_positive * total_negative),
            "pr_auc": (positives[..., ::-1] * exact).sum(-1) / total_positive,
            "accuracy": (tp + tn) / rows,
            "precision": tp / (tp + fp),
            "recall": tp / total_positive,
            "f1": 2 * tp / (2 * tp + fp + fn),
            "predicted_positive": (tp + fp) / rows,
            "cost": (fp * cost["false_positive"] + fn * cost["false_negative"]) / rows,
            "brier": (positives @ (1 - score) ** 2 + negatives @ score**2) / rows,
            "log_loss": -(positives @ np.log(np.maximum(score, TINY)) + negatives @ np.log(np.maximum(1 - score, TINY)))
            / rows,
            "ece": measure_ece(tally, cut_width(score)),
            "ece_mass": measure_ece(tally, cut_mass(bins or tally)),
        }


def cut_width(score: Array) -> Array:
    """The bin (0 to 9) of each score, ten of equal width."""
    return np.minimum((score * BINS).astype(np.int64), BINS - 1)


def cut_mass(tally: Tally) -> Array:
    """The bin (0 to 9) of each score of a tally without leading axes, ten of about equal size, ties kept together."""
    rows = tally.rows
    return np.asarray((np.cumsum(rows) - rows / 2) * (BINS / rows.sum())).astype(np.int64)


def measure_ece(tally: Tally, bin_of: Array) -> Array:
    """The mean over rows of |observed rate - mean probability| of each row's bin (Naeini et al. 2015, AAAI)."""
    member = (bin_of[:, None] == np.arange(BINS)).astype(np.float64)
    gap = (tally.positives - (tally.positives + tally.negatives) * tally.score) @ member
    return np.asarray(np.abs(gap).sum(-1) / (tally.positives + tally.negatives).sum(-1))


def count_decisions(target: Array, probability: Array, threshold: float) -> dict[str, int]:
    """The confusion matrix at the threshold: tn, fp, fn, tp."""
    called, truth = np.asarray(probability) >= threshold, np.asarray(target) == 1
    return {
        "tn": int((~called & ~truth).sum()),
        "fp": int((called & ~truth).sum()),
        "fn": int((~called & truth).sum()),
        "tp": int((called & truth).sum()),
    }


def draw_counts(counts: Array, replicates: int, seed: int) -> Iterator[Array]:
    """Plain bootstrap replicates of a table of counts (cells,): chunks of shape (some, cells), `replicates` in all.

    Drawing n rows with replacement is a multinomial draw of the counts of equal rows (Efron & Tibshirani 1993, ch. 6).
    """
    generator = np.random.default_rng(seed)
    rows = int(counts.sum())
    step = max(1, CHUNK // max(len(counts), 1))
    for begin in range(0, replicates, step):
        size = min(step, replicates - begin)
        yield generator.multinomial(rows, counts / rows, size=size).astype(np.float64)


def bootstrap_metrics(
    target: Array, probability: Array, *, threshold: float, cost: Mapping[str, float], replicates: int, seed: int
) -> dict[str, Estimate]:
    """Every metric with its 95% percentile interval from a plain bootstrap (the class balance varies as it would anew).

    The value is that of the rows themselves. Resampling biases calibration errors upwards, so theirs are reflected
    about the value (the basic bootstrap, Davison & Hinkley 1997, 5.2) and kept from 0 up. NaN where undefined.
    """
    tally = tally_scores(target, probability)
    values = {name: float(value) for name, value in measure_tally(tally, threshold, cost).items()}
    joined = join_scores(tally)
    cells = len(joined.score)
    counts = np.concatenate([joined.positives, joined.negatives])
    kept = np.flatnonzero(counts)
    drawn: dict[str, list[Array]] = {name: [] for name in values}
    for chunk in draw_counts(counts[kept], replicates, seed):
        full = np.zeros((len(chunk), 2 * cells))
        full[:, kept] = chunk
        replicate = Tally(joined.score, full[:, :cells], full[:, cells:])
        for name, measured in measure_tally(replicate, threshold, cost, bins=joined).items():
            drawn[name].append(measured)
    return {name: bound_value(name, values[name], np.concatenate(drawn[name])) for name in values}


def bound_value(name: str, value: float, draws: Array) -> Estimate:
    """A value with its interval from bootstrap draws (replicates,), undefined ones left out."""
    draws = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not len(draws):
        return {"value": value, "low": np.nan, "high": np.nan}
    low, high = (float(bound) for bound in np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    if name.startswith("ece"):
        low, high = max(0.0, 2 * value - high), max(value, 2 * value - low)
    return {"value": value, "low": low, "high": high}


def expect_ece(probability: Array, replicates: int, seed: int) -> tuple[float, float]:
    """The calibration error that perfectly calibrated probabilities like these show by chance: mean, 95% quantile.

    Truths are drawn from the probabilities themselves (consistency resampling, Broecker & Smith 2007).
    """
    score, rows = np.unique(np.asarray(probability, dtype=np.float64), return_counts=True)
    joined = join_scores(Tally(score, rows * score, rows * (1 - score)))
    rows = np.rint(joined.rows).astype(np.int64)
    generator = np.random.default_rng(seed)
    step = max(1, CHUNK // len(rows))
    errors = []
    for begin in range(0, replicates, step):
        positives = generator.binomial(rows, joined.score, size=(min(step, replicates - begin), len(rows)))
        errors.append(measure_ece(Tally(joined.score, positives, rows - positives), cut_width(joined.score)))
    drawn = np.concatenate(errors)
    return float(drawn.mean()), float(np.quantile(drawn, LEVEL))


def estimate_delong(target: Array, scores: Array) -> tuple[Array, Array]:
    """ROC AUC of each of several models, and their covariance: shapes (models,) and (models, models).

    `scores` has shape (models, rows). DeLong, DeLong & Clarke-Pearson 1988, by mid-ranks (Sun & Xu 2014).
    """
    truth = np.asarray(target) == 1
    scores = np.asarray(scores, dtype=np.float64)
    positive, negative = scores[:, truth], scores[:, ~truth]
    m, n = positive.shape[1], negative.shape[1]
    if min(m, n) < 2:
        raise ValueError("DeLong's variance needs two rows of each class")
    ranks = rankdata(scores, axis=1)
    above = (ranks[:, truth] - rankdata(positive, axis=1)) / n  # share of negatives below each positive
    under = 1 - (ranks[:, ~truth] - rankdata(negative, axis=1)) / m
    covariance = np.atleast_2d(np.cov(above)) / m + np.atleast_2d(np.cov(under)) / n
    return above.mean(axis=1), covariance


def compare_auc(target: Array, one: Array, other: Array) -> Estimate:
    """ROC AUC of `one` less that of `other` on the same rows: value, low, high and two-sided p (DeLong, paired)."""
    areas, covariance = estimate_delong(target, np.stack([one, other]))
    difference = float(areas[0] - areas[1])
    error = float(np.sqrt(max(0.0, covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    if error < 1e-12:  # the same ranking
        return {"value": difference, "low": difference, "high": difference, "p": float(abs(difference) < 1e-12)}
    reach = float(ndtri((1 + LEVEL) / 2)) * error
    p = 2 * float(ndtr(-abs(difference) / error))
    return {"value": difference, "low": difference - reach, "high": difference + reach, "p": p}


def lose_rows(target: Array, probability: Array, threshold: float, cost: Mapping[str, float]) -> dict[str, Array]:
    """What each row adds to the metrics that are means over rows: brier, log_loss, cost; arrays of shape (rows,)."""
    truth, probability = np.asarray(target) == 1, np.asarray(probability, dtype=np.float64)
    called = probability >= threshold
    return {
        "brier": (probability - truth) ** 2,
        "log_loss": -np.log(np.maximum(np.where(truth, probability, 1 - probability), TINY)),
        "cost": cost["false_positive"] * (called & ~truth) + cost["false_negative"] * (~called & truth),
    }


def compare_means(one: Array, other: Array, replicates: int, seed: int) -> Estimate:
    """Mean of `one` less that of `other`, row by row: value, low, high and two-sided p of a paired bootstrap.

    Both have shape (rows,). Rows of one difference are drawn together; with more than CELLS distinct differences,
    neighbours are. p is twice the share of replicates on the other side of 0 (Davison & Hinkley 1997, 4.4).
    """
    differences, counts = np.unique(np.asarray(one, np.float64) - np.asarray(other, np.float64), return_counts=True)
    rows = float(counts.sum())
    mean = float(differences @ counts) / rows
    joined = join_scores(Tally(differences, counts.astype(np.float64), np.zeros(len(counts))))
    draws = np.concatenate([chunk @ joined.score for chunk in draw_counts(joined.positives, replicates, seed)]) / rows
    low, high = (float(bound) for bound in np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    beyond = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return {"value": mean, "low": low, "high": high, "p": min(1.0, 2 * (beyond + 1) / (replicates + 1))}


def bound_share(hits: Any, rows: Any, z: float | None = None) -> tuple[Array, Array]:
    """Wilson's interval of a proportion `hits` / `rows` (Wilson 1927, JASA 22); from 0 to 1 where there are no rows."""
    z = float(ndtri((1 + LEVEL) / 2)) if z is None else z
    hits, rows = np.asarray(hits, np.float64), np.asarray(rows, np.float64)
    middle, spread = hits + z * z / 2, z * np.sqrt(hits * (1 - hits / np.maximum(rows, 1)) + z * z / 4)
    return np.maximum((middle - spread) / (rows + z * z), 0.0), np.minimum((middle + spread) / (rows + z * z), 1.0)


def bound_gap(hits: tuple[int, int], rows: tuple[int, int], pairs: int = 1) -> Estimate:
    """The difference of two proportions, first less second, with Newcombe's interval (1998, Stat. Med. 17, method 10).

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
    """Newcombe's score-like interval of a ROC AUC (2006, Stat. Med. 25, method 5): arrays of the inputs' shape.

    It needs the area and the two counts alone, and keeps its width where a small group is separated perfectly.
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


def measure_slices(target: Array, probability: Array, levels: pd.Series, threshold: float) -> pd.DataFrame:
    """The metrics of each level of a column: a row a level, in order of the levels' names.

    `levels` are strings, of shape (rows,). Columns: level, rows, positives, rate, roc_auc, recall, false_alarms (false
    positive rate), precision, called; the ratios with _low and _high beside them (Wilson; the area Newcombe). Undefined
    ones are NaN.
    """
    truth, called = np.asarray(target) == 1, np.asarray(probability) >= threshold
    codes, names = pd.factorize(levels, sort=True)

    def count(mask: Array) -> Array:
        return np.asarray(np.bincount(codes[mask], minlength=len(names)), dtype=np.float64)

    rows, positives = count(np.ones(len(truth), bool)), count(truth)
    negatives, tp, fp = rows - positives, count(truth & called), count(~truth & called)
    ranks = pd.Series(np.asarray(probability)).groupby(codes).rank().to_numpy()
    rank_sum = np.bincount(codes, weights=np.where(truth, ranks, 0.0), minlength=len(names))
    table: dict[str, Any] = {"category": names, "rows": rows.astype(np.int64), "positives": positives.astype(np.int64)}
    with np.errstate(divide="ignore", invalid="ignore"):
        area = (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)
        both = (positives > 0) & (negatives > 0)
        table["roc_auc"] = np.where(both, area, np.nan)
        low, high = bound_auc(table["roc_auc"], np.maximum(positives, 1), np.maximum(negatives, 1))
        table["roc_auc_low"], table["roc_auc_high"] = low, high
        shares = {
            "rate": (positives, rows), "recall": (tp, positives), "false_alarms": (fp, negatives),
            "precision": (tp, tp + fp), "predicted_positive": (tp + fp, rows),
        }  # fmt: skip
        for name, (hits, among) in shares.items():
            low, high = bound_share(hits, among)
            table[name] = hits / among
            table[f"{name}_low"], table[f"{name}_high"] = (np.where(among > 0, bound, np.nan) for bound in (low, high))
    return pd.DataFrame(table)


def trace_roc(target: Array, probability: Array, points: int = 1000) -> pd.DataFrame:
    """The ROC curve at up to `points` places: false_positive_rate and true_positive_rate, from (0, 0) to (1, 1)."""
    tally = tally_scores(target, probability)
    caught = np.concatenate([[0.0], np.cumsum(tally.positives[::-1])]) / tally.positives.sum()
    alarmed = np.concatenate([[0.0], np.cumsum(tally.negatives[::-1])]) / tally.negatives.sum()
    kept = thin(len(caught), points)
    return pd.DataFrame({"false_positive_rate": alarmed[kept], "true_positive_rate": caught[kept]})


def trace_pr(target: Array, probability: Array, points: int = 1000) -> pd.DataFrame:
    """The precision-recall curve at up to `points` places: recall (ascending) and precision."""
    tally = tally_scores(target, probability)
    caught, reached = np.cumsum(tally.positives[::-1]), np.cumsum(tally.rows[::-1])
    kept = thin(len(caught), points)
    return pd.DataFrame({"recall": (caught / tally.positives.sum())[kept], "precision": (caught / reached)[kept]})


def thin(length: int, points: int) -> Array:
    """At most `points` positions of `length`, evenly spread, both ends among them."""
    return np.asarray(np.unique(np.linspace(0, length - 1, min(length, points)).round()), dtype=np.int64)


def trace_gain(target: Array, probability: Array, steps: int = 20) -> pd.DataFrame:
    """What calling the likeliest rows finds: columns called (share of the rows), gain (share of the positives), lift.

    Equal scores are called in equal parts, as picking among them at random does on average.
    """
    tally = tally_scores(target, probability)
    reached = np.concatenate([[0.0], np.cumsum(tally.rows[::-1])]) / tally.rows.sum()
    caught = np.concatenate([[0.0], np.cumsum(tally.positives[::-1])]) / tally.positives.sum()
    called = np.linspace(0, 1, steps + 1)[1:]
    gain = np.interp(called, reached, caught)
    return pd.DataFrame({"predicted_positive": called, "gain": gain, "lift": gain / called})


def trace_calibration(target: Array, probability: Array) -> pd.DataFrame:
    """Observed rate by mean probability in ten bins of equal size: predicted, observed, low, high (Wilson), rows."""
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
