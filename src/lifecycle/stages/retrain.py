"""Retrain: whether a new model is due, by rule, and from which rows it learns; the training itself is the other stages'."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]
Record = dict[str, Any]


def start_folder(folder: Path) -> None:
    """Begin with an empty folder: a table of an earlier decision is none of this one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def describe_start(metadata: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings that the challenger's study tries first: the champion's own."""
    return {metadata["family"]: dict(metadata["settings"])}


def tabulate_rows(chosen: Record) -> pd.DataFrame:
    """The challenger's rows in words."""
    told = {
        "of the table that the champion is from": f"{chosen['old']:,}",
        "of the log": f"{chosen['new']:,}",
        "from": (chosen["from"] or "")[:10],
        "to learn from": f"{chosen['old'] + chosen['new'] - chosen['held_out']:,}",
        "held out, the newest": f"{chosen['held_out']:,}",
    }
    return pd.DataFrame({"rows": told})


def tabulate_rules(decision: Record) -> pd.DataFrame:
    """The rules in words."""
    asked = {"age": "asks for a model", "drift": "asks for a model", "decay": "asks for a model"}
    rows = [
        {
            "rule": rule["name"],
            "verdict": (asked.get(rule["name"], "lets it") if rule["due"] else "does not ask" if rule["name"] in asked else "holds it back"),
            "why": rule["message"],
        }
        for rule in decision["rules"]
    ]  # fmt: skip
    return pd.DataFrame(rows).set_index("rule")
