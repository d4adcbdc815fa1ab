"""What several commands need: MLflow's environment, the prediction log's folder, and progress on the terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lifecycle.core.contract import load_contract
from lifecycle.core.paths import CONTRACT, Project, open_project
from lifecycle.pipeline.runner import ENVIRONMENT


def open_registry() -> tuple[Project, str]:
    """Return the project and the name of its registered model; MLflow's environment is that of the stages."""
    os.environ.update({key: ENVIRONMENT[key] for key in ENVIRONMENT if key.startswith(("MLFLOW", "GIT"))})
    project = open_project(write=True)
    return project, load_contract(project.read(CONTRACT)).name


def find_log(folder: str | None, project: Project) -> Path:
    """Return the prediction log to read: the given folder, or the server's."""
    from lifecycle.serving.settings import read_settings

    return Path(folder).resolve() if folder else project.root / read_settings(os.environ).log_folder


def report_slowly(command: str, every: float = 5.0) -> Callable[[str], None]:
    """Return a function that prints progress to stderr, at most one line in `every` seconds."""
    last = time.monotonic()

    def report(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            last = time.monotonic()
            print(f"{command}: {line}", file=sys.stderr, flush=True)

    return report
