"""The declaration of the features: what a model may read, and how the rows were split."""

from __future__ import annotations

from typing import Literal

from lifecycle.core.params import Scalar
from lifecycle.core.records import Frozen


class Feature(Frozen):
    """A feature: its kind, where its values come from, the columns it reads, and the contract's rules for it.

    expression: None for a column of the same name. values: the two values of a boolean column, the second being 1, or
    the categories of a categorical one.
    """

    name: str
    kind: Literal["numeric", "categorical", "boolean"]
    source: Literal["column", "time", "derived"]
    expression: str | None
    columns: list[str]
    missing: str
    outliers: str
    values: list[Scalar] | None
    unit: str
    description: str


class Split(Frozen):
    """The rows of the training part and of the hold-out, and the share of positive rows in each."""

    strategy: Literal["stratified", "time", "group", "order"]
    train_rows: int
    test_rows: int
    train_rate: float
    test_rate: float


class FeatureDeclaration(Frozen):
    """What features.json holds: the target, the columns that identify a row, the features, and the split."""

    target: str
    positive: Scalar
    id: list[str]
    time: str | None
    features: list[Feature]
    split: Split
