"""Every benchmark runs at a small size, and what the benchmarks count and compare is right."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from benchmarks import __main__ as runner
from benchmarks import cells, command, scale, validation
from benchmarks.catalog import BENCHMARKS, find_module
from benchmarks.command import FAILED, KEPT, MISSED, Benchmark, run_benchmark
from benchmarks.drift import __main__ as detection
from benchmarks.drift import detectors, speed
from benchmarks.drift.results import Results
from benchmarks.drift.rules import OURS, list_rules, move_limit
from benchmarks.drift.runs import QUIET, Setting, find_changed, run_one
from benchmarks.drift.tables import make_table, write_table
from benchmarks.feature_store import __main__ as feature_store
from benchmarks.figures import Figure, at_least, at_most, none_of
from benchmarks.fold_tests import compare_folds
from benchmarks.monitoring.coverage import Interval, count_intervals
from benchmarks.monitoring.populations import ENTITY_ROWS, make_groups
from benchmarks.monitoring.quiet import measure_rate
from benchmarks.nested import __main__ as nested
from benchmarks.nested.results import FoldResult, list_figures, write_report
from benchmarks.nested.tables import load_prepared, prepare_rows
from benchmarks.own_tables import __main__ as own_tables
from benchmarks.own_tables import boosting
from benchmarks.own_tables.tables import TABLES
from benchmarks.project import SMALL_VARIABLE, build_small_project
from lifecycle.core.errors import ProjectError
from lifecycle.monitoring.drift import MULTIVARIATE, judge_windows
from lifecycle.monitoring.reference import Kind, build_reference, count_window
from lifecycle.monitoring.scenarios import draw_month
from lifecycle.pipeline.runner import STAGES
from lifecycle.stages.deploy import choose_kinds
from tests.support.contracts import make_contract
from tests.support.servers import start_redis

RULES = list_rules(0.01)
ELSEWHERE = ("crash_recovery", "serving")  # benchmarks whose cases below differ
# Those that take more than a few seconds.
LONG = (
    "ablation", "adoption", "drift", "families", "monitoring", "nested", "notebook_tax", "own_tables", "quality", "scale",
    "selective_labels", "sources", "validation",
)  # fmt: skip
INTEGRATION = pytest.mark.integration
CASES = [  # name, further options, the program and the package of the system that it needs
    *(
        pytest.param(name, [], None, id=name, marks=[INTEGRATION] if name in LONG else [])
        for name in BENCHMARKS
        if name not in ELSEWHERE
    ),
    pytest.param("crash_recovery", ["--sources", "kafka"], None, id="crash_recovery-kafka", marks=INTEGRATION),
    pytest.param("crash_recovery", ["--sources", "sqlite"], None, id="crash_recovery-sqlite", marks=INTEGRATION),
    pytest.param(
        "databases", ["--sources", "postgresql"], ("initdb", "postgresql"), id="databases-postgresql", marks=INTEGRATION
    ),
    pytest.param("serving", [], ("wrk", "wrk"), id="serving", marks=INTEGRATION),
]


@pytest.fixture(scope="module")
def small_project() -> Iterator[Path]:
    """A built project about 600 customers."""
    with build_small_project() as root:
        yield root


@pytest.mark.parametrize(("name", "words", "needs"), CASES)
def test_every_benchmark_runs_at_a_small_size(
    name: str, words: list[str], needs: tuple[str, str] | None, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, require_program: Callable[[str, str], str],
) -> None:  # fmt: skip
    if needs:
        require_program(*needs)
    if BENCHMARKS[name].small_project:
        monkeypatch.setenv(SMALL_VARIABLE, str(request.getfixturevalue("small_project")))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    module = f"benchmarks.{name}"
    if find_module(name).name == "__main__.py":
        module += ".__main__"
    benchmark = importlib.import_module(module).BENCHMARK
    assert run_benchmark(benchmark, ["--small", "--output", str(tmp_path), *words]) == KEPT
    record = json.loads((tmp_path / f"{name}.json").read_text())
    assert record["benchmark"] == benchmark.name == name
    assert record["figures"]
    assert {"name", "ours", "peer", "peer_name", "ratio", "limit", "kept"} == record["figures"][0].keys()
    assert all(figure["kept"] in (None, True) for figure in record["figures"])
    assert set(BENCHMARKS[name].environments) <= set(record["left_out"])
    printed = capsys.readouterr().out
    assert all(f"without {peer}, which was left out" in printed for peer in record["left_out"])


def test_the_catalog_and_the_readme_name_every_benchmark(checkout: Path) -> None:
    modules = {
        str(path.relative_to(checkout / "benchmarks").with_suffix("")).replace("/__main__", "").replace("/", ".")
        for path in (checkout / "benchmarks").rglob("*.py")
        if re.search(r"^BENCHMARK = ", path.read_text(), re.MULTILINE)
    }
    assert modules == set(BENCHMARKS)
    readme = (checkout / "benchmarks/README.md").read_text()
    assert re.findall(r"^\| \[`([\w.]+)`\]\(", readme, re.MULTILINE) == list(BENCHMARKS)
    for link in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (checkout / "benchmarks" / link).exists(), link


@pytest.mark.parametrize("stage", STAGES)
def test_exported_cells_use_only_names_that_plain_python_knows(checkout: Path, stage: str) -> None:
    code = cells.export_cells(checkout, stage, {"write": True})
    words = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,F706", "-"]
    done = subprocess.run(words, input=code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_runner_runs_what_it_is_given(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["--small", "--output", str(tmp_path), "feature_store"]) == 0
    printed = capfd.readouterr().out
    assert "feature_store: without feast, which was left out" in printed
    assert re.search(r"feature_store +done +none +\d+ s", printed)
    record = json.loads((tmp_path / "feature_store.json").read_text())
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?|unknown", record["commit"])
    assert record["command"].startswith("python -m benchmarks.feature_store --output")
    assert record["machine"].keys() >= {"processor", "cores", "load_average", "used_by_others_percent", "busy"}


def test_the_runner_lists_without_running(capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(re.search(rf"^{re.escape(name)} ", printed, re.MULTILINE) for name in BENCHMARKS)
    with pytest.raises(SystemExit):
        runner.main(["no_such_benchmark"])


def test_a_missed_limit_fails_the_runner_after_all_have_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missed = Figure.of("seconds", 3.0, 1.0, "the peer", at_most(3.0, 2.0)).to_record()
    kept = Figure.of("rows lost", 0, limit=none_of(0)).to_record()
    outcomes = [runner.Outcome("scale", MISSED, 1.0, [missed, kept]), runner.Outcome("drift", KEPT, 2.0, [kept])]
    monkeypatch.setattr(runner, "run_all", lambda names, options: iter(outcomes))
    assert runner.main([]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"scale +a limit was missed +1 of 2", printed) and re.search(r"drift +done +1 of 1", printed)
    assert "missed: scale: seconds: ratio at most 2; ours 3, the peer 1, ratio 3" in printed
    monkeypatch.setattr(runner, "run_all", lambda names, options: iter(outcomes[1:]))
    assert runner.main([]) == 0


def test_limits_on_time_apply_at_full_size_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Figure.of("seconds", 3.0, 1.0, "the peer", at_most(3.0, 2.0))
    wrong = Figure.of("rows lost", 2, limit=none_of(2))
    words = ["--output", str(tmp_path)]
    monkeypatch.setattr(command, "measure_use", lambda seconds: 0.0)
    assert run_benchmark(Benchmark("scale", lambda options: [slow]), words) == MISSED
    assert run_benchmark(Benchmark("scale", lambda options: [slow]), ["--small", *words]) == KEPT
    assert run_benchmark(Benchmark("scale", lambda options: [slow, wrong]), ["--small", *words]) == MISSED
    figures = json.loads((tmp_path / "scale.json").read_text())["figures"]
    assert figures[0] == {
        "name": "seconds", "ours": 3.0, "peer": 1.0, "peer_name": "the peer", "ratio": 3.0, "limit": None, "kept": None
    }  # fmt: skip
    assert (figures[1]["limit"], figures[1]["kept"]) == ("none", False)


def test_what_cannot_be_measured_writes_no_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(options: Namespace) -> list[Figure]:
        raise OSError("wrk is not installed")

    monkeypatch.setattr(command, "measure_use", lambda seconds: 0.0)
    assert run_benchmark(Benchmark("scale", measure), ["--output", str(tmp_path)]) == FAILED
    assert "scale: wrk is not installed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_peers_with_environments_can_be_left_out() -> None:
    benchmark = Benchmark("drift.speed", lambda options: [])
    assert command.read_options(benchmark, []).left_out == []
    assert command.read_options(benchmark, ["--no-environments"]).peers == ["scipy"]
    assert command.read_options(benchmark, ["--peers", "nannyml"]).left_out == ["scipy", "evidently"]
    with pytest.raises(SystemExit):
        command.read_options(benchmark, ["--peers", "unknown"])


def make_setting(table: pd.DataFrame, **scenarios: dict[str, Any]) -> Setting:
    contract = make_contract()
    kinds: dict[str, Kind] = choose_kinds(contract, [{"name": name} for name in contract.columns])
    described = {name: {**QUIET, "begin": 3, **scenario} for name, scenario in scenarios.items()}
    return Setting(table, contract, kinds, described, 300, 120, 4, 3, min_rows=50, min_psi=0.01)


def make_results(generator: np.random.Generator) -> Results:
    """Random scores for every scenario of the benchmark."""
    names = detection.list_scenarios()
    shape = (20, len(RULES), detection.WINDOWS - detection.BEGIN + 1)
    named = {name: generator.normal(size=shape) for name in names}
    highest = {name: scores + generator.random(shape) for name, scores in named.items()}
    return Results(RULES, generator.normal(size=(50, len(RULES), detection.WINDOWS)), highest, named)


def test_a_moved_limit_is_the_lowest_that_fires_no_more_often() -> None:
    scores = np.array([[3.0, 1.0, 1.0, -np.inf], [2.0, 1.0, 0.0, -np.inf]])
    for most in range(scores.size + 1):
        limit = move_limit(scores, most)
        assert (scores >= limit).sum() <= most
        below = scores[scores < limit]
        assert not below.size or (scores >= below.max()).sum() > most
    assert (scores >= move_limit(scores, 3)).sum() == 2, "of three equal scores all fire or none"


def test_our_score_at_its_limit_is_what_monitoring_calls_drifted(customers: pd.DataFrame) -> None:
    setting = make_setting(customers, more={"kind": "scale", "column": "spend", "factor": 1.3})

    def draw(month: int, rows: int) -> pd.DataFrame:
        return draw_month(customers, setting.scenarios["more"], setting.contract, month=month, rows=rows, seed=0)

    reference = build_reference(draw(0, 300), setting.kinds)
    counts = [count_window(draw(month, 120), reference) for month in range(1, 5)]
    as_is, scored = (
        judge_windows(reference, counts, false_alarms=level, min_rows=50, min_psi=0.01) for level in (0.01, 1.0)
    )
    fired = []
    for table, other in zip(as_is, scored, strict=True):
        assert table is not None and other is not None
        score = RULES[OURS].score(other, reference)
        assert ((score >= RULES[OURS].limit) == table["drifted"]).all()
        assert ((RULES["sigma"].score(other, reference) > 2) == table["moved"]).all()
        fired.append(bool(table["drifted"].any()))
    assert not any(fired[:2]) and any(fired[2:])


def test_a_run_depends_on_its_seed_and_names_what_changed(customers: pd.DataFrame) -> None:
    setting = make_setting(
        customers,
        more={"kind": "scale", "column": "spend", "factor": 1.5},
        reversed={"kind": "reverse", "column": "spend"},
        same={"kind": "scale", "column": "spend", "factor": 1.0},
    )
    changed = {name: find_changed(setting, scenario) for name, scenario in setting.scenarios.items()}
    one, again, other = (run_one(RULES, changed, setting, seed) for seed in (1, 1, 2))
    assert (one.quiet == again.quiet).all() and (one.quiet != other.quiet).any()
    assert one.quiet.shape == (4, 4) and one.named["more"].shape == (4, 2)
    limits = np.array([[rule.limit] for rule in RULES.values()])
    fired = dict(zip(RULES, one.named["more"] >= limits, strict=True))
    assert fired[OURS].all() and fired["psi"].all() and fired["ks"].all() and not fired["sigma"].any()
    assert (one.highest["same"] == one.quiet[:, 2:]).all(), "the months of a scenario are those of a quiet time"
    assert all((one.named[name] <= one.highest[name]).all() for name in changed)
    assert np.isinf(one.named["reversed"][1:]).all(), "textbook rules look at single columns, which have not changed"


def test_columns_that_change_together_may_be_named_too() -> None:
    table = pd.DataFrame(
        [(plan, senior, months) for plan in ("basic", "pro") for senior in (0, 1) for months in (1, 2, 3)],
        columns=["plan", "senior", "months"],
    ).assign(spend=lambda frame: np.where(frame["plan"] == "pro", 9.0, 5.0), left="no")
    scenario = {**QUIET, "kind": "mix", "column": "plan", "category": "pro", "factor": 2.0}
    setting = make_setting(table)
    assert find_changed(setting, scenario) == {MULTIVARIATE, "plan", "spend"}
    assert find_changed(setting, {**scenario, "factor": 1.01}) == {MULTIVARIATE}
    assert find_changed(setting, {**QUIET, "kind": "reverse", "column": "months"}) == {MULTIVARIATE}


def test_delays_false_alarms_and_equal_limits_are_counted() -> None:
    quiet = np.array([[[-0.5, -0.001], [1.0, 0.5]], [[-0.3, -0.2], [3.0, 0.1]]])  # (runs, rules, windows)
    named = np.array([[[-0.5, -0.001], [5.0, 5.0]], [[-0.9, -0.9], [0.0, 5.0]]])
    results = Results({name: RULES[name] for name in (OURS, "sigma")}, quiet, {"it": named}, {"it": named})
    alarms = results.count_alarms(OURS, -0.01)
    assert (alarms.count, alarms.windows, alarms.rate, alarms.runs) == (1, 4, 0.25, 0.5)
    assert alarms.bounds[0] <= alarms.rate <= alarms.bounds[1] and alarms.run_bounds[0] < 0.5 < alarms.run_bounds[1]
    ours, theirs = results.find("it", OURS, -0.01), results.find("it", "sigma", 2.0)
    assert ours.named == 0.5 and ours.delays.tolist() == [2, 3] and ours.fired == 0.25
    assert theirs.named == 1.0 and theirs.delays.tolist() == [1, 2]
    match = results.list_matches("sigma")[0]
    assert (match.ours, match.other) == (-0.01, np.nextafter(1.0, 2.0))
    assert results.compare("sigma", match, ["it"]) == (1.0, 0.0)


def test_results_of_drift_are_printed_drawn_and_limited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = make_results(np.random.default_rng(0))
    detection.show_usual(results)
    detection.show_matched(results, "psi")
    printed = capsys.readouterr().out
    assert all(printed.count(scenario) == 2 for scenario in detection.list_scenarios())
    assert all("is sooner, at" in line for line in detection.list_slower(results, "psi"))
    detection.draw_delays(results, tmp_path / "drift.png")
    assert (tmp_path / "drift.png").read_bytes().startswith(b"\x89PNG")
    figures = list(detection.list_figures(results, 0.01))
    assert len(figures) == 3 * (len(RULES) - 1) and all(figure.kept in (True, False) for figure in figures)


def test_false_alarms_are_bounded_over_references_not_windows() -> None:
    """Windows of one reference fire together: ten references with a quarter of all windows each, or two with all of them."""
    even = measure_rate([np.array([True, False, False, False])] * 10)
    assert (even.value, even.low, even.high, even.spread) == (0.25, 0.25, 0.25, 0.0)
    whole = measure_rate([np.full(4, place < 2) for place in range(10)])
    assert whole.value == 0.2 and whole.low == 0.0 and whole.high >= 0.4 and whole.worst == 1.0
    quiet = measure_rate([np.zeros(4, dtype=bool)] * 10)
    assert quiet.value == 0.0 and quiet.high == pytest.approx(3 / 40)


def test_intervals_are_counted_by_what_they_are_about() -> None:
    holds = [Interval("a", "window", "cost", value) for value in (True, False, True)]
    assert count_intervals([*holds, Interval("a", "slices", "cost", True)]) == {
        ("a", "window", "cost"): (2, 3), ("a", "slices", "cost"): (1, 1),
    }  # fmt: skip


def test_samples_with_entities_hold_whole_entities() -> None:
    population = make_groups(np.random.default_rng(0))
    sample = population.draw(100, [0])
    assert sample.entities is not None and np.bincount(sample.entities).tolist() == [ENTITY_ROWS] * 5
    assert sample.frame["kind"].groupby(sample.entities).nunique().eq(1).all()


def test_tables_come_from_one_population_and_every_column_is_compared(tmp_path: Path) -> None:
    write_table(tmp_path / "reference.parquet", 1500, 6, seed=0)
    for place in range(2):
        write_table(tmp_path / f"window-{place}.parquet", 700, 6, seed=1 + place)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "window-0.parquet"), make_table(700, 6, seed=1))
    seconds: dict[str, float] = {}
    assert detectors.measure_scipy(tmp_path, seconds) == 6 and seconds["window"] > 0
    cost = speed.run_detector(OURS, tmp_path, 6)  # in a process of its own
    assert cost.reference > 0 and cost.window > 0 and cost.megabytes > 10


def test_stores_must_return_the_tables_values(tmp_path: Path) -> None:
    table = feature_store.make_table(1000)
    embedded = feature_store.open_ours(table, tmp_path, "sqlite:///cache.db")
    feature_store.check_values(feature_store.SQLITE, embedded, table)
    with pytest.raises(ProjectError, match="float_0 of 0 is"):
        feature_store.check_values(feature_store.SQLITE, embedded, table.assign(float_0=0.5))
    with start_redis(tmp_path / "redis") as url:
        feature_store.check_values(feature_store.BARE, feature_store.open_bare(table, url), table)


def test_stores_are_compared_by_seconds() -> None:
    ours, many = np.array([1.0, 2.0, 3.0]), 100.0
    names = (feature_store.REDIS, feature_store.BARE, feature_store.FEAST)
    for times, kept in ((4.9, [False, False]), (5.1, [True, True])):
        seconds = dict(zip(names, (ours, ours / 1.5, ours * times), strict=True))
        figures = list(feature_store.list_figures(seconds, dict.fromkeys(names, many)))
        assert [figure.kept for figure in figures if figure.peer_name == feature_store.FEAST][:2] == kept
        assert figures[0].peer_name == feature_store.BARE and figures[0].kept


def test_validation_counts_what_duckdb_and_pandera_count(tmp_path: Path) -> None:
    validation.write_made(20_000, tmp_path / "made.parquet")
    ours, duckdb, pandera = (
        run(str(tmp_path / "made.parquet"), str(tmp_path))
        for run in (validation.run_ours, validation.run_duckdb, validation.run_pandera)
    )
    assert ours == duckdb
    assert len(ours) >= 8
    assert pandera.items() <= ours.items()
    assert validation.list_differences({"a": 1, "b": 2}, {"a": 1, "b": 3}) == ["b"]


def test_a_limit_says_what_it_is_about() -> None:
    assert at_least(0.85, 0.848, "ours").text == "ours at least 0.848"
    assert at_least(0.85, 0.848).kept and not at_most(3, 2).kept


@pytest.mark.parametrize("name", [name for name, own in TABLES.items() if not own.fetched])
def test_an_own_table_is_written_with_all_of_its_cells(name: str, tmp_path: Path) -> None:
    own = TABLES[name]
    table = own.read(tmp_path).tail(80)
    path = own.write_file(table, tmp_path, tmp_path)
    assert {own.target, *own.unused} <= set(table)
    read = {
        ".xlsx": partial(pd.read_excel, engine="calamine"),
        ".parquet": pd.read_parquet,
        ".jsonl": partial(pd.read_json, lines=True),
    }
    options: dict[str, Any] = {
        "bank": {"sep": ";", "encoding": "cp1252"}, "credit": {"sep": ";"}, "workers": {"sep": "\t", "encoding": "utf-16"},
        "mail": {"sep": "|"}, "titanic": {"encoding": "latin-1"},
    }.get(name, {})  # fmt: skip
    written = read.get(path.suffix, partial(pd.read_csv, **options))(path)
    assert len(written) == 80 and set(table) <= set(written)
    assert (written[own.target].astype(str).to_numpy() == table[own.target].astype(str).to_numpy()).all()


def test_the_rows_of_a_split_are_found_in_the_source(tmp_path: Path) -> None:
    """Of two equal rows, either may be the one in quarantine."""
    contract = make_contract()
    raw = pd.DataFrame({name: [f"{name} {row}" for row in (0, 1, 1, 2, 3)] for name in contract.columns})
    raw = raw.assign(months=pd.array([0, 1, 1, None, 3], dtype="Int64"))
    for name, frame in (("raw/table", raw), ("validated/quarantine", raw.iloc[[1, 4]].assign(reasons="odd"))):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        frame.to_parquet(tmp_path / f"data/{name}.parquet", index=False)
    assert own_tables.find_rows(tmp_path, contract).tolist() == [0, 2, 3]


@pytest.mark.parametrize("low", [-0.02, -0.2])
def test_results_of_own_tables_are_reported_and_limited(low: float, tmp_path: Path) -> None:
    facts = {"about": "CSV", "rows": 1200, "columns": 5, "commit": "0" * 40}
    whole = own_tables.Result(
        "a", **facts, promoted=True, area=0.8, peer="CatBoost", peer_area=0.85, difference=low, difference_low=low - 0.01,
        difference_high=low + 0.05, served=1199, refused=1, refusal="422: no", entities=3,
    )  # fmt: skip
    broken = own_tables.Result("b", **facts, failure="dvc repro failed:\nProjectError: why")
    figures = {figure.name: figure.kept for figure in own_tables.list_figures(whole)}
    assert figures["a: ROC AUC"] == (low + 0.05 >= 0) and figures["a: own rows not answered with 200"] is False
    assert figures["a: entities not answered with 200"] is True and not list(own_tables.list_figures(broken))
    own_tables.write_report([whole, broken], tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text()
    assert "| a | CSV | 1,200 × 5 |" in text and "1,199 of 1,200 | 3 of 3 |" in text
    assert "- first refusal: 422: no" in text and "- failed: ProjectError: why" in text


@pytest.mark.parametrize("library", ["scikit-learn", "lightgbm"])
def test_plain_boosting_learns_from_numbers_words_and_times(library: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        "amount": np.where(rng.random(400) < 0.1, np.nan, rng.normal(size=400)), "word": rng.choice(["a", "b", None], 400),
        "at": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 400, 400), unit="D"),
    }).assign(y=lambda frame: ((frame["word"] == "a") & (frame["amount"] > 0)).astype(int))  # fmt: skip
    files = [tmp_path / "train.parquet", tmp_path / "test.parquet"]
    for part, file in zip((table[:300], table[300:]), files, strict=True):
        part.to_parquet(file, index=False)
    found = np.array(boosting.predict(library, *map(str, files), "y"))
    labels = table["y"].to_numpy()[300:]
    assert found[labels == 1].min() > found[labels == 0].mean() and len(found) == 100


def make_fold(table: str, fold: int, peer: str, area: float, **facts: Any) -> FoldResult:
    """A result of an outer fold whose facts other than the area do not matter."""
    known = {"split": "s", "budget": 0.0, "train_rows": 800, "rows": 200, "columns": 4, "rate": 0.2, "log_loss": 0.4,
             "brier": 0.1, "seconds": 2.0, "processor": 3.0, "commit": "0" * 40}  # fmt: skip
    chosen = {"family": "forest", "calibration": "sigmoid"} if peer == "lifecycle" else {}
    return FoldResult(table, fold, peer, roc_auc=area, **{**known, "chosen": chosen, **facts})


def make_nested(gaps: dict[str, list[float]], peer: str = "catboost") -> nested.Results:
    """Results of tables whose folds have these differences from a peer."""
    pairs = [("lifecycle", 1.0), (peer, 0.0)]
    found = [
        make_fold(table, fold, name, 0.8 + share * gap)
        for table, values in gaps.items() for fold, gap in enumerate(values) for name, share in pairs
    ]  # fmt: skip
    return nested.Results(found, 5)


def test_folds_that_share_rows_widen_the_interval() -> None:
    """Of five folds the variance is (1/5 + 1/4) that of a difference: 2.25 times that of independent folds."""
    values = np.array([0.01, 0.02, 0.03, 0.02, 0.02])
    folds = [(np.arange(80), np.arange(20))] * 5
    found = compare_folds(values, folds)
    error = values.std(ddof=1) * np.sqrt(0.45)
    assert found["value"] == pytest.approx(0.02) and found["high"] - 0.02 == pytest.approx(2.776445 * error)
    assert found["p"] == pytest.approx(2 * stats.t.sf(0.02 / error, 4))
    assert compare_folds(np.zeros(5), folds)["p"] == 1 and compare_folds(np.ones(5), folds)["p"] == 0


def test_a_table_is_significantly_worse_only_after_holms_correction() -> None:
    worse, even = [-0.01, -0.02, -0.03, -0.02, -0.02], [0.03, -0.03, 0.04, 0.06, 0.0]
    alone = {figure.name: figure.kept for figure in list_figures(make_nested({"a": worse}))}
    assert alone == {"a: ROC AUC": False, "ROC AUC, mean of the tables (n = 1)": False}
    many = make_nested({"a": worse, **dict.fromkeys("bcd", even)})
    figures = {figure.name: figure.kept for figure in list_figures(many)}
    assert figures["a: ROC AUC"] is True, "four tables: four times the p-value of one"
    assert figures["ROC AUC, mean of the tables (n = 4)"] is True
    raised = make_nested({"a": [-gap for gap in worse]})
    assert all(figure.kept for figure in list_figures(raised))


@pytest.mark.parametrize(("gap", "kept"), [(-0.004, True), (-0.006, False)])
def test_the_automl_may_be_a_little_better_in_the_mean(gap: float, kept: bool) -> None:
    figures = [*list_figures(make_nested({"a": [gap] * 5}, "flaml"))]
    assert [figure.kept for figure in figures] == [None, kept]


def test_a_table_without_all_folds_is_reported_and_not_compared(tmp_path: Path) -> None:
    found = [make_fold("a", fold, "lifecycle", 0.8) for fold in range(5)]
    found += [make_fold("a", fold, "catboost", 0.81) for fold in range(3)]
    results = nested.Results(found, 5)
    assert [*list_figures(results)] == []
    write_report(results, tmp_path / "nested.md")
    text = (tmp_path / "nested.md").read_text()
    assert "| a | 1,000 × 4 | 20.0% | 0.8000 | 3 of 5 folds |" in text
    assert "- a, commit `000000000000`: forest (sigmoid), forest (sigmoid)" in text


def test_an_interrupted_nested_run_measures_only_what_is_missing(
    small_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_rows(small_project, pd.read_parquet(small_project / "data/customers.parquet"), 2, tmp_path / "table")
    prepared, kept, asked = load_prepared(tmp_path / "table"), tmp_path / "nested.jsonl", []

    def measure_fold(task: nested.Task, prepared: Any, seconds: float, *, apart: bool) -> FoldResult:
        if len(asked) == 5:
            raise KeyboardInterrupt
        asked.append((task.peer, task.table, task.fold))
        budget = seconds if task.peer == "flaml" else 0.0
        return make_fold(task.table, task.fold, task.peer, 0.8, split=prepared.split, budget=budget)

    monkeypatch.setattr(nested, "prepare_table", lambda *_: prepared)
    monkeypatch.setattr(nested, "measure_fold", measure_fold)
    monkeypatch.setattr(nested, "KEPT_RESULTS", kept)
    words = ["--tables", "mail", "cells", "--folds", "2", "--peers", "flaml", "--output", str(tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        nested.measure(command.read_options(nested.BENCHMARK, words))
    with kept.open("a") as file:
        file.write('{"table": "mail", "fo')  # killed while it wrote
    before = [*asked]
    asked.clear()
    nested.measure(command.read_options(nested.BENCHMARK, words))
    assert [peer for peer, *_ in before] == ["lifecycle"] * 4 + ["flaml"], "what the clock limits comes last"
    assert asked == [("flaml", "mail", 1), ("flaml", "cells", 0), ("flaml", "cells", 1)]


def test_the_outer_folds_cover_each_row_once_and_depend_on_nothing_but_the_rows(
    small_project: Path, tmp_path: Path
) -> None:
    table = pd.read_parquet(small_project / "data/customers.parquet")
    for name in ("one", "other"):
        prepare_rows(small_project, table, 3, tmp_path / name)
    one, other = (load_prepared(tmp_path / name) for name in ("one", "other"))
    assert one.split == other.split and len(one.folds) == 3
    assert sorted(np.concatenate([judge for _, judge in one.folds])) == [*range(len(one.features))]
    for fit, judge in one.folds:
        assert not set(fit) & set(judge)
        assert one.rows[one.declaration["target"]].iloc[judge].mean() == pytest.approx(0.26, abs=0.03)
    ids = one.declaration["id"]
    assert ids == ["rownames"]
    assert one.rows.drop(columns="churn").equals(table.drop(columns=["churn", *ids])), (
        "peers learn from the source's columns"
    )


def test_csv_of_a_locale_has_its_marks(tmp_path: Path) -> None:
    table = pa.table({"rownames": ["x", "y"], "n": [1234.5, None], "w": ["a", "b"]})
    scale.write_csv(table, 3, scale.LOCALE, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "rownames;n;w\n1;1.234,50;a\n2;;b\n3;1.234,50;a\n"
    scale.write_csv(table, 3, scale.CSV, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "rownames,n,w\n1,1234.5,a\n2,,b\n3,1234.5,a\n"
    scale.guess_types(str(tmp_path / "t.csv"), str(tmp_path / "t.parquet"))
    assert pd.read_parquet(tmp_path / "t.parquet")["n"].tolist()[::2] == [1234.5, 1234.5]
