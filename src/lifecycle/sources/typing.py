"""Convert Python values to Arrow columns; values that do not fit a column's type are reported, never altered."""

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
_NOTHING = type(None)


def infer_type(values: Sequence[Any]) -> pa.DataType:
    """Infer the type of the values: null without values, float64 for integers and floats, the most common type, else string."""
    counts = Counter(map(type, values))
    counts.pop(_NOTHING, None)
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
        places = max(0, -exponent) if isinstance(exponent, int) else None  # None: it is NaN or infinite
        return (
            pa.float64() if places is None or places > 38 else pa.decimal128(38, places)
        )  # Arrow cannot read more back
    return TYPES.get(kind, pa.string())


def widen_type(known: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type that holds both (null widens to any type, int64 to float64), None when they conflict."""
    if known == other or pa.types.is_null(other):
        return known
    if pa.types.is_null(known):
        return other
    return pa.float64() if {known, other} == {pa.int64(), pa.float64()} else None


def _list_accepted(kind: pa.DataType) -> set[type]:
    """List the Python types that a column of an Arrow type accepts."""
    if pa.types.is_timestamp(kind):
        return {_NOTHING, datetime}
    if pa.types.is_floating(kind):
        return {_NOTHING, float, int, Decimal}
    if pa.types.is_decimal(kind):
        return {_NOTHING, Decimal, int}
    if pa.types.is_string(kind):
        return {_NOTHING, str}
    return {_NOTHING, *(python for python, arrow in TYPES.items() if arrow == kind)}


def convert_values(values: Sequence[Any], kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Convert values to an array of a type; return it with the positions of values that do not fit, which are null."""
    accepted = _list_accepted(kind)
    wrong: list[int] = []
    if not set(map(type, values)) <= accepted:
        wrong = [place for place, value in enumerate(values) if type(value) not in accepted]
        values = _blank_places(values, wrong)
    with suppress(pa.ArrowException, OverflowError, ValueError):
        return pa.array(values, kind), wrong
    more = []  # an integer beyond 64 bits, too many digits for a decimal, text that is not valid Unicode
    fitted: list[pa.Scalar] = []
    for place, value in enumerate(values):
        try:
            fitted.append(pa.scalar(float(value) if pa.types.is_floating(kind) and value is not None else value, kind))
        except (pa.ArrowException, OverflowError, ValueError):
            fitted.append(pa.scalar(None, kind))
            more.append(place)
    return pa.array(fitted, kind), sorted({*wrong, *more})


def _blank_places(values: Sequence[Any], places: Sequence[int]) -> list[Any]:
    """Replace the values at some positions by None."""
    blanked = list(values)
    for place in places:
        blanked[place] = None
    return blanked


def format_value(value: Any) -> str | None:
    """Format a value as text: text unchanged, lists and mappings as JSON, other values with `str`."""
    import orjson

    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (dict, list, tuple)):
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return value.hex() if isinstance(value, bytes) else str(value)
