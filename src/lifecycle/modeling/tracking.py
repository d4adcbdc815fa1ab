"""Log runs, trials and models to MLflow. MLflow mirrors the files: losing its store loses no artefact."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

from lifecycle.modeling.model import Model

TAG = "lifecycle."  # the prefix of our tags
_VARIABLE = "MLFLOW_TRACKING_URI"


def open_tracking(output: Path, name: str) -> tuple[MlflowClient, str]:
    """Return a client of $MLFLOW_TRACKING_URI, or of mlflow.db in `output`, and the id of the (new) experiment."""
    for noisy, level in (("alembic", logging.WARNING), ("mlflow", logging.WARNING), ("mlflow.sklearn", logging.ERROR)):
        logging.getLogger(noisy).setLevel(level)  # messages about set-up, and warnings about pickle
    warnings.filterwarnings("ignore", message="IProgress not found")  # reports have no widgets
    import mlflow

    output.mkdir(parents=True, exist_ok=True)
    address = os.environ.get(_VARIABLE) or f"sqlite:///{output / 'mlflow.db'}"
    with _keep_variable():
        mlflow.set_tracking_uri(address)
    client = mlflow.MlflowClient(tracking_uri=address)
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        return client, experiment.experiment_id
    place = (output / "mlartifacts").as_uri() if address.startswith("sqlite:") else None
    return client, client.create_experiment(name, artifact_location=place)


@contextmanager
def _keep_variable() -> Iterator[None]:
    """Restore $MLFLOW_TRACKING_URI after the block.

    MLflow sets it for its child processes; left there, it would make a second project of this process use the first one's store.
    """
    before = os.environ.get(_VARIABLE)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = before


def find_run(client: MlflowClient, experiment: str, tags: Mapping[str, str], *, unfinished: bool = False) -> str | None:
    """Return the id of the newest run with these tags (with `unfinished`, of those still running), None without one."""
    query = " and ".join(f"tags.`{TAG}{key}` = '{value}'" for key, value in tags.items())
    query += " and attributes.status = 'RUNNING'" if unfinished else ""
    runs = client.search_runs([experiment], query, max_results=1)
    return runs[0].info.run_id if runs else None


def log_run(
    client: MlflowClient,
    experiment: str,
    name: str,
    *,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    steps: Mapping[int, float] | None = None,
    parent: str | None = None,
) -> str:
    """Log a finished run in one batch and return its id; `steps` are the values of the metric `fold_score`."""
    from mlflow.entities import Metric, Param, RunTag

    run_tags = {f"{TAG}{key}": value for key, value in tags.items()}
    if parent:
        run_tags["mlflow.parentRunId"] = parent
    run: str = client.create_run(experiment, run_name=name, tags=run_tags).info.run_id
    now = int(time.time() * 1000)
    points = [Metric(key, value, now, 0) for key, value in metrics.items()]
    points += [Metric("fold_score", value, now, step) for step, value in (steps or {}).items()]
    client.log_batch(
        run, points, [Param(key, str(value)) for key, value in params.items()], [RunTag("lifecycle", name)]
    )
    client.set_terminated(run)
    return run


def log_model(
    experiment: str, model: Model, *, metrics: Mapping[str, float], commit: str,
    sample: pd.DataFrame | None = None,
) -> str:  # fmt: skip
    """Log a model as an MLflow run and return its id: hyperparameters, metrics, hashes, signature and input example (`sample`)."""
    import mlflow

    metadata = model.metadata
    inputs = None if sample is None else sample[metadata["features"]]
    with mlflow.start_run(experiment_id=experiment, run_name=f"train {metadata['family']}") as run:
        mlflow.log_params(
            {"family": metadata["family"], "calibration": metadata["calibration"], **metadata["hyperparameters"]}
        )
        mlflow.log_metrics(dict(metrics))
        mlflow.set_tags({
            f"{TAG}model": model.sha256,
            f"{TAG}commit": commit,
            **{f"{TAG}{key}": metadata[key] for key in metadata if key.endswith("_sha256")},
        })  # fmt: skip
        mlflow.sklearn.log_model(
            model.classifier,
            name="model",
            serialization_format="cloudpickle",
            signature=None if inputs is None else mlflow.models.infer_signature(inputs, model.predict(inputs)),
            input_example=None if inputs is None else inputs.head(2),
            pip_requirements=[f"{package}=={release}" for package, release in metadata["versions"].items()],
            pyfunc_predict_fn="predict_proba",
        )
        mlflow.log_text(json.dumps(metadata, indent=2), "model.json")
    return str(run.info.run_id)


def log_serving(
    client: MlflowClient, experiment: str, model: str, *, metrics: Mapping[str, float], seconds: list[float]
) -> str:
    """Log how a model was served to its run (or a new one), with the time of each request as serving.json."""
    from mlflow.entities import Metric

    run = find_run(client, experiment, {"model": model}) or log_run(
        client, experiment, "serve", params={}, metrics={}, tags={"model": model}
    )
    now = int(time.time() * 1000)
    client.log_batch(run, [Metric(key, value, now, 0) for key, value in metrics.items()])
    client.log_dict(run, {"seconds": seconds}, "serving.json")
    return run


def find_commit(root: Path) -> str:
    """Return the checked-out commit of `root`, followed by `+` when tracked files differ; empty outside git."""

    def run_git(*words: str) -> str:
        answer = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        return answer.stdout.strip() if answer.returncode == 0 else ""

    commit = run_git("rev-parse", "HEAD")
    return commit + ("+" if commit and run_git("status", "--porcelain", "--untracked-files=no") else "")
