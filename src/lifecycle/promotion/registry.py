"""Moving the champion: its file, MLflow's alias and the history together, or none of them; and back again.

models/champion.json is the truth, and replacing it the moment that running servers see. MLflow's registry mirrors it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file, read_json, replace_file, write_json
from lifecycle.core.paths import Project
from lifecycle.modeling.model import METADATA_FILE, MODEL_FILE, Model, hash_model, load_model
from lifecycle.modeling.tracking import TAG, find_commit, find_run, log_model, open_tracking
from lifecycle.promotion.releases import (
    MANIFEST_FILE,
    append_line,
    choose_previous,
    describe_move,
    describe_releases,
    find_release,
    hold_lock,
    list_releases,
    mend_history,
    read_champion,
    read_history,
    read_intent,
    read_release,
    settle_releases,
    write_intent,
    write_release,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

Record = dict[str, Any]
CHALLENGER, CHAMPION = "challenger", "champion"


@dataclass(frozen=True)
class Promotion:
    """What a move did: the registry's version (None where nothing was registered), whether the champion moved, why."""

    version: str | None
    moved: bool
    because: str
    model: str


def promote_candidate(project: Project, name: str) -> Promotion:
    """Register the candidate as a version of `name`, and make it the champion if it is blessed and the first or better.

    Registering is by content: the same model is one version, however often it is promoted. Not blessed by the gate and
    for serving: nothing moves. Raises ProjectError when verdict or blessing are missing, or another model's.
    """
    with lock_registry(project, name) as journal:
        record = describe_candidate(project)
        model: str = record["model"]
        if refusal := find_refusal(record):
            return Promotion(None, moved=False, because=refusal, model=model)
        client, experiment = open_tracking(project.output, name)
        version = register_model(client, experiment, name, project, project.read(paths.CANDIDATE), record["verdict"])
        client.set_registered_model_alias(name, CHALLENGER, version)
        champion = read_champion(project.output)
        if champion["model"] == model and champion.get("bundle") == record["bundle"]:
            write_release(project.output, record, project.read(paths.CANDIDATE))  # it may be damaged
            set_alias(client, name, version)
            return Promotion(version, moved=False, because="it is the champion already", model=model)
        if champion["model"] == model:
            because = "it is the champion already, in a new serving bundle"
        elif champion["model"] is None:
            because = "it is the first"
        elif record["verdict"]["better"]:
            because = f"it is better than the champion: {record['verdict']['because']}"
        else:
            because = f"blessed, but not better than the champion {champion['model'][:12]}"
            return Promotion(version, moved=False, because=because, model=model)
        with release_candidate(project, record):
            told = because if champion["model"] == model else record["verdict"]["because"]
            line = describe_move("promote", record, champion["model"], told)
            move_champion(project, journal, client, name, version, line)
        return Promotion(version, moved=True, because=because, model=model)


def promote_version(project: Project, name: str, version: str) -> Promotion:
    """Make a release the champion, better or not: the user says so.

    version: a version of `name` in MLflow's registry ("3"), or how the model's hash begins (six digits or more). Raises
    ProjectError when that is unknown or ambiguous, has no release and is not the candidate, or is not blessed.
    """
    with lock_registry(project, name) as journal:
        model = name_model(project, name, version)
        candidate = find_candidate(project)
        with ExitStack() as kept:
            if model == candidate and not find_release(project.output, model).is_dir():
                kept.enter_context(release_candidate(project, describe_candidate(project)))
            release = read_release(project.output, model)
            refuse_unblessed(release)
            because = f"promoted by hand: {release['verdict']['because']}"
            return move_to_release(project, journal, name, release, "promote", because)


def rollback(project: Project, name: str) -> Promotion:
    """Make the model before the champion the champion again; twice in a row walks back twice.

    Raises ProjectError when there is nothing to go back to, or its release is not what it was.
    """
    with lock_registry(project, name) as journal:
        champion = read_champion(project.output)
        previous = champion.get("previous")
        if previous is None:
            raise ProjectError(f"There is nothing to go back to: {paths.CHAMPION} names no previous model.")
        because = f"rolled back from {champion['model'][:12]}"
        return move_to_release(project, journal, name, read_release(project.output, previous), "rollback", because)


def put_in_shadow(project: Project, name: str, version: str | None) -> str | None:
    """Let running servers score with a second model, unseen, and log its answers; gives its hash.

    version: `candidate`, which is released for it, what `promote_version` takes, or None to stop. Raises ProjectError
    when the model is not blessed, has no release or is the champion.
    """
    with lock_registry(project, name):
        model = None
        if version is not None:
            record = describe_candidate(project) if version == "candidate" else None
            model = record["model"] if record else name_model(project, name, version)
            if model == read_champion(project.output)["model"]:
                raise ProjectError(f"Model {model[:12]} is the champion: another model is wanted in its shadow.")
            refuse_unblessed(record or read_release(project.output, model))
            if record:
                write_release(project.output, record, project.read(paths.CANDIDATE))
        write_json({"model": model}, project.write(paths.SHADOW))
        return model


# The candidate, and which model is meant.


def describe_candidate(project: Project) -> Record:
    """The candidate's record as release.json has it.

    Raises ProjectError when verdict and blessing are not about this model and this bundle.
    """
    verdict, blessing = (read_json(project.read(name)) for name in (paths.VERDICT, paths.BLESSING))
    for file in (MODEL_FILE, METADATA_FILE):
        project.read(f"{paths.CANDIDATE}/{file}")
    model = hash_model(project.root / paths.CANDIDATE)
    manifest = project.read(f"{paths.BUNDLE}/{MANIFEST_FILE}")
    bundle = hash_file(manifest)
    for name, judged, word, found, place in (
        (paths.VERDICT, verdict["model"], "model", model, paths.CANDIDATE),
        (paths.BLESSING, blessing["model"], "model", model, paths.CANDIDATE),
        (paths.BLESSING, blessing["bundle"], "bundle", bundle, paths.BUNDLE),
        (f"{paths.BUNDLE}/{MANIFEST_FILE}", read_json(manifest)["model"], "model", model, paths.CANDIDATE),
    ):
        if judged != found:
            raise ProjectError(f"{name} is about {word} {judged[:12]}, but {place} is {found[:12]}: run `dvc repro`.")
    facts = read_json(manifest)
    measured = read_json(project.read(paths.EVALUATION))["metrics"]
    return {
        "model": model,
        "bundle": bundle,
        "family": facts["family"],
        "prior": facts["prior"],
        "positive": facts["positive"],
        "metrics": {key: value["value"] for key, value in measured.items()},
        "verdict": verdict,
        "blessing": blessing,
    }


def find_refusal(record: Record) -> str:
    """Why a release may not be live: the first of gate and serving that did not bless it; empty when both did."""
    if not record["verdict"]["blessed"]:
        return f"not blessed: {record['verdict']['because']}"
    if not record["blessing"]["blessed"]:
        return f"not blessed for serving: {record['blessing']['because']}"
    return ""


def refuse_unblessed(record: Record) -> None:
    """Raise ProjectError for a record that gate or serving did not bless."""
    if refusal := find_refusal(record):
        raise ProjectError(f"Model {record['model'][:12]} is {refusal}")


@contextmanager
def release_candidate(project: Project, record: Record) -> Iterator[None]:
    """Release the candidate; a release that is new goes again when the block fails."""
    refuse_unblessed(record)
    folder = find_release(project.output, record["model"])
    new = not folder.exists()
    try:
        write_release(project.output, record, project.read(paths.CANDIDATE))
        yield
    except BaseException:
        if new and read_champion(project.output)["model"] != record["model"]:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def find_candidate(project: Project) -> str | None:
    """The candidate's content hash, if there is one."""
    with suppress(FileNotFoundError):
        return hash_model(project.root / paths.CANDIDATE)
    return None


def name_model(project: Project, name: str, version: str) -> str:
    """The content hash that is meant: by the beginning of a release's or the candidate's, or by a version in MLflow.

    Raises ProjectError when it is unknown or ambiguous.
    """
    start = version.lower()
    known = {record["model"] for record in list_releases(project.output)} | {find_candidate(project)}
    found = sorted(
        model for model in known if model and re.fullmatch("[0-9a-f]{6,}", start) and model.startswith(start)
    )
    if len(found) > 1:
        raise ProjectError(f"{version!r} is ambiguous: {', '.join(found)} begin so.")
    if found:
        return found[0]
    if not re.fullmatch("[0-9]+", version):
        raise ProjectError(
            f"{version!r} is neither a version of {name!r} nor six digits or more with which a model's hash begins; "
            f"{describe_releases(project.output)}."
        )
    from mlflow.exceptions import MlflowException

    client, _ = open_tracking(project.output, name)
    try:
        model: str | None = client.get_model_version(name, version).tags.get(f"{TAG}model")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise ProjectError(
            f"There is no version {version} of {name!r}; {describe_releases(project.output)}."
        ) from error
    if model is None:
        raise ProjectError(f"Version {version} of {name!r} was not registered by `lifecycle promote`: it has no tag.")
    return model


# MLflow's registry.


def find_version(client: MlflowClient, name: str, model: str) -> str | None:
    """The registry's version of this content, if there is one."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{TAG}model` = '{model}'")
    return str(found[0].version) if found else None


def register_model(
    client: MlflowClient, experiment: str, name: str, project: Project, folder: Path, verdict: Record
) -> str:
    """The registry's version of the model in `folder`, made if need be, tagged with what it stands on."""
    model = load_model(folder)
    version = find_version(client, name, model.sha256) or create_version(client, experiment, name, model, project.root)
    tags = {
        "model": model.sha256,
        "params_sha256": hash_file(project.read(paths.PARAMS)),
        "commit": find_commit(project.root),
        "verdict": verdict["because"],
        **{key: value for key, value in model.metadata.items() if key.endswith("_sha256")},
    }
    for key, value in tags.items():
        client.set_model_version_tag(name, version, f"{TAG}{key}", value)
    return version


def create_version(client: MlflowClient, experiment: str, name: str, model: Model, root: Path) -> str:
    """Register a model that its run holds, or a new run where none does."""
    from mlflow.exceptions import MlflowException

    run = find_run(client, experiment, {"model": model.sha256})
    logged = client.search_logged_models([experiment], f"source_run_id = '{run}'") if run else []
    if not logged:  # serving has a run too, without the model
        run = log_model(experiment, model, metrics={}, commit=find_commit(root))
        logged = client.search_logged_models([experiment], f"source_run_id = '{run}'")
    with suppress(MlflowException):  # it exists already
        client.create_registered_model(name)
    held = logged[0].model_id
    return str(client.create_model_version(name, f"models:/{held}", run, model_id=held).version)


def read_alias(client: MlflowClient, name: str) -> str | None:
    """The version that is called champion, if one is."""
    models = client.search_registered_models(f"name = '{name}'")
    version = models[0].aliases.get(CHAMPION) if models else None
    return None if version is None else str(version)


def set_alias(client: MlflowClient, name: str, version: str | None) -> None:
    """Call a version champion; None: no version."""
    if version is not None:
        client.set_registered_model_alias(name, CHAMPION, version)
    elif read_alias(client, name) is not None:
        client.delete_registered_model_alias(name, CHAMPION)


# The move.


@contextmanager
def lock_registry(project: Project, name: str) -> Iterator[TextIO]:
    """Be the only one to move the champion, and first heal what a mover that was killed left; gives the journal.

    What MLflow raises becomes a ProjectError.
    """
    root = project.output
    with hold_lock(root) as journal:
        try:
            intent = read_intent(journal)
            settle_releases(root)
            mend_history(root, intent)
            if intent is not None:
                model = read_champion(root)["model"]
                client, _ = open_tracking(root, name)
                set_alias(client, name, model and find_version(client, name, model))
                write_intent(journal, None)
            yield journal
        except ProjectError:
            raise
        except Exception as error:
            from mlflow.exceptions import MlflowException

            if not isinstance(error, MlflowException):
                raise
            raise ProjectError(f"MLflow's registry failed, and the champion did not move: {error}") from error
        finally:
            settle_releases(root)


def move_to_release(
    project: Project, journal: TextIO, name: str, release: Record, action: str, because: str
) -> Promotion:
    """Make a release the champion, registered if MLflow has lost it."""
    model = release["model"]
    champion = read_champion(project.output)
    client, experiment = open_tracking(project.output, name)
    version = find_version(client, name, model) or register_model(
        client, experiment, name, project, find_release(project.output, model), release["verdict"]
    )
    if (champion["model"], champion.get("bundle")) == (model, release["bundle"]):
        set_alias(client, name, version)
        return Promotion(version, moved=False, because="it is the champion already", model=model)
    move_champion(project, journal, client, name, version, describe_move(action, release, champion["model"], because))
    return Promotion(version, moved=True, because=because, model=model)


def move_champion(
    project: Project, journal: TextIO, client: MlflowClient, name: str, version: str, line: Record
) -> None:
    """Move alias, champion.json and history to the release that the history's new line names; what fails undoes all.

    An undo that fails, or a kill, leaves the line in the journal, from which the next command heals.
    """
    root = project.output
    champion, history = project.write(paths.CHAMPION), project.write(paths.HISTORY)
    release = read_release(root, line["model"])
    record = {**release, "previous": choose_previous(root, [*read_history(root), line])}
    alias = read_alias(client, name)
    write_intent(journal, line)
    with ExitStack() as undo:
        undo.callback(set_alias, client, name, alias)
        set_alias(client, name, version)
        undo.callback(restore_file, champion, champion.read_bytes() if champion.exists() else None)
        write_json(record, champion)
        undo.callback(restore_file, history, history.read_bytes() if history.exists() else None)
        append_line(root, line)
        undo.pop_all()
    write_intent(journal, None)


def restore_file(path: Path, content: bytes | None) -> None:
    """Give a file the bytes that it had; None: it was not there."""
    if content is None:
        path.unlink(missing_ok=True)
    elif not path.exists() or path.read_bytes() != content:
        with replace_file(path) as aside:
            aside.write_bytes(content)
