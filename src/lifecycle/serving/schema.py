"""The schema of requests: the contract's columns, validated strictly and quickly, and described as JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, NamedTuple, NotRequired, Required

import typing_extensions
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import SchemaValidator

from lifecycle.core.records import Record
from lifecycle.serving.columns import annotate, annotate_other, describe_column, is_open, suggest_form

Row = dict[str, Any]
MAX_SHOWN_PROBLEMS = 20  # of a request; further ones are only counted
MAX_SHOWN_LETTERS = 80  # of a wrong value
_MAX_SHOWN_NAMES = 40  # of columns
_MAX_COMPARED = 1000  # names of columns that an unknown one is compared with
_MAX_SUGGESTED = 3  # unknown names of a request that are compared


_make_typed_dict: Any = typing_extensions.TypedDict  # its fields are known only when a bundle is loaded


class RequestError(Exception):
    """A refused request: an HTTP status, a sentence, and for a 422 a record (field, got, expected) for each problem."""

    def __init__(self, status: int, detail: str, errors: Sequence[Record] = ()) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, list(errors)


class Parsed(NamedTuple):
    """The rows of a body, with the columns of the model alone, and whether the body was a list.

    ignored: in how many rows each other column of the contract was. unseen: by row, the columns with a value that their
    open list in the contract does not have. entities: by row, the id of what it is about, where it has one.
    """

    rows: list[Row]
    listed: bool
    ignored: dict[str, int]
    unseen: dict[int, list[str]]
    entities: dict[int, int | str]


_UNNAMED = ""  # the column of row names in a table that pandas or R wrote is ignored, as it has no name
_NOTHING: dict[Any, Any] = {}  # of most bodies; never changed


class Schema:
    """The columns that a model reads.

    columns: records of name, dtype, nullable, values, min, max, unit, description and example, in order, and of open,
    format and null_values where they are not as in an older bundle. rows: the maximum number of rows in a request. others:
    further columns of the contract, which a row may have and which are not kept; a column without a name is one of them.
    entity: that of these which names what a row is about, for the log.
    """

    def __init__(self, columns: list[Record], rows: int, others: Iterable[str] = (), entity: str | None = None) -> None:
        self.columns = {column["name"]: column for column in columns}
        self.names = tuple(self.columns)
        self.others = (*others, _UNNAMED)
        self.entity = entity
        self.nullable = tuple(name for name, column in self.columns.items() if column["nullable"])
        self.known = {name: frozenset(column["values"]) for name, column in self.columns.items() if is_open(column)}
        self.rows = rows
        fields: dict[str, Any] = {
            name: NotRequired[annotate(column)] if column["nullable"] else Required[annotate(column)]
            for name, column in self.columns.items()
        }
        fields |= {name: NotRequired[annotate_other(name)] for name in self.others}
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
            return Parsed(rows, listed, _NOTHING, _NOTHING, _NOTHING)
        entities = self.find_entities(rows) if self.entity in noted else _NOTHING
        ignored = {name: _remove(rows, name) for name in self.others if name in noted}
        return Parsed(rows, listed, ignored, self.find_unseen(rows, noted.intersection(self.known)), entities)

    def find_entities(self, rows: list[Row]) -> dict[int, int | str]:
        """Return, for each row that has one, the id of its entity: a whole number or a short text."""
        ids: dict[int, Any] = {number: row.get(str(self.entity)) for number, row in enumerate(rows)}
        return {number: value for number, value in ids.items() if is_id(value)}

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
        return {**record, "expected": describe_column(column) + suggest_form(problem["input"], column)}

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


def is_id(value: Any) -> bool:
    """Return whether a value can be an id: a whole number, or a text of at most so many letters as are shown of one."""
    return type(value) is int or (isinstance(value, str) and 0 < len(value) <= MAX_SHOWN_LETTERS)


def _remove(rows: list[Row], name: str) -> int:
    """Remove a column from rows; return in how many it was."""
    return sum(row.pop(name, _NOTHING) is not _NOTHING for row in rows)


def format_value(value: Any) -> str:
    """Return a value as short text, in JSON's notation for null, booleans and floats."""
    if isinstance(value, dict | list):
        text = f"{'object' if isinstance(value, dict) else 'list'} of {len(value)}"
    elif value is None or isinstance(value, bool | float):
        text = json.dumps(value)
    else:
        text = repr(value)
    return text if len(text) <= MAX_SHOWN_LETTERS else text[:MAX_SHOWN_LETTERS] + "…"
