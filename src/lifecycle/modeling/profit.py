"""Profit by capacity: which rows to act on when not all can be, and what that is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array

from lifecycle.core.errors import ProjectError
from lifecycle.core.expressions import parse_expression
from lifecycle.core.paths import PARAMS
from lifecycle.core.records import Record
from lifecycle.features.inputs import to_array
from lifecycle.modeling.bootstrap import draw_counts, draw_entities
from lifecycle.modeling.intervals import LEVEL, bound_draws, count_cases, estimate_draws
from lifecycle.modeling.metrics import Array
from lifecycle.reporting.wording import quote

_CELLS = 500  # places in the order of the rows that a bootstrap tells apart
_STEPS = 100  # capacities of the curve


@dataclass(frozen=True)
class Worth:
    """What acting on a row is worth: its benefit if the row is positive, less its cost, both float64 of shape (rows,).

    by_row: whether they differ between rows. note: a sentence about what could not be taken as it is written.
    """

    benefit: Array
    cost: Array
    by_row: bool
    note: str

    def expect(self, probability: Array) -> Array:
        """Return the expected value of acting on each row."""
        return np.asarray(probability * self.benefit - self.cost)


def value_rows(rows: pd.DataFrame, value: Mapping[str, str | float], cost: Mapping[str, float], target: str) -> Worth:
    """Return the worth of acting on validated rows, from `evaluate.value` or, where that is empty, from `train.cost`.

    Acting on a negative row costs a false positive, acting on a positive one avoids a false negative, so that an action costs
    `cost[false_positive]` and its benefit is the sum of both (Elkan 2001). An expression reads the columns of `rows`. A
    column that the rows lack, as rows from a prediction log may, leaves the constants in place, and rows without a value get
    the mean of the others; the note says both. Raises ProjectError for an expression that is not one, that reads the
    target, or that has no value for any row.
    """
    constants = {"benefit": cost["false_positive"] + cost["false_negative"], "cost": cost["false_positive"]}
    absent = {
        name: None for part, text in value.items() if isinstance(text, str) and text.strip()
        for name in parse_expression(text, f"evaluate.value.{part}", "parameter").columns if name not in rows
    }  # fmt: skip
    notes, found = [], {}
    if absent:
        value = dict.fromkeys(constants, "")
        names = " and ".join(map(quote, absent))
        notes.append(f"`evaluate.value` reads {names}, which these rows do not have: `train.cost` is used instead.")
    for name, constant in constants.items():
        given = value[name]
        if isinstance(given, str) and given.strip():
            found[name], missing = _evaluate(rows, given, name, target)
            if missing:
                notes.append(f"Rows without a {name}, {missing:,} of them, get the mean of the others.")
        else:
            found[name] = np.full(len(rows), constant if isinstance(given, str) else float(given))
    by_row = any(len(np.unique(part)) > 1 for part in found.values())
    return Worth(found["benefit"], found["cost"], by_row, " ".join(notes))


def _evaluate(rows: pd.DataFrame, text: str, name: str, target: str) -> tuple[Array, int]:
    """Return an expression's value of each row, and how many rows had none."""
    place = f"{PARAMS}: evaluate.value.{name}"
    expression = parse_expression(text, f"evaluate.value.{name}", "parameter")
    if target in expression.columns:
        raise ProjectError(f"{place} reads {target!r}, which is not known when rows are chosen.")
    try:
        values = expression.evaluate({column: to_array(rows[column]) for column in expression.columns})
    except (TypeError, ValueError) as error:
        raise ProjectError(f"{place} cannot be computed: {text!r} ({error}).") from error
    missing = np.isnan(values)
    if missing.all():
        raise ProjectError(f"{place} has no value for any row: {text!r}.")
    return np.where(missing, values[~missing].mean(), values), int(missing.sum())


def trace_profit(
    target: Array,
    probability: Array,
    worth: Worth,
    *,
    capacity: int,
    population: int,
    replicates: int,
    seed: int,
    entities: Array | None = None,
) -> tuple[pd.DataFrame, Record]:
    """Return the profit of acting on the best rows, for each capacity and for the one that is wanted.

    The best rows are those of the highest expected value, which are those of the highest probability where costs and
    benefits are the same for all rows. Of rows that are equally good the same share is taken, as a random choice does on
    average. The hold-out stands for `population` rows, to which capacities and profits are scaled. capacity 0: all rows whose
    expected value is above 0. Intervals are those of a bootstrap of rows, or of entities with all of their rows.

    The curve has capacity, value, low, high and random, the profit of so many rows at random. The record has capacity,
    population, by (probability or expected value), cutoff (of the last row), value, found (the share of positives that are
    among the rows), random, rule (capacity and value of all rows of positive expected value), and best, the capacity of
    greatest profit on these rows with the interval of its place, and its profit.
    """
    actual = np.asarray(target) == 1
    expected = worth.expect(np.asarray(probability, np.float64))
    score = expected if worth.by_row else np.asarray(probability, np.float64)
    gained = np.where(actual, worth.benefit, 0.0) - worth.cost
    place = np.unique(-score, return_inverse=True)[1]
    rule = float((expected >= 0).mean())
    wanted = min(capacity / population, 1.0) if capacity else rule
    shares = np.append(np.arange(_STEPS + 1) / _STEPS, [wanted, rule])
    cells = int(place.max()) + 1
    counts, sums = (np.bincount(place, weights=part, minlength=cells)[None] for part in (np.ones(len(place)), gained))
    profit, best = _accumulate(counts, sums, shares)
    found, _ = _accumulate(counts, np.bincount(place, weights=actual, minlength=cells)[None], shares[[-2]])
    draws = _draw_cells(_join_places(place), actual, gained, replicates, seed, entities)
    drawn = [_accumulate(*part, shares) for part in draws]
    profits, places = (np.concatenate(part) for part in zip(*drawn, strict=True))

    profit, profits, cases = profit[0] * population, profits * population, count_cases(target, entities)

    def estimate(position: int) -> Record:
        return estimate_draws(profit[position], profits[:, position], cases)

    low, high = bound_draws(profit[:-2], profits[:, :-2], cases)
    curve = pd.DataFrame({
        "capacity": shares[:-2] * population, "value": profit[:-2], "low": low, "high": high,
        "random": shares[:-2] * gained.mean() * population,
    })  # fmt: skip
    first, last = np.quantile(places, ((1 - LEVEL) / 2, (1 + LEVEL) / 2)) * population
    place_of_best = {"value": float(best[0] * population), "low": float(first), "high": float(last)}
    ranked = np.sort(score)[::-1]
    return curve, {
        "capacity": round(wanted * population),
        "population": population,
        "by": "expected value" if worth.by_row else "probability",
        "cutoff": float(ranked[min(max(round(wanted * len(ranked)) - 1, 0), len(ranked) - 1)]),
        "value": estimate(-2),
        "found": float(found[0, 0] / actual.mean()),
        "random": float(wanted * gained.mean() * population),
        "rule": {"capacity": round(rule * population), "value": estimate(-1)},
        "best": {"capacity": place_of_best, "value": float(_profit_at(counts, sums, best[0]) * population)},
        "note": worth.note,
    }  # fmt: skip


def _profit_at(counts: Array, sums: Array, share: float) -> float:
    """Return the profit per row of acting on a share of the rows."""
    return float(_accumulate(counts, sums, np.array([share]))[0][0, 0])


def _join_places(place: Array) -> Array:
    """Return each row's place in the order with at most CELLS places, neighbours joined in groups of equal size."""
    rows = np.bincount(place)
    if len(rows) <= _CELLS:
        return place
    group = ((np.cumsum(rows) - rows / 2) * (_CELLS / len(place))).astype(np.int64)
    return np.asarray(np.unique(group, return_inverse=True)[1][place])


def _accumulate(counts: Array, sums: Array, shares: Array) -> tuple[Array, Array]:
    """Return the sum over the first rows, per row, at each share of the rows, and the share at which it is greatest.

    counts and sums: of each place in the order, shape (some, places); the results have the shapes (some, shares) and (some,).
    """
    zero = np.zeros((len(counts), 1))
    rows, total = (np.concatenate([zero, np.cumsum(part, axis=1)], axis=1) for part in (counts, sums))
    size = rows[:, -1]
    at = np.stack([np.interp(shares * end, row, value) for row, value, end in zip(rows, total, size, strict=True)])
    best = np.take_along_axis(rows, total.argmax(axis=1)[:, None], axis=1)[:, 0]
    return at / size[:, None], best / size


def _draw_cells(
    place: Array, actual: Array, gained: Array, replicates: int, seed: int, entities: Array | None
) -> Iterator[tuple[Array, Array]]:
    """Yield bootstrap replicates of the rows and of the sum of `gained` at each place: pairs of shape (some, cells).

    Rows of one class at one place are drawn together; where they differ in `gained`, their sum is drawn from the normal
    distribution that it then nearly has.
    """
    cells = int(place.max()) + 1
    if entities is not None:
        owner, column = np.concatenate([entities, entities]), np.concatenate([place, cells + place])
        parts = np.concatenate([np.ones(len(place)), gained])
        matrix = coo_array((parts, (owner, column)), shape=(int(entities.max()) + 1, 2 * cells)).tocsr()
        yield from ((drawn[:, :cells], drawn[:, cells:]) for drawn in draw_entities(matrix, replicates, seed))
        return
    kind = 2 * place + actual
    rows = np.bincount(kind, minlength=2 * cells).astype(np.float64)
    kept = np.flatnonzero(rows)
    mean = (np.bincount(kind, weights=gained, minlength=2 * cells)[kept]) / rows[kept]
    squares = np.bincount(kind, weights=gained**2, minlength=2 * cells)[kept] / rows[kept]
    spread = np.sqrt(np.maximum(squares - mean**2, 0.0))
    spread[spread < 1e-9 * (1 + np.abs(mean))] = 0.0
    generator = np.random.default_rng(seed)
    for drawn in draw_counts(rows[kept], replicates, seed):
        sums = drawn * mean
        if spread.any():
            sums += np.sqrt(drawn) * spread * generator.standard_normal(drawn.shape)
        full = np.zeros((2, len(drawn), 2 * cells))
        full[0][:, kept], full[1][:, kept] = drawn, sums
        counts, total = (part.reshape(len(drawn), cells, 2).sum(axis=2) for part in full)
        yield counts, total
