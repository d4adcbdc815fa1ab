"""Keep the former project when a table is adopted, and restore it on request."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file, read_json, write_json
from lifecycle.core.paths import Project
from lifecycle.promotion.releases import hold_lock

BACKUP = ".lifecycle/adopted"  # the former project
_UNDONE = ".lifecycle/undone"  # the adopted project, after `--undo`
_ASIDE = ".lifecycle/adopting"
_STATE = "state.json"  # of the backup: which files existed, and the hashes of the files that replaced them
# The files that define the project. DVC's cache restores what the stages wrote; these files are in git, or are logs.
_WRITTEN = (paths.CONTRACT, paths.PARAMS, paths.CHAMPION, paths.PROFILE, paths.ADOPTED_PAGE)
_MOVED = (
    paths.HISTORY, paths.SHADOW, paths.RETRAININGS, paths.RELEASES, paths.PREDICTIONS, "dvc.lock", paths.TRAIN_METRICS,
    paths.EVALUATION, paths.VERDICT, paths.BLESSING, paths.METRICS, paths.ONLINE_ROWS,
)  # fmt: skip


def check_edits(root: Path, force: bool) -> None:
    """Raise ProjectError if the adopted contract or parameters were edited since."""
    state = root / BACKUP / _STATE
    if force or not state.exists():
        return
    for name, sha256 in read_json(state).get("written", {}).items():
        if (root / name).is_file() and hash_file(root / name) != sha256:
            raise ProjectError(
                f"{name} was edited since a table was adopted, and would be overwritten. `--force` overwrites it; "
                "`lifecycle adopt --undo` restores the former project."
            )


def back_up(root: Path) -> None:
    """Copy the files that will be overwritten into the backup, all or none; an existing backup is kept."""
    folder = root / BACKUP
    if folder.exists():
        return
    aside = folder.with_name(".adopted.new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    present = [name for name in (*_WRITTEN, *_MOVED) if (root / name).exists()]
    for name in _WRITTEN:
        if name in present:
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, aside / name)
    write_json({"present": present}, aside / _STATE)
    aside.rename(folder)


def swap_in(root: Path, texts: Mapping[str, str]) -> None:
    """Move files that belong only to the former project into the backup, and write the new files atomically."""
    folder = root / BACKUP
    state = read_json(folder / _STATE)
    for name in _MOVED:
        if not (root / name).exists():
            continue
        if name in state["present"] and not (folder / name).exists():
            _move(root / name, folder / name)
        else:  # it belongs to a table that was adopted before this one
            _remove(root / name)
    asides = {name: root / _ASIDE / name for name in texts}
    for name, text in texts.items():
        asides[name].parent.mkdir(parents=True, exist_ok=True)
        asides[name].write_text(text, encoding="utf-8")
    write_json(
        {**state, "written": {name: hash_file(asides[name]) for name in (paths.CONTRACT, paths.PARAMS)}},
        folder / _STATE,
    )
    for name, aside in asides.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        aside.replace(root / name)


def undo_adoption(project: Project) -> list[str]:
    """Restore the former project, byte for byte; the adopted one goes to .lifecycle/undone.

    Raises ProjectError if no table was adopted. If the process is killed, the next call continues.
    """
    root, folder = project.output, project.output / BACKUP
    if not folder.exists():
        raise ProjectError("No table was adopted here, so there is no former project to restore.")
    with hold_lock(root):
        present = read_json(folder / _STATE)["present"]
        for name in (*_WRITTEN, *_MOVED):
            if (name not in present or (folder / name).exists()) and (root / name).exists():
                _move(root / name, root / _UNDONE / name)
            if (folder / name).exists():
                _move(folder / name, root / name)
        shutil.rmtree(folder)
    return [
        "The former project is restored: contract, parameters, champion, releases, history and lock are as before.",
        f"The adopted project is in {_UNDONE}. `dvc repro` restores the stages' outputs from DVC's cache.",
    ]


def _move(path: Path, to: Path) -> None:
    """Rename a file or folder, replacing an existing one."""
    to.parent.mkdir(parents=True, exist_ok=True)
    _remove(to)
    path.rename(to)


def _remove(path: Path) -> None:
    """Remove a file or folder if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
