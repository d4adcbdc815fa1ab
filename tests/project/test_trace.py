"""One request, step by step: what a person who wants to know where a probability comes from can look at, and in which order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lifecycle.serving.bundle import encode_row, load_bundle
from tests.support.bundles import ROW, WEIGHTS, compute_probability, write_small_bundle
from tests.support.champion import load_champion

SPEND = 50.0  # what fills a gap in the small bundle


@pytest.mark.parametrize("spend", [40.5, None])
@pytest.mark.parametrize("plan", [*WEIGHTS, None])
def test_each_step_is_what_the_definition_says(tmp_path: Any, spend: float | None, plan: str | None) -> None:
    """A model of known weights: the row, its numbers, gaps filled, the model's columns, log-odds, the probability."""
    write_small_bundle(tmp_path / "bundle", "m" * 64, 0.3)
    bundle = load_bundle(tmp_path / "bundle")
    request = {**ROW, "spend": spend, "plan": plan}
    parsed = bundle.schema.parse(encode_row(request))
    (row,) = parsed.rows
    assert (row, parsed.listed) == (request, False)

    inputs = bundle.scorer.model.inputs
    assert [name for name, _ in inputs.numbers] == ["months", "spend", "pace"]
    gap = math.nan if spend is None else spend
    numbers = inputs.read_numbers([row])
    np.testing.assert_allclose(numbers, [[12, gap, gap / 13]])
    filled = [[12, 50, 50] if spend is None else [12, spend, spend / 13]]
    np.testing.assert_allclose(inputs.fill_gaps(numbers), filled)
    columns = inputs.build_matrix([row])
    np.testing.assert_allclose(columns, [[*filled[0], *(float(plan == level) for level in WEIGHTS)]])

    log_odds = 0.3 + columns[0] @ [-0.04, 0.01, 0.02, *WEIGHTS.values()]
    probability = bundle.scorer.model.predict_one(row)
    assert math.log(probability / (1 - probability)) == pytest.approx(log_odds)
    assert bundle.scorer.calibrate_one(probability) == bundle.score_one(row)
    assert bundle.score_one(row) == pytest.approx(compute_probability(request, 0.3))


def test_the_champions_golden_requests_can_be_followed() -> None:
    """The same steps lead from a request to the answer that the fitted model gave when it was compiled."""
    bundle = load_champion()
    for record in bundle.golden:
        (row,) = bundle.schema.parse(encode_row(record["request"])).rows
        inputs = bundle.scorer.model.inputs
        numbers = inputs.read_numbers([row])
        for place, expression in inputs.derived.items():
            alone = expression.evaluate({name: np.array([row[name]]) for name in expression.columns})
            np.testing.assert_array_equal(numbers[0, place], alone[0])
        columns = inputs.build_matrix([row])
        assert np.isfinite(inputs.fill_gaps(numbers)).all() and columns.shape == (1, len(inputs.order))
        probability = bundle.scorer.model.predict_one(row)
        assert bundle.scorer.calibrate_one(probability) == pytest.approx(record["probability"], abs=1e-9)
