"""Environments of their own, for peers that do not go with this one's packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.project import CHECKOUT
from lifecycle.core.errors import ProjectError

FOLDER = CHECKOUT / ".lifecycle/benchmarks"  # on the project's own disk: a prediction log is synced


def make_environment(name: str, pins: Path, *more: str) -> Path:
    """The folder of the programs of an environment, made if need be from a file of pins and from `more` of them.

    Raises ProjectError when it cannot be made.
    """
    uv, home = [sys.executable, "-m", "uv", "--quiet"], FOLDER / name
    install = ["pip", "install", "--python", str(home / "bin/python"), "--no-deps", "-r", str(pins), *more]
    for words in (["venv", "--allow-existing", "--python", sys.executable, str(home)], install):
        done = subprocess.run([*uv, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ProjectError(f"{name}'s environment cannot be made, --peers can leave it out: {done.stderr.strip()}")
    return home / "bin"
