"""The declaration of the features: what a model may read, and how the rows were split."""

from __future__ import annotations

from typing import Literal

from lifecycle.core.contract import Direction
from lifecycle.core.params import Scalar
from lifecycle.core.records import Frozen
from lifecycle.core.split_rule import SplitRule

WORDED = ("categorical", "text")  # kinds of features whose values are strings


class Feature(Frozen):
    """A feature: its kind, where its values come from, the columns it reads, and the contract's rules for it.

    expression: None for a column of the same name. values: the two values of a boolean column, the second being 1, or
    the categories of a categorical one. terms: how many terms of a text are learned.
    """

    name: str
    kind: Literal["numeric", "categorical", "boolean", "text"]
    source: Literal["column", "time", "derived"]
    expression: str | None
    columns: list[str]
    missing: str
    outliers: str
    values: list[Scalar] | None
    unit: str
    monotone: Direction | None = None
    terms: int = 0
    description: str


class Split(Frozen):
    """How rows were split, and for the training part and the hold-out their rows, share of positives, groups and moments.

    left_rows: on neither side. ids: the columns whose equal values kept rows on one side; unused_ids: those that would have
    connected most rows. equal_rows: whether there are rows that equal others, and whether they stayed together. rule: by which any
    row is held out or not.
    """

    strategy: Literal["stratified", "time", "group", "time_group", "order"]
    test_share: float
    gap: str
    train_rows: int
    test_rows: int
    left_rows: int
    train_rate: float
    test_rate: float
    ids: list[str]
    unused_ids: list[str]
    repeating_ids: list[str]
    equal_rows: Literal["none", "together", "apart"]
    rows_without_id: int
    rows_without_time: int
    train_groups: int | None
    test_groups: int | None
    train_first: str | None
    train_last: str | None
    test_first: str | None
    test_last: str | None
    rule: SplitRule


class FeatureDeclaration(Frozen):
    """What features.json holds: the target, the columns that identify a row, its weight, the features, and the split."""

    target: str
    positive: Scalar
    id: list[str]
    time: str | None
    weight: str | None = None
    features: list[Feature]
    split: Split
