"""What a family of models is: how its columns are prepared, how it is fitted and searched, and how it is compiled for serving."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import CONTRACT, PARAMS
from lifecycle.core.records import Record

if TYPE_CHECKING:  # the compiler imports this module
    from lifecycle.core.params import Range, Scalar

Array = np.ndarray[Any, Any]
Hyperparameters = dict[str, Any]
Space: TypeAlias = "Mapping[str, Range | list[Scalar]]"
Compiled = tuple[Record, bytes | None]  # the plan of a model, and its trees in treelite's format


@dataclass(frozen=True)
class Preparation:
    """What a family needs of its columns.

    scale: numbers are standardised. takes_missing: NaN may reach the model where the contract says `keep`. codes: a column
    of few categories becomes one column of their codes, from 0, in place of a column for each of them.
    """

    scale: bool
    takes_missing: bool
    codes: bool = False


@dataclass(frozen=True)
class TrainingMatrix:
    """Prepared training rows: X, float64 of shape (rows, columns), and y, 0 or 1 of shape (rows,).

    weights: how much each row counts, float64 of shape (rows,), None where all count the same. directions: for each column 1
    or -1 where the prediction may only rise or fall with it, otherwise 0; empty where none is. texts: the places of the columns
    that the terms of texts became. codes: the places of the columns that hold codes of categories.
    """

    X: Array
    y: Array
    weights: Array | None = None
    directions: tuple[int, ...] = ()
    texts: tuple[int, ...] = ()
    codes: tuple[int, ...] = ()


class Family(ABC):
    """A family of models.

    name: the key in `tune.families`. space: the search space of a study that names the family without one. packages: what
    a fitted model needs besides numpy and scikit-learn. constrains: whether `fit` keeps the directions of the columns.
    """

    name: ClassVar[str]
    space: ClassVar[Space]
    packages: ClassVar[tuple[str, ...]] = ()
    constrains: ClassVar[bool] = False

    @abstractmethod
    def prepare(self, hyperparameters: Hyperparameters) -> Preparation:
        """Return what a model with these hyperparameters needs of its columns."""

    @abstractmethod
    def fit(self, hyperparameters: Hyperparameters, training: TrainingMatrix, seed: int, threads: int) -> Any:
        """Return a fitted classifier with `classes_` and `predict_proba`; the same input gives the same bytes."""

    @abstractmethod
    def compile(self, model: Any) -> Compiled:
        """Return a fitted classifier as a plan for `serving.scorer`, and its trees; raise ProjectError for another class."""

    def read_options(self, hyperparameters: Hyperparameters) -> Hyperparameters:
        """Return the hyperparameters as scikit-learn takes them: `class_weight` is balanced, or left out for none.

        Raises ProjectError for another class weight.
        """
        options = dict(hyperparameters)
        weight = options.get("class_weight", "none")
        if weight not in ("none", "balanced"):
            raise ProjectError(
                f"{PARAMS}: tune.families.{self.name}.class_weight: {weight!r} is neither none nor balanced."
            )
        if not balances_classes(options):
            options.pop("class_weight", None)
        return options

    def check_features(self, features: list[Record]) -> None:
        """Raise ProjectError for features with a direction that the family cannot keep."""
        named = [feature["name"] for feature in features if feature.get("monotone")]
        if named and not self.constrains:
            raise ProjectError(
                f"{PARAMS}: tune.families names {self.name!r}, which cannot be monotone in {named}, as {CONTRACT} demands: "
                f"remove {self.name!r}, or `monotone` from the contract."
            )

    def adapt_space(self, rows: int) -> dict[str, Any] | None:
        """Return changes of the search space in params.yaml for a new table of so many rows; None: take the family out."""
        return {}

    def choose_first(self, rows: int) -> Hyperparameters:
        """Return the hyperparameters that the study of a new table tries first; none: those that the sampler draws."""
        return {}

    def import_package(self, name: str) -> Any:
        """Import a library that only this family uses; raise ProjectError where it is missing."""
        try:
            return import_module(name)
        except (ImportError, OSError) as error:  # OSError: LightGBM lacks the system's libgomp
            raise ProjectError(
                f"{PARAMS}: tune.families names {self.name!r}, but {name} cannot be imported ({error}): run `make env`, "
                "or install lifecycle[boosting]."
            ) from error

    def check_class(self, model: Any, *known: str) -> None:
        """Raise ProjectError for a model that is not of one of the classes, which are named."""
        name = type(model).__name__
        if hasattr(model, "steps"):  # a scikit-learn pipeline
            name = f"A pipeline of {', '.join(type(step).__name__ for _, step in model.steps)}"
        if name not in known:
            raise ProjectError(
                f"{name} cannot be compiled for serving; supported by the family {self.name}: {'; '.join(known)}."
            )


def balances_classes(hyperparameters: Hyperparameters) -> bool:
    """Return whether both classes have the same total weight in fitting: the probabilities then lean to the rarer class."""
    return bool(hyperparameters.get("class_weight", "none") == "balanced")


def to_plain(values: Any) -> list[float | None]:
    """Return an array as a list that JSON holds without loss; what is not finite becomes None."""
    return [float(value) if np.isfinite(value) else None for value in np.asarray(values, dtype="float64")]
