"""The schema of requests: the contract's columns, validated strictly and quickly, and described as JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import ceil, floor
from typing import Annotated, Any, Literal, NotRequired, Required

import typing_extensions
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema
from pydantic_core import SchemaValidator

from lifecycle.core.records import Record

Row = dict[str, Any]
MAX_SHOWN_PROBLEMS = 20  # of a request; further ones are only counted
MAX_SHOWN_LETTERS = 80  # of a wrong value
_NUMBERS: dict[str, Callable[[Any], Any]] = {"bool": bool, "float64": float, "int64": int}
_MAX_INTEGER = 2**53 - 1  # beyond it two integers may be the same float64 (RFC 8259, section 6)


_make_typed_dict: Any = typing_extensions.TypedDict  # its fields are known only when a bundle is loaded


class RequestError(Exception):
    """A refused request: an HTTP status, a sentence, and for a 422 a record (field, got, expected) for each problem."""

    def __init__(self, status: int, detail: str, errors: Sequence[Record] = ()) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, list(errors)


class Schema:
    """The columns that a model reads.

    columns: records of name, dtype, nullable, values, min, max, unit, description and example, in order. rows: the maximum
    number of rows in a request.
    """

    def __init__(self, columns: list[Record], rows: int) -> None:
        self.columns = {column["name"]: column for column in columns}
        self.names = tuple(self.columns)
        self.nullable = tuple(name for name, column in self.columns.items() if column["nullable"])
        self.rows = rows
        fields: dict[str, Any] = {
            name: NotRequired[annotate(column)] if column["nullable"] else Required[annotate(column)]
            for name, column in self.columns.items()
        }
        kind: Any = _make_typed_dict("Row", fields)
        kind.__pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
        self.one: TypeAdapter[Row] = TypeAdapter(kind)
        several: Any = list[kind]
        self.many: TypeAdapter[list[Row]] = TypeAdapter(Annotated[several, Field(min_length=1, max_length=rows)])
        self.parse_one: Any = as_validator(self.one).validate_json
        self.parse_many: Any = as_validator(self.many).validate_json

    def parse(self, body: bytes) -> tuple[list[Row], bool]:
        """Return the rows of a JSON body and whether it was a list; raise RequestError naming each invalid field."""
        listed = body.lstrip()[:1] == b"["
        try:
            return (self.parse_many(body), True) if listed else ([self.parse_one(body)], False)
        except ValidationError as error:
            raise self.reject(error, listed) from None

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
        shown = [self.describe(problem, listed) for problem in problems[:MAX_SHOWN_PROBLEMS]]
        more = f" ({len(problems) - 1} more problem{'s' * (len(problems) > 2)})" if len(problems) > 1 else ""
        return RequestError(422, "{field}: got {got}, expected {expected}".format(**shown[0]) + f"{more}.", shown)

    def describe(self, problem: Any, listed: bool) -> Record:
        """Return one problem: the field, the value and what was expected."""
        place = list(problem["loc"])
        row = place.pop(0) if listed and place else None
        name = str(place[0])[:MAX_SHOWN_LETTERS] if place else None
        record: Record = {"field": name or "(body)", "got": format_value(problem["input"])}
        if row is not None:
            record["row"] = row
        if problem["type"] == "missing":
            record["got"] = "nothing"
        if problem["type"] == "extra_forbidden":
            return {**record, "expected": "no such column; the columns are " + ", ".join(self.names)}
        column = self.columns.get(name or "")
        return {**record, "expected": "an object with the columns" if column is None else describe_column(column)}

    def to_json_schema(self) -> Record:
        """Return the JSON Schema of a row."""
        return {**self.one.json_schema(), "title": "Row", "example": self.example}

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


def annotate(column: Record) -> Any:
    """Return a column's type for pydantic, with its limits and its description."""
    about = {"description": column["description"] + (f" In {column['unit']}." if column["unit"] else "")}
    low, high, dtype = column["min"], column["max"], column["dtype"]
    kind: Any
    if dtype == "int64" and (limits := find_limits(column)) is not None:
        shown = {"type": "integer", "minimum": limits[0], "maximum": limits[1], **about}
        if column["values"] is not None:
            shown = {"enum": column["values"], **about}
        among = Field(ge=limits[0], le=limits[1])
        # 3.0 is an integer in JSON; the first alternative matches nearly always and is four times as fast
        whole: Any = Annotated[int, among] | Annotated[float, among, AfterValidator(to_whole)]
        kind = Annotated[whole, Field(union_mode="left_to_right"), WithJsonSchema(shown)]
    elif column["values"] is not None and dtype in _NUMBERS:
        shown = {"enum": column["values"], **about}
        kind = Annotated[bool if dtype == "bool" else float, AfterValidator(pick_from(column)), WithJsonSchema(shown)]
    elif column["values"] is not None:
        kind = Annotated[Literal[tuple(column["values"])], Field(**about)]
    elif dtype == "float64":
        kind = Annotated[float, Field(ge=low, le=high, **about)]
    elif dtype == "bool":
        kind = Annotated[bool, Field(**about)]
    elif dtype == "datetime":
        shown = {"type": "string", "format": "date-time", **about}
        kind = Annotated[str, AfterValidator(to_utc), WithJsonSchema(shown)]
    else:
        kind = Annotated[str, Field(**about)]
    return kind | None if column["nullable"] else kind


def find_limits(column: Record) -> tuple[int, int] | None:
    """Return the smallest and the largest integer that a column accepts; None when its `values` leave gaps."""
    if column["values"] is not None:
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


def to_utc(text: str) -> datetime:
    """Return an ISO 8601 time in UTC without a zone; a time without a zone is taken as UTC. Raises ValueError.

    pydantic's own validator would also accept "1769860800", seconds since 1970.
    """
    if text[10:11] not in ("T", "t", " "):
        raise ValueError("a time needs a date and a time of day")
    moment = datetime.fromisoformat(text)
    try:
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except OverflowError as error:
        raise ValueError("the time in UTC is out of range") from error


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
        "datetime": "a time such as 2026-01-31T12:00:00Z",
    }[column["dtype"]]  # fmt: skip
    if column["values"] is not None:
        words = "one of " + ", ".join(map(repr, column["values"]))
    elif low is not None and high is not None:
        words += f" from {low:g} to {high:g}"
    elif low is not None:
        words += f" of at least {low:g}"
    elif high is not None:
        words += f" of at most {high:g}"
    words += f" {column['unit']}" if column["unit"] else ""
    return words + (" or null" if column["nullable"] else "")
