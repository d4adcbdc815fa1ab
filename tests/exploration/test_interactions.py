import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression

from lifecycle.exploration.binning import Binned, bin_categories
from lifecycle.exploration.interactions import find_interactions, tabulate_pair
from lifecycle.exploration.significance import holm_pvalues


def draw(rows: int, seed: int, interaction: float) -> tuple[dict[str, Binned], np.ndarray]:
    """Three columns: the effects of `a` and `b` add up on the logit but for `interaction`; `c` tells nothing."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.integers(0, 3, rows), rng.integers(0, 2, rows), rng.integers(0, 4, rows)
    logit = -1 + 0.8 * a - 0.7 * b + interaction * (a == 2) * (b == 1)
    positive = rng.random(rows) < 1 / (1 + np.exp(-logit))
    named = {"a": a, "b": b, "c": c}
    return {name: bin_categories(pd.Series(codes), 9, order=range(9)) for name, codes in named.items()}, positive


def test_expected_rates_equal_a_logistic_regression() -> None:
    binned, positive = draw(3000, 0, 1.5)
    cells = tabulate_pair(binned["a"], binned["b"], positive)
    design = pd.get_dummies(pd.DataFrame({"a": binned["a"].codes, "b": binned["b"].codes}), columns=["a", "b"])
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(design, positive)
    wanted = model.predict_proba(design)[:, 1]
    place = binned["a"].codes * 2 + binned["b"].codes
    np.testing.assert_allclose(cells["expected"], [wanted[place == cell].mean() for cell in range(6)], atol=1e-4)
    assert cells["rows"].sum() == 3000 and cells["positives"].sum() == positive.sum()
    np.testing.assert_allclose(cells["rate"], cells["positives"] / cells["rows"])


def test_an_interaction_is_found_and_additive_effects_are_not() -> None:
    binned, positive = draw(8000, 1, 1.5)
    found = find_interactions(binned, positive)
    assert (found["one"][0], found["other"][0]) == ("a", "b") and found["p"][0] < 1e-6
    assert (found["p"][1:] > 0.05).all() and found["strength"].is_monotonic_decreasing
    binned, positive = draw(8000, 2, 0.0)
    assert (find_interactions(binned, positive)["p"] > 0.05).all()


def test_strength_is_the_distance_from_the_additive_rates() -> None:
    binned, positive = draw(400_000, 3, 1.5)
    cells = tabulate_pair(binned["a"], binned["b"], positive)
    distance = np.sqrt(np.average((cells["rate"] - cells["expected"]) ** 2, weights=cells["rows"]))
    assert find_interactions(binned, positive)["strength"][0] == pytest.approx(distance, rel=0.01)


def test_pvalues_are_uniform_without_an_interaction() -> None:
    pvalues = []
    for seed in range(200):
        binned, positive = draw(1000, seed, 0.0)
        pvalues.append(find_interactions({name: binned[name] for name in ("a", "b")}, positive)["p"][0])
    assert stats.kstest(pvalues, "uniform").pvalue > 0.01


def test_impossible_cells_do_not_count_as_degrees_of_freedom() -> None:
    kind = pd.Series(["none", "wire", "glass"] * 200)
    extra = pd.Series(np.where(kind == "none", "without", np.where(np.arange(600) % 2, "yes", "no")))
    binned = {"kind": bin_categories(kind, 5), "extra": bin_categories(extra, 5)}
    positive = np.random.default_rng(0).random(600) < 0.3
    found = find_interactions(binned, positive)
    assert found["freedom"][0] == 1  # of the two by two cells of wire and glass
    nested = {"kind": binned["kind"], "any": bin_categories(kind == "none", 5)}
    found = find_interactions(nested, positive)
    assert found["freedom"][0] == 0 and found["strength"][0] == 0 and found["p"][0] == 1


def test_rows_with_a_missing_value_do_not_count() -> None:
    binned, positive = draw(2000, 4, 1.5)
    lacking = Binned(np.where(np.arange(2000) < 500, -1, binned["a"].codes).astype(np.int32), binned["a"].labels)
    rest = Binned(binned["b"].codes[500:], binned["b"].labels)
    expected = tabulate_pair(Binned(binned["a"].codes[500:], binned["a"].labels), rest, positive[500:])
    pd.testing.assert_frame_equal(tabulate_pair(lacking, binned["b"], positive), expected)


@pytest.mark.parametrize("positive", [np.zeros(60, dtype=bool), np.ones(60, dtype=bool)])
def test_one_class_has_no_interaction(positive: np.ndarray) -> None:
    binned, _ = draw(60, 5, 0.0)
    found = find_interactions(binned, positive)
    assert (found["p"] == 1).all() and (found["strength"] == 0).all()
    assert find_interactions({"a": binned["a"]}, positive).empty


def test_pvalues_are_adjusted_by_holm() -> None:
    statistic, freedom = np.array([9.0, 4.0, 0.1]), np.array([1.0, 1.0, 1.0])
    pvalues = stats.chi2.sf(statistic, freedom)
    np.testing.assert_allclose(holm_pvalues(statistic, freedom), [3 * pvalues[0], 2 * pvalues[1], pvalues[2]])
