"""Whether the metric that models are chosen by tracks what the business counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from lifecycle.cli.readiness import load_rubric
from lifecycle.core import paths
from lifecycle.core.ranking import measure_roc_auc
from lifecycle.modeling.comparisons import lose_rows
from tests.support.champion import load_champion, read_settings, read_table, to_requests


def spoil_models() -> Iterator[np.ndarray]:
    """The champion's probabilities, then those of worse and worse models: one column more at a time tells nothing."""
    chance, rows = np.random.default_rng(0), to_requests(read_table())
    yield load_champion().score(rows)
    for name in load_champion().schema.columns:
        values = [row[name] for row in rows]
        for row, place in zip(rows, chance.permutation(len(rows)), strict=True):
            row[name] = values[place]
        yield load_champion().score(rows)


@pytest.mark.example
def test_models_that_rank_better_cost_less(checkout: Path) -> None:
    """ROC AUC on one half of the rows, the cost of decisions by the costs of params.yaml on the other half."""
    params, contract = read_settings()
    threshold, cost = load_champion().manifest.threshold, params.train.cost.model_dump()
    target = (read_table()[contract.target] == contract.positive).to_numpy()
    measured = np.arange(len(target)) % 2 == 0
    areas, costs = [], []
    for probability in spoil_models():
        areas.append(measure_roc_auc(probability[measured], target[measured]))
        costs.append(lose_rows(target[~measured], probability[~measured], threshold, cost)["cost"].mean())
    assert areas[0] - areas[-1] > 0.2, "good models and bad ones are compared"
    bound = load_rubric(checkout / paths.RUBRIC).find_row("M2").bounds["rank_correlation"]
    assert spearmanr(areas, costs).statistic <= -bound
