"""The commands about a live model: monitor, retrain, and replay a year of both."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from lifecycle.cli._shared import find_log, open_registry
from lifecycle.core.paths import LIVE_PAGE, open_project
from lifecycle.pipeline.runner import ENVIRONMENT
from lifecycle.retraining.steps import STEPS


@click.command()
@click.option("--log", metavar="FOLDER", help="The prediction log. Default: the server's.")
@click.option("--exit-code", is_flag=True, help="Exit with status 2 when there is a critical alert.")
def monitor(log: str | None, *, exit_code: bool) -> int:
    """Look for drift and degradation in the prediction log.

    The log is compared with the hold-out that the champion was evaluated on.
    """
    from lifecycle.monitoring.live import describe_alerts, monitor_live

    project = open_project(write=True)
    report = monitor_live(project, find_log(log, project))
    print(*describe_alerts(report), sep="\n")
    print(f"monitor: the report is {LIVE_PAGE}")
    return 2 if exit_code and report.severity == "critical" else 0


@click.command()
@click.argument("step", required=False, type=click.Choice([each.name for each in STEPS]))
@click.option("--log", metavar="FOLDER", help="The prediction log. Default: the server's.")
def retrain(step: str | None, log: str | None) -> int:
    """Train a new model when a rule requires it.

    The new model is promoted when it is better than the champion. With STEP, only that step runs; its exit status is 99 when there is nothing (more) to do.
    """
    project, _ = open_registry()
    from lifecycle.retraining.challenger import retrain as retrain_champion

    status = retrain_champion(project, find_log(log, project), step)
    return status if step else 0


@click.command()
@click.option("--scenario", metavar="NAME", help="One of simulate.scenarios. Default: that of monitor.log.")
def replay(scenario: str | None) -> int:
    """Replay a simulated year of monitoring and retraining."""
    pinned = {key: value for key, value in ENVIRONMENT.items() if value}
    if any(os.environ.get(key) != value for key, value in pinned.items()):  # before numpy loads, as in a stage
        words = [sys.executable, "-m", "lifecycle.cli.main", "replay", *(["--scenario", scenario] if scenario else [])]
        return subprocess.run(words, env={**os.environ, **pinned}, check=False).returncode
    project, _ = open_registry()
    from lifecycle.retraining.replay import replay_year

    page = replay_year(project, scenario)
    print(f"replay: the report is {page.relative_to(project.output)}")
    return 0


COMMANDS = (monitor, retrain, replay)
