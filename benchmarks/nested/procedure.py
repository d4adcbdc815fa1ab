"""The project's whole procedure on the training part of an outer fold: what the notebooks `tune` and `train` do, without their figures."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.nested.tables import PreparedTable, load_prepared
from lifecycle.core.params import Tune
from lifecycle.modeling.calibration import compare_calibrations
from lifecycle.modeling.pipelines import Recipe
from lifecycle.modeling.records import TuningResult
from lifecycle.modeling.split import split_folds
from lifecycle.modeling.task import task_for
from lifecycle.stages import train, tune

Record = dict[str, Any]


def predict_fold(folder: str, fold: int) -> Record:
    """Tune, cross-validate, calibrate and fit on an outer fold's training part; predict the fold.

    Returns the probabilities in the order of the rows, and what was chosen: family, hyperparameters and calibration.
    """
    prepared = load_prepared(Path(folder))
    fit, judge = prepared.folds[fold]
    table, held_out = (prepared.features.iloc[rows].reset_index(drop=True) for rows in (fit, judge))
    best = choose_model(prepared, table)
    declaration, settings, seed = prepared.declaration, prepared.train, prepared.seed
    task = task_for(declaration)
    rows = split_folds(table, declaration, settings["folds"], seed)
    recipe = Recipe(best.family, best.hyperparameters, seed, prepared.threads)
    threshold = task.set_threshold(settings["cost"])
    _, predictions = train.cross_validate(table, declaration, rows, recipe, threshold)
    target, probability, number = (predictions[name].to_numpy() for name in ("target", "probability", "fold"))
    compared = compare_calibrations(target=target, probabilities=probability, fold=number)
    calibration = train.choose_method(settings["calibration"], compared, best.hyperparameters)
    model = train.fit_model(table, declaration, predictions, recipe, calibration)
    columns = [feature["name"] for feature in declaration["features"]]
    return {
        "probability": task.predict(model, held_out[columns]).tolist(), "family": best.family,
        "hyperparameters": best.hyperparameters, "calibration": calibration,
    }  # fmt: skip


def choose_model(prepared: PreparedTable, table: pd.DataFrame) -> TuningResult:
    """Return the best model of a study on the training part of an outer fold."""
    declaration, seed = prepared.declaration, prepared.seed
    families = tune.complete_families(prepared.tune["families"], declaration["features"])
    tuning = Tune.model_validate({**prepared.tune, "families": families})
    sample = tune.sample_rows(table, declaration, tuning.max_rows, seed)
    folds = tune.PreparedFolds(sample, declaration, split_folds(sample, declaration, tuning.folds, seed), seed)
    with tempfile.TemporaryDirectory() as journal:
        study = tune.open_study("nested", "", Path(journal), tuning.startup_trials)
        tune.put_first(study, tuning.first, families)
        for _ in tune.run_trials(study, folds, tuning, task_for(declaration), seed, prepared.threads):
            pass
        return tune.choose_best(tune.tabulate_trials(tune.finished_trials(study)[: tuning.trials]))
