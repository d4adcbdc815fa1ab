"""Python values as Arrow columns: what does not fit a column's type is told, never bent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

TYPES = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    bytes: pa.binary(),
    date: pa.date32(),
    time: pa.time64("us"),
}
NOTHING = type(None)


def infer_type(values: Sequence[Any]) -> pa.DataType:
    """The type of most of the values: null where there are none, float64 for integers beside floats, else string."""
    counts = Counter(map(type, values))
    counts.pop(NOTHING, None)
    if float in counts:
        counts[float] += counts.pop(int, 0)
    if not counts:
        return pa.null()
    kind = max(counts, key=counts.__getitem__)
    if kind is datetime:
        zoned = any(type(value) is datetime and value.tzinfo is not None for value in values)
        return pa.timestamp("us", "UTC" if zoned else None)
    if kind is Decimal:
        exponent = next(value for value in values if type(value) is Decimal).as_tuple().exponent
        return pa.decimal128(38, max(0, -exponent)) if isinstance(exponent, int) else pa.float64()
    return TYPES.get(kind, pa.string())


def widen_type(known: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds both: null gives way to any, int64 to float64; None where the two clash."""
    if known == other or pa.types.is_null(other):
        return known
    if pa.types.is_null(known):
        return other
    return pa.float64() if {known, other} == {pa.int64(), pa.float64()} else None


def list_accepted(kind: pa.DataType) -> set[type]:
    """The Python types that a column of an Arrow type takes."""
    if pa.types.is_timestamp(kind):
        return {NOTHING, datetime}
    if pa.types.is_floating(kind):
        return {NOTHING, float, int, Decimal}
    if pa.types.is_decimal(kind):
        return {NOTHING, Decimal, int}
    if pa.types.is_string(kind):
        return {NOTHING, str}
    return {NOTHING, *(python for python, arrow in TYPES.items() if arrow == kind)}


def convert_values(values: Sequence[Any], kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Values as an array of a type, and the places of those that do not fit it, which are null there."""
    accepted = list_accepted(kind)
    wrong: list[int] = []
    if not set(map(type, values)) <= accepted:
        wrong = [place for place, value in enumerate(values) if type(value) not in accepted]
        values = blank_places(values, wrong)
    with suppress(pa.ArrowException, OverflowError, ValueError):
        return pa.array(values, kind), wrong
    more = []  # an integer of more than 64 bits, digits beyond a decimal's, a text that is no Unicode
    fitted: list[pa.Scalar] = []
    for place, value in enumerate(values):
        try:
            fitted.append(pa.scalar(float(value) if pa.types.is_floating(kind) and value is not None else value, kind))
        except (pa.ArrowException, OverflowError, ValueError):
            fitted.append(pa.scalar(None, kind))
            more.append(place)
    return pa.array(fitted, kind), sorted({*wrong, *more})


def blank_places(values: Sequence[Any], places: Sequence[int]) -> list[Any]:
    """The values with None in some places."""
    blanked = list(values)
    for place in places:
        blanked[place] = None
    return blanked


def spell_value(value: Any) -> str | None:
    """A value as text: texts as they are, lists and mappings as JSON, all else as Python says it."""
    import orjson

    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (dict, list, tuple)):
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return value.hex() if isinstance(value, bytes) else str(value)
