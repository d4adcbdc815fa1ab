"""The ML Test Score: the evidence for each of its 28 rows, when it last ran, and the score that follows.

Breck, Cai, Nielsen, Salib and Sculley (2017), "The ML Test Score: A Rubric for ML Production Readiness and Technical Debt
Reduction", IEEE Big Data. A row earns one point for an automated test, half a point for a documented manual one; the points of each of
the four sections are summed, and the lowest sum is the score.
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
_MEANINGS = (  # table V of the paper: what a score up to each number means
    (0, "More of a research project than a productionized system."),
    (1, "Not totally untested, but it is worth considering the possibility of serious holes in reliability."),
    (2, "There's been first pass at basic productionization, but additional investment may be needed."),
    (3, "Reasonably tested, but it's possible that more of those tests and procedures may be automated."),
    (5, "Strong levels of automated testing and monitoring, appropriate for mission-critical systems."),
    (7, "Exceptional levels of automated testing and monitoring."),
)
Sentence = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class Artefact(Strict):
    """A JSON file that a stage writes, and a key in it whose value must not be null, false, zero or empty.

    The key is dotted; an element of a list is found by its `name`: `conditions.min_slice_roc_auc.passed`.
    """

    file: Sentence
    key: Sentence


class ByHand(Strict):
    """A manual test: the document that describes it, words that the document must contain, and the date."""

    document: Sentence
    says: Sentence
    date: date


class Row(Strict):
    """A row of the rubric: what it demands, how the project meets it, and the evidence.

    tests: `file::function`, or a file for all of its functions. bounds: the limits that the tests of this row check.
    lacks: what is still missing, in a row without tests and artefacts.
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
        """Refuse a row that claims something without evidence, or that has evidence and still says what it lacks."""
        automatic = bool(self.tests or self.artefacts)
        if automatic == bool(self.lacks):
            raise ValueError(f"{self.id} needs tests or artefacts, or else `lacks`, a sentence about what is missing")
        if bool(self.met) != (automatic or self.by_hand is not None):
            raise ValueError(f"{self.id} needs `met` where it has evidence, and only there")
        return self


class Rubric(Strict):
    """All 28 rows in order, and for how many days a passed test counts as evidence."""

    valid_days: Count
    rows: tuple[Row, ...]

    @model_validator(mode="after")
    def check_rows(self) -> Self:
        """Require exactly the paper's rows, in order."""
        found = tuple(row.id for row in self.rows)
        if found != IDS:
            odd = sorted(set(found) ^ set(IDS)) or "their order"
            raise ValueError(f"the rows must be {IDS[0]} to {IDS[-1]}, once each and in order; check {odd}")
        return self

    def find_row(self, name: str) -> Row:
        """Return the row with this id."""
        return self.rows[IDS.index(name)]


class Result(Strict):
    """The outcome of a test function when it last ran."""

    outcome: Literal["passed", "failed", "skipped"]
    at: AwareDatetime


class Results(Strict):
    """The results of test functions by node id, without parameters."""

    tests: dict[str, Result]


@dataclass(frozen=True)
class Evidence:
    """One piece of evidence: its name, when it last ran (None: never), and why it does not count ("": it counts)."""

    name: str
    at: datetime | None
    fault: str = ""


@dataclass(frozen=True)
class AssessedRow:
    """A row with its evidence and its points (0, 0.5 or 1)."""

    row: Row
    evidence: tuple[Evidence, ...]
    points: float

    @property
    def at(self) -> datetime | None:
        """When the oldest piece of evidence that counts last ran."""
        return min((piece.at for piece in self.evidence if piece.at and not piece.fault), default=None)


def load_rubric(path: Path) -> Rubric:
    """Load and check the rubric; raise ProjectError naming the file and the row."""
    return parse_strictly(Rubric, read_yaml(path), path)


def load_results(path: Path) -> dict[str, Result]:
    """Load the results of the last test runs, empty before the first; raise ProjectError naming the file and the test."""
    return parse_strictly(Results, {"tests": read_json(path)}, path).tests if path.exists() else {}


def assess_project(root: Path, now: datetime) -> list[AssessedRow]:
    """Assess every row of the project's rubric; raise ProjectError naming the file and the row."""
    rubric = load_rubric(root / RUBRIC)
    results = load_results(root / EVIDENCE)
    return [_assess_row(row, root, results, now, rubric.valid_days) for row in rubric.rows]


def _assess_row(row: Row, root: Path, results: Mapping[str, Result], now: datetime, valid_days: int) -> AssessedRow:
    """Give one point when all tests and artefacts count, half a point when a manual test is documented, else none."""
    automatic = [_assess_test(name, root, results, now, valid_days) for name in row.tests]
    automatic += [_assess_artefact(artefact, root) for artefact in row.artefacts]
    by_hand = [_assess_document(row.by_hand, root, now)] if row.by_hand else []
    if automatic and not any(piece.fault for piece in automatic):
        points = 1.0
    else:
        points = 0.5 if by_hand and not by_hand[0].fault else 0.0
    return AssessedRow(row, (*automatic, *by_hand), points)


def _assess_test(name: str, root: Path, results: Mapping[str, Result], now: datetime, valid_days: int) -> Evidence:
    """Assess a test function, or all of a file's: it counts when it passed in its last run, within `valid_days`."""
    file, _, function = name.partition("::")
    there = _list_tests(root / file)
    wanted = {f"{file}::{test}": command for test, command in there.items() if not function or test == function}
    if not wanted:
        return Evidence(name, None, "is not a test")
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


def _assess_artefact(artefact: Artefact, root: Path) -> Evidence:
    """Assess a key of a file that the pipeline wrote: it counts when its value is not empty."""
    name, path = f"{artefact.file}: {artefact.key}", root / artefact.file
    if not path.is_file():
        return Evidence(name, None, "is not built yet: make repro")
    at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    try:
        value = _find_value(read_json(path), artefact.key)
    except KeyError as error:
        return Evidence(name, at, f"has no {error.args[0]!r}")
    return Evidence(name, at, "" if value else f"is {value!r}")


def _assess_document(by_hand: ByHand, root: Path, now: datetime) -> Evidence:
    """Assess the document of a manual test: it counts when it contains the words."""
    name, path = f"{by_hand.document} (by hand)", root / by_hand.document
    at = datetime(by_hand.date.year, by_hand.date.month, by_hand.date.day, tzinfo=UTC)
    if not path.is_file():
        return Evidence(name, at, "is missing")
    if at > now:
        return Evidence(name, at, "is dated in the future")
    said = " ".join(by_hand.says.split()) in " ".join(path.read_text(encoding="utf-8").split())
    return Evidence(name, at, "" if said else f"does not say {by_hand.says!r}")


def _find_value(record: Any, key: str) -> Any:
    """Return the value at a dotted key, finding list elements by `name`; raise KeyError with the part that is missing."""
    for part in key.split("."):
        if isinstance(record, list):
            record = {element["name"]: element for element in record if isinstance(element, dict) and "name" in element}
        if not isinstance(record, dict) or part not in record:
            raise KeyError(part)
        record = record[part]
    return record


def _list_tests(path: Path) -> dict[str, str]:
    """List the test functions of a file (`test_x`, `TestY::test_x`) with the command that runs each; empty without the file.

    Raises ProjectError when the file is not Python.
    """
    if not path.is_file():
        return {}
    try:
        module = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ProjectError(f"{path} is not Python: {error.msg} in line {error.lineno}.") from error
    assigned = [node for node in module.body if isinstance(node, ast.Assign)]
    marks = [node for node in assigned if ast.unparse(node.targets[0]) == "pytestmark"]
    return dict(_walk_tests(module, "", _is_integration(marks)))


def _walk_tests(parent: ast.Module | ast.ClassDef, prefix: str, integration: bool) -> Iterator[tuple[str, str]]:
    """Yield the test functions of a module or a test class, and the command that runs each."""
    for node in parent.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            slow = integration or _is_integration(node.decorator_list)
            yield f"{prefix}{node.name}", "make test-all" if slow else "make test"
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            slow = integration or _is_integration(node.decorator_list)
            yield from _walk_tests(node, f"{prefix}{node.name}::", slow)


def _is_integration(nodes: Sequence[ast.AST]) -> bool:
    """Return whether one of the decorators or marks is `pytest.mark.integration`."""
    return any(
        isinstance(part, ast.Attribute) and part.attr == "integration" for node in nodes for part in ast.walk(node)
    )


def sum_sections(scored: Sequence[AssessedRow]) -> dict[str, float]:
    """Sum the points of each section, by its name."""
    return {
        name: sum(found.points for found in scored if found.row.id.startswith(letter))
        for letter, name in SECTIONS.items()
    }


def _describe_score(score: float) -> str:
    """Return what the paper says about a score."""
    return next(text for most, text in _MEANINGS if score <= most)


def tabulate_assessment(scored: Sequence[AssessedRow]) -> list[str]:
    """Format the assessment as lines of text: each row with its evidence, the four sums, and the score."""
    lines = ["row  points  last ran (UTC)    evidence"]
    for found in scored:
        lines += ["", f"{found.row.id:<5}{found.points:<8g}{_format_time(found.at):<18}{found.row.demands}"]
        lines += [f"{'':31}{found.row.met}"] if found.row.met else []
        lines += [f"{'':13}{_format_time(piece.at):<18}{piece.name}" for piece in found.evidence if not piece.fault]
        lines += [f"{'':13}{'missing':<18}{text}" for text in _list_missing(found)]
    sums = sum_sections(scored)
    least = min(sums, key=lambda name: sums[name])
    lines += ["", *(f"{name:<16}{points:g} of {len(IDS) // len(SECTIONS)}" for name, points in sums.items())]
    said = f"The ML Test Score is the lowest of the four: {sums[least]:g} ({least})."
    return [*lines, "", f"{said} {_describe_score(sums[least])}"]


def _list_missing(found: AssessedRow) -> list[str]:
    """List what keeps a row from its full point."""
    faults = [f"{piece.name} {piece.fault}" for piece in found.evidence if piece.fault]
    return [*faults, *([found.row.lacks] if found.row.lacks else [])]


def _format_time(at: datetime | None) -> str:
    """Format a moment to the minute in UTC; midnight shows as the date alone."""
    if at is None:
        return "never"
    text = f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
    return text.removesuffix(" 00:00")
