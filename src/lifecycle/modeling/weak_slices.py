"""Error analysis: the groups of rows in which a model errs most, found out of fold and confirmed on the hold-out.

After Chung et al. (2019), Slice Finder, ICDE: slices over single columns and pairs of columns. A search over hundreds of slices
always finds some that look bad by chance. So it only names suspects, on rows whose predictions are out of fold, and each
suspect is tested once on the hold-out, which took no part in the search, with Holm's correction for the few of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtr

from lifecycle.core.records import Frozen, Record
from lifecycle.modeling.comparisons import lose_rows
from lifecycle.modeling.metrics import Array
from lifecycle.modeling.slices import sort_categories

_ROWS = 50_000  # of the search; of more, a sample is searched
_COLUMNS = 40  # whose pairs are searched: those whose own slices stand out most
_MIN_ROWS, _MIN_SHARE = 80, 0.02  # of a suspect, so that the hold-out has enough of its rows to test it
_MIN_HELD_OUT = 20  # rows, or entities, with which the hold-out tests a suspect
_MARGIN = 2.0  # standard errors by which a slice has to stand out to be a suspect
_MIN_EFFECT = 0.2  # of a loss: Cohen's small effect
_OVERLAP = 0.5  # a suspect shares at most this part of its rows with a stronger one of its kind
_SHORTLIST = 40  # slices whose errors are computed by entity
_TINY = float(np.finfo(np.float64).eps)

Kind = Literal["loss", "over", "under"]


class Suspect(Frozen):
    """A slice that stood out in the search: its values by column, and what was measured out of fold.

    kind: loss (its mean log loss is higher than that of the other rows), over or under (its probabilities are too high or too
    low). rate and predicted are the share of positives and the mean probability, expected is the log loss that its
    probabilities themselves expect, rest the log loss of the other rows, and effect the effect size of Chung et al.
    """

    kind: Kind
    values: dict[str, str]
    rows: int
    rate: float
    predicted: float
    loss: float
    expected: float
    rest: float
    effect: float


def find_weak_slices(
    target: Array,
    probability: Array,
    slices: Mapping[str, pd.Series],
    most: int,
    seed: int,
    entities: Array | None = None,
) -> list[Suspect]:
    """Return the slices in which out-of-fold predictions err most, at most so many in loss and in bias, the worst first.

    target is 0 or 1, probability within 0 and 1, both of shape (rows,); slices: the category of each row, by column. A slice
    is the worse, the more its mean differs from that of the other rows after two standard errors of the difference are taken
    off. They are those of whole entities, where rows of one are not independent.
    """
    if not most:
        return []
    if len(target) > _ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(len(target), _ROWS, replace=False))
        target, probability = target[rows], probability[rows]
        slices = {name: column.iloc[rows] for name, column in slices.items()}
        entities = None if entities is None else entities[rows]
    errors = _measure_errors(target, probability)
    codes, names = _encode(slices)
    least = max(_MIN_ROWS, _MIN_SHARE * len(target))
    strength: dict[str, float] = {}
    cells: list[_Cell] = []
    for columns, code, count in _list_cells(codes, names, strength):
        rows = np.bincount(code, minlength=count)
        kept = np.flatnonzero((rows >= least) & (len(target) - rows >= least))
        scores = [_score_cells(values, floor, code, rows)[kept] for values, floor in errors]
        if len(columns) == 1:
            strength[columns[0]] = max(float(np.abs(score).max(initial=0)) for score in scores)
        cells += [_Cell(columns, int(cell), *map(float, both)) for cell, *both in zip(kept, *scores, strict=True)]
    found: list[Suspect] = []
    for of_bias in (False, True):
        cells.sort(key=lambda cell: -abs(cell.bias) if of_bias else -cell.loss)
        scored = [
            (member, chosen, *_compare(*errors[of_bias], member, entities))
            for member, chosen in (_find_rows(cell, codes, names) for cell in cells[:_SHORTLIST])
        ]
        found += _choose(scored, most, target, probability, of_bias=of_bias)
    return found


class _Cell(NamedTuple):
    """A slice of one or two columns, by its code, and how much it stands out in loss and in bias."""

    columns: tuple[str, ...]
    code: int
    loss: float
    bias: float


def _measure_errors(target: Array, probability: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Return each row's log loss, and by how much the outcome is above its probability, each with its least variance.

    The variance of an outcome follows from its probability. A few rows without any positive show none, which would make
    them look certain.
    """
    losses = lose_rows(target, probability, 0.5, {"false_positive": 0.0, "false_negative": 0.0})["log_loss"]
    residuals = np.asarray(target, np.float64) - probability
    return (losses, np.zeros(len(losses))), (residuals, probability * (1 - probability))


def _encode(slices: Mapping[str, pd.Series]) -> tuple[dict[str, Array], dict[str, list[str]]]:
    """Return the code of each row by column, and the names of the codes."""
    names = {column: sort_categories(categories) for column, categories in slices.items()}
    return {
        column: pd.Index(names[column]).get_indexer(pd.Index(categories.astype(str)))
        for column, categories in slices.items()
    }, names


def _list_cells(
    codes: Mapping[str, Array], names: Mapping[str, list[str]], strength: Mapping[str, float]
) -> Iterator[tuple[tuple[str, ...], Array, int]]:
    """Yield columns with the code of each row and the number of codes: first single columns, then pairs of the strongest."""
    yield from (((column,), code, len(names[column])) for column, code in codes.items())
    strongest = sorted(codes, key=lambda column: -strength[column])[:_COLUMNS]
    for one, other in combinations([column for column in codes if column in set(strongest)], 2):
        size = len(names[other])
        yield (one, other), codes[one] * size + codes[other], len(names[one]) * size


def _score_cells(values: Array, floor: Array, code: Array, rows: Array) -> Array:
    """Return by how much each code's mean differs from that of the other rows, less two standard errors (Welch); else 0."""
    total, squares = float(values.sum()), float((values**2).sum())
    sums, of_squares, least = (
        np.bincount(code, weights=part, minlength=len(rows)) for part in (values, values**2, floor)
    )
    others = len(values) - rows
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, rest = sums / rows, (total - sums) / others
        inside = np.maximum(of_squares / rows - mean**2, least / rows) / rows
        outside = np.maximum((squares - of_squares) / others - rest**2, 0) / others
        certain = np.abs(mean - rest) - _MARGIN * np.sqrt(inside + outside)
    return np.where(certain > 0, np.sign(mean - rest) * certain, 0.0)


def _find_rows(cell: _Cell, codes: Mapping[str, Array], names: Mapping[str, list[str]]) -> tuple[Array, dict[str, str]]:
    """Return which rows a slice has, and its values by column."""
    places = (cell.code,) if len(cell.columns) == 1 else divmod(cell.code, len(names[cell.columns[1]]))
    chosen = dict(zip(cell.columns, places, strict=True))
    member = np.all([codes[name] == place for name, place in chosen.items()], axis=0)
    return member, {name: names[name][place] for name, place in chosen.items()}


def _choose(
    scored: Sequence[tuple[Array, dict[str, str], float, float, int]],
    most: int,
    target: Array,
    probability: Array,
    *,
    of_bias: bool,
) -> list[Suspect]:
    """Return the suspects among a few slices: the worst that share few rows with worse ones.

    A slice has its rows, its values, and what `_compare` returns.
    """
    suspects: list[Suspect] = []
    taken: list[Array] = []
    order = sorted(scored, key=lambda item: (_MARGIN * item[3] - abs(item[2]), len(item[1])))
    for member, chosen, difference, error, _ in order:
        if len(suspects) == most or abs(difference) <= _MARGIN * error:
            break
        if any((member & other).sum() > _OVERLAP * min(member.sum(), other.sum()) for other in taken):
            continue
        measured = _describe(target, probability, member)
        if not of_bias and (difference < 0 or measured["effect"] < _MIN_EFFECT):
            continue
        kind: Kind = ("under" if difference > 0 else "over") if of_bias else "loss"
        suspects.append(Suspect(kind=kind, values=chosen, **measured))
        taken.append(member)
    return suspects


def _compare(values: Array, floor: Array, member: Array, entities: Array | None) -> tuple[float, float, int]:
    """Return the mean of some rows less that of the others, its standard error, and the degrees of freedom.

    The variance is that of independent entities (Liang & Zeger 1986, Biometrika 73), or of rows as Welch has it; `floor` is
    the least variance of each row.
    """
    inside, outside = values[member], values[~member]
    influence: Array = np.empty(len(values))
    influence[member] = (inside - inside.mean()) / len(inside)
    influence[~member] = -(outside - outside.mean()) / len(outside)
    units, parts = len(inside), influence
    if entities is not None:
        units, parts = len(np.unique(entities[member])), np.bincount(entities, weights=influence)
    variance = float((parts**2).sum()) * units / max(units - 1, 1)
    error = np.sqrt(max(variance, float(floor[member].sum()) / len(inside) ** 2))
    return float(inside.mean() - outside.mean()), float(error), units - 1


def _describe(target: Array, probability: Array, member: Array) -> Record:
    """Return what is measured of a slice: see `Suspect`."""
    losses = _measure_errors(target, probability)[0][0]
    inside = np.clip(probability[member], _TINY, 1 - _TINY)
    spread = float(np.sqrt((losses[member].var() + losses[~member].var()) / 2))
    gap = float(losses[member].mean() - losses[~member].mean())
    return {
        "rows": int(member.sum()),
        "rate": float(np.mean(target[member])),
        "predicted": float(probability[member].mean()),
        "loss": float(losses[member].mean()),
        "expected": float(-(inside * np.log(inside) + (1 - inside) * np.log(1 - inside)).mean()),
        "rest": float(losses[~member].mean()),
        "effect": gap / spread if spread > 0 else 0.0,
    }


def confirm_weak_slices(
    suspects: Sequence[Record],
    target: Array,
    probability: Array,
    slices: Mapping[str, pd.Series],
    significance: float,
    entities: Array | None = None,
) -> list[Record]:
    """Test suspects on rows that took no part in the search; return a record for each, with what is measured of these rows.

    Each is tested for what it is suspected of, in the direction of the suspicion (one-sided t, see `_compare`), and p is
    adjusted for the number of tests (Holm 1979, Scand. J. Stat. 6). A record has kind, values, found (the suspect's measures
    out of fold), p, confirmed (p below the significance), and the measures of `Suspect`; p and confirmed are None with fewer
    than 20 rows, or entities of rows that are not independent.
    """
    errors = _measure_errors(target, probability)
    records: list[Record] = []
    for suspect in suspects:
        measures = {name: value for name, value in suspect.items() if name not in ("kind", "values")}
        record = {"kind": suspect["kind"], "values": suspect["values"], "found": measures, "p": None, "confirmed": None}
        parts = [
            (slices[name].astype(str) == category).to_numpy() if name in slices else np.zeros(len(target), dtype=bool)
            for name, category in suspect["values"].items()
        ]
        member = np.all(parts, axis=0)
        if member.any() and not member.all():
            record |= _describe(target, probability, member)
        else:
            record |= {**dict.fromkeys(measures), "rows": int(member.sum())}
        units = np.arange(len(target)) if entities is None else entities
        if min(len(np.unique(units[member])), len(np.unique(units[~member]))) >= _MIN_HELD_OUT:
            difference, error, freedom = _compare(*errors[suspect["kind"] != "loss"], member, entities)
            t = difference / error if error > 0 else 0.0
            record["p"] = float(stdtr(max(freedom, 1), t if suspect["kind"] == "over" else -t))
        records.append(record)
    tested = sorted((record for record in records if record["p"] is not None), key=lambda record: float(record["p"]))
    worst = 0.0
    for place, record in enumerate(tested):
        worst = max(worst, min(1.0, record["p"] * (len(tested) - place)))
        record |= {"p": worst, "confirmed": worst < significance}
    return records
