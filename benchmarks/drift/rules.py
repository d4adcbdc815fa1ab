"""The rules that raise alerts: each scores every column of a window, and fires where a score reaches its limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]
Record = dict[str, Any]
OURS = "ours"


@dataclass(frozen=True)
class Rule:
    """A rule: `score` takes the table of a compared window and the reference, and returns a score a row (NaN: not measured).

    It fires where a score reaches `limit`, which is the one in common use.
    """

    title: str
    limit: float
    score: Callable[[pd.DataFrame, Record], Array]


def list_rules(false_alarms: float) -> dict[str, Rule]:
    """Return our rule, which fires in at most so many quiet windows, and those of textbooks."""
    return {
        OURS: Rule("ours", -false_alarms, score_ours),
        "sigma": Rule("mean beyond 2 sigma", 2.0, score_mean),
        "psi": Rule("PSI > 0.2", 0.2, score_psi),
        "ks": Rule("KS, chi² at 0.05", -0.05, score_ks),
    }


def score_ours(table: pd.DataFrame, reference: Record) -> Array:
    """Return minus q where the effect is large enough: the windows were compared with `false_alarms=1`, so `drifted` means that."""
    return np.where(table["drifted"], -table["q"], np.nan)


def score_mean(table: pd.DataFrame, reference: Record) -> Array:
    """Return the distance of each mean from that of the reference, in standard deviations of the reference."""
    spread = [reference["columns"].get(name, {}).get("sd") or np.nan for name in table["column"]]
    distance = (table["mean"] - table["mean_before"]).abs().to_numpy(dtype=np.float64)
    return np.asarray(distance / np.array(spread, dtype=np.float64))


def score_psi(table: pd.DataFrame, reference: Record) -> Array:
    """Return the population stability index of each column."""
    return table["psi"].to_numpy(dtype=np.float64)


def score_ks(table: pd.DataFrame, reference: Record) -> Array:
    """Return minus the p-value of the Kolmogorov-Smirnov test, or of the chi-squared test for categories."""
    return -table["ks_p"].to_numpy(dtype=np.float64)


def move_limit(quiet: Array, most: int) -> float:
    """Return the lowest limit that at most `most` scores of quiet windows reach."""
    ordered = np.sort(quiet.ravel())[::-1]
    return -np.inf if most >= len(ordered) else float(np.nextafter(ordered[most], np.inf))
