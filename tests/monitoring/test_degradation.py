from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from lifecycle.monitoring.degradation import (
    METRICS,
    describe_performance,
    detect_changes,
    expect_performance,
    expect_tally,
    has_classes,
    judge_decay,
    measure_error,
    measure_performance,
    measure_residuals,
)

Array = np.ndarray[Any, Any]
Pair = tuple[Array, Array]
COST = {"false_positive": 1.0, "false_negative": 3.0}
SETTINGS: dict[str, Any] = {"threshold": 0.3, "cost": COST}
LIMITS: dict[str, Any] = {"false_alarms": 0.01, "min_class": 20, "min_effect": 0.02}


def draw(seed: int, rows: int = 500, a: float = 1, b: float = 2, turned: float = 0.0) -> Pair:
    """Truths and calibrated probabilities of a hundred values; in a share `turned` of the rows the relation is the other."""
    rng = np.random.default_rng(seed)
    p = np.round(rng.beta(a, b, rows), 2)
    chance = np.where(rng.random(rows) < turned, 1 - p, p)
    return (rng.random(rows) < chance).astype(np.int8), p


def measure(truth: Array, p: Array) -> dict[str, float]:
    """By scikit-learn."""
    called = p >= SETTINGS["threshold"]
    _, fp, fn, _ = reference.confusion_matrix(truth, called).ravel()
    return {
        "roc_auc": reference.roc_auc_score(truth, p),
        "accuracy": reference.accuracy_score(truth, called),
        "precision": reference.precision_score(truth, called),
        "recall": reference.recall_score(truth, called),
        "f1": reference.f1_score(truth, called),
        "brier": reference.brier_score_loss(truth, p),
        "log_loss": reference.log_loss(truth, np.clip(p, 1e-15, 1 - 1e-15)),
        "cost": (fp + 3 * fn) / len(truth),
        "predicted_positive": called.mean(),
    }


NAMES = [name for name in METRICS if name != "ece"]  # of a calibrated model it is chance alone


@pytest.fixture(scope="module")
def baseline() -> dict[str, Any]:
    """What a hold-out of a calibrated model says."""
    return describe_performance(*draw(12345, 3000), seed=0, **SETTINGS)


# --- what is to be expected


def test_expected_metrics_are_what_many_truths_come_to() -> None:
    """The expectation of each metric, against the metric of a hundred thousand truths drawn from the probabilities."""
    truth, p = draw(0, 200_000)
    realised, expected = measure(truth, p), expect_tally(p, 0.3, COST)
    for name in NAMES:
        assert expected[name] == pytest.approx(realised[name], abs=0.01), name


@pytest.mark.parametrize(("a", "b"), [(1, 2), (0.5, 6)])
def test_the_truth_is_within_the_interval_of_what_was_expected_of_calibrated_rows(a: float, b: float) -> None:
    """As often as a 95 % interval says, wherever the rows are: covariate shift does not matter."""
    runs, hits = 40, dict.fromkeys(NAMES, 0)
    for seed in range(runs):
        truth, p = draw(seed, 300, a, b)
        expected, realised = expect_performance(p, seed=seed, **SETTINGS), measure(truth, p)
        for name in NAMES:
            hits[name] += expected[name]["low"] - 1e-9 <= realised[name] <= expected[name]["high"] + 1e-9
    for name, count in hits.items():
        assert count >= 0.84 * runs, name
    assert sum(hits[name] for name in ("roc_auc", "brier", "cost", "accuracy")) < 4 * runs, "nor wider than that"


def test_the_truth_is_outside_once_the_relation_has_turned() -> None:
    outside = 0
    for seed in range(10):
        truth, p = draw(seed, 500, turned=0.4)
        expected = expect_performance(p, seed=seed, **SETTINGS)["roc_auc"]
        outside += measure(truth, p)["roc_auc"] < expected["low"]
    assert outside == 10


def test_expectations_are_seeded() -> None:
    _, p = draw(0)
    assert expect_performance(p, seed=1, **SETTINGS) == expect_performance(p, seed=1, **SETTINGS)
    assert expect_performance(p, seed=1, **SETTINGS) != expect_performance(p, seed=2, **SETTINGS)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("p", [[0.0] * 9, [1.0] * 9, [0.5] * 9, [0.2, 0.8], [0.1]])
def test_probabilities_without_a_spread_are_no_trap(p: list[float]) -> None:
    found = expect_performance(np.array(p), seed=0, **SETTINGS)
    assert found["accuracy"]["value"] == pytest.approx(np.mean([value if value >= 0.3 else 1 - value for value in p]))
    for estimate in found.values():
        if np.isfinite([*estimate.values()]).all():
            assert estimate["low"] <= estimate["high"]


def test_realised_metrics_are_scikit_learns_and_within_their_interval() -> None:
    truth, p = draw(3, 800)
    found = measure_performance(truth, p, seed=0, **SETTINGS)
    for name, value in measure(truth, p).items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-9), name
        assert found[name]["low"] <= value <= found[name]["high"], name


def test_the_error_is_realised_less_expected_on_the_same_rows() -> None:
    truth, p = draw(4, 700, turned=0.2)
    realised, expected = measure(truth, p), expect_tally(p, 0.3, COST)
    errors = measure_error(truth, p, 0.3, COST)
    for name in NAMES:
        assert errors[name] == pytest.approx(realised[name] - expected[name], abs=1e-9), name
    areas = [measure_error(*draw(seed, 400), 0.3, COST)["roc_auc"] for seed in range(60)]
    assert abs(np.mean(areas)) < 3 * np.std(areas) / np.sqrt(60), "of a calibrated model it is 0 on average"
    assert measure_error(truth, p, 0.3, COST)["roc_auc"] < -0.05


# --- whether truths still agree


def test_the_baseline_is_plain_json(baseline: dict[str, Any]) -> None:
    assert json.loads(json.dumps(baseline, allow_nan=False)) == baseline
    truth, p = draw(12345, 3000)
    assert (baseline["rows"], baseline["rate"]) == (3000, truth.mean())
    assert baseline["metrics"]["roc_auc"]["value"] == pytest.approx(reference.roc_auc_score(truth, p))


def test_residuals_are_those_counted_by_hand() -> None:
    truth, p = draw(5, 600)
    found = measure_residuals(truth, p)
    assert found["calibration"]["mean"] == pytest.approx(truth.mean() - p.mean())
    assert found["brier"]["mean"] == pytest.approx(((truth - p) ** 2 - p * (1 - p)).mean())
    expected = expect_tally(p)["roc_auc"]
    assert found["roc_auc"]["mean"] == pytest.approx(reference.roc_auc_score(truth, p) - expected)
    assert found["calibration"]["variance"] == pytest.approx((truth - p).var() / 600)


@pytest.mark.parametrize(("a", "b"), [(1, 2), (3, 1), (1, 8)])
def test_other_rows_alone_are_no_decay(baseline: dict[str, Any], a: float, b: float) -> None:
    """Of a hundred windows one may ring; of sixty four and more do with a chance of 0.003."""
    rung = [
        bool(judge_decay(baseline, [draw(seed, 500, a, b)], **LIMITS)["decayed"].iloc[0]) for seed in range(60)
    ]  # fmt: skip
    assert sum(rung) <= 3


@pytest.mark.parametrize("turned", [0.25, 1.0])
def test_a_changed_relation_is_decay_from_its_first_window_on(baseline: dict[str, Any], turned: float) -> None:
    shares = [0, 0, 0, turned, turned, turned]
    table = judge_decay(baseline, [draw(seed, 600, turned=share) for seed, share in enumerate(shares)], **LIMITS)
    assert table["decayed"].tolist() == [share > 0 for share in shares]
    assert (table["roc_auc"][3:] < -0.05).all() and (table["p"][3:] < 1e-6).all()


def test_probabilities_that_are_off_are_decay_though_the_ranking_is_what_it_was(baseline: dict[str, Any]) -> None:
    truth, p = draw(6, 800)
    table = judge_decay(baseline, [(truth, np.round(np.clip(p + 0.15, 0, 1), 2))], **LIMITS)
    assert table["decayed"].all()
    assert table["calibration"].iloc[0] == pytest.approx(-0.13, abs=0.05) and table["roc_auc"].iloc[0] > -0.03


def test_a_small_decay_that_stays_is_found_by_the_longer_look(baseline: dict[str, Any]) -> None:
    alone = longer = 0
    for seed in range(20):
        windows = [draw(100 * seed + number, 300, turned=0.1) for number in range(3)]
        longer += bool(judge_decay(baseline, windows, **LIMITS)["decayed"].iloc[2])
        alone += bool(judge_decay(baseline, windows[2:], **LIMITS)["decayed"].iloc[0])
    assert longer >= alone + 5


def test_a_judgement_of_truths_knows_none_of_the_later_windows(baseline: dict[str, Any]) -> None:
    windows = [draw(seed, rows, turned=share) for seed, (rows, share) in enumerate(((300, 0), (40, 0.5), (300, 0.5)))]
    whole = judge_decay(baseline, windows, **LIMITS)
    for place in range(len(windows)):
        part = judge_decay(baseline, windows[: place + 1], **LIMITS)
        assert part.iloc[place].to_dict() == pytest.approx(whole.iloc[place].to_dict(), nan_ok=True)


@pytest.mark.filterwarnings("error")
def test_windows_without_truths_enough_are_not_judged(baseline: dict[str, Any]) -> None:
    nothing = (np.array([], dtype=np.int8), np.array([]))
    one_class = (np.zeros(300, dtype=np.int8), np.full(300, 0.3))
    few = draw(0, 30)
    table = judge_decay(baseline, [nothing, few, one_class, nothing, nothing, draw(1, 400)], **LIMITS)
    assert table["rows"].tolist() == [0, 30, 300, 0, 0, 400]
    assert table["p"].isna().tolist() == [True, True, True, True, True, False]
    assert table["decayed"].tolist() == [False] * 6


def test_few_truths_are_judged_with_those_of_the_windows_before(baseline: dict[str, Any]) -> None:
    table = judge_decay(baseline, [draw(seed, 45) for seed in range(3)], **LIMITS)
    assert table["p"].notna().tolist()[2] and table["used"].iloc[2] in (90, 135)


def test_an_effect_too_small_to_matter_is_not_told(baseline: dict[str, Any]) -> None:
    window = draw(8, 3000, turned=0.1)
    told, quiet = (judge_decay(baseline, [window], **{**LIMITS, "min_effect": least}) for least in (0.0, 0.2))
    assert told["p"].iloc[0] == quiet["p"].iloc[0]
    assert told["decayed"].iloc[0] and not quiet["decayed"].iloc[0]


@pytest.mark.parametrize(
    ("truths", "least", "expected"),
    [
        ([], 1, False), ([0, 0, 0], 1, False), ([1, 1], 1, False), ([0, 1], 1, False), ([0, 1, 0, 1], 1, True),
        ([0, 0, 1, 1], 2, True), ([0, 0, 1, 1], 3, False), ([0] * 50 + [1] * 20, 20, True), ([0] * 50 + [1] * 19, 20, False),
    ],
)  # fmt: skip
def test_both_classes_are_asked_for(truths: list[int], least: int, expected: bool) -> None:
    """Two rows of each at least: DeLong's variance needs them."""
    assert has_classes(np.array(truths, dtype=np.int8), least) is expected


# --- streams


def stream(seed: int, quiet: int, loud: int) -> list[float]:
    """Losses beyond what was promised, as truths come: calibrated ones, then those of a turned relation."""
    parts = [draw(seed, quiet), draw(seed + 1, loud, turned=0.6)]
    return [float(loss) for truth, p in parts for loss in (truth - p) ** 2 - p * (1 - p)]


@pytest.mark.parametrize("seed", range(3))
def test_streaming_detectors_find_a_planted_change_after_it(seed: int) -> None:
    found = detect_changes(stream(seed, 1500, 1500))
    assert set(found) == {"adwin", "page_hinkley"}
    for name, place in found.items():
        assert place is not None and 1500 <= place < 2400, name


@pytest.mark.parametrize("seed", range(3))
def test_streaming_detectors_find_nothing_where_nothing_is(seed: int) -> None:
    assert detect_changes(stream(seed, 3000, 0)) == {"adwin": None, "page_hinkley": None}


def test_streaming_detectors_take_an_empty_stream_and_know_no_future() -> None:
    assert detect_changes([]) == {"adwin": None, "page_hinkley": None}
    losses = stream(0, 800, 800)
    first = detect_changes(losses)
    for name, place in first.items():
        assert place is not None
        assert detect_changes(losses[: place + 1])[name] == place
        assert detect_changes(losses[:place])[name] is None
