"""The live champion, watched: the notebook of the stage `monitor` on the log of the server, in a root of its own."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json, replace_file
from lifecycle.core.paths import Project
from lifecycle.pipeline.runner import run_stage
from lifecycle.pipeline.workspaces import create_workspace, enter_workspace, link_path
from lifecycle.promotion.releases import find_release, read_champion, read_release

Record = dict[str, Any]
ROOT = ".lifecycle/live"


def monitor_live(project: Project, log: Path) -> Record:
    """Look at a server's prediction log with the champion's eyes; gives what reports/live/monitor.json then says.

    The root stays, for retraining to decide in. Raises ProjectError where there is no champion, no log, or a champion from
    before there was anything to compare with.
    """
    from lifecycle.prediction_log.compaction import compact_segments

    if not log.is_dir():
        raise ProjectError(f"{log} is not there: expected a prediction log, as `lifecycle serve` writes it.")
    with suppress(OSError):  # a log that may only be read is read as it is
        compact_segments(log)
    root = open_live(project, log)
    with enter_workspace(root):
        page = run_stage("monitor", links=[])
    for source, target in ((page, paths.LIVE_PAGE), (root / paths.MONITORING, paths.LIVE_MONITORING)):
        with replace_file(project.write(target)) as aside:
            shutil.copyfile(source, aside)
    record: Record = read_json(root / paths.MONITORING)
    return record


def open_live(project: Project, log: Path) -> Path:
    """A root in which the champion stands in the candidate's place, and the model before it beside it."""
    champion = read_champion(project.output)
    if champion["model"] is None:
        raise ProjectError(f"{paths.CHAMPION} names no model: `make repro` makes one.")
    read_release(project.output, champion["model"])
    where = {"log": str(log.resolve())}
    root = create_workspace(project, ROOT, {"monitor": {**where, "rehearsals": ""}, "retrain": where})
    link_path(find_release(project.output, champion["model"]), root / paths.CANDIDATE)
    previous = champion.get("previous")
    if previous and find_release(project.output, previous).is_dir():
        link_path(find_release(project.output, previous), root / paths.PREVIOUS)
    if (project.root / paths.VALIDATED_TABLE).is_file():
        link_path(project.root / paths.VALIDATED_TABLE, root / paths.VALIDATED_TABLE)
    return root


def describe_alerts(record: Record) -> list[str]:
    """What stands, a line an alert."""
    lines = [f"{alert['severity']}: {alert['message']}" for alert in record["alerts"]]
    rows = sum(window["rows"] for window in record["windows"])
    truths = sum(window["labelled"] for window in record["windows"])
    heading = f"monitor: {record['severity']}; {rows:,} predictions of {record['model']} in {len(record['windows'])} windows, {truths:,} truths"
    return [heading, *lines]
