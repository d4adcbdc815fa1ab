"""A copy of this project to measure in, so that a benchmark changes nothing here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lifecycle.pipeline.runner import ENVIRONMENT

CHECKOUT = Path(__file__).resolve().parent.parent


@contextmanager
def copy_project() -> Iterator[tuple[Path, dict[str, str]]]:
    """Give the root of a fresh copy of the tracked files and the environment to run in; it is removed afterwards."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "project")
        for name in filter(None, names.split("\0")):
            if (CHECKOUT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(CHECKOUT / name, root / name)
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        inherited = {
            key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"
        }  # as make does
        yield root, {**inherited, **ENVIRONMENT, "MPLCONFIGDIR": folder, "LIFECYCLE_ROOT": str(root), "PATH": programs}
