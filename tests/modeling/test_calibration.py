import numpy as np
import pytest
from sklearn.metrics import average_precision_score, log_loss

from lifecycle.modeling.calibration import (
    CalibratedClassifier,
    Calibrator,
    _to_log_odds,
    choose_calibration,
    compare_calibrations,
)


@pytest.fixture
def overconfident() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.random(5000)
    logit = 2.5 * _to_log_odds(truth) + 0.7
    return 1 / (1 + np.exp(-logit)), (rng.random(5000) < truth).astype(int)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_overconfidence_is_corrected(overconfident: tuple[np.ndarray, np.ndarray], method: str) -> None:
    probability, target = overconfident
    mended = Calibrator(method).fit(probability, target).predict(probability)
    assert log_loss(target, mended) < log_loss(target, np.clip(probability, 1e-6, 1 - 1e-6)) - 0.05
    order = np.argsort(probability)
    assert (np.diff(mended[order]) >= 0).all()
    for low in (0.1, 0.4, 0.7):
        inside = (mended >= low) & (mended < low + 0.2)
        assert abs(mended[inside].mean() - target[inside].mean()) < 0.05


def test_sigmoid_is_the_line_in_log_odds(overconfident: tuple[np.ndarray, np.ndarray]) -> None:
    calibrator = Calibrator("sigmoid").fit(*overconfident)
    assert calibrator.slope_ == pytest.approx(1 / 2.5, rel=0.15)
    assert calibrator.predict(np.array([0.0, 1.0])) == pytest.approx([0, 1], abs=0.05)


def test_none_changes_nothing(overconfident: tuple[np.ndarray, np.ndarray]) -> None:
    probability, target = overconfident
    np.testing.assert_array_equal(Calibrator("none").fit(probability, target).predict(probability), probability)


def test_the_comparison_prefers_the_calibration_that_is_needed(overconfident: tuple[np.ndarray, np.ndarray]) -> None:
    probability, target = overconfident
    compared = compare_calibrations(probability, target, np.arange(5000) % 5)
    losses = compared["log_loss"]
    assert losses["sigmoid"] < losses["isotonic"] < losses["none"]
    assert compared.loc["sigmoid", "error"] == 0 < compared.loc["none", "error"]
    assert choose_calibration(compared) == "sigmoid"


def test_a_calibration_that_is_not_needed_is_not_chosen() -> None:
    """Of calibrated probabilities, another map that is lower by chance alone is not taken."""
    rng = np.random.default_rng(1)
    chosen = []
    for _ in range(20):
        truth = rng.random(1000)
        target = (rng.random(1000) < truth).astype(int)
        chosen.append(choose_calibration(compare_calibrations(truth, target, np.arange(1000) % 5)))
    assert chosen.count("none") >= 18


def test_isotonic_calibration_keeps_the_ranking() -> None:
    """The demonstration: a thousand scores became 22, and PR AUC 0.871 became 0.855."""
    rng = np.random.default_rng(3)
    score = rng.beta(1, 1, 1000)
    target = (rng.random(1000) < score**1.5).astype(int)
    mended = Calibrator("isotonic").fit(score, target).predict(score)
    assert len(np.unique(mended)) == 1000
    assert (np.diff(mended[np.argsort(score)]) > 0).all()
    assert average_precision_score(target, mended) == pytest.approx(average_precision_score(target, score), abs=1e-12)
    assert Calibrator("isotonic").fit(score, target).predict(np.array([0.0, 1.0])) == pytest.approx([0, 1], abs=0.1)


def test_columns_follow_the_classes() -> None:
    """A classifier that lists its classes the other way round must not swap the probabilities."""

    class Reversed:
        classes_ = np.array([1, 0])

        def predict_proba(self, X: np.ndarray) -> np.ndarray:
            return np.column_stack([np.full(len(X), 0.9), np.full(len(X), 0.1)])

    model = CalibratedClassifier(Reversed(), Calibrator("none"))
    np.testing.assert_allclose(model.predict_proba(np.zeros((2, 1))), [[0.1, 0.9]] * 2)
    assert model.predict(np.zeros((2, 1))).tolist() == [1, 1]
