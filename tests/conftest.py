"""What more than one test needs: a project in a temporary folder, and the programs of the integration tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side: threads that wait for one another take minutes
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # or, where a test wants several, spin while they wait

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from lifecycle.pipeline.forkserver import start_parent
from tests.support.dags import Airflow, install_airflow
from tests.support.evidence import keep_evidence
from tests.support.example import leave_out_example
from tests.support.mlflow_stores import make_store
from tests.support.order import order_items
from tests.support.shared import share
from tests.support.sizes import size
from tests.support.small import HERE, copy_project

settings.register_profile("sized", max_examples=size(100, 1000))
settings.load_profile("sized")

Measure = Callable[[], AbstractContextManager[None]]
PROCESS_COVERAGE = "COVERAGE_PROCESS_CONFIG"  # the variable by which coverage reaches a process


def pytest_configure(config: pytest.Config) -> None:
    """Let `lifecycle readiness` know what each test comes to."""
    keep_evidence(config)
    leave_out_example(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    order_items(items)


@pytest.fixture(scope="session", autouse=True)
def measure() -> Iterator[Measure]:
    """A block in which processes that start have their coverage measured, but for those that a warm parent forks.

    Outside of such a block they have not: a stage takes half as long again with it.
    """
    value = os.environ.pop(PROCESS_COVERAGE, None)

    @contextmanager
    def measure() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            if value is not None:
                patch.setenv(PROCESS_COVERAGE, value)
            yield

    yield measure
    if value is not None:
        os.environ[PROCESS_COVERAGE] = value


@pytest.fixture(scope="module")
def measured(measure: Measure) -> Iterator[None]:
    """The processes of a module's tests have their coverage measured."""
    with measure():
        yield


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The repository's root."""
    return HERE


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a small project of its own, with nothing built, which LIFECYCLE_ROOT names."""
    root = copy_project(tmp_path / "project")
    monkeypatch.setenv("LIFECYCLE_ROOT", str(root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return root


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty MLflow store, for `copy_store`."""
    return share(tmp_path_factory, "an MLflow store", make_store)


@pytest.fixture(scope="session")
def warm_parent() -> Iterator[dict[str, str]]:
    """A warm parent for all tests of this process that name it; the environment variable by which it is found."""
    with start_parent() as variable:
        yield variable


@pytest.fixture(scope="module")
def warm(warm_parent: dict[str, str]) -> Iterator[None]:
    """All stages of a module's tests run by a warm parent; what they print is not seen by `capsys`."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in warm_parent.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def built(checkout: Path, warm_parent: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project in which everything was built once, and nothing promoted. Copy it before you change anything."""
    from tests.support.built import build

    with pytest.MonkeyPatch.context() as patch:
        for name, value in warm_parent.items():
            patch.setenv(name, value)
        return share(tmp_path_factory, "a built project", lambda root: build(checkout, root))


@pytest.fixture(scope="session")
def live(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built project with its model as the champion, and simulated logs. Copy it before you change anything."""
    from tests.support.built import promote

    return share(tmp_path_factory, "a live project", lambda root: promote(built, root))


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
