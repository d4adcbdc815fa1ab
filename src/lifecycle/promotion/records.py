"""The records of promotion: conditions and verdicts, releases, the champion, and the lines of its history.

Each class writes and reads one kind of file. They import nothing heavy, because the server reads some of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from lifecycle.core.errors import ProjectError
from lifecycle.core.records import Frozen

FORMAT: Literal[2] = 2
Action = Literal["promote", "rollback", "compare"]
Label = bool | int | float | str
Numbers = dict[str, int | float | None]


class Condition(Frozen):
    """A condition of the quality gate. `passed` is None when it could not be measured."""

    name: str
    title: str
    limit: int | float | None = None
    value: int | float | None = None
    passed: bool | None
    message: str


class Verdict(Frozen):
    """The gate's verdict on a candidate (models/verdict.json).

    blessed: no condition fails. better: the candidate is shown to be better than the champion at the first look, or there is
    none. p: of the test that it is not better, None where they were not compared. significance: the level of the test.
    """

    blessed: bool
    better: bool
    p: float | None = None
    significance: float = 0.05
    model: str
    conditions: tuple[Condition, ...]
    because: str


class Check(Frozen):
    """A check of a running server; its message holds no measured value, so that a rebuild has the same bytes."""

    name: str
    title: str
    passed: bool
    message: str


class Blessing(Frozen):
    """The verdict on a serving bundle (models/blessing.json): whether it passed every check of the running server."""

    blessed: bool
    bundle: str
    model: str
    conditions: tuple[Check, ...]
    because: str


class _Versioned(Frozen):
    """A record whose file names its format."""

    @classmethod
    def parse(cls, value: Any, source: Path | str) -> Self:
        """Build the record; raise ProjectError for another format, and for the first field that is wrong."""
        if isinstance(value, dict) and value.get("model") is not None and value.get("format") != FORMAT:
            found = value.get("format", "an earlier version")
            raise ProjectError(f"{source} has the format {found}, expected {FORMAT}: run `lifecycle upgrade`.")
        return super().parse(value, source)


class Release(_Versioned):
    """A model that may be live (models/releases/MODEL/release.json).

    model and bundle are content hashes, prior is the share of positives in training, metrics are those of the hold-out.
    """

    format: Literal[2] = FORMAT
    model: str
    bundle: str
    family: str
    prior: float
    positive: Label
    metrics: Numbers
    verdict: Verdict
    blessing: Blessing


class Champion(_Versioned):
    """The live model (models/champion.json): its release and the model before it. `model` is None while there is none."""

    format: Literal[2] = FORMAT
    model: str | None
    bundle: str | None = None
    family: str | None = None
    prior: float | None = None
    positive: Label | None = None
    metrics: Numbers | None = None
    verdict: Verdict | None = None
    blessing: Blessing | None = None
    previous: str | None = None

    @classmethod
    def of(cls, release: Release, previous: str | None) -> Self:
        """Return the champion that a release becomes."""
        return cls(**dict(release), previous=previous)

    def to_json(self) -> dict[str, Any]:
        """Return the fields that were given: a project without a champion has the model alone."""
        return self.model_dump(mode="json", exclude_unset=True)


class HistoryLine(Frozen):
    """A line of models/history.jsonl: the champion became `model`; `before` is the champion that it replaced.

    compare: `model` was compared with the champion `before`, and not shown to be better.
    """

    at: str
    by: str
    action: Action = "promote"  # the first lines that were written had neither action nor bundle
    model: str
    bundle: str | None = None
    before: str | None
    because: str
