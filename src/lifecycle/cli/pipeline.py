"""The commands that dvc.yaml calls: run a stage, write the front page."""

from __future__ import annotations

import click

from lifecycle.core.paths import open_project
from lifecycle.pipeline.forkserver import run_stage
from lifecycle.pipeline.runner import STAGES


@click.command()
@click.argument("stage", type=click.Choice(STAGES))
def run(stage: str) -> None:
    """Run a stage's notebook and render its report."""
    run_stage(stage)


@click.command()
def report() -> None:
    """Write reports/index.html, the front page."""
    from lifecycle.stages.report import write_report

    page = write_report(open_project(write=True))
    print(f"report: {page.name} is the front page")


COMMANDS = (run, report)
