"""The ML Test Score: what shows each of its 28 rows, when that last ran, and what all of it comes to.

Breck, Cai, Nielsen, Salib and Sculley (2017), "The ML Test Score: A Rubric for ML Production Readiness and Technical Debt
Reduction", IEEE Big Data: a point for a test that runs by itself, half a point for one that was done by hand and written
down; each of four sections is summed, and the least sum is the score.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json
from lifecycle.core.params import Count, Strict, parse_strictly, read_yaml
from lifecycle.core.paths import EVIDENCE, RUBRIC

SECTIONS = {"D": "Data", "M": "Model", "I": "Infrastructure", "O": "Monitoring"}
IDS = tuple(f"{letter}{number}" for letter in SECTIONS for number in range(1, 8))
LEVELS = (  # table V of the paper: what a score up to each number says
    (0, "More of a research project than a productionized system."),
    (1, "Not totally untested, but it is worth considering the possibility of serious holes in reliability."),
    (2, "There's been first pass at basic productionization, but additional investment may be needed."),
    (3, "Reasonably tested, but it's possible that more of those tests and procedures may be automated."),
    (5, "Strong levels of automated testing and monitoring, appropriate for mission-critical systems."),
    (7, "Exceptional levels of automated testing and monitoring."),
)
Sentence = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class Artefact(Strict):
    """A JSON file that a stage writes, and a key in it that must hold something: not null, false, nought or empty.

    The key is dotted; an element of a list goes by its `name`: `conditions.min_slice_roc_auc.passed`.
    """

    file: Sentence
    key: Sentence


class ByHand(Strict):
    """A test that was done by hand: the document, words that must stand in it, and the day."""

    document: Sentence
    says: Sentence
    date: date


class Row(Strict):
    """A row of the rubric: what it demands, how it is met, and what shows that.

    tests: `file::function`, or a file for all of its functions. bounds: the limits that tests of this row hold to.
    lacks: what is still wanted, in a row without tests and artefacts.
    """

    id: str
    demands: Sentence
    met: str = ""
    tests: tuple[Sentence, ...] = ()
    artefacts: tuple[Artefact, ...] = ()
    by_hand: ByHand | None = None
    bounds: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    lacks: str = ""

    @model_validator(mode="after")
    def check_agreement(self) -> Self:
        """Refuse a row that claims without evidence, or lacks something and is met by itself all the same."""
        automatic = bool(self.tests or self.artefacts)
        if automatic == bool(self.lacks):
            raise ValueError(f"{self.id} needs tests or artefacts, or else `lacks`, a sentence on what is wanted")
        if bool(self.met) != (automatic or self.by_hand is not None):
            raise ValueError(f"{self.id} needs `met` where it has evidence, and only there")
        return self


class Rubric(Strict):
    """All 28 rows in order, and for how many days a test that passed is evidence: what never runs again shows nothing."""

    valid_days: Count
    rows: tuple[Row, ...]

    @model_validator(mode="after")
    def check_rows(self) -> Self:
        """Refuse other rows than the paper's."""
        found = tuple(row.id for row in self.rows)
        if found != IDS:
            odd = sorted(set(found) ^ set(IDS)) or "their order"
            raise ValueError(f"there must be the rows {IDS[0]} to {IDS[-1]}, once each and in order; look at {odd}")
        return self

    def find_row(self, name: str) -> Row:
        """The row of an id."""
        return self.rows[IDS.index(name)]


class Result(Strict):
    """What a test function came to when it last ran."""

    outcome: Literal["passed", "failed", "skipped"]
    at: AwareDatetime


class Results(Strict):
    """The results of test functions by their node ids, parameters left out."""

    tests: dict[str, Result]


@dataclass(frozen=True)
class Evidence:
    """One thing that shows a row: its name, when it last ran (None: never), and why it does not count ("": it does)."""

    name: str
    at: datetime | None
    fault: str = ""


@dataclass(frozen=True)
class ScoredRow:
    """A row with its evidence and its points: 0, 0.5 or 1."""

    row: Row
    evidence: tuple[Evidence, ...]
    points: float

    @property
    def at(self) -> datetime | None:
        """When the evidence that counts last ran: the oldest of it."""
        return min((piece.at for piece in self.evidence if piece.at and not piece.fault), default=None)


def load_rubric(path: Path) -> Rubric:
    """Load and check the rubric; raises ProjectError naming the file and the row."""
    return parse_strictly(Rubric, read_yaml(path), path)


def load_results(path: Path) -> dict[str, Result]:
    """What the tests came to; nothing where none has run. Raises ProjectError naming the file and the test."""
    return parse_strictly(Results, {"tests": read_json(path)}, path).tests if path.exists() else {}


def score_project(root: Path, now: datetime) -> list[ScoredRow]:
    """Every row of the project's rubric with its evidence and points; raises ProjectError naming the file and the row."""
    rubric = load_rubric(root / RUBRIC)
    results = load_results(root / EVIDENCE)
    return [score_row(row, root, results, now, rubric.valid_days) for row in rubric.rows]


def score_row(row: Row, root: Path, results: Mapping[str, Result], now: datetime, valid_days: int) -> ScoredRow:
    """A point where all tests and artefacts of the row hold, else half a point where it was shown by hand, else none."""
    automatic = [judge_test(name, root, results, now, valid_days) for name in row.tests]
    automatic += [judge_artefact(artefact, root) for artefact in row.artefacts]
    by_hand = [judge_document(row.by_hand, root, now)] if row.by_hand else []
    if automatic and not any(piece.fault for piece in automatic):
        points = 1.0
    else:
        points = 0.5 if by_hand and not by_hand[0].fault else 0.0
    return ScoredRow(row, (*automatic, *by_hand), points)


def judge_test(name: str, root: Path, results: Mapping[str, Result], now: datetime, valid_days: int) -> Evidence:
    """A test function, or all of a file's: evidence while it passed when it last ran, and that is not long ago."""
    file, _, function = name.partition("::")
    there = list_tests(root / file)
    wanted = {f"{file}::{test}": command for test, command in there.items() if not function or test == function}
    if not wanted:
        return Evidence(name, None, "is no test")
    faults = {}
    for test, command in wanted.items():
        result = results.get(test)
        if result is None:
            faults[test] = f"has not run here yet: {command}"
        elif result.outcome != "passed":
            faults[test] = f"{'was skipped' if result.outcome == 'skipped' else 'failed'} when it last ran"
        elif (days := (now - result.at).days) >= valid_days:
            faults[test] = f"last ran {days} days ago: {command}"
    at = min((results[test].at for test in wanted if test in results), default=None)
    if function or not faults:
        return Evidence(name if function else f"{name} ({len(wanted)} tests)", at, faults.get(name, ""))
    first, fault = next(iter(faults.items()))
    more = f" ({len(faults) - 1} more of the file do not count)" if len(faults) > 1 else ""
    return Evidence(name, at, f"{first.removeprefix(f'{file}::')} {fault}{more}")


def judge_artefact(artefact: Artefact, root: Path) -> Evidence:
    """A key of a file that the pipeline wrote: evidence while it holds something."""
    name, path = f"{artefact.file}: {artefact.key}", root / artefact.file
    if not path.is_file():
        return Evidence(name, None, "is not built here yet: make repro")
    at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    try:
        value = find_value(read_json(path), artefact.key)
    except KeyError as error:
        return Evidence(name, at, f"has no {error.args[0]!r}")
    return Evidence(name, at, "" if value else f"is {value!r}")


def judge_document(by_hand: ByHand, root: Path, now: datetime) -> Evidence:
    """A document on what was done by hand: evidence while it says so."""
    name, path = f"{by_hand.document} (by hand)", root / by_hand.document
    at = datetime(by_hand.date.year, by_hand.date.month, by_hand.date.day, tzinfo=UTC)
    if not path.is_file():
        return Evidence(name, at, "is not there")
    if at > now:
        return Evidence(name, at, "is dated in the future")
    said = " ".join(by_hand.says.split()) in " ".join(path.read_text(encoding="utf-8").split())
    return Evidence(name, at, "" if said else f"does not say {by_hand.says!r}")


def find_value(record: Any, key: str) -> Any:
    """The value at a dotted key, where an element of a list goes by its `name`; KeyError with the part that is not there."""
    for part in key.split("."):
        if isinstance(record, list):
            record = {element["name"]: element for element in record if isinstance(element, dict) and "name" in element}
        if not isinstance(record, dict) or part not in record:
            raise KeyError(part)
        record = record[part]
    return record


def list_tests(path: Path) -> dict[str, str]:
    """The test functions of a file (`test_x`, `TestY::test_x`), each with the command that runs it; none: no such file.

    Raises ProjectError where the file is not Python.
    """
    if not path.is_file():
        return {}
    try:
        module = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ProjectError(f"{path} is not Python: {error.msg} in line {error.lineno}.") from error
    assigned = [node for node in module.body if isinstance(node, ast.Assign)]
    marks = [node for node in assigned if ast.unparse(node.targets[0]) == "pytestmark"]
    return dict(walk_tests(module, "", is_integration(marks)))


def walk_tests(parent: ast.Module | ast.ClassDef, prefix: str, integration: bool) -> Iterator[tuple[str, str]]:
    """The test functions below a module or a test class, and the command that runs each."""
    for node in parent.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            slow = integration or is_integration(node.decorator_list)
            yield f"{prefix}{node.name}", "make test-all" if slow else "make test"
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            slow = integration or is_integration(node.decorator_list)
            yield from walk_tests(node, f"{prefix}{node.name}::", slow)


def is_integration(nodes: Sequence[ast.AST]) -> bool:
    """Whether one of the decorators or marks is `pytest.mark.integration`."""
    return any(
        isinstance(part, ast.Attribute) and part.attr == "integration" for node in nodes for part in ast.walk(node)
    )


def sum_sections(scored: Sequence[ScoredRow]) -> dict[str, float]:
    """The points of each section, by its name."""
    return {
        name: sum(found.points for found in scored if found.row.id.startswith(letter))
        for letter, name in SECTIONS.items()
    }


def describe_level(score: float) -> str:
    """What the paper says of a score."""
    return next(text for most, text in LEVELS if score <= most)


def tabulate_score(scored: Sequence[ScoredRow]) -> list[str]:
    """The score as lines of text: each row with its evidence and what it is missing, the four sums, and the least."""
    lines = ["row  points  last ran (UTC)    evidence"]
    for found in scored:
        lines += ["", f"{found.row.id:<5}{found.points:<8g}{format_time(found.at):<18}{found.row.demands}"]
        lines += [f"{'':31}{found.row.met}"] if found.row.met else []
        lines += [f"{'':13}{format_time(piece.at):<18}{piece.name}" for piece in found.evidence if not piece.fault]
        lines += [f"{'':13}{'missing':<18}{text}" for text in list_missing(found)]
    sums = sum_sections(scored)
    least = min(sums, key=lambda name: sums[name])
    lines += ["", *(f"{name:<16}{points:g} of {len(IDS) // len(SECTIONS)}" for name, points in sums.items())]
    told = f"The ML Test Score is the least of the four: {sums[least]:g} ({least})."
    return [*lines, "", f"{told} {describe_level(sums[least])}"]


def list_missing(found: ScoredRow) -> list[str]:
    """What keeps a row from its full point, in words."""
    faults = [f"{piece.name} {piece.fault}" for piece in found.evidence if piece.fault]
    return [*faults, *([found.row.lacks] if found.row.lacks else [])]


def format_time(at: datetime | None) -> str:
    """A moment to the minute, in UTC; midnight is a day's date."""
    if at is None:
        return "never"
    text = f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
    return text.removesuffix(" 00:00")
