"""Rows count by their weight in fitting, for every family, and in the scores of tuning."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lifecycle.core.contract import Contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Tune
from lifecycle.modeling.families import FAMILIES
from lifecycle.modeling.pipelines import Recipe
from lifecycle.modeling.split import split_folds
from lifecycle.modeling.task import BinaryTask
from lifecycle.modeling.weights import read_weights
from lifecycle.stages import deploy, train, tune
from tests.support.contracts import make_contract, make_table
from tests.support.tuning import make_result

HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "logistic": {"C": 1.0, "knots": 4},
    "forest": {"n_estimators": 20, "min_samples_leaf": 5},
    "hist_boosting": {"max_iter": 20, "min_samples_leaf": 5},
    "lightgbm": {"n_estimators": 20, "min_child_samples": 5},
    "xgboost": {"n_estimators": 20},
}
WEIGHT = {"role": "weight", "dtype": "float64", "min": 0}


def weigh(*, role: str = "weight") -> tuple[pd.DataFrame, Contract]:
    """A table whose label follows from the months, and in every other row, of weight 0, from their opposite."""
    rng = np.random.default_rng(0)
    months, wrong = rng.integers(0, 72, 600), np.arange(600) % 2 == 1
    left = (months + rng.normal(0, 10, 600) > 36) ^ wrong
    frame = pd.DataFrame(
        {
            "id": np.arange(600),
            "months": months,
            "spend": 1.0,
            "plan": "basic",
            "senior": 0,
            "share": np.where(wrong, 0.0, 3.0),
        }
    )
    frame["left"] = np.where(left, "yes", "no")
    return frame, make_contract(share={**WEIGHT, "role": role, "min": 0 if role == "weight" else None})


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_weight_zero_are_not_learned_from(family: str) -> None:
    frame, contract = weigh()
    table, declaration = make_table(frame, contract)
    recipe = Recipe(family, HYPERPARAMETERS[family], seed=0, threads=1)
    folds = split_folds(table, declaration, 3, seed=0)
    _, predictions = train.cross_validate(table, declaration, folds, recipe, 0.5)
    meant = (frame["months"] > 36).to_numpy()
    assert roc_auc_score(meant, predictions["probability"]) > 0.9
    model = train.fit_model(table, declaration, predictions, recipe, "none")
    names = [feature["name"] for feature in declaration["features"]]
    assert roc_auc_score(meant, model.predict_proba(table[names])[:, 1]) > 0.9
    alike, unweighted = make_table(*weigh(role="ignored"))
    _, predictions = train.cross_validate(alike, unweighted, folds, recipe, 0.5)
    assert roc_auc_score(meant, predictions["probability"]) < 0.7


def test_the_scale_of_weights_means_nothing() -> None:
    frame, contract = weigh()
    recipe = Recipe("logistic", {"C": 0.01}, seed=0, threads=1)
    answers = []
    for factor in (1.0, 1024.0):
        table, declaration = make_table(frame.assign(share=frame["share"] * factor), contract)
        _, predictions = train.cross_validate(table, declaration, split_folds(table, declaration, 3, 0), recipe, 0.5)
        answers.append(predictions["probability"].to_numpy())
    np.testing.assert_array_equal(*answers)


def test_tuning_scores_rows_by_their_weight(tmp_path: Path) -> None:
    families: Any = {"logistic": {"C": [1.0]}, "hist_boosting": {"max_iter": [20]}}
    section = Tune(trials=2, folds=3, startup_trials=2, max_rows=1000, storage="", families=families, first={})
    scores = {}
    for role in ("weight", "ignored"):
        table, declaration = make_table(*weigh(role=role))
        prepared = tune.PreparedFolds(table, declaration, split_folds(table, declaration, 3, seed=0), 0)
        study = tune.open_study(role, "", tmp_path, 2)
        trials = list(tune.run_trials(study, prepared, section, BinaryTask("left"), seed=0, threads=1))
        scores[role] = [trial.value for trial in trials]
    assert min(scores["weight"]) > 0.9 > 0.6 > max(scores["ignored"])  # noqa: PLR0133 - a gap


def test_the_weight_is_recorded_and_is_no_feature() -> None:
    frame, contract = weigh()
    _, declaration = make_table(frame, contract)
    assert "share" not in [feature["name"] for feature in declaration["features"]]
    assert "share" not in [
        column["name"] for column in deploy.describe_columns(contract, declaration["features"], frame)
    ]
    best = make_result("logistic", {})
    described = train.describe_model(
        declaration, best, calibration="none", cost={"false_positive": 1.0, "false_negative": 1.0}, onset="", files={}
    )
    assert described["weight"] == "share"
    _, plain = make_table(*weigh(role="ignored"))
    assert "weight" not in train.describe_model(
        plain, best, calibration="none", cost=described["cost"], onset="", files={}
    )


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_a_weight_that_is_none_is_refused(value: float) -> None:
    frame, contract = weigh()
    frame.loc[3, "share"] = value
    with pytest.raises(ProjectError, match="'share' has weights that are missing, infinite or below 0"):
        read_weights(*make_table(frame, contract))


def test_a_class_without_weight_is_refused() -> None:
    frame, contract = weigh()
    frame.loc[frame["left"] == "yes", "share"] = 0
    with pytest.raises(ProjectError, match="'share' is 0 in every training row of a class"):
        read_weights(*make_table(frame, contract))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "string", "min": None}, "role weight needs dtype int64 or float64, not string"),
        ({"min": None}, "role weight needs `min: 0` or more"),
        ({"min": -1}, "role weight needs `min: 0` or more"),
        ({"nullable": True}, "no `nullable`"),
    ],
)
def test_a_contract_lets_no_row_without_weight_pass(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_contract(share={**WEIGHT, **change})


def test_there_is_one_weight() -> None:
    with pytest.raises(ValueError, match="at most one column may have role weight"):
        make_contract(share=WEIGHT, part=WEIGHT)
