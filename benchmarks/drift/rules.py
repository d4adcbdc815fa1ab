"""The rules that ring: each gives every column of a window a score, and rings where one reaches its limit."""

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
    """A rule: `score` takes a judged window's table and the reference, and gives a score a row (NaN: it cannot tell).

    It rings at `limit` as it is usually used.
    """

    title: str
    limit: float
    score: Callable[[pd.DataFrame, Record], Array]


def list_rules(false_alarms: float) -> dict[str, Rule]:
    """Ours, which rings in so many quiet windows, and what textbooks have."""
    return {
        OURS: Rule("ours", -false_alarms, score_ours),
        "sigma": Rule("mean beyond 2 sigma", 2.0, score_mean),
        "psi": Rule("PSI > 0.2", 0.2, score_psi),
        "ks": Rule("KS, chi² at 0.05", -0.05, score_ks),
    }


def score_ours(table: pd.DataFrame, reference: Record) -> Array:
    """Minus q where the effect is large enough; the windows were judged with `false_alarms=1`, so `drifted` says that."""
    return np.where(table["drifted"], -table["q"], np.nan)


def score_mean(table: pd.DataFrame, reference: Record) -> Array:
    """By how many of the reference's standard deviations a mean is away."""
    spread = [reference["columns"].get(name, {}).get("sd") or np.nan for name in table["column"]]
    apart = (table["mean"] - table["mean_before"]).abs().to_numpy(dtype=np.float64)
    return np.asarray(apart / np.array(spread, dtype=np.float64))


def score_psi(table: pd.DataFrame, reference: Record) -> Array:
    """The population stability index."""
    return table["psi"].to_numpy(dtype=np.float64)


def score_ks(table: pd.DataFrame, reference: Record) -> Array:
    """Minus the p-value of Kolmogorov and Smirnov's test, or of a chi-squared one; as many tests as columns."""
    return -table["ks_p"].to_numpy(dtype=np.float64)


def move_limit(quiet: Array, most: int) -> float:
    """The lowest limit that at most `most` of the quiet windows' scores reach."""
    ordered = np.sort(quiet.ravel())[::-1]
    return -np.inf if most >= len(ordered) else float(np.nextafter(ordered[most], np.inf))
