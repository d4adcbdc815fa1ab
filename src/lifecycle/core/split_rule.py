"""The record of the rule by which rows were held out, which the features, a release and a retraining share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lifecycle.core.records import Frozen, Moment

ValueKind = Literal["number", "time", "text"]  # how the values of a column are compared


class SplitRule(Frozen):
    """Which rows were held out, so that a model was not fitted on them; `modeling.rule` applies it to other rows.

    ids: rows of which any id has a salted hash below `share`. content: rows whose values in `columns` have one. time: rows since
    the moment `since`. rows: some that only their place in a table tells from rows that equal them. champion: a model
    that cannot have learned from the held-out rows either, because retraining chose them so.
    """

    kind: Literal["ids", "content", "time", "rows"]
    ids: list[str] = Field(default_factory=list)
    columns: dict[str, ValueKind] = Field(default_factory=dict)
    salt: int = 0
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    since: Moment | None = None
    champion: str | None = None
