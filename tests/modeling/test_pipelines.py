import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lifecycle.core.errors import ProjectError
from lifecycle.modeling.families import FAMILIES, SplineAppender
from lifecycle.modeling.pipelines import FenceClipper, LevelEncoder, fit_pipeline
from tests.support.contracts import make_contract, make_table
from tests.support.families import QUICK


def fit(family: str, table: pd.DataFrame, declaration: dict, rows: slice = slice(None)):
    names = [feature["name"] for feature in declaration["features"]]
    chosen = table[names].iloc[rows], table[declaration["target"]].iloc[rows]
    return fit_pipeline(family, QUICK[family], declaration["features"], *chosen, seed=0, threads=1), table[names]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("missing", ["impute", "category", "keep"])
def test_families_learn_and_accept_unseen_and_missing_values(
    customers: pd.DataFrame, family: str, missing: str
) -> None:
    contract = make_contract(
        spend={"missing": missing, "outliers": "clip"}, plan={"missing": missing, "nullable": True}
    )
    frame = customers.copy()
    frame.loc[::25, "plan"] = None
    pipeline, X = fit(family, *make_table(frame, contract))
    probability = pipeline.predict_proba(X)[:, 1]
    left = (frame["left"] == "yes").to_numpy()
    assert probability[left].mean() > probability[~left].mean() + 0.1
    strange = X.head(3).assign(plan=["unheard of", None, "basic"], spend=[np.nan, 1e12, -1e12])
    assert np.isfinite(pipeline.predict_proba(strange)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_is_the_same_model(customers: pd.DataFrame, family: str) -> None:
    made = make_table(customers, make_contract())
    first, X = fit(family, *made)
    np.testing.assert_array_equal(first.predict_proba(X), fit(family, *made)[0].predict_proba(X))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_predicts_the_same_each_time_whatever_its_threads(customers: pd.DataFrame, family: str) -> None:
    """A forest whose trees are summed in the order in which threads end does not."""
    table, declaration = make_table(customers, make_contract())
    X = table[[feature["name"] for feature in declaration["features"]]]
    settings = {**QUICK, "forest": {"n_estimators": 300, "min_samples_leaf": 7}}[family]
    pipeline = fit_pipeline(family, settings, declaration["features"], X, table["left"], seed=0, threads=4)
    assert len({pipeline.predict_proba(X).tobytes() for _ in range(30)}) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_is_fitted_on_the_training_part_only(customers: pd.DataFrame, family: str) -> None:
    """Whatever the other rows hold, a pipeline fitted on the first 200 predicts the same."""
    contract = make_contract(spend={"outliers": "clip"})
    spoiled = customers.copy()
    spoiled.loc[200:, "spend"] *= 1e6
    spoiled.loc[200:, "plan"] = "pro"
    honest, X = fit(family, *make_table(customers, contract), slice(200))
    other, _ = fit(family, *make_table(spoiled, contract), slice(200))
    np.testing.assert_array_equal(honest.predict_proba(X.head(200)), other.predict_proba(X.head(200)))


def test_a_table_of_one_kind(customers: pd.DataFrame) -> None:
    for role in ("numeric", "categorical"):
        contract = make_contract()
        table, declaration = make_table(customers, contract)
        declaration["features"] = [f for f in declaration["features"] if f["kind"] == role]
        pipeline, X = fit("logistic", table, declaration)
        assert pipeline.predict_proba(X).shape == (300, 2)


def test_an_all_missing_or_constant_column_is_harmless(customers: pd.DataFrame) -> None:
    for value in (np.nan, 5.0):
        made = make_table(customers.assign(spend=value), make_contract())
        for family in FAMILIES:
            pipeline, X = fit(family, *made)
            assert np.isfinite(pipeline.predict_proba(X)).all()


def test_fences_are_tukeys(customers: pd.DataFrame) -> None:
    values = np.arange(101.0)[:, None]
    clipper = FenceClipper().fit(values)
    assert (clipper.low_[0], clipper.high_[0]) == (25 - 150, 75 + 150)
    assert clipper.transform([[1e9], [-1e9], [np.nan]])[:2].tolist() == [[225], [-125]]


def test_a_column_that_is_mostly_zero_is_not_erased() -> None:
    """The demonstration: with equal quartiles, clipping made ROC AUC 0.500 of 0.946."""
    rng = np.random.default_rng(0)
    spent = np.where(rng.random(2000) < 0.2, rng.gamma(3, 100, 2000), 0.0)
    clipped = FenceClipper().fit(spent[:, None]).transform(spent[:, None])
    np.testing.assert_array_equal(clipped[:, 0], spent)


def test_a_small_table_keeps_its_categories() -> None:
    """The demonstration: levels of fewer than 20 rows were joined, and ROC AUC was 0.77 in place of 1.0."""
    shop = pd.DataFrame({"city": np.repeat([f"city {place}" for place in range(10)], 12)})
    target = np.isin(shop["city"], ["city 1", "city 4", "city 8"]).astype(int)
    feature = {"name": "city", "kind": "categorical", "missing": "category", "outliers": "keep"}
    pipeline = fit_pipeline("logistic", {}, [feature], shop, target, seed=0, threads=1)
    assert roc_auc_score(target, pipeline.predict_proba(shop)[:, 1]) == 1.0
    large = pd.DataFrame({"city": np.repeat(["a", "b", "c", "d"], [5000, 3000, 19, 18])})
    encoder = LevelEncoder(handle_unknown="infrequent_if_exist", sparse_output=False).fit(large)
    assert encoder.infrequent_categories_[0].tolist() == ["c", "d"]


def test_splines_bend_only_what_has_many_values() -> None:
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=500), rng.integers(0, 2, 500)])
    appender = SplineAppender(5).fit(X)
    assert appender.columns_ == [0]
    out = appender.transform(X)
    np.testing.assert_array_equal(out[:, :2], X)
    far = appender.transform(np.array([[1e9, 0.0], [1e12, 0.0]]))
    np.testing.assert_allclose(far[0, 2:], far[1, 2:])


def test_an_unknown_family_is_named(customers: pd.DataFrame) -> None:
    with pytest.raises(ProjectError, match=r"tune\.families names 'magic'; there are logistic"):
        fit_pipeline("magic", {}, [], customers, customers["left"], seed=0, threads=1)
