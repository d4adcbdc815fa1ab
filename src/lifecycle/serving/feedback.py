"""Feedback: labels of earlier predictions and the actions that followed them, by the request id of the prediction."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from lifecycle.serving.bundle import Bundle
from lifecycle.serving.request_ids import Signer
from lifecycle.serving.schema import MAX_SHOWN_LETTERS, RequestError, format_value, reject_shape

_REMEMBERED = 100_000  # request ids whose label was counted, so that a repeated label is not counted twice


MAX_ACTION_LETTERS = 80
_EMPTY = "empty"  # the type of the error of a report with neither a label nor an action


def _refuse_null(value: Any) -> Any:
    """Return the value; raise PydanticCustomError for null: what is not known is left out."""
    if value is None:
        raise PydanticCustomError("null", "null")
    return value


class Feedback(BaseModel):
    """The label of an earlier prediction, what was done after it, such as a call, or both."""

    model_config = ConfigDict(extra="forbid", strict=True)

    request_id: Annotated[str, Field(max_length=100)]
    label: Annotated[bool | int | float | str | None, BeforeValidator(_refuse_null)] = None
    action: Annotated[str | None, Field(min_length=1, max_length=MAX_ACTION_LETTERS), BeforeValidator(_refuse_null)] = (
        None
    )

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        """Raise PydanticCustomError for a report that says nothing."""
        if self.label is None and self.action is None:
            raise PydanticCustomError(_EMPTY, "neither a label nor an action")
        return self


class FeedbackReader:
    """Parses bodies of POST /feedback, and compares labels with what was predicted.

    max_rows: reports that one request may hold.
    """

    def __init__(self, signer: Signer, max_rows: int) -> None:
        self.signer, self.max_rows = signer, max_rows
        self.one = TypeAdapter(Feedback)
        self.many: TypeAdapter[list[Feedback]] = TypeAdapter(
            Annotated[list[Feedback], Field(min_length=1, max_length=max_rows)]
        )
        self.counted: dict[str, None] = {}

    def parse(self, body: bytes) -> tuple[list[Feedback], bool]:
        """Return the reports in a JSON body and whether the body is a list; raise RequestError for an invalid body."""
        listed = body.lstrip()[:1] == b"["
        try:
            return self.many.validate_json(body) if listed else [self.one.validate_json(body)], listed
        except ValidationError as error:
            raise _reject(error, listed, self.max_rows) from None

    def compare(self, feedback: Feedback, bundle: Bundle | None) -> tuple[str, bool | None]:
        """Return the model that predicted and whether it was right; None when it predicted no class, or no label is known.

        Raises RequestError for a request id that this service did not sign, and for a label that is not a class.
        """
        try:
            prediction = self.signer.read(feedback.request_id)
        except ValueError:
            message = f"request_id: {feedback.request_id[:60]!r} is not an id that this service issued."
            raise RequestError(422, message) from None
        if bundle is None or feedback.label is None:
            return prediction.model, None
        manifest = bundle.manifest
        classes = (manifest.negative, manifest.positive)
        if not any(feedback.label == label and type(feedback.label) is type(label) for label in classes):
            expected = f"one of {', '.join(map(repr, classes))}"
            raise RequestError(422, f"label: got {format_value(feedback.label)}, expected {expected}.")
        if prediction.positive is None:
            return prediction.model, None
        return prediction.model, (feedback.label == manifest.positive) == prediction.positive

    def is_first(self, request_id: str) -> bool:
        """Return whether this is the first label for a request id that this worker sees."""
        if request_id in self.counted:
            return False
        self.counted[request_id] = None
        while len(self.counted) > _REMEMBERED:
            self.counted.pop(next(iter(self.counted)))
        return True


def _reject(error: ValidationError, listed: bool, max_rows: int) -> RequestError:
    """Return a RequestError that describes what is wrong with the body of POST /feedback."""
    problem: Any = error.errors(include_url=False)[0]
    if (refusal := reject_shape(problem, "label", max_rows)) is not None:
        return refusal
    place = list(problem["loc"][1 if listed else 0 :])
    field = str(place[0])[:MAX_SHOWN_LETTERS] if place else "(body)"
    if problem["type"] == _EMPTY:
        field = "label"
    got = "nothing" if problem["type"] in {"missing", _EMPTY} else format_value(problem["input"])
    expected = {
        "request_id": "the id of a prediction", "label": "a class, unless an action is reported alone",
        "action": f"a text of 1 to {MAX_ACTION_LETTERS} letters", "(body)": "an object with request_id, and label, action or both",
    }.get(field, "no such field; the fields are request_id, label, action")  # fmt: skip
    return RequestError(422, f"{field}: got {got}, expected {expected}.")
