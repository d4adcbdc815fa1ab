from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lifecycle.core.errors import ProjectError
from lifecycle.modeling.model import Model, load_model, save_model
from lifecycle.modeling.pipelines import Recipe
from lifecycle.modeling.split import split_folds
from lifecycle.serving.acceptance import count_crashes, prepare_workspace, put_under_load, start_server
from lifecycle.serving.bundle import Bundle, load_bundle, write_bundle
from lifecycle.serving.compiler import compile_model
from lifecycle.stages import deploy, train
from tests.support.contracts import make_contract, make_table
from tests.support.families import ACCURACY, QUICK
from tests.support.tuning import make_result

CONTRACT = make_contract(plan={"nullable": True, "values": None}, spend={"missing": "category"})
DERIVED = {"pace": "spend / (1 + months)", "basic": '(plan == "basic") * months'}


def build(customers: pd.DataFrame, family: str, calibration: str, folder: Path) -> tuple[Model, Bundle, pd.DataFrame]:
    """A fitted model, its bundle, and its feature table; a tenth of the plans are absent."""
    frame = customers.assign(plan=customers["plan"].where(customers["id"] % 10 > 0))
    declared = deploy_features(frame)
    table, declaration = make_table(frame, CONTRACT)
    declaration["features"] = declared
    table = train_table(frame, declared, table)
    folds = split_folds(table, declaration, 3, seed=0)
    recipe = Recipe(family, QUICK[family], seed=0, threads=1)
    _, predictions = train.cross_validate(table, declaration, folds, recipe, 0.5)
    classifier = train.fit_model(table, declaration, predictions, recipe, calibration)
    cost = {"false_positive": 1.0, "false_negative": 1.0}
    metadata = train.describe_model(
        declaration,
        make_result(family, recipe.hyperparameters),
        calibration=calibration,
        cost=cost,
        onset="",
        files={},
    )
    save_model(classifier, metadata, folder / "model")
    model = load_model(folder / "model")
    features = deploy.choose_features(declaration, model)
    columns = deploy.describe_columns(CONTRACT, features, frame)
    requests, expected = deploy.to_requests(frame, columns), model.predict(table)
    plan, trees = compile_model(model.classifier, features, family)
    golden = deploy.choose_golden(requests, expected, 10)
    facts = deploy.describe_bundle(model, CONTRACT, float(table["left"].mean()), columns)
    write_bundle(folder / "bundle", plan, trees, columns, golden, requests[:5], facts)
    return model, load_bundle(folder / "bundle"), table.assign(request=requests)


def deploy_features(frame: pd.DataFrame) -> list[dict]:
    from lifecycle.stages.features import list_features

    return list_features(CONTRACT, list(frame.columns), DERIVED)


def train_table(frame: pd.DataFrame, declared: list[dict], table: pd.DataFrame) -> pd.DataFrame:
    from lifecycle.stages.features import compute_features

    computed = compute_features(frame, declared)
    return pd.concat([table[["id", "left"]], computed], axis=1)


@pytest.mark.parametrize("calibration", ["none", "sigmoid", "isotonic"])
@pytest.mark.parametrize("family", sorted(QUICK))
def test_a_bundle_answers_as_the_fitted_model(
    customers: pd.DataFrame, tmp_path: Path, family: str, calibration: str
) -> None:
    """Every family and calibration, with missing numbers and levels; and a level that training never saw."""
    model, bundle, table = build(customers, family, calibration, tmp_path)
    rows = table["request"].tolist()
    limit = ACCURACY.get(family, 1e-12)
    assert limit <= bundle.tolerance
    assert np.abs(bundle.score(rows) - model.predict(table)).max() < limit
    unseen = table.head(20).assign(plan="never seen")
    unseen["basic"] = 0.0
    given = bundle.score([{**row, "plan": "never seen"} for row in unseen["request"]])
    assert np.abs(given - model.predict(unseen)).max() < limit
    assert np.abs(np.array([bundle.score_one(row) for row in rows]) - bundle.score(rows)).max() < 1e-12


def test_the_same_model_gives_the_same_bytes(customers: pd.DataFrame, tmp_path: Path) -> None:
    hashes = {build(customers, "hist_boosting", "none", tmp_path / name)[1].sha256 for name in ("a", "b")}
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "plan.json").write_text("{}"), "plan.json is not the file"),
        (lambda folder: (folder / "golden.json").unlink(), "golden.json is missing"),
        (
            lambda folder: (folder / "manifest.json").write_text('{"format": 1}'),
            "has the format 1, expected 2: run `lifecycle upgrade`",
        ),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "is not JSON"),
    ],
)
def test_a_damaged_bundle_is_refused_in_a_sentence(customers: pd.DataFrame, tmp_path: Path, damage, said: str) -> None:
    build(customers, "logistic", "none", tmp_path)
    damage(tmp_path / "bundle")
    with pytest.raises(ProjectError, match=said):
        load_bundle(tmp_path / "bundle")


def test_the_running_server_is_put_through_its_paces(customers: pd.DataFrame, tmp_path: Path) -> None:
    model, bundle, table = build(customers, "logistic", "none", tmp_path)
    requests, expected = table["request"].tolist(), model.predict(table)
    root = prepare_workspace(tmp_path / "root", tmp_path / "bundle", deploy.describe_champion(bundle))
    with start_server(root) as server:
        checks = [
            deploy.check_golden(server, bundle),
            deploy.check_equality(server, requests, expected, bundle.tolerance),
        ]
        checks.append(deploy.check_odd_requests(count_crashes(server, requests, 200, 0), 200))
        wrong = deploy.check_equality(server, requests, expected + 0.1, bundle.tolerance)
        with put_under_load(server, requests) as load:
            time.sleep(0.2)
            status = server.stop()
        checks.append(deploy.check_stop(load, status))
    checks.append(deploy.check_imports(tmp_path / "bundle"))
    assert all(check.passed for check in checks), checks
    assert not wrong.passed
    blessing = deploy.decide_blessing(bundle, [*checks, wrong])
    assert not blessing.blessed and blessing.bundle == bundle.sha256
    assert deploy.decide_blessing(bundle, checks).blessed
