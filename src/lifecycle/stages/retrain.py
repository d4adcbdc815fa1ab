"""Retrain: show whether a new model is required and which rows it would learn from; the other stages train it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lifecycle.retraining.records import ChosenRows, Decision


def clear_folder(folder: Path) -> None:
    """Create an empty folder in place of what was there, such as the table of an earlier decision."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def choose_first(metadata: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the hyperparameters that the challenger's study tries first: the champion's own."""
    return {metadata["family"]: dict(metadata["hyperparameters"])}


def tabulate_rows(chosen: ChosenRows) -> pd.DataFrame:
    """Return the challenger's rows as text."""
    held_out = {"ids": "by entity", "content": "by what is in them"}.get(chosen.rule.kind, "the newest")
    rows = {
        "to learn from, of the table that the champion was trained on": f"{chosen.old:,}",
        "to learn from, of the log": f"{chosen.new:,}",
        "oldest row of the log": f"{chosen.oldest:%Y-%m-%d}" if chosen.oldest else "",
        f"held out, {held_out}": f"{chosen.held_out:,}",
        "on neither side": f"{chosen.left_out:,}",
    }
    return pd.DataFrame({"rows": rows})


def tabulate_rules(decision: Decision) -> pd.DataFrame:
    """Return the rules as text."""
    results = {
        ("trigger", True): "requires a new model", ("trigger", False): "not triggered",
        ("condition", True): "met", ("condition", False): "has to wait",
    }  # fmt: skip
    rows = [{"rule": rule.name, "result": results[rule.kind, rule.met], "why": rule.message} for rule in decision.rules]
    return pd.DataFrame(rows).set_index("rule")
