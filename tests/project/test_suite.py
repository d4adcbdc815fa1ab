"""The suite itself: what its runs share, the order of its files, and their sizes."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.order import LONGEST
from tests.support.shared import share


def test_the_files_that_run_first_exist(checkout: Path) -> None:
    assert [name for name in LONGEST if not (checkout / "tests" / name).is_file()] == []


@pytest.mark.parametrize(("value", "said"), [("", "small"), ("0", "small"), ("1", "full")])
def test_sizes_are_small_unless_all_is_proved(checkout: Path, value: str, said: str) -> None:
    words = [sys.executable, "-c", "from tests.support.sizes import size; print(size('small', 'full'))"]
    environment = {**os.environ, "LIFECYCLE_PROVE": value}
    done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{said}\n"


class _Factory:
    """Gives the folder of one worker of a run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def getbasetemp(self) -> Path:
        self._folder.mkdir(exist_ok=True)
        return self._folder


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[_Factory]:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    return [_Factory(tmp_path / f"popen-gw{number}") for number in range(3)]


def test_workers_share_what_the_first_of_them_builds(workers: list[_Factory]) -> None:
    built: list[Path] = []

    def build(folder: Path) -> None:
        built.append(folder)
        folder.mkdir()
        (folder / "part").touch()

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda worker: share(worker, "thing", build), workers))
    assert len(built) == 1 and set(found) == set(built) and (found[0] / "part").exists()


def test_what_could_not_be_built_is_built_anew(workers: list[_Factory]) -> None:
    def fail(folder: Path) -> None:
        folder.mkdir()
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        share(workers[0], "thing", fail)
    assert share(workers[1], "thing", Path.mkdir).is_dir()
