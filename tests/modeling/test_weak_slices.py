"""Error analysis: what a search finds by chance is not confirmed, and a planted fault is found and confirmed."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from lifecycle.modeling.weak_slices import confirm_weak_slices, find_weak_slices
from lifecycle.reporting import pages
from lifecycle.reporting.decisions import describe_weak_slices, tabulate_suspects, tabulate_weak_slices

Part = tuple[np.ndarray, np.ndarray, dict[str, pd.Series]]


def draw_part(rows: int, seed: int, planted: float = 0.0) -> Part:
    """Outcomes drawn from their probabilities, but for the pair a = 1, b = 2, in which `planted` is added to the log-odds."""
    rng = np.random.default_rng(seed)
    columns = {name: rng.integers(0, 3, rows) for name in "abcde"}
    probability = rng.beta(1, 2, rows)
    pair = (columns["a"] == 1) & (columns["b"] == 2)
    odds = probability / (1 - probability) * np.where(pair, math.exp(planted), 1.0)
    target = (rng.random(rows) < odds / (1 + odds)).astype(int)
    return target, probability, {name: pd.Series(values.astype(str)) for name, values in columns.items()}


def analyse(train: Part, test: Part, most: int = 3) -> list[dict]:
    suspects = [suspect.to_json() for suspect in find_weak_slices(*train, most, seed=0)]
    return confirm_weak_slices(suspects, *test, significance=0.05)


def test_what_a_search_finds_by_chance_is_not_confirmed() -> None:
    """Forty models without a fault: the search mostly finds suspects, and hardly any is confirmed."""
    suspected, confirmed, tested_where_found = 0, 0, 0
    for seed in range(40):
        train = draw_part(1000, 2 * seed)
        found = analyse(train, draw_part(400, 2 * seed + 1))
        suspected += bool(found)
        confirmed += any(record["confirmed"] for record in found)
        tested_where_found += any(record["confirmed"] for record in analyse(train, train))
    assert suspected >= 32 and tested_where_found >= 30  # who tests where he searched finds a fault in most of them
    assert confirmed <= 5  # more than that happen in one of seventy cases if five in a hundred are false


def test_a_planted_pair_is_found_and_confirmed() -> None:
    found = analyse(draw_part(6000, 0, planted=1.5), draw_part(1500, 1, planted=1.5))
    assert found and sum(bool(record["confirmed"]) for record in found) >= 1
    planted = next(record for record in found if record["kind"] == "under")
    assert planted["values"] == {"a": "1", "b": "2"} and planted["confirmed"] and planted["p"] < 0.01
    assert planted["rate"] > planted["predicted"] + 0.1 and planted["loss"] > planted["expected"]
    assert all(record["values"] == {"a": "1", "b": "2"} for record in found if record["confirmed"])
    said = describe_weak_slices(found, 0.05)
    assert "`a = 1, b = 2`: the model predicts too little" in said
    opposite = analyse(draw_part(6000, 0, planted=-1.5), draw_part(1500, 1, planted=-1.5))
    assert any(record["kind"] == "over" and record["confirmed"] for record in opposite)


def test_rows_that_are_hard_to_tell_apart_are_not_called_wrong() -> None:
    """Fair coins beside near certainties: a high loss that the probabilities expect."""
    rng = np.random.default_rng(0)

    def draw() -> Part:
        coin = rng.random(2000) < 0.3
        probability = np.where(coin, 0.5, 0.05)
        return (
            (rng.random(2000) < probability).astype(int),
            probability,
            {"g": pd.Series(np.where(coin, "coin", "sure")), "h": pd.Series(rng.choice(["x", "y"], 2000))},
        )

    found = analyse(draw(), draw())
    assert [record["values"] for record in found if record["confirmed"]] == [{"g": "coin"}]
    assert "these rows are hard to tell apart, not wrongly predicted" in describe_weak_slices(found, 0.05)


def suspect(kind: str, **values: str) -> dict:
    measures = {"rows": 90, "rate": 0.5, "predicted": 0.4, "loss": 0.7, "expected": 0.6, "rest": 0.5, "effect": 0.3}
    return {"kind": kind, "values": values, **measures}


def test_p_is_corrected_for_the_number_of_tests_and_the_direction_counts() -> None:
    target, probability, slices = draw_part(1500, 3, planted=1.2)
    pair = suspect("under", a="1", b="2")
    (alone,) = confirm_weak_slices([pair], target, probability, slices, 0.05)
    many = [suspect("under", c="1"), pair, suspect("over", d="2"), suspect("under", c="9")]
    found = confirm_weak_slices(many, target, probability, slices, 0.05)
    assert alone["confirmed"] and found[1]["p"] == pytest.approx(3 * alone["p"])  # the fourth has no rows to test
    assert found[3]["p"] is None and found[3]["confirmed"] is None and found[3]["rows"] == 0
    (against,) = confirm_weak_slices([suspect("over", a="1", b="2")], target, probability, slices, 0.05)
    assert against["p"] > 0.9 and not against["confirmed"]


def test_copies_of_rows_are_no_evidence() -> None:
    """Ten copies of each of a hundred and fifty rows: the suspect has too few entities, or the same p as without copies."""
    target, probability, slices = draw_part(800, 5, planted=0.6)
    pair = [suspect("under", a="1")]
    (alone,) = confirm_weak_slices(pair, target, probability, slices, 0.05)
    copies = np.repeat(np.arange(800), 10)
    many = {name: column.iloc[copies].reset_index(drop=True) for name, column in slices.items()}
    (grouped,) = confirm_weak_slices(pair, target[copies], probability[copies], many, 0.05, copies)
    (naive,) = confirm_weak_slices(pair, target[copies], probability[copies], many, 0.05)
    assert grouped["p"] == pytest.approx(alone["p"], abs=0.02) and abs(naive["p"] - alone["p"]) > 0.03
    few = np.repeat(np.arange(40), 20)
    (unmeasured,) = confirm_weak_slices(
        pair, target[few], probability[few], {"a": slices["a"].iloc[few].reset_index(drop=True)}, 0.05, few
    )
    assert unmeasured["rows"] >= 100 and unmeasured["confirmed"] is None


def test_suspects_are_few_the_same_twice_and_cover_different_rows() -> None:
    target, probability, slices = draw_part(3000, 7, planted=1.5)
    first, second = (find_weak_slices(target, probability, slices, 2, seed=0) for _ in range(2))
    assert first == second
    assert sum(each.kind == "loss" for each in first) <= 2 and sum(each.kind != "loss" for each in first) <= 2
    assert all(each.rows >= 80 for each in first)
    assert find_weak_slices(target, probability, slices, 0, seed=0) == []
    assert find_weak_slices(target, probability, {}, 2, seed=0) == []


def test_tables_are_escaped() -> None:
    rows = [suspect("over", town="<b>")]
    assert "town = &lt;b&gt;" in pages.render_table(tabulate_suspects(rows))
    target, probability, _ = draw_part(300, 1)
    found = confirm_weak_slices(rows, target, probability, {"town": pd.Series(["<b>", "c", "d"] * 100)}, 0.05)
    assert "<b>" not in pages.render_table(tabulate_weak_slices(found))
    missing = confirm_weak_slices([suspect("over", gone="x")], target, probability, {}, 0.05)
    assert "too few rows" in pages.render_table(tabulate_weak_slices(missing))
    assert "No group of rows stood out" in describe_weak_slices([], 0.05)
