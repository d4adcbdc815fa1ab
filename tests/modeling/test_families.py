"""A family of models is added in one place: a class that says how it is prepared, fitted, searched and compiled."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import treelite
from ruamel.yaml import YAML
from sklearn.ensemble import ExtraTreesClassifier

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Range, Tune
from lifecycle.modeling.calibration import CalibratedClassifier, Calibrator
from lifecycle.modeling.families import FAMILIES, Boosting
from lifecycle.modeling.family import Compiled, Family, Hyperparameters, Preparation, Space, TrainingMatrix
from lifecycle.modeling.pipelines import Recipe
from lifecycle.modeling.split import split_folds
from lifecycle.modeling.task import task_for
from lifecycle.serving.bundle import to_requests
from lifecycle.serving.compiler import compile_model
from lifecycle.serving.scorer import Scorer
from lifecycle.stages import evaluate, tune
from tests.support.contracts import make_contract, make_table
from tests.support.families import ACCURACY, QUICK


class ExtraTrees(Family):
    """Extremely randomised trees: what CONTRIBUTING asks of a new family, and no more."""

    name = "extra_trees"
    space: ClassVar[Space] = {"n_estimators": [10], "min_samples_leaf": Range(low=3, high=20)}

    def prepare(self, hyperparameters: Hyperparameters) -> Preparation:
        return Preparation(scale=False, takes_missing=False)

    def fit(self, hyperparameters: Hyperparameters, training: TrainingMatrix, seed: int, threads: int) -> Any:
        return ExtraTreesClassifier(random_state=seed, **hyperparameters).fit(training.X, training.y)

    def compile(self, model: Any) -> Compiled:
        return {"kind": "trees", "inputs": "float32", "output": "shares"}, treelite.sklearn.import_model(
            model
        ).serialize_bytes()


def test_a_new_family_is_searched_fitted_and_compiled(
    customers: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(FAMILIES, ExtraTrees.name, ExtraTrees())
    contract = make_contract()
    table, declaration = make_table(customers, contract)
    families = tune.complete_families({"extra_trees": {}}, [])
    section = Tune(trials=3, folds=3, startup_trials=2, max_rows=1000, storage="", families=families, first={})
    prepared = tune.PreparedFolds(table, declaration, split_folds(table, declaration, 3, seed=0), 0)
    study = tune.open_study("new", "", tmp_path, 2)
    list(tune.run_trials(study, prepared, section, task_for(declaration), seed=0, threads=1))
    best = tune.choose_best(tune.tabulate_trials(tune.finished_trials(study)))
    assert best.family == "extra_trees" and best.roc_auc > 0.7

    features, names = declaration["features"], [feature["name"] for feature in declaration["features"]]
    recipe = Recipe(best.family, best.hyperparameters, seed=0, threads=1)
    classifier = CalibratedClassifier(recipe.fit(features, table[names], table["left"]), Calibrator("none"))
    plan, trees = compile_model(classifier, features, best.family)
    plan = json.loads(json.dumps(plan, allow_nan=False))
    scorer = Scorer(plan, {name: column.dtype for name, column in contract.columns.items()}, trees)
    found = scorer.score(to_requests(customers, names))
    np.testing.assert_allclose(found, classifier.predict_proba(table[names])[:, 1], rtol=0, atol=1e-12)


def test_every_family_is_tested() -> None:
    assert QUICK.keys() == FAMILIES.keys()


def test_no_other_module_names_a_family(checkout: Path) -> None:
    """The baselines of evaluate, which gate and model card read, are called by the family they are of."""
    source = checkout / "src/lifecycle"
    baselines = {source / "stages/evaluate.py", source / "stages/explain.py", source / "promotion/gate.py"}
    for path in set(source.rglob("*.py")) - {source / "modeling/families.py", *baselines}:
        text = path.read_text()
        if any(name in text for name in FAMILIES):
            words = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
            assert not words & FAMILIES.keys(), path.name


def test_the_documented_search_spaces_are_the_families_own(checkout: Path) -> None:
    page = (checkout / "docs/how-to/families.md").read_text()
    (text,) = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if block.startswith("lightgbm:")]
    documented = YAML(typ="safe", pure=True).load(text)
    for name, space in documented.items():
        assert tune.complete_families({name: {}}, [])[name] == {
            key: Range.model_validate(value).model_dump() for key, value in space.items()
        }
    assert all(f"| `{name}` |" in page for name in FAMILIES)


@pytest.mark.parametrize("missing", ["category", "impute"])
@pytest.mark.parametrize("rare", [False, True])
@pytest.mark.parametrize("family", [name for name in FAMILIES if isinstance(FAMILIES[name], Boosting)])
def test_native_categories_are_served_as_they_were_learned(family: str, rare: bool, missing: str) -> None:
    """Also a missing one, where the training rows have some or none, and one that they do not have."""
    rng = np.random.default_rng(1)
    places = rng.integers(0, 40, 2000)
    shop = pd.Series([f"shop {place}" for place in places], dtype=object).mask(rng.random(2000) < 0.05)
    shop[:12] = [f"kiosk {place}" for place in range(12)] if rare else "shop 1"
    frame = pd.DataFrame({"x": rng.normal(size=2000), "shop": shop, "plan": np.where(places % 2, "basic", "pro")})
    y = (rng.random(2000) < 1 / (1 + np.exp(-frame["x"] - rng.normal(0, 2, 40)[places]))).astype(int)
    features = [
        {
            "name": name,
            "kind": kind,
            "missing": missing,
            "outliers": "keep",
            "expression": None,
            "columns": [name],
            "values": None,
        }
        for name, kind in (("plan", "categorical"), ("x", "numeric"), ("shop", "categorical"))
    ]
    recipe = Recipe(family, {**QUICK[family], "categories": "native"}, seed=0, threads=1)
    classifier = CalibratedClassifier(recipe.fit(features, frame, y), Calibrator("none"))
    plan, trees = compile_model(classifier, features, family)
    scorer = Scorer(
        json.loads(json.dumps(plan, allow_nan=False)), {"x": "float64", "shop": "string", "plan": "string"}, trees
    )
    odd = pd.DataFrame({
        "x": np.linspace(-2, 2, 60), "shop": ["never seen", None, "kiosk 3"] * 20, "plan": ["basic", None, "new", "pro"] * 15
    })  # fmt: skip
    rows = pd.concat([odd, frame.head(200)], ignore_index=True)
    found = scorer.score(to_requests(rows, ["x", "shop", "plan"]))
    expected = classifier.predict_proba(rows)[:, 1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=ACCURACY.get(family, 1e-12))
    assert expected.std() > 0.05
    assert [scorer.score([row])[0] for row in to_requests(odd, ["x", "shop", "plan"])] == found[:60].tolist()


def test_how_categories_are_treated_is_one_of_two_words(customers: pd.DataFrame) -> None:
    table, declaration = make_table(customers, make_contract())
    recipe = Recipe("hist_boosting", {"categories": "ordinal"}, seed=0, threads=1)
    with pytest.raises(ProjectError, match=r"hist_boosting\.categories: 'ordinal' is neither one_hot nor native"):
        recipe.fit(declaration["features"], table, table["left"])


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    training = TrainingMatrix(np.zeros((4, 1)), np.array([0, 1, 0, 1]))
    with pytest.raises(ProjectError, match=r"names 'lightgbm', but lightgbm cannot be imported .*: run `make env`"):
        FAMILIES["lightgbm"].fit({}, training, seed=0, threads=1)


MONOTONE = make_contract(
    months={"monotone": "decreasing"},
    spend={"monotone": "increasing", "missing": "category", "outliers": "clip"},
    senior={"monotone": "decreasing"},
    noise={"role": "numeric", "dtype": "float64", "nullable": True, "missing": "category"},
)


def measure_violation(family: str, features: list[dict[str, Any]], frame: pd.DataFrame, table: pd.DataFrame) -> float:
    """Fit, compile, and return by how much the bundle's answers move the wrong way, at most, with one of three columns."""
    names = [feature["name"] for feature in features]
    recipe = Recipe(family, {**QUICK[family], "class_weight": "balanced"}, seed=0, threads=1)
    classifier = CalibratedClassifier(recipe.fit(features, table[names], table["left"]), Calibrator("none"))
    plan, trees = compile_model(classifier, features, family)
    scorer = Scorer(plan, {name: column.dtype for name, column in MONOTONE.columns.items()}, trees)
    requests = to_requests(frame.head(40), names)
    grids = {"months": range(0, 73, 3), "spend": np.linspace(0, 300, 30).tolist(), "senior": [0, 1]}
    worst = 0.0
    for name, grid in grids.items():
        sign = 1 if name == "spend" else -1
        answers = np.array([scorer.score([{**row, name: value} for row in requests]) for value in grid])
        worst = max(worst, float((-sign * np.diff(answers, axis=0)).max()))
    return worst


@pytest.mark.parametrize("family", [name for name in FAMILIES if FAMILIES[name].constrains])
def test_predictions_are_monotone_where_the_contract_says_so(customers: pd.DataFrame, family: str) -> None:
    """Beside missing indicators and one-hot columns, which shift the places of the columns in the matrix."""
    rng = np.random.default_rng(2)
    noise = pd.Series(rng.normal(size=len(customers))).mask(rng.random(len(customers)) < 0.2)
    frame = customers.assign(noise=noise, spend=customers["spend"].mask(customers["id"] % 9 == 0))
    table, declaration = make_table(frame, MONOTONE)
    free = [{**feature, "monotone": None} for feature in declaration["features"]]
    limit = ACCURACY.get(family, 1e-12)
    assert measure_violation(family, declaration["features"], frame, table) <= limit
    assert measure_violation(family, free, frame, table) > 0.01


def test_a_family_that_cannot_be_monotone_is_refused(customers: pd.DataFrame) -> None:
    table, declaration = make_table(customers, MONOTONE.model_copy(update={"columns": {
        name: column for name, column in MONOTONE.columns.items() if name != "noise"
    }}))  # fmt: skip
    said = r"tune\.families names 'logistic', which cannot be monotone in \['months', 'spend', 'senior'\]"
    with pytest.raises(ProjectError, match=said):
        tune.complete_families({"forest": {}, "logistic": {}}, declaration["features"])
    with pytest.raises(ProjectError, match=said):
        Recipe("logistic", {}, 0, 1).fit(declaration["features"], table, table["left"])
    predicted = evaluate.predict_baselines(table.head(200), table.tail(100), declaration, ["months"], 0, 1)
    assert predicted.keys() == {"prior", "logistic", "tutorial"}, "a baseline is not constrained"
