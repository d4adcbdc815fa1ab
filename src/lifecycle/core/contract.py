"""The data contract: what every column means, strictly parsed from data/contract.yaml."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from lifecycle.core.params import FORMAT, Scalar, Strict, parse_strictly, read_yaml

Direction = Literal["increasing", "decreasing"]

ONE_HOT_CATEGORIES = 100  # of a column, each of which becomes a column of the model; with more it is target encoded
ENCODED_CATEGORIES = 10_000  # of a target-encoded column; rarer ones are taken together

Sentence = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class Role(StrEnum):
    """What a column is for."""

    ID = "id"
    TARGET = "target"
    TIME = "time"
    WEIGHT = "weight"
    NUMERIC = "numeric"
    CATEGORICAL = "categorical"
    BOOLEAN = "boolean"
    TEXT = "text"
    PII = "pii"
    IGNORED = "ignored"


class Column(Strict):
    """One column of the table.

    `values` lists all that may occur, or with `open` those that are known: further ones are counted, and a model takes them as
    unknown. `min` and `max` are inclusive, in `unit`. `format` is how the text of a time or a number is written where it is
    not ISO 8601 or plain digits (see `core.parsing`); `null_values` are the texts that mean missing, besides blank ones.
    `missing` says what a model gets where the value is absent (`impute`: median or most frequent value of the training part;
    `category`: a category of its own; `keep`: left absent), `outliers` what happens beyond Tukey's outer fences (3 IQR; fitted
    on the training part). `monotone` constrains the model: of two rows that differ in this column alone, the one with the higher
    value (of a boolean's two `values`, the second) never gets a lower probability (increasing) or a higher one (decreasing).
    `terms` makes a column of text a feature: so many of its most common words and pairs of words are learned.
    `duration` marks time since a start (such as the age of an account), `pii` what becomes of an
    identifying column, `owner` who answers for it, in place of the contract's. `others` are a target's further classes, which
    count as the one of its two `values` that is not `positive`; `spellings` maps other spellings to classes.
    """

    role: Role  # what the column is for
    dtype: Literal["string", "int64", "float64", "bool", "datetime"]  # the type of its values
    description: Sentence  # what it means, for the reports
    nullable: bool = False  # whether values may be missing
    values: tuple[Scalar, ...] | None = None  # all values that may occur
    open: bool = False  # further values may occur; `values` are those that are known
    min: float | None = None  # the least value that may occur, in `unit`
    max: float | None = None  # the greatest value that may occur, in `unit`
    unit: str = ""  # of a number, as in dollars or months
    format: str = ""  # how it is written: a time as `%d.%m.%Y` or `epoch seconds`, a number as `1.234,5`
    null_values: tuple[str, ...] = ()  # texts that mean missing, besides blank ones
    missing: Literal["impute", "category", "keep"] = "impute"  # what a model gets for a missing value
    outliers: Literal["keep", "clip", "quarantine"] = "keep"  # beyond 3 interquartile ranges
    monotone: Direction | None = None  # the predicted probability may only rise, or only fall, with the value
    terms: int = Field(default=0, ge=0, le=1000)  # of a text: how many of its words and pairs of words the model reads
    duration: bool = False  # a number that is the time since a start, such as the age of an account
    positive: Scalar | None = None  # of a target: the class whose probability is predicted
    others: tuple[str, ...] = ()  # of a target: further classes, which count as the negative one
    spellings: dict[str, str] = Field(default_factory=dict)  # of a target: other spellings of its classes
    pii: Literal["pseudonymise", "drop", "keep"] = "drop"  # what happens to role pii; keep: only looks personal
    owner: str = ""  # who answers for it, in place of the owner of the table

    @property
    def negative(self) -> Scalar:
        """The class of a target that is not the positive one."""
        return next(value for value in self.values or () if value != self.positive)

    @property
    def closed(self) -> tuple[Scalar, ...] | None:
        """All values that may occur; None where others may."""
        return None if self.open else self.values

    @property
    def _is_worded(self) -> bool:
        """Whether two words stand for true and false."""
        return self.role is Role.BOOLEAN and self.dtype == "string"

    @model_validator(mode="after")
    def check_agreement(self) -> Self:
        """Refuse what contradicts itself."""
        if (self.min is not None or self.max is not None) and self.dtype not in ("int64", "float64"):
            raise ValueError("min and max need dtype int64 or float64")
        if self.format and self.dtype not in ("datetime", "int64", "float64"):
            raise ValueError("format needs dtype datetime, int64 or float64")
        if self.format and self.dtype != "datetime" and self.format != "clock":
            from lifecycle.core.parsing import read_number_format  # it imports pandas, which no other contract needs

            read_number_format(self.format)
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        if self.role in (Role.NUMERIC, Role.WEIGHT) and self.dtype not in ("int64", "float64"):
            raise ValueError(f"role {self.role} needs dtype int64 or float64, not {self.dtype}")
        if self.role is Role.WEIGHT and (self.nullable or self.min is None or self.min < 0):
            raise ValueError("role weight needs `min: 0` or more, and no `nullable`: every row has a weight")
        if self.role is Role.TIME and self.dtype != "datetime":
            raise ValueError(f"role time needs dtype datetime, not {self.dtype}")
        wrong = [value for value in self.values or () if type(value) not in KINDS[self.dtype]]
        if wrong:
            raise ValueError(f"values {wrong} are not of dtype {self.dtype}")
        if self.open and (self.values is None or not (self.role is Role.CATEGORICAL or self._is_worded)):
            raise ValueError("`open` needs `values`, and role categorical, or role boolean with values of dtype string")
        if self.monotone and self.role not in (Role.NUMERIC, Role.BOOLEAN):
            raise ValueError("`monotone` needs role numeric or boolean")
        if self.duration and self.role is not Role.NUMERIC:
            raise ValueError("`duration` needs role numeric")
        if self.pii == "keep" and self.role is Role.PII:
            raise ValueError("`pii: keep` says that a column only looks personal, and needs another role than pii")
        return self

    @model_validator(mode="after")
    def check_text(self) -> Self:
        """Refuse terms of what is not text."""
        if self.terms and (self.role is not Role.TEXT or self.dtype != "string"):
            raise ValueError("`terms` needs role text and dtype string")
        return self

    @model_validator(mode="after")
    def check_target(self) -> Self:
        """Refuse a target without two classes, and a target's keys elsewhere."""
        if self.role is Role.TARGET:
            if self.values is None or len(self.values) != 2:
                raise ValueError("a target needs `values` with exactly its two classes")
            if self.positive not in self.values:
                raise ValueError(f"a target needs `positive`, one of its values {list(self.values)}")
            if self.nullable:
                raise ValueError("a target cannot be nullable")
            if self.spellings and (
                self.dtype != "string" or not set(self.spellings.values()) <= {*self.values, *self.others}
            ):
                raise ValueError("`spellings` need a target of dtype string, and lead to its classes")
            if self.others and (self.dtype != "string" or set(self.others) & set(self.values)):
                raise ValueError("`others` need a target of dtype string, and none of them among its values")
        elif self.positive is not None:
            raise ValueError("`positive` belongs to the target alone")
        elif self.others or self.spellings:
            raise ValueError("`others` and `spellings` belong to the target alone")
        return self


KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,), "int64": (int,), "float64": (int, float), "bool": (bool,), "datetime": (str,)
}  # fmt: skip


class Tolerance(Strict):
    """How much may be wrong before the pipeline stops: shares of rows, from 0 to 1."""

    quarantined: float = Field(ge=0, le=1)  # the share of rows in quarantine above which the pipeline stops


class Contract(Strict):
    """The table's contract: its columns in order, the columns to watch for fairness, the tolerance, and who answers for it."""

    format: Literal[2] = FORMAT  # of this file; `lifecycle upgrade` changes it
    name: Sentence  # the name of the table and of its model
    description: Sentence  # what a row is, for the reports
    owner: str = ""  # who answers for the table
    tolerance: Tolerance = Tolerance(quarantined=0.01)  # how much may be wrong before the pipeline stops
    fairness: tuple[str, ...] = ()  # the columns whose groups are compared for fairness
    monotone: dict[str, Direction] = Field(
        default_factory=dict
    )  # the same as a column's `monotone`, by derived feature
    columns: dict[str, Column]  # every column of the table, in its order

    @model_validator(mode="after")
    def check_columns(self) -> Self:
        """Refuse a contract without exactly one target, or with more than one time column."""
        targets = self.names(Role.TARGET)
        if len(targets) != 1:
            raise ValueError(f"exactly one column needs role target, found {len(targets)} {targets}")
        if len(self.names(Role.TIME)) > 1:
            raise ValueError(f"at most one column may have role time, found {self.names(Role.TIME)}")
        if len(self.names(Role.WEIGHT)) > 1:
            raise ValueError(f"at most one column may have role weight, found {self.names(Role.WEIGHT)}")
        if not self.names(Role.NUMERIC, Role.CATEGORICAL, Role.BOOLEAN, Role.TIME, Role.TEXT):
            raise ValueError("no column is left to learn from")
        if own := [name for name in self.monotone if name in self.columns]:
            raise ValueError(
                f"monotone names {own}: a column has a key `monotone` of its own; these are derived features"
            )
        for name in self.fairness:
            if name not in self.columns:
                raise ValueError(f"fairness names {name!r}, which is not a column")
        return self

    def names(self, *roles: Role) -> list[str]:
        """The names of the columns with one of the roles, in the contract's order."""
        return [name for name, column in self.columns.items() if column.role in roles]

    @property
    def target(self) -> str:
        """The target column's name."""
        return self.names(Role.TARGET)[0]

    @property
    def positive(self) -> Scalar:
        """The class of the target that a probability speaks of."""
        positive = self.columns[self.target].positive
        assert positive is not None
        return positive

    @property
    def time(self) -> str | None:
        """The time column's name, if there is one."""
        return next(iter(self.names(Role.TIME)), None)

    @property
    def weight(self) -> str | None:
        """The name of the column with the weights of rows in training, if there is one."""
        return next(iter(self.names(Role.WEIGHT)), None)


def load_contract(path: Path) -> Contract:
    """Load and check data/contract.yaml; raises ProjectError naming the file and the key."""
    return parse_strictly(Contract, read_yaml(path), path)
