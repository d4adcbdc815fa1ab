from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline

from lifecycle.core.errors import ProjectError
from lifecycle.modeling.families import FAMILIES
from lifecycle.modeling.family import Preparation
from lifecycle.modeling.model import hash_model, load_model, save_model
from lifecycle.modeling.pipelines import Recipe, build_preparation
from lifecycle.modeling.split import split_folds
from lifecycle.modeling.task import BinaryTask
from lifecycle.stages import train
from tests.support.contracts import make_contract, make_table
from tests.support.families import QUICK
from tests.support.tuning import make_result

COST = {"false_positive": 1.0, "false_negative": 3.0}
RECIPE = Recipe("logistic", {"C": 1.0}, seed=0, threads=1)


@pytest.fixture
def made(customers: pd.DataFrame) -> tuple[pd.DataFrame, dict]:
    return make_table(customers, make_contract())


def validate(made: tuple[pd.DataFrame, dict]) -> tuple[pd.DataFrame, pd.DataFrame]:
    table, declaration = made
    folds = split_folds(table, declaration, 4, seed=0)
    return train.cross_validate(table, declaration, folds, RECIPE, 0.5)


def test_scores_agree_with_scikit_learn(made: tuple[pd.DataFrame, dict]) -> None:
    table, declaration = made
    scores, _ = validate(made)
    prepare = build_preparation(declaration["features"], Preparation(scale=True, takes_missing=False), 0)
    pipeline = make_pipeline(prepare, LogisticRegression(C=1.0, max_iter=1000))
    names = [feature["name"] for feature in declaration["features"]]
    metrics = ["accuracy", "precision", "recall", "f1", "roc_auc"]
    folds = split_folds(table, declaration, 4, seed=0)
    expected = cross_validate(pipeline, table[names], table["left"], cv=folds, scoring=metrics, return_train_score=True)
    summary = train.summarise_scores(scores, folds)
    for metric in metrics:
        assert summary[metric]["test_mean"] == pytest.approx(expected[f"test_{metric}"].mean())
        assert summary[metric]["train_sd"] == pytest.approx(expected[f"train_{metric}"].std(ddof=1))
        share = np.mean([len(judge) / len(fit) for fit, judge in folds])
        error = expected[f"test_{metric}"].std(ddof=1) * np.sqrt(1 / 4 + share)
        assert summary[metric]["test_error"] == pytest.approx(error)


def test_every_row_is_predicted_once_out_of_fold(made: tuple[pd.DataFrame, dict]) -> None:
    _, predictions = validate(made)
    assert predictions["row"].tolist() == list(range(300))
    np.testing.assert_array_equal(predictions["target"], made[0]["left"])


def test_threshold_is_the_cheapest() -> None:
    """With calibrated probabilities the threshold of Elkan (2001) has the least cost."""
    rng = np.random.default_rng(0)
    probability = rng.random(200_000)
    target = (rng.random(200_000) < probability).astype(int)
    costs = train.trace_costs(target, probability, COST)
    assert BinaryTask("left").set_threshold(COST) == 0.25
    assert costs.loc[costs["cost"].idxmin(), "threshold"] == pytest.approx(0.25, abs=0.03)


def test_costs_are_counted() -> None:
    costs = train.trace_costs(np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9]), COST, steps=1)
    assert costs["cost"].tolist() == [(1 * 3.0 + 1 * 1.0) / 4]


def save(made: tuple[pd.DataFrame, dict], folder: Path) -> str:
    table, declaration = made
    _, predictions = validate(made)
    model = train.fit_model(table, declaration, predictions, RECIPE, "sigmoid")
    best = make_result("logistic", {"C": 1.0})
    source = folder.with_suffix(".source")
    source.write_text("rows")
    metadata = train.describe_model(
        declaration, best, calibration="sigmoid", cost=COST, onset="", files={"train": source}
    )
    return save_model(model, metadata, folder)


@pytest.fixture
def folder(made: tuple[pd.DataFrame, dict], tmp_path: Path) -> Path:
    save(made, tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_model_is_the_model(made: tuple[pd.DataFrame, dict], folder: Path) -> None:
    table, _ = made
    model = load_model(folder)
    probability = model.predict(table.iloc[:, ::-1])  # columns are found by name, in any order
    assert probability[table["left"] == 1].mean() > probability[table["left"] == 0].mean()
    assert abs(probability.mean() - table["left"].mean()) < 0.03
    assert (model.threshold, model.sha256) == (0.25, hash_model(folder))
    assert len(model.metadata["train_sha256"]) == 64


def test_training_twice_gives_the_same_bytes(customers: pd.DataFrame, tmp_path: Path) -> None:
    first, second = (save(make_table(customers.copy(), make_contract()), tmp_path / name) for name in "ab")
    assert first == second


def test_a_damaged_model_is_reported(made: tuple[pd.DataFrame, dict], folder: Path) -> None:
    model = load_model(folder)
    with pytest.raises(ProjectError, match=r"needs the columns \['spend'\]"):
        model.predict(made[0].drop(columns="spend"))
    (folder / "model.joblib").unlink()
    with pytest.raises(ProjectError, match=r"model\.joblib is missing"):
        load_model(folder)


def test_decisions_are_counted() -> None:
    counts = train.tabulate_decisions(np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9]), 0.5)
    assert counts.to_numpy().tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("family", FAMILIES)
def test_balanced_classes_shift_the_probabilities_and_calibration_brings_them_back(
    customers: pd.DataFrame, family: str
) -> None:
    frame = pd.concat([customers] * 3, ignore_index=True).assign(id=range(900))
    table, declaration = make_table(frame, make_contract())
    keep = (table["left"] == 0) | (table["id"] % 4 == 0)  # a rare class
    table = table[keep].reset_index(drop=True)
    rate, names = table["left"].mean(), [feature["name"] for feature in declaration["features"]]
    folds = split_folds(table, declaration, 3, seed=0)
    means = {}
    for weight in ("none", "balanced"):
        recipe = Recipe(family, {**QUICK[family], "class_weight": weight}, seed=0, threads=1)
        _, predictions = train.cross_validate(table, declaration, folds, recipe, 0.5)
        means[weight] = predictions["probability"].mean()
        model = train.fit_model(table, declaration, predictions, recipe, "sigmoid")
        assert model.predict_proba(table[names])[:, 1].mean() == pytest.approx(rate, abs=0.06)
    assert means["none"] == pytest.approx(rate, abs=0.04)
    assert means["balanced"] > rate + 0.05


def test_balanced_classes_are_never_left_uncalibrated() -> None:
    compared = pd.DataFrame({"log_loss": [0.5, 0.5, 0.6], "error": 0.1}, index=["none", "sigmoid", "isotonic"])
    assert train.choose_method("auto", compared, {"C": 1.0, "class_weight": "none"}) == "none"
    assert train.choose_method("auto", compared, {"class_weight": "balanced"}) == "sigmoid"
    assert train.choose_method("isotonic", compared, {"class_weight": "balanced"}) == "isotonic"
    assert train.choose_method("none", compared, {}) == "none"
    with pytest.raises(ProjectError, match=r"train\.calibration is none, but the best model has class_weight balanced"):
        train.choose_method("none", compared, {"class_weight": "balanced"})


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unknown_class_weight_is_named(made: tuple[pd.DataFrame, dict], family: str) -> None:
    recipe = Recipe(family, {"class_weight": "heavy"}, seed=0, threads=1)
    with pytest.raises(
        ProjectError, match=rf"tune\.families\.{family}\.class_weight: 'heavy' is neither none nor balanced"
    ):
        train.cross_validate(*made, split_folds(*made, 2, seed=0), recipe, 0.5)
