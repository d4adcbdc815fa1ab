"""Who answers when a model fails; each fault is planted in the files of a bundle, as a bad deployment would."""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json, write_json
from lifecycle.serving.bundle import hash_bundle
from lifecycle.serving.fallback import Budget, Judge, ScorerTimeoutError, find_release, read_lineup
from tests.support.bundles import ROW, compute_probability, make_champion, make_hole, rewrite_plan, write_release

Record = dict[str, Any]
OLD, NEW = 0.0, 1.0  # intercepts: two models that differ


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project whose champion has a model before it."""
    return make_champion(tmp_path, write_release(tmp_path, NEW), write_release(tmp_path, OLD))


def delete_plan(folder: Path) -> None:
    (folder / "plan.json").unlink()


def cut_plan(folder: Path) -> None:
    plan = folder / "plan.json"
    plan.write_bytes(plan.read_bytes()[:100])


def change_golden(folder: Path) -> None:
    records = read_json(folder / "golden.json")
    records[0]["probability"] += 1e-6
    write_json(records, folder / "golden.json")
    seal(folder)


def drop_level(folder: Path) -> None:
    rewrite_plan(folder, lambda plan: plan["categories"][0].pop("codes"))


def seal(folder: Path) -> None:
    """Let the manifest agree with the files."""
    rewrite_plan(folder, lambda plan: None)


FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (delete_plan, "plan.json is missing"),
    (cut_plan, "plan.json is not the file that manifest.json describes"),
    (change_golden, "golden request 0 gives"),
    (drop_level, "cannot be loaded: KeyError: 'codes'"),
]


def name_bundle(root: Path) -> None:
    """Let champion.json name the bundle that is there, so that only the fault itself is found."""
    champion = read_json(root / paths.CHAMPION)
    write_json({**champion, "bundle": hash_bundle(find_release(root, champion["model"]))}, root / paths.CHAMPION)


@pytest.mark.parametrize(("plant", "said"), FAULTS)
def test_a_champion_that_does_not_load_is_stood_in_for(root: Path, plant: Callable[[Path], object], said: str) -> None:
    champion = read_json(root / paths.CHAMPION)
    plant(find_release(root, champion["model"]))
    name_bundle(root)
    lineup = read_lineup(root, 10)
    assert len(lineup.problems) == 1 and said in lineup.problems[0]
    answer = Judge(1, 1).answer(lineup, [ROW])
    assert answer.probabilities == [pytest.approx(compute_probability(ROW, OLD), abs=1e-12)]
    assert answer.bundle is not None and answer.bundle.manifest.model == champion["previous"]
    assert not lineup.whole and lineup.name == champion["model"][:12]


def test_a_bundle_that_is_another_than_the_champions_is_not_asked(root: Path) -> None:
    champion = read_json(root / paths.CHAMPION)
    seal(find_release(root, champion["model"]))
    write_json({**champion, "bundle": "0" * 64}, root / paths.CHAMPION)
    assert "champion.json names 000000000000" in read_lineup(root, 10).problems[0]
    write_json({**champion, "model": champion["model"][:12] + "0" * 52, "bundle": None}, root / paths.CHAMPION)
    assert "is of model" in read_lineup(root, 10).problems[0]


def test_where_no_model_is_left_the_prior_answers(root: Path) -> None:
    champion = read_json(root / paths.CHAMPION)
    for model in (champion["model"], champion["previous"]):
        delete_plan(find_release(root, model))
    lineup = read_lineup(root, 10)
    assert len(lineup.problems) == 2 and lineup.first is None
    answer = Judge(1, 1).answer(lineup, [ROW, ROW])
    assert (answer.probabilities, answer.bundle) == ([0.25, 0.25], None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "champion.json is not there"),
        ('{"model": null}', "names no champion"),
        ("[]", "names no champion"),
        ('{"model": "../../secret", "prior": 0.5}', "names no champion"),
        (json.dumps({"model": "a" * 64, "prior": None}), "has no prior"),
        ("{", "is not JSON"),
    ],
)
def test_without_a_champion_there_is_a_sentence(tmp_path: Path, content: str | None, said: str) -> None:
    (tmp_path / "models").mkdir()
    if content is not None:
        (tmp_path / paths.CHAMPION).write_text(content)
    with pytest.raises(ProjectError, match=said):
        read_lineup(tmp_path, 10)


def test_a_probability_that_is_no_number_is_a_failure_of_this_request_alone(root: Path) -> None:
    champion = read_json(root / paths.CHAMPION)
    rewrite_plan(find_release(root, champion["model"]), make_hole)
    name_bundle(root)
    lineup, judge = read_lineup(root, 10), Judge(1, 1)
    assert lineup.problems == ()
    fine, broken = (judge.answer(lineup, [{**ROW, "months": months}]) for months in (20, 70))
    assert fine.bundle is lineup.chain[0] and fine.failures == []
    assert broken.bundle is lineup.chain[1] and broken.failures == [(lineup.name, "ArithmeticError")]
    assert broken.probabilities == [pytest.approx(compute_probability({**ROW, "months": 70}, OLD), abs=1e-12)]
    mixed = judge.answer(lineup, [{**ROW, "months": months} for months in (20, 70)])
    assert mixed.bundle is lineup.chain[1], "one request is answered by one model"


def test_a_stand_in_that_knows_other_columns_is_passed_over(root: Path) -> None:
    champion = read_json(root / paths.CHAMPION)
    previous = find_release(root, champion["previous"])
    columns = read_json(previous / "schema.json")
    columns.append({**columns[1], "name": "region", "nullable": False})
    write_json(columns, previous / "schema.json")
    golden = read_json(previous / "golden.json")
    write_json(
        [{**record, "request": {**record["request"], "region": 1.0}} for record in golden], previous / "golden.json"
    )
    write_json([{**record["request"], "region": 1.0} for record in golden], previous / "background.json")
    seal(previous)
    lineup = read_lineup(root, 10)
    assert lineup.problems == () and len(lineup.chain) == 2
    object.__setattr__(lineup.chain[0].scorer, "score_one", lambda row: math.nan)
    answer = Judge(1, 1).answer(lineup, [ROW])
    assert (answer.probabilities, answer.bundle) == ([0.25], None)
    assert answer.failures == [(lineup.name, "ArithmeticError"), (lineup.chain[1].name, "other columns")]


def test_the_history_says_since_when(root: Path) -> None:
    champion = read_json(root / paths.CHAMPION)
    lines = [
        {"at": "2026-01-01T00:00:00+00:00", "model": champion["model"], "because": "first"},
        {"at": "2026-02-01T00:00:00+00:00", "model": champion["previous"], "because": "other"},
        {"at": "2026-03-01T00:00:00+00:00", "model": champion["model"], "because": "again"},
    ]
    (root / paths.HISTORY).write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"torn')
    assert read_lineup(root, 10).since["because"] == "again"


def test_a_shadow_that_does_not_load_harms_nobody(root: Path) -> None:
    for content, said in (("{", "does not name a model"), ('{"model": "ffffffffffff"}', "is not a serving bundle")):
        (root / paths.SHADOW).write_text(content)
        lineup = read_lineup(root, 10)
        assert lineup.whole and lineup.shadow is None and said in lineup.problems[0]
    write_json({"model": None}, root / paths.SHADOW)
    assert read_lineup(root, 10).problems == ()


def test_the_alarm_interrupts_nobody_elses_code() -> None:
    """A tracer that runs within a scorer holds a lock; interrupted there, it would never let go of it."""
    budget = Budget(0.001)
    budget.since = time.monotonic() - 1
    budget.interrupt(signal.SIGALRM, sys._getframe())
    ours: Record = {"__name__": "lifecycle.serving.scorer", "sys": sys}
    exec("frame = sys._getframe()", ours)  # noqa: S102 - a frame of our own code
    with pytest.raises(ScorerTimeoutError):
        budget.interrupt(signal.SIGALRM, ours["frame"])
    budget.interrupt(signal.SIGALRM, ours["frame"])  # it has ended meanwhile
