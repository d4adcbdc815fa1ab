from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from lifecycle.core.ranking import measure_roc_auc
from lifecycle.features import inputs
from lifecycle.modeling import attribution
from lifecycle.modeling.model import Model
from lifecycle.stages import features
from tests.support.contracts import make_contract, make_table

Array = np.ndarray


def make_frame(rows: int = 200, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        "noise": rng.normal(size=rows),
        "colour of it": rng.choice(["red", "green", "blau ü"], rows),
        "signal": rng.normal(size=rows),
        "flag": rng.integers(0, 2, rows).astype(float),
    })  # fmt: skip


def predict(frame: pd.DataFrame) -> Array:
    """Uses `signal` most, then the colour, their interaction with the flag, and never the noise."""
    logit = 1.5 * frame["signal"] + (frame["colour of it"] == "red") * (0.5 + frame["flag"])
    return 1 / (1 + np.exp(-logit.to_numpy()))


def shapley_by_hand(row: pd.DataFrame, background: pd.DataFrame) -> Array:
    """The definition: the mean over every order of the columns of what each adds."""
    names = list(row.columns)
    total = np.zeros(len(names))
    orders = list(permutations(range(len(names))))
    for order in orders:
        mixed = background.copy()
        before = predict(mixed).mean()
        for place in order:
            mixed[names[place]] = row[names[place]].iloc[0]
            after = predict(mixed).mean()
            total[place] += after - before
            before = after
    return total / len(orders)


def test_shapley_values_add_up_exactly() -> None:
    frame = make_frame()
    found = attribution.attribute_rows(predict, frame.head(30), frame.tail(15), seed=3)
    np.testing.assert_allclose(found.base + found.shapley.sum(axis=1), predict(frame.head(30)), atol=1e-14)
    assert found.base == pytest.approx(predict(frame.tail(15)).mean())


def test_shapley_values_are_those_of_the_definition() -> None:
    frame = make_frame()
    background = pd.concat([frame.tail(10)] * 150, ignore_index=True)  # the same rows, many orders
    found = attribution.attribute_rows(predict, frame.head(2), background, seed=0)
    for place in range(2):
        expected = shapley_by_hand(frame.iloc[[place]], frame.tail(10))
        np.testing.assert_allclose(found.shapley[place], expected, atol=0.004)


def test_shapley_values_of_a_sum_are_exact() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).random((50, 6)), columns=list("abcdef"))
    weights = np.array([0.3, 0.2, 0.1, 0.05, 0.0, -0.2])
    found = attribution.attribute_rows(lambda table: table.to_numpy() @ weights, frame.head(5), frame.tail(20), seed=1)
    expected = weights * (frame.head(5).to_numpy() - frame.tail(20).to_numpy().mean(axis=0))
    np.testing.assert_allclose(found.shapley, expected, atol=1e-14)


def test_an_unused_column_has_no_attribution() -> None:
    frame = make_frame()
    found = attribution.attribute_rows(predict, frame.head(20), frame.tail(10), seed=0)
    assert not found.shapley[:, found.names.index("noise")].any()
    permuted = attribution.permute_columns(predict, frame, (frame["signal"] > 0).to_numpy(int), 3, seed=0)
    assert permuted.set_index("column").loc["noise"].tolist() == [0.0, 0.0]


def test_the_batch_size_does_not_change_results_but_the_seed_does(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = make_frame()
    whole = attribution.attribute_rows(predict, frame.head(9), frame.tail(7), seed=0)
    assert not np.array_equal(
        whole.shapley, attribution.attribute_rows(predict, frame.head(9), frame.tail(7), 1).shapley
    )
    monkeypatch.setattr(attribution, "_BATCH", 11)
    pieces = attribution.attribute_rows(predict, frame.head(9), frame.tail(7), seed=0)
    np.testing.assert_array_equal(whole.shapley, pieces.shapley)


def test_a_single_column_has_the_whole_attribution() -> None:
    frame = make_frame()[["signal"]]
    found = attribution.attribute_rows(lambda table: table["signal"].to_numpy(), frame.head(3), frame.tail(1), seed=0)
    np.testing.assert_allclose(found.shapley[:, 0], frame["signal"][:3] - frame["signal"].iloc[-1])
    assert not found.error.any()


def test_mixed_rows_keep_the_columns_dtypes() -> None:
    """A mixed row has the dtypes of the table, missing values as they were."""
    table = make_frame(6).assign(when=pd.date_range("2026-01-01", periods=6))
    table.loc[0, "colour of it"] = None
    seen = []
    attribution._predict_mixed(
        lambda frame: seen.append(frame) or np.zeros(len(frame)), table, np.array([[0, 1, 2, 3, 4], [5, 0, 1, 2, 3]])
    )
    assert seen[0].dtypes.tolist() == table.dtypes.tolist() and list(seen[0].columns) == list(table.columns)
    assert seen[0]["signal"].tolist() == table["signal"].iloc[[2, 1]].tolist()
    assert seen[0]["colour of it"].isna().tolist() == [False, True]


def test_importances_are_not_mislabelled_by_a_transformer_that_reorders_columns() -> None:
    """The classic mistake: the transformer puts the coded columns first, and positions are read as the table's."""
    frame = make_frame(600)
    target = (np.random.default_rng(1).random(600) < predict(frame)).astype(int)
    prepare = ColumnTransformer(
        [("codes", OneHotEncoder(), ["colour of it"]), ("numbers", StandardScaler(), ["flag", "signal", "noise"])]
    )
    model = make_pipeline(prepare, LogisticRegression()).fit(frame, target)
    ask = Model(model, {"features": list(frame.columns)}, "").predict
    permuted = attribution.permute_columns(ask, frame, target, 5, seed=0)
    assert permuted["column"].tolist() == list(frame.columns)
    assert permuted.loc[permuted["importance"].idxmax(), "column"] == "signal"
    found = attribution.attribute_rows(ask, frame.head(40), frame.tail(20), seed=0)
    ranked = attribution.rank_columns(found, frame.head(40)).set_index("column")
    assert ranked.index[0] == "signal" and ranked.loc["signal", "direction"] > 0.9
    assert ranked.loc["colour of it", "importance"] > ranked.loc["noise", "importance"]
    assert np.isnan(ranked.loc["colour of it", "direction"])


@pytest.mark.parametrize("labels", [[0, 1], [1, 0]])
def test_the_positive_class_is_found_wherever_its_column_stands(labels: list[int]) -> None:
    """The other classic mistake: predict_proba's columns follow classes_, not one's wish."""

    class Classifier:
        classes_ = np.array(labels)

        def predict_proba(self, frame: pd.DataFrame) -> Array:
            positive = predict(frame)
            return np.column_stack([positive if label == 1 else 1 - positive for label in labels])

    frame = make_frame(20)
    np.testing.assert_array_equal(
        Model(Classifier(), {"features": list(frame.columns)}, "").predict(frame), predict(frame)
    )


def test_permutation_importance_is_that_of_scikit_learn() -> None:
    frame = make_frame(400)[["signal", "noise", "flag"]]
    target = (frame["signal"] + frame["flag"] > 0.5).to_numpy(int)
    forest = RandomForestClassifier(20, min_samples_leaf=20, random_state=0).fit(frame, target)
    found = attribution.permute_columns(lambda table: forest.predict_proba(table)[:, 1], frame, target, 20, seed=0)
    expected = permutation_importance(forest, frame, target, scoring="roc_auc", n_repeats=20, random_state=1)
    np.testing.assert_allclose(found["importance"], expected.importances_mean, atol=0.015)


def test_areas_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    target, scores = rng.integers(0, 2, 50), np.round(rng.random((3, 50)), 1)
    expected = [roc_auc_score(target, score) for score in scores]
    np.testing.assert_allclose(measure_roc_auc(scores, target), expected)


def test_the_background_has_the_tables_mean_prediction() -> None:
    frame = make_frame(3000)
    chosen = attribution.choose_background(predict, frame, 50, seed=0)
    assert len(chosen) == 50 and chosen.index.is_monotonic_increasing
    assert predict(chosen).mean() == pytest.approx(predict(frame).mean(), abs=0.003)
    assert len(attribution.choose_background(predict, frame.head(5), 50, seed=0)) == 5


def test_effects_are_partial_dependence() -> None:
    frame = make_frame(300)[["signal", "flag", "noise"]]
    target = (frame["signal"] + frame["flag"] > 0.5).to_numpy(int)
    forest = RandomForestClassifier(10, random_state=0).fit(frame, target)
    grid = [-1.0, 0.0, 1.0]
    effect = attribution.trace_effect(lambda table: forest.predict_proba(table)[:, 1], frame, "signal", grid)
    expected = partial_dependence(
        forest,
        frame,
        ["signal"],
        custom_values={"signal": np.array(grid)},
        response_method="predict_proba",
        method="brute",
    )
    np.testing.assert_allclose(effect["category"], expected["average"][0])
    np.testing.assert_allclose(effect["mean"], effect["category"] - effect["category"].mean())
    assert (effect["low"] <= effect["mean"]).all() and (effect["mean"] <= effect["high"]).all()


def test_effects_of_categories_keep_their_kind() -> None:
    frame = make_frame(100)
    grid = attribution.choose_grid(frame["colour of it"])
    effect = attribution.trace_effect(predict, frame, "colour of it", grid).set_index("value")
    assert set(effect.index) == {"red", "green", "blau ü"} and effect["mean"].idxmax() == "red"


def test_grids() -> None:
    assert attribution.choose_grid(pd.Series([3.0, 1.0, np.nan, 3.0])) == [1.0, 3.0]
    assert attribution.choose_grid(pd.Series(["b", "a", None, "b", "c"]), categories=2) == ["b", "a"]
    long = attribution.choose_grid(pd.Series(np.append(np.arange(1000.0), 1e9)), points=5)
    assert long == sorted(long) and len(long) == 5 and long[-1] < 1000
    assert attribution.choose_grid(pd.Series([np.nan, np.nan])) == []


def test_observed_means_by_hand() -> None:
    probability = np.array([0.1, 0.2, 0.6, 0.7])
    words = attribution.trace_observed(probability, pd.Series(["a", "b", "b", None]), ["b", "a", "z"])
    np.testing.assert_allclose(words, np.array([0.4, 0.1, np.nan]) - 0.4)
    numbers = attribution.trace_observed(probability, pd.Series([1.0, 2.4, 2.6, np.nan]), [2.0, 3.0])
    np.testing.assert_allclose(numbers, np.array([0.15, 0.6]) - 0.4)


def test_redundancy_is_the_r_squared_of_a_regression_on_the_others() -> None:
    rng = np.random.default_rng(9)
    frame = make_frame(2000)
    frame["sum"] = 2 * frame["flag"] + (frame["colour of it"] == "red") + rng.normal(0, 0.2, 2000)
    found = attribution.measure_redundancy(frame)
    others = pd.get_dummies(frame.drop(columns="sum"), dtype=float)
    expected = LinearRegression().fit(others, frame["sum"]).score(others, frame["sum"])
    assert found["sum"] == pytest.approx(expected, abs=0.002) and found["sum"] > 0.9
    assert found["noise"] < 0.02 and "colour of it" not in found
    frame["copy"] = frame["noise"]
    assert attribution.measure_redundancy(frame)["copy"] > 0.999
    assert attribution.measure_redundancy(frame.head(8)) == {}
    assert attribution.measure_redundancy(pd.DataFrame({"a": [1.0] * 9, "b": [2.0] * 9})) == {}


def test_the_budget_limits_the_rows() -> None:
    assert attribution.fit_budget(100, 1000) == 100
    assert attribution.fit_budget(10_000, 4000) == 100
    assert attribution.fit_budget(100, 10**9) == 20
    assert attribution.fit_budget(5, 10**9) == 5


# Derived features move with the columns they come from.


@pytest.fixture
def made(customers: pd.DataFrame) -> tuple[pd.DataFrame, list[dict]]:
    contract = make_contract(
        when={"role": "time", "dtype": "datetime"}, senior={"dtype": "string", "values": ["no", "yes"]}
    )
    frame = customers.assign(
        when=pd.date_range("2026-01-01", periods=300, freq="7h"), senior=customers["senior"].map({0: "no", 1: "yes"})
    )
    derived = {"young": 'months * (plan == "basic")', "old": '(senior == "yes") + log1p(spend)'}
    declared = features.list_features(contract, list(frame.columns), derived)
    return features.assemble_table(frame, features.compute_features(frame, declared), contract), declared


def test_derived_features_are_recomputed_as_they_were(made: tuple[pd.DataFrame, list[dict]]) -> None:
    table, declared = made
    used = [feature["name"] for feature in declared]
    found = inputs.find_inputs(table, declared, used)
    assert set(found.names) == {"months", "spend", "plan", "senior", "when"}
    pd.testing.assert_frame_equal(found.complete(table[found.names])[used], table[used])
    moved = found.complete(table[found.names].assign(months=10.0, plan="basic"))
    assert (moved["young"] == 10.0).all()
    ask = found.wrap(lambda frame: frame["young"].to_numpy())
    assert (ask(table[found.names].assign(months=3.0, plan="pro")) == 0.0).all()


def test_what_cannot_be_recomputed_stays_a_column_of_its_own(made: tuple[pd.DataFrame, list[dict]]) -> None:
    table, declared = made
    changed = table.assign(young=table["young"] + 1)
    assert "young" in inputs.find_inputs(changed, declared, ["young", "months"]).names
    assert inputs.find_inputs(table.drop(columns="spend"), declared, ["old", "months"]).names == ["months", "old"]


def test_only_what_the_model_uses_is_an_input(customers: pd.DataFrame) -> None:
    table, declaration = make_table(customers, make_contract())
    found = inputs.find_inputs(table, declaration["features"], ["plan", "months"])
    assert found.names == ["months", "plan"] and not found.derived
    assert found.complete(table[found.names]) is not None
