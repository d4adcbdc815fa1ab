"""Convert Python values to Arrow columns; values that do not fit a column's type are reported, never altered."""

from __future__ import annotations

import json
import re
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
EXACT = 2**53  # float64 holds every whole number up to this one, and not all beyond
FEW = 0.01  # the share of a column's values that may be of another type than the column
WHOLE = pa.decimal128(38, 0)  # whole numbers beyond 64 bits
_LONG = re.compile(rb"\d{19}")  # digits of a number that may not fit into 64 bits
_PLACES = 38  # digits of a decimal that Arrow reads back
_NOTHING = type(None)


def infer_type(values: Sequence[Any]) -> pa.DataType:
    """Infer the type of most of the values: null without values, string for a type that Arrow lacks.

    Numbers are one type. They are int64 when all are whole (as 5.0 is, next to 5); decimal128(38, 0) when several, and more
    than 1 %, are beyond 64 bits; float64 when there are more fractions than whole numbers that float64 would alter.
    """
    counts: Counter[type] = Counter()
    for kind, count in Counter(map(type, values)).items():
        counts[int if kind is float else kind] += count
    counts.pop(_NOTHING, None)
    if not counts:
        return pa.null()
    most = max(counts, key=counts.__getitem__)
    if most is int:
        return _infer_number([value for value in values if type(value) is int or type(value) is float])
    if most is datetime:
        zoned = any(type(value) is datetime and value.tzinfo is not None for value in values)
        return pa.timestamp("us", "UTC" if zoned else None)
    if most is Decimal:
        return _infer_decimal([value for value in values if type(value) is Decimal])
    return TYPES.get(most, pa.string())


def _infer_number(numbers: Sequence[int | float]) -> pa.DataType:
    """Infer the type of whole numbers and floats."""
    whole = [number for number in numbers if type(number) is int]
    if not whole:
        return pa.float64()
    if len(whole) == len(numbers) and min(whole) >= -(2**63) and max(whole) < 2**63:
        return pa.int64()
    fractions = sum(not _is_whole(number) for number in numbers if type(number) is float)
    if fractions and fractions > sum(abs(number) > EXACT for number in whole):
        return pa.float64()
    wide = sum(not -(2**63) <= number < 2**63 for number in whole)
    return WHOLE if wide > max(1, FEW * len(whole)) else pa.int64()


def _infer_decimal(numbers: Sequence[Decimal]) -> pa.DataType:
    """Return decimal128 with the most places that occur; string when Arrow has fewer, or for NaN and infinity."""
    exponents = [number.as_tuple().exponent for number in numbers]
    places = max((max(0, -exponent) for exponent in exponents if isinstance(exponent, int)), default=_PLACES + 1)
    return pa.string() if places > _PLACES else pa.decimal128(_PLACES, places)


def widen_type(known: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type that holds both (null widens to any type, int64 to float64), None when they conflict.

    float64 holds whole numbers up to 2^53 only: who widens a column checks its values.
    """
    if known == other or pa.types.is_null(other):
        return known
    if pa.types.is_null(known):
        return other
    return pa.float64() if {known, other} == {pa.int64(), pa.float64()} else None


def describe_type(kind: pa.DataType) -> str:
    """Describe what a column of a type expects, in words."""
    for test, words in _WORDS:
        if test(kind):
            return f"{words} ({kind})"
    return str(kind)


_WORDS = (
    (pa.types.is_boolean, "true or false"),
    (pa.types.is_integer, "a whole number"),
    (pa.types.is_floating, "a number"),
    (pa.types.is_decimal, "a number"),
    (pa.types.is_timestamp, "a date and time"),
    (pa.types.is_date, "a date"),
    (pa.types.is_time, "a time of day"),
    (pa.types.is_string, "text"),
    (pa.types.is_binary, "bytes"),
)


def _list_accepted(kind: pa.DataType) -> set[type]:
    """List the Python types whose values are a column's values as they are."""
    if pa.types.is_timestamp(kind):
        return {_NOTHING, datetime}
    if pa.types.is_decimal(kind):
        return {_NOTHING, Decimal, int}
    if pa.types.is_string(kind):
        return {_NOTHING, str}
    if pa.types.is_integer(kind):
        return {_NOTHING, int}
    return {_NOTHING, *(python for python, arrow in TYPES.items() if arrow == kind)}


def _is_whole(number: float) -> bool:
    """Return whether a float is a whole number, one that no other number was rounded to."""
    return number.is_integer() and abs(number) <= EXACT


def _fit_value(value: Any, kind: pa.DataType) -> Any:
    """Return a number as a value of a column of another type, None when it is not exact there."""
    if type(value) is float and (pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        return int(value) if _is_whole(value) else None
    if type(value) is int and pa.types.is_floating(kind):
        return float(value) if abs(value) <= EXACT else None
    if type(value) is Decimal and pa.types.is_floating(kind):
        return None if value.is_snan() else float(value)  # the column is declared as binary floating point
    return format_value(value) if type(value) is Decimal and pa.types.is_string(kind) else None


def convert_values(values: Sequence[Any], kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Convert values to an array of a type; return it with the positions of values that do not fit, which are null."""
    accepted = _list_accepted(kind)
    wrong: list[int] = []
    if not set(map(type, values)) <= accepted:
        fitted = [value if type(value) in accepted else _fit_value(value, kind) for value in values]
        wrong = [place for place, value in enumerate(fitted) if value is None and values[place] is not None]
        values = fitted
    with suppress(pa.ArrowException, OverflowError, ValueError):
        return pa.array(values, kind), wrong
    more = []  # an integer beyond 64 bits, too many digits for a decimal, text that is not valid Unicode
    scalars: list[pa.Scalar] = []
    for place, value in enumerate(values):
        try:
            scalars.append(pa.scalar(value, kind))
        except (pa.ArrowException, OverflowError, ValueError):
            scalars.append(pa.scalar(None, kind))
            more.append(place)
    return pa.array(scalars, kind), sorted({*wrong, *more})


def parse_json(text: bytes) -> Any:
    """Parse JSON (UTF-8) with whole numbers of any size; raise ValueError for other text."""
    import orjson

    value = orjson.loads(text)
    if _LONG.search(text) is None:
        return value
    try:
        return json.loads(text)  # orjson reads whole numbers beyond 64 bits as floats
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def format_json(value: Any) -> str:
    """Format a value as JSON without blanks: whole numbers of any size, NaN and infinity as Python writes them."""
    import orjson

    with suppress(TypeError):  # whole numbers beyond 64 bits
        text = orjson.dumps(value, default=format_value, option=orjson.OPT_NON_STR_KEYS).decode()
        if "null" not in text:  # as orjson writes NaN and infinity
            return text
    return json.dumps(value, default=format_value, ensure_ascii=False, separators=(",", ":"))


def format_value(value: Any) -> str | None:
    """Format a value as text: text unchanged, decimals with their digits, lists and mappings as JSON, others with `str`."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (dict, list, tuple)):
        return format_json(value)
    return value.hex() if isinstance(value, bytes) else str(value)
