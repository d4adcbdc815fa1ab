"""What more than one test needs: a project in a temporary folder, and the programs of the integration tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side: threads that wait for one another take minutes

import numpy as np
import pandas as pd
import pytest

from tests.support.dags import Airflow, install_airflow
from tests.support.evidence import keep_evidence

HERE = Path(__file__).resolve().parent.parent
INPUTS = (
    "params.yaml",
    "dvc.yaml",
    "data/contract.yaml",
    "data/profile.json",
    "models/champion.json",
    "requirements.txt",
)


def pytest_configure(config: pytest.Config) -> None:
    """Let `lifecycle readiness` know what each test comes to."""
    keep_evidence(config)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The repository's root."""
    return HERE


def copy_project(root: Path) -> Path:
    """A project's inputs, without anything built, in `root`."""
    for name in INPUTS:
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HERE / name, target)
    if (HERE / "models/releases").is_dir():
        shutil.copytree(HERE / "models/releases", root / "models/releases")
    shutil.copytree(HERE / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns(".*"))
    return root


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a project of its own, with nothing built, which LIFECYCLE_ROOT names."""
    root = copy_project(tmp_path / "project")
    monkeypatch.setenv("LIFECYCLE_ROOT", str(root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return root


@pytest.fixture
def customers() -> pd.DataFrame:
    """Three hundred made-up rows with every kind of column; `left` depends on `plan` and `months`."""
    rng = np.random.default_rng(0)
    months = rng.integers(0, 72, 300)
    plan = rng.choice(["basic", "plus", "pro"], 300, p=[0.5, 0.3, 0.2])
    logit = 1.2 - 0.06 * months + np.where(plan == "basic", 0.8, -0.6)
    left = rng.random(300) < 1 / (1 + np.exp(-logit))
    spend = np.round(rng.gamma(3, 20, 300), 2)
    return pd.DataFrame({
        "id": np.arange(300),
        "months": months,
        "spend": np.where(rng.random(300) < 0.05, np.nan, spend),
        "plan": plan,
        "senior": rng.integers(0, 2, 300),
        "left": np.where(left, "yes", "no"),
    })  # fmt: skip


@pytest.fixture
def require_program() -> Callable[[str, str], str]:
    """Find a program that a system package brings; without it a CI run fails, and a user's run skips saying so."""

    def find(program: str, package: str) -> str:
        found = shutil.which(program)
        if found is None:  # Debian keeps PostgreSQL's programs of every version in a folder of its own
            found = max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{program}")), default=None)
        if found is None:
            sentence = f"{program} is not installed: `apt-get install {package}`"
            if os.environ.get("CI"):
                pytest.fail(sentence)
            pytest.skip(sentence)
        return found

    return find


@pytest.fixture(scope="session")
def airflow(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """Airflow in its own environment, which the first run makes; where that fails CI fails, and a user's run skips."""
    try:
        return install_airflow(checkout, tmp_path_factory.mktemp("airflow"))
    except OSError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
