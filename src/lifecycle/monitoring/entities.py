"""Rows of one entity resemble one another: how many independent rows a window is worth for the tests of a column.

The design effect is 1 + (c - 1) r (Kish 1965, Survey Sampling, 8.2): c is how many rows the entity of a row has in the mean over rows, and
r the correlation of two rows of one entity. Divided by it, counts go into the tests of independent rows (Rao & Scott 1981, JASA 76).
c is measured in every window, r in the hold-out alone: while nothing changes it is the same later. It is taken to be the same for all pairs
of an entity's rows, in one window or in several, and 1 where the hold-out cannot show it, so that only entities count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri

from lifecycle.core.histograms import Array
from lifecycle.modeling.rule import hash_ids
from lifecycle.validation.sampling import scramble

_BUCKETS = 4096  # of a sketch; its standard error is sqrt(2 / _BUCKETS), which is 2 % of the rows of unlike entities
_SEED = 13  # of the hash, so that the ids' own order does not matter
_SURE = 0.95  # confidence of the upper bound of a correlation


@dataclass(frozen=True)
class EntitySketch:
    """How often entities repeat: the rows without an entity, and the signed rows of the others by bucket, int64 (4096,).

    Sketches add up, whichever entities they share, and do not grow with the entities. This is the tug-of-war sketch of the second
    frequency moment (Alon, Matias & Szegedy 1999, J. Comput. Syst. Sci. 58) with one bucket an entity (Charikar et al. 2002).
    """

    nameless: int
    sums: Array

    def __add__(self, other: EntitySketch) -> EntitySketch:
        return EntitySketch(self.nameless + other.nameless, self.sums + other.sums)

    @property
    def pairs(self) -> float:
        """The sum over entities of the square of their rows; exact where no two share a bucket, and right in the mean."""
        return float(self.nameless + self.sums @ self.sums)


def sketch_entities(entities: pd.Series) -> EntitySketch | None:
    """Return the sketch of the entity of each row (missing: a row of its own); None where no row has one."""
    known = entities.dropna()
    if known.empty:
        return None
    words = scramble(hash_ids(known), _SEED)
    sign = np.where(words >> np.uint64(63), 1.0, -1.0)
    sums = np.bincount((words % np.uint64(_BUCKETS)).astype(np.int64), weights=sign, minlength=_BUCKETS)
    return EntitySketch(len(entities) - len(known), sums.astype(np.int64))


def number_entities(entities: pd.Series) -> Array:
    """Return the entity of each row as a number from 0, int64 (rows,). A row without one is its own."""
    codes, names = pd.factorize(entities)
    nameless = codes < 0
    codes = codes.astype(np.int64)
    codes[nameless] = len(names) + np.arange(nameless.sum())
    return codes


def code_entities(entities: pd.Series) -> Array | None:
    """Return the entity of each row as `number_entities` does; None where none repeats."""
    codes = number_entities(entities)
    return None if codes.max(initial=-1) + 1 == len(codes) else codes


def count_together(entities: Array | None) -> float:
    """Return how many rows the entity of a row has, in the mean over rows: 1 where none repeats."""
    if entities is None or not len(entities):
        return 1.0
    sizes = np.bincount(entities).astype(np.float64)
    return float(sizes @ sizes / len(entities))


def inflate(together: float, correlation: float) -> float:
    """Return the design effect: how many rows are worth one independent row (Kish 1965)."""
    return 1.0 + max(0.0, together - 1.0) * correlation


def correlate_numbers(numbers: Array, entities: Array) -> float:
    """Return the correlation of two rows of one entity in finite numbers, (rows,), at most: of values, of ranks or of tenths.

    The tests of a column read each of these.
    """
    ranks = pd.Series(numbers).rank().to_numpy(dtype=np.float64)
    tenths = np.minimum((ranks - 0.5) * 10 / max(len(ranks), 1), 9).astype(np.int64)
    return max(_correlate(numbers, entities), _correlate(ranks, entities), correlate_codes(tenths, entities))


def correlate_codes(codes: Array, entities: Array) -> float:
    """Return the correlation of two rows of one entity in their categories, given as numbers from 0, at most."""
    if not len(codes):
        return 1.0
    sizes, entities = _count_sizes(entities)
    span = int(codes.max()) + 1
    cells, counts = np.unique(entities * span + codes, return_counts=True)
    between = float((counts.astype(np.float64) ** 2 / sizes[cells // span]).sum())
    shares = np.bincount(codes).astype(np.float64)
    return _bound_correlation(float(len(codes)), between, float(shares @ shares) / len(codes), sizes)


def _correlate(numbers: Array, entities: Array) -> float:
    """Return the correlation of two rows of one entity in numbers, at most."""
    if not len(numbers):
        return 1.0
    sizes, entities = _count_sizes(entities)
    centred = numbers - numbers.mean()
    sums = np.bincount(entities, weights=centred)
    return _bound_correlation(float(centred @ centred), float((sums**2 / sizes).sum()), 0.0, sizes)


def _count_sizes(entities: Array) -> tuple[Array, Array]:
    """Return the rows of each entity that has any, and the entity of each row among these."""
    _, codes, sizes = np.unique(entities, return_inverse=True, return_counts=True)
    return sizes.astype(np.float64), codes.astype(np.int64)


def _bound_correlation(squares: float, between: float, overall: float, sizes: Array) -> float:
    """Return the upper end of a one-sided 95 % interval of the intraclass correlation, from 0 to 1; 1 where no entity repeats.

    squares: the sum of squares; between: that of the entities' means, by row; overall: that of the mean. The estimate is that of an analysis of
    variance (Donner 1986, Int. Stat. Rev. 54), its standard error that of Swiger et al. (1964, Biometrics 20).
    """
    rows, count = float(sizes.sum()), len(sizes)
    if count < 2 or count == rows:
        return 1.0
    usual = (rows - float(sizes @ sizes) / rows) / (count - 1)
    among, within = (between - overall) / (count - 1), max(0.0, squares - between) / (rows - count)
    if among + within <= 1e-300:  # a constant
        return 0.0
    found = min(1.0, max(0.0, (among - within) / (among + (usual - 1) * within)))
    error = (
        (1 - found) * (1 + (usual - 1) * found) * np.sqrt(2 * (rows - 1) / (usual**2 * (rows - count) * (count - 1)))
    )
    return float(min(1.0, found + ndtri(_SURE) * error))
