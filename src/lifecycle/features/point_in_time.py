"""Features as they were known at a moment: the point-in-time join that training sets are made with."""

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
    """Give each (entity, moment) of `entities` the newest row of `history` that was there, and known, at that moment.

    entity: the column that both have. moment, event, known: columns of moments, each with a zone or in UTC; a row counts
    from when it happened (`event`) and was known on, both inclusive. Of the rows that count the one of the latest event
    is taken, then that of the latest knowledge (a correction), then the last. max_age: a row that happened longer before
    the moment than this is none. columns: what is joined on; by default all others of `history`.

    Gives `entities`, rows and index as they are, with these columns, absent where no row counts. A row of an absent entity
    or moment matches none. It takes O(n log n) for n rows of both, without a loop over entities. Raises ProjectError for a
    column that is missing, taken, or no moment.
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
            raise ProjectError(f"{name!r} is a column of entities and history both: rename one, or name other columns.")
    asked, happened = to_moments(entities[moment]), to_moments(history[event])
    learned = happened if known is None else to_moments(history[known])
    codes = pd.factorize(pd.concat([entities[entity], history[entity]], ignore_index=True))[0]
    where = find_rows(codes[: len(entities)], asked, codes[len(entities) :], happened, learned)
    if max_age is not None:
        hit = where >= 0
        where[hit] = np.where(asked[hit] - happened[where[hit]] > np.timedelta64(max_age), -1, where[hit])
    found = history[chosen].reset_index(drop=True).reindex(where)
    return pd.concat([entities, found.set_axis(entities.index, axis=0)], axis=1)


def find_rows(entity: Array, asked: Array, owner: Array, happened: Array, learned: Array) -> Array:
    """The position of the row that counts for each (entity, moment asked); -1 where none does. Shapes: (q,), (n,).

    A row can be seen from the later of its two moments on. With rows and questions in that order, entity by entity, the best
    row so far (by event, knowledge, position) is a running maximum, in which each question finds its answer.
    """
    rows = np.flatnonzero((owner >= 0) & ~np.isnat(happened) & ~np.isnat(learned))
    questions = np.flatnonzero((entity >= 0) & ~np.isnat(asked))
    count = len(rows)
    ranked = np.lexsort((learned[rows], happened[rows]))  # stable: of equals the last is the best
    rank = np.zeros(count + len(questions), dtype="int64")  # from 1 on; of a question 0
    rank[ranked] = np.arange(1, count + 1)
    who = np.concatenate([owner[rows], entity[questions]])
    when = np.concatenate([np.maximum(happened[rows], learned[rows]), asked[questions]])
    order = np.lexsort((when, who))  # stable: at one moment rows come before questions
    floor = who[order] * (count + 1)  # no entity reaches the ranks of the next
    best = np.maximum.accumulate(floor + rank[order]) - floor
    answered = (order >= count) & (best > 0)
    answer = np.full(len(asked), -1, dtype="int64")
    answer[questions[order[answered] - count]] = rows[ranked[best[answered] - 1]]
    return answer


def to_moments(column: pd.Series) -> Array:
    """A column of moments as datetime64 in UTC; raises ProjectError for any other."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    if column.dtype.kind != "M":
        raise ProjectError(f"the column {column.name!r} is {column.dtype}, expected moments (datetime64).")
    return column.to_numpy()
