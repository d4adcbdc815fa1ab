"""What `lifecycle monitor` last wrote of drift and decay, checked, and read anew when it changes."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from lifecycle.core.errors import ProjectError
from lifecycle.serving.fallback import stamp_file

logger = logging.getLogger("lifecycle.serving")
LARGEST = 16 * 1024 * 1024  # bytes
COLUMNS = 100  # of the greatest weight, of which Prometheus is told: each is a time series a gauge
SEVERITIES = ("quiet", "note", "look", "act")  # from nothing to what cannot wait


class Part(BaseModel):
    """What the server tells of a part of the file; keys beyond those are left to whoever reads GET /monitor."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class Window(Part):
    """A stretch of time whose requests were looked at together; it is judged where it has enough of them."""

    name: str
    start: AwareDatetime
    end: AwareDatetime
    rows: int
    labelled: int
    judged: bool


class Drift(Part):
    """How far a column of a window is from its reference.

    psi: the population stability index. distance: Wasserstein's, in standard deviations, or Jensen-Shannon's. p: of the
    test that nothing moved. missing: the share of values that are absent.
    """

    window: str
    column: str
    p: float | None
    psi: float | None
    distance: float | None
    missing: float | None
    drifted: bool


class Estimate(Part):
    """A value and its interval."""

    value: float
    low: float
    high: float


class Performance(Part):
    """A metric of a window: from the truths that came, and what was expected without them."""

    window: str
    metric: str
    realised: Estimate | None
    expected: Estimate | None


class Alert(Part):
    """What stands in the newest judged window, in a sentence."""

    kind: str
    column: str | None
    since: str | None
    window: str
    severity: Literal["note", "look", "act"]
    message: str


class Findings(Part):
    """The whole file."""

    format: Literal[1]
    model: Annotated[str, Field(pattern="^[0-9a-f]{12}$")]  # the short name, as in answers and in the log
    at: AwareDatetime
    severity: Literal["quiet", "note", "look", "act"]
    windows: list[Window]
    columns: list[str]
    weights: dict[str, float]
    drift: list[Drift]
    performance: list[Performance]
    alerts: list[Alert]


@dataclass(frozen=True)
class Reading:
    """The findings, the file's own bytes, and when it was written (seconds since 1970)."""

    findings: Findings
    body: bytes
    written: float

    @property
    def newest(self) -> Window | None:
        """The newest window that was judged."""
        return max(
            (window for window in self.findings.windows if window.judged), key=lambda told: told.end, default=None
        )

    def list_drift(self) -> list[Drift]:
        """A row a column of the newest judged window: first what is no column of the model, then those of most weight."""
        newest, weights = self.newest, self.findings.weights
        rows = {row.column: row for row in self.findings.drift if newest and row.window == newest.name}
        own = [row for name, row in rows.items() if name in self.findings.columns]
        heaviest = sorted(own, key=lambda row: -weights.get(row.column, 0.0))[:COLUMNS]
        return [*[row for name, row in rows.items() if name not in self.findings.columns][:COLUMNS], *heaviest]

    def list_performance(self) -> list[Performance]:
        """The rows of performance, from the oldest window to the newest."""
        ends = {window.name: window.end for window in self.findings.windows}
        return sorted(self.findings.performance, key=lambda row: ends[row.window])

    def count_alerts(self) -> dict[str, int]:
        """How many alerts stand of each severity."""
        counts = dict.fromkeys(SEVERITIES[1:], 0)
        for alert in self.findings.alerts:
            counts[alert.severity] += 1
        return counts


def read_findings(path: Path) -> Reading:
    """Read what a run of `lifecycle monitor` wrote.

    Raises ProjectError naming what is not as expected, OSError where the file cannot be read.
    """
    with path.open("rb") as file:
        state = os.fstat(file.fileno())
        if state.st_size > LARGEST:
            raise ProjectError(f"{path} has {state.st_size} bytes, expected at most {LARGEST}.")
        body = file.read(LARGEST)
    try:
        orjson.loads(body)  # stricter than pydantic's parser, which lets NaN pass: browsers do not
        findings = Findings.model_validate_json(body)
    except orjson.JSONDecodeError as error:
        raise ProjectError(f"{path} is not JSON ({error}).") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise ProjectError(f"{path}: {place}: {first['msg']}.") from error
    known = {window.name for window in findings.windows}
    named = {row.window for row in findings.drift} | {row.window for row in findings.performance}
    for window in sorted(named - known):
        raise ProjectError(f"{path}: window {window!r} is none of its windows ({', '.join(sorted(known))}).")
    return Reading(findings, body, state.st_mtime)


class MonitorFile:
    """A file of findings and what it last said; it need not be there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stamp: object = None
        self.last: Reading | None = None

    def has_changed(self) -> bool:
        """Whether it is another file than the one that was read."""
        return stamp_file(self.path) != self.stamp

    def read(self) -> None:
        """Read it. What is damaged or not known is a warning, and what was read before stays; gone, there is nothing."""
        self.stamp = stamp_file(self.path)
        try:
            self.last = read_findings(self.path)
        except FileNotFoundError:
            self.last = None
        except (ProjectError, OSError) as error:
            logger.warning("what the monitor found stays as it was: %s", error)
