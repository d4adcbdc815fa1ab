"""Choose the parameters that depend on an adopted table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lifecycle.core import paths
from lifecycle.core.contract import Contract, Role
from lifecycle.core.records import Record
from lifecycle.modeling.entities import find_keys
from lifecycle.modeling.families import FAMILIES
from lifecycle.modeling.split import choose_strategy, find_obstacle
from lifecycle.modeling.task import task_for

_STUDY_ROWS = 20_000  # rows for the trials of a study
_MANY_COLUMNS = 100  # from this many columns on, explanations use fewer rows
_MAX_CELLS = 10**8  # encoded numbers in memory during a study, at most


def measure_facts(typed: pd.DataFrame, contract: Contract, aucs: Mapping[str, float], rows: int) -> Record:
    """Measure what the parameters depend on: valid rows of the whole table, the rarer class, encoded columns, and the features' ranking."""
    positive = (typed[contract.target] == contract.positive).to_numpy()
    rate = float(positive.mean())
    width = 0
    for name in contract.names(Role.NUMERIC, Role.BOOLEAN, Role.CATEGORICAL):
        category = contract.columns[name].role is Role.CATEGORICAL
        width += int((typed[name].value_counts() >= 20).sum()) + 1 if category else 2
    return {
        "rows": rows,
        "rate": rate,
        "rare": int(min(positive.sum(), len(positive) - positive.sum())),
        "width": max(width, 1),
        "features": len(aucs),
        "ranked": sorted((name for name in aucs if name in typed), key=lambda name: -aucs[name]),
    }


def fit_params(facts: Record, contract: Contract, typed: pd.DataFrame) -> dict[str, Record]:
    """Return the sections of params.yaml that depend on the table."""
    rows, rate, rare = facts["rows"], facts["rate"], facts["rare"]
    share = 0.3 if rows < 500 else 0.2
    held_out = round(rows * share)
    folds = int(np.clip(rare * (1 - share) // 2, 2, 5))
    most = int(np.clip(_MAX_CELLS // (facts["width"] * folds), 2000, _STUDY_ROWS))
    month = int(np.clip(held_out, 50, 800))
    learned = int(np.clip(0.6 * held_out, 50, 2400))  # simulated months draw their rows from the held-out ones
    labels = round(month * 0.9 * min(rate, 1 - rate))
    scenarios = _list_scenarios(facts["ranked"], contract, typed, share)
    log = f"{paths.SIMULATED}/{'concept_drift' if 'concept_drift' in scenarios else 'more_positives'}"
    trials = 12 if rows < 500 or rows > 10 * _STUDY_ROWS else 30
    return {
        "features": {"derived": {}, "split": choose_split(typed, contract, share, folds), "test_share": share, "gap": ""},
        "tune": {
            "trials": trials, "folds": folds, "startup_trials": min(8, trials // 2), "max_rows": most,
            "families": {name: family.adapt_space(rows) for name, family in FAMILIES.items()},
            "first": {name: first for name, family in FAMILIES.items() if (first := family.choose_first(rows))},
        },
        "train": {
            "folds": folds,
            "cost": {"false_positive": 1.0, "false_negative": default_miss_cost(rate)},
        },
        "evaluate": {
            "bootstrap": 2000 if held_out <= 20_000 else 500,
            "tutorial_columns": [],
            "value": {"benefit": "", "cost": ""},
            "capacity": 0,
            "gate": {"min_roc_auc": 0.5, "max_ece": 0.05, "max_cv_gap": 0.15, "min_slice_roc_auc": 0.5, "max_flips": 0.5},
        },
        "explain": {
            **({"repeats": 2, "rows": 200, "background": 20, "sample": 20} if facts["features"] > _MANY_COLUMNS else {}),
            "intended_use": f"Rank rows by the probability that {contract.target} is {contract.positive}.",
            "out_of_scope": "Not described yet. Describe here what the model must not be used for, before anyone uses its predictions.",
        },
        "simulate": {"rows": month, "scenarios": scenarios},
        "monitor": {
            "log": log, "min_rows": int(np.clip(month // 4, 20, 200)), "min_class": int(np.clip(labels // 2, 2, 20))
        },
        "retrain": {
            "log": log, "min_rows": learned, "holdout_rows": int(np.clip(learned // 3, 20, 1000)),
            "trials": min(10, trials), "startup_trials": 4,
        },
    }  # fmt: skip


def default_miss_cost(rate: float) -> float:
    """Return a default cost of a missed positive, in false alarms, that gives both classes the same total weight."""
    return float(f"{np.clip((1 - rate) / rate, 0.01, 1000):.2g}")


def choose_split(typed: pd.DataFrame, contract: Contract, share: float, folds: int) -> str:
    """Choose `auto` if the hold-out and every fold then have both classes, otherwise groups without time, or `stratified`."""
    keys, task = find_keys(typed[typed[contract.target].notna()], contract), task_for(contract)
    if choose_strategy("auto", keys) == "stratified":
        return "auto"
    for split in ("auto", *(["group"] if keys.repeating else [])):
        if not find_obstacle(keys, task, choose_strategy(split, keys), share, folds, seed=0):
            return split
    return "stratified"


def describe_split(sections: Mapping[str, Record], typed: pd.DataFrame, contract: Contract) -> str:
    """Describe, for a person, a split that does not go by the times or ids of the table, and why; "" for one that does."""
    features, folds = sections["features"], sections["tune"]["folds"]
    split = features["split"]
    if split == "auto":
        return ""
    keys, task = find_keys(typed[typed[contract.target].notna()], contract), task_for(contract)
    wanted = choose_strategy("auto", keys)
    obstacle = find_obstacle(keys, task, wanted, features["test_share"], folds, seed=0).partition(":")[0]
    lost = [
        *(["the newest rows are not held out"] if keys.moments is not None else []),
        *(["rows of one id may be on both sides"] if keys.repeating and split != "group" else []),
    ]
    because = f"as {wanted} is not possible: {obstacle[:1].lower()}{obstacle[1:]}"
    return f"features.split in {paths.PARAMS}: {split} is taken, and {' and '.join(lost)}, {because}"


def _list_scenarios(ranked: list[str], contract: Contract, typed: pd.DataFrame, share: float) -> Record:
    """List the scenarios of the simulated months, for the columns that are most associated with the target."""
    numbers = [name for name in ranked if contract.columns[name].role is Role.NUMERIC and typed[name].nunique() > 2]
    words = [name for name in ranked if contract.columns[name].role is Role.CATEGORICAL]
    lost = next((name for name in ranked if contract.columns[name].nullable), ranked[0] if ranked else None)
    scenarios: Record = {"none": {"kind": "none"}}
    if numbers:
        scenarios["higher_numbers"] = {"kind": "scale", "column": numbers[0], "factor": 1.15, "begin": 6}
    if words:
        category = str(typed[words[0]].value_counts().index[0])
        scenarios["category_grows"] = {
            "kind": "mix",
            "column": words[0],
            "category": category,
            "factor": 2.5,
            "begin": 6,
        }
    scenarios["more_positives"] = {"kind": "prior", "factor": 1.8, "begin": 6}
    if numbers:
        scenarios["concept_drift"] = {"kind": "reverse", "column": numbers[0], "begin": 4}
    if words:
        scenarios["new_category"] = {
            "kind": "category",
            "column": words[0],
            "category": "(new)",
            "share": 0.15,
            "begin": 6,
        }
    if lost is not None:
        scenarios["missing_values"] = {"kind": "missing", "column": lost, "share": 0.6, "begin": 6}
    if numbers:
        scenarios["changed_unit"] = {"kind": "scale", "column": numbers[-1], "factor": 100, "begin": 6}
    scenarios["fewer_requests"] = {"kind": "volume", "factor": 0.4, "begin": 6}
    return scenarios
