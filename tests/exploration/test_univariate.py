import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from lifecycle.exploration.univariate import _measure_auc, measure_univariate_auc


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2))
def test_auc_equals_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    score, target = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    if 0 < target.sum() < len(target):
        assert _measure_auc(score, target) == pytest.approx(roc_auc_score(target, score))
    else:
        assert _measure_auc(score, target) == 0.5


def test_leaking_columns_have_a_high_auc() -> None:
    rng = np.random.default_rng(0)
    target = rng.random(2000) < 0.3
    frame = pd.DataFrame({
        "noise": rng.normal(size=2000),
        "against": -1.0 * target + rng.normal(0, 0.1, 2000),
        "category": np.where(target, rng.choice(["a", "b"], 2000), rng.choice(["c", "d"], 2000)),
        "absent": pd.array(np.where(target, np.nan, 1.0), dtype="float64"),
        "serial": [f"s{place}" for place in range(2000)],
        "whole": pd.array(rng.integers(0, 5, 2000), dtype="Int64"),
    })  # fmt: skip
    kinds = {name: "numeric" if name in ("noise", "against", "absent", "whole") else "categorical" for name in frame}
    found = measure_univariate_auc(frame, kinds, target, seed=1)  # type: ignore[arg-type]
    area = found.set_index("column")["roc_auc"]
    assert area[["against", "category", "absent"]].min() > 0.99
    assert area[["noise", "serial", "whole"]].max() < 0.55
    assert found.set_index("column")["by"]["absent"] == "presence"
    assert found["roc_auc"].is_monotonic_decreasing
    assert found.equals(measure_univariate_auc(frame, kinds, target, seed=1))  # type: ignore[arg-type]


def test_one_class_returns_an_empty_table() -> None:
    assert measure_univariate_auc(
        pd.DataFrame({"a": [1.0, 2.0]}), {"a": "numeric"}, np.array([True, True]), seed=0
    ).empty
