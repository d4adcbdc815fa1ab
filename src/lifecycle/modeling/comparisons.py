"""Paired tests of two models, and the metrics of slices, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtr, stdtrit
from scipy.stats import rankdata

from lifecycle.core.ranking import convert_rank_sum
from lifecycle.modeling.intervals import (
    LEVEL,
    Estimate,
    bound_auc,
    bound_share,
    count_cases,
    count_effective,
    widen_reach,
)
from lifecycle.modeling.metrics import TINY

Array = np.ndarray[Any, Any]

_ROUNDING = 1e-12  # a smaller difference of two losses of a row comes from the order of additions


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

    entities: the entity of each row, where rows of one are not independent; then Student's t has the place of the normal
    distribution, because few entities say little about the error.
    """
    areas, covariance = estimate_delong(target, np.stack([one, other]), entities)
    difference = float(areas[0] - areas[1])
    error = float(np.sqrt(max(0.0, covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])))
    if error < 1e-12:  # the same ranking
        return {"value": difference, "low": difference, "high": difference, "p": float(abs(difference) < 1e-12)}
    cases = np.inf if entities is None else count_cases(target, entities)
    return {"value": difference, **_judge_difference(difference, error, cases)}


def lose_rows(target: Array, probability: Array, threshold: float, cost: Mapping[str, float]) -> dict[str, Array]:
    """Return each row's part of the metrics that are means over rows: brier, log_loss, cost; arrays of shape (rows,)."""
    actual, probability = np.asarray(target) == 1, np.asarray(probability, dtype=np.float64)
    predicted = probability >= threshold
    return {
        "brier": (probability - actual) ** 2,
        "log_loss": -np.log(np.maximum(np.where(actual, probability, 1 - probability), TINY)),
        "cost": cost["false_positive"] * (predicted & ~actual) + cost["false_negative"] * (~predicted & actual),
    }


def compare_means(one: Array, other: Array, entities: Array | None = None) -> Estimate:
    """Return the mean of `one` minus `other`, row by row: value, low, high and two-sided p of Student's paired t test.

    Both have shape (rows,). entities: the entity of each row, where rows of one are not independent; the error is then that of
    the entities' sums (Liang & Zeger 1986, Biometrika 73). Rows or entities without a difference do not add to the degrees of
    freedom, so that a few decisions that differ prove little.
    """
    apart = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    apart[np.abs(apart) < _ROUNDING] = 0.0
    mean = float(apart.mean())
    codes = np.arange(len(apart)) if entities is None else np.unique(entities, return_inverse=True)[1]
    sums, sizes = np.bincount(codes, weights=apart), np.bincount(codes).astype(np.float64)
    differing = np.bincount(codes, weights=apart != 0) > 0
    cases = count_effective(sizes[differing])
    residuals = sums - mean * sizes
    error = float(np.sqrt(residuals @ residuals * len(sums) / max(len(sums) - 1, 1))) / len(apart)
    if error < _ROUNDING:
        return {"value": mean, "low": mean, "high": mean, "p": float(abs(mean) < _ROUNDING)}
    return {"value": mean, **_judge_difference(mean, error, cases)}


def _judge_difference(value: float, error: float, cases: float) -> Estimate:
    """Return the interval and the two-sided p of a difference whose error was estimated from so many cases, by Student's t."""
    freedom = max(cases - 1, 1.0)
    reach = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    return {"low": value - reach, "high": value + reach, "p": 2 * float(stdtr(freedom, -abs(value) / error))}


def estimate_fold_error(values: Array, folds: Sequence[tuple[Array, Array]]) -> float:
    """Return the standard error of the mean of a value over folds (fit, judge), whose values have shape (folds,).

    Folds share most of the rows that they are fitted on, so that it is larger than the deviation by the root of the number of
    folds (Nadeau & Bengio 2003, Machine Learning 52).
    """
    share = np.mean([len(judge) / len(fit) for fit, judge in folds])
    return float(np.std(values, ddof=1) * np.sqrt(1 / len(folds) + share))


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
        return np.where(np.isfinite(found) & (present > 1), found, np.maximum(rows, 1) / np.maximum(present, 1))


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


def measure_auc(target: Array, probability: Array, entities: Array | None = None) -> Estimate:
    """Return the ROC AUC with Newcombe's interval, which is that of fewer rows where rows of one entity are alike.

    target is 0 or 1 with at least two rows of each class, and probability within 0 and 1, both of shape (rows,); entities: the
    entity of each row.
    """
    inflation = 1.0 if entities is None else _inflate_auc(target, probability, entities)
    positives = float(np.sum(target))
    area = float(estimate_delong(target, probability[None, :])[0][0])
    low, high = bound_auc(area, positives, len(target) - positives, inflation)
    return {"value": area, "low": float(low), "high": float(high)}


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
        low, high = bound_auc(table["roc_auc"], positives, negatives, inflated)
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
