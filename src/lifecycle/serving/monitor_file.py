"""Read the file of the monitoring report in the server, and read it again when it changes."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import orjson
from pydantic import ValidationError

from lifecycle.core.errors import ProjectError
from lifecycle.serving.fallback import stamp_file
from lifecycle.serving.monitor_report import SEVERITIES, Drift, MonitorReport, Performance, Window

logger = logging.getLogger("lifecycle.serving")

MAX_BYTES = 16 * 1024 * 1024  # of the file
MAX_COLUMNS = 100  # that Prometheus gets gauges of, by weight: each column is a time series of every gauge


@dataclass(frozen=True)
class LoadedReport:
    """A report, the bytes of its file, and when the file was written (seconds since 1970)."""

    report: MonitorReport
    body: bytes
    written: float

    @property
    def newest(self) -> Window | None:
        """The newest window that was judged."""
        judged = (window for window in self.report.windows if window.judged)
        return max(judged, key=lambda window: window.end, default=None)

    def list_drift(self) -> list[Drift]:
        """Return the rows of the newest judged window: first those about all columns together, then columns by weight."""
        newest, weights = self.newest, self.report.weights
        rows = {row.column: row for row in self.report.drift if newest and row.window == newest.name}
        own = [row for name, row in rows.items() if name in self.report.columns]
        heaviest = sorted(own, key=lambda row: -weights.get(row.column, 0.0))[:MAX_COLUMNS]
        return [*[row for name, row in rows.items() if name not in self.report.columns][:MAX_COLUMNS], *heaviest]

    def list_performance(self) -> list[Performance]:
        """Return the rows of performance, from the oldest window to the newest."""
        ends = {window.name: window.end for window in self.report.windows}
        return sorted(self.report.performance, key=lambda row: ends[row.window])

    def count_alerts(self) -> dict[str, int]:
        """Count the alerts of each severity."""
        counts = dict.fromkeys(SEVERITIES[1:], 0)
        for alert in self.report.alerts:
            counts[alert.severity] += 1
        return counts


def load_report(path: Path) -> LoadedReport:
    """Read a report that `lifecycle monitor` has written.

    Raises ProjectError naming what is wrong with the file, OSError where it cannot be read.
    """
    with path.open("rb") as file:
        state = os.fstat(file.fileno())
        if state.st_size > MAX_BYTES:
            raise ProjectError(f"{path} has {state.st_size} bytes, expected at most {MAX_BYTES}.")
        body = file.read(MAX_BYTES)
    try:
        orjson.loads(body)  # stricter than pydantic's parser, which accepts NaN: browsers do not
        report = MonitorReport.model_validate_json(body)
    except orjson.JSONDecodeError as error:
        raise ProjectError(f"{path} is not JSON ({error}).") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "the top level"
        raise ProjectError(f"{path}: {field}: {first['msg']}.") from error
    known = {window.name for window in report.windows}
    named = {row.window for row in report.drift} | {row.window for row in report.performance}
    for window in sorted(named - known):
        raise ProjectError(f"{path}: {window!r} is not one of its windows ({', '.join(sorted(known))}).")
    return LoadedReport(report, body, state.st_mtime)


class MonitorFile:
    """A file with a report, and the last report that could be read from it; the file need not exist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stamp: object = None
        self.last: LoadedReport | None = None

    def has_changed(self) -> bool:
        """Return whether the file is another one than the one that was read."""
        return stamp_file(self.path) != self.stamp

    def read(self) -> None:
        """Read the file. If it is gone, there is no report; if it is damaged, log a warning and keep the last report."""
        self.stamp = stamp_file(self.path)
        try:
            self.last = load_report(self.path)
        except FileNotFoundError:
            self.last = None
        except (ProjectError, OSError) as error:
            logger.warning("the monitor's report is kept as it was: %s", error)
