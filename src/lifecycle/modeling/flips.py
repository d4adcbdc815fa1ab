"""Decision flips: the rows that a candidate would treat otherwise than the champion does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lifecycle.core.records import Record
from lifecycle.modeling.comparisons import inflate_share
from lifecycle.modeling.intervals import bound_share
from lifecycle.modeling.metrics import Array
from lifecycle.modeling.slices import sort_categories


def count_flips(
    candidate: Array,
    champion: Array,
    slices: Mapping[str, pd.Series],
    min_support: int,
    entities: Array | None = None,
) -> Record:
    """Return the share of rows whose decision differs between two models, of all rows and by slice.

    candidate and champion: whether each model predicts a row positive, at its own threshold; bool, shape (rows,). The record
    has rows, and as shares with Wilson's 95% interval flips, to_positive (only the candidate predicts it) and to_negative;
    and by_slice, records of the same with column and category, of the slices with at least `min_support` rows. entities: the
    entity of each row; where rows of one are not independent, the intervals are those of fewer rows.
    """
    masks = {"flips": candidate != champion, "to_positive": candidate & ~champion, "to_negative": champion & ~candidate}
    (everything,) = _measure(masks, np.zeros(len(candidate), dtype=np.int64), 1, entities)
    found = []
    for column, categories in slices.items():
        names = sort_categories(categories)
        codes = pd.Index(names).get_indexer(pd.Index(categories.astype(str)))
        parts = _measure(masks, codes, len(names), entities)
        found += [
            {"column": column, "category": name, **part}
            for name, part in zip(names, parts, strict=True)
            if part["rows"] >= min_support
        ]
    return {**everything, "by_slice": found}


def _measure(masks: Mapping[str, Array], codes: Array, count: int, entities: Array | None) -> list[Record]:
    """Return for each category (a code from 0) its rows, and the share of each mask with its interval."""
    rows = np.bincount(codes, minlength=count)
    records: list[Record] = [{"rows": int(size)} for size in rows]
    for name, hit in masks.items():
        hits = np.bincount(codes, weights=hit, minlength=count)
        inflation = np.ones(count)
        if entities is not None:
            inflation = inflate_share(hit, np.ones(len(hit), dtype=bool), codes, entities)
        low, high = bound_share(hits / inflation, rows / inflation)
        for record, *numbers in zip(records, hits / np.maximum(rows, 1), low, high, strict=True):
            record[name] = dict(zip(("value", "low", "high"), map(float, numbers), strict=True))
    return records
