"""The curves of a probability: those of scikit-learn, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from lifecycle.modeling import curves


def draw_scores(rows: int, digits: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and the probabilities they were drawn with, rounded: two digits give many ties."""
    rng = np.random.default_rng(0)
    probability = np.round(rng.beta(1, 2, rows), digits)
    return (rng.random(rows) < probability).astype(int), probability


def test_curves_are_those_of_scikit_learn() -> None:
    target, probability = draw_scores(500, 2)
    roc = curves.trace_roc(target, probability, points=10_000)
    assert reference.auc(roc["false_positive_rate"], roc["true_positive_rate"]) == pytest.approx(
        reference.roc_auc_score(target, probability)
    )
    precision, recall, _ = reference.precision_recall_curve(target, probability)
    pr = curves.trace_pr(target, probability, points=10_000)
    np.testing.assert_allclose(pr["precision"], precision[:-1][::-1])
    np.testing.assert_allclose(pr["recall"], recall[:-1][::-1])
    assert len(curves.trace_roc(target, probability, points=20)) == 20


def test_gain_by_hand() -> None:
    target, probability = np.array([1, 0, 1, 0, 0]), np.array([0.9, 0.8, 0.7, 0.2, 0.1])
    gain = curves.trace_gain(target, probability, steps=5)
    assert gain["gain"].tolist() == pytest.approx([0.5, 0.5, 1.0, 1.0, 1.0])
    assert gain["lift"].tolist() == pytest.approx([2.5, 1.25, 5 / 3, 1.25, 1.0])
    flat = curves.trace_gain(np.array([1, 0]), np.array([0.5, 0.5]), steps=4)
    assert flat["lift"].tolist() == pytest.approx([1.0] * 4)  # equal scores: as good as picking at random


def test_calibration_bins_hold_all_rows() -> None:
    target, probability = draw_scores(1000, 12)
    table = curves.trace_calibration(target, probability)
    assert table["rows"].tolist() == [100] * 10
    assert (table["observed"] @ table["rows"]) == pytest.approx(target.sum())
    assert (table["low"] <= table["observed"]).all() and (table["observed"] <= table["high"]).all()
