import json
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from lifecycle import paths
from lifecycle.modeling.model import hash_model, load_model
from lifecycle.modeling.registry import promote_candidate
from lifecycle.paths import Project, ProjectError, write_json
from lifecycle.stages import train
from tests.contracts import make_contract, make_table


@pytest.fixture
def empty(project: Path) -> Project:
    """A project without a champion."""
    import shutil

    write_json({"model": None}, project / paths.CHAMPION)
    shutil.rmtree(project / paths.CHAMPION_BUNDLE, ignore_errors=True)
    return Project(project, project)


def build(
    project: Project, customers: pd.DataFrame, strength: float, *, blessed: bool = True, better: bool = True
) -> str:
    """A candidate with its verdict and evaluation, as train and evaluate leave them; its content hash."""
    table, declaration = make_table(customers, make_contract())
    folds = train.split_folds(table, declaration, 3, seed=0)
    settings = {"C": strength}
    _, predictions = train.cross_validate(table, declaration, folds, "logistic", settings, 0.5, seed=0, threads=1)
    model = train.fit_model(table, declaration, predictions, "logistic", settings, "none", seed=0, threads=1)
    best, cost = {"family": "logistic", "settings": settings}, {"false_positive": 1.0, "false_negative": 3.0}
    metadata = train.describe_model(declaration, best, calibration="none", cost=cost, files={})
    sha256 = train.save_model(model, metadata, project.write(f"{paths.CANDIDATE}/model.json").parent)
    verdict = {
        "blessed": blessed,
        "better": better,
        "model": sha256,
        "conditions": [],
        "because": "all conditions hold",
    }
    write_json(verdict, project.write(paths.VERDICT))
    write_json({"metrics": {"roc_auc": {"value": 0.8, "low": 0.7, "high": 0.9}}}, project.write(paths.EVALUATION))
    return sha256


def aliases(version: str) -> set[str]:
    return set(mlflow.MlflowClient().get_model_version("shop", version).aliases)


def history(project: Project) -> list[dict]:
    return [json.loads(line) for line in (project.root / paths.HISTORY).read_text().splitlines()]


def test_the_first_blessed_model_is_champion_and_registers_once(empty: Project, customers: pd.DataFrame) -> None:
    sha256 = build(empty, customers, 1.0)
    done = promote_candidate(empty, "shop")
    assert (done.moved, done.because) == (True, "it is the first")
    assert json.loads((empty.root / paths.CHAMPION).read_text())["model"] == sha256
    assert hash_model(empty.root / paths.CHAMPION_BUNDLE) == sha256
    assert aliases(done.version) == {"challenger", "champion"}
    before = (empty.root / paths.CHAMPION).read_bytes()
    again = promote_candidate(empty, "shop")
    assert (again.moved, again.version, again.because) == (False, done.version, "it is the champion already")
    assert (empty.root / paths.CHAMPION).read_bytes() == before
    assert [line["model"] for line in history(empty)] == [sha256]


def test_better_moves_worse_does_not(empty: Project, customers: pd.DataFrame) -> None:
    first = build(empty, customers, 1.0)
    promote_candidate(empty, "shop")
    build(empty, customers, 0.01, better=False)
    kept = promote_candidate(empty, "shop")
    assert not kept.moved
    assert aliases(kept.version) == {"challenger"}
    second = build(empty, customers, 0.5)
    moved = promote_candidate(empty, "shop")
    assert moved.moved
    assert [(line["before"], line["model"]) for line in history(empty)] == [(None, first), (first, second)]
    assert load_model(empty.root / paths.CHAMPION_BUNDLE).sha256 == second


def test_not_blessed_moves_nothing(empty: Project, customers: pd.DataFrame) -> None:
    build(empty, customers, 1.0, blessed=False)
    done = promote_candidate(empty, "shop")
    assert (done.moved, done.version) == (False, None)
    assert done.because.startswith("not blessed: ")
    assert json.loads((empty.root / paths.CHAMPION).read_text()) == {"model": None}
    assert not (empty.root / "mlflow.db").exists()


def test_a_verdict_of_another_model_is_refused(empty: Project, customers: pd.DataFrame) -> None:
    build(empty, customers, 1.0)
    verdict = json.loads((empty.root / paths.VERDICT).read_text())
    write_json({**verdict, "model": "0" * 64}, empty.root / paths.VERDICT)
    with pytest.raises(ProjectError, match=r"verdict\.json judges model 000000000000"):
        promote_candidate(empty, "shop")


def test_losing_mlflow_loses_nothing(empty: Project, customers: pd.DataFrame) -> None:
    sha256 = build(empty, customers, 1.0)
    promote_candidate(empty, "shop")
    (empty.root / "mlflow.db").unlink()
    done = promote_candidate(empty, "shop")
    assert aliases(done.version) == {"challenger", "champion"}
    found = mlflow.MlflowClient().get_model_version("shop", done.version)
    assert found.tags["lifecycle.model"] == sha256
    table, _ = make_table(customers, make_contract())
    model = load_model(empty.root / paths.CHAMPION_BUNDLE)
    from_registry = mlflow.sklearn.load_model("models:/shop@champion")
    inputs = table[model.metadata["features"]]
    assert (from_registry.predict_proba(inputs)[:, 1] == model.predict(table)).all()
