import json
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Tune
from lifecycle.modeling.families import FAMILIES as ALL_FAMILIES
from lifecycle.modeling.family import Preparation
from lifecycle.modeling.split import split_folds
from lifecycle.modeling.task import BinaryTask
from lifecycle.modeling.tracking import open_tracking
from lifecycle.stages import tune
from tests.support.contracts import make_contract, make_table
from tests.support.mlflow_stores import copy_store

FAMILIES = {
    "logistic": {"C": {"low": 0.01, "high": 10.0, "log": True}, "knots": [0, 4]},
    "forest": {"n_estimators": {"low": 5, "high": 9, "log": False}},
}

TASK = BinaryTask("left")


def make_section(trials: int) -> Tune:
    return Tune(
        trials=trials, folds=3, startup_trials=4, max_rows=1000, storage="", families=FAMILIES, first={}
    )  # fmt: skip


@pytest.fixture
def prepared(customers: pd.DataFrame) -> tune.PreparedFolds:
    table, declaration = make_table(customers, make_contract())
    return tune.PreparedFolds(table, declaration, split_folds(table, declaration, 3, seed=0), 0)


def run(
    study: optuna.Study, prepared: tune.PreparedFolds, trials: int, *, stop_after: int | None = None
) -> pd.DataFrame:
    running = tune.run_trials(study, prepared, make_section(trials), TASK, seed=7, threads=1)
    for number, _ in enumerate(running, start=1):
        if number == stop_after:
            break
    return tune.tabulate_trials(tune.finished_trials(study))


def test_trials_on_a_long_table_use_a_sample_with_the_classes_shares(customers: pd.DataFrame) -> None:
    table, declaration = make_table(customers, make_contract())
    sample = tune.sample_rows(table, declaration, 100, seed=0)
    assert len(sample) == 100
    assert sample["left"].mean() == pytest.approx(table["left"].mean(), abs=0.01)
    assert sample["id"].is_monotonic_increasing and sample["id"].is_unique, "in the table's order, no row twice"
    pd.testing.assert_frame_equal(sample, tune.sample_rows(table, declaration, 100, seed=0))
    assert not sample.equals(tune.sample_rows(table, declaration, 100, seed=1))
    assert tune.sample_rows(table, declaration, 300, seed=0) is table
    assert len(tune.sample_rows(table, declaration, 299, seed=0)) == pytest.approx(299, abs=1)


def test_an_interrupted_study_ends_like_an_uninterrupted_one(prepared: tune.PreparedFolds, tmp_path: Path) -> None:
    whole = run(tune.open_study("whole", "", tmp_path, 4), prepared, 10)
    study = tune.open_study("cut", "", tmp_path, 4)
    run(study, prepared, 10, stop_after=5)
    study.ask()  # a trial that the interruption left running
    resumed = tune.open_study("cut", "", tmp_path, 4)
    assert len(tune.finished_trials(resumed)) == 5
    pd.testing.assert_frame_equal(run(resumed, prepared, 10), whole)
    assert set(whole["family"][:4]) == set(FAMILIES)


def test_a_finished_study_is_forgotten(prepared: tune.PreparedFolds, tmp_path: Path) -> None:
    study = tune.open_study("done", "", tmp_path, 4)
    run(study, prepared, 2)
    tune.close_study(study, "", tmp_path)
    assert not tune.finished_trials(tune.open_study("done", "", tmp_path, 4))


def test_a_database_may_hold_the_study(prepared: tune.PreparedFolds, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    in_database = run(tune.open_study("shared", storage, tmp_path, 4), prepared, 5)
    pd.testing.assert_frame_equal(in_database, run(tune.open_study("alone", "", tmp_path, 4), prepared, 5))


def test_another_input_is_another_study(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_text("a")
    first = tune.identify_study({"seed": 1}, [path])
    assert first == tune.identify_study({"seed": 1}, [path])
    assert first != tune.identify_study({"seed": 2}, [path])
    path.write_text("b")
    assert first != tune.identify_study({"seed": 1}, [path])


def test_folds_are_prepared_on_their_own_training_rows(customers: pd.DataFrame) -> None:
    table, declaration = make_table(customers, make_contract())
    folds = split_folds(table, declaration, 3, seed=0)
    prepared = tune.PreparedFolds(table, declaration, folds, 0)
    scaled, raw = (prepared.prepare(Preparation(scale=scale, takes_missing=False)) for scale in (True, False))
    months = table["months"].to_numpy()
    for (fit, judge), fold, unscaled in zip(folds, scaled, raw, strict=True):
        np.testing.assert_allclose(fold.X[:, 0], (months[judge] - months[fit].mean()) / months[fit].std())
        np.testing.assert_array_equal(unscaled.X[:, 0], months[judge])
        assert len(fold.training.X) == len(fold.training.y) == len(fit)
    assert prepared.prepare(Preparation(scale=True, takes_missing=False)) is scaled, "computed once"


def test_a_hopeless_trial_is_pruned(prepared: tune.PreparedFolds) -> None:
    class Coin:
        classes_ = (0, 1)

        def predict_proba(self, X):
            return np.full((len(X), 2), 0.5)

    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(1, 1))
    study.add_trial(optuna.create_trial(value=0.9, intermediate_values={0: 0.9, 1: 0.9, 2: 0.9}))
    folds = prepared.prepare(Preparation(scale=False, takes_missing=False))
    with pytest.raises(optuna.TrialPruned):
        tune._score_trial(study.ask(), lambda training: Coin(), folds, TASK)


def test_the_best_is_the_best_complete_one() -> None:
    trials = pd.DataFrame({
        "trial": range(4),
        "state": ["complete", "pruned", "complete", "complete"],
        "family": ["a", "a", "b", "b"],
        "roc_auc": [0.7, np.nan, 0.8, 0.8],
        "settings": [json.dumps({"x": number}) for number in range(4)],
    })  # fmt: skip
    best = tune.choose_best(trials)
    assert (best.family, best.hyperparameters, best.pruned) == ("b", {"x": 2}, 1)
    assert best.families == {"b": 0.8, "a": 0.7}
    assert tune.describe_families(best) == "Best mean ROC AUC of each family: b 0.8000, a 0.7000."


def test_importance_finds_the_hyperparameter_that_matters() -> None:
    space = {"family": optuna.distributions.CategoricalDistribution(["f"]),
             "f.big": optuna.distributions.FloatDistribution(0, 1), "f.idle": optuna.distributions.FloatDistribution(0, 1)}  # fmt: skip
    rng = np.random.default_rng(0)
    trials = [
        optuna.create_trial(params={"family": "f", "f.big": big, "f.idle": idle}, distributions=space, value=big)
        for big, idle in rng.random((30, 2))
    ]
    importance = tune.measure_importance(trials, "f", seed=0)
    assert importance["big"] > 0.9
    assert importance["idle"] < 0.1
    assert tune.measure_importance(trials[:1], "f", seed=0) == {}


def test_families_are_checked() -> None:
    with pytest.raises(ProjectError, match=r"tune\.families is empty"):
        tune.complete_families({}, [])
    with pytest.raises(ProjectError, match="'magic'"):
        tune.complete_families({"magic": {"C": [1.0]}}, [])


def test_a_family_without_a_search_space_has_its_own() -> None:
    spaces = tune.complete_families({**FAMILIES, **{name: {} for name in ALL_FAMILIES if name not in FAMILIES}}, [])
    assert {name: spaces[name] for name in FAMILIES} == FAMILIES
    assert spaces["hist_boosting"]["max_iter"] == {"low": 60, "high": 200, "log": False}
    parsed = Tune.model_validate({**make_section(1).model_dump(), "families": spaces}).families
    assert parsed.keys() == ALL_FAMILIES.keys() and all(parsed.values())


def test_trials_are_nested_runs(
    prepared: tune.PreparedFolds, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client, experiment = open_tracking(copy_store(store, tmp_path), "shop")
    parent = tune.open_parent(client, experiment, "study")
    assert tune.open_parent(client, experiment, "study") == parent
    study = tune.open_study("logged", "", tmp_path, 4)
    run(study, prepared, 2)
    for number, trial in enumerate(tune.finished_trials(study)):
        tune.log_trial(client, experiment, parent, trial, number)
    nested = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{parent}'")
    assert len(nested) == 2
    assert nested[0].data.params["family"] in FAMILIES
    steps = client.get_metric_history(nested[0].info.run_id, "fold_score")
    assert [point.step for point in steps] == [0, 1, 2]
    client.set_terminated(parent)
    assert tune.open_parent(client, experiment, "study") != parent
