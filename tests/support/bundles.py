"""Small serving bundles without any training: a logistic regression of known weights over four columns."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from lifecycle.core import paths
from lifecycle.core.files import hash_file, read_json, write_json
from lifecycle.core.split_rule import SplitRule
from lifecycle.serving.bundle import MANIFEST, PLAN, write_bundle

ROW: dict[str, Any] = {"months": 12, "spend": 40.5, "plan": "basic", "senior": 0}
VERDICT: dict[str, Any] = {
    "blessed": True, "better": True, "model": "", "conditions": [], "because": "it is good"
}  # fmt: skip
WEIGHTS = {"basic": 0.8, "plus": 0.1, "pro": -0.6}
COLUMNS: list[dict[str, Any]] = [
    {"name": "months", "dtype": "int64", "nullable": False, "values": None, "min": 0, "max": 100, "unit": "months",
     "description": "Since the beginning.", "example": 12},
    {"name": "spend", "dtype": "float64", "nullable": True, "values": None, "min": 0, "max": None, "unit": None,
     "description": "A month.", "example": 40.5},
    {"name": "plan", "dtype": "string", "nullable": True, "values": ["basic", "plus", "pro"], "min": None, "max": None,
     "unit": None, "description": "What was bought.", "example": "basic"},
    {"name": "senior", "dtype": "int64", "nullable": False, "values": [0, 1], "min": None, "max": None, "unit": None,
     "description": "Whether older than 65.", "example": 0},
]  # fmt: skip
OTHERS = ["customer", "left", "e-mail"]  # of the contract; the model does not read them


def compute_probability(row: dict[str, Any], intercept: float = 0.0) -> float:
    """What a bundle of `intercept` gives for a row, from the definition of its model."""
    given = row.get("spend") is not None
    spend, pace = (row["spend"], row["spend"] / (1 + row["months"])) if given else (50.0, 50.0)
    log_odds = intercept - 0.04 * row["months"] + 0.01 * spend + 0.02 * pace + WEIGHTS.get(row.get("plan"), 0.0)
    return 1 / (1 + math.exp(-log_odds))


def write_release(root: Path, intercept: float = 0.0) -> dict[str, Any]:
    """Write the bundle of a model as a release of the project in `root`; what champion.json says of it."""
    model = sha256(f"model {intercept}".encode()).hexdigest()
    bundle = write_small_bundle(root / paths.RELEASES / model[:12] / "bundle", model, intercept)
    return {
        "format": 2, "model": model, "bundle": bundle, "family": "logistic", "prior": 0.25, "positive": "yes",
        "metrics": {"roc_auc": 0.8}, "verdict": {**VERDICT, "model": model}, "previous": None,
    }  # fmt: skip


def write_small_bundle(folder: Path, model: str, intercept: float) -> str:
    """Write a bundle that says it was compiled from `model`; its hash."""
    features = [
        {"name": "months", "kind": "numeric", "expression": None, "columns": ["months"], "values": None},
        {"name": "spend", "kind": "numeric", "expression": None, "columns": ["spend"], "values": None},
        {"name": "pace", "kind": "numeric", "expression": "spend / (1 + months)", "columns": ["spend", "months"],
         "values": None},
        {"name": "plan", "kind": "categorical", "expression": None, "columns": ["plan"], "values": None},
    ]  # fmt: skip
    nothing = [None, None, None]
    plan = {
        "features": features,
        "numbers": {
            "names": ["months", "spend", "pace"], "low": nothing, "high": nothing, "fill": [12.0, 50.0, 50.0],
            "mean": [0.0, 0.0, 0.0], "scale": [1.0, 1.0, 1.0], "missing_indicators": [],
        },
        "categories": [
            {"name": "plan", "codes": {"basic": 0, "plus": 1, "pro": 2}, "missing": None, "other": None, "width": 3,
             "start": 0},
        ],
        "order": [0, 1, 2, 3, 4, 5],
        "model": {
            "kind": "linear", "coefficients": [-0.04, 0.01, 0.02, *WEIGHTS.values()], "intercept": intercept,
        },
        "calibration": {"kind": "none"},
    }  # fmt: skip
    rows = [{**ROW, "months": 10 * number} for number in range(3)]
    answers = [{"request": row, "probability": compute_probability(row, intercept)} for row in rows]
    facts = {
        "model": model, "family": "logistic", "target": "left", "positive": "yes", "negative": "no", "threshold": 0.5,
        "prior": 0.25, "hashes": {"train": "t" * 64}, "other_columns": OTHERS, "rule": SplitRule(kind="rows"),
    }  # fmt: skip
    return write_bundle(folder, plan, None, COLUMNS, answers, rows, facts)


def make_champion(root: Path, champion: dict[str, Any], previous: dict[str, Any] | None = None) -> Path:
    """Let champion.json of `root` name a release, and the one before it."""
    write_json({**champion, "previous": previous["model"] if previous else None}, root / paths.CHAMPION)
    return root


def rewrite_plan(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a bundle's plan, and let its manifest agree with whatever its files are now: a fault that no hash finds."""
    plan = read_json(folder / PLAN)
    change(plan)
    (folder / PLAN).write_text(json.dumps(plan))  # with NaN, which write_json would refuse
    manifest = read_json(folder / MANIFEST)
    write_json({**manifest, "files": {name: hash_file(folder / name) for name in manifest["files"]}}, folder / MANIFEST)


def make_hole(plan: dict[str, Any]) -> None:
    """Give a plan a curve with a hole: the model answers its golden requests, and fails from 50 months on."""
    plan["model"]["curves"] = [{"column": 0, "breaks": [0.0, 50.0, 100.0], "pieces": [[0.0, math.nan]]}]
