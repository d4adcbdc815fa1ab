"""Tests of the principal components: their errors on later rows, on many columns and on extreme numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lifecycle.monitoring import components
from lifecycle.monitoring.drift import MULTIVARIATE, compare_window
from lifecycle.monitoring.reference import Kind, build_reference, count_window


def draw_rows(rows: int, columns: int, seed: int, mixing: float = 0.5) -> pd.DataFrame:
    """Rows of one population: normal numbers with something in common."""
    generator = np.random.default_rng(seed)
    common = generator.normal(size=(rows, 1))
    values = mixing * common + generator.normal(size=(rows, columns))
    return pd.DataFrame(values, columns=[f"x{place}" for place in range(columns)])


@pytest.mark.parametrize(("rows", "columns"), [(300, 10), (1400, 50), (4000, 100)])
def test_later_rows_of_the_same_population_do_not_drift(rows: int, columns: int) -> None:
    """They would drift if the errors were compared with those of the rows that the components were fitted on."""
    ps = []
    for seed in range(8):
        frame = draw_rows(rows, columns, seed)
        reference = build_reference(frame, dict.fromkeys(frame.columns, "numeric"))
        table = compare_window(reference, count_window(draw_rows(rows, columns, 1000 + seed), reference))
        ps.append(table.set_index("column").loc[MULTIVARIATE, "p"])
    assert min(ps) > 1e-4 and np.mean(np.array(ps) < 0.05) <= 0.25


def test_many_columns_are_measured_on_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = draw_rows(2000, 8, 0)
    kinds: dict[str, Kind] = dict.fromkeys(frame.columns, "numeric")
    assert build_reference(frame, kinds)["components"]["rows"] == 1500, (
        "errors are measured on three rows in four; the components are fitted on the others"
    )
    monkeypatch.setattr(components, "_CELLS", 8 * 400)
    assert build_reference(frame, kinds)["components"]["rows"] == 300
    monkeypatch.setattr(components, "_CELLS", 8 * 20)
    assert build_reference(frame, kinds)["components"] is None


@pytest.mark.parametrize("value", [1e160, -1e200, 1.7e308])
def test_extreme_numbers_hardly_move_the_components(value: float) -> None:
    frame = draw_rows(400, 3, 0)
    reference = build_reference(frame, dict.fromkeys(frame.columns, "numeric"))
    window = draw_rows(400, 3, 1)
    window.loc[[0, 1], "x0"] = value
    table = compare_window(reference, count_window(window, reference)).set_index("column")
    assert table.loc["x0", "psi"] < 0.15 and table.loc[["x1", "x2"], "p"].min() > 0.001
