"""Populations that samples are drawn from: tables whose true metrics are known, because the whole population is.

A sample is drawn with replacement, so that a hold-out and the traffic after it come from one population; of a population
with entities, whole entities are drawn. The synthetic ones have labels drawn from a chance that the model knows only
roughly, as no model is calibrated exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from lifecycle.core import paths
from lifecycle.core.contract import Contract, load_contract
from lifecycle.core.files import read_json
from lifecycle.serving.bundle import REFERENCE, load_bundle, to_requests

Array = np.ndarray[Any, Any]
ROWS = 40_000  # of a synthetic population
ENTITY_ROWS = 20  # of each entity of the grouped population
LEVELS = 100  # of a long tail, ∝ rank^-1.2
COST = {"false_positive": 1.0, "false_negative": 3.0}
TARGET, POSITIVE = "answer", "yes"


@dataclass(frozen=True)
class Sample:
    """Rows of a population: their columns with the target, label (0 or 1), probability, and entity from 0 (None: independent).

    rival: the probability of another model, which the first is compared with.
    """

    frame: pd.DataFrame
    label: Array
    probability: Array
    rival: Array
    entities: Array | None


@dataclass(frozen=True)
class Population:
    """A table with its target, and the model's probability of each row.

    weights: each column's share of the model's attributions. entity_rows: rows that follow one another and belong to one entity; 1
    where rows are independent. late: whether labels of positives arrive long before those of negatives.
    """

    name: str
    frame: pd.DataFrame
    contract: Contract
    label: Array
    probability: Array
    threshold: float
    cost: Mapping[str, float]
    weights: Mapping[str, float]
    entity_rows: int = 1
    late: bool = False

    def draw(self, rows: int, seed: list[int]) -> Sample:
        """Draw rows, or entities with all of their rows, with replacement."""
        generator, each = np.random.default_rng(seed), self.entity_rows
        drawn = generator.integers(0, len(self.frame) // each, max(1, rows // each))
        place = (drawn[:, None] * each + np.arange(each)).ravel()
        entities = None if each == 1 else np.repeat(np.arange(len(drawn)), each)
        return Sample(
            self.frame.iloc[place].reset_index(drop=True), self.label[place], self.probability[place], self.rival[place],
            entities,
        )  # fmt: skip

    def everything(self) -> Sample:
        """Return the whole population, on which the true metrics are measured."""
        return Sample(self.frame, self.label, self.probability, self.rival, None)

    @cached_property
    def rival(self) -> Array:
        """The probability of another model, which knows less and is calibrated otherwise."""
        known = logit(np.clip(self.probability, 1e-4, 1 - 1e-4))
        noise = np.random.default_rng(7).normal(0, 0.6, len(known))
        return np.asarray(expit(0.8 * known - 0.2 + noise))


def read_example(late: bool = False) -> Population:
    """Return the worked example: the validated table, scored by the candidate's bundle."""
    project = paths.open_project()
    contract = load_contract(project.read(paths.CONTRACT))
    frame = pd.read_parquet(project.read(paths.VALIDATED_TABLE))
    folder = project.read(paths.BUNDLE)
    bundle, reference = load_bundle(folder), read_json(folder / REFERENCE)
    probability = np.asarray(bundle.score(to_requests(frame, bundle.schema.names)))
    label = (frame[contract.target] == contract.positive).to_numpy().astype(np.int8)
    return Population(
        "late labels" if late else "example", frame, contract, label, probability, bundle.manifest.threshold,
        reference["cost"], reference["weights"], late=late,
    )  # fmt: skip


def _compose(
    name: str, columns: Mapping[str, Any], signal: Array, generator: np.random.Generator, each: int = 1
) -> Population:
    """Return a synthetic population in which `signal` is the log-odds of the positive class."""
    rows = len(signal)
    chance = expit(signal)
    label = (generator.random(rows) < chance).astype(np.int8)
    # the model is roughly right: noise in what it knows, and slightly too sure
    probability = expit(1.1 * logit(np.clip(chance, 1e-4, 1 - 1e-4)) + generator.normal(0, 0.3, rows))
    frame = pd.DataFrame({**columns, TARGET: np.where(label == 1, POSITIVE, "no")})
    described: dict[str, Any] = {
        column: {"role": "numeric", "dtype": "float64", "nullable": True, "description": "A number."}
        if pd.api.types.is_numeric_dtype(frame[column].dtype)
        else {"role": "categorical", "dtype": "string", "nullable": True, "description": "A category."}
        for column in columns
    }
    described[TARGET] = {"role": "target", "dtype": "string", "values": ["no", POSITIVE], "positive": POSITIVE, "description": "The answer."}  # fmt: skip
    contract = Contract.model_validate({"name": name, "description": "Made-up rows.", "columns": described})
    return Population(
        name, frame, contract, label, probability, 0.25, COST, dict.fromkeys(columns, 1 / len(columns)), each
    )


def make_long_tails(generator: np.random.Generator) -> Population:
    """Return a table of categories with long tails (LEVELS levels ∝ rank^-1.2) and of skewed numbers."""
    shares = np.arange(1, LEVELS + 1) ** -1.2
    codes = generator.choice(LEVELS, (ROWS, 4), p=shares / shares.sum())
    numbers = generator.lognormal(0, 1.5, (ROWS, 3))
    words = np.array([f"level {number:03d}" for number in range(LEVELS)])
    columns = {f"tail_{place}": words[codes[:, place]] for place in range(4)}
    columns |= {f"amount_{place}": numbers[:, place] for place in range(3)}
    signal = -1.5 + 0.8 * np.log(numbers[:, 0]) - 0.5 * (codes[:, 0] > 5) + 0.4 * np.log(numbers[:, 1])
    return _compose("long tails", columns, signal, generator)


def make_zeros(generator: np.random.Generator) -> Population:
    """Return a table of amounts of which 60 to 95 % are zero, and of some missing values."""
    empty = np.array([0.6, 0.7, 0.8, 0.9, 0.95, 0.98])
    amounts = np.where(generator.random((ROWS, 6)) < empty, 0.0, generator.lognormal(2, 1, (ROWS, 6)))
    signal = -2 + 0.6 * np.log1p(amounts[:, 0]) + 0.9 * (amounts[:, 2] > 0) - 0.4 * np.log1p(amounts[:, 1])
    gaps = np.where(generator.random(ROWS) < 0.03, np.nan, generator.normal(0, 1, ROWS))
    columns = {f"amount_{place}": amounts[:, place] for place in range(6)} | {"score": gaps}
    return _compose("zeros", columns, signal, generator)


def make_groups(generator: np.random.Generator) -> Population:
    """Return a table of entities with ENTITY_ROWS rows each, which resemble one another in their columns and their answers."""
    entities = ROWS // ENTITY_ROWS
    own = np.repeat(generator.normal(0, 1, (entities, 3)), ENTITY_ROWS, axis=0)
    numbers = 0.7 * own + 0.7 * generator.normal(0, 1, (ROWS, 3))
    kind = np.repeat(generator.choice(["a", "b", "c", "d"], entities, p=[0.5, 0.3, 0.15, 0.05]), ENTITY_ROWS)
    habit = np.repeat(generator.normal(0, 0.7, entities), ENTITY_ROWS)  # which no column shows
    signal = -1.3 + numbers[:, 0] - 0.5 * numbers[:, 1] + 0.4 * (kind == "b") + habit
    columns = {f"number_{place}": numbers[:, place] for place in range(3)} | {"kind": kind}
    return _compose("groups", columns, signal, generator, ENTITY_ROWS)


POPULATIONS: dict[str, Callable[[], Population]] = {
    "example": read_example,
    "late labels": lambda: read_example(late=True),
    "long tails": lambda: make_long_tails(np.random.default_rng(1)),
    "zeros": lambda: make_zeros(np.random.default_rng(2)),
    "groups": lambda: make_groups(np.random.default_rng(3)),
}
