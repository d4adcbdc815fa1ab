"""Tests of degradation: expected metrics, realised metrics, and whether labels agree with the probabilities."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from lifecycle.monitoring.degradation import (
    METRICS,
    describe_performance,
    expect_metrics,
    expect_performance,
    has_classes,
    judge_degradation,
    measure_error,
    measure_performance,
    measure_residuals,
)
from tests.support.sizes import size

Array = np.ndarray[Any, Any]
Labels = tuple[Array, Array]
COST = {"false_positive": 1.0, "false_negative": 3.0}
SETTINGS: dict[str, Any] = {"threshold": 0.3, "cost": COST}
LIMITS: dict[str, Any] = {"false_alarms": 0.01, "min_class": 20, "min_effect": 0.02}


def draw(seed: int, rows: int = 500, a: float = 1, b: float = 2, turned: float = 0.0) -> Labels:
    """Labels and calibrated probabilities of a hundred values; in a share `turned` of the rows the relation is reversed."""
    rng = np.random.default_rng(seed)
    p = np.round(rng.beta(a, b, rows), 2)
    chance = np.where(rng.random(rows) < turned, 1 - p, p)
    return (rng.random(rows) < chance).astype(np.int8), p


def measure(label: Array, p: Array) -> dict[str, float]:
    """The metrics by scikit-learn."""
    predicted = p >= SETTINGS["threshold"]
    _, fp, fn, _ = reference.confusion_matrix(label, predicted).ravel()
    return {
        "roc_auc": reference.roc_auc_score(label, p),
        "accuracy": reference.accuracy_score(label, predicted),
        "precision": reference.precision_score(label, predicted),
        "recall": reference.recall_score(label, predicted),
        "f1": reference.f1_score(label, predicted),
        "brier": reference.brier_score_loss(label, p),
        "log_loss": reference.log_loss(label, np.clip(p, 1e-15, 1 - 1e-15)),
        "cost": (fp + 3 * fn) / len(label),
        "predicted_positive": predicted.mean(),
    }


NAMES = [name for name in METRICS if name != "ece"]  # for a calibrated model it is chance alone


@pytest.fixture(scope="module")
def baseline() -> dict[str, Any]:
    """The performance of a calibrated model on a hold-out."""
    return describe_performance(*draw(12345, 3000), seed=0, **SETTINGS)


# --- what is to be expected


def test_expected_metrics_equal_those_of_many_labels() -> None:
    """Each expected metric is compared with that of 200,000 labels drawn from the probabilities."""
    label, p = draw(0, 200_000)
    realised, expected = measure(label, p), expect_metrics(p, 0.3, COST)
    for name in NAMES:
        assert expected[name] == pytest.approx(realised[name], abs=0.01), name


@pytest.mark.parametrize(("a", "b"), [(1, 2), (0.5, 6)])
def test_realised_metrics_of_calibrated_rows_are_within_the_expected_interval(a: float, b: float) -> None:
    """As often as a 95 % interval says, wherever the rows are: covariate shift does not matter."""
    runs, hits = 40, dict.fromkeys(NAMES, 0)
    for seed in range(runs):
        label, p = draw(seed, 300, a, b)
        expected, realised = expect_performance(p, seed=seed, **SETTINGS), measure(label, p)
        for name in NAMES:
            hits[name] += expected[name]["low"] - 1e-9 <= realised[name] <= expected[name]["high"] + 1e-9
    for name, count in hits.items():
        assert count >= 0.84 * runs, name
    assert sum(hits[name] for name in ("roc_auc", "brier", "cost", "accuracy")) < 4 * runs, "nor wider than that"


def test_the_expected_interval_covers_what_it_says_for_a_model_that_is_not_quite_calibrated() -> None:
    """The demonstration: it left out the error of calibration, and covered 0.42 to 0.52 where it said 0.95."""
    runs, hits, plain = size(30, 200), dict.fromkeys(("roc_auc", "accuracy", "brier", "cost"), 0), 0
    rng = np.random.default_rng(0)

    def draw_sure(rows: int) -> tuple[np.ndarray, np.ndarray]:
        truth = rng.beta(2, 3, rows)
        odds = truth / (1 - truth)
        sure = odds**1.5 / (1 + odds**1.5)
        return (rng.random(rows) < truth).astype(int), sure.round(2)  # a hundred values: eight times as quick

    for seed in range(runs):
        estimation = describe_performance(*draw_sure(800), seed=seed, **SETTINGS)["estimation"]
        label, p = draw_sure(600)
        expected, alone = (expect_performance(p, seed=seed, **SETTINGS, estimation=each) for each in (estimation, None))
        realised = measure(label, p)
        for name in hits:
            hits[name] += expected[name]["low"] <= realised[name] <= expected[name]["high"]
        plain += alone["brier"]["low"] <= realised["brier"] <= alone["brier"]["high"]
    assert all(count >= 0.9 * runs for count in hits.values()), hits
    assert plain < 0.6 * runs


def test_a_row_makes_no_pair_with_itself() -> None:
    """The expected ROC AUC of few rows equals that of all their possible labels."""
    p = np.array([0.2, 0.4, 0.7])
    ranked, pairs = 0.0, 0.0
    for labels in itertools.product([0, 1], repeat=3):
        chance = np.prod(np.where(labels, p, 1 - p))
        wins = [(p[i] > p[j]) + (p[i] == p[j]) / 2 for i in range(3) for j in range(3) if labels[i] > labels[j]]
        ranked, pairs = ranked + chance * sum(wins), pairs + chance * len(wins)
    assert expect_metrics(p)["roc_auc"] == pytest.approx(ranked / pairs)


def test_realised_metrics_are_outside_the_interval_under_concept_drift() -> None:
    outside = 0
    for seed in range(10):
        label, p = draw(seed, 500, turned=0.4)
        expected = expect_performance(p, seed=seed, **SETTINGS)["roc_auc"]
        outside += measure(label, p)["roc_auc"] < expected["low"]
    assert outside == 10


def test_expectations_are_seeded() -> None:
    _, p = draw(0)
    assert expect_performance(p, seed=1, **SETTINGS) == expect_performance(p, seed=1, **SETTINGS)
    assert expect_performance(p, seed=1, **SETTINGS) != expect_performance(p, seed=2, **SETTINGS)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("p", [[0.0] * 9, [1.0] * 9, [0.5] * 9, [0.2, 0.8], [0.1]])
def test_constant_probabilities_have_finite_expectations(p: list[float]) -> None:
    found = expect_performance(np.array(p), seed=0, **SETTINGS)
    assert found["accuracy"]["value"] == pytest.approx(np.mean([value if value >= 0.3 else 1 - value for value in p]))
    for estimate in found.values():
        if np.isfinite([*estimate.values()]).all():
            assert estimate["low"] <= estimate["high"]


def test_realised_metrics_equal_scikit_learns_and_are_within_their_interval() -> None:
    label, p = draw(3, 800)
    found = measure_performance(label, p, seed=0, **SETTINGS)
    for name, value in measure(label, p).items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-9), name
        assert found[name]["low"] <= value <= found[name]["high"], name


def test_the_error_is_realised_less_expected_on_the_same_rows() -> None:
    label, p = draw(4, 700, turned=0.2)
    realised, expected = measure(label, p), expect_metrics(p, 0.3, COST)
    errors = measure_error(label, p, 0.3, COST)
    for name in NAMES:
        assert errors[name] == pytest.approx(realised[name] - expected[name], abs=1e-9), name
    areas = [measure_error(*draw(seed, 400), 0.3, COST)["roc_auc"] for seed in range(60)]
    assert abs(np.mean(areas)) < 3 * np.std(areas) / np.sqrt(60), "of a calibrated model it is 0 on average"
    assert measure_error(label, p, 0.3, COST)["roc_auc"] < -0.05


# --- whether labels agree with the probabilities


def test_the_baseline_is_plain_json(baseline: dict[str, Any]) -> None:
    assert json.loads(json.dumps(baseline, allow_nan=False)) == baseline
    label, p = draw(12345, 3000)
    assert (baseline["rows"], baseline["rate"]) == (3000, label.mean())
    assert baseline["metrics"]["roc_auc"]["value"] == pytest.approx(reference.roc_auc_score(label, p))


def test_residuals_equal_those_computed_by_hand() -> None:
    label, p = draw(5, 600)
    found = measure_residuals(label, p)
    assert found["calibration"]["mean"] == pytest.approx(label.mean() - p.mean())
    assert found["brier"]["mean"] == pytest.approx(((label - p) ** 2 - p * (1 - p)).mean())
    expected = expect_metrics(p)["roc_auc"]
    assert found["roc_auc"]["mean"] == pytest.approx(reference.roc_auc_score(label, p) - expected)
    assert found["calibration"]["variance"] == pytest.approx((label - p).var() / 600)


@pytest.mark.parametrize(("a", "b"), [(1, 2), (3, 1), (1, 8)])
def test_covariate_shift_alone_is_not_degradation(baseline: dict[str, Any], a: float, b: float) -> None:
    """Of a hundred windows one may ring; of sixty four and more do with a chance of 0.003."""
    rung = [
        bool(judge_degradation(baseline, [draw(seed, 500, a, b)], **LIMITS)["degraded"].iloc[0]) for seed in range(60)
    ]  # fmt: skip
    assert sum(rung) <= 3


@pytest.mark.parametrize("turned", [0.25, 1.0])
def test_concept_drift_is_degradation_from_its_first_window_on(baseline: dict[str, Any], turned: float) -> None:
    shares = [0, 0, 0, turned, turned, turned]
    table = judge_degradation(baseline, [draw(seed, 600, turned=share) for seed, share in enumerate(shares)], **LIMITS)
    assert table["degraded"].tolist() == [share > 0 for share in shares]
    assert (table["roc_auc"][3:] < -0.05).all() and (table["p"][3:] < 1e-6).all()


def test_miscalibration_is_degradation_even_if_the_ranking_is_unchanged(baseline: dict[str, Any]) -> None:
    label, p = draw(6, 800)
    table = judge_degradation(baseline, [(label, np.round(np.clip(p + 0.15, 0, 1), 2))], **LIMITS)
    assert table["degraded"].all()
    assert table["calibration"].iloc[0] == pytest.approx(-0.13, abs=0.05) and table["roc_auc"].iloc[0] > -0.03


def test_pooled_windows_find_a_small_degradation_that_persists(baseline: dict[str, Any]) -> None:
    alone = longer = 0
    for seed in range(20):
        windows = [draw(100 * seed + number, 300, turned=0.1) for number in range(3)]
        longer += bool(judge_degradation(baseline, windows, **LIMITS)["degraded"].iloc[2])
        alone += bool(judge_degradation(baseline, windows[2:], **LIMITS)["degraded"].iloc[0])
    assert longer >= alone + 5


def test_a_window_is_judged_without_the_later_ones(baseline: dict[str, Any]) -> None:
    windows = [draw(seed, rows, turned=share) for seed, (rows, share) in enumerate(((300, 0), (40, 0.5), (300, 0.5)))]
    whole = judge_degradation(baseline, windows, **LIMITS)
    for place in range(len(windows)):
        part = judge_degradation(baseline, windows[: place + 1], **LIMITS)
        assert part.iloc[place].to_dict() == pytest.approx(whole.iloc[place].to_dict(), nan_ok=True)


@pytest.mark.filterwarnings("error")
def test_windows_with_too_few_labels_are_not_judged(baseline: dict[str, Any]) -> None:
    nothing = (np.array([], dtype=np.int8), np.array([]))
    one_class = (np.zeros(300, dtype=np.int8), np.full(300, 0.3))
    few = draw(0, 30)
    table = judge_degradation(baseline, [nothing, few, one_class, nothing, nothing, draw(1, 400)], **LIMITS)
    assert table["rows"].tolist() == [0, 30, 300, 0, 0, 400]
    assert table["p"].isna().tolist() == [True, True, True, True, True, False]
    assert table["degraded"].tolist() == [False] * 6


def test_few_labels_are_judged_with_those_of_the_windows_before(baseline: dict[str, Any]) -> None:
    table = judge_degradation(baseline, [draw(seed, 45) for seed in range(3)], **LIMITS)
    assert table["p"].notna().tolist()[2] and table["used"].iloc[2] in (90, 135)


def test_an_effect_below_the_limit_is_not_degradation(baseline: dict[str, Any]) -> None:
    window = draw(8, 3000, turned=0.1)
    strict, tolerant = (
        judge_degradation(baseline, [window], **{**LIMITS, "min_effect": least}) for least in (0.0, 0.2)
    )
    assert strict["p"].iloc[0] == tolerant["p"].iloc[0]
    assert strict["degraded"].iloc[0] and not tolerant["degraded"].iloc[0]


@pytest.mark.parametrize(
    ("labels", "least", "expected"),
    [
        ([], 1, False), ([0, 0, 0], 1, False), ([1, 1], 1, False), ([0, 1], 1, False), ([0, 1, 0, 1], 1, True),
        ([0, 0, 1, 1], 2, True), ([0, 0, 1, 1], 3, False), ([0] * 50 + [1] * 20, 20, True), ([0] * 50 + [1] * 19, 20, False),
    ],
)  # fmt: skip
def test_both_classes_need_enough_rows(labels: list[int], least: int, expected: bool) -> None:
    """Two rows of each at least: DeLong's variance needs them."""
    assert has_classes(np.array(labels, dtype=np.int8), least) is expected
