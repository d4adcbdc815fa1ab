"""Every metric with its interval, from a bootstrap of rows or of entities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy.sparse import coo_array

from lifecycle.modeling.intervals import LEVEL, Estimate, bound_estimate, bound_share, count_cases
from lifecycle.modeling.metrics import (
    Tally,
    cut_mass,
    cut_width,
    group_scores,
    join_scores,
    measure_ece,
    measure_gaps,
    measure_tally,
    tally_scores,
)

Array = np.ndarray[Any, Any]

_FEW_ENTITIES = 300  # up to which the error of a bootstrap is compared with that of the jackknife
_DRAWN_ROWS = 10  # rows a cell, up to which drawing rows is faster than drawing the counts of cells
_CHUNK = 300_000  # cells of a matrix of replicates at once: 2.4 MB, which fit a processor's cache
_UNBOUNDED = ("cost", "log_loss")  # metrics that may be larger than 1


def draw_counts(counts: Array, replicates: int, seed: int) -> Iterator[Array]:
    """Yield plain bootstrap replicates of counts (cells,): chunks of shape (some, cells), `replicates` in all.

    Drawing n rows with replacement is a multinomial draw of the counts of equal rows (Efron & Tibshirani 1993, ch. 6); the
    rows themselves are drawn where that is faster.
    """
    generator = np.random.default_rng(seed)
    rows, cells = int(counts.sum()), len(counts)
    few = rows <= _DRAWN_ROWS * cells
    owners = np.repeat(np.arange(cells), counts.astype(np.int64)) if few else np.array([])
    step = max(1, _CHUNK // max(cells, len(owners), 1))
    for begin in range(0, replicates, step):
        size = min(step, replicates - begin)
        drawn = _draw_rows(generator, owners, cells, size) if few else generator.multinomial(rows, counts / rows, size)
        yield drawn.astype(np.float64)


def draw_entities(matrix: Any, replicates: int, seed: int) -> Iterator[Array]:
    """Yield bootstrap replicates of sums over entities: chunks of shape (some, columns), `replicates` in all.

    `matrix` has a row for each entity; entities are drawn whole, with replacement (Davison & Hinkley 1997, 3.8).
    """
    generator = np.random.default_rng(seed)
    entities = matrix.shape[0]
    step = max(1, _CHUNK // max(*matrix.shape))
    for begin in range(0, replicates, step):
        size = min(step, replicates - begin)
        drawn = _draw_rows(generator, np.arange(entities), entities, size)
        yield np.asarray(drawn @ matrix, dtype=np.float64)


def _draw_rows(generator: np.random.Generator, owners: Array, cells: int, size: int) -> Array:
    """Draw as many rows as there are, with replacement; return how many belong to each cell, int64 (size, cells).

    owners: the cell of each row, shape (rows,).
    """
    drawn = owners[generator.integers(0, len(owners), (size, len(owners)))] + cells * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * cells).reshape(size, cells)


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
    place = group_scores(tally)[np.searchsorted(tally.score, np.asarray(probability, dtype=np.float64))]
    column = np.where(np.asarray(target) == 1, place, cells + place)
    return coo_array((np.ones(len(column)), (entities, column)), shape=(int(entities.max()) + 1, 2 * cells))


def _jackknife_errors(counts: Array, joined: Tally, threshold: float, cost: Mapping[str, float]) -> dict[str, float]:
    """Return the standard error of every metric by leaving out one entity at a time (Efron & Stein 1981, Annals of Statistics 9).

    counts: those of `_count_entities`. The error leans upwards where that of a bootstrap of few entities leans downwards. NaN
    where a metric is undefined without one of them.
    """
    cells = len(joined.score)
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
    tally = tally_scores(target, probability)
    values = {name: float(value) for name, value in measure_tally(tally, threshold, cost).items()}
    joined, cases = join_scores(tally), count_cases(target, entities)
    errors: dict[str, float] = {}
    if entities is not None and int(entities.max()) < _FEW_ENTITIES:
        counts = _count_entities(tally, target, probability, entities, len(joined.score)).toarray()
        errors = _jackknife_errors(counts, joined, threshold, cost)
    bins = {"ece": cut_width(joined.score), "ece_mass": cut_mass(joined)}
    gaps = {name: measure_gaps(joined, bin_of) for name, bin_of in bins.items()}
    drawn: dict[str, list[Array]] = {name: [] for name in values}
    moved: dict[str, list[Array]] = {name: [] for name in bins}
    for replicate in draw_tallies(target, probability, replicates, seed, entities):
        for name, measured in measure_tally(replicate, threshold, cost, bins=joined).items():
            drawn[name].append(measured)
        for name, bin_of in bins.items():
            moved[name].append(np.abs(measure_gaps(replicate, bin_of) - gaps[name]).sum(-1))
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
        errors.append(measure_ece(Tally(joined.score, positives, rows - positives), cut_width(joined.score)))
    drawn = np.concatenate(errors)
    return float(drawn.mean()), float(np.quantile(drawn, LEVEL))
