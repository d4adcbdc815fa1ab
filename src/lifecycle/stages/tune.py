"""Tune: choose a family of models and its hyperparameters by a seeded study over cross-validation folds."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pandas as pd
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from lifecycle.core import terms
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file
from lifecycle.core.params import Range, Scalar, Tune
from lifecycle.core.paths import PARAMS
from lifecycle.modeling import encoders, pipelines, texts
from lifecycle.modeling import families as known_families
from lifecycle.modeling import family as any_family
from lifecycle.modeling.encoders import select_features
from lifecycle.modeling.error_function import pin_error_function
from lifecycle.modeling.families import find_family
from lifecycle.modeling.family import Hyperparameters, Preparation, TrainingMatrix
from lifecycle.modeling.pipelines import FeatureRecord, build_preparation, fit_preparation
from lifecycle.modeling.records import TuningResult
from lifecycle.modeling.task import Task, task_for
from lifecycle.modeling.tracking import TAG, find_run, log_run
from lifecycle.modeling.weights import read_weights, take_weights

if TYPE_CHECKING:
    from mlflow import MlflowClient

Array = np.ndarray[Any, Any]
Folds = list[tuple[Array, Array]]
Spaces = Mapping[str, Mapping[str, Any]]  # by family and hyperparameter
Space = Range | list[Scalar]
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_PRUNED_AFTER = 1  # folds that every trial is scored on before it may be pruned


def identify_study(inputs: dict[str, Any], files: list[Path]) -> str:
    """Return a name for the study that changes with its inputs and with the code, so that only the same study is resumed."""
    total = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode())
    code = [Path(str(module.__file__)) for module in (any_family, known_families, encoders, texts, terms, pipelines)]
    for path in [*files, *code, Path(__file__)]:
        total.update(bytes.fromhex(hash_file(path)))
    return total.hexdigest()[:16]


def open_study(name: str, storage: str, folder: Path, startup_trials: int) -> optuna.Study:
    """Open or resume the study `name`, kept in a journal in `folder` or in the database at `storage`.

    Trials that an interruption left running are marked as failed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if storage:
        backend: Any = optuna.storages.RDBStorage(storage)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        journal = JournalFileBackend(str(folder / f"{name}.journal"))
        backend = optuna.storages.JournalStorage(journal)
    study = optuna.create_study(
        study_name=name,
        storage=backend,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=startup_trials, n_warmup_steps=_PRUNED_AFTER),
        load_if_exists=True,
    )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def close_study(study: optuna.Study, storage: str, folder: Path) -> None:
    """Delete a finished study's journal, so that the next run begins anew; the trials are in the outputs."""
    if not storage:
        (folder / f"{study.study_name}.journal").unlink(missing_ok=True)


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the completed and the pruned trials, in order."""
    return study.get_trials(deepcopy=False, states=_FINISHED)


def sample_rows(table: pd.DataFrame, declaration: dict[str, Any], most: int, seed: int) -> pd.DataFrame:
    """Return at most `most` random rows of a feature table, in its order and with the classes' shares."""
    if len(table) <= most:
        return table
    places = task_for(declaration).sample_rows(table[declaration["target"]], most, seed)
    return table.iloc[places].reset_index(drop=True)


@dataclass(frozen=True)
class Fold:
    """A fold's prepared matrices: the rows to fit, and those to score, X of shape (rows, columns), y and weights of shape (rows,)."""

    training: TrainingMatrix
    X: Array
    y: Array
    weights: Array | None


class PreparedFolds:
    """The matrices of every fold, computed once for each preparation, when a trial first needs it.

    The preparation is fitted on the fold's training rows only. Families with the same preparation share their matrices;
    memory: folds x rows x encoded columns x 8 bytes for each distinct preparation.
    """

    def __init__(self, table: pd.DataFrame, declaration: dict[str, Any], folds: Folds, seed: int) -> None:
        self._features: list[FeatureRecord] = declaration["features"]
        self._X, self._y = select_features(table, declaration), table[declaration["target"]].to_numpy()
        self._weights, self._seed = read_weights(table, declaration), seed
        self._folds = folds
        self._prepared: dict[Preparation, list[Fold]] = {}

    def prepare(self, preparation: Preparation) -> list[Fold]:
        """Return the folds' matrices for a preparation."""
        if preparation not in self._prepared:
            self._prepared[preparation] = [self._prepare_fold(preparation, *places) for places in self._folds]
        return self._prepared[preparation]

    def _prepare_fold(self, preparation: Preparation, fit: Array, judge: Array) -> Fold:
        prepare = build_preparation(self._features, preparation, self._seed)
        weights = take_weights(self._weights, fit)
        training = fit_preparation(prepare, self._features, self._X.iloc[fit], self._y[fit], weights)
        X = prepare.transform(self._X.iloc[judge])
        return Fold(training, X, self._y[judge], take_weights(self._weights, judge))


def put_first(study: optuna.Study, first: Spaces, families: Spaces) -> None:
    """Make a new study try these hyperparameters first: a warm start (Feurer et al. 2015, AAAI)."""
    if study.get_trials(deepcopy=False):
        return
    for family, hyperparameters in first.items():
        if family in families:
            known = {f"{family}.{name}": value for name, value in hyperparameters.items() if name in families[family]}
            study.enqueue_trial({"family": family, **known})


def run_trials(
    study: optuna.Study, prepared: PreparedFolds, tuning: Tune, task: Task, seed: int, threads: int
) -> Iterator[FrozenTrial]:
    """Run the trials that a study still lacks, and yield each when it is finished.

    The sampler is seeded for each trial from `seed` and the number of finished trials, so that a resumed study
    continues as an uninterrupted one would. The first trials take each family in turn.
    """
    names = list(tuning.families)
    while (done := len(finished_trials(study))) < tuning.trials:
        fixed = {"family": names[done % len(names)]} if done < tuning.startup_trials else {}
        sampler_seed = int(np.random.SeedSequence([seed, done]).generate_state(1)[0])
        study.sampler = _seed_sampler(sampler_seed, tuning.startup_trials, fixed)
        trial = study.ask()
        family, hyperparameters = _suggest_hyperparameters(trial, tuning.families)
        try:
            chosen = find_family(family)
            fit = partial(chosen.fit, hyperparameters, seed=seed, threads=threads)
            score = _score_trial(trial, fit, prepared.prepare(chosen.prepare(hyperparameters)), task)
            yield study.tell(trial, score)
        except optuna.TrialPruned:
            yield study.tell(trial, state=TrialState.PRUNED)


def _seed_sampler(seed: int, startup_trials: int, fixed: dict[str, Any]) -> optuna.samplers.BaseSampler:
    """Return a multivariate TPE sampler (Bergstra 2011; Falkner 2018) with some parameters fixed."""
    pin_error_function()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # the options multivariate and group
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup_trials, multivariate=True, group=True)
        return optuna.samplers.PartialFixedSampler(fixed, sampler) if fixed else sampler


def _suggest_hyperparameters(trial: Trial, families: Mapping[str, Mapping[str, Space]]) -> tuple[str, Hyperparameters]:
    """Suggest a family and its hyperparameters from their search spaces; the study names each `family.hyperparameter`."""
    family = str(trial.suggest_categorical("family", list(families)))
    return family, {name: _suggest_value(trial, f"{family}.{name}", space) for name, space in families[family].items()}


def _suggest_value(trial: Trial, name: str, space: Space) -> Any:
    """Suggest a value from a range or from a list of choices."""
    if isinstance(space, list):
        return trial.suggest_categorical(name, space)
    if isinstance(space.low, int) and isinstance(space.high, int):
        return trial.suggest_int(name, space.low, space.high, log=space.log)
    return trial.suggest_float(name, space.low, space.high, log=space.log)


def _score_trial(trial: Trial, fit: Callable[[TrainingMatrix], Any], folds: list[Fold], task: Task) -> float:
    """Return the mean of the task's objective over the folds; raise optuna.TrialPruned when the pruner stops the trial."""
    scores: list[float] = []
    for step, fold in enumerate(folds):
        scores.append(task.score(fold.y, task.predict(fit(fold.training), fold.X), fold.weights))
        trial.report(float(np.mean(scores)), step)
        if step + 1 < len(folds) and trial.should_prune():
            raise optuna.TrialPruned
    return float(np.mean(scores))


def complete_families(families: Spaces, features: list[FeatureRecord]) -> dict[str, dict[str, Any]]:
    """Return the search spaces in plain values, a family's own where `families` names it with none.

    Raises ProjectError for an empty list of families, an unknown name, or a family that cannot be monotone in a feature that
    has to be.
    """
    if not families:
        raise ProjectError(f"{PARAMS}: tune.families is empty: name at least one family.")
    chosen = {name: space or own for name, space in families.items() for own in [find_family(name).space]}
    for name in families:
        find_family(name).check_features(features)
    return {
        name: {key: value.model_dump() if isinstance(value, Range) else value for key, value in space.items()}
        for name, space in chosen.items()
    }


def report_trial(trial: FrozenTrial, best: float, number: int, trials: int) -> None:
    """Print a line of progress to stderr, which the runner shows but does not store in the notebook."""
    score = "pruned" if trial.state == TrialState.PRUNED else f"{trial.value:.4f}"
    print(
        f"tune: trial {number}/{trials} {trial.params['family']} {score}, best {best:.4f}", file=sys.stderr, flush=True
    )


def tabulate_trials(trials: list[FrozenTrial]) -> pd.DataFrame:
    """Return one row per trial: number, state, family, roc_auc (NaN when pruned), last_mean, folds scored, and settings.

    `settings` holds the hyperparameters as JSON; the column keeps this name so that the file's bytes do not change.
    """
    rows = [
        {
            "trial": number,
            "state": trial.state.name.lower(),
            "family": trial.params["family"],
            "roc_auc": trial.value if trial.state == TrialState.COMPLETE else np.nan,
            "last_mean": trial.intermediate_values[max(trial.intermediate_values)],
            "folds": len(trial.intermediate_values),
            "settings": json.dumps(_read_hyperparameters(trial), sort_keys=True),
        }
        for number, trial in enumerate(trials)
    ]
    return pd.DataFrame(rows)


def _read_hyperparameters(trial: FrozenTrial) -> Hyperparameters:
    """Return a trial's hyperparameters, without the family as a prefix of their names."""
    return {name.partition(".")[2]: value for name, value in trial.params.items() if name != "family"}


def choose_best(table: pd.DataFrame) -> TuningResult:
    """Return the best complete trial (the earlier of two equal ones), and the best score of each family."""
    complete = table[table["state"] == "complete"]
    best = complete.iloc[int(complete["roc_auc"].argmax())]
    families = complete.groupby("family")["roc_auc"].max().sort_values(ascending=False)
    return TuningResult(
        family=best["family"],
        hyperparameters=json.loads(best["settings"]),
        roc_auc=float(best["roc_auc"]),
        trial=int(best["trial"]),
        trials=len(table),
        pruned=int((table["state"] == "pruned").sum()),
        families={str(name): float(score) for name, score in families.items()},
    )


def measure_importance(trials: list[FrozenTrial], family: str, seed: int) -> dict[str, float]:
    """Return how much of the score's variation each hyperparameter explains (fANOVA, Hutter et al. 2014).

    Empty when there are fewer than four complete trials or all have the same score.
    """
    chosen = [trial for trial in trials if trial.params["family"] == family and trial.state == TrialState.COMPLETE]
    names = [name for name in chosen[0].params if name != "family"]
    if len(chosen) < 4 or len({trial.value for trial in chosen}) < 2:
        return {}
    study = optuna.create_study(direction="maximize")
    study.add_trials(chosen)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=names)
    return {name.partition(".")[2]: float(value) for name, value in found.items()}


def log_trial(client: MlflowClient, experiment: str, parent: str, trial: FrozenTrial, number: int) -> None:
    """Log a trial as a nested run of the study's run."""
    log_run(
        client,
        experiment,
        f"trial {number}",
        params=trial.params,
        metrics={"roc_auc": trial.value} if trial.state == TrialState.COMPLETE and trial.value is not None else {},
        tags={"state": trial.state.name.lower()},
        steps=trial.intermediate_values,
        parent=parent,
    )


def open_parent(client: MlflowClient, experiment: str, study: str) -> str:
    """Return the run that contains the study's trials: one that an interruption left unfinished, or a new one."""
    found = find_run(client, experiment, {"study": study}, unfinished=True)
    return found or client.create_run(experiment, run_name="tune", tags={f"{TAG}study": study}).info.run_id


def score_of(trial: FrozenTrial) -> float:
    """Return a complete trial's score, minus infinity for a pruned one."""
    return trial.value if trial.state == TrialState.COMPLETE and trial.value is not None else float("-inf")


def describe_families(best: TuningResult) -> str:
    """Describe each family's best score in a sentence."""
    scores = ", ".join(f"{name} {score:.4f}" for name, score in best.families.items())
    return f"Best mean ROC AUC of each family: {scores}."
