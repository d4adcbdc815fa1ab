"""The champion: which model is live. Files in git say so; MLflow's registry mirrors them."""

from __future__ import annotations

import getpass
import hashlib
import json
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import paths
from lifecycle.modeling.model import METADATA_FILE, MODEL_FILE, Model, hash_model, load_model
from lifecycle.modeling.tracking import TAG, find_commit, find_run, log_model, open_tracking
from lifecycle.paths import Project, ProjectError, read_json, write_json

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHALLENGER, CHAMPION = "challenger", "champion"


@dataclass(frozen=True)
class Promotion:
    """What a promotion did: the registry's version (None where nothing was registered), whether the champion moved, why."""

    version: str | None
    moved: bool
    because: str


def promote_candidate(project: Project, name: str) -> Promotion:
    """Register the candidate as a version of `name`, and make it the champion if it is blessed and the first or better.

    Registering is by content: the same model is one version, however often it is promoted. Not blessed: nothing moves.
    Raises ProjectError when there is no verdict, or it is another model's.
    """
    verdict = read_json(project.read(paths.VERDICT))
    candidate = load_model(project.read(paths.CANDIDATE))
    if verdict["model"] != candidate.sha256:
        raise ProjectError(
            f"{paths.VERDICT} judges model {verdict['model'][:12]}, but {paths.CANDIDATE} is {candidate.sha256[:12]}: "
            "run `dvc repro`."
        )
    if not verdict["blessed"]:
        return Promotion(None, moved=False, because=f"not blessed: {verdict['because']}")
    client, experiment = open_tracking(project.output, name)
    version = register_model(client, experiment, name, candidate, verdict, project.root)
    champion = read_champion(project)
    if champion == candidate.sha256:
        because = "it is the champion already"
    elif champion is None:
        because = "it is the first"
    elif verdict["better"]:
        because = f"it is better than the champion: {verdict['because']}"
    else:
        return Promotion(version, moved=False, because=f"blessed, but not better than the champion {champion[:12]}")
    if champion != candidate.sha256:
        move_champion(project, candidate, verdict)
    client.set_registered_model_alias(name, CHAMPION, version)
    return Promotion(version, moved=champion != candidate.sha256, because=because)


def read_champion(project: Project) -> str | None:
    """The champion's content hash, if there is one."""
    path = project.root / paths.CHAMPION
    champion: str | None = read_json(path)["model"] if path.exists() else None
    return champion


def register_model(
    client: MlflowClient, experiment: str, name: str, model: Model, verdict: dict[str, Any], root: Path
) -> str:
    """The registry's version of this content, made if need be, tagged with what it stands on; alias challenger."""
    from mlflow.exceptions import MlflowException

    content = f"{TAG}model"
    versions = client.search_model_versions(f"name = '{name}' and tags.`{content}` = '{model.sha256}'")
    if versions:
        version = str(versions[0].version)
    else:
        run = find_run(client, experiment, {"model": model.sha256}) or log_model(
            experiment, model, metrics={}, commit=find_commit(root)
        )
        with suppress(MlflowException):  # it exists already
            client.create_registered_model(name)
        logged = client.search_logged_models([experiment], f"source_run_id = '{run}'")[0].model_id
        version = str(client.create_model_version(name, f"models:/{logged}", run, model_id=logged).version)
    tags = {
        "model": model.sha256,
        "params_sha256": hash_params(root),
        "commit": find_commit(root),
        "verdict": verdict["because"],
        **{key: value for key, value in model.metadata.items() if key.endswith("_sha256")},
    }
    for key, value in tags.items():
        client.set_model_version_tag(name, version, f"{TAG}{key}", value)
    client.set_registered_model_alias(name, CHALLENGER, version)
    return version


def hash_params(root: Path) -> str:
    """SHA-256 of params.yaml, hexadecimal."""
    return hashlib.sha256((root / paths.PARAMS).read_bytes()).hexdigest()


def move_champion(project: Project, model: Model, verdict: dict[str, Any]) -> None:
    """Make a model the champion: its files first, then champion.json, which names their hash, then the history's line."""
    bundle = project.write(paths.CHAMPION_BUNDLE)
    aside = bundle.with_name(".champion.new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for name in (MODEL_FILE, METADATA_FILE):
        shutil.copyfile(project.read(paths.CANDIDATE) / name, aside / name)
    if hash_model(aside) != model.sha256:
        raise ProjectError(f"{paths.CANDIDATE} changed while it was promoted: run `lifecycle promote` again.")
    before = read_champion(project)
    shutil.rmtree(bundle, ignore_errors=True)
    aside.rename(bundle)
    metrics = {key: value["value"] for key, value in read_json(project.read(paths.EVALUATION))["metrics"].items()}
    champion = {"model": model.sha256, "family": model.metadata["family"], "metrics": metrics, "verdict": verdict}
    write_json(champion, project.write(paths.CHAMPION))
    line = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": getpass.getuser(),
        "model": model.sha256,
        "before": before,
        "because": verdict["because"],
    }
    with project.write(paths.HISTORY).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
