"""The point-in-time join: features as they were known at a moment, for training sets without leakage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.errors import ProjectError

Array = np.ndarray[Any, Any]


def join_as_of(
    entities: pd.DataFrame, history: pd.DataFrame, *, entity: str, moment: str, event: str, known: str | None = None,
    max_age: pd.Timedelta | None = None, columns: Sequence[str] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Join to each (entity, moment) of `entities` the newest row of `history` that was known at that moment.

    entity: the column that both have. moment, event, known: columns of moments, with a zone or in UTC; a row counts when
    it had happened (`event`) and was known, both inclusive. Of these rows the one with the latest event is taken, then
    the one known latest (a correction), then the last. max_age: rows that happened longer before the moment do not
    count. columns: the columns to join; by default all others of `history`.

    Returns `entities` with these columns, missing where no row counts. A row with a missing entity or moment matches
    nothing. Takes O(n log n) for n rows of both, without a loop over entities. Raises ProjectError for a column that is
    missing, exists in both, or does not hold moments.
    """
    for frame, names, role in ((entities, (entity, moment), "entities"), (history, (entity, event, known), "history")):
        if missing := [name for name in names if name is not None and name not in frame]:
            raise ProjectError(f"the {role} have no column {missing[0]!r}.")
    keys = {entity, event, known}
    chosen = [name for name in history if name not in keys] if columns is None else list(columns)
    for name in chosen:
        if name not in history:
            raise ProjectError(f"the history has no column {name!r}.")
        if name in entities:
            raise ProjectError(
                f"{name!r} is a column of both the entities and the history: rename one, or choose other columns."
            )
    asked, happened = _to_moments(entities[moment]), _to_moments(history[event])
    learned = happened if known is None else _to_moments(history[known])
    codes = pd.factorize(pd.concat([entities[entity], history[entity]], ignore_index=True))[0]
    where = _find_rows(codes[: len(entities)], asked, codes[len(entities) :], happened, learned)
    if max_age is not None:
        hit = where >= 0
        where[hit] = np.where(asked[hit] - happened[where[hit]] > np.timedelta64(max_age), -1, where[hit])
    found = history[chosen].reset_index(drop=True).reindex(where)
    return pd.concat([entities, found.set_axis(entities.index, axis=0)], axis=1)


def _find_rows(entity: Array, asked: Array, owner: Array, happened: Array, learned: Array) -> Array:
    """Return the position of the row for each (entity, moment asked), -1 without one. Shapes: (q,), (n,).

    A row counts from the later of its two moments on. With rows and questions sorted by entity and moment, the best row so
    far (by event, knowledge, position) is a running maximum, from which each question reads its answer.
    """
    rows = np.flatnonzero((owner >= 0) & ~np.isnat(happened) & ~np.isnat(learned))
    questions = np.flatnonzero((entity >= 0) & ~np.isnat(asked))
    count = len(rows)
    ranked = np.lexsort((learned[rows], happened[rows]))  # stable: the last of equal rows is the best
    rank = np.zeros(count + len(questions), dtype="int64")  # from 1 for rows, 0 for questions
    rank[ranked] = np.arange(1, count + 1)
    who = np.concatenate([owner[rows], entity[questions]])
    when = np.concatenate([np.maximum(happened[rows], learned[rows]), asked[questions]])
    order = np.lexsort((when, who))  # stable: rows come before questions at the same moment
    floor = who[order] * (count + 1)  # the ranks of different entities do not overlap
    best = np.maximum.accumulate(floor + rank[order]) - floor
    answered = (order >= count) & (best > 0)
    answer = np.full(len(asked), -1, dtype="int64")
    answer[questions[order[answered] - count]] = rows[ranked[best[answered] - 1]]
    return answer


def _to_moments(column: pd.Series) -> Array:
    """Convert a column of moments to datetime64 in UTC; raise ProjectError for another type."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    if column.dtype.kind != "M":
        raise ProjectError(f"the column {column.name!r} is {column.dtype}, expected moments (datetime64).")
    return column.to_numpy()
