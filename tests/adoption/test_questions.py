"""What adopt asks at a terminal, where a person answers, and what it does with the answers."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lifecycle.core import paths
from lifecycle.core.contract import load_contract
from lifecycle.core.params import load_params

QUESTIONS = (
    "The class to predict, 'no' or 'yes' [yes]: ",
    "How many false alarms a missed positive costs",
    "What the model is for",
)


def adopt_at_a_terminal(project: Path, folder: Path, answers: list[str]) -> tuple[int, str]:
    """Adopt a table at a terminal; return the exit status, and what was to be seen there."""
    rng = np.random.default_rng(0)
    spend = np.round(rng.gamma(3, 20, 200), 2)
    frame = pd.DataFrame({"spend": spend, "left": np.where(spend > 90, "yes", "no")})
    frame.loc[::7, "left"] = "no"
    frame.to_csv(folder / "table.csv", index=False)
    here, there = pty.openpty()
    words = [sys.executable, "-m", "lifecycle.cli.main", "adopt", str(folder / "table.csv"), "--target", "left"]
    with subprocess.Popen(words, cwd=project, stdin=there, stdout=there, stderr=there) as process:
        os.close(there)
        os.write(here, "".join(f"{answer}\n" for answer in answers).encode())
        seen = b""
        while True:
            try:
                seen += (more := os.read(here, 4096))
            except OSError:  # the process has closed the terminal
                break
            if not more:
                break
    os.close(here)
    return process.returncode, seen.decode()


def test_answers_are_written_to_contract_and_parameters(project: Path, tmp_path: Path) -> None:
    status, seen = adopt_at_a_terminal(project, tmp_path, ["no", "4.5", "Keep whom we would lose."])
    assert status == 0, seen
    assert all(question in seen for question in QUESTIONS)
    params = load_params(project / paths.PARAMS)
    assert load_contract(project / paths.CONTRACT).positive == "no"
    assert params.train.cost.false_negative == 4.5
    assert params.explain.intended_use == "Keep whom we would lose."
    assert "train.cost in params.yaml" not in seen and "explain.intended_use in params.yaml" not in seen


@pytest.mark.integration
def test_the_enter_key_takes_what_is_proposed(project: Path, tmp_path: Path) -> None:
    status, seen = adopt_at_a_terminal(project, tmp_path, ["", "", ""])
    assert status == 0, seen
    assert load_contract(project / paths.CONTRACT).positive == "yes"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (["maybe"], "--positive"),
        (["yes", "-1"], "The cost of a missed positive is '-1': expected a number above 0."),
    ],
)
def test_an_answer_that_makes_no_sense_changes_nothing(
    answers: list[str], said: str, project: Path, tmp_path: Path
) -> None:
    before = (project / paths.CONTRACT).read_bytes(), (project / paths.PARAMS).read_bytes()
    status, seen = adopt_at_a_terminal(project, tmp_path, answers)
    assert status == 1 and said in seen, seen
    assert ((project / paths.CONTRACT).read_bytes(), (project / paths.PARAMS).read_bytes()) == before
