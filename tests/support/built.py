"""A clone of the checkout with the small project, built by `dvc repro` once in a run of the tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from lifecycle.pipeline.runner import STAGES
from tests.support.sizes import size
from tests.support.small import copy_inputs


def clone(checkout: Path, root: Path) -> Path:
    """The tracked files of the checkout in a git repository of their own, with the tests' small project in place of its own."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=checkout, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (checkout / name).is_file() and name != "dvc.lock":
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(checkout / name, root / name)
    copy_inputs(root)
    params = root / "params.yaml"
    text = params.read_text()
    assert "months: 9" in text
    params.write_text(text.replace("months: 9", f"months: {size(9, 12)}"))
    git(root, "init", "-q")
    git(root, "config", "user.name", "t")
    git(root, "config", "user.email", "t@localhost")
    commit(root, "start")
    return root


def git(root: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(root), *words], check=True)


def commit(root: Path, message: str) -> None:
    """Commit all files that git does not ignore."""
    git(root, "add", "-A")
    git(root, "commit", "-qm", message)


def run(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment in `root`."""
    environment = {
        key: value for key, value in os.environ.items() if key not in ("LIFECYCLE_ROOT", "MLFLOW_TRACKING_URI")
    }
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, check=False)


def repro(root: Path, *targets: str) -> list[str]:
    """Run `dvc repro`; returns the stages that ran."""
    done = run(root, "dvc", "repro", *targets)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return re.findall(r"Running stage '(\w+)'", done.stdout)


def build(checkout: Path, root: Path) -> None:
    """Make a clone in `root`, build everything, and commit it; there is no champion yet."""
    clone(checkout, root)
    assert repro(root) == [*STAGES, "report"]
    commit(root, "built")


def promote(built: Path, root: Path) -> None:
    """Copy a built project to `root` and make its model the champion."""
    shutil.copytree(built, root, symlinks=True)
    done = run(root, "lifecycle", "promote", "--if-blessed")
    assert "is now the champion" in done.stdout, done.stderr
