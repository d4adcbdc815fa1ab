"""Kinds of cells in sources whose cells have types of their own (JSON, Excel), and the column types that hold them exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Flag, auto

import pyarrow as pa

from lifecycle.sources.typing import EXACT

_INT64 = 2**63


class Kind(Flag):
    """What kinds of values a column holds; missing values have none."""

    BOOLEAN = auto()
    WHOLE = auto()  # a whole number that float64 holds exactly
    LONG = auto()  # a whole number that only int64 holds exactly
    HUGE = auto()  # a whole number beyond int64
    FRACTION = auto()  # float64
    MOMENT = auto()  # a date, with or without a time of day
    TEXT = auto()
    OTHER = auto()  # shown as text: a list, an empty object, a time of day


NOTHING = Kind(0)
Kinds = dict[str, Kind]  # by column


def classify_whole(value: int) -> Kind:
    """Return the kind of a whole number."""
    if -EXACT <= value <= EXACT:
        return Kind.WHOLE
    return Kind.LONG if -_INT64 <= value < _INT64 else Kind.HUGE


def choose_type(kind: Kind) -> pa.DataType:
    """Return the type that holds all values of these kinds exactly; values of unlike kinds are text."""
    if kind == Kind.BOOLEAN:
        return pa.bool_()
    if kind == Kind.MOMENT:
        return pa.timestamp("us")
    if kind and kind in Kind.WHOLE | Kind.LONG:
        return pa.int64()
    if kind and kind in Kind.WHOLE | Kind.FRACTION:
        return pa.float64()
    return pa.string()


def join_kinds(parts: Iterable[Mapping[str, Kind]]) -> Kinds:
    """Join the kinds of several parts of a table, with the columns in order of appearance."""
    joined: Kinds = {}
    for part in parts:
        for name, kind in part.items():
            joined[name] = joined.get(name, NOTHING) | kind
    return joined
