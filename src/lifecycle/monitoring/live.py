"""Monitor the live champion: run the notebook of the stage `monitor` on the server's log, in a workspace of its own."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import replace_file
from lifecycle.core.paths import Project
from lifecycle.pipeline.forkserver import run_stage
from lifecycle.pipeline.workspaces import create_workspace, enter_workspace, link_path
from lifecycle.promotion.releases import find_release_folder, read_champion, read_release
from lifecycle.serving.monitor_report import MonitorReport

WORKSPACE = ".lifecycle/live"


def monitor_live(project: Project, log: Path) -> MonitorReport:
    """Monitor the champion's predictions in a log; return the report, which is also written to reports/live/monitor.json.

    The workspace stays, so that retraining can decide in it. Raises ProjectError where there is no champion, no log, or a
    champion whose bundle has no reference.
    """
    from lifecycle.prediction_log.compaction import compact_segments

    if not log.is_dir():
        raise ProjectError(f"{log} is not there: expected a prediction log, as `lifecycle serve` writes it.")
    with suppress(OSError):  # a read-only log is read as it is
        compact_segments(log)
    root = _open_workspace(project, log)
    with enter_workspace(root):
        page = run_stage("monitor", links=[])
    for source, target in ((page, paths.LIVE_PAGE), (root / paths.MONITORING, paths.LIVE_MONITORING)):
        with replace_file(project.write(target)) as aside:
            shutil.copyfile(source, aside)
    return MonitorReport.read(root / paths.MONITORING)


def _open_workspace(project: Project, log: Path) -> Path:
    """Create a workspace in which the champion is the candidate, with the previous champion next to it."""
    champion = read_champion(project.output)
    if champion.model is None:
        raise ProjectError(f"{paths.CHAMPION} names no model: `make repro` makes one.")
    read_release(project.output, champion.model)
    where = {"log": str(log.resolve())}
    root = create_workspace(project, WORKSPACE, {"monitor": {**where, "backtests": ""}, "retrain": where})
    link_path(find_release_folder(project.output, champion.model), root / paths.CANDIDATE)
    previous = champion.previous
    if previous and find_release_folder(project.output, previous).is_dir():
        link_path(find_release_folder(project.output, previous), root / paths.PREVIOUS)
    if (project.root / paths.VALIDATED_TABLE).is_file():
        link_path(project.root / paths.VALIDATED_TABLE, root / paths.VALIDATED_TABLE)
    return root


def describe_alerts(report: MonitorReport) -> list[str]:
    """Return a summary, then one line per current alert."""
    rows = sum(window.rows for window in report.windows)
    labels = sum(window.labelled for window in report.windows)
    kind = "simulated predictions" if report.simulated else "predictions"
    heading = (
        f"monitor: {report.severity}; {rows:,} {kind} of {report.model} in {len(report.windows)} windows, "
        f"{labels:,} labels"
    )
    return [heading, *(f"{alert.severity}: {alert.message}" for alert in report.alerts)]
