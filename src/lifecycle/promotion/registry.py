"""Promotion and rollback: move the champion's file, MLflow's alias and the history together, or none of them.

models/champion.json decides which model is live; running servers follow when it is replaced. MLflow's registry mirrors it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file, read_json, replace_file, write_json
from lifecycle.core.paths import Project
from lifecycle.modeling.model import METADATA_FILE, MODEL_FILE, Model, hash_model, load_model
from lifecycle.modeling.sequential import spend_level
from lifecycle.modeling.tracking import TAG, find_commit, find_run, log_model, open_tracking
from lifecycle.promotion.records import FORMAT, Action, Blessing, Champion, HistoryLine, Release, Verdict
from lifecycle.promotion.releases import (
    MANIFEST_FILE,
    append_line,
    choose_previous,
    describe_move,
    describe_releases,
    find_release_folder,
    hold_lock,
    list_compared,
    list_releases,
    read_champion,
    read_history,
    read_intent,
    read_release,
    repair_history,
    settle_releases,
    write_intent,
    write_release,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

_CHALLENGER, _CHAMPION = "challenger", "champion"  # aliases in MLflow


@dataclass(frozen=True)
class Promotion:
    """The result of a promotion or rollback.

    version: the registry's version, None when the model was not registered. moved: whether there is a new champion.
    because: the reason.
    """

    version: str | None
    moved: bool
    because: str
    model: str


def promote_candidate(project: Project, name: str) -> Promotion:
    """Register the candidate as a version of `name`, and make it the champion when it is better than the present one.

    The same content is one version, however often it is promoted. A candidate that did not pass the gate and the checks
    of the running server is not registered. Raises ProjectError when the verdict or the blessing is missing, or is about
    another model.
    """
    with _lock_registry(project, name) as journal:
        record = describe_candidate(project)
        model = record.model
        if refusal := _find_refusal(record):
            return Promotion(None, moved=False, because=refusal, model=model)
        client, experiment = open_tracking(project.output, name)
        version = register_model(client, experiment, name, project, project.read(paths.CANDIDATE), record)
        client.set_registered_model_alias(name, _CHALLENGER, version)
        champion = read_champion(project.output)
        if champion.model == model and champion.bundle == record.bundle:
            write_release(project.output, record, project.read(paths.CANDIDATE))  # repairs a damaged release
            set_alias(client, name, version)
            return Promotion(version, moved=False, because="it is the champion already", model=model)
        if champion.model == model:
            because = "it is the champion already, in a new serving bundle"
        elif champion.model is None:
            because = "it is the first"
        elif _is_better(project.output, record.verdict):
            because = f"it is better than the champion: {record.verdict.because}"
        else:
            because = (
                f"it passed the quality gate, but is not shown to be better than the champion {champion.model[:12]}"
                f"{_count_look(project.output, record, champion.model)}: {record.verdict.because}"
            )
            return Promotion(version, moved=False, because=because, model=model)
        with _release_candidate(project, record):
            reason = because if champion.model == model else record.verdict.because
            line = describe_move("promote", record, champion.model, reason)
            _move_champion(project, journal, client, name, version, line)
        return Promotion(version, moved=True, because=because, model=model)


def compare_candidate(project: Project, name: str) -> str | None:
    """Return why the candidate does not replace the champion, None where it is better; the comparison is counted.

    Raises ProjectError when the verdict or the blessing is missing, or is about another model.
    """
    with _lock_registry(project, name):
        record = describe_candidate(project)
        champion = read_champion(project.output).model
        if champion is None or _is_better(project.output, record.verdict):
            return None
        return f"The challenger passed the quality gate{_count_look(project.output, record, champion)}. {record.verdict.because}"


def promote_version(project: Project, name: str, version: str) -> Promotion:
    """Make a release the champion on the user's word, better or not.

    version: a version of `name` in MLflow's registry ("3"), or the first digits of the model's hash (six or more). Raises
    ProjectError when that is unknown or ambiguous, when the model has no release and is not the candidate, or when it did
    not pass the gate.
    """
    with _lock_registry(project, name) as journal:
        model = name_model(project, name, version)
        candidate = find_candidate(project)
        with ExitStack() as kept:
            if model == candidate and not find_release_folder(project.output, model).is_dir():
                kept.enter_context(_release_candidate(project, describe_candidate(project)))
            release = read_release(project.output, model)
            _refuse_unblessed(release)
            because = f"promoted by hand: {release.verdict.because}"
            return _move_to_release(project, journal, name, release, "promote", because)


def rollback(project: Project, name: str) -> Promotion:
    """Make the previous champion the champion again; a second call goes back one more.

    Raises ProjectError when there is no previous model, or its release has changed.
    """
    with _lock_registry(project, name) as journal:
        champion = read_champion(project.output)
        if champion.model is None or champion.previous is None:
            raise ProjectError(f"There is no model to go back to: {paths.CHAMPION} names no previous model.")
        previous, because = champion.previous, f"rolled back from {champion.model[:12]}"
        return _move_to_release(project, journal, name, read_release(project.output, previous), "rollback", because)


def put_in_shadow(project: Project, name: str, version: str | None) -> str | None:
    """Let running servers score every request with a second model too, and log its answers; return its hash.

    version: `candidate` (which gets a release), what `promote_version` takes, or None to stop. Raises ProjectError when the
    model did not pass the gate, has no release or is the champion.
    """
    with _lock_registry(project, name):
        model = None
        if version is not None:
            record = describe_candidate(project) if version == "candidate" else None
            model = record.model if record else name_model(project, name, version)
            if model == read_champion(project.output).model:
                raise ProjectError(f"Model {model[:12]} is the champion: choose another model as its shadow.")
            _refuse_unblessed(record or read_release(project.output, model))
            if record:
                write_release(project.output, record, project.read(paths.CANDIDATE))
        write_json({"model": model}, project.write(paths.SHADOW))
        return model


# The candidate, and which model is meant.


def describe_candidate(project: Project) -> Release:
    """Return the release that the candidate becomes.

    Raises ProjectError when the verdict or the blessing is not about this model and this bundle.
    """
    verdict = Verdict.read(project.read(paths.VERDICT))
    blessing = Blessing.read(project.read(paths.BLESSING))
    for file in (MODEL_FILE, METADATA_FILE):
        project.read(f"{paths.CANDIDATE}/{file}")
    model = hash_model(project.root / paths.CANDIDATE)
    manifest = project.read(f"{paths.BUNDLE}/{MANIFEST_FILE}")
    bundle = hash_file(manifest)
    for name, judged, word, found, place in (
        (paths.VERDICT, verdict.model, "model", model, paths.CANDIDATE),
        (paths.BLESSING, blessing.model, "model", model, paths.CANDIDATE),
        (paths.BLESSING, blessing.bundle, "bundle", bundle, paths.BUNDLE),
        (f"{paths.BUNDLE}/{MANIFEST_FILE}", read_json(manifest)["model"], "model", model, paths.CANDIDATE),
    ):
        if judged != found:
            raise ProjectError(f"{name} is about {word} {judged[:12]}, but {place} is {found[:12]}: run `dvc repro`.")
    facts = read_json(manifest)
    measured = read_json(project.read(paths.EVALUATION))["metrics"]
    return Release(
        format=FORMAT,
        model=model,
        bundle=bundle,
        family=facts["family"],
        prior=facts["prior"],
        positive=facts["positive"],
        metrics={key: value["value"] for key, value in measured.items()},
        verdict=verdict,
        blessing=blessing,
    )


def _find_refusal(release: Release) -> str:
    """Return why a release may not be live, as the end of a sentence; empty when it may."""
    if not release.verdict.blessed:
        return f"did not pass the quality gate: {release.verdict.because}"
    if not release.blessing.blessed:
        return f"did not pass the checks of the running server: {release.blessing.because}"
    return ""


def _is_better(root: Path, verdict: Verdict) -> bool:
    """Return whether a candidate is better than the champion, given how many others the champion was compared with."""
    if verdict.p is None:
        return verdict.better
    look = len([model for model in list_compared(root) if model != verdict.model]) + 1
    return verdict.better and verdict.p < spend_level(verdict.significance, look)


def _count_look(root: Path, record: Release, champion: str) -> str:
    """Record that a candidate was compared with the champion, once a candidate; return how many were, for a sentence."""
    if record.verdict.p is None:
        return ""
    if record.model not in list_compared(root):
        append_line(root, describe_move("compare", record, champion, record.verdict.because))
    looks = len(list_compared(root))
    level = spend_level(record.verdict.significance, looks)
    return "" if looks == 1 else f" (of {looks} models compared with it, this one needs p below {level:.4f})"


def _refuse_unblessed(release: Release) -> None:
    """Raise ProjectError for a release that did not pass the gate or the checks of the running server."""
    if refusal := _find_refusal(release):
        raise ProjectError(f"Model {release.model[:12]} {refusal}")


@contextmanager
def _release_candidate(project: Project, record: Release) -> Iterator[None]:
    """Write the candidate's release; remove a new one when the block fails."""
    _refuse_unblessed(record)
    folder = find_release_folder(project.output, record.model)
    new = not folder.exists()
    try:
        write_release(project.output, record, project.read(paths.CANDIDATE))
        yield
    except BaseException:
        if new and read_champion(project.output).model != record.model:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def find_candidate(project: Project) -> str | None:
    """Return the candidate's content hash, None when there is no candidate."""
    with suppress(FileNotFoundError):
        return hash_model(project.root / paths.CANDIDATE)
    return None


def name_model(project: Project, name: str, version: str) -> str:
    """Return the content hash for the first digits of a release's or the candidate's hash, or for a version in MLflow.

    Raises ProjectError when it is unknown or ambiguous.
    """
    start = version.lower()
    known = {*(release.model for release in list_releases(project.output)), find_candidate(project)}
    found = sorted(
        model for model in known if model and re.fullmatch("[0-9a-f]{6,}", start) and model.startswith(start)
    )
    if len(found) > 1:
        raise ProjectError(f"{version!r} is ambiguous: {', '.join(found)} start with it.")
    if found:
        return found[0]
    if not re.fullmatch("[0-9]+", version):
        raise ProjectError(
            f"{version!r} is neither a version of {name!r} nor the first six or more digits of a model's hash; "
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
    """Return the registry's version of this content, if there is one."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{TAG}model` = '{model}'")
    return str(found[0].version) if found else None


def register_model(
    client: MlflowClient, experiment: str, name: str, project: Project, folder: Path, release: Release
) -> str:
    """Return the registry's version of the model in `folder`; create it if necessary and tag it with its origins."""
    model = load_model(folder, sha256=release.model)
    version = find_version(client, name, model.sha256) or create_version(client, experiment, name, model, project.root)
    tags = {
        "model": model.sha256,
        "params_sha256": hash_file(project.read(paths.PARAMS)),
        "commit": find_commit(project.root),
        "verdict": release.verdict.because,
        **{key: value for key, value in model.metadata.items() if key.endswith("_sha256")},
    }
    for key, value in tags.items():
        client.set_model_version_tag(name, version, f"{TAG}{key}", value)
    return version


def create_version(client: MlflowClient, experiment: str, name: str, model: Model, root: Path) -> str:
    """Register the model of its run; start a new run when no run holds the model."""
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
    """Return the version with the alias champion, if there is one."""
    models = client.search_registered_models(f"name = '{name}'")
    version = models[0].aliases.get(_CHAMPION) if models else None
    return None if version is None else str(version)


def set_alias(client: MlflowClient, name: str, version: str | None) -> None:
    """Give a version the alias champion; None removes the alias."""
    if version is not None:
        client.set_registered_model_alias(name, _CHAMPION, version)
    elif read_alias(client, name) is not None:
        client.delete_registered_model_alias(name, _CHAMPION)


# The move.


@contextmanager
def _lock_registry(project: Project, name: str) -> Iterator[IO[str]]:
    """Hold the lock on the champion, repair what a killed command left, and yield the journal.

    MLflow's errors become ProjectErrors.
    """
    root = project.output
    with hold_lock(root) as journal:
        try:
            intent = read_intent(journal)
            settle_releases(root)
            repair_history(root, intent)
            if intent is not None:
                model = read_champion(root).model
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


def _move_to_release(
    project: Project, journal: IO[str], name: str, release: Release, action: Action, because: str
) -> Promotion:
    """Make a release the champion; register it again when MLflow has lost it."""
    model = release.model
    champion = read_champion(project.output)
    client, experiment = open_tracking(project.output, name)
    version = find_version(client, name, model) or register_model(
        client, experiment, name, project, find_release_folder(project.output, model), release
    )
    if (champion.model, champion.bundle) == (model, release.bundle):
        set_alias(client, name, version)
        return Promotion(version, moved=False, because="it is the champion already", model=model)
    _move_champion(project, journal, client, name, version, describe_move(action, release, champion.model, because))
    return Promotion(version, moved=True, because=because, model=model)


def _move_champion(
    project: Project, journal: IO[str], client: MlflowClient, name: str, version: str, line: HistoryLine
) -> None:
    """Move alias, champion.json and history to the release that `line` names; undo all of it when a step fails.

    When the undo fails or the process is killed, the line stays in the journal, from which the next command recovers.
    """
    root = project.output
    champion, history = project.write(paths.CHAMPION), project.write(paths.HISTORY)
    release = read_release(root, line.model)
    record = Champion.of(release, choose_previous(root, [*read_history(root), line]))
    alias = read_alias(client, name)
    write_intent(journal, line)
    with ExitStack() as undo:
        undo.callback(set_alias, client, name, alias)
        set_alias(client, name, version)
        undo.callback(_restore_file, champion, champion.read_bytes() if champion.exists() else None)
        record.write(champion)
        undo.callback(_restore_file, history, history.read_bytes() if history.exists() else None)
        append_line(root, line)
        undo.pop_all()
    write_intent(journal, None)


def _restore_file(path: Path, content: bytes | None) -> None:
    """Restore a file's former bytes; None removes a file that did not exist."""
    if content is None:
        path.unlink(missing_ok=True)
    elif not path.exists() or path.read_bytes() != content:
        with replace_file(path) as temporary:
            temporary.write_bytes(content)
