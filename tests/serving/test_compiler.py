import json
import re
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder, PolynomialFeatures, RobustScaler, StandardScaler, TargetEncoder
from sklearn.svm import LinearSVC

from lifecycle.core.contract import Contract
from lifecycle.core.errors import ProjectError
from lifecycle.modeling.calibration import CalibratedClassifier, Calibrator
from lifecycle.modeling.families import FAMILIES
from lifecycle.modeling.pipelines import fit_pipeline
from lifecycle.serving.compiler import compile_model
from lifecycle.serving.schema import Schema
from lifecycle.serving.scorer import Scorer
from lifecycle.stages import deploy
from lifecycle.stages.features import compute_features, list_features
from lifecycle.validation.conversion import DTYPES
from tests.support.contracts import make_contract
from tests.support.families import ACCURACY, QUICK


def fit(frame: pd.DataFrame, contract: Contract, family: str) -> tuple[CalibratedClassifier, list[dict[str, Any]]]:
    """A classifier of a raw table, and the records of its features."""
    features = list_features(contract, list(frame.columns), {"pace": "spend / (1 + months)"})
    names = [feature["name"] for feature in features]
    rows = compute_features(frame, features)[names], (frame["left"] == "yes").astype(int)
    pipeline = fit_pipeline(family, QUICK[family], features, *rows, seed=0, threads=1)
    return CalibratedClassifier(pipeline, Calibrator("none")), features


def compare(frame: pd.DataFrame, contract: Contract, family: str, odd: list[dict[str, Any]]) -> dict[str, Any]:
    """Fit, compile, and see that both answer alike: rows of the table, and the first one with odd values; the plan."""
    classifier, features = fit(frame, contract, family)
    plan, trees = compile_model(classifier, features, family)
    plan = json.loads(json.dumps(plan, allow_nan=False))  # as a bundle keeps it
    columns = deploy.describe_columns(contract, features, frame)
    names = [column["name"] for column in columns]
    known = frame[names].head(40).astype(object)
    rows = pd.concat([known, pd.DataFrame([{**known.iloc[0], **change} for change in odd], dtype=object)])
    rows = rows.astype({name: DTYPES[contract.columns[name].dtype] for name in names})
    expected = classifier.predict_proba(compute_features(rows, features))[:, 1]
    body = json.dumps(deploy.to_requests(rows, columns)).encode()
    requests = Schema(columns, len(rows)).parse(body).rows
    scorer = Scorer(plan, {column["name"]: column["dtype"] for column in columns}, trees)
    atol = ACCURACY.get(family, 1e-12)
    np.testing.assert_allclose(scorer.score(requests), expected, rtol=0, atol=atol)
    prepared = classifier.classifier[0].transform(compute_features(rows, features))
    np.testing.assert_array_equal(scorer.model.inputs.build_matrix(requests), prepared)
    np.testing.assert_allclose([scorer.score_one(row) for row in requests], expected, rtol=0, atol=atol)
    return plan


@pytest.mark.parametrize("family", FAMILIES)
def test_every_treatment_of_a_column_is_compiled(customers: pd.DataFrame, family: str) -> None:
    """Columns of every kind in turns, so that the preparation, whose branches gather those of a kind, reorders them.

    Whether training saw gaps in a column, nothing else or none, a request may have one.
    """
    rng = np.random.default_rng(1)
    contract, made = {}, {}
    left = (customers["left"] == "yes").to_numpy()
    kinds = {"number": "numeric", "clipped": "numeric", "flag": "boolean", "category": "categorical"}
    for kind, missing, gaps in product([*kinds, "constant"], ("impute", "category", "keep"), ("no", "some", "only")):
        signal = left + rng.normal(size=300)
        values = {
            "number": signal, "clipped": signal**5, "constant": np.full(300, 5.0),
            "flag": np.where(signal > 0.5, "on", "off"), "category": np.where(signal > 0.5, "high", "low"),
        }[kind]  # fmt: skip
        name = f"{kind}_{missing}_{gaps}"
        if name in ("clipped_impute_only", "clipped_category_only", "clipped_keep_only") or (
            family == "hist_boosting" and missing == "keep" and gaps == "only" and kind != "category"
        ):
            continue  # nothing to learn a fence from; scikit-learn refuses to bin nothing
        share = {"no": 0.0, "some": 0.2, "only": 1.0}[gaps]
        made[name] = pd.Series(values).mask(rng.random(300) < share)
        contract[name] = {
            "role": kinds.get(kind, "numeric"), "dtype": "string" if kind in ("flag", "category") else "float64",
            "missing": missing, "nullable": True, "outliers": "clip" if kind == "clipped" else "keep",
            "values": ["off", "on"] if kind == "flag" else None,
        }  # fmt: skip
    mixed = rng.permutation(list(made)).tolist()
    described = make_contract(**{name: contract[name] for name in mixed})
    frame = customers.assign(**{name: made[name].astype(DTYPES[contract[name]["dtype"]]) for name in made})
    odd: list[dict[str, Any]] = [dict.fromkeys(made), *({name: None} for name in made)]
    odd += [{name: "never seen"} for name in made if contract[name]["role"] == "categorical"]
    odd += [{name: value} for name in made if contract[name]["dtype"] == "float64" for value in (-1e30, 1e30, -0.0)]
    plan = compare(frame, described, family, odd)
    assert sorted(plan["order"]) == list(range(len(plan["order"]))) != plan["order"]
    indicated = {plan["numbers"]["names"][indicator["column"]] for indicator in plan["numbers"]["missing_indicators"]}
    assert indicated == {name for name in made if re.match("(number|clipped|constant|flag)_category_(some|only)", name)}


def spread(counts: dict[str | None, int], rows: int) -> list[str | None]:
    """A column of levels with their counts; the first one fills it up."""
    levels = [level for level, count in counts.items() for _ in range(count)]
    return [next(iter(counts))] * (rows - len(levels)) + levels


LEVELS: dict[
    str, tuple[dict[str | None, int], tuple[int, int]]
] = {  # counts; levels where gaps are filled, and are not
    "none_rare": ({"basic": 30, "plus": 100, "pro": 60}, (3, 3)),  # an unknown level has no column
    "some_rare": ({"basic": 30, "plus": 60, "a": 1, "b": 2, "pro": 2}, (3, 3)),  # of 300 rows; they share the last
    "one_rare": ({"basic": 30, "plus": 60, "pro": 20, "a": 1}, (4, 4)),
    "gaps": ({"basic": 30, "plus": 60, None: 50}, (2, 3)),  # are a level
    "rare_gaps": ({"basic": 30, "plus": 60, None: 2}, (2, 3)),
    "rare_with_gaps": ({"basic": 30, "plus": 60, None: 2, "a": 1}, (3, 3)),
    "rare_and_gaps": ({"basic": 30, "plus": 60, None: 50, "a": 1}, (3, 4)),
    "only_gaps": ({None: 300}, (1, 1)),
    "one_level": ({"basic": 300}, (1, 1)),
    "words_like_gaps": ({"plus": 60, "nan": 30, "None": 30}, (3, 3)),
}


@pytest.mark.parametrize("missing", ["impute", "category"])
def test_rare_unknown_and_absent_levels_are_compiled(customers: pd.DataFrame, missing: str) -> None:
    column = {"role": "categorical", "dtype": "string", "nullable": True, "missing": missing}
    contract = make_contract(**dict.fromkeys(LEVELS, column))
    frame = customers.sort_values("left", ignore_index=True)  # so that each level says something
    for name, (counts, _) in LEVELS.items():
        frame[name] = pd.Series(spread(counts, len(frame)), dtype="str")
    words = ["basic", "plus", "a", "b", "pro", "never seen", " plus", "nan", "None", None]
    plan = compare(frame, contract, "logistic", [{name: word} for name in LEVELS for word in words])
    widths = {level["name"]: level["width"] for level in plan["categories"]}
    assert {name: widths[name] for name in LEVELS} == {
        name: width[missing == "category"] for name, (_, width) in LEVELS.items()
    }


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int64", [0, 1, 2, 3]),
        ("float64", [0.0, 0.5, 1.0, 1.5]),
        ("float64", [0, 0.5, 1, 1.5]),  # as YAML may have it
        ("bool", [False, True]),
    ],
)
def test_levels_of_any_dtype_are_found(customers: pd.DataFrame, dtype: str, values: list[Any]) -> None:
    """A level is a word to the encoder: 1, 1.0 and true must be the same words in training and in a request."""
    column = {"role": "categorical", "dtype": dtype, "nullable": True}
    contract = make_contract(free=column, listed={**column, "values": values}, gaps={**column, "missing": "category"})
    picked = pd.Series(np.array(values)[np.arange(300) % len(values)], dtype=dtype)
    frame = customers.sort_values("left", ignore_index=True).assign(
        free=picked,
        listed=picked.sort_values(ignore_index=True),
        gaps=picked.astype(DTYPES[dtype]).mask(customers["id"] % 5 == 0),
    )
    plan = compare(frame, contract, "logistic", [{name: None} for name in ("free", "listed", "gaps")])
    assert {len(level["codes"]) for level in plan["categories"] if level["name"] != "plan"} == {len(values)}


@pytest.mark.parametrize("family", FAMILIES)
def test_columns_of_many_categories_are_compiled(customers: pd.DataFrame, family: str) -> None:
    """Each has a number for each category, for a missing and for any other one, whatever the type of a request's value."""
    rng = np.random.default_rng(0)
    frame = pd.concat([customers] * 5, ignore_index=True)
    picked = pd.Series(rng.integers(0, 150, len(frame)) + 75 * (frame["left"] == "yes"))
    column = {"role": "categorical", "dtype": "string", "nullable": True}
    contract = make_contract(
        town=column, gaps={**column, "missing": "category"}, filled=column, code={"role": "categorical", "dtype": "int64"},
        half={**column, "dtype": "float64", "missing": "category"},
    )  # fmt: skip
    town, holes = picked.map("Straße {}".format), rng.random(len(frame)) < 0.1
    frame = frame.assign(
        town=town, gaps=town.mask(holes), filled=town.mask(holes), code=picked, half=(picked / 2).mask(holes)
    )
    odd: list[dict[str, Any]] = [{name: None} for name in ("town", "gaps", "filled", "half")]
    odd += [{name: word} for name in ("town", "gaps", "filled") for word in ("never seen", "strasse 3", "Straße 3 ")]
    odd += [{"code": 10**6}, {"half": 0.25}, dict.fromkeys(("town", "gaps", "filled", "half"))]
    plan = compare(frame, contract, family, odd)
    assert {column["name"]: len(column["codes"]) for column in plan["encoded"]} == {
        name: frame[name].nunique() for name in ("town", "gaps", "filled", "code", "half")
    }


def test_a_target_encoder_of_anything_else_is_refused(customers: pd.DataFrame) -> None:
    prepare = ColumnTransformer([("plan", make_pipeline(TargetEncoder()), ["plan"])])
    pipeline = Pipeline([("prepare", prepare), ("model", LogisticRegression())])
    pipeline.fit(customers[["plan"]], (customers["left"] == "yes").astype(int))
    with pytest.raises(ProjectError, match="TargetEncoder cannot be compiled for serving without CategoryNumbers"):
        compile_model(CalibratedClassifier(pipeline, Calibrator("none")), [], "logistic")


@pytest.mark.parametrize("kind", ["numeric", "categorical", "boolean"])
def test_a_table_of_one_kind_is_compiled(customers: pd.DataFrame, kind: str) -> None:
    contract = make_contract()
    features = [feature for feature in list_features(contract, list(customers.columns), {}) if feature["kind"] == kind]
    X = compute_features(customers, features)
    left = (customers["left"] == "yes").astype(int)
    pipeline = fit_pipeline("logistic", {"C": 1.0, "knots": 0}, features, X, left, seed=0, threads=1)
    plan, trees = compile_model(CalibratedClassifier(pipeline, Calibrator("none")), features, "logistic")
    columns = deploy.describe_columns(contract, features, customers)
    scorer = Scorer(plan, {column["name"]: column["dtype"] for column in columns}, trees)
    rows = deploy.to_requests(customers, columns)
    np.testing.assert_allclose(scorer.score(rows), pipeline.predict_proba(X)[:, 1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        [scorer.score_one(row) for row in rows], pipeline.predict_proba(X)[:, 1], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_a_calibration_is_compiled_to_its_ends(customers: pd.DataFrame, method: str) -> None:
    classifier, features = fit(customers, make_contract(), "logistic")
    raw = classifier.predict_proba(compute_features(customers, features))[:, 1]
    target = (customers["left"] == "yes").to_numpy().astype(int)
    calibrator = Calibrator(method).fit(raw, target)
    plan, _ = compile_model(CalibratedClassifier(classifier.classifier, calibrator), features, "logistic")
    constant = {"kind": "linear", "coefficients": [0.0] * len(plan["order"])}
    log_odds = [-1000.0, -20.0, -1.0, 0.0, 2.0, 20.0, 1000.0]
    found = [
        Scorer(
            {**plan, "model": {**constant, "intercept": value}},
            dict.fromkeys(("months", "spend", "plan", "senior"), "float64"),
            None,
        ).score([{}])[0]
        for value in log_odds
    ]
    with np.errstate(over="ignore"):
        expected = calibrator.predict(1 / (1 + np.exp(-np.array(log_odds))))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


NUMBERS = ["months", "spend"]


def compile_with(customers: pd.DataFrame, branch: Any, model: Any = None, family: str = "logistic") -> None:
    """Compile a pipeline whose two numbers go through `branch`."""
    frame = customers[NUMBERS].fillna(1.0) / 100
    prepare = ColumnTransformer([("numbers", branch, NUMBERS)])
    pipeline = Pipeline([("prepare", prepare), ("model", model if model is not None else LogisticRegression())])
    pipeline.fit(frame, (customers["left"] == "yes").astype(int))
    features = list_features(make_contract(), NUMBERS, {})
    compile_model(CalibratedClassifier(pipeline, Calibrator("none")), features, family)


@pytest.mark.parametrize(
    ("branch", "named"),
    [
        (make_pipeline(RobustScaler()), "RobustScaler"),
        (make_pipeline(SimpleImputer(), PolynomialFeatures()), "PolynomialFeatures"),
        (make_pipeline(KNNImputer(), StandardScaler()), "KNNImputer"),
        (make_pipeline(OrdinalEncoder()), "OrdinalEncoder"),
        (make_pipeline(StandardScaler(), make_pipeline(RobustScaler())), "Pipeline"),
        (RobustScaler(), "RobustScaler"),
        (OrdinalEncoder(), "OrdinalEncoder"),
    ],
)
def test_a_step_that_is_not_known_is_refused_in_a_sentence(customers: pd.DataFrame, branch: Any, named: str) -> None:
    with pytest.raises(ProjectError, match=rf"^{named} cannot be compiled for serving[^\n]*\.$"):
        compile_with(customers, branch)


@pytest.mark.parametrize("branch", ["passthrough", StandardScaler(), make_pipeline("passthrough"), make_pipeline(None)])
def test_a_branch_that_is_no_pipeline_is_compiled_or_refused_in_a_sentence(
    customers: pd.DataFrame, branch: Any
) -> None:
    try:
        compile_with(customers, branch)
    except ProjectError as error:
        assert "cannot be compiled for serving" in str(error)  # noqa: PT017 - either will do


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("model", "named"),
    [
        (LinearSVC(), "LinearSVC"),
        (ExtraTreesClassifier(2), "ExtraTreesClassifier"),
        (make_pipeline(PolynomialFeatures(), LogisticRegression()), "PolynomialFeatures"),
        (make_pipeline(StandardScaler(), RandomForestClassifier(2)), "StandardScaler"),
        (make_pipeline(LogisticRegression()), "LogisticRegression"),
    ],
)
def test_a_model_that_is_not_known_is_refused_in_a_sentence(
    customers: pd.DataFrame, family: str, model: Any, named: str
) -> None:
    with pytest.raises(ProjectError, match=rf"{named}.* cannot be compiled for serving; supported [^\n]*\.$"):
        compile_with(customers, make_pipeline(SimpleImputer()), model, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_columns_of_text_are_compiled(customers: pd.DataFrame, family: str) -> None:
    """Several of them, with their own terms, between columns of other kinds, and one in which there is nothing to learn."""
    rng = np.random.default_rng(0)
    words = np.array(["Straße", "İstanbul", "cafe\u0301", "not", "happy", "😡", "it's", "late"], dtype=object)
    notes = [" ".join(rng.choice(words, 5)) + (" cancel" if left else "") for left in customers["left"] == "yes"]
    contract = make_contract(
        note={"role": "text", "dtype": "string", "nullable": True, "terms": 30},
        memo={"role": "text", "dtype": "string", "nullable": True, "terms": 5},
        rare={"role": "text", "dtype": "string", "nullable": True, "terms": 30},
        gap={"role": "numeric", "dtype": "float64", "nullable": True, "missing": "category"},
    )
    holes = rng.random(len(customers)) < 0.1
    frame = customers.assign(
        note=pd.Series(notes).mask(holes), memo=notes[::-1], rare=[f"n{row}" for row in range(len(notes))],
        gap=pd.Series(rng.normal(size=len(notes))).mask(holes),
    )  # fmt: skip
    odd: list[dict[str, Any]] = [
        {"note": text, "memo": text}
        for text in ("NOT happy", "unknown", "not\0happy", "CAFÉ STRASSE", "x" * 30_000, "not happy " * 9000, "😡" * 50)
    ]
    odd += [{"note": None}, dict.fromkeys(("note", "memo", "rare"))]
    plan = compare(frame, contract, family, odd)
    assert {text["name"]: len(text["terms"]) for text in plan["texts"]} == {"note": 30, "memo": 5, "rare": 0}
    assert next(text["width"] for text in plan["texts"] if text["name"] == "rare") == 1
