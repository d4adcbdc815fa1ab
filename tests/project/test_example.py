"""Which table the project is about, and that the tests about the worked example alone are left out where it is another."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lifecycle.cli.main import main
from lifecycle.core.paths import CONTRACT, PARAMS
from tests.support.example import SOURCE, find_other_table
from tests.support.small import HERE, SMALL

CONFTEST = """
from tests.support.example import leave_out_example

def pytest_configure(config):
    config.addinivalue_line("markers", "example: about the worked example alone")
    leave_out_example(config)
"""
TESTS = """
import pytest

@pytest.mark.example
@pytest.mark.parametrize("number", [1, 2])
def test_of_the_example(number):
    raise AssertionError

def test_of_any_table():
    pass
"""


def make_example(root: Path) -> None:
    """Make the project in `root` one about the worked example, as far as its files say."""
    shutil.copytree(SMALL, root, dirs_exist_ok=True)
    text = (root / PARAMS).read_text()
    (root / PARAMS).write_text(text.replace("source: data/sample.parquet", f"source: {SOURCE}"))


def test_an_adopted_table_is_another_until_it_is_undone(project: Path, tmp_path: Path) -> None:
    make_example(project)
    assert find_other_table(project) is None
    (tmp_path / "loans.csv").write_text("amount,late\n" + "".join(f"{row % 7},{row % 3 // 2}\n" for row in range(90)))
    assert main(["adopt", str(tmp_path / "loans.csv"), "--target", "late"]) == 0
    assert find_other_table(project) == "loans"
    assert main(["adopt", "--undo"]) == 0
    assert find_other_table(project) is None


@pytest.mark.parametrize(
    ("file", "old", "new", "table"),
    [
        (PARAMS, f"source: {SOURCE}", "source: postgresql://host/shop", "telco churn"),
        (CONTRACT, "name: telco churn", "name: my churn", "my churn"),
        (PARAMS, "trials: 4", "trials: 7", None),
        (PARAMS, "base:", "base: [", None),  # the tests that read it say what is wrong
    ],
)
def test_what_an_editor_wrote_counts_as_well(tmp_path: Path, file: str, old: str, new: str, table: str | None) -> None:
    make_example(tmp_path)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1))
    assert find_other_table(tmp_path) == table


@pytest.mark.parametrize("words", [[], ["-p", "xdist", "-n", "1"]])
def test_marked_tests_are_left_out_and_named(tmp_path: Path, words: list[str]) -> None:
    shutil.copytree(SMALL, tmp_path, dirs_exist_ok=True)  # its source is a file, so it is not the example
    for name, text in {"pytest.ini": "[pytest]\n", "conftest.py": CONFTEST, "test_it.py": TESTS}.items():
        (tmp_path / name).write_text(text)
    places = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": places, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert "and this project is about 'telco churn': test_of_the_example." in done.stdout
