"""Releases in git: the folder of each model that may be live, models/champion.json, and the history of champions."""

from __future__ import annotations

import getpass
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file, lock_file, read_json
from lifecycle.core.paths import CANDIDATE, CHAMPION, HISTORY, RELEASES
from lifecycle.modeling.model import METADATA_FILE, MODEL_FILE, hash_model
from lifecycle.promotion.records import Action, Champion, HistoryLine, Release

RELEASE_FILE, BUNDLE_FOLDER, MANIFEST_FILE = "release.json", "bundle", "manifest.json"
_LOCK = ".lifecycle/registry.lock"  # holds the history line of a move while the move is under way


# The folders.


def find_release_folder(root: Path, model: str) -> Path:
    """Return the folder of a model's release, whether it exists or not."""
    return root / RELEASES / model[:12]


def list_releases(root: Path) -> list[Release]:
    """Read every release.json, in the order of the models' hashes."""
    return [Release.read(path) for path in sorted((root / RELEASES).glob(f"[!.]*/{RELEASE_FILE}"))]


def read_release(root: Path, model: str) -> Release:
    """Read the release of a model; raise ProjectError when there is none or its files have changed."""
    folder = find_release_folder(root, model)
    if not (folder / RELEASE_FILE).is_file():
        raise ProjectError(f"Model {model[:12]} has no release; {describe_releases(root)}.")
    release = Release.read(folder / RELEASE_FILE)
    if release.model != model:
        raise ProjectError(f"{folder} is the release of model {release.model}, not of {model}.")
    check_files(folder, release)
    return release


def describe_releases(root: Path) -> str:
    """Return a clause that lists the releases."""
    names = [release.model[:12] for release in list_releases(root)]
    return f"{RELEASES} has {', '.join(names) or 'none'}"


def check_files(folder: Path, record: Release | Champion) -> None:
    """Raise ProjectError when the model or the bundle in a folder is not the one that the record names."""
    bundle = folder / BUNDLE_FOLDER
    try:
        files = read_json(bundle / MANIFEST_FILE)["files"]
        found = {
            "model": hash_model(folder),
            "bundle": hash_file(bundle / MANIFEST_FILE),
            **{name: hash_file(bundle / name) for name in files},
        }
    except FileNotFoundError as error:
        raise ProjectError(f"{folder} is incomplete: {error.filename} is missing.") from error
    for name, wanted in {"model": record.model, "bundle": record.bundle, **files}.items():
        if found[name] != wanted:
            raise ProjectError(
                f"{folder}: {name} has the hash {found[name][:12]}, not {wanted[:12]} as recorded: "
                "check the folder out of git again."
            )


def write_release(root: Path, release: Release, candidate: Path) -> bool:
    """Copy the candidate's files and its record into its release folder; return False when it is there already.

    The folder appears complete or not at all. A release of the same model with another bundle is kept in a second folder
    until `settle_releases`. Raises ProjectError when the candidate is incomplete.
    """
    folder = find_release_folder(root, release.model)
    if _is_release(folder, release):
        return False
    new = _name_temporary(folder, "new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for name in (MODEL_FILE, METADATA_FILE):
        shutil.copyfile(candidate / name, new / name)
    shutil.copytree(candidate / BUNDLE_FOLDER, new / BUNDLE_FOLDER, copy_function=shutil.copyfile)
    release.write(new / RELEASE_FILE)
    if not _is_release(new, release):
        shutil.rmtree(new)
        raise ProjectError(
            f"{CANDIDATE} is incomplete, or changed while it was copied: run `dvc repro`, then try again."
        )
    if folder.exists():
        folder.rename(_name_temporary(folder, "old"))
    new.rename(folder)
    return True


def _is_release(folder: Path, record: Release | Champion) -> bool:
    """Return whether a folder holds the model and the bundle that the record names, undamaged."""
    try:
        found = Release.read(folder / RELEASE_FILE)
        check_files(folder, record)
    except (ProjectError, FileNotFoundError):
        return False
    return (found.model, found.bundle) == (record.model, record.bundle)


def _name_temporary(folder: Path, state: str) -> Path:
    """Return where a release's folder is kept before it is in use (`new`) and after it was replaced (`old`)."""
    return folder.with_name(f".{folder.name}.{state}")


def settle_releases(root: Path) -> None:
    """Remove the temporary folders that a move left; put a replaced release that champion.json still names back."""
    champion = read_champion(root)
    for new in (root / RELEASES).glob(".*.new"):
        shutil.rmtree(new)
    for old in (root / RELEASES).glob(".*.old"):
        folder = old.with_name(old.name[1 : -len(".old")])
        live = bool(champion.model and champion.bundle) and find_release_folder(root, str(champion.model)) == folder
        restored = live and not _is_release(folder, champion) and _is_release(old, champion)
        if restored or not folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
            old.rename(folder)
        else:
            shutil.rmtree(old)


# The champion and its history.


def read_champion(root: Path) -> Champion:
    """Read champion.json; `model` is None while there is no champion."""
    path = root / CHAMPION
    return Champion.read(path) if path.exists() else Champion(model=None)


def read_history(root: Path) -> list[HistoryLine]:
    """Read the moves of the champion, oldest first; see `_read_lines`."""
    return [line for line in _read_lines(root) if line.action != "compare"]


def list_compared(root: Path) -> list[str]:
    """Return the models that the champion was compared with since it became the champion, and that were not better."""
    compared: list[str] = []
    for line in _read_lines(root):
        compared = [*compared, line.model] if line.action == "compare" else []
    return list(dict.fromkeys(compared))


def _read_lines(root: Path) -> list[HistoryLine]:
    """Read the lines of the history, oldest first.

    An incomplete last line is left out. Raises ProjectError for any other line that is not JSON.
    """
    path = root / HISTORY
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(HistoryLine.parse(json.loads(line), f"{HISTORY}, line {number}"))
        except ValueError as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise ProjectError(f"{HISTORY}, line {number}: expected a JSON object ({error}).") from error
    return records


def tabulate_history(root: Path) -> list[tuple[str, ...]]:
    """Return the history as rows of text padded to columns, a heading first: from, until, model, by, move, because."""
    history, live = read_history(root), read_champion(root).model
    rows = [("from", "until", "model", "by", "move", "because")]
    ends = [line.at for line in history[1:]] + ["now" if history and history[-1].model == live else ""]
    for line, end in zip(history, ends, strict=False):
        rows.append((line.at, end, line.model[:12], line.by, line.action, line.because))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [tuple(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in rows]


def describe_move(action: Action, release: Release | Champion, before: str | None, because: str) -> HistoryLine:
    """Return the history line of a move that this user makes now."""
    assert release.model is not None
    return HistoryLine(
        at=datetime.now(UTC).isoformat(timespec="seconds"), by=_name_user(), action=action, model=release.model,
        bundle=release.bundle, before=before, because=because,
    )  # fmt: skip


def _name_user() -> str:
    """Return the name of the user, or the number in a container that has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def append_line(root: Path, line: HistoryLine) -> None:
    """Append a line to the history in one write."""
    (root / HISTORY).parent.mkdir(parents=True, exist_ok=True)
    with (root / HISTORY).open("ab") as file:
        file.write((json.dumps(line.to_json(), ensure_ascii=False) + "\n").encode())


def trace_history(history: Sequence[HistoryLine]) -> list[str]:
    """Return the champions that rollbacks go back through, the live one last: a promotion adds one, a rollback removes."""
    trail: list[str] = []
    for line in history:
        if line.action == "rollback":
            while trail and trail[-1] != line.model:
                trail.pop()
        elif line.before is None:  # a new beginning
            trail = []
        if not trail or trail[-1] != line.model:
            trail.append(line.model)
    return trail


def choose_previous(root: Path, history: Sequence[HistoryLine]) -> str | None:
    """Return the newest earlier champion that has a release: it answers when the live model cannot."""
    *earlier, live = trace_history(history)
    there = (model for model in reversed(earlier) if model != live and find_release_folder(root, model).is_dir())
    return next(there, None)


def repair_history(root: Path, intent: HistoryLine | None) -> None:
    """Make the history agree with champion.json: cut off an incomplete last line, append a missing one.

    intent: the line of the move that was interrupted, if one was.
    """
    path = root / HISTORY
    content = path.read_bytes() if path.exists() else b""
    if content and not content.endswith(b"\n"):
        whole = content[: content.rfind(b"\n") + 1]
        lost = len(_read_lines(root)) == len(whole.splitlines())
        path.write_bytes(whole if lost else content + b"\n")
    champion, history = read_champion(root), read_history(root)
    last = history[-1] if history else None
    model, bundle = champion.model, champion.bundle
    if model is None or (last is not None and model == last.model and last.bundle in (None, bundle)):
        return
    if intent and (model, bundle) == (intent.model, intent.bundle):
        because = f"{intent.because} (recovered: the command was killed)"
        append_line(root, intent.model_copy(update={"because": because}))
        return
    action: Action = "rollback" if model in trace_history(history)[:-1] else "promote"
    append_line(root, describe_move(action, champion, last.model if last else None, f"recovered: {CHAMPION} names it"))


# The lock.


@contextmanager
def hold_lock(root: Path) -> Iterator[IO[str]]:
    """Wait for the lock on the champion and hold it; yield the lock's file, which is also the journal of a move."""
    path = root / _LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock_file(path, mode="a+") as journal:
        yield journal


def write_intent(journal: IO[str], line: HistoryLine | None) -> None:
    """Write the line of a move that starts into the journal; None when the move has ended."""
    journal.truncate(0)
    if line is not None:
        journal.write(json.dumps(line.to_json()))
    journal.flush()


def read_intent(journal: IO[str]) -> HistoryLine | None:
    """Read the line of a move that was interrupted, if there is one; an incomplete line is of a move that never started."""
    journal.seek(0)
    try:
        content = json.loads(journal.read())
    except ValueError:
        return None
    return HistoryLine.parse(content, _LOCK)
