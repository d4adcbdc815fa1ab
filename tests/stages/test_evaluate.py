import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import write_json
from lifecycle.core.split_rule import SplitRule
from lifecycle.modeling.calibration import CalibratedClassifier, Calibrator
from lifecycle.modeling.curves import trace_gain, trace_roc
from lifecycle.modeling.metrics import TITLES, count_decisions
from lifecycle.modeling.model import Model
from lifecycle.modeling.pipelines import fit_pipeline
from lifecycle.modeling.task import BinaryTask
from lifecycle.promotion.gate import judge_candidate
from lifecycle.promotion.records import Champion, Verdict
from lifecycle.promotion.verdict import list_cards, reach_verdict
from lifecycle.reporting import evaluation as evaluation_tables
from lifecycle.reporting import pages as html
from lifecycle.retraining.relation import Relation, load_champion, relate_champion, score_champion
from lifecycle.serving.bundle import find_bundle_folder, write_bundle
from lifecycle.serving.compiler import compile_model
from lifecycle.stages import deploy, evaluate
from tests.support.contracts import make_contract, make_table

COST = {"false_positive": 1.0, "false_negative": 3.0}
GATE = {
    "min_roc_auc": 0.6, "max_ece": 0.05, "max_cv_gap": 0.05, "min_slice_roc_auc": 0.55, "max_fairness_gap": 0.2,
    "max_flips": 0.3, "significance": 0.05,
}  # fmt: skip


@pytest.fixture
def parts(customers: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    table, declaration = make_table(customers, make_contract())
    return table.head(200), table.tail(100), declaration


def make_model(train: pd.DataFrame, declaration: dict, sha256: str = "c" * 64, **metadata: Any) -> Model:
    names = [feature["name"] for feature in declaration["features"]]
    about = {"features": names, "target": "left", "positive": "yes", "threshold": 0.25, "train_sha256": "t"}
    about |= {"rule": SplitRule(kind="rows").to_json(), "onset": None, **metadata}
    pipeline = fit_pipeline("logistic", {}, declaration["features"], train[names], train["left"], seed=0, threads=1)
    return Model(pipeline, about, sha256)


# Baselines and the champion.


def test_baselines_are_fitted_on_the_training_part_only(parts: tuple[pd.DataFrame, pd.DataFrame, dict]) -> None:
    train, test, declaration = parts
    found = evaluate.predict_baselines(train, test, declaration, ["months", "plan"], seed=0, threads=1)
    assert list(found) == ["prior", "logistic", "tutorial"]
    assert set(found["prior"]) == {train["left"].mean()}
    assert roc_auc_score(test["left"], found["logistic"]) > 0.7
    blind = evaluate.predict_baselines(train, test.assign(left=0), declaration, ["months", "plan"], seed=0, threads=1)
    for name, probability in found.items():
        np.testing.assert_array_equal(probability, blind[name])
    few = evaluate.predict_baselines(train, test.assign(spend=0.0), declaration, ["months", "plan"], seed=0, threads=1)
    np.testing.assert_array_equal(few["tutorial"], found["tutorial"])


def test_the_tutorials_forest_can_be_left_out_and_is_refused_by_name(
    parts: tuple[pd.DataFrame, pd.DataFrame, dict],
) -> None:
    train, test, declaration = parts
    assert list(evaluate.predict_baselines(train, test, declaration, [], 0, 1)) == ["prior", "logistic"]
    with pytest.raises(ProjectError, match=r"evaluate\.tutorial_columns names \['tenure'\]"):
        evaluate.predict_baselines(train, test, declaration, ["tenure", "months"], 0, 1)


def test_baselines_do_not_use_derived_features(parts: tuple[pd.DataFrame, pd.DataFrame, dict]) -> None:
    train, test, declaration = parts
    extra = {**declaration["features"][0], "name": "answer", "source": "derived"}
    told = {**declaration, "features": [*declaration["features"], extra]}
    leaky = evaluate.predict_baselines(
        train.assign(answer=train["left"] * 1.0), test.assign(answer=test["left"] * 1.0), told, [], 0, 1
    )
    honest = evaluate.predict_baselines(train, test, declaration, [], 0, 1)
    np.testing.assert_array_equal(leaky["logistic"], honest["logistic"])


def test_the_positive_class_is_found_in_any_column() -> None:
    """A classifier trained on 1 before 0 has its columns the other way around; a director would call the wrong rows."""
    frame, target = pd.DataFrame({"x": np.arange(50.0)}), np.arange(50) >= 25
    classifier = LogisticRegression().fit(frame, target.astype(int))
    turned = copy.deepcopy(classifier)
    turned.classes_ = classifier.classes_[::-1]
    turned.predict_proba = lambda table: classifier.predict_proba(table)[:, ::-1]
    np.testing.assert_array_equal(
        BinaryTask("left").predict(turned, frame), BinaryTask("left").predict(classifier, frame)
    )


def release_champion(root: Path, customers: pd.DataFrame, sha256: str = "d" * 64, **facts: Any) -> Model:
    """Write a model's serving bundle as the champion's release, without the model's pickle; return the model."""
    contract = make_contract()
    table, declaration = make_table(customers, contract)
    model = make_model(table.head(200), declaration, sha256, family="logistic")
    features, raw = deploy.choose_features(declaration, model), customers.tail(100)
    columns = deploy.describe_columns(contract, features, raw)
    requests = deploy.to_requests(raw, columns)
    plan, trees = compile_model(CalibratedClassifier(model.classifier, Calibrator("none")), features, "logistic")
    golden = deploy.choose_golden(requests, model.predict(table.tail(100)), 5)
    about = {**deploy.describe_bundle(model, contract, 0.3, columns), **facts}
    bundle = write_bundle(find_bundle_folder(root, sha256), plan, trees, columns, golden, requests[:5], about)
    Champion(format=2, model=sha256, bundle=bundle, prior=0.3).write(root / paths.CHAMPION)
    return model


def test_there_may_be_no_champion(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / paths.CHAMPION).write_text('{"model": null}')
    assert load_champion(tmp_path) is None


@pytest.mark.parametrize("pickle", [None, b"\x80\x05cposix\nsystem\n(X\x0c\x00\x00\x00touch bombedtR."])
def test_a_champion_is_scored_by_its_bundle_whatever_its_pickle_is(
    customers: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pickle: bytes | None
) -> None:
    monkeypatch.chdir(tmp_path)
    model = release_champion(tmp_path, customers)
    if pickle is not None:
        (find_bundle_folder(tmp_path, model.sha256).parent / "model.joblib").write_bytes(pickle)
    champion = load_champion(tmp_path)
    found = score_champion(champion, customers.tail(100))
    expected = model.predict(make_table(customers, make_contract())[0].tail(100))
    assert np.abs(found - expected).max() < 1e-12
    assert not (tmp_path / "bombed").exists()


def test_a_champion_that_is_not_the_named_bundle_is_refused(customers: pd.DataFrame, tmp_path: Path) -> None:
    model = release_champion(tmp_path, customers)
    folder = find_bundle_folder(tmp_path, model.sha256)
    champion = Champion.read(tmp_path / paths.CHAMPION)
    champion.model_copy(update={"bundle": "0" * 64}).write(tmp_path / paths.CHAMPION)
    with pytest.raises(ProjectError, match=r"but models/champion\.json names 000000000000"):
        load_champion(tmp_path)
    champion.write(tmp_path / paths.CHAMPION)
    (folder / "plan.json").write_text("{}")
    with pytest.raises(ProjectError, match=r"plan\.json is not the file that manifest\.json describes"):
        load_champion(tmp_path)
    (folder / "manifest.json").unlink()
    with pytest.raises(ProjectError, match=r"is not a serving bundle: manifest\.json is missing"):
        load_champion(tmp_path)


def test_a_champion_of_an_earlier_version_asks_for_an_upgrade(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / paths.CHAMPION).write_text(json.dumps({"model": "a" * 64, "bundle": "b" * 64}))
    with pytest.raises(ProjectError, match="run `lifecycle upgrade`"):
        load_champion(tmp_path)


def test_how_a_champion_relates_to_the_candidate(
    customers: pd.DataFrame, parts: tuple[pd.DataFrame, pd.DataFrame, dict], tmp_path: Path
) -> None:
    candidate = make_model(parts[0], parts[2])
    contract = make_contract()

    def relate(valid: pd.DataFrame = customers, **facts: Any) -> Relation:
        release_champion(tmp_path, customers, **facts)
        return relate_champion(load_champion(tmp_path), candidate, valid, contract, 50, 10)

    assert relate_champion(None, candidate, customers, contract, 50, 10).kind == "none"
    assert relate(sha256=candidate.sha256).kind == "same"
    assert relate().message == "Both learned from the same rows." and relate().rows.all()
    for facts, valid, because in (
        ({"rule": None}, customers, "its release, of an earlier version, does not say which rows it learned from"),
        ({"rule": SplitRule(kind="rows")}, customers, "it may have learned from all but 0 of the 300 held-out rows"),
        ({}, customers.drop(columns=["spend"]), "it needs the columns spend"),
        ({"target": "x"}, customers, "it predicts x = yes, and this model left = yes"),
        ({"onset": datetime(2026, 5, 1, tzinfo=UTC), "rule": SplitRule(kind="ids", ids=["id"], share=0.9)}, customers,
         "it learned what rows show since 2026-05-01, after a concept drift, and the table has no times"),
    ):  # fmt: skip
        found = relate(valid, hashes={"train": "u"}, **facts)
        assert found.kind == "incomparable" and not found.rows.any() and because in found.message
        assert "`lifecycle promote VERSION` makes it the champion" in found.message


def test_a_champion_is_compared_on_rows_that_it_cannot_have_learned_from(
    customers: pd.DataFrame, parts: tuple[pd.DataFrame, pd.DataFrame, dict], tmp_path: Path
) -> None:
    """A model that was fitted on all rows beats every later one on them."""
    candidate, target = make_model(parts[0], parts[2]), (customers["left"] == "yes").to_numpy().astype(np.int8)
    rule = SplitRule(kind="ids", ids=["id"], salt=3, share=0.4)
    release_champion(tmp_path, customers, hashes={"train": "u"}, rule=rule)
    champion = load_champion(tmp_path)
    found = relate_champion(champion, candidate, customers, make_contract(), 50, 10)
    assert found.kind == "comparable" and 90 < found.rows.sum() < 150
    assert (
        f"compared on the {found.rows.sum():,} of 300 held-out rows that neither can have learned from" in found.message
    )
    noise = np.random.default_rng(0).random(300)
    memorised = np.where(found.rows, noise, np.where(target, 0.9, 0.1) + noise / 100)
    both = {"candidate": np.random.default_rng(1).random(300), "champion": memorised}
    thresholds = dict.fromkeys(both, 0.5)
    everywhere, shared = (
        evaluate.compare_models(target, both, thresholds, COST, 200, 0, None, rows)[1]["differences"]["roc_auc"]
        for rows in ({}, {"champion": found.rows})
    )
    assert everywhere["p"] < 0.00015 and shared["p"] > 0.05


def test_what_does_not_belong_together_is_refused(parts: tuple[pd.DataFrame, pd.DataFrame, dict]) -> None:
    train, test, declaration = parts
    model = make_model(train, declaration)
    evaluate.check_inputs(model, {"model": model.sha256}, test, declaration)
    with pytest.raises(ProjectError, match="about model aaaaaaaaaaaa, but"):
        evaluate.check_inputs(model, {"model": "a" * 64}, test, declaration)
    with pytest.raises(ProjectError, match="needs two rows of each class"):
        evaluate.check_inputs(model, {"model": model.sha256}, test[test["left"] == 0], declaration)


# Measuring.


def compare(target: np.ndarray, probabilities: dict[str, np.ndarray]) -> list[dict]:
    return evaluate.compare_models(target, probabilities, dict.fromkeys(probabilities, 0.25), COST, 300, seed=0)


def test_differences_are_those_of_the_metrics() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 300)
    good, bad = 0.4 * target + 0.6 * rng.random(300), rng.random(300)
    mine, other = compare(target, {"candidate": good, "other": bad})
    assert mine["differences"] == {} and set(other["differences"]) == {"brier", "log_loss", "cost", "roc_auc"}
    for name, difference in other["differences"].items():
        assert difference["value"] == pytest.approx(mine["metrics"][name]["value"] - other["metrics"][name]["value"])
        assert difference["p"] < 0.05


def test_the_least_to_expect_follows_from_cross_validation() -> None:
    target = np.arange(200) % 2
    probability = (target + np.random.default_rng(0).normal(0, 0.8, 200)).clip(-2, 3) / 5 + 0.4
    cv = {"roc_auc": {"train_mean": 0.9, "test_mean": 0.85, "test_sd": 0.0, "train_sd": 0.0, "test_error": 0.0}}
    found = evaluate.compare_folds(target, probability, cv, 0.05)
    assert found["gap"] == pytest.approx(0.05) and found["holdout"] == pytest.approx(roc_auc_score(target, probability))
    wide = evaluate.compare_folds(target, probability, {"roc_auc": {**cv["roc_auc"], "test_error": 0.1}}, 0.05)
    assert wide["least"] < found["least"] < 0.85
    unknown = {**cv["roc_auc"], "test_sd": float("nan"), "test_error": float("nan")}  # of one fold
    alone = evaluate.compare_folds(target, probability, {"roc_auc": unknown}, 0.05)
    assert alone == found


def test_every_column_with_few_categories_is_sliced(parts: tuple[pd.DataFrame, pd.DataFrame, dict]) -> None:
    _, test, declaration = parts
    assert list(evaluate.choose_slices(test, declaration, 10)) == ["plan", "senior"]
    assert list(evaluate.choose_slices(test, declaration, 2)) == ["senior"]
    assert list(evaluate.choose_slices(test.assign(plan="basic"), declaration, 3)) == ["senior"]


def test_slices_without_support_are_shown_but_not_judged(parts: tuple[pd.DataFrame, pd.DataFrame, dict]) -> None:
    _, test, declaration = parts
    target, probability = test["left"].to_numpy(), np.linspace(0, 1, 100)
    slices = evaluate.choose_slices(test, declaration, 10)
    table = evaluate.measure_columns(target, probability, slices, 0.5, min_support=30, min_class=5)
    sizes = {(row["column"], row["category"]): row["rows"] for row in table.to_dict("records")}
    assert sizes["plan", "basic"] == (test["plan"] == "basic").sum() and sum(sizes.values()) == 200
    enough = (table["rows"] >= 30) & (np.minimum(table["positives"], table["rows"] - table["positives"]) >= 5)
    assert table["judged"].tolist() == enough.tolist() and not table["judged"].all()
    assert evaluate.measure_columns(target, probability, {}, 0.5, 30, 5).empty
    assert evaluate.list_slices(evaluate.measure_columns(target, probability, {}, 0.5, 30, 5)) == []


def test_a_planted_gap_between_groups_is_found() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 4000)
    groups = pd.Series(rng.choice(["a", "b", "tiny"], 4000, p=[0.5, 0.498, 0.002]))
    caught = np.where(groups == "a", 0.9, 0.6)
    probability = np.where(target == 1, rng.random(4000) < caught, rng.random(4000) < 0.2).astype(float)
    records = {r["metric"]: r for r in evaluate.compare_groups(target, probability, {"who": groups}, 0.5, min_class=10)}
    assert set(records) == {"rate", "recall", "false_alarms", "predicted_positive"}
    recall = records["recall"]
    assert (recall["gap"]["most"], recall["gap"]["least"]) == ("a", "b")
    assert recall["gap"]["low"] < 0.3 < recall["gap"]["high"] and recall["gap"]["low"] > 0.2
    assert records["false_alarms"]["gap"]["low"] < 0.0
    assert len(recall["groups"]) == 3  # the tiny one is shown, and not judged
    truth = {group["category"]: group["value"] for group in recall["groups"]}
    assert truth["a"] == pytest.approx(probability[(groups == "a") & (target == 1)].mean())


def test_groups_that_cannot_be_compared() -> None:
    target, probability = np.array([0, 1] * 20), np.linspace(0, 1, 40)
    alone = evaluate.compare_groups(target, probability, {"who": pd.Series(["a"] * 40), "gone": None}, 0.5, 10)
    assert all(record["gap"] is None for record in alone) and alone[-1] == {
        "column": "gone", "metric": "recall", "groups": [], "gap": None
    }  # fmt: skip


def test_fairness_columns_become_groups(parts: tuple[pd.DataFrame, pd.DataFrame, dict]) -> None:
    train, test, declaration = parts
    contract = make_contract().model_copy(update={"fairness": ("senior", "months", "id")})
    groups = evaluate.choose_groups(train, test, declaration, contract, max_categories=5)
    assert groups["id"] is None
    assert groups["months"].nunique() == 4 and set(groups["senior"]) == {"0", "1"}


def test_a_protected_group_is_compared_on_the_same_rows() -> None:
    """A champion that is right for one group and a candidate that is right for the other: each loses where it is wrong."""
    truth = np.tile([0, 1], 200)
    group = pd.Series(np.repeat(["a", "b"], 200))
    right, wrong = np.where(truth == 1, 0.9, 0.1), np.where(truth == 1, 0.4, 0.6)
    candidate, champion = np.where(group == "a", right, wrong), np.where(group == "a", wrong, right)
    both = {"candidate": candidate, "champion": champion}
    records = evaluate.compare_protected(truth, both, {"g": group, "gone": None}, 10)
    assert [(record["category"], record["rows"], record["brier"]["value"] < 0) for record in records] == [
        ("a", 200, True), ("b", 200, False)
    ]  # fmt: skip
    assert records[1]["brier"]["p"] < 0.05
    assert evaluate.compare_protected(truth, {"candidate": candidate}, {"g": group}, 10) == []
    assert evaluate.compare_protected(truth, both, {"g": group}, 101) == []


# The gate.


def estimate(value: float, reach: float = 0.02, p: float = 0.5) -> dict[str, float]:
    return {"value": value, "low": value - reach, "high": value + reach, "p": p}


def make_evaluation() -> dict[str, Any]:
    """A record that meets every condition of GATE."""
    ends = {"most": "1", "least": "0"}
    differences = {"roc_auc": estimate(0.01), "log_loss": estimate(-0.1, p=0.001), "cost": estimate(0.0)}
    return {
        "model": "c" * 64,
        "metrics": {"roc_auc": estimate(0.8), "ece": estimate(0.02)},
        "chance": {"value": 0.01, "low": 0.0, "high": 0.02},
        "cv": {"train_mean": 0.83, "test_mean": 0.81, "gap": 0.02, "holdout": 0.8, "least": 0.78},
        "slices": [
            {"column": "plan", "category": "pro", "rows": 90, "judged": True, "roc_auc": estimate(0.7)},
            {"column": "plan", "category": "odd", "rows": 9, "judged": False, "roc_auc": estimate(0.1)},
        ],
        "fairness": [
            {"column": "senior", "metric": "predicted_positive", "groups": [1], "gap": {**estimate(0.9), **ends}},
            {"column": "senior", "metric": "recall", "groups": [1], "gap": {**estimate(0.1), **ends}},
        ],
        "champion": {"relation": "comparable", "message": "Both learned from the same rows."},
        "baselines": [
            {"name": name, "differences": copy.deepcopy(differences)}
            for name in ("prior", "logistic", "tutorial", "champion")
        ],
        "protected": [
            {"column": "senior", "category": level, "rows": 90, "brier": estimate(-0.01)} for level in ("0", "1")
        ],
        "flips": {"rows": 300, "flips": estimate(0.2), "to_positive": estimate(0.15), "to_negative": estimate(0.05)},
    }  # fmt: skip


def change(evaluation: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(evaluation)
    place: Any = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


WORSE = estimate(-0.05, p=0.01)
BASELINE = {"prior": 0, "logistic": 1, "tutorial": 2, "champion": 3}


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("min_roc_auc", ("metrics", "roc_auc"), estimate(0.61)),  # the value is above the limit, its lower bound is not
        ("max_ece", ("metrics", "ece"), estimate(0.06)),
        ("max_cv_gap", ("cv", "gap"), 0.06),
        ("holdout_as_expected", ("cv", "holdout"), 0.77),
        ("min_slice_roc_auc", ("slices", 0, "roc_auc"), estimate(0.5)),
        ("max_fairness_gap", ("fairness", 1, "gap"), {**estimate(0.3), "most": "a", "least": "b"}),
        ("max_fairness_gap", ("fairness", 1), {"column": "gone", "metric": "recall", "groups": [], "gap": None}),
        ("beats_prior", ("baselines", BASELINE["prior"], "differences", "log_loss"), estimate(-0.1, p=0.2)),
        ("beats_prior", ("baselines", BASELINE["prior"], "differences", "log_loss"), estimate(0.1, p=0.001)),
        ("not_worse_than_logistic", ("baselines", BASELINE["logistic"], "differences", "roc_auc"), WORSE),
        ("not_worse_than_tutorial", ("baselines", BASELINE["tutorial"], "differences", "roc_auc"), WORSE),
        ("not_worse_than_champion", ("baselines", BASELINE["champion"], "differences", "roc_auc"), WORSE),
        ("not_worse_for_protected", ("protected", 1, "brier"), estimate(0.02, p=0.001)),
        ("max_flips", ("flips", "flips"), estimate(0.33)),  # the whole interval is above the limit
    ],
)
def test_each_condition_alone_refuses_the_model(name: str, path: tuple[Any, ...], value: Any) -> None:
    evaluation = change(make_evaluation(), path, value)
    conditions = judge_candidate(evaluation, GATE)
    assert [condition.name for condition in conditions if condition.passed is False] == [name]
    verdict = reach_verdict(evaluation, conditions, 0.05)
    failed = next(condition for condition in conditions if condition.name == name)
    assert not verdict.blessed and not verdict.better
    assert verdict.because.startswith("1 of the gate's 12 conditions fails") and failed.message in verdict.because


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metrics", "ece"), estimate(0.05)),  # at the limit
        (("cv", "gap"), 0.05),
        (("slices", 0, "roc_auc"), estimate(0.54)),  # below the limit, by what may be chance
        (("slices",), []),
        (("fairness",), []),
        (("fairness", 1, "gap"), {**estimate(0.21), "most": "a", "least": "b"}),
        (("fairness", 1, "gap"), None),
        (("baselines", BASELINE["logistic"], "differences", "roc_auc"), estimate(-0.05, p=0.2)),
        (("protected", 1, "brier"), estimate(0.02, p=0.04)),  # of two groups
        (("protected",), []),
        (("flips", "flips"), estimate(0.32)),  # above the limit, by what may be chance
        (("flips",), None),
        (("champion",), {"relation": "none", "message": "There is no champion yet."}),
        (("champion",), {"relation": "same", "message": "This model is the champion already."}),
    ],
)
def test_what_may_be_chance_or_is_not_there_refuses_nothing(path: tuple[Any, ...], value: Any) -> None:
    evaluation = change(make_evaluation(), path, value)
    verdict = reach_verdict(evaluation, judge_candidate(evaluation, GATE), 0.05)
    missing = sum(condition.passed is None for condition in verdict.conditions)
    counted = (
        f"{12 - missing} of the gate's 12 conditions hold, {missing} could not" if missing else "All 12 conditions"
    )
    assert verdict.blessed and verdict.because.startswith(counted)
    assert verdict.model == "c" * 64


def test_what_cannot_be_measured_neither_holds_nor_fails() -> None:
    evaluation = make_evaluation() | {"slices": [], "fairness": [], "protected": []}
    conditions = judge_candidate(evaluation, GATE)
    missing = ["min_slice_roc_auc", "max_fairness_gap", "not_worse_for_protected"]
    assert [condition.name for condition in conditions if condition.passed is None] == missing
    verdict = reach_verdict(evaluation, conditions, 0.05)
    assert verdict.because.startswith("9 of the gate's 12 conditions hold, 3 could not be measured.")
    page = html.render_part("conditions.html.j2", conditions=conditions)
    assert page.count("– not measured") == 3 and page.count("✓ holds") == 9


def test_a_calibration_error_that_chance_explains_is_none() -> None:
    evaluation = change(make_evaluation(), ("metrics", "ece"), estimate(0.09))
    evaluation["chance"]["high"] = 0.1
    assert all(condition.passed for condition in judge_candidate(evaluation, GATE))


def test_a_baseline_that_was_left_out_is_not_measured() -> None:
    evaluation = make_evaluation()
    del evaluation["baselines"][BASELINE["tutorial"]]
    conditions = {condition.name: condition for condition in judge_candidate(evaluation, GATE)}
    assert conditions["not_worse_than_tutorial"].passed is None
    assert "was left out" in conditions["not_worse_than_tutorial"].message


@pytest.mark.parametrize(
    ("relation", "area", "cost", "better", "why"),
    [
        ("none", None, None, True, ""),
        ("same", None, None, False, ""),
        ("comparable", estimate(0.02, p=0.01), estimate(0.0), True, "its ROC AUC differs by +0.020 (p = 0.010)"),
        ("comparable", estimate(0.02, p=0.02), estimate(0.0), False, "together p = 0.040"),
        (
            "comparable",
            estimate(0.02, p=0.2),
            estimate(0.0),
            False,
            "not shown to be better than the champion: its ROC AUC",
        ),
        ("comparable", estimate(0.0), estimate(-0.1, p=0.01), True, "its cost per row by -0.100 (p = 0.010)"),
        ("comparable", estimate(0.0), estimate(0.1, p=0.01), False, "its cost per row by +0.100 (p = 0.010)"),
    ],
)
def test_better_than_the_champion_must_be_shown(relation: str, area: dict, cost: dict, better: bool, why: str) -> None:
    evaluation = change(make_evaluation(), ("champion", "relation"), relation)
    if area is None:
        del evaluation["baselines"][BASELINE["champion"]]
    else:
        evaluation["baselines"][BASELINE["champion"]]["differences"].update(roc_auc=area, cost=cost)
    verdict = reach_verdict(evaluation, judge_candidate(evaluation, GATE), 0.05)
    assert verdict.blessed and verdict.better is better and why in verdict.because


def make_verdict(*, blessed: bool, because: str) -> Verdict:
    return Verdict(blessed=blessed, better=blessed, model="c" * 64, conditions=(), because=because)


def test_a_refusal_is_said_on_stdout_and_stderr_and_a_blessing_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.announce_verdict(make_verdict(blessed=False, because="it is bad."))
    said = capsys.readouterr()
    assert said.out == said.err == "NOT BLESSED: model cccccccccccc, because it is bad.\n"
    evaluate.announce_verdict(make_verdict(blessed=True, because="it is good."))
    assert capsys.readouterr() == ("", "")


# The whole of it, on a table of every kind of column.


def evaluate_all(parts: tuple[pd.DataFrame, pd.DataFrame, dict]) -> dict[str, Any]:
    train, test, declaration = parts
    model = make_model(train, declaration)
    contract = make_contract().model_copy(update={"fairness": ("senior",)})
    probabilities = {"candidate": model.predict(test)}
    probabilities |= evaluate.predict_baselines(train, test, declaration, ["months"], 0, 1)
    target = test["left"].to_numpy()
    compared = compare(target, probabilities)
    slices = evaluate.choose_slices(test, declaration, 10)
    measured = evaluate.measure_columns(target, probabilities["candidate"], slices, 0.25, 30, 5)
    groups = evaluate.choose_groups(train, test, declaration, contract, 10)
    cv = {"roc_auc": {"train_mean": 0.82, "test_mean": 0.8, "test_sd": 0.02, "train_sd": 0.01, "test_error": 0.01}}
    return evaluate.plain({
        "model": model.sha256, "rows": len(test), "positives": target.sum(), "threshold": 0.25, "cost": COST,
        "metrics": compared[0]["metrics"], "chance": evaluate.measure_chance(probabilities["candidate"], 200, 0),
        "confusion": count_decisions(target, probabilities["candidate"], 0.25),
        "gain": trace_gain(target, probabilities["candidate"]).to_dict("records"),
        "cv": evaluate.compare_folds(target, probabilities["candidate"], cv, 0.05),
        "champion": {"relation": "none", "message": "There is no champion yet."},
        "baselines": compared[1:], "slices": evaluate.list_slices(measured),
        "fairness": evaluate.compare_groups(target, probabilities["candidate"], groups, 0.25, 5),
        "protected": evaluate.compare_protected(target, probabilities, groups, 5),
        "flips": None,
    })  # fmt: skip


def test_the_record_is_json_the_same_twice_and_judged(
    parts: tuple[pd.DataFrame, pd.DataFrame, dict], tmp_path: Path
) -> None:
    evaluation = evaluate_all(parts)
    for name in "ab":
        write_json(evaluate_all(parts), tmp_path / f"{name}.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text()) == evaluation
    conditions = judge_candidate(evaluation, GATE)
    assert {condition.name: condition.passed for condition in conditions}["beats_prior"]


def test_the_few_metrics_are_those_of_the_record(parts: tuple[pd.DataFrame, pd.DataFrame, dict]) -> None:
    """DVC prints a column a number: they are few, flat, and what the evaluation and the verdict say."""
    evaluation = evaluate_all(parts)
    verdict = reach_verdict(evaluation, judge_candidate(evaluation, GATE), 0.05)
    metrics = evaluate.list_metrics(evaluation, verdict)
    assert len(metrics) <= 12 and all(isinstance(value, int | float) for value in metrics.values())
    assert (metrics["cv_roc_auc"], metrics["blessed"]) == (0.8, verdict.blessed)
    for name in metrics.keys() & evaluation["metrics"].keys():
        assert metrics[name] == evaluation["metrics"][name]["value"]
    assert {"roc_auc", "brier", "recall"} <= metrics.keys() & evaluation["metrics"].keys()


def test_the_report_shows_every_number(parts: tuple[pd.DataFrame, pd.DataFrame, dict]) -> None:
    evaluation = evaluate_all(parts)
    titles = evaluate.title_models(["months"])
    records = [{"name": "candidate", "metrics": evaluation["metrics"], "differences": {}}, *evaluation["baselines"]]
    assert evaluation_tables.tabulate_models(records, titles).index[0] == "This model"
    assert len(evaluation_tables.tabulate_metrics(evaluation["metrics"], TITLES)) == len(evaluation["metrics"])
    assert evaluation_tables.tabulate_slices(evaluation["slices"]).shape[0] == len(evaluation["slices"])
    assert "senior" in evaluation_tables.tabulate_gaps(evaluation["fairness"]).index
    few = evaluation_tables.tabulate_slices([{**evaluation["slices"][0], "judged": False}])
    assert few.loc[few.index[0], "recall"] == f"{evaluation['slices'][0]['recall']['value']:.2f}", "without an interval"
    assert evaluation_tables.tabulate_gaps([]).empty and evaluation_tables.tabulate_slices([]).empty
    cards = {card["label"]: card["value"] for card in list_cards(evaluation)}
    assert cards["ROC AUC"] == f"{evaluation['metrics']['roc_auc']['value']:.3f}"


def test_a_table_shows_its_texts_whole_and_escaped() -> None:
    table = pd.DataFrame({"<b>": ["long " * 40]}, index=["a & b"])
    page = html.fold_table("all <of it>", table)
    for text in ("long " * 40, "&lt;b&gt;", "a &amp; b", "<summary>all &lt;of it&gt;</summary>"):
        assert text in page


def test_curves_are_files_of_the_same_bytes(tmp_path: Path) -> None:
    target, probability = np.array([0, 1] * 50), np.linspace(0, 1, 100)
    curve = trace_roc(target, probability)
    joined = evaluate.join_curves(curve, curve)
    for name in "ab":
        evaluate.write_curve(joined, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = pd.read_csv(tmp_path / "a")
    assert list(again.columns) == ["false_positive_rate", "train", "test"] and len(again) == 201
    np.testing.assert_allclose(again["train"], again["test"])
    assert again["test"].is_monotonic_increasing


def test_plain_values_are_json() -> None:
    value = {"a": np.float64("nan"), 1: np.int64(2), "b": [np.bool_(True), float("inf"), "x"], "c": (None, 0.5)}
    assert evaluate.plain(value) == {"a": None, "1": 2, "b": [True, None, "x"], "c": [None, 0.5]}
