import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lifecycle.core.errors import ProjectError
from lifecycle.core.files import write_json
from lifecycle.features.inputs import find_inputs
from lifecycle.modeling.attribution import attribute_rows, choose_background, permute_columns, sample_rows
from lifecycle.modeling.model import Model
from lifecycle.modeling.pipelines import fit_pipeline
from lifecycle.reporting import curves, plots
from lifecycle.stages import explain, features
from tests.stages.test_evaluate import COST, evaluate_all
from tests.support.contracts import make_contract, make_table

MANIFEST = {"source": "shop.csv", "version": "1", "sha256": "a" * 64}


@pytest.fixture
def parts(customers: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Training part, hold-out and declaration, with a derived feature and a time column."""
    contract = make_contract(when={"role": "time", "dtype": "datetime"})
    frame = customers.assign(when=pd.date_range("2026-01-01", periods=300, freq="7h"))
    declared = features.list_features(contract, list(frame.columns), {"young": "1 / (1 + months)"})
    table = features.assemble_table(frame, features.compute_features(frame, declared), contract)
    declaration = {
        "target": "left", "positive": "yes", "id": ["id"], "time": "when", "features": declared,
        "split": {"strategy": "time", "train_rows": 200, "test_rows": 100, "train_rate": 0.4, "test_rate": 0.4},
    }  # fmt: skip
    return table.head(200), table.tail(100), declaration


def make_model(train: pd.DataFrame, declaration: dict) -> Model:
    names = [feature["name"] for feature in declaration["features"]]
    pipeline = fit_pipeline("logistic", {}, declaration["features"], train[names], train["left"], seed=0, threads=1)
    metadata = {
        "family": "logistic", "hyperparameters": {"C": 1 / 3}, "features": names, "target": "left", "positive": "yes",
        "threshold": 0.25, "calibration": "none", "cost": COST, "train_sha256": "b" * 64, "versions": {"numpy": "2"},
    }  # fmt: skip
    return Model(pipeline, metadata, "c" * 64)


def explain_all(parts: tuple[pd.DataFrame, pd.DataFrame, dict]) -> dict[str, Any]:
    """What the notebook does, in its order."""
    train, test, declaration = parts
    model = make_model(train, declaration)
    inputs = find_inputs(test, declaration["features"], model.metadata["features"])
    predict = inputs.wrap(model.predict)
    target = test["left"].to_numpy()
    permuted = permute_columns(predict, test[inputs.names], target, 3, seed=0)
    behind = choose_background(predict, train[inputs.names], 20, seed=0)
    rows = sample_rows(test[inputs.names], 20, seed=0)
    attribution = attribute_rows(predict, rows, behind, seed=0)
    importance = explain.rank_inputs(attribution, rows, permuted)
    names = importance["column"].tolist()
    effects = explain.trace_effects(predict, rows, train, test, names, inputs)
    chosen = explain.choose_cases(target, predict(test[inputs.names]), model.threshold)
    asked = test[inputs.names].iloc[list(chosen.values())]
    single = attribute_rows(predict, asked, behind, seed=0)
    cases = explain.describe_cases(chosen, asked, test, single, declaration)
    return {
        "model": model, "inputs": inputs, "attribution": attribution, "importance": importance, "effects": effects,
        "cases": cases, "base": single.base, "chosen": chosen,
    }  # fmt: skip


def test_derived_features_and_time_parts_are_counted_with_their_columns(
    parts: tuple[pd.DataFrame, pd.DataFrame, dict],
) -> None:
    found = explain_all(parts)
    assert set(found["importance"]["column"]) == {"when", "months", "spend", "plan", "senior"}
    assert found["importance"]["column"].iloc[0] in ("months", "plan")
    assert "`young` (from `months`)" in explain.describe_derived(found["inputs"])
    assert set(found["effects"]) == {"months", "spend", "plan", "senior"}  # a time has no effect of its own


def test_the_steps_of_a_row_add_up_to_its_probability(parts: tuple[pd.DataFrame, pd.DataFrame, dict]) -> None:
    found = explain_all(parts)
    _, test, _ = parts
    for case in found["cases"]:
        assert found["base"] + sum(value for _, value in case["steps"]) == pytest.approx(case["probability"])
        probability = found["model"].predict(test.iloc[[case["position"]]])[0]
        assert case["probability"] == pytest.approx(probability)
        assert f"id {test['id'].iloc[case['position']]}" in case["title"]


def test_columns_beyond_the_limit_are_added_up(
    parts: tuple[pd.DataFrame, pd.DataFrame, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explain, "_STEPS", 2)
    for case in explain_all(parts)["cases"]:
        assert [name for name, _ in case["steps"]][2:] == ["3 other columns"]


def test_the_cases_are_two_confident_predictions_and_a_close_decision() -> None:
    target = np.array([1, 0, 1, 0, 1, 0])
    probability = np.array([0.9, 0.95, 0.3, 0.01, 0.02, 0.27])
    found = explain.choose_cases(target, probability, 0.25)
    assert found == {"A confident positive": 0, "A confident negative": 3, "A close decision": 5}
    two = explain.choose_cases(np.array([0, 1]), np.array([0.2, 0.3]), 0.25)
    assert two["A confident positive"] == 1 and two["A confident negative"] == 0


@pytest.mark.parametrize(
    ("values", "mean", "words"),
    [
        ([1.0, 2.0, 3.0], [-0.1, 0.0, 0.1], "rises with the value"),
        ([1.0, 2.0, 3.0], [0.1, 0.0, -0.1], "falls with the value"),
        ([0.0, 10.0, 100.0], [0.2, 0.0, -0.2], "falls with the value, mostly below 20"),
        ([1.0, 2.0, 3.0], [-0.1, 0.2, -0.1], "highest around 2"),
        ([1.0, 2.0, 3.0], [0.1, -0.2, 0.1], "lowest around 2"),
        ([1.0, 2.0, 3.0, 4.0], [0.0, 0.2, -0.2, 0.0], "rises and falls"),
        ([1.0, 2.0, 3.0], [0.001, 0.0, -0.001], "has hardly any effect by itself"),
        (["a", "b", "c"], [0.0, 0.3, -0.3], "highest with b, lowest with c"),
    ],
)
def test_effects_in_words(values: list, mean: list[float], words: str) -> None:
    effect = pd.DataFrame({"value": pd.Series(values, dtype=object), "mean": mean})
    found, reach = explain._describe_effect(effect)
    assert found == words and reach == pytest.approx(max(mean) - min(mean))


def test_values_are_formatted_for_readers() -> None:
    assert explain._format_value("months", 7.0, {"kind": "numeric", "unit": "months"}) == "months = 7 months"
    assert explain._format_value("senior", 1.0, {"kind": "boolean", "values": ["young", "old"]}) == "senior = old"
    assert explain._format_value("plan", None, {"kind": "categorical"}) == "plan missing"
    assert explain._format_value("plan", "ü", None) == "plan = ü"
    assert (
        explain._format_value("note", "so late\n" * 20, {"kind": "text"})
        == "note = so late so late so late so late so …"
    )


def test_a_column_that_the_others_determine_is_warned_about() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=500), "b": rng.normal(size=500), "c": rng.choice(["x", "y"], 500)})
    frame["sum"] = frame["a"] + frame["b"]
    told = explain.describe_redundancy(["sum", "c"], frame, seed=0)
    assert "`sum` (100.0%)" in told and "`a`" not in told
    assert explain.describe_redundancy(["a"], frame.drop(columns="sum"), seed=0) == ""


def test_another_models_evaluation_is_refused(parts: tuple[pd.DataFrame, pd.DataFrame, dict]) -> None:
    model = make_model(parts[0], parts[2])
    explain.check_inputs(model, {"model": model.sha256}, {"model": model.sha256})
    with pytest.raises(ProjectError, match=r"verdict\.json is about model aaaaaaaaaaaa"):
        explain.check_inputs(model, {"model": model.sha256}, {"model": "a" * 64})


def test_the_numbers_are_json_and_the_same_twice(
    parts: tuple[pd.DataFrame, pd.DataFrame, dict], tmp_path: Path
) -> None:
    for name in "ab":
        found = explain_all(parts)
        record = explain.list_explanation(
            found["model"], found["base"], found["importance"], found["effects"], found["cases"]
        )
        write_json(record, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    record = json.loads((tmp_path / "a").read_text())
    assert record["model"] == "c" * 64 and len(record["cases"]) == 3
    assert "the two rankings agree" in explain.describe_agreement(found["importance"]).lower()
    assert explain.tabulate_effects(found["effects"]).shape == (4, 2)


def make_card(parts: tuple[pd.DataFrame, pd.DataFrame, dict], **changes: Any) -> dict[str, Any]:
    found, (_, _, declaration) = explain_all(parts), parts
    evaluation = {**evaluate_all(parts), **changes}
    verdict = {
        "blessed": False, "better": False, "model": "c" * 64, "because": "1 of 2 conditions of the gate fail.",
        "conditions": [
            {"name": "max_fairness_gap", "title": "Catches groups alike", "passed": True, "message": "Alike <enough>."},
            {"name": "min_roc_auc", "title": "Ranks well", "passed": False, "message": "It ranks badly."},
        ],
    }  # fmt: skip
    contract = make_contract(
        when={"role": "time", "dtype": "datetime"}, email={"role": "pii", "dtype": "string"}
    ).model_copy(update={"fairness": ("senior",)})
    return explain.describe_card(
        contract, found["model"],
        explain.CardSources(declaration, evaluation, verdict, MANIFEST, "Call <first>.", "Not for credit."),
        found["importance"], found["effects"],
    )  # fmt: skip


def test_the_card_has_every_section_and_every_number(
    parts: tuple[pd.DataFrame, pd.DataFrame, dict], tmp_path: Path
) -> None:
    card = make_card(parts)
    explain.write_card(card, tmp_path / "card.html")
    page = (tmp_path / "card.html").read_text()
    for section in (
        "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
        "Quantitative analyses", "Ethical considerations", "Caveats and recommendations", "How to reproduce it",
    ):  # fmt: skip
        assert f"<h2>{section}</h2>" in page, section
    for text in (
        "Did not pass the quality gate", "It ranks badly.", "Call &lt;first&gt;.", "Alike &lt;enough&gt;.", "Not for credit.", "c" * 64,
        "b" * 64, "shop.csv", "senior = 1", "the newest part of the table", "does not read these columns: email",
        card["metrics"][0][1],
    ):  # fmt: skip
        assert text in page, text
    assert "<td>–</td>" not in page, "each group has all of its rates"
    assert "http" not in page.replace("http-equiv", "")
    explain.write_card(make_card(parts), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "card.html").read_bytes()


def test_the_card_says_in_which_features_the_model_is_monotone() -> None:
    directions = {"months": "decreasing", "spend": "increasing", "senior": "decreasing", "plan": None}
    features = [{"name": name, "monotone": direction} for name, direction in directions.items()]
    assert explain._describe_directions(features) == [
        "By the contract, its probability never falls when spend rises and all other features stay as they are.",
        "By the contract, its probability never rises when months and senior rise and all other features stay as they are.",
    ]
    assert explain._describe_directions(features[3:]) == []


def test_a_card_without_groups(parts: tuple[pd.DataFrame, pd.DataFrame, dict], tmp_path: Path) -> None:
    card = make_card(parts, slices=[], fairness=[])
    explain.write_card(card, tmp_path / "card.html")
    assert "Groups with the lowest ROC AUC" not in (tmp_path / "card.html").read_text()


def test_the_card_names_the_weight(parts: tuple[pd.DataFrame, pd.DataFrame, dict], tmp_path: Path) -> None:
    card = make_card(parts)
    said = []
    for metadata in (card["metadata"], {**card["metadata"], "weight": "<share>"}):
        explain.write_card({**card, "metadata": metadata}, tmp_path / "card.html")
        said.append("a row counts by its &lt;share&gt;" in (tmp_path / "card.html").read_text())
    assert said == [False, True]


def test_the_explanation_can_be_drawn(parts: tuple[pd.DataFrame, pd.DataFrame, dict]) -> None:
    found, evaluation = explain_all(parts), evaluate_all(parts)
    names = found["importance"]["column"].tolist()
    with mpl.rc_context(plots.STYLE):
        shown = curves.draw_importance(found["importance"], most=3)
        effects = curves.draw_effects(found["effects"], {"months": "months"})
        falls = curves.draw_waterfalls(found["cases"], found["base"])
        fair = curves.draw_fairness(evaluation["fairness"])
        curves.draw_slices(evaluation["slices"], 0.8, 0.6)
        curves.draw_slices([], 0.8, 0.6)
        plt.close("all")
    assert [label.get_text() for label in shown.axes[0].get_yticklabels()] == names[2::-1]
    assert [axes.get_title(loc="left") for axes in effects.axes] == list(found["effects"])
    assert [axes.get_title(loc="left") for axes in fair.axes][:2] == ["Actually positive", "Positives found"]
    for axes, case in zip(falls.axes, found["cases"], strict=True):
        last = axes.patches[-1]
        ends = (last.get_x(), last.get_x() + last.get_width())
        assert min(abs(end - case["probability"]) for end in ends) < 1e-9


def test_a_text_is_one_column_of_the_explanation(customers: pd.DataFrame) -> None:
    """Its attribution is that of all its words together; it has no curve of effects."""
    contract = make_contract(note={"role": "text", "dtype": "string", "nullable": True, "terms": 20})
    said = np.where(customers["left"] == "yes", "please cancel", "all is fine")
    frame = customers.assign(note=pd.Series(said).where(customers.index % 5 > 0).astype(object))
    table, declaration = make_table(frame, contract)
    done = explain_all((table.head(200), table.tail(100), declaration))
    assert done["importance"]["column"].iloc[0] == "note"
    assert "note" not in done["effects"] and "months" in done["effects"]
    assert any(label in ("note = please cancel", "note = all is fine") for label, _ in done["cases"][0]["steps"])
