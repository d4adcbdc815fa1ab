import numpy as np
import pytest
from sklearn.metrics import log_loss

from lifecycle.modeling.calibration import CalibratedClassifier, Calibrator, _to_log_odds, compare_calibrations


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
    losses = compare_calibrations(probability, target, np.arange(5000) % 5)
    assert losses["sigmoid"] < losses["isotonic"] < losses["none"]


def test_columns_follow_the_classes() -> None:
    """A classifier that lists its classes the other way round must not swap the probabilities."""

    class Reversed:
        classes_ = np.array([1, 0])

        def predict_proba(self, X: np.ndarray) -> np.ndarray:
            return np.column_stack([np.full(len(X), 0.9), np.full(len(X), 0.1)])

    model = CalibratedClassifier(Reversed(), Calibrator("none"))
    np.testing.assert_allclose(model.predict_proba(np.zeros((2, 1))), [[0.1, 0.9]] * 2)
    assert model.predict(np.zeros((2, 1))).tolist() == [1, 1]
