"""What tests look up in a live project: the champion, and the simulated log with concept drift."""

from __future__ import annotations

import json
from pathlib import Path


def read_champion(root: Path) -> str:
    return str(json.loads((root / "models/champion.json").read_text())["model"])


def turn(root: Path) -> str:
    return str(root / "data/simulated/logs/concept_drift")
