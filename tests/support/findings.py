"""What `lifecycle monitor` writes, small: three windows over the columns of `tests.support.bundles`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lifecycle.core.files import write_json

Record = dict[str, Any]
WEIGHTS = {"months": 0.2, "spend": 0.1, "plan": 0.65, "senior": 0.05}
PSI = {"months": 0.02, "spend": 0.31, "plan": 0.12, "senior": 0.0, "(prediction)": 0.18, "(multivariate)": None}
MARKUP = "<img src=x onerror=\"document.title='owned'\">"  # as a level may be called


def make_findings(model: str, **change: Any) -> Record:
    """Findings of a model (its hash, or the first twelve digits of it); `change` replaces keys of the whole.

    The newest window has too few rows to be judged; in the one before it a column drifted, and truths have come for the
    oldest alone.
    """
    windows = [
        {"name": f"2026-0{month}", "start": f"2026-0{month}-01T00:00:00+00:00", "end": f"2026-0{month + 1}-01T00:00:00+00:00",
         "rows": rows, "labelled": labelled, "judged": rows > 100}
        for month, rows, labelled in ((4, 612, 600), (5, 580, 90), (6, 12, 0))
    ]  # fmt: skip
    drift = [
        {"window": window, "column": column, "kind": "numeric", "p": 0.5 if calm else 1e-5,
         "psi": None if psi is None else psi * (0.1 if calm else 1), "distance": None if psi is None else 1.5 * psi,
         "missing": 0.25 if column == "spend" else 0.0, "drifted": not calm and psi != 0}
        for window, calm in (("2026-04", True), ("2026-05", False))
        for column, psi in PSI.items()
    ]  # fmt: skip
    expected = {"value": 0.8, "low": 0.78, "high": 0.82}
    brier = {"value": 0.14, "low": 0.12, "high": 0.16}
    performance = [
        {"window": "2026-05", "metric": "roc_auc", "realised": None, "expected": {"value": 0.75, "low": 0.7, "high": 0.8}},
        {"window": "2026-04", "metric": "roc_auc", "realised": {"value": 0.72, "low": 0.7, "high": 0.74}, "expected": expected},
        {"window": "2026-04", "metric": "accuracy", "realised": {"value": 0.8, "low": 0.78, "high": 0.82}, "expected": expected},
        {"window": "2026-04", "metric": "brier", "realised": {"value": 0.2, "low": 0.18, "high": 0.22}, "expected": brier},
    ]  # fmt: skip
    alerts = [
        {"kind": "category", "column": "plan", "since": "2026-05", "window": "2026-05", "severity": "look",
         "message": f"plan moved: {MARKUP} is new.", "psi": 0.12, "weight": 0.65},
        {"kind": "column", "column": "spend", "since": "2026-05", "window": "2026-05", "severity": "act",
         "message": "spend moved far: PSI 0.31.", "psi": 0.31, "weight": 0.1},
    ]  # fmt: skip
    return {
        "format": 1, "model": model[:12], "bundle": "b" * 64, "at": windows[-1]["end"], "window": "month", "severity": "act",
        "windows": windows, "columns": list(WEIGHTS), "weights": WEIGHTS, "drift": drift, "performance": performance,
        "alerts": alerts, **change,
    }  # fmt: skip


def write_findings(findings: Record, path: Path) -> Path:
    """Write findings as `lifecycle monitor` does, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(findings, path)
    return path
