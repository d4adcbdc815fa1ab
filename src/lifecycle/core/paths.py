"""The path of every artefact, in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lifecycle.core.errors import ProjectError

ROOT_VARIABLE = "LIFECYCLE_ROOT"
FEATURE_STORE_VARIABLE = "LIFECYCLE_FEATURE_STORE"
SCRATCH = ".lifecycle/scratch"
STUDIES = ".lifecycle/studies"
TRIAL = ".lifecycle/trial"
EVIDENCE = ".lifecycle/evidence.json"

PARAMS = "params.yaml"
OPTIONS = f"{PARAMS}: collect.options"
LOCK = "requirements.txt"
CONTRACT = "data/contract.yaml"
PROFILE = "data/profile.json"

LANDED = "data/landed"
RAW_TABLE = "data/raw/table.parquet"
RAW_MANIFEST = "data/raw/manifest.json"
REJECTED_TABLE = "data/raw/rejected.parquet"
VALIDATED_TABLE = "data/validated/table.parquet"
QUARANTINE_TABLE = "data/validated/quarantine.parquet"
VALIDATION = "data/validated/checks.json"
TRAIN_TABLE = "data/features/train.parquet"
TEST_TABLE = "data/features/test.parquet"
FEATURES = "data/features/features.json"
SPLIT = "data/features/split.parquet"
ONLINE_ROWS = "data/online/rows.db"
FEATURE_STORE = "sqlite:///.lifecycle/features.db"

TUNED = "models/tuned/best.json"
TRIALS = "models/tuned/trials.parquet"
CANDIDATE = "models/candidate"
BUNDLE = "models/candidate/bundle"
VERDICT = "models/verdict.json"
BLESSING = "models/blessing.json"
RELEASES = "models/releases"
CHAMPION = "models/champion.json"
SHADOW = "models/shadow.json"
HISTORY = "models/history.jsonl"
RETRAININGS = "models/retraining.jsonl"
PREDICTIONS = "data/predictions"
SIMULATED = "data/simulated/logs"
SIMULATED_SCENARIOS = "data/simulated/scenarios.json"
RETRAINING_TABLE = "data/retraining/table.parquet"
DECISION = "data/retraining/decision.json"
PREVIOUS = "models/previous"

TRAIN_METRICS = "reports/train.json"
EVALUATION = "reports/evaluate.json"
METRICS = "reports/metrics.json"
PLOTS = "reports/plots"
EXPLANATION = "reports/explain.json"
SERVING = "reports/serving.html"
MONITORING = "reports/monitor.json"
LIVE_MONITORING = "reports/live/monitor.json"
LIVE_PAGE = "reports/live/monitor.html"
REPLAY = "reports/replay.json"
REPLAY_PAGE = "reports/replay.html"
MODEL_CARD = "reports/model_card.html"
FEATURE_CATALOG = "reports/feature_catalog.json"
FEATURE_PAGE = "reports/feature_catalog.html"
ADOPTED_PAGE = "reports/adopted.html"
INDEX = "reports/index.html"

RUBRIC = "tests/ml_test_score.yaml"


@dataclass(frozen=True)
class Project:
    """A project: the root it is read from, and the folder it is written to (the root itself, or a scratch folder below it)."""

    root: Path
    output: Path

    def read(self, name: str) -> Path:
        """Return the path of an artefact that must exist; raise ProjectError when it does not."""
        path = self.root / name
        if not path.exists():
            raise ProjectError(f"{name} is not in {self.root}: run `dvc repro` first, which builds it.")
        return path

    def write(self, name: str) -> Path:
        """Return the path to write an artefact to, and create its folder."""
        path = self.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def find_root() -> Path:
    """Return the project's root: $LIFECYCLE_ROOT, else the nearest folder upwards with params.yaml and dvc.yaml."""
    named = os.environ.get(ROOT_VARIABLE)
    if named:
        return Path(named).resolve()
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / PARAMS).is_file() and (folder / "dvc.yaml").is_file():
            return folder
    raise ProjectError(
        f"There is no project in {Path.cwd()} or in the folders above it: expected params.yaml and dvc.yaml. "
        f"Change to the project's folder, or set {ROOT_VARIABLE}."
    )


def open_project(*, write: bool = False) -> Project:
    """Return the project of the working directory; without `write`, outputs go to a scratch folder below its root."""
    root = find_root()
    return Project(root, root if write else root / SCRATCH)
