"""A small report of `lifecycle monitor`: three windows over the columns of `tests.support.bundles`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lifecycle.core.files import write_json
from lifecycle.core.params import AlertLimits

Record = dict[str, Any]
LIMITS = AlertLimits(  # those of params.yaml
    slight_psi=0.1, plain_psi=0.25, little_weight=0.02, much_weight=0.05, missing_gap=0.1, volume_ratio=0.5,
    label_shift=0.02, large_label_shift=0.1, roc_auc=0.05, brier=0.15, calibration=0.1,
)  # fmt: skip
WEIGHTS = {"months": 0.2, "spend": 0.1, "plan": 0.65, "senior": 0.05}
PSI = {"months": 0.02, "spend": 0.31, "plan": 0.12, "senior": 0.0, "(prediction)": 0.18, "(multivariate)": None}
MARKUP = "<img src=x onerror=\"document.title='owned'\">"  # a category may have such a name


def make_report(model: str, **change: Any) -> Record:
    """Make a report about a model (its hash, or the first twelve digits of it); `change` replaces top-level keys.

    The newest window has too few rows to be judged; in the one before it a column drifted, and labels have arrived for the
    oldest only.
    """
    windows = [
        {"name": f"2026-0{month}", "start": f"2026-0{month}-01T00:00:00+00:00", "end": f"2026-0{month + 1}-01T00:00:00+00:00",
         "rows": rows, "mature": labelled, "labelled": labelled, "judged": rows > 100, "against": ""}
        for month, rows, labelled in ((4, 612, 600), (5, 580, 90), (6, 12, 0))
    ]  # fmt: skip
    drift = [
        {"window": window, "column": column, "kind": "numeric", "p": 0.5 if calm else 1e-5, "q": 0.5 if calm else 1e-4,
         "psi": None if psi is None else psi * (0.1 if calm else 1), "distance": None if psi is None else 1.5 * psi,
         "missing": 0.25 if column == "spend" else 0.0, "drifted": not calm and psi != 0,
         "new": [MARKUP] if column == "plan" and not calm else []}
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
        {"kind": "category", "column": "plan", "since": "2026-05", "window": "2026-05", "severity": "warning",
         "message": f"plan moved: {MARKUP} is new.", "psi": 0.12, "weight": 0.65},
        {"kind": "column", "column": "spend", "since": "2026-05", "window": "2026-05", "severity": "critical",
         "message": "spend moved far: PSI 0.31.", "psi": 0.31, "weight": 0.1},
    ]  # fmt: skip
    return {
        "format": 2, "model": model[:12], "bundle": "b" * 64, "simulated": False, "since": windows[0]["start"],
        "at": windows[-1]["end"], "mature_until": windows[-1]["start"], "window": "month",
        "budget": {"total": 0.01, "drift": 0.005, "degradation": 0.0025, "label": 0.0025}, "severity": "critical",
        "windows": windows, "columns": list(WEIGHTS), "weights": WEIGHTS, "drift": drift, "performance": performance,
        "alerts": alerts, "timeline": alerts, "backtests": [], **change,
    }  # fmt: skip


def write_report(report: Record, path: Path) -> Path:
    """Write a report as `lifecycle monitor` does: the file appears as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(report, path)
    return path
