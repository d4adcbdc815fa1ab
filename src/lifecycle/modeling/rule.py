"""The rule by which rows were held out, so that of any row it can be said whether a model can have learned from it.

A release records its rule, not its rows or ids: releases are public, and people can be erased. A row's key, its id or else
its content, is hashed alike in a table and in a prediction log, whatever their dtypes are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.contract import Contract, Role
from lifecycle.core.split_rule import SplitRule, ValueKind
from lifecycle.core.values import name_category, to_numbers
from lifecycle.validation.sampling import hash_values, scramble

Array = np.ndarray[Any, Any]

_KINDS: dict[Role, ValueKind] = {Role.NUMERIC: "number", Role.TIME: "time"}  # of other roles: text
_WHOLE = re.compile(r"-?[1-9][0-9]{0,17}|0")  # an id that is the same as a number and as text
_BITS = np.uint64(11)  # of a hash that a float64 between 0 and 1 cannot hold


def list_kinds(contract: Contract, names: Sequence[str]) -> dict[str, ValueKind]:
    """Return how the values of each of these columns are compared."""
    return {name: _KINDS.get(contract.columns[name].role, "text") for name in names}


def hash_content(values: pd.Series, kind: ValueKind) -> Array:
    """Return a hash of each value, uint64 (rows,), the same for a table's dtype and for the JSON of a request."""
    if kind == "number":
        return hash_values(pd.Series(to_numbers(values)))
    if kind == "time":
        return hash_values(pd.to_datetime(values, utc=True, format="ISO8601", errors="coerce").dt.tz_localize(None))
    if isinstance(values.dtype, pd.StringDtype):
        return hash_values(values)
    codes, distinct = pd.factorize(values)
    names = pd.Series([name_category(value) for value in distinct.tolist()], dtype="str")
    return np.append(hash_values(names), hash_values(pd.Series([None], dtype="str")))[codes]


def hash_ids(values: pd.Series) -> Array:
    """Return a hash of each id, uint64 (rows,): the same for 12, 12.0 and "12"; where it is missing, see `values.isna()`."""
    if pd.api.types.is_integer_dtype(values.dtype):
        return hash_values(values)
    codes, distinct = pd.factorize(values)
    plain = [_read_whole(value) for value in distinct.tolist()]
    whole = np.array([value is not None for value in plain], dtype=bool)
    hashes = hash_values(pd.Series([str(value) for value in distinct.tolist()], dtype="str"))
    hashes[whole] = hash_values(pd.Series([value for value in plain if value is not None], dtype="int64"))
    return np.append(hashes, np.uint64(0))[codes]


def _read_whole(value: Any) -> int | None:
    """Return an id that is a whole number, also as text, as an int; None for any other."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return int(value) if _WHOLE.fullmatch(str(value)) else None


def place_hashes(hashes: Array, salt: int) -> Array:
    """Return where salted hashes are between 0 and 1, float64 (rows,): `share` of all are below `share`."""
    return (scramble(hashes, salt) >> _BITS) * 2.0**-53


def hash_rows(read: Callable[[str], Iterable[pd.Series]], columns: Mapping[str, ValueKind], rows: int) -> Array:
    """Return a hash of each row's values in these columns, uint64 (rows,), whatever the order of the columns.

    read: returns the parts of a column by its name, so that one column is in memory at a time.
    """
    hashes = np.zeros(rows, dtype=np.uint64)
    for name, kind in sorted(columns.items()):
        start = 0
        for part in read(name):
            here = slice(start, start + len(part))
            hashes[here] = scramble(hashes[here] ^ hash_content(part, kind))
            start = here.stop
    return hashes


def find_unlearned(
    rule: SplitRule, frame: pd.DataFrame, moments: pd.Series | None = None, *, logged: bool = False
) -> Array:  # fmt: skip
    """Return which rows a model with this rule cannot have learned from, as a mask (rows,).

    moments: the time of each row. logged: whether the rows are requests that were labelled later, each another case than
    any row of a table. Where a row lacks what the rule needs, the model may have learned from it.
    """
    if rule.kind == "rows":
        return np.full(len(frame), logged)
    if rule.kind == "time":
        if moments is None or rule.since is None:
            return np.zeros(len(frame), dtype=bool)
        return np.asarray(pd.to_datetime(moments, utc=True) >= pd.Timestamp(rule.since))
    if rule.kind == "content":
        known = set(rule.columns) <= set(frame)
        hashes = hash_rows(lambda name: [frame[name]], rule.columns, len(frame)) if known else None
        places = [] if hashes is None else [place_hashes(hashes, rule.salt)]
    else:
        places = [
            np.where(frame[name].notna(), place_hashes(hash_ids(frame[name]), rule.salt), 1.0)
            for name in rule.ids
            if name in frame
        ]
    return np.asarray(np.min([np.ones(len(frame)), *places], axis=0) < rule.share)


def to_moment(microseconds: int) -> datetime:
    """Return a time of a table, microseconds since 1970, in UTC."""
    return pd.Timestamp(microseconds, unit="us", tz="UTC").to_pydatetime()
