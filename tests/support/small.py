"""The small project that tests run on, whatever table the checkout is about.

Its parameters and its contract are stored in `project/`. Its table is a sample of the worked example's, which a package of
the environment brings.
"""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pandas as pd

from lifecycle.core.tables import write_table
from lifecycle.sources.dispatch import read_source
from tests.support.example import SOURCE

HERE = Path(__file__).resolve().parent.parent.parent
SMALL = Path(__file__).resolve().parent / "project"
SAMPLE = "data/sample.parquet"


@cache
def read_sample() -> pd.DataFrame:
    """Return four thousand rows, the same each time; not to be changed."""
    return read_source(SOURCE, SMALL)[0].to_pandas().sample(4000, random_state=0)


def copy_inputs(root: Path) -> None:
    """Put the table, the parameters and the contract in `root`, over those of another project, without a champion."""
    shutil.rmtree(root / "models/releases", ignore_errors=True)
    shutil.copytree(SMALL, root, dirs_exist_ok=True)
    write_table(read_sample(), root / SAMPLE)


def copy_project(root: Path) -> Path:
    """Put the project in `root`, with the checkout's pipeline and nothing built; returns `root`."""
    copy_inputs(root)
    for name in ("dvc.yaml", "requirements.txt"):
        shutil.copyfile(HERE / name, root / name)
    shutil.copytree(HERE / "notebooks", root / "notebooks", ignore=shutil.ignore_patterns(".*"))
    return root
