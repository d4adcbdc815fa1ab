"""What several commands need: MLflow's environment and the prediction log's folder."""

from __future__ import annotations

import os
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
