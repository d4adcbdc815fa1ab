"""Benchmarks in sizes that take a moment: what they count is what they say that they count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import validation
from benchmarks.drift import __main__ as detection
from benchmarks.drift import detectors, speed
from benchmarks.drift.results import Results
from benchmarks.drift.rules import OURS, list_rules, move_limit
from benchmarks.drift.tables import make_table, write_table
from benchmarks.drift.trials import QUIET, Setting, find_changed, run_trial
from benchmarks.store import __main__ as store
from lifecycle.core.errors import ProjectError
from lifecycle.monitoring.drift import MULTIVARIATE, judge_windows
from lifecycle.monitoring.reference import Kind, count_window, sketch_reference
from lifecycle.monitoring.scenarios import draw_month
from lifecycle.stages.deploy import choose_kinds
from tests.support.contracts import make_contract
from tests.support.servers import start_redis

RULES = list_rules(0.01)


def make_setting(table: pd.DataFrame, **scenarios: dict[str, Any]) -> Setting:
    contract = make_contract()
    kinds: dict[str, Kind] = choose_kinds(contract, [{"name": name} for name in contract.columns])
    described = {name: {**QUIET, "begin": 3, **scenario} for name, scenario in scenarios.items()}
    return Setting(table, contract, kinds, described, 300, 120, 4, 3, min_rows=50, min_psi=0.01)


def make_results(generator: np.random.Generator) -> Results:
    """Scores that chance gave, of everything that the benchmark lets happen."""
    names = detection.list_scenarios()
    shape = (20, len(RULES), detection.WINDOWS - detection.BEGIN + 1)
    named = {name: generator.normal(size=shape) for name in names}
    loudest = {name: scores + generator.random(shape) for name, scores in named.items()}
    return Results(RULES, generator.normal(size=(50, len(RULES), detection.WINDOWS)), loudest, named)


def test_a_moved_limit_is_the_lowest_that_rings_no_more_often() -> None:
    scores = np.array([[3.0, 1.0, 1.0, -np.inf], [2.0, 1.0, 0.0, -np.inf]])
    for most in range(scores.size + 1):
        limit = move_limit(scores, most)
        assert (scores >= limit).sum() <= most
        below = scores[scores < limit]
        assert not below.size or (scores >= below.max()).sum() > most
    assert (scores >= move_limit(scores, 3)).sum() == 2, "three ring alike: all of them or none"


def test_our_score_at_its_limit_is_what_monitoring_calls_drifted(customers: pd.DataFrame) -> None:
    setting = make_setting(customers, more={"kind": "scale", "column": "spend", "factor": 1.3})

    def draw(month: int, rows: int) -> pd.DataFrame:
        return draw_month(customers, setting.scenarios["more"], setting.contract, month=month, rows=rows, seed=0)

    reference = sketch_reference(draw(0, 300), setting.kinds)
    counts = [count_window(draw(month, 120), reference) for month in range(1, 5)]
    as_is, scored = (
        judge_windows(reference, counts, false_alarms=level, min_rows=50, min_psi=0.01) for level in (0.01, 1.0)
    )
    rang = []
    for table, other in zip(as_is, scored, strict=True):
        assert table is not None and other is not None
        score = RULES[OURS].score(other, reference)
        assert ((score >= RULES[OURS].limit) == table["drifted"]).all()
        assert ((RULES["sigma"].score(other, reference) > 2) == table["moved"]).all()
        rang.append(bool(table["drifted"].any()))
    assert not any(rang[:2]) and any(rang[2:])


def test_a_trial_is_the_seeds_and_names_what_changed(customers: pd.DataFrame) -> None:
    setting = make_setting(
        customers,
        more={"kind": "scale", "column": "spend", "factor": 1.5},
        turned={"kind": "reverse", "column": "spend"},
        same={"kind": "scale", "column": "spend", "factor": 1.0},
    )
    changed = {name: find_changed(setting, scenario) for name, scenario in setting.scenarios.items()}
    one, again, other = (run_trial(RULES, changed, setting, seed) for seed in (1, 1, 2))
    assert (one.quiet == again.quiet).all() and (one.quiet != other.quiet).any()
    assert one.quiet.shape == (4, 4) and one.named["more"].shape == (4, 2)
    limits = np.array([[rule.limit] for rule in RULES.values()])
    rang = dict(zip(RULES, one.named["more"] >= limits, strict=True))
    assert rang[OURS].all() and rang["psi"].all() and rang["ks"].all() and not rang["sigma"].any()
    assert (one.loudest["same"] == one.quiet[:, 2:]).all(), "the months of a scenario are those of a quiet time"
    assert all((one.named[name] <= one.loudest[name]).all() for name in changed)
    assert np.isinf(one.named["turned"][1:]).all(), (
        "only all columns together can tell, and no textbook rule looks at them"
    )


def test_what_changes_with_a_column_may_be_named_too() -> None:
    table = pd.DataFrame(
        [(plan, senior, months) for plan in ("basic", "pro") for senior in (0, 1) for months in (1, 2, 3)],
        columns=["plan", "senior", "months"],
    ).assign(spend=lambda frame: np.where(frame["plan"] == "pro", 9.0, 5.0), left="no")
    scenario = {**QUIET, "kind": "mix", "column": "plan", "category": "pro", "factor": 2.0}
    setting = make_setting(table)
    assert find_changed(setting, scenario) == {MULTIVARIATE, "plan", "spend"}
    assert find_changed(setting, {**scenario, "factor": 1.01}) == {MULTIVARIATE}
    assert find_changed(setting, {**QUIET, "kind": "reverse", "column": "months"}) == {MULTIVARIATE}


def test_delays_alarms_and_equal_limits_are_counted() -> None:
    quiet = np.array([[[-0.5, -0.001], [1.0, 0.5]], [[-0.3, -0.2], [3.0, 0.1]]])  # (runs, rules, windows)
    named = np.array([[[-0.5, -0.001], [5.0, 5.0]], [[-0.9, -0.9], [0.0, 5.0]]])
    results = Results({name: RULES[name] for name in (OURS, "sigma")}, quiet, {"it": named}, {"it": named})
    alarms = results.count_alarms(OURS, -0.01)
    assert (alarms.count, alarms.windows, alarms.rate, alarms.runs) == (1, 4, 0.25, 0.5)
    assert alarms.bounds[0] <= alarms.rate <= alarms.bounds[1] and alarms.run_bounds[0] < 0.5 < alarms.run_bounds[1]
    ours, theirs = results.find("it", OURS, -0.01), results.find("it", "sigma", 2.0)
    assert ours.named == 0.5 and ours.delays.tolist() == [2, 3] and ours.rings == 0.25
    assert theirs.named == 1.0 and theirs.delays.tolist() == [1, 2]
    match = results.list_matches("sigma")[0]
    assert (match.ours, match.other) == (-0.01, np.nextafter(1.0, 2.0))
    assert results.compare("sigma", match, ["it"]) == (1.0, 0.0)


def test_results_are_told_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = make_results(np.random.default_rng(0))
    detection.show_usual(results)
    detection.show_matched(results, "psi")
    printed = capsys.readouterr().out
    assert all(printed.count(scenario) == 2 for scenario in detection.list_scenarios())
    assert all("is quicker, at" in line for line in detection.list_lost(results, "psi"))
    detection.draw_delays(results, tmp_path / "drift.png")
    assert (tmp_path / "drift.png").read_bytes().startswith(b"\x89PNG")


def test_tables_are_of_one_population_and_every_column_is_compared(tmp_path: Path) -> None:
    write_table(tmp_path / "reference.parquet", 1500, 6, seed=0)
    for place in range(2):
        write_table(tmp_path / f"window-{place}.parquet", 700, 6, seed=1 + place)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "window-0.parquet"), make_table(700, 6, seed=1))
    seconds: dict[str, float] = {}
    assert detectors.measure_scipy(tmp_path, seconds) == 6 and seconds["window"] > 0
    cost = speed.run_detector(OURS, tmp_path, 6)  # of both parts
    assert cost.reference > 0 and cost.window > 0 and cost.megabytes > 10


def test_stores_are_compared_by_the_tables_values_and_by_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = store.make_table()
    embedded = store.open_ours(table, tmp_path, "sqlite:///cache.db")
    store.check_values(store.SQLITE, embedded, table)
    with pytest.raises(ProjectError, match="float_0 of 0 is"):
        store.check_values(store.SQLITE, embedded, table.assign(float_0=0.5))
    with start_redis(tmp_path / "redis") as url:
        contenders = {store.REDIS: store.open_ours(table, tmp_path, url), store.BARE: store.open_bare(table, url)}
        for name, contender in contenders.items():
            store.check_values(name, contender, table)
        one, many = store.compare(contenders, calls=5, rounds=2)
    assert all(len(seconds) == 10 and (seconds > 0).all() for seconds in one.values()) and min(many.values()) > 1000
    store.show(one, many)
    assert capsys.readouterr().out.count("×") == 6
    slow = {**one, store.FEAST: one[store.REDIS] * 4.9}
    assert [kept for kept, _ in store.judge(slow)[:2]] == [False, False]
    assert all(kept for kept, _ in store.judge({**slow, store.FEAST: one[store.REDIS] * 5.1})[:2])


def test_validation_counts_what_duckdb_and_pandera_count(tmp_path: Path) -> None:
    validation.write_made(20_000, tmp_path / "made.parquet")
    found = {name: run(tmp_path / "made.parquet", tmp_path) for name, run in validation.CONTENDERS.items()}
    assert found["ours"] == found["DuckDB"]
    assert len(found["ours"]) >= 8
    assert found["pandera"].items() <= found["ours"].items()
