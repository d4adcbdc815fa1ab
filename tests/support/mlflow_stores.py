"""An empty MLflow store, whose tables are made once in a run of the tests: making them takes a second."""

from __future__ import annotations

import shutil
from pathlib import Path


def make_store(folder: Path) -> None:
    """Make `mlflow.db` in a new folder."""
    import mlflow

    folder.mkdir()
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}").search_experiments()


def copy_store(store: Path, root: Path) -> Path:
    """Give the project in `root` a copy of the store; returns `root`."""
    root.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(store / "mlflow.db", root / "mlflow.db")
    return root
