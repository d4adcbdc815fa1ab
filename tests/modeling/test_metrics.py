from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest, ttest_1samp
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from lifecycle.modeling import bootstrap, comparisons, intervals, metrics

COST = {"false_positive": 1.0, "false_negative": 3.0}
Array = np.ndarray


def draw(rows: int = 400, seed: int = 0, digits: int = 2) -> tuple[Array, Array]:
    """Truths and probabilities with many ties."""
    rng = np.random.default_rng(seed)
    probability = np.round(rng.beta(1, 2, rows), digits)
    return (rng.random(rows) < probability).astype(int), probability


def measure(target: Array, probability: Array, threshold: float = 0.3) -> dict[str, float]:
    tally = metrics.tally_scores(target, probability)
    return {name: float(value) for name, value in metrics.measure_tally(tally, threshold, COST).items()}


def expect(target: Array, probability: Array, threshold: float = 0.3) -> dict[str, float]:
    called = probability >= threshold
    _, fp, fn, _ = reference.confusion_matrix(target, called).ravel()
    return {
        "roc_auc": reference.roc_auc_score(target, probability),
        "pr_auc": reference.average_precision_score(target, probability),
        "accuracy": reference.accuracy_score(target, called),
        "precision": reference.precision_score(target, called),
        "recall": reference.recall_score(target, called),
        "f1": reference.f1_score(target, called),
        "predicted_positive": called.mean(),
        "cost": (fp * 1.0 + fn * 3.0) / len(target),
        "brier": reference.brier_score_loss(target, probability),
        "log_loss": reference.log_loss(target, probability),
    }


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_those_of_scikit_learn(seed: int) -> None:
    target, probability = draw(seed=seed)
    probability = np.clip(probability, 0.01, 0.99)
    found = measure(target, probability)
    for name, value in expect(target, probability).items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_calibration_errors_are_those_counted_by_hand() -> None:
    target, probability = draw(2000, digits=3)
    found = measure(target, probability)
    by_hand = 0.0
    for low in range(10):
        rows = (probability >= low / 10) & ((probability < (low + 1) / 10) | (low == 9))
        by_hand += abs(target[rows].sum() - probability[rows].sum()) / len(target)
    assert found["ece"] == pytest.approx(by_hand)
    order = np.random.default_rng(1).permutation(2000)
    distinct = np.arange(2000)[order] / 2000
    observed, predicted = calibration_curve(target, distinct, n_bins=10, strategy="quantile")
    assert measure(target, distinct)["ece_mass"] == pytest.approx(np.abs(observed - predicted).mean(), abs=1e-3)


def test_undefined_ratios_are_nan_and_wrong_certainty_stays_finite() -> None:
    found = measure(np.array([0, 1]), np.array([0.1, 0.2]), threshold=0.9)
    assert np.isnan(found["precision"]) and found["recall"] == 0.0
    assert np.isfinite(measure(np.array([0, 1]), np.array([1.0, 0.0]))["log_loss"])


@pytest.mark.parametrize(
    ("target", "probability", "words"),
    [
        ([1, 1], [0.1, 0.2], "both of its classes"),
        ([], [], "both of its classes"),
        ([0, 1, 2], [0.1, 0.2, 0.3], "both of its classes"),
        ([0, 1], [0.1, 1.2], "from 0 to 1"),
        ([0, 1], [0.1, np.nan], "from 0 to 1"),
        ([0, 1], [0.1], "one shape"),
    ],
)
def test_what_cannot_be_measured_is_refused(target: list, probability: list, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        metrics.tally_scores(np.array(target), np.array(probability))


def test_a_bootstrap_replicate_is_a_resample_of_rows() -> None:
    """The same moments as drawing row numbers with replacement, by scikit-learn."""
    target, probability = draw(300)
    found = bootstrap.bootstrap_metrics(target, probability, threshold=0.3, cost=COST, replicates=2000, seed=1)
    rng = np.random.default_rng(2)
    rows = rng.integers(0, 300, (300, 300))
    for name, score in (("roc_auc", reference.roc_auc_score), ("brier", lambda truth, p: np.mean((p - truth) ** 2))):
        plain = np.quantile([score(target[row], probability[row]) for row in rows], [0.025, 0.975])
        width = plain[1] - plain[0]
        assert [found[name]["low"], found[name]["high"]] == pytest.approx(plain.tolist(), abs=0.15 * width)
        assert found[name]["value"] == pytest.approx(score(target, probability))


def test_the_bootstrap_is_seeded_and_indifferent_to_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    target, probability = draw(200)
    arguments = {"threshold": 0.3, "cost": COST, "replicates": 150}
    first = bootstrap.bootstrap_metrics(target, probability, seed=1, **arguments)
    assert first != bootstrap.bootstrap_metrics(target, probability, seed=2, **arguments)
    monkeypatch.setattr(bootstrap, "_CHUNK", 1000)
    again = bootstrap.bootstrap_metrics(target, probability, seed=1, **arguments)
    for name, estimate in first.items():
        assert again[name] == pytest.approx(estimate, abs=1e-12)


def test_joining_scores_hardly_moves_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    target, probability = draw(3000, digits=12)
    exact = bootstrap.bootstrap_metrics(target, probability, threshold=0.3, cost=COST, replicates=400, seed=1)
    monkeypatch.setattr(metrics, "_CELLS", 500)
    monkeypatch.setattr(metrics.join_scores, "__defaults__", (500,))
    joined = bootstrap.bootstrap_metrics(target, probability, threshold=0.3, cost=COST, replicates=400, seed=1)
    for name in ("roc_auc", "brier", "log_loss", "recall"):
        assert joined[name]["value"] == exact[name]["value"]
        width = exact[name]["high"] - exact[name]["low"]
        assert [joined[name][end] for end in ("low", "high")] == pytest.approx(
            [exact[name][end] for end in ("low", "high")], abs=0.15 * width
        )


def test_intervals_cover() -> None:
    """Of two hundred samples, about 95% have the true ROC AUC in their interval, whichever the method."""
    truth = reference.roc_auc_score(*draw(400_000, seed=99, digits=12))
    hits = np.zeros(2)
    for seed in range(200):
        target, probability = draw(150, seed=seed, digits=12)
        found = bootstrap.bootstrap_metrics(target, probability, threshold=0.3, cost=COST, replicates=200, seed=seed)
        positives = target.sum()
        low, high = intervals.bound_auc(found["roc_auc"]["value"], positives, 150 - positives)
        hits += [found["roc_auc"]["low"] <= truth <= found["roc_auc"]["high"], low <= truth <= high]
    assert (hits >= 180).all() and (hits <= 199).all()


def test_chance_alone_gives_the_calibration_error_it_says() -> None:
    probability = draw(500, digits=12)[1]
    mean, high = bootstrap.expect_ece(probability, 2000, seed=0)
    truths = np.random.default_rng(5).random((4000, 500)) < probability
    member = np.minimum((probability * 10).astype(int), 9)[:, None] == np.arange(10)
    errors = np.abs((truths - probability) @ member).sum(axis=1) / 500
    assert mean == pytest.approx(errors.mean(), rel=0.03)
    assert high == pytest.approx(np.quantile(errors, 0.95), rel=0.05)


def delong_by_hand(target: Array, scores: Array) -> tuple[Array, Array]:
    """DeLong's structural components, pair by pair."""
    components = []
    for score in scores:
        positive, negative = score[target == 1][:, None], score[target == 0][None, :]
        components.append((positive > negative) + 0.5 * (positive == negative))
    psi = np.array(components, dtype=float)
    covariance = np.cov(psi.mean(axis=2)) / psi.shape[1] + np.cov(psi.mean(axis=1)) / psi.shape[2]
    return psi.mean(axis=(1, 2)), covariance


@pytest.mark.parametrize("seed", range(4))
def test_delong_equals_the_computation_over_all_pairs(seed: int) -> None:
    target, first = draw(120, seed=seed)
    other = np.round(np.clip(first + np.random.default_rng(seed).normal(0, 0.2, 120), 0, 1), 1)
    areas, covariance = comparisons.estimate_delong(target, np.stack([first, other]))
    expected_areas, expected_covariance = delong_by_hand(target, np.stack([first, other]))
    np.testing.assert_allclose(areas, expected_areas)
    np.testing.assert_allclose(covariance, expected_covariance)
    found = comparisons.compare_auc(target, first, other)
    assert found["value"] == pytest.approx(
        reference.roc_auc_score(target, first) - reference.roc_auc_score(target, other)
    )
    swapped = comparisons.compare_auc(target, other, first)
    assert [swapped["value"], swapped["low"], swapped["p"]] == pytest.approx(
        [-found["value"], -found["high"], found["p"]]
    )


def test_the_same_ranking_differs_by_nothing() -> None:
    target, probability = draw(100)
    assert comparisons.compare_auc(target, probability, probability**2) == {
        "value": 0.0,
        "low": 0.0,
        "high": 0.0,
        "p": 1.0,
    }
    assert comparisons.compare_means(probability, probability)["p"] == 1.0


def test_delong_holds_its_level() -> None:
    """Two equally good scores differ significantly in about one of twenty samples."""
    rng = np.random.default_rng(0)
    rejected = 0
    for _ in range(400):
        target = np.arange(100) % 2
        common = target + rng.normal(0, 1, 100)
        one, other = common + rng.normal(0, 0.7, 100), common + rng.normal(0, 0.7, 100)
        rejected += comparisons.compare_auc(target, one, other)["p"] < 0.05
    assert 8 <= rejected <= 34


def test_paired_means_see_what_unpaired_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    base = rng.gamma(1, 1, 500)
    found = comparisons.compare_means(base, base + 0.02 + rng.normal(0, 0.05, 500))
    assert found["value"] == pytest.approx(-0.02, abs=0.01) and found["p"] < 0.01
    assert found["low"] < found["value"] < found["high"] < 0


def test_a_p_value_is_as_small_as_the_evidence() -> None:
    """The demonstration: a thousand replicates reach p = 0.002, which a level that is divided among 30 groups never does."""
    rng = np.random.default_rng(0)
    worse = 0.32 + rng.normal(0, 0.1, 200)
    found = comparisons.compare_means(worse, np.zeros(200))
    assert found["p"] == pytest.approx(ttest_1samp(worse, 0).pvalue, abs=1e-12) and found["p"] < 0.05 / 30
    few = comparisons.compare_means(np.array([0.2, 0.3, 0.9]), np.zeros(3))
    assert few["p"] > 0.05  # three rows prove little, although all of them agree


def test_rounding_is_no_difference() -> None:
    """A model is scored by its pipeline, and the champion by its bundle, whose sums are in another order."""
    _, probability = draw(300)
    found = comparisons.compare_means(probability + 1e-17 + 1e-16, probability)
    assert (found["value"], found["p"]) == (0, 1)


def test_row_losses_are_the_metrics_summands() -> None:
    target, probability = draw(300)
    losses, found = comparisons.lose_rows(target, probability, 0.3, COST), measure(target, probability)
    for name, loss in losses.items():
        assert loss.mean() == pytest.approx(found[name])


def test_wilson_is_that_of_scipy() -> None:
    hits, rows = np.array([0, 1, 7, 30]), np.array([10, 10, 12, 30])
    low, high = intervals.bound_share(hits, rows)
    for place in range(4):
        expected = binomtest(int(hits[place]), int(rows[place])).proportion_ci(method="wilson")
        assert (low[place], high[place]) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert [bound.item() for bound in intervals.bound_share(0, 0)] == [0.0, 1.0]


def test_newcombe_is_that_of_his_table() -> None:
    """Newcombe 1998, table II, method 10: 56/70 - 48/80 and 10/10 - 0/20."""
    found = intervals.bound_gap((56, 48), (70, 80))
    assert [found["low"], found["high"]] == pytest.approx([0.0524, 0.3339], abs=1e-4)
    found = intervals.bound_gap((10, 0), (10, 20))
    assert [found["low"], found["high"]] == pytest.approx([0.6791, 1.0], abs=1e-4)
    wide = intervals.bound_gap((56, 48), (70, 80), pairs=10)
    assert wide["low"] < 0.0524 and wide["high"] > 0.3339


def test_newcombe_auc_bounds_solve_their_equation() -> None:
    area, m, n = 0.8, 20, 30
    low, high = intervals.bound_auc(area, m, n)
    for theta in (float(low), float(high)):
        extra = (m + n) / 2 - 1
        variance = theta * (1 - theta) * (1 + extra * (1 - theta) / (2 - theta) + extra * theta / (1 + theta)) / (m * n)
        assert (area - theta) ** 2 == pytest.approx(1.959964**2 * variance, rel=1e-5)
    low, high = intervals.bound_auc(np.array([1.0, 0.0, np.nan]), 5, 7)
    assert 0.5 < low[0] < high[0] == 1.0 and low[1] == 0.0 < high[1] < 0.5 and np.isnan(low[2])


def test_slices_are_measured_as_tables_of_their_own() -> None:
    target, probability = draw(600)
    levels = pd.Series(np.random.default_rng(3).choice(["a", "b", "ü c"], 600))
    table = comparisons.measure_slices(target, probability, levels, 0.3).set_index("category")
    assert list(table.index) == ["a", "b", "ü c"]
    for level, row in table.iterrows():
        part = (levels == level).to_numpy()
        expected = expect(target[part], probability[part])
        assert row["rows"] == part.sum() and row["positives"] == target[part].sum()
        for name in ("roc_auc", "precision", "recall", "predicted_positive"):
            assert row[name] == pytest.approx(expected[name]), name
            assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
        negatives = part & (target == 0)
        assert row["false_alarms"] == pytest.approx((probability[negatives] >= 0.3).mean())


def test_a_slice_of_one_class_has_no_area() -> None:
    table = comparisons.measure_slices(np.array([0, 1, 1]), np.array([0.1, 0.5, 0.6]), pd.Series(["a", "a", "b"]), 0.3)
    assert table["roc_auc"].isna().tolist() == [False, True] and np.isnan(table["roc_auc_low"][1])
    assert np.isnan(table["false_alarms"][1]) and np.isnan(table["false_alarms_low"][1])


def test_a_slice_planted_to_be_bad_is_found_bad() -> None:
    rng = np.random.default_rng(0)
    target, group = rng.integers(0, 2, 2000), pd.Series(np.where(np.arange(2000) % 4, "fine", "broken"))
    signal = np.where(group == "fine", target, rng.integers(0, 2, 2000))
    table = comparisons.measure_slices(target, 0.3 * signal + 0.7 * rng.random(2000), group, 0.5).set_index("category")
    assert table.loc["broken", "roc_auc_high"] < 0.6
    assert table.loc["fine", "roc_auc_low"] > 0.7


def test_decisions_are_counted() -> None:
    found = metrics.count_decisions(np.array([0, 0, 1, 1, 1]), np.array([0.1, 0.5, 0.4, 0.5, 0.9]), 0.5)
    assert found == {"tn": 1, "fp": 1, "fn": 1, "tp": 2}


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float64, st.integers(2, 30), elements=st.sampled_from([0.0, 0.2, 0.25, 0.5, 1.0])), st.integers(0, 2**30)
)
def test_any_probabilities_give_metrics_in_their_range(probability: Array, bits: int) -> None:
    target = (bits >> np.arange(len(probability))) & 1
    target[:2] = 0, 1
    found = bootstrap.bootstrap_metrics(target, probability, threshold=0.25, cost=COST, replicates=100, seed=0)
    pairs = [(a, b) for a, b in combinations(range(len(target)), 2) if target[a] != target[b]]
    wins = [
        0.5 if probability[a] == probability[b] else float((probability[a] > probability[b]) == (target[a] == 1))
        for a, b in pairs
    ]
    assert found["roc_auc"]["value"] == pytest.approx(np.mean(wins))
    for name in ("roc_auc", "pr_auc", "accuracy", "recall", "brier", "ece"):
        assert 0 <= found[name]["value"] <= 1 + 1e-12, name
        assert np.isnan(found[name]["low"]) or found[name]["low"] <= found[name]["high"]


# Rows of one entity.


def draw_entities(rng: np.random.Generator, entities: int = 100, each: int = 20) -> tuple[np.ndarray, ...]:
    """Rows whose label and score both depend on their entity: target, two scores, and the entity of each row."""
    entity = np.repeat(np.arange(entities), each)
    effect, mood = rng.normal(0, 1.5, entities)[entity], rng.normal(0, 1, entities)[entity]
    target = (rng.random(len(entity)) < 1 / (1 + np.exp(-effect))).astype(int)
    common = 0.5 * effect + rng.normal(0, 1, len(entity))
    other = 0.5 * effect + rng.normal(0, 1, entities)[entity] * 0.3 + rng.normal(0, 1, len(entity))
    return target, common + 0.3 * mood, other, entity


def test_the_interval_of_a_roc_auc_covers_what_it_says_for_rows_of_entities() -> None:
    """The demonstration: with 20 rows an id DeLong's 95 % interval covers 65.9 %."""
    rng = np.random.default_rng(0)
    large = draw_entities(rng, 20_000)
    truth = comparisons.estimate_delong(large[0], large[1][None])[0][0]
    covered = {"rows": 0, "entities": 0}
    for _ in range(300):
        target, score, _, entity = draw_entities(rng)
        for name, groups in (("rows", None), ("entities", entity)):
            areas, covariance = comparisons.estimate_delong(target, score[None], groups)
            covered[name] += abs(areas[0] - truth) < 1.96 * np.sqrt(covariance[0, 0])
    assert covered["entities"] >= 0.92 * 300 > 0.8 * 300 > covered["rows"]


def test_a_paired_test_of_rows_of_entities_keeps_its_level() -> None:
    """The demonstration: a 5 % test rejected 25.6 %."""
    rng = np.random.default_rng(1)
    rejected = {"roc_auc": 0, "brier": 0}
    for _ in range(300):
        target, one, other, entity = draw_entities(rng, 60)
        one, other = (1 / (1 + np.exp(-score)) for score in (one, other))
        rejected["roc_auc"] += comparisons.compare_auc(target, one, other, entity)["p"] < 0.05
        losses = [comparisons.lose_rows(target, score, 0.5, COST)["brier"] for score in (one, other)]
        rejected["brier"] += comparisons.compare_means(*losses, entity)["p"] < 0.05
    assert all(4 <= count <= 30 for count in rejected.values()), rejected


def test_entities_of_one_row_are_rows() -> None:
    target, probability = draw(400)
    _, other = draw(400)
    entity = np.arange(400)
    alone, grouped = (
        comparisons.estimate_delong(target, np.stack([probability, other]), each) for each in (None, entity)
    )
    np.testing.assert_allclose(alone[0], grouped[0])
    np.testing.assert_allclose(alone[1], grouped[1], rtol=0.02, atol=1e-6)
    given = {"threshold": 0.4, "cost": COST, "replicates": 2000, "seed": 0}
    rows = bootstrap.bootstrap_metrics(target, probability, **given)
    entities = bootstrap.bootstrap_metrics(target, probability, **given, entities=entity)
    for name, found in rows.items():
        assert entities[name]["value"] == found["value"]
        width = found["high"] - found["low"]
        assert entities[name]["high"] - entities[name]["low"] == pytest.approx(width, rel=0.15, abs=0.004)


def test_slices_of_entities_have_wider_intervals() -> None:
    target, score, _, entity = draw_entities(np.random.default_rng(2), 40)
    probability = 1 / (1 + np.exp(-score))
    city = pd.Series(np.where(entity % 2 == 0, "a", "b"))
    rows = comparisons.measure_slices(target, probability, city, 0.5)
    entities = comparisons.measure_slices(target, probability, city, 0.5, entity)
    for name in ("rate", "recall", "roc_auc"):
        np.testing.assert_array_equal(entities[name], rows[name])
        assert (entities[f"{name}_high"] - entities[f"{name}_low"] > rows[f"{name}_high"] - rows[f"{name}_low"]).all()
    alike = comparisons.measure_slices(
        np.repeat([0, 1], 50), np.repeat([0.1, 0.9], 50), pd.Series(["a"] * 100), 0.5, np.repeat([0, 1], 50)
    )
    assert alike["recall_low"][0] < 0.3, "one entity that is found proves little"
