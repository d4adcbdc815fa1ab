"""Tune: which family of models, and which settings, by a seeded study over cross-validation folds."""

from __future__ import annotations

import hashlib
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pandas as pd
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file
from lifecycle.modeling import pipelines
from lifecycle.modeling.error_function import pin_error_function
from lifecycle.modeling.pipelines import FeatureRecord, Settings, build_preparation, find_family
from lifecycle.modeling.tracking import TAG, find_run, log_run

if TYPE_CHECKING:
    from mlflow import MlflowClient

Folds = list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]
Matrices = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]
Prepared = dict[str, list[Matrices]]
Spaces = dict[str, dict[str, Any]]
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
PRUNED_AFTER = 1  # folds that every trial may have


def identify_study(inputs: dict[str, Any], files: list[Path]) -> str:
    """A name for the study that changes with its inputs and with the code that scores: only the same may be resumed."""
    total = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode())
    for path in [*files, Path(pipelines.__file__), Path(__file__)]:
        total.update(bytes.fromhex(hash_file(path)))
    return total.hexdigest()[:16]


def open_study(name: str, storage: str, folder: Path, startup_trials: int) -> optuna.Study:
    """Open or resume the study `name`, kept in a journal in `folder` or in the database at `storage`.

    What an interruption left running is set aside as failed.
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
        pruner=optuna.pruners.MedianPruner(n_startup_trials=startup_trials, n_warmup_steps=PRUNED_AFTER),
        load_if_exists=True,
    )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def close_study(study: optuna.Study, storage: str, folder: Path) -> None:
    """Forget a finished study's journal: its trials are in the outputs, and a rerun is a rerun."""
    if not storage:
        (folder / f"{study.study_name}.journal").unlink(missing_ok=True)


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that came to a score or were pruned, in order."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def sample_rows(table: pd.DataFrame, declaration: dict[str, Any], most: int, seed: int) -> pd.DataFrame:
    """At most so many rows of a feature table, at random and in its order; of each class as large a share as it has."""
    if len(table) <= most:
        return table
    generator = np.random.default_rng(seed)
    places = table.groupby(declaration["target"], sort=True).indices.values()
    chosen = [generator.choice(rows, round(most * len(rows) / len(table)), replace=False) for rows in places]
    return table.iloc[np.sort(np.concatenate(chosen))].reset_index(drop=True)


def prepare_folds(table: pd.DataFrame, declaration: dict[str, Any], folds: Folds, families: Spaces) -> Prepared:
    """Each fold's matrices, (X fit, y fit, X judge, y judge), for every family: made once, not once a trial.

    Everything fitted is fitted on that fold's own training rows. Families with the same needs share their matrices; in
    memory stand folds x rows x encoded columns x 8 bytes for each distinct need.
    """
    features: list[FeatureRecord] = declaration["features"]
    X, y = table[[feature["name"] for feature in features]], table[declaration["target"]].to_numpy()
    needs: dict[tuple[bool, bool], list[Matrices]] = {}
    for name in families:
        family = find_family(name)
        need = (family.scale, family.takes_missing)
        if need not in needs:
            needs[need] = []
            for fit, judge in folds:
                prepare = build_preparation(features, scale=family.scale, takes_missing=family.takes_missing)
                needs[need].append(
                    (prepare.fit_transform(X.iloc[fit]), y[fit], prepare.transform(X.iloc[judge]), y[judge])
                )
    return {name: needs[find_family(name).scale, find_family(name).takes_missing] for name in families}


def put_first(study: optuna.Study, first: Spaces, families: Spaces) -> None:
    """Let a study that begins try these settings before any others: a warm start (Feurer et al. 2015, AAAI)."""
    if study.get_trials(deepcopy=False):
        return
    for family, settings in first.items():
        if family in families:
            known = {f"{family}.{name}": value for name, value in settings.items() if name in families[family]}
            study.enqueue_trial({"family": family, **known})


def run_trials(
    study: optuna.Study, prepared: Prepared, *,
    families: Spaces, trials: int, startup_trials: int, seed: int, threads: int,
) -> Iterator[FrozenTrial]:  # fmt: skip
    """Run what is missing of `trials` trials, giving each when it is finished.

    The sampler is seeded anew for each trial from `seed` and the number of those finished, so that a resumed study
    goes on as the uninterrupted one would. The first trials take each family in turn.
    """
    names = list(families)
    while (done := len(finished_trials(study))) < trials:
        fixed = {"family": names[done % len(names)]} if done < startup_trials else {}
        study.sampler = seed_sampler(
            int(np.random.SeedSequence([seed, done]).generate_state(1)[0]), startup_trials, fixed
        )
        trial = study.ask()
        family, settings = suggest_settings(trial, families)
        try:
            model = find_family(family).build(settings, seed, threads)
            score = score_trial(trial, model, prepared[family])
            yield study.tell(trial, score)
        except optuna.TrialPruned:
            yield study.tell(trial, state=TrialState.PRUNED)


def seed_sampler(seed: int, startup_trials: int, fixed: dict[str, Any]) -> optuna.samplers.BaseSampler:
    """A multivariate TPE sampler (Bergstra 2011; Falkner 2018) with some parameters fixed."""
    pin_error_function()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # multivariate and group, for years
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup_trials, multivariate=True, group=True)
        return optuna.samplers.PartialFixedSampler(fixed, sampler) if fixed else sampler


def suggest_settings(trial: Trial, families: Spaces) -> tuple[str, Settings]:
    """A family and its settings from their search spaces; a setting's name in the study is `family.setting`."""
    family = str(trial.suggest_categorical("family", list(families)))
    return family, {name: suggest_value(trial, f"{family}.{name}", space) for name, space in families[family].items()}


def suggest_value(trial: Trial, name: str, space: Any) -> Any:
    """A value from a range {low, high, log} or from a list of choices."""
    if isinstance(space, list):
        return trial.suggest_categorical(name, space)
    if isinstance(space["low"], int) and isinstance(space["high"], int):
        return trial.suggest_int(name, space["low"], space["high"], log=space["log"])
    return trial.suggest_float(name, space["low"], space["high"], log=space["log"])


def score_trial(trial: Trial, model: Any, folds: list[Matrices]) -> float:
    """The mean ROC AUC over the folds; raises optuna.TrialPruned as soon as the pruner gives the trial up."""
    scores: list[float] = []
    for step, (X_fit, y_fit, X_judge, y_judge) in enumerate(folds):
        probability = clone(model).fit(X_fit, y_fit).predict_proba(X_judge)[:, 1]
        scores.append(float(roc_auc_score(y_judge, probability)))
        trial.report(float(np.mean(scores)), step)
        if step + 1 < len(folds) and trial.should_prune():
            raise optuna.TrialPruned
    return float(np.mean(scores))


def check_families(families: Spaces) -> None:
    """Refuse an empty list of families, or a name that is none (ProjectError)."""
    if not families:
        raise ProjectError("params.yaml: tune.families is empty: name at least one family.")
    for name in families:
        find_family(name)


def report_trial(trial: FrozenTrial, best: float, number: int, trials: int) -> None:
    """A line of progress on stderr, which the runner shows and keeps out of the notebook."""
    score = "pruned" if trial.state == TrialState.PRUNED else f"{trial.value:.4f}"
    print(
        f"tune: trial {number}/{trials} {trial.params['family']} {score}, best {best:.4f}", file=sys.stderr, flush=True
    )


def tabulate_trials(trials: list[FrozenTrial]) -> pd.DataFrame:
    """One row a trial: number, state, family, roc_auc (NaN where pruned), folds scored, settings as JSON."""
    rows = [
        {
            "trial": number,
            "state": trial.state.name.lower(),
            "family": trial.params["family"],
            "roc_auc": trial.value if trial.state == TrialState.COMPLETE else np.nan,
            "last_mean": trial.intermediate_values[max(trial.intermediate_values)],
            "folds": len(trial.intermediate_values),
            "settings": json.dumps(read_settings(trial), sort_keys=True),
        }
        for number, trial in enumerate(trials)
    ]
    return pd.DataFrame(rows)


def read_settings(trial: FrozenTrial) -> Settings:
    """A trial's settings without the family's name before them."""
    return {name.partition(".")[2]: value for name, value in trial.params.items() if name != "family"}


def choose_best(table: pd.DataFrame) -> dict[str, Any]:
    """The winner among complete trials (the earlier one where two are equal), and each family's best score."""
    complete = table[table["state"] == "complete"]
    best = complete.iloc[int(complete["roc_auc"].argmax())]
    families = complete.groupby("family")["roc_auc"].max().sort_values(ascending=False)
    return {
        "family": best["family"],
        "settings": json.loads(best["settings"]),
        "roc_auc": float(best["roc_auc"]),
        "trial": int(best["trial"]),
        "trials": len(table),
        "pruned": int((table["state"] == "pruned").sum()),
        "families": {str(name): float(score) for name, score in families.items()},
    }


def measure_importance(trials: list[FrozenTrial], family: str, seed: int) -> dict[str, float]:
    """How much each setting of a family moves its score (fANOVA, Hutter et al. 2014); empty when too few trials tell."""
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
    """Log a trial as a run nested in the study's."""
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
    """The run that the study's trials are nested in: the one that an interruption left, or a new one."""
    found = find_run(client, experiment, {"study": study}, unfinished=True)
    return found or client.create_run(experiment, run_name="tune", tags={f"{TAG}study": study}).info.run_id


def score_of(trial: FrozenTrial) -> float:
    """A complete trial's score, minus infinity for a pruned one."""
    return trial.value if trial.state == TrialState.COMPLETE and trial.value is not None else float("-inf")


def describe_families(best: dict[str, Any]) -> str:
    """Each family's best score in a sentence."""
    return "Best of each family: " + ", ".join(f"{name} {score:.4f}" for name, score in best["families"].items()) + "."
