"""Tests of rows that are not independent: entities with several rows are quiet, and a real change in them is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.monitoring.degradation import describe_performance, judge_degradation
from lifecycle.monitoring.drift import compare_window, judge_windows
from lifecycle.monitoring.entities import (
    code_entities,
    correlate_codes,
    correlate_numbers,
    count_together,
    inflate,
    sketch_entities,
)
from lifecycle.monitoring.reference import Kind, build_reference, count_window

ROWS = 20  # of an entity
KINDS: dict[str, Kind] = {"x": "numeric", "kind": "categories", "gap": "numeric"}


def draw(entities: int, seed: int, shift: float = 0.0) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    """Rows of entities that resemble one another, and the entity of each; `shift` moves x."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(entities), ROWS)
    x = 0.7 * rng.normal(size=entities)[codes] + 0.7 * rng.normal(size=len(codes)) + shift
    kind = rng.choice(["a", "b", "c"], entities, p=[0.5, 0.3, 0.2])[codes]
    gap = np.where((rng.random(entities) < 0.2)[codes], np.nan, rng.normal(size=len(codes)))
    return pd.DataFrame({"x": x, "kind": kind, "gap": gap}), codes


def name(codes: np.ndarray[Any, Any], month: int) -> pd.Series:
    """Names of entities that occur in one month only."""
    return pd.Series([f"{month}-{code}" for code in codes], dtype=object)


def count_fired(references: int, shift: float, named: bool = True) -> tuple[int, int]:
    """In how many of six windows of each reference any column fires, and in how many there is x among them."""
    fired = found = 0
    for seed in range(references):
        held_out, codes = draw(70, 1000 + seed)
        reference = build_reference(held_out, KINDS, entities=codes if named else None)
        windows = []
        for month in range(6):
            frame, entities = draw(25, 10_000 + 10 * seed + month, shift)
            windows.append(count_window(frame, reference, name(entities, month) if named else None))
        for table in judge_windows(reference, windows, false_alarms=0.01, min_rows=200, min_psi=0.01):
            assert table is not None
            fired += bool(table["drifted"].any())
            found += bool(table.set_index("column")["drifted"]["x"])
    return fired, found


def test_quiet_windows_of_entities_fire_at_the_nominal_rate() -> None:
    """Of 72 windows one may fire; four and more do with a chance of 0.006 if windows were independent."""
    assert count_fired(12, 0.0)[0] <= 3
    assert count_fired(2, 0.0, named=False)[0] >= 8, "taken as independent rows, most windows fire"


def test_a_real_change_in_a_column_of_entities_is_found() -> None:
    assert count_fired(4, 1.2)[1] >= 20


def test_an_entity_in_several_parts_counts_once() -> None:
    frame, codes = draw(25, 1)
    reference = build_reference(frame, KINDS, entities=codes)
    names, every = name(codes, 0), np.arange(len(frame)) % 2 == 0
    whole = count_window(frame, reference, names)
    parts = [count_window(frame[rows], reference, names[rows]) for rows in (every, ~every)]
    joined = parts[0] + parts[1]
    assert joined.together == whole.together == pytest.approx(ROWS)
    again = whole + count_window(frame, reference, names)
    assert again.together == pytest.approx(2 * ROWS), "the same entities a month later are no further ones"
    other = whole + count_window(frame, reference, name(codes, 1))
    assert other.together == pytest.approx(ROWS, rel=0.15)
    alone = whole + count_window(frame, reference)
    assert alone.together == pytest.approx((ROWS + 1) / 2), "rows without a name are entities of their own"
    assert (count_window(frame, reference) + count_window(frame, reference)).together == 1.0


def test_a_sketch_of_many_entities_is_right_to_a_few_percent() -> None:
    sizes = np.random.default_rng(3).integers(1, 9, 20_000)
    names = pd.Series(np.repeat(np.arange(20_000), sizes).astype(str))
    sketch = sketch_entities(names)
    assert sketch is not None and sketch.pairs == pytest.approx((sizes**2).sum(), rel=0.1)
    assert sketch_entities(pd.Series([None, None], dtype=object)) is None


@pytest.mark.parametrize("correlation", [0.0, 0.2, 0.6, 1.0])
def test_the_correlation_is_found_and_not_understated(correlation: float) -> None:
    rng = np.random.default_rng(5)
    entities = np.repeat(np.arange(400), 5)
    values = np.sqrt(correlation) * rng.normal(size=400)[entities]
    values += np.sqrt(1 - correlation) * rng.normal(size=2000)
    assert correlation - 1e-9 <= correlate_numbers(values, entities) <= correlation + 0.1
    same = np.where(
        rng.random(2000) < np.sqrt(correlation), rng.integers(0, 3, 400)[entities], rng.integers(0, 3, 2000)
    )
    assert correlation - 1e-9 <= correlate_codes(same, entities) <= correlation + 0.1


def test_without_a_repeated_entity_rows_are_taken_to_be_alike() -> None:
    assert correlate_numbers(np.arange(9.0), np.arange(9)) == 1.0 and count_together(None) == 1.0
    assert inflate(5.0, 1.0) == 5.0 and inflate(5.0, 0.0) == 1.0 and inflate(0.9, 1.0) == 1.0
    assert code_entities(pd.Series(["a", "b", None, None])) is None
    codes = code_entities(pd.Series(["a", "b", "a", None, None]))
    assert codes is not None and codes.tolist() == [0, 1, 0, 2, 3]


def test_a_reference_of_an_older_version_counts_entities() -> None:
    """It does not know how much rows of an entity resemble one another, so that they are taken to be alike."""
    frame, _ = draw(70, 1)
    older = build_reference(frame, KINDS)
    assert "rows_together" not in older and "correlation" not in older["columns"]["x"]
    now, entities = draw(25, 2, 0.3)
    known, unknown = (
        compare_window(older, count_window(now, older, names)).set_index("column")["p"]["x"]
        for names in (name(entities, 0), None)
    )
    assert unknown < 1e-4 < known


SETTINGS: dict[str, Any] = {"threshold": 0.3, "cost": {"false_positive": 1.0, "false_negative": 3.0}, "seed": 0}
LIMITS: dict[str, Any] = {"false_alarms": 0.01, "min_class": 20, "min_effect": 0.02}


def label(entities: int, seed: int, off: float = 0.0) -> tuple[tuple[Any, Any], np.ndarray[Any, Any]]:
    """Labels that an entity's habit moves, which the probabilities do not know; `off` makes them too low for all."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(entities), ROWS)
    signal = rng.normal(-1.0, 1.0, len(codes))
    habit = rng.normal(0, 0.7, entities)[codes]
    target = (rng.random(len(codes)) < 1 / (1 + np.exp(-signal - habit - off))).astype(int)
    return (target, 1 / (1 + np.exp(-0.9 * signal))), codes


@pytest.mark.parametrize(("off", "least", "most"), [(0.0, 0, 1), (1.6, 7, 8)])
def test_degradation_is_judged_by_entity(off: float, least: int, most: int) -> None:
    degraded = 0
    for seed in range(2):
        (target, p), codes = label(70, 500 + seed)
        baseline = describe_performance(target, p, entities=codes, **SETTINGS)
        drawn = [label(25, 7000 + 10 * seed + month, off) for month in range(4)]
        names = [name(entities, month) for month, (_, entities) in enumerate(drawn)]
        table = judge_degradation(baseline, [rows for rows, _ in drawn], entities=names, **LIMITS)
        degraded += int(table["degraded"].sum())
    assert least <= degraded <= most
