"""The schema of requests: the contract's columns, validated strictly and quickly, and described as JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from functools import partial
from math import ceil, floor, isfinite
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Required

import typing_extensions
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import SchemaValidator

from lifecycle.core.moments import COUNTED, count_moment, read_moment
from lifecycle.core.records import Record

Row = dict[str, Any]
MAX_SHOWN_PROBLEMS = 20  # of a request; further ones are only counted
MAX_SHOWN_LETTERS = 80  # of a wrong value
_MAX_SHOWN_NAMES = 40  # of columns
_MAX_COMPARED = 1000  # names of columns that an unknown one is compared with
_MAX_SUGGESTED = 3  # unknown names of a request that are compared
_NUMBERS: dict[str, Callable[[Any], Any]] = {"bool": bool, "float64": float, "int64": int}
_MAX_INTEGER = 2**53 - 1  # beyond it two integers may be the same float64 (RFC 8259, section 6)
_CLOCK = "clock"  # the contract's format of a time of day or a duration, which the model reads in seconds
_LETTER = r"[^\s\x1c-\x1f]"  # text without one is blank, for Rust as for Python


_make_typed_dict: Any = typing_extensions.TypedDict  # its fields are known only when a bundle is loaded


class RequestError(Exception):
    """A refused request: an HTTP status, a sentence, and for a 422 a record (field, got, expected) for each problem."""

    def __init__(self, status: int, detail: str, errors: Sequence[Record] = ()) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, list(errors)


class Parsed(NamedTuple):
    """The rows of a body, with the columns of the model alone, and whether the body was a list.

    ignored: in how many rows each other column of the contract was. unseen: by row, the columns with a value that their
    open list in the contract does not have.
    """

    rows: list[Row]
    listed: bool
    ignored: dict[str, int]
    unseen: dict[int, list[str]]


_NOTHING: dict[Any, Any] = {}  # of most bodies; never changed


class Schema:
    """The columns that a model reads.

    columns: records of name, dtype, nullable, values, min, max, unit, description and example, in order, and of open,
    format and null_values where they are not as in an older bundle. rows: the maximum number of rows in a request. others:
    further columns of the contract, which a row may have and which are not kept.
    """

    def __init__(self, columns: list[Record], rows: int, others: Iterable[str] = ()) -> None:
        self.columns = {column["name"]: column for column in columns}
        self.names = tuple(self.columns)
        self.others = tuple(others)
        self.nullable = tuple(name for name, column in self.columns.items() if column["nullable"])
        self.known = {name: frozenset(column["values"]) for name, column in self.columns.items() if is_open(column)}
        self.rows = rows
        fields: dict[str, Any] = {
            name: NotRequired[annotate(column)] if column["nullable"] else Required[annotate(column)]
            for name, column in self.columns.items()
        }
        fields |= {name: NotRequired[_annotate_other(name)] for name in self.others}
        kind: Any = _make_typed_dict("Row", fields)
        kind.__pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
        self.one: TypeAdapter[Row] = TypeAdapter(kind)
        several: Any = list[kind]
        self.many: TypeAdapter[list[Row]] = TypeAdapter(Annotated[several, Field(min_length=1, max_length=rows)])
        self.parse_one: Any = as_validator(self.one).validate_json
        self.parse_many: Any = as_validator(self.many).validate_json

    def parse(self, body: bytes) -> Parsed:
        """Return the rows of a JSON body; raise RequestError naming each invalid field."""
        listed = body.lstrip()[:1] == b"["
        noted: set[str] = set()  # columns with something to count; there are none in most bodies
        try:
            rows = self.parse_many(body, context=noted) if listed else [self.parse_one(body, context=noted)]
        except ValidationError as error:
            raise self.reject(error, listed) from None
        if not noted:
            return Parsed(rows, listed, _NOTHING, _NOTHING)
        ignored = {name: _remove(rows, name) for name in self.others if name in noted}
        return Parsed(rows, listed, ignored, self.find_unseen(rows, noted.intersection(self.known)))

    def find_unseen(self, rows: list[Row], names: Iterable[str]) -> dict[int, list[str]]:
        """Return, for each row that has some, the columns with a value that their open list does not have."""
        unseen: dict[int, list[str]] = {}
        for name in sorted(names, key=self.names.index):
            for number, row in enumerate(rows):
                if (value := row.get(name)) is not None and value not in self.known[name]:
                    unseen.setdefault(number, []).append(name)
        return unseen

    def accepts(self, rows: list[Row]) -> bool:
        """Return whether rows that another schema validated have all columns of this one and no others."""
        return all(row.keys() <= self.columns.keys() <= row.keys() | set(self.nullable) for row in rows)

    def reject(self, error: ValidationError, listed: bool) -> RequestError:
        """Return a RequestError that describes what is wrong with a request."""
        problems = error.errors(include_url=False)
        if (refusal := reject_shape(problems[0], "row", self.rows)) is not None:
            return refusal
        width = 1 + listed  # a column may have tried a value in two ways
        problems = list({problem["loc"][:width]: problem for problem in reversed(problems)}.values())[::-1]
        suggested = [problem["loc"] for problem in problems if problem["type"] == "extra_forbidden"][:_MAX_SUGGESTED]
        shown = [
            self.describe(problem, listed, suggest=problem["loc"] in suggested)
            for problem in problems[:MAX_SHOWN_PROBLEMS]
        ]
        more = f" ({len(problems) - 1} more problem{'s' * (len(problems) > 2)})" if len(problems) > 1 else ""
        return RequestError(422, "{field}: got {got}, expected {expected}".format(**shown[0]) + f"{more}.", shown)

    def describe(self, problem: Any, listed: bool, *, suggest: bool) -> Record:
        """Return one problem: the field, the value and what was expected. suggest: name the column closest to an unknown one."""
        place = list(problem["loc"])
        row = place.pop(0) if listed and place else None
        name = str(place[0])[:MAX_SHOWN_LETTERS] if place else None
        record: Record = {"field": name or "(body)", "got": format_value(problem["input"])}
        if row is not None:
            record["row"] = row
        if problem["type"] == "missing":
            record["got"] = "nothing"
        if problem["type"] == "extra_forbidden":
            closest = self.find_closest(str(place[0])) if suggest else None
            return {**record, "expected": f"no such column; {closest or self.name_columns()}"}
        column = self.columns.get(name or "")
        if column is None:
            return {**record, "expected": "an object with the columns"}
        return {**record, "expected": describe_column(column) + _suggest_number(problem["input"], column)}

    def find_closest(self, name: str) -> str | None:
        """Return the known name that is most like an unknown one, as text; None where none is close, or there are too many."""
        if len(name) > MAX_SHOWN_LETTERS or len(self.names) + len(self.others) > _MAX_COMPARED:
            return None
        known = {other.strip().casefold(): other for other in (*self.others, *self.names)}
        close = get_close_matches(name.strip().casefold(), known, 1)
        return f"the closest is {known[close[0]]!r}" if close else None

    def name_columns(self) -> str:
        """Return the columns, the first of many, as text."""
        more = f" and {len(self.names) - _MAX_SHOWN_NAMES} more" if len(self.names) > _MAX_SHOWN_NAMES else ""
        return f"the columns are {', '.join(self.names[:_MAX_SHOWN_NAMES])}{more}"

    def reject_ignored(self, ignored: Iterable[str], setting: str) -> RequestError:
        """Return the RequestError for columns that the model does not read, which the setting refuses; it shows no value."""
        expected = f"no column that the model does not read, because {setting} is set"
        errors = [{"field": name, "got": "a value", "expected": expected} for name in ignored]
        return RequestError(422, f"{', '.join(ignored)}: expected {expected}.", errors)

    def to_json_schema(self, *, strict: bool = False) -> Record:
        """Return the JSON Schema of a row; with `strict` it has no columns that are ignored."""
        told = self.one.json_schema()
        shown = self.names if strict else (*self.names, *self.others)
        properties = {name: told["properties"][name] for name in shown}
        return {**told, "properties": properties, "title": "Row", "example": self.example}

    @property
    def example(self) -> Row:
        """A row made of the columns' examples."""
        return {name: column["example"] for name, column in self.columns.items()}


def reject_shape(problem: Any, noun: str, most: int) -> RequestError | None:
    """Return the RequestError for a body that is not JSON, or a list with no or too many items; None for other problems.

    noun: what the items are called.
    """
    if problem["type"] == "json_invalid":
        return RequestError(400, f"The body is not JSON: {problem['ctx']['error']}.")
    if problem["type"] == "too_long":
        return RequestError(413, f"A request may hold at most {most} {noun}s.")
    if problem["type"] == "too_short":
        return RequestError(422, f"The list has no {noun}.")
    return None


def as_validator(adapter: TypeAdapter[Any]) -> SchemaValidator:
    """Return the compiled validator of an adapter."""
    assert isinstance(adapter.validator, SchemaValidator)
    return adapter.validator


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
        kind = Annotated[bool if dtype == "bool" else float, AfterValidator(pick_from(column)), WithJsonSchema(shown)]
    elif values is not None:
        kind = Annotated[Literal[tuple(values)], Field(**about)]
    elif dtype == "float64":
        kind = Annotated[float, Field(ge=low, le=high, **about)]
    elif dtype == "bool":
        kind = Annotated[bool, Field(**about)]
    elif dtype == "datetime":
        kind = _annotate_moment(column.get("format", ""), about)
    else:
        kind = _annotate_text(column, about)
    if is_open(column) and dtype != "string":
        kind = Annotated[kind, AfterValidator(partial(_note_unknown, column["name"], frozenset(column["values"])))]
    if not column["nullable"]:
        return kind
    words = "|".join(map(re.escape, column.get("null_values", ())))
    missing = rf"^\s*({words})?\s*$" if words else r"^\s*$"
    blank = Annotated[
        str,
        AfterValidator(partial(_to_missing, re.compile(missing))),
        WithJsonSchema({"type": "string", "pattern": missing}),
    ]
    return Annotated[Annotated[kind | blank, Field(union_mode="left_to_right")] | None, Field(**about)]


def _annotate_text(column: Record, about: Record) -> Any:
    """Return the type of a column of text: blank text and the column's words for a missing value are not a value."""
    words = frozenset(word.strip() for word in column.get("null_values", ()))
    text: Any = Annotated[str, Field(pattern=_LETTER, **about)]
    if words:
        said = {"type": "string", "pattern": _LETTER, "not": {"enum": sorted(words)}, **about}
        text = Annotated[text, AfterValidator(partial(_refuse_words, words)), WithJsonSchema(said)]
    if not is_open(column):
        return text
    # a known value is found without a call into Python
    unknown: Any = Annotated[text, AfterValidator(partial(_note, column["name"]))]
    known: Any = Literal[tuple(column["values"])]
    shown = {**TypeAdapter(text).json_schema(), "examples": column["values"]}
    return Annotated[known | unknown, Field(union_mode="left_to_right"), WithJsonSchema(shown)]


def _annotate_moment(form: str, about: Record) -> Any:
    """Return the type of a column of dates or times; where the contract's format counts a unit, numbers are taken too."""
    shown = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}], **about}
    text = Annotated[str, AfterValidator(partial(read_moment, form=form))]
    if form not in COUNTED:
        return Annotated[text, WithJsonSchema(shown)]
    shown["anyOf"].append({"type": "number"})
    number = Annotated[int | float, Field(union_mode="left_to_right"), AfterValidator(partial(count_moment, form=form))]
    return Annotated[text | number, Field(union_mode="left_to_right"), WithJsonSchema(shown)]


def _annotate_other(name: str) -> Any:
    """Return the type of a column that is ignored: any value, and a note that it was there."""
    shown = {"description": "Ignored: the contract has this column, and the model does not read it."}
    return Annotated[Any, AfterValidator(partial(_note, name)), WithJsonSchema(shown)]


def _note(name: str, value: Any, info: ValidationInfo) -> Any:
    """Note in the context that a column has something to count."""
    if info.context is not None:
        info.context.add(name)
    return value


def _note_unknown(name: str, known: frozenset[Any], value: Any, info: ValidationInfo) -> Any:
    """Note in the context that a column has a value that its open list does not have."""
    return value if value in known else _note(name, value, info)


def _remove(rows: list[Row], name: str) -> int:
    """Remove a column from rows; return in how many it was."""
    return sum(row.pop(name, _NOTHING) is not _NOTHING for row in rows)


def _to_missing(pattern: re.Pattern[str], text: str) -> None:
    """Return None for text that means missing; raise ValueError for other text."""
    if not pattern.fullmatch(text):
        raise ValueError("not a word for a missing value")


def _refuse_words(words: frozenset[str], text: str) -> str:
    """Return text that does not mean missing; raise ValueError for text that does."""
    if text.strip() in words:
        raise ValueError("a word for a missing value")
    return text


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


def format_value(value: Any) -> str:
    """Return a value as short text, in JSON's notation for null, booleans and floats."""
    if isinstance(value, dict | list):
        text = f"{'object' if isinstance(value, dict) else 'list'} of {len(value)}"
    elif value is None or isinstance(value, bool | float):
        text = json.dumps(value)
    else:
        text = repr(value)
    return text if len(text) <= MAX_SHOWN_LETTERS else text[:MAX_SHOWN_LETTERS] + "…"


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
    return words + (" or null" if column["nullable"] else "")


def _suggest_number(value: Any, column: Record) -> str:
    """Return what to send in place of a number that came as text, as an ending of a sentence; empty for other values."""
    if not isinstance(value, str) or column["dtype"] not in ("int64", "float64"):
        return ""
    if column.get("format") == _CLOCK:
        return ", in seconds and without quotes"
    number = _read_number(value, column.get("format", ""))
    return f": send {number!r} without quotes" if number is not None else ", without quotes"


def _read_number(text: str, form: str) -> int | float | None:
    """Return the number that text stands for, with the marks of the format (an example such as `1.234,5`); None for other text."""
    decimal = form.rpartition("5")[0][-1:] or "."
    if len(text) > MAX_SHOWN_LETTERS or not set(text) <= {*"0123456789+-eE \u00a0\u202f", decimal, *form}:
        return None
    digits = re.sub(rf"[^0-9eE{re.escape(decimal)}+-]", "", text).replace(decimal, ".")
    try:
        number = float(digits)
    except ValueError:
        return None
    if not isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) <= _MAX_INTEGER else number
