"""The fallback chain; each fault is planted in the files of a bundle, as a bad deployment would do."""

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
from lifecycle.serving.bundle import find_bundle_folder, hash_bundle
from lifecycle.serving.fallback import ChainScorer, ScorerTimeoutError, TimeBudget, load_chain
from tests.support.bundles import ROW, compute_probability, make_champion, make_hole, rewrite_plan, write_release

Record = dict[str, Any]
OLD, NEW = 0.0, 1.0  # intercepts: two models that differ


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project whose champion has a previous model."""
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
    """Make the manifest agree with the files."""
    rewrite_plan(folder, lambda plan: None)


FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (delete_plan, "plan.json is missing"),
    (cut_plan, "plan.json is not the file that manifest.json describes"),
    (change_golden, "golden request 0 has the probability"),
    (drop_level, "cannot be loaded: KeyError: 'codes'"),
]


def name_bundle(root: Path) -> None:
    """Make champion.json name the present bundle, so that only the fault itself is found."""
    champion = read_json(root / paths.CHAMPION)
    write_json({**champion, "bundle": hash_bundle(find_bundle_folder(root, champion["model"]))}, root / paths.CHAMPION)


@pytest.mark.parametrize(("plant", "said"), FAULTS)
def test_the_previous_model_answers_for_a_champion_that_cannot_be_loaded(
    root: Path, plant: Callable[[Path], object], said: str
) -> None:
    champion = read_json(root / paths.CHAMPION)
    plant(find_bundle_folder(root, champion["model"]))
    name_bundle(root)
    chain = load_chain(root, 10)
    assert len(chain.problems) == 1 and said in chain.problems[0]
    answer = ChainScorer(1, 1).score(chain, [ROW])
    assert answer.probabilities == [pytest.approx(compute_probability(ROW, OLD), abs=1e-12)]
    assert answer.bundle is not None and answer.bundle.manifest.model == champion["previous"]
    assert not chain.has_champion and chain.name == champion["model"][:12]


def test_a_bundle_that_champion_json_does_not_name_is_not_used(root: Path) -> None:
    champion = read_json(root / paths.CHAMPION)
    seal(find_bundle_folder(root, champion["model"]))
    write_json({**champion, "bundle": "0" * 64}, root / paths.CHAMPION)
    assert "champion.json names 000000000000" in load_chain(root, 10).problems[0]
    write_json({**champion, "model": champion["model"][:12] + "0" * 52, "bundle": None}, root / paths.CHAMPION)
    assert "is of model" in load_chain(root, 10).problems[0]


def test_the_prior_answers_when_no_model_can_be_loaded(root: Path) -> None:
    champion = read_json(root / paths.CHAMPION)
    for model in (champion["model"], champion["previous"]):
        delete_plan(find_bundle_folder(root, model))
    chain = load_chain(root, 10)
    assert len(chain.problems) == 2 and chain.first is None
    answer = ChainScorer(1, 1).score(chain, [ROW, ROW])
    assert (answer.probabilities, answer.bundle) == ([0.25, 0.25], None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "champion.json does not exist"),
        ('{"model": null}', "names no champion"),
        ("[]", "names no champion"),
        ('{"model": "../../secret", "prior": 0.5}', "names no champion"),
        (json.dumps({"format": 2, "model": "a" * 64, "prior": None}), "has no prior"),
        ("{", "is not JSON"),
    ],
)
def test_a_missing_or_incomplete_champion_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    (tmp_path / "models").mkdir()
    if content is not None:
        (tmp_path / paths.CHAMPION).write_text(content)
    with pytest.raises(ProjectError, match=said):
        load_chain(tmp_path, 10)


def test_a_probability_that_is_not_finite_fails_for_its_request_alone(root: Path) -> None:
    champion = read_json(root / paths.CHAMPION)
    rewrite_plan(find_bundle_folder(root, champion["model"]), make_hole)
    name_bundle(root)
    chain, scorer = load_chain(root, 10), ChainScorer(1, 1)
    assert chain.problems == ()
    fine, broken = (scorer.score(chain, [{**ROW, "months": months}]) for months in (20, 70))
    assert fine.bundle is chain.bundles[0] and fine.failures == []
    assert broken.bundle is chain.bundles[1] and broken.failures == [(chain.name, "ArithmeticError")]
    assert broken.probabilities == [pytest.approx(compute_probability({**ROW, "months": 70}, OLD), abs=1e-12)]
    mixed = scorer.score(chain, [{**ROW, "months": months} for months in (20, 70)])
    assert mixed.bundle is chain.bundles[1], "one model answers a request"


def test_a_fallback_with_other_columns_is_skipped(root: Path) -> None:
    champion = read_json(root / paths.CHAMPION)
    previous = find_bundle_folder(root, champion["previous"])
    columns = read_json(previous / "schema.json")
    columns.append({**columns[1], "name": "region", "nullable": False})
    write_json(columns, previous / "schema.json")
    golden = read_json(previous / "golden.json")
    write_json(
        [{**record, "request": {**record["request"], "region": 1.0}} for record in golden], previous / "golden.json"
    )
    write_json([{**record["request"], "region": 1.0} for record in golden], previous / "background.json")
    seal(previous)
    chain = load_chain(root, 10)
    assert chain.problems == () and len(chain.bundles) == 2
    object.__setattr__(chain.bundles[0].scorer, "score_one", lambda row: math.nan)
    answer = ChainScorer(1, 1).score(chain, [ROW])
    assert (answer.probabilities, answer.bundle) == ([0.25], None)
    assert answer.failures == [(chain.name, "ArithmeticError"), (chain.bundles[1].name, "other columns")]


def test_the_history_tells_since_when_the_champion_is_live(root: Path) -> None:
    champion = read_json(root / paths.CHAMPION)
    lines = [
        {
            "at": "2026-01-01T00:00:00+00:00",
            "by": "ada",
            "before": None,
            "model": champion["model"],
            "because": "first",
        },
        {
            "at": "2026-02-01T00:00:00+00:00",
            "by": "ada",
            "before": None,
            "model": champion["previous"],
            "because": "other",
        },
        {
            "at": "2026-03-01T00:00:00+00:00",
            "by": "ada",
            "before": None,
            "model": champion["model"],
            "because": "again",
        },
    ]
    (root / paths.HISTORY).write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"torn')
    assert load_chain(root, 10).since.because == "again"


def test_a_shadow_that_cannot_be_loaded_is_only_a_problem(root: Path) -> None:
    for content, said in (("{", "does not name a model"), ('{"model": "ffffffffffff"}', "is not a serving bundle")):
        (root / paths.SHADOW).write_text(content)
        chain = load_chain(root, 10)
        assert chain.has_champion and chain.shadow is None and said in chain.problems[0]
    write_json({"model": None}, root / paths.SHADOW)
    assert load_chain(root, 10).problems == ()


def test_the_signal_does_not_interrupt_code_of_other_packages() -> None:
    """A tracer that runs within a scorer may hold a lock, which would stay locked."""
    budget = TimeBudget(0.001)
    budget.since = time.monotonic() - 1
    budget.interrupt(signal.SIGALRM, sys._getframe())
    ours: Record = {"__name__": "lifecycle.serving.scorer", "sys": sys}
    exec("frame = sys._getframe()", ours)  # noqa: S102 - a frame of our own code
    with pytest.raises(ScorerTimeoutError):
        budget.interrupt(signal.SIGALRM, ours["frame"])
    budget.interrupt(signal.SIGALRM, ours["frame"])  # the scorer has ended
