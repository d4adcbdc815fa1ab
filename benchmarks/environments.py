"""Environments for peers whose packages conflict with those of this project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.project import CHECKOUT
from lifecycle.core.errors import ProjectError

FOLDER = CHECKOUT / ".lifecycle/benchmarks"  # on the disk of the project, because a prediction log is synced to disk


def make_environment(name: str, pins: Path, *more: str) -> Path:
    """Return the folder of the programs of an environment, which is made from a file of pins and from `more` pins.

    Raises ProjectError when it cannot be made.
    """
    uv, home = [sys.executable, "-m", "uv", "--quiet"], FOLDER / name
    install = ["pip", "install", "--python", str(home / "bin/python"), "--no-deps", "-r", str(pins), *more]
    for words in (["venv", "--allow-existing", "--python", sys.executable, str(home)], install):
        done = subprocess.run([*uv, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ProjectError(
                f"{name}'s environment cannot be made (--no-environments leaves it out): {done.stderr.strip()}"
            )
    return home / "bin"
