import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression

from lifecycle.exploration.binning import Levels, cut_categories
from lifecycle.exploration.interactions import correct_tails, find_interactions, tabulate_pair


def draw(rows: int, seed: int, interaction: float) -> tuple[dict[str, Levels], np.ndarray]:
    """Three columns: the effects of `a` and `b` add up on the logit but for `interaction`; `c` tells nothing."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.integers(0, 3, rows), rng.integers(0, 2, rows), rng.integers(0, 4, rows)
    logit = -1 + 0.8 * a - 0.7 * b + interaction * (a == 2) * (b == 1)
    positive = rng.random(rows) < 1 / (1 + np.exp(-logit))
    named = {"a": a, "b": b, "c": c}
    return {name: cut_categories(pd.Series(codes), 9, order=range(9)) for name, codes in named.items()}, positive


def test_the_expected_rates_are_those_of_a_logistic_regression() -> None:
    levels, positive = draw(3000, 0, 1.5)
    cells = tabulate_pair(levels["a"], levels["b"], positive)
    design = pd.get_dummies(pd.DataFrame({"a": levels["a"].codes, "b": levels["b"].codes}), columns=["a", "b"])
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(design, positive)
    wanted = model.predict_proba(design)[:, 1]
    place = levels["a"].codes * 2 + levels["b"].codes
    np.testing.assert_allclose(cells["expected"], [wanted[place == cell].mean() for cell in range(6)], atol=1e-4)
    assert cells["rows"].sum() == 3000 and cells["positives"].sum() == positive.sum()
    np.testing.assert_allclose(cells["rate"], cells["positives"] / cells["rows"])


def test_an_interaction_is_found_and_what_adds_up_is_not() -> None:
    levels, positive = draw(8000, 1, 1.5)
    found = find_interactions(levels, positive)
    assert (found["one"][0], found["other"][0]) == ("a", "b") and found["p"][0] < 1e-6
    assert (found["p"][1:] > 0.05).all() and found["strength"].is_monotonic_decreasing
    levels, positive = draw(8000, 2, 0.0)
    assert (find_interactions(levels, positive)["p"] > 0.05).all()


def test_strength_is_the_distance_of_the_rates_from_additive_ones() -> None:
    levels, positive = draw(400_000, 3, 1.5)
    cells = tabulate_pair(levels["a"], levels["b"], positive)
    distance = np.sqrt(np.average((cells["rate"] - cells["expected"]) ** 2, weights=cells["rows"]))
    assert find_interactions(levels, positive)["strength"][0] == pytest.approx(distance, rel=0.01)


def test_p_is_spread_evenly_where_nothing_interacts() -> None:
    tails = []
    for seed in range(200):
        levels, positive = draw(1000, seed, 0.0)
        tails.append(find_interactions({name: levels[name] for name in ("a", "b")}, positive)["p"][0])
    assert stats.kstest(tails, "uniform").pvalue > 0.01


def test_cells_that_cannot_hold_rows_cost_no_freedom() -> None:
    kind = pd.Series(["none", "wire", "glass"] * 200)
    extra = pd.Series(np.where(kind == "none", "without", np.where(np.arange(600) % 2, "yes", "no")))
    levels = {"kind": cut_categories(kind, 5), "extra": cut_categories(extra, 5)}
    positive = np.random.default_rng(0).random(600) < 0.3
    found = find_interactions(levels, positive)
    assert found["freedom"][0] == 1  # of the two by two cells of wire and glass
    nested = {"kind": levels["kind"], "any": cut_categories(kind == "none", 5)}
    found = find_interactions(nested, positive)
    assert found["freedom"][0] == 0 and found["strength"][0] == 0 and found["p"][0] == 1


def test_rows_that_lack_a_value_do_not_count() -> None:
    levels, positive = draw(2000, 4, 1.5)
    lacking = Levels(np.where(np.arange(2000) < 500, -1, levels["a"].codes).astype(np.int32), levels["a"].labels)
    rest = Levels(levels["b"].codes[500:], levels["b"].labels)
    expected = tabulate_pair(Levels(levels["a"].codes[500:], levels["a"].labels), rest, positive[500:])
    pd.testing.assert_frame_equal(tabulate_pair(lacking, levels["b"], positive), expected)


@pytest.mark.parametrize("positive", [np.zeros(60, dtype=bool), np.ones(60, dtype=bool)])
def test_one_class_alone_shows_nothing(positive: np.ndarray) -> None:
    levels, _ = draw(60, 5, 0.0)
    found = find_interactions(levels, positive)
    assert (found["p"] == 1).all() and (found["strength"] == 0).all()
    assert find_interactions({"a": levels["a"]}, positive).empty


def test_correction_is_that_of_holm() -> None:
    statistic, freedom = np.array([9.0, 4.0, 0.1]), np.array([1.0, 1.0, 1.0])
    tails = stats.chi2.sf(statistic, freedom)
    np.testing.assert_allclose(correct_tails(statistic, freedom), [3 * tails[0], 2 * tails[1], tails[2]])
