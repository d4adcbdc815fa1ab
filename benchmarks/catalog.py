"""The benchmarks, by name: `NAME` runs as `python -m benchmarks.NAME` and writes `results/NAME.json`."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Entry:
    """What a benchmark takes and needs.

    minutes: roughly, at full size on two cores. small_project: with `--small` it measures a small built project; without, a
    built checkout. needs: programs of the system. peers: those that an option chooses among. environments: those of them that run in an environment of their own, which
    is made from a package index the first time.
    """

    minutes: float
    small_project: bool = False
    needs: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()


BENCHMARKS = {
    "quality": Entry(1, small_project=True),
    "ablation": Entry(3, small_project=True),
    "families": Entry(4, small_project=True),
    "adoption": Entry(20, small_project=True),
    "own_tables": Entry(60, small_project=True, peers=("catboost",), environments=("catboost",)),
    "nested": Entry(
        240, small_project=True, peers=("catboost", "lightgbm", "flaml"), environments=("catboost", "flaml")
    ),
    "notebook_tax": Entry(4),
    "scale": Entry(10),
    "validation": Entry(6),
    "sources": Entry(3),
    "dialects": Entry(6, peers=("duckdb", "clevercsv", "pandas"), environments=("clevercsv",)),
    "databases": Entry(45, needs=("initdb", "java", "mvn")),
    "crash_recovery": Entry(8),
    "feature_store": Entry(2, needs=("redis-server",), peers=("feast",), environments=("feast",)),
    "serving": Entry(
        4,
        small_project=True,
        needs=("wrk", "taskset"),
        peers=("flask", "gunicorn", "mlflow", "bentoml"),
        environments=("bentoml",),
    ),
    "drift": Entry(12, small_project=True),
    "monitoring": Entry(90, small_project=True),
    "selective_labels": Entry(2),
    "drift.speed": Entry(12, peers=("scipy", "evidently", "nannyml"), environments=("evidently", "nannyml")),
}


def find_module(name: str) -> Path:
    """Return the file of a benchmark's module."""
    path = HERE / name.replace(".", "/")
    return path / "__main__.py" if path.is_dir() else path.with_suffix(".py")


def read_title(name: str) -> str:
    """Return the first line of a benchmark's docstring."""
    text = ast.get_docstring(ast.parse(find_module(name).read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]
