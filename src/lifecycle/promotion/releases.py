"""Releases: models that may be live, each with its bundle in a folder in git; which one is; and what was, when."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file, read_json, write_json
from lifecycle.core.paths import CANDIDATE, CHAMPION, HISTORY, RELEASES
from lifecycle.modeling.model import METADATA_FILE, MODEL_FILE, hash_model

Record = dict[str, Any]
RELEASE_FILE, BUNDLE_FOLDER, MANIFEST_FILE = "release.json", "bundle", "manifest.json"
LOCK = ".lifecycle/registry.lock"  # holds the history's line of a move while that is under way


# The folders.


def find_release(root: Path, model: str) -> Path:
    """The folder of a model's release."""
    return root / RELEASES / model[:12]


def list_releases(root: Path) -> list[Record]:
    """What every release.json says, in the order of the hashes."""
    return [read_json(path) for path in sorted((root / RELEASES).glob(f"[!.]*/{RELEASE_FILE}"))]


def read_release(root: Path, model: str) -> Record:
    """What release.json says of a model; raises ProjectError where there is no release, or its files are others."""
    folder = find_release(root, model)
    if not (folder / RELEASE_FILE).is_file():
        raise ProjectError(f"Model {model[:12]} has no release; {describe_releases(root)}.")
    record: Record = read_json(folder / RELEASE_FILE)
    if record["model"] != model:
        raise ProjectError(f"{folder} is the release of model {record['model']}, not of {model}.")
    check_files(folder, record)
    return record


def describe_releases(root: Path) -> str:
    """Which releases there are, in words."""
    names = [record["model"][:12] for record in list_releases(root)]
    return f"{RELEASES} has {', '.join(names) or 'none'}"


def check_files(folder: Path, record: Record) -> None:
    """Refuse (ProjectError) a folder whose model or bundle is not the one that the record names."""
    bundle = folder / BUNDLE_FOLDER
    try:
        files = read_json(bundle / MANIFEST_FILE)["files"]
        found = {
            "model": hash_model(folder),
            "bundle": hash_file(bundle / MANIFEST_FILE),
            **{name: hash_file(bundle / name) for name in files},
        }
    except FileNotFoundError as error:
        raise ProjectError(f"{folder} is not whole: {error.filename} is missing.") from error
    for name, wanted in {"model": record["model"], "bundle": record["bundle"], **files}.items():
        if found[name] != wanted:
            raise ProjectError(
                f"{folder}: {name} has the hash {found[name][:12]}, not {wanted[:12]} as is on record: "
                "check the folder out of git again."
            )


def write_release(root: Path, record: Record, candidate: Path) -> bool:
    """Copy the candidate's files and its record into its release, whole or not at all; False where it is there already.

    A release of the same model with another bundle is kept aside until `settle_releases`.
    """
    folder = find_release(root, record["model"])
    if is_release(folder, record):
        return False
    aside = set_aside(folder, "new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name in (MODEL_FILE, METADATA_FILE):
        shutil.copyfile(candidate / name, aside / name)
    shutil.copytree(candidate / BUNDLE_FOLDER, aside / BUNDLE_FOLDER, copy_function=shutil.copyfile)
    write_json(record, aside / RELEASE_FILE)
    if not is_release(aside, record):
        shutil.rmtree(aside)
        raise ProjectError(
            f"{CANDIDATE} is not whole, or changed while it was copied: run `dvc repro`, then try again."
        )
    if folder.exists():
        folder.rename(set_aside(folder, "old"))
    aside.rename(folder)
    return True


def is_release(folder: Path, record: Record) -> bool:
    """Whether a folder holds the model and the bundle that the record names, undamaged."""
    try:
        found = read_json(folder / RELEASE_FILE)
        check_files(folder, record)
    except (ProjectError, FileNotFoundError):
        return False
    return (found["model"], found["bundle"]) == (record["model"], record["bundle"])


def set_aside(folder: Path, state: str) -> Path:
    """Where a release's folder stands while it is not yet (`new`) or no longer (`old`) in its place."""
    return folder.with_name(f".{folder.name}.{state}")


def settle_releases(root: Path) -> None:
    """Remove what a move left aside; a release that champion.json still means goes back to its place."""
    champion = read_champion(root)
    for aside in (root / RELEASES).glob(".*.new"):
        shutil.rmtree(aside)
    for aside in (root / RELEASES).glob(".*.old"):
        folder = aside.with_name(aside.name[1 : -len(".old")])
        live = champion.get("bundle") is not None and find_release(root, champion["model"]) == folder
        back = live and not is_release(folder, champion) and is_release(aside, champion)
        if back or not folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)
        else:
            shutil.rmtree(aside)


# The champion and its history.


def read_champion(root: Path) -> Record:
    """What champion.json says; its `model` is None while there is no champion."""
    path = root / CHAMPION
    record: Record = read_json(path) if path.exists() else {"model": None}
    return record


def read_history(root: Path) -> list[Record]:
    """The history's lines, oldest first: at, by, action, model, bundle, before, because.

    A line that was torn off at the file's end is left out. Raises ProjectError for any other that is not JSON.
    """
    path = root / HISTORY
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append({"action": "promote", "bundle": None, **json.loads(line)})  # the first lines had neither
        except ValueError as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise ProjectError(f"{HISTORY}, line {number}: expected a JSON object ({error}).") from error
    return records


def tabulate_history(root: Path) -> list[tuple[str, ...]]:
    """What was live when: a row of words of equal width a move, below a heading; the last one ends with why."""
    history, live = read_history(root), read_champion(root)["model"]
    rows = [("from", "until", "model", "by", "move", "because")]
    ends = [line["at"] for line in history[1:]] + ["now" if history and history[-1]["model"] == live else ""]
    for line, end in zip(history, ends, strict=False):
        rows.append((line["at"], end, line["model"][:12], line["by"], line["action"], line["because"]))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [tuple(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in rows]


def describe_move(action: str, release: Record, before: str | None, because: str) -> Record:
    """A line of the history: this move, now, by this user."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": name_user(),
        "action": action,
        "model": release["model"],
        "bundle": release.get("bundle"),
        "before": before,
        "because": because,
    }


def name_user() -> str:
    """Who runs this: a name, or the number where a container knows no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def append_line(root: Path, line: Record) -> None:
    """Add a line to the history, in one write."""
    (root / HISTORY).parent.mkdir(parents=True, exist_ok=True)
    with (root / HISTORY).open("ab") as file:
        file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())


def trace_history(history: Sequence[Record]) -> list[str]:
    """The champions that a rollback walks back through, the live one last: a promotion adds one, a rollback removes."""
    trail: list[str] = []
    for line in history:
        if line["action"] == "rollback":
            while trail and trail[-1] != line["model"]:
                trail.pop()
        elif line["before"] is None:  # begun anew
            trail = []
        if not trail or trail[-1] != line["model"]:
            trail.append(line["model"])
    return trail


def choose_previous(root: Path, history: Sequence[Record]) -> str | None:
    """The model that answers when the last one of the history cannot: the one before it that has a release."""
    *earlier, live = trace_history(history)
    there = (model for model in reversed(earlier) if model != live and find_release(root, model).is_dir())
    return next(there, None)


def mend_history(root: Path, intent: Record | None) -> None:
    """Bring the history in line with champion.json: a torn end goes, a missing line comes.

    intent: the line of the move that did not end, if one did not.
    """
    path = root / HISTORY
    content = path.read_bytes() if path.exists() else b""
    if content and not content.endswith(b"\n"):
        whole = content[: content.rfind(b"\n") + 1]
        lost = len(read_history(root)) == len(whole.splitlines())
        path.write_bytes(whole if lost else content + b"\n")
    champion, history = read_champion(root), read_history(root)
    last = history[-1] if history else {"model": None, "bundle": None}
    model, bundle = champion["model"], champion.get("bundle")
    if model is None or (model == last["model"] and last["bundle"] in (None, bundle)):
        return
    if intent and (model, bundle) == (intent["model"], intent["bundle"]):
        append_line(root, {**intent, "because": f"{intent['because']} (recovered: the command was killed)"})
        return
    action = "rollback" if model in trace_history(history)[:-1] else "promote"
    append_line(root, describe_move(action, champion, last["model"], f"recovered: {CHAMPION} names it"))


# The lock.


@contextmanager
def hold_lock(root: Path) -> Iterator[TextIO]:
    """Wait until nobody else moves the champion, and keep others waiting; gives the lock's file, which is the journal."""
    path = root / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)  # the system frees it, however the process ends
        yield journal


def write_intent(journal: TextIO, line: Record | None) -> None:
    """Note the line of a move that begins; None: it has ended."""
    journal.truncate(0)
    if line is not None:
        journal.write(json.dumps(line))
    journal.flush()


def read_intent(journal: TextIO) -> Record | None:
    """The line of a move that did not end, if there is one; half a line is of a move that did not begin."""
    journal.seek(0)
    try:
        intent: Record = json.loads(journal.read())
    except ValueError:
        return None
    return intent
