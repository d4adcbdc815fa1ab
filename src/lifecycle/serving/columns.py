"""One column of a request: its type for pydantic with the contract's rules, and what it accepts in words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from math import ceil, floor, isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from lifecycle.core.moments import COUNTED, WORDS, count_moment, read_moment, read_truth
from lifecycle.core.records import Record

_NUMBERS: dict[str, Callable[[Any], Any]] = {"bool": bool, "float64": float, "int64": int}
_MAX_INTEGER = 2**53 - 1  # beyond it two integers may be the same float64 (RFC 8259, section 6)
_CLOCK = "clock"  # the contract's format of a time of day or a duration, which the model reads in seconds
_LETTER = r"[^\s\x1c-\x1f]"  # text without one is blank, for Rust as for Python
_LONGEST = 80  # characters of a number in text that is read


def is_open(column: Record) -> bool:
    """Return whether a column lists the values that are known, and takes further ones; an older bundle does not say."""
    return column["values"] is not None and bool(column.get("open"))


def annotate(column: Record) -> Any:
    """Return a column's type for pydantic, with its limits and its description."""
    about = {"description": column["description"] + (f" In {column['unit']}." if column["unit"] else "")}
    low, high, dtype = column["min"], column["max"], column["dtype"]
    values = None if is_open(column) else column["values"]
    kind: Any
    if dtype == "int64" and (limits := find_limits(column)) is not None:
        shown = {"type": "integer", "minimum": limits[0], "maximum": limits[1], **about}
        if values is not None:
            shown = {"enum": values, **about}
        among = Field(ge=limits[0], le=limits[1])
        # 3.0 is an integer in JSON; the first alternative matches nearly always and is four times as fast
        whole: Any = Annotated[int, among] | Annotated[float, among, AfterValidator(to_whole)]
        kind = Annotated[whole, Field(union_mode="left_to_right"), WithJsonSchema(shown)]
    elif values is not None and dtype in _NUMBERS:
        shown = {"enum": values, **about}
        number: Any = bool | Annotated[str, AfterValidator(read_truth)] if dtype == "bool" else float
        kind = Annotated[number, AfterValidator(pick_from(column)), WithJsonSchema(shown)]
    elif values is not None:
        kind = Annotated[Literal[tuple(values)], Field(**about)]
    elif dtype == "float64":
        kind = Annotated[float, Field(ge=low, le=high, **about)]
    elif dtype == "bool":
        kind = _annotate_truth(about)
    elif dtype == "datetime":
        kind = _annotate_moment(column.get("format", ""), about)
    else:
        kind = _annotate_text(column, about)
    if is_open(column) and dtype != "string":
        kind = Annotated[kind, AfterValidator(partial(_note_unknown, column["name"], frozenset(column["values"])))]
    if not column["nullable"] and not column.get("null_values"):
        return kind
    if not column["nullable"]:
        return Annotated[kind, BeforeValidator(partial(_refuse_missing, *_find_missing(column)))]
    missing = _annotate_missing(column)  # it goes first where a word for a missing value may look like another value
    either: Any = missing | kind if column.get("null_values") else kind | missing
    return Annotated[Annotated[either, Field(union_mode="left_to_right")] | None, Field(**about)]


def _find_missing(column: Record) -> tuple[re.Pattern[str], frozenset[float]]:
    """Return the pattern of text that means missing, blank text included, and the numbers that do, such as -999."""
    words = [word.strip() for word in column.get("null_values", ())]
    pattern = rf"^\s*({'|'.join(map(re.escape, words))})?\s*$" if words else r"^\s*$"
    form = column.get("format", "")
    numbers = (_read_number(word, form) for word in words if column["dtype"] in _NUMBERS or form in COUNTED)
    return re.compile(pattern), frozenset(number for number in numbers if number is not None)


def _annotate_missing(column: Record) -> Any:
    """Return the type of what means missing in a column, apart from null."""
    pattern, numbers = _find_missing(column)
    check = AfterValidator(partial(_to_missing, pattern, numbers))
    text: Any = Annotated[str, check, WithJsonSchema({"type": "string", "pattern": pattern.pattern})]
    if not numbers:
        return text
    number = Annotated[int | float, Field(union_mode="left_to_right")]
    return text | Annotated[number, check, WithJsonSchema({"enum": sorted(numbers)})]


def _annotate_text(column: Record, about: Record) -> Any:
    """Return the type of a column of text, which is not blank."""
    text: Any = Annotated[str, Field(pattern=_LETTER, **about)]
    if not is_open(column):
        return text
    # a known value is found without a call into Python
    unknown: Any = Annotated[text, AfterValidator(partial(_note, column["name"]))]
    known: Any = Literal[tuple(column["values"])]
    shown = {"type": "string", "pattern": _LETTER, "examples": column["values"], **about}
    return Annotated[known | unknown, Field(union_mode="left_to_right"), WithJsonSchema(shown)]


def _annotate_truth(about: Record) -> Any:
    """Return the type of true and false, and of the words for them, which a table of text has."""
    letters = (
        "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else re.escape(letter) for letter in word)
        for word in WORDS
    )
    shown = {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": rf"^\s*({'|'.join(letters)})\s*$"}], **about}
    word = Annotated[str, AfterValidator(read_truth)]
    return Annotated[bool | word, Field(union_mode="left_to_right"), WithJsonSchema(shown)]


def _annotate_moment(form: str, about: Record) -> Any:
    """Return the type of a column of dates or times; where the contract's format counts a unit, numbers are taken too."""
    shown = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}], **about}
    text = Annotated[str, AfterValidator(partial(read_moment, form=form))]
    if form not in COUNTED:
        return Annotated[text, WithJsonSchema(shown)]
    shown["anyOf"].append({"type": "number"})
    number = Annotated[int | float, Field(union_mode="left_to_right"), AfterValidator(partial(count_moment, form=form))]
    return Annotated[text | number, Field(union_mode="left_to_right"), WithJsonSchema(shown)]


def annotate_other(name: str) -> Any:
    """Return the type of a column that is ignored: any value, and a note that it was there."""
    why = "the contract has this column, and the model does not read it" if name else "a column without a name"
    shown = {"description": f"Ignored: {why}."}
    return Annotated[Any, AfterValidator(partial(_note, name)), WithJsonSchema(shown)]


def _note(name: str, value: Any, info: ValidationInfo) -> Any:
    """Note in the context that a column has something to count."""
    if info.context is not None:
        info.context.add(name)
    return value


def _note_unknown(name: str, known: frozenset[Any], value: Any, info: ValidationInfo) -> Any:
    """Note in the context that a column has a value that its open list does not have."""
    return value if value in known else _note(name, value, info)


def _is_missing(pattern: re.Pattern[str], numbers: frozenset[float], value: Any) -> bool:
    """Return whether text or a number means missing."""
    if isinstance(value, str):
        return pattern.fullmatch(value) is not None
    return type(value) in (int, float) and value in numbers


def _to_missing(pattern: re.Pattern[str], numbers: frozenset[float], value: Any) -> None:
    """Return None for what means missing; raise ValueError for other values."""
    if not _is_missing(pattern, numbers, value):
        raise ValueError("a value")


def _refuse_missing(pattern: re.Pattern[str], numbers: frozenset[float], value: Any) -> Any:
    """Return a value; raise ValueError for one that means missing."""
    if _is_missing(pattern, numbers, value):
        raise ValueError("a missing value")
    return value


def find_limits(column: Record) -> tuple[int, int] | None:
    """Return the smallest and the largest integer that a column accepts; None when its `values` leave gaps."""
    if column["values"] is not None and not is_open(column):
        low, high = int(min(column["values"])), int(max(column["values"]))
        return (low, high) if sorted(column["values"]) == list(range(low, high + 1)) else None
    low = -_MAX_INTEGER if column["min"] is None else max(ceil(column["min"]), -_MAX_INTEGER)
    high = _MAX_INTEGER if column["max"] is None else min(floor(column["max"]), _MAX_INTEGER)
    return low, high


def pick_from(column: Record) -> Callable[[Any], Any]:
    """Return a function that converts a value to the column's dtype; it raises ValueError for one not among its `values`.

    A Literal would accept true for 1, because they are equal in Python.
    """
    known = {value: _NUMBERS[column["dtype"]](value) for value in column["values"]}

    def pick(value: Any) -> Any:
        if value not in known:
            raise ValueError("not one of the column's values")
        return known[value]

    return pick


def to_whole(number: float) -> int:
    """Return a float as an integer; raise ValueError when it has a fraction (pydantic's `multiple_of` is not exact)."""
    whole = int(number)
    if whole != number:
        raise ValueError("not a whole number")
    return whole


def describe_column(column: Record) -> str:
    """Return what a column accepts, as text."""
    low, high = column["min"], column["max"]
    words = {
        "string": "a string", "int64": "a whole number", "float64": "a finite number", "bool": "true or false",
        "datetime": "a date or time such as 2026-01-31 or 2026-01-31T12:00:00Z",
    }[column["dtype"]]  # fmt: skip
    if column["dtype"] == "datetime" and (form := column.get("format")):
        words += f", or in {form}" if form in COUNTED else f", or in the format {form}"
    if column["values"] is not None and not is_open(column):
        words = "one of " + ", ".join(map(repr, column["values"]))
    elif low is not None and high is not None:
        words += f" from {low:g} to {high:g}"
    elif low is not None:
        words += f" of at least {low:g}"
    elif high is not None:
        words += f" of at most {high:g}"
    words += f" {column['unit']}" if column["unit"] else ""
    if column["nullable"]:
        return words + " or null"
    missing = ", ".join(column.get("null_values", ()))
    return words + (f" that does not mean missing, as {missing} does" if missing else "")


def suggest_form(value: Any, column: Record) -> str:
    """Return what to send in place of a number that came as text, or of text that came as a number, as an ending of a sentence.

    It is empty for other values.
    """
    if column["dtype"] == "string" and isinstance(value, bool | int | float):
        text = json.dumps(value).removesuffix(".0")  # as numbers are converted to text
        known = column["values"] is None or is_open(column) or text in column["values"]
        return f": send {json.dumps(text)}" if known else ""
    if not isinstance(value, str) or column["dtype"] not in ("int64", "float64"):
        return ""
    if column.get("format") == _CLOCK:
        return ", in seconds and without quotes"
    number = _read_number(value, column.get("format", ""))
    return f": send {number!r} without quotes" if number is not None else ", without quotes"


def _read_number(text: str, form: str) -> int | float | None:
    """Return the number that text stands for, with the marks of the format (an example such as `1.234,5`); None for other text."""
    decimal = form.rpartition("5")[0][-1:] or "."
    if len(text) > _LONGEST or not set(text) <= {*"0123456789+-eE \u00a0\u202f", decimal, *form}:
        return None
    digits = re.sub(rf"[^0-9eE{re.escape(decimal)}+-]", "", text).replace(decimal, ".")
    try:
        number = float(digits)
    except ValueError:
        return None
    if not isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) <= _MAX_INTEGER else number
