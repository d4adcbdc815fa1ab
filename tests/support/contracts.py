"""The contract of the made-up customers of conftest.py, and what follows from it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lifecycle.core.contract import Contract
from lifecycle.core.split_rule import SplitRule
from lifecycle.stages import features


def make_contract(**changes: dict[str, Any]) -> Contract:
    """The contract of `customers`, with columns added or their keys changed."""
    columns: dict[str, dict[str, Any]] = {
        "id": {"role": "id", "dtype": "int64"},
        "months": {"role": "numeric", "dtype": "int64", "min": 0, "duration": True, "unit": "months"},
        "spend": {"role": "numeric", "dtype": "float64", "nullable": True, "min": 0},
        "plan": {"role": "categorical", "dtype": "string", "values": ["basic", "plus", "pro"]},
        "senior": {"role": "boolean", "dtype": "int64", "values": [0, 1]},
        "left": {"role": "target", "dtype": "string", "values": ["no", "yes"], "positive": "yes"},
    }
    for name, change in changes.items():
        columns[name] = {**columns.get(name, {}), **change}
    described = {name: {"description": f"{name}.", **column} for name, column in columns.items()}
    return Contract.model_validate({"name": "shop", "description": "Shop.", "columns": described})


def make_table(
    frame: pd.DataFrame, contract: Contract, strategy: str = "stratified"
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The feature table of a frame and its declaration, all rows on the training side."""
    declared = features.list_features(contract, list(frame.columns), {})
    table = features.assemble_table(frame, features.compute_features(frame, declared), contract)
    declaration = {
        "target": contract.target,
        "positive": contract.positive,
        "id": contract.names("id"),  # type: ignore[arg-type]
        "time": contract.time,
        "weight": contract.weight,
        "features": declared,
        "split": {"strategy": strategy, "train_rows": len(table), "rule": SplitRule(kind="rows").to_json()},
    }
    return table, declaration
