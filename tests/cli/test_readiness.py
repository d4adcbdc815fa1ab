"""The ML Test Score: the rubric names what there is, points follow the paper, and tests leave their outcomes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from lifecycle.cli.main import main
from lifecycle.cli.readiness import (
    IDS,
    SECTIONS,
    Rubric,
    _assess_document,
    _describe_score,
    _find_value,
    _list_tests,
    assess_project,
    load_rubric,
    sum_sections,
)
from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json, write_json
from lifecycle.core.params import read_yaml

NOW = datetime.now(UTC)
Record = dict[str, Any]


# --- what the rubric names


@pytest.fixture(scope="module")
def rubric(checkout: Path) -> Rubric:
    return load_rubric(checkout / paths.RUBRIC)


@pytest.mark.parametrize("name", IDS)
def test_every_test_that_a_row_names_is_one(checkout: Path, rubric: Rubric, name: str) -> None:
    for test in rubric.find_row(name).tests:
        file, _, function = test.partition("::")
        there = _list_tests(checkout / file)
        assert there, f"{name}: {file} holds no test"
        assert not function or function in there, f"{name}: {test} is no test any more"


def test_every_artefact_is_written_by_a_stage_and_has_its_key(checkout: Path, rubric: Rubric) -> None:
    """The champion's record has verdict and blessing as they were written; the other files are looked at where built."""
    stages = read_yaml(checkout / "dvc.yaml")["stages"].values()
    outs = [out for stage in stages for outs in stage["outs"] for out in outs.items()]
    written = {name for name, how in outs if how.get("cache", True)}  # what is in git is there without any run
    champion = read_json(checkout / paths.CHAMPION)
    kept = {paths.VERDICT: champion["verdict"], paths.BLESSING: champion["blessing"]} if champion["model"] else {}
    for artefact in (artefact for row in rubric.rows for artefact in row.artefacts):
        assert written & {artefact.file, str(Path(artefact.file).parent)}, f"no stage writes {artefact.file}"
        if artefact.file in kept:
            _find_value(kept[artefact.file], artefact.key)
        if (checkout / artefact.file).exists():
            _find_value(read_json(checkout / artefact.file), artefact.key)


def test_every_document_says_what_was_done(checkout: Path, rubric: Rubric) -> None:
    judged = [_assess_document(row.by_hand, checkout, NOW) for row in rubric.rows if row.by_hand]
    assert judged and [piece for piece in judged if piece.fault] == []


def test_on_a_fresh_clone_no_test_counts(checkout: Path, tmp_path: Path) -> None:
    for name in ("tests", "docs"):
        (tmp_path / name).symlink_to(checkout / name)
    scored = assess_project(tmp_path, NOW)
    assert {found.points for found in scored} == {0.0, 0.5}
    for found in scored:
        assert all(piece.fault for piece in found.evidence if "by hand" not in piece.name)
    assert all(found.points == 0.5 or found.evidence or found.row.lacks for found in scored)


# --- points


def write_project(root: Path, rows: Mapping[str, Record], results: Mapping[str, Record] | None = None) -> Path:
    """A project whose rubric has no evidence but that of `rows`, and whose tests came to `results`."""
    given = [
        {
            "id": name,
            "demands": f"Demand {name}.",
            **({"met": "So.", **rows[name]} if name in rows else {"lacks": "All."}),
        }
        for name in IDS
    ]
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / paths.RUBRIC).write_text(json.dumps({"valid_days": 30, "rows": given}))
    if results is not None:
        (root / paths.EVIDENCE).parent.mkdir(exist_ok=True)
        write_json(results, root / paths.EVIDENCE)
    return root


FILES = {
    "tests/test_a.py": "import pytest\n\ndef test_one(): ...\n\n@pytest.mark.integration\ndef test_two(): ...\n",
    "models/verdict.json": '{"conditions": [{"name": "ranks", "passed": true}, {"name": "fair", "passed": false}]}',
    "docs/measured.md": "On this day it was\nmeasured by hand.\n",
}
ONE, TWO = "tests/test_a.py::test_one", "tests/test_a.py::test_two"
BY_HAND = {"document": "docs/measured.md", "says": "it was measured", "date": "2026-11-01"}


def came_to(outcome: str, days: float = 0.0) -> Record:
    return {"outcome": outcome, "at": (NOW - timedelta(days=days)).isoformat()}


def look_at(key: str, file: str = "models/verdict.json") -> Record:
    return {"artefacts": [{"file": file, "key": key}]}


@pytest.mark.parametrize(
    ("row", "results", "points", "said"),
    [
        ({"tests": [ONE]}, {ONE: came_to("passed")}, "1", f"{NOW:%Y-%m-%d %H:%M}  {ONE}"),
        ({"tests": [ONE]}, {ONE: came_to("failed")}, "0", f"missing           {ONE} failed when it last ran"),
        ({"tests": [ONE]}, {ONE: came_to("skipped")}, "0", f"{ONE} was skipped when it last ran"),
        ({"tests": [ONE]}, {}, "0", f"{ONE} has not run here yet: make test\n"),
        ({"tests": [TWO]}, None, "0", f"{TWO} has not run here yet: make test-all"),
        ({"tests": [ONE]}, {ONE: came_to("passed", 29.9)}, "1", ONE),
        ({"tests": [ONE]}, {ONE: came_to("passed", 30.1)}, "0", f"{ONE} last ran 30 days ago: make test\n"),
        ({"tests": [ONE, TWO]}, {ONE: came_to("passed")}, "0", f"{TWO} has not run here yet"),
        ({"tests": ["tests/test_a.py"]}, {ONE: came_to("passed"), TWO: came_to("passed", 3)}, "1",
         f"{NOW - timedelta(days=3):%Y-%m-%d %H:%M}  tests/test_a.py (2 tests)"),
        ({"tests": ["tests/test_a.py"]}, {ONE: came_to("passed"), TWO: came_to("failed")}, "0",
         "tests/test_a.py test_two failed when it last ran"),
        ({"tests": ["tests/test_a.py"]}, {}, "0",
         "tests/test_a.py test_one has not run here yet: make test (1 more of the file do not count)"),
        ({"tests": [f"{ONE}s"]}, {f"{ONE}s": came_to("passed")}, "0", f"{ONE}s is not a test"),
        ({"tests": ["tests/test_b.py"]}, {}, "0", "tests/test_b.py is not a test"),
        (look_at("conditions.ranks.passed"), {}, "1", "models/verdict.json: conditions.ranks.passed"),
        (look_at("conditions.fair.passed"), {}, "0", "models/verdict.json: conditions.fair.passed is False"),
        (look_at("conditions.quick.passed"), {}, "0", "models/verdict.json: conditions.quick.passed has no 'quick'"),
        (look_at("passed", "models/none.json"), {}, "0", "models/none.json: passed is not built yet: make repro"),
        ({"tests": [ONE], **look_at("conditions.fair.passed")}, {ONE: came_to("passed")}, "0", "passed is False"),
        ({"by_hand": BY_HAND, "lacks": "A test."}, {}, "0.5", "2026-11-01        docs/measured.md (by hand)"),
        ({"by_hand": BY_HAND, "lacks": "A test."}, {}, "0.5", "missing           A test."),
        ({"by_hand": BY_HAND, "tests": [ONE]}, {ONE: came_to("failed")}, "0.5", f"{ONE} failed when it last ran"),
        ({"by_hand": BY_HAND, "tests": [ONE]}, {ONE: came_to("passed")}, "1", ONE),
        ({"by_hand": {**BY_HAND, "says": "it was guessed"}, "lacks": "A."}, {}, "0", "does not say 'it was guessed'"),
        ({"by_hand": {**BY_HAND, "document": "docs/lost.md"}, "lacks": "A."}, {}, "0", "lost.md (by hand) is missing"),
        ({"by_hand": {**BY_HAND, "date": "2999-01-01"}, "lacks": "A test."}, {}, "0", "is dated in the future"),
    ],
    ids=count(),  # not the expected words: the minute in them may differ between two workers
)  # fmt: skip
def test_points_follow_from_the_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    row: Record, results: Record | None, points: str, said: str,
) -> None:  # fmt: skip
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(write_project(tmp_path, {"D4": row}, results)))
    assert main(["readiness"]) == 0
    block = capsys.readouterr().out.split("\nD4   ")[1].split("\nD5   ")[0]
    assert block.split()[0] == points
    assert said in block
    assert "Demand D4." in block


def test_the_least_of_the_four_sums_is_the_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown, half = {"tests": [ONE]}, {"by_hand": BY_HAND, "lacks": "A test."}
    rows = {name: shown for name in IDS if name not in ("I3", "M2", "M3", "M5")} | {"M2": half, "M3": half}
    root = write_project(tmp_path, rows, {ONE: came_to("passed")})
    assert sum_sections(assess_project(root, NOW)) == {"Data": 7, "Model": 5, "Infrastructure": 6, "Monitoring": 7}
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(root))
    for least, status in (("5", 0), ("5.5", 1)):
        assert main(["readiness", "--least", least]) == status
        told = capsys.readouterr()
        assert "\nModel           5 of 7\n" in told.out
        assert told.out.endswith(f"The ML Test Score is the lowest of the four: 5 (Model). {_describe_score(5)}\n")
        assert (told.err != "") == bool(status)
    assert told.err == "lifecycle readiness: the lowest of the four sums is 5; at least 5.5 is required.\n"


def test_levels_are_those_of_the_paper() -> None:
    """Table V: up to and with 1, 2, 3 and 5, and beyond."""
    words = [_describe_score(score).split()[0] for score in (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 5, 5.5, 7)]
    assert words == ["More", "Not", "Not", "There's", "There's", "Reasonably", "Reasonably", "Strong", "Strong",
                     "Exceptional", "Exceptional"]  # fmt: skip
    assert [len([name for name in IDS if name.startswith(letter)]) for letter in SECTIONS] == [7] * 4


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "D9"}, r"rows must be D1 to O7, once each and in order; check \['D4', 'D9'\]"),
        ({"id": "D3"}, r"rows must be D1 to O7, once each"),
        ({"lacks": ""}, "D4 needs tests or artefacts, or else `lacks`"),
        ({"tests": [ONE]}, "D4 needs tests or artefacts, or else `lacks`"),
        ({"tests": [ONE], "lacks": "", "met": ""}, "D4 needs `met`"),
        ({"met": "So."}, "D4 needs `met`"),
        ({"lack": "x"}, r"rows\.3\.lack: is not a known key"),
        ({"bounds": {"seconds": 0}}, r"rows\.3\.bounds\.seconds"),
    ],
)
def test_a_rubric_that_is_wrong_is_named(tmp_path: Path, row: Record, said: str) -> None:
    root = write_project(tmp_path, {})
    rubric = json.loads((root / paths.RUBRIC).read_text())
    rubric["rows"][3].update(row)
    (root / paths.RUBRIC).write_text(json.dumps(rubric))
    with pytest.raises(ProjectError, match=rf"ml_test_score\.yaml: .*{said}"):
        assess_project(root, NOW)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", r"evidence\.json is not JSON"),
        (f'{{"{ONE}": {{"outcome": "fine", "at": "2026-11-24T00:00:00Z"}}}}', rf"evidence\.json: tests\.{ONE}\.outcome"),
        (f'{{"{ONE}": {{"outcome": "passed", "at": "2026-11-24T00:00:00"}}}}', rf"evidence\.json: tests\.{ONE}\.at"),
    ],
)  # fmt: skip
def test_evidence_that_is_damaged_is_named(tmp_path: Path, content: str, said: str) -> None:
    root = write_project(tmp_path, {}, {})
    (root / paths.EVIDENCE).write_text(content)
    with pytest.raises(ProjectError, match=said):
        assess_project(root, NOW)


def test_a_test_file_that_is_not_python_is_named(tmp_path: Path) -> None:
    root = write_project(tmp_path, {"D4": {"tests": [ONE]}})
    (root / "tests/test_a.py").write_text("def test_one(:\n")
    with pytest.raises(ProjectError, match=r"test_a\.py is not Python: .* in line 1"):
        assess_project(root, NOW)


# --- what tests leave behind

SUITE = """
import pytest

@pytest.mark.parametrize("word", ["a::b", "[c", "d"])
def test_words(word): assert word != {bad!r}

def test_passes():
    if {bad!r} == "Ctrl-C":
        raise KeyboardInterrupt
def test_skips(): pytest.skip("no")

@pytest.mark.xfail(strict=True)
def test_is_known_to_fail(): raise AssertionError

@pytest.fixture
def broken():
    yield
    raise RuntimeError

def test_fails_when_it_is_over(broken): ...

class TestThings:
    def test_in_a_class(self): ...
"""
EXPECTED = {
    "test_words": "failed", "test_passes": "passed", "test_skips": "skipped", "test_is_known_to_fail": "skipped",
    "test_fails_when_it_is_over": "failed", "TestThings::test_in_a_class": "passed",
}  # fmt: skip


def run_suite(root: Path, *words: str, bad: str = "") -> str:
    """Run pytest over SUITE with the hook; what it printed."""
    (root / "suite").mkdir(exist_ok=True)
    (root / "suite/test_a.py").write_text(SUITE.format(bad=bad))
    (root / "conftest.py").write_text("from tests.support.evidence import keep_evidence as pytest_configure\n")
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "xdist.plugin", *words]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1, 2) and "INTERNALERROR" not in done.stdout, done.stdout + done.stderr
    return done.stdout


def read_outcomes(root: Path) -> dict[str, str]:
    """What is on record of SUITE, all of it from now."""
    results = read_json(root / paths.EVIDENCE)
    ages = [datetime.now(UTC) - datetime.fromisoformat(result["at"]) for result in results.values()]
    assert max(map(abs, ages)) < timedelta(minutes=5)
    return {name.removeprefix("suite/test_a.py::"): result["outcome"] for name, result in results.items()}


@pytest.mark.integration
def test_outcomes_are_kept_by_function_and_added_to_what_was_there(tmp_path: Path) -> None:
    run_suite(tmp_path, "-n", "1", bad="d")
    assert read_outcomes(tmp_path) == EXPECTED
    assert set(_list_tests(tmp_path / "suite/test_a.py")) == set(EXPECTED)
    run_suite(tmp_path, "suite/test_a.py::test_words[d]", "suite/test_a.py::test_passes")
    assert read_outcomes(tmp_path) == EXPECTED, "one parameter that passes does not speak for the others"
    run_suite(tmp_path, "suite/test_a.py::test_words")
    assert read_outcomes(tmp_path) == {**EXPECTED, "test_words": "passed"}
    run_suite(tmp_path, "-x", bad="a::b")
    assert read_outcomes(tmp_path) == EXPECTED, "one that fails does"


@pytest.mark.integration
def test_a_test_that_was_interrupted_has_not_passed(tmp_path: Path) -> None:
    run_suite(tmp_path, "suite/test_a.py::test_words", "suite/test_a.py::test_passes", bad="Ctrl-C")
    assert read_outcomes(tmp_path) == {"test_words": "passed"}


def test_what_cannot_be_kept_is_told_and_fails_no_test(tmp_path: Path) -> None:
    (tmp_path / paths.EVIDENCE).mkdir(parents=True)
    told = run_suite(tmp_path, "-k", "passes")
    assert "1 passed" in told
    assert f"{paths.EVIDENCE} was not written: IsADirectoryError" in told
