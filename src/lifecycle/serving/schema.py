"""What a request may hold: the contract's columns, checked strictly and quickly, and told as JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import ceil, floor
from typing import Annotated, Any, Literal, NotRequired, Required

import typing_extensions
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema
from pydantic_core import SchemaValidator

Record = dict[str, Any]
Row = dict[str, Any]
SHOWN = 20  # problems of a request that are told; the rest is counted
CUT = 80  # letters of a wrong value that are told
NUMBERS: dict[str, Callable[[Any], Any]] = {"bool": bool, "float64": float, "int64": int}
WHOLE = 2**53 - 1  # beyond it two whole numbers may be one float64 (RFC 8259, 6)


make_typed_dict: Any = typing_extensions.TypedDict  # its fields are known when a bundle is loaded, not before


class RequestError(Exception):
    """A request that breaks the schema: an HTTP status, a sentence, and a record (field, got, expected) for each problem."""

    def __init__(self, status: int, detail: str, errors: Sequence[Record] = ()) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, list(errors)


class Schema:
    """The columns that a model reads.

    columns: records of name, dtype, nullable, values, min, max, unit, description and example, in order. rows: how many
    one request may hold.
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
        kind: Any = make_typed_dict("Row", fields)
        kind.__pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
        self.one: TypeAdapter[Row] = TypeAdapter(kind)
        several: Any = list[kind]
        self.many: TypeAdapter[list[Row]] = TypeAdapter(Annotated[several, Field(min_length=1, max_length=rows)])
        self.parse_one: Any = as_validator(self.one).validate_json
        self.parse_many: Any = as_validator(self.many).validate_json

    def parse(self, body: bytes) -> tuple[list[Row], bool]:
        """The rows of a JSON body, and whether it was a list; raises RequestError naming each field that is wrong."""
        listed = body.lstrip()[:1] == b"["
        try:
            return (self.parse_many(body), True) if listed else ([self.parse_one(body)], False)
        except ValidationError as error:
            raise self.reject(error, listed) from None

    def takes(self, rows: list[Row]) -> bool:
        """Whether rows that another schema admitted have all columns of this one, and no others."""
        return all(row.keys() <= self.columns.keys() <= row.keys() | set(self.nullable) for row in rows)

    def reject(self, error: ValidationError, listed: bool) -> RequestError:
        """Say what is wrong with a request."""
        problems = error.errors(include_url=False)
        if (refusal := reject_shape(problems[0], "row", self.rows)) is not None:
            return refusal
        width = 1 + listed  # a column may have tried a value in two ways
        problems = list({problem["loc"][:width]: problem for problem in reversed(problems)}.values())[::-1]
        told = [self.describe(problem, listed) for problem in problems[:SHOWN]]
        more = f" ({len(problems) - 1} more problem{'s' * (len(problems) > 2)})" if len(problems) > 1 else ""
        return RequestError(422, "{field}: got {got}, expected {expected}".format(**told[0]) + f"{more}.", told)

    def describe(self, problem: Any, listed: bool) -> Record:
        """One problem: where, what came and what was expected."""
        place = list(problem["loc"])
        row = place.pop(0) if listed and place else None
        name = str(place[0])[:CUT] if place else None
        record: Record = {"field": name or "(body)", "got": format_value(problem["input"])}
        if row is not None:
            record["row"] = row
        if problem["type"] == "missing":
            record["got"] = "nothing"
        if problem["type"] == "extra_forbidden":
            return {**record, "expected": "no such column; there are " + ", ".join(self.names)}
        column = self.columns.get(name or "")
        return {**record, "expected": "an object with the columns" if column is None else describe_column(column)}

    def to_json_schema(self) -> Record:
        """One row as JSON Schema."""
        return {**self.one.json_schema(), "title": "Row", "example": self.example}

    @property
    def example(self) -> Row:
        """A row of the contract's examples."""
        return {name: column["example"] for name, column in self.columns.items()}


def reject_shape(problem: Any, noun: str, most: int) -> RequestError | None:
    """The refusal of a body that is no JSON, or a list of too many or no things called `noun`; None for another problem."""
    if problem["type"] == "json_invalid":
        return RequestError(400, f"The body is not JSON: {problem['ctx']['error']}.")
    if problem["type"] == "too_long":
        return RequestError(413, f"A request may hold at most {most} {noun}s.")
    if problem["type"] == "too_short":
        return RequestError(422, f"The list holds no {noun}.")
    return None


def as_validator(adapter: TypeAdapter[Any]) -> SchemaValidator:
    """The compiled validator of an adapter."""
    assert isinstance(adapter.validator, SchemaValidator)
    return adapter.validator


def annotate(column: Record) -> Any:
    """A column's type for pydantic, with its limits and words."""
    words = {"description": column["description"] + (f" In {column['unit']}." if column["unit"] else "")}
    low, high, dtype = column["min"], column["max"], column["dtype"]
    kind: Any
    if dtype == "int64" and (limits := find_limits(column)) is not None:
        told = {"type": "integer", "minimum": limits[0], "maximum": limits[1], **words}
        if column["values"] is not None:
            told = {"enum": column["values"], **words}
        among = Field(ge=limits[0], le=limits[1])
        # 3.0 is a whole number in JSON; the first of the two takes nearly all, and is four times as quick
        whole: Any = Annotated[int, among] | Annotated[float, among, AfterValidator(to_whole)]
        kind = Annotated[whole, Field(union_mode="left_to_right"), WithJsonSchema(told)]
    elif column["values"] is not None and dtype in NUMBERS:
        told = {"enum": column["values"], **words}
        kind = Annotated[bool if dtype == "bool" else float, AfterValidator(pick_from(column)), WithJsonSchema(told)]
    elif column["values"] is not None:
        kind = Annotated[Literal[tuple(column["values"])], Field(**words)]
    elif dtype == "float64":
        kind = Annotated[float, Field(ge=low, le=high, **words)]
    elif dtype == "bool":
        kind = Annotated[bool, Field(**words)]
    elif dtype == "datetime":
        told = {"type": "string", "format": "date-time", **words}
        kind = Annotated[str, AfterValidator(to_utc), WithJsonSchema(told)]
    else:
        kind = Annotated[str, Field(**words)]
    return kind | None if column["nullable"] else kind


def find_limits(column: Record) -> tuple[int, int] | None:
    """The least and the greatest whole number that a column takes; None where its `values` leave some between them out."""
    if column["values"] is not None:
        low, high = int(min(column["values"])), int(max(column["values"]))
        return (low, high) if sorted(column["values"]) == list(range(low, high + 1)) else None
    low = -WHOLE if column["min"] is None else max(ceil(column["min"]), -WHOLE)
    high = WHOLE if column["max"] is None else min(floor(column["max"]), WHOLE)
    return low, high


def pick_from(column: Record) -> Callable[[Any], Any]:
    """What gives a column's value as its dtype; ValueError for one that is not among its `values`.

    A Literal would take true for 1, which it equals in Python.
    """
    known = {value: NUMBERS[column["dtype"]](value) for value in column["values"]}

    def pick(value: Any) -> Any:
        if value not in known:
            raise ValueError("not one of the column's values")
        return known[value]

    return pick


def to_whole(number: float) -> int:
    """A float as the whole number that it is; ValueError where it is none (pydantic's `multiple_of` is not exact)."""
    whole = int(number)
    if whole != number:
        raise ValueError("no whole number")
    return whole


def to_utc(text: str) -> datetime:
    """A moment of ISO 8601 in UTC, without a zone; one without a zone is in UTC already. ValueError where it is none.

    pydantic's own would take "1769860800", seconds since 1970, too.
    """
    if text[10:11] not in ("T", "t", " "):
        raise ValueError("a moment has a date and a time")
    moment = datetime.fromisoformat(text)
    try:
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except OverflowError as error:
        raise ValueError("the moment in UTC is out of range") from error


def format_value(value: Any) -> str:
    """What came, in a few letters; what JSON has a word for, by that."""
    if isinstance(value, dict | list):
        text = f"{'object' if isinstance(value, dict) else 'list'} of {len(value)}"
    elif value is None or isinstance(value, bool | float):
        text = json.dumps(value)
    else:
        text = repr(value)
    return text if len(text) <= CUT else text[:CUT] + "…"


def describe_column(column: Record) -> str:
    """What a column takes, in words."""
    low, high = column["min"], column["max"]
    words = {
        "string": "a string", "int64": "a whole number", "float64": "a finite number", "bool": "true or false",
        "datetime": "a moment such as 2026-01-31T12:00:00Z",
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
