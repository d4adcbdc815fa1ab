"""Drift: whether a window's columns are distributed as the reference's, by how much they differ, and where it counts.

Everything is computed from counts (`sketches`), so that its price does not depend on the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
import pandas as pd
from scipy.special import chdtrc, gammaln, kolmogorov, ndtr
from scipy.stats import false_discovery_control, kstwo, wasserstein_distance

from lifecycle.core.histograms import measure_psi
from lifecycle.monitoring.reference import Array, Counts, Levels, Numbers, Record

GROUPS = 10  # of a number's bins, of about equal size, for PSI and chi-squared
LEAST = 5.0  # rows expected of a cell of a chi-squared test; smaller ones are joined (Cochran 1954, Biometrics 10)
EXACT = 2_000  # effective rows up to which the Kolmogorov-Smirnov distribution is computed exactly
LOOKS = 3  # windows that the longer look takes together
BACK = 0.05  # p-value of the window alone, above which what the longer look finds may be over: its own PSI tells
HIGHEST = 0.95  # a p-value counts for no more where several are combined: discrete tests give 1 far too often
SIGMAS = 2.0  # of the textbook's rule
NOTABLE = 10  # rows expected of a level, from which its absence is told
PREDICTION, MULTIVARIATE = "(prediction)", "(multivariate)"  # rows of a drift table that are no columns


def compare_window(reference: Record, counts: Counts) -> pd.DataFrame:
    """How a window's columns differ from the reference's: a row a column, and one for all together.

    Columns: column, kind, rows (values present), p (of no difference, all of the column's tests combined), psi (ten bins or the levels,
    and the missing), distance (numbers: Wasserstein, in the reference's standard deviations; levels: Jensen-Shannon,
    base 2, 0 to 1), missing, missing_before (shares), mean, mean_before (numbers), moved (the textbook's rule: whether the
    mean is more than two standard deviations away), ks_p (Kolmogorov-Smirnov or chi-squared alone), new, vanished (levels).
    What cannot be told is NaN.
    """
    return pd.DataFrame(compare_columns(reference, counts))


def compare_columns(reference: Record, counts: Counts) -> list[Record]:
    """The rows of `compare_window`."""
    rows = []
    for name, sketch in reference["columns"].items():
        counted = counts.columns[name]
        if isinstance(counted, Numbers):
            row = compare_numbers(sketch, counted)
        else:
            row = compare_levels(sketch, counted)
        before, now = count_present(sketch), counted.present
        row["p"] = combine_p([*row.pop("tests"), missing_pvalue(sketch["missing"], before, counted.missing, now)])
        row["missing_before"] = sketch["missing"] / max(before + sketch["missing"], 1)
        row["missing"] = counted.missing / max(now + counted.missing, 1)
        rows.append({"column": name, "kind": sketch["kind"], "rows": now, **row})
    if reference["components"] is not None:
        rows.append(compare_errors(reference["components"], counts.errors))
    empty: Record = {"psi": np.nan, "distance": np.nan, "missing": np.nan, "missing_before": np.nan, "mean": np.nan}
    empty |= {"mean_before": np.nan, "shift": np.nan, "moved": False, "ks_p": np.nan, "new": (), "vanished": ()}
    return [{**empty, **row} for row in rows]


def count_present(sketch: Record) -> int:
    """How many values of a column the reference has."""
    return (
        int(sum(sketch["counts"]))
        if sketch["kind"] == "numeric"
        else sum(sketch["categories"].values()) + sketch["other"]
    )


def compare_numbers(sketch: Record, now: Numbers) -> Record:
    """A number's tests and effects: Kolmogorov-Smirnov for the shape, Welch for the mean, chi-squared for the bins."""
    before, sums = np.array(sketch["counts"], dtype=np.float64), np.array(sketch["sums"])
    n, m = float(before.sum()), float(now.present)
    groups = group_bins(before)
    grouped, grouped_now = (np.bincount(groups, weights=counts) for counts in (before, now.counts.astype(np.float64)))
    row: Record = {
        "psi": measure_psi(np.append(grouped, sketch["missing"]), np.append(grouped_now, now.missing)),
        "mean_before": sketch["mean"] if n else np.nan,
        "tests": [],
    }
    if not n or not m:
        return row
    shift = now.total / m
    mean, variance = sketch["mean"] + shift, max(0.0, now.square / m - shift * shift)
    largest = float(np.abs(np.cumsum(before) / n - np.cumsum(now.counts) / m).max())
    ks_p = bound_ks(largest, n, m)
    spread = max(variance, sketch["sd"] ** 2)  # few rows of a long tail look narrower than they are
    row |= {
        "mean": mean,
        "shift": abs(shift) / sketch["sd"] if sketch["sd"] else np.inf if shift else 0.0,
        "moved": bool(abs(mean - sketch["mean"]) > SIGMAS * sketch["sd"]),
        "ks_p": ks_p,
        "distance": measure_distance(before, sums, now, sketch["sd"], abs(mean - sketch["mean"])),
        "tests": [ks_p, means_pvalue(shift, sketch["sd"] ** 2 / n + spread / m), cells_pvalue(grouped, grouped_now)],
    }  # fmt: skip
    if n < 2:  # one row says nothing of a spread
        row["tests"] = []
    return row


def group_bins(counts: Array) -> Array:
    """The group of each bin: ten of about equal size in the reference, and what lies beyond it on either side."""
    running = np.cumsum(counts) - counts / 2
    group = np.minimum((running * (GROUPS / max(counts.sum(), 1.0))).astype(np.int64), GROUPS - 1) + 1
    if len(counts) > 1:
        group[0], group[-1] = 0, GROUPS + 1
    return np.asarray(np.unique(group, return_inverse=True)[1])


def bound_ks(largest: float, n: float, m: float) -> float:
    """The p-value of the two-sample Kolmogorov-Smirnov statistic, conservative where there are ties.

    Its exact distribution at n m / (n + m) rows (as scipy.stats.ks_2samp has it), beyond EXACT rows its limit, which is
    a little larger.
    """
    effective = n * m / (n + m)
    if effective > EXACT:
        return float(kolmogorov(largest * np.sqrt(effective)))
    return float(np.clip(kstwo.sf(largest, max(1, round(effective))), 0.0, 1.0))


def means_pvalue(difference: float, variance: float) -> float:
    """The two-sided p-value of a difference of means (Welch 1947, Biometrika 34, in its normal limit)."""
    if variance <= 0:
        return 1.0 if abs(difference) < 1e-12 else 0.0
    return 2 * float(ndtr(-abs(difference) / np.sqrt(variance)))


def cells_pvalue(before: Array, now: Array) -> float:
    """The p-value of Pearson's chi-squared test of two samples in the same cells, small cells joined; NaN for one cell."""
    n, m = before.sum(), now.sum()
    if not n or not m:
        return float("nan")
    before, now = join_cells(before, now)
    both = before + now
    kept = both > 0
    if kept.sum() < 2:
        return float("nan")
    if kept.sum() == 2 and (both[kept] * (min(n, m) / (n + m))).min() < LEAST:
        return exact_pvalue(*before[kept], *now[kept])
    expected = both[kept] * (m / (n + m))
    statistic = (((now[kept] - expected) ** 2) / expected).sum() * (n + m) / n
    return float(chdtrc(kept.sum() - 1, statistic))


def join_cells(before: Array, now: Array) -> tuple[Array, Array]:
    """Two samples' cells, those with fewer than LEAST rows expected joined, with the next smallest if need be; two are left."""
    both = before + now
    order = np.argsort(both, kind="stable")
    least = LEAST * both.sum() / min(before.sum(), now.sum())
    small = int(np.searchsorted(both[order], least))
    if small:
        small += int(both[order][:small].sum() < least)
        small = min(small, int((both > 0).sum()) - 1 + int((both == 0).sum()))
        first, rest = order[:small], order[small:]
        before, now = (np.append(cells[rest], cells[first].sum()) for cells in (before, now))
    return before, now


def exact_pvalue(first: float, second: float, first_now: float, second_now: float) -> float:
    """The p-value of Fisher's exact test of two samples in two cells, the smaller tail doubled."""
    from scipy.stats import hypergeom

    rows, marked, drawn = (
        int(first + second + first_now + second_now),
        int(first + first_now),
        int(first_now + second_now),
    )
    tails = hypergeom.sf(first_now - 1, rows, marked, drawn), hypergeom.cdf(first_now, rows, marked, drawn)
    return float(min(1.0, 2 * min(tails)))


def missing_pvalue(missing: int, present: int, missing_now: int, present_now: int) -> float:
    """The p-value of two shares of missing values; NaN where nothing is missing, or everything is."""
    table = np.array([[missing, present], [missing_now, present_now]], dtype=np.float64)
    if not table.sum(axis=0).all() or not table.sum(axis=1).all():
        return float("nan")
    return cells_pvalue(table[0], table[1])


def measure_distance(before: Array, sums: Array, now: Numbers, sd: float, apart: float) -> float:
    """The first Wasserstein distance of two samples in bins, each at its bin's mean, in standard deviations."""
    if sd <= 0:
        return 0.0 if apart < 1e-12 else float("inf")
    mine, its = before > 0, now.counts > 0
    return float(
        wasserstein_distance(
            sums[mine] / before[mine], now.sums[its] / now.counts[its], before[mine], now.counts[its].astype(np.float64)
        )
        / sd
    )


def compare_levels(sketch: Record, now: Levels) -> Record:
    """A category's tests and effects: chi-squared over the levels, and the chance that rows of new levels came only now."""
    known = list(sketch["categories"])
    fresh = {name: count for name, count in now.counts.items() if name not in sketch["categories"]}
    before = np.array([*sketch["categories"].values(), sketch["other"]], dtype=np.float64)
    after = np.array([*(now.counts.get(name, 0) for name in known), sum(fresh.values())], dtype=np.float64)
    n, m = before.sum(), after.sum()
    row: Record = {
        "psi": measure_psi(np.append(before, sketch["missing"]), np.append(after, now.missing)),
        "tests": [],
    }
    if not n or not m:
        return row
    chi2_p = cells_pvalue(before, after)
    new: tuple[str, ...] = ()
    tests = [chi2_p]
    if fresh and not sketch["other"]:
        new = tuple(sorted(fresh, key=lambda name: (-fresh[name], name)))
        tests.append(new_category_pvalue(sum(fresh.values()), n, m))
    gone = (name for name in known if not now.counts.get(name) and sketch["categories"][name] / n * m >= NOTABLE)
    row |= {
        "ks_p": chi2_p,
        "distance": measure_js(before / n, after / m),
        "new": new,
        "vanished": tuple(gone),
        "tests": tests,
    }
    return row


def new_category_pvalue(count: float, n: float, m: float) -> float:
    """The chance that `count` rows of levels nobody had seen are all among the m later ones of n + m rows."""
    total = n + m
    return float(np.exp(gammaln(m + 1) - gammaln(m - count + 1) - gammaln(total + 1) + gammaln(total - count + 1)))


def measure_js(one: Array, other: Array) -> float:
    """The Jensen-Shannon distance of two distributions, base 2: 0 alike, 1 apart (Endres & Schindelin 2003, IEEE T-IT 49)."""
    middle = (one + other) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(side > 0, side * np.log2(side / middle), 0.0).sum() for side in (one, other)]
    return float(np.sqrt(max(0.0, sum(parts) / 2)))


def compare_errors(components: Record, errors: tuple[int, float, float]) -> Record:
    """All columns together: whether the reference's components leave as much of the window's rows as of its own.

    `distance` is by how many times more.
    """
    rows, total, square = errors
    row: Record = {"column": MULTIVARIATE, "kind": "multivariate", "rows": rows, "p": np.nan}
    if not rows:
        return row
    mean = total / rows
    variance = max(0.0, square / rows - mean**2)
    if components["mean"] < 1e-9 * len(components["columns"]):  # the components leave rounding errors alone
        return row
    row["p"] = means_pvalue(mean - components["mean"], components["variance"] / components["rows"] + variance / rows)
    row["distance"] = mean / components["mean"] - 1
    return row


def combine_p(values: Sequence[float]) -> float:
    """One p-value of several, however they depend on one another; those that are NaN do not count.

    The Cauchy combination (Liu & Xie 2020, JASA 115).
    """
    known = np.array([value for value in values if not np.isnan(value)])
    if not len(known):
        return float("nan")
    if (known < 1e-15).any():
        return float(min(1.0, known.min() * len(known)))
    statistic = np.tan((0.5 - np.minimum(known, HIGHEST)) * np.pi).mean()
    return float(0.5 - np.arctan(statistic) / np.pi) if statistic < 1e12 else float(1 / (statistic * np.pi))


def judge_windows(
    reference: Record, windows: Sequence[Counts], *, false_alarms: float, min_rows: int, min_psi: float
) -> list[pd.DataFrame | None]:
    """Judge every window in its turn, as one would who knows none of the later ones.

    A window is looked at twice: alone, and with the LOOKS - 1 before it, which finds what is small but stays; the two
    p-values are combined. Within the window Benjamini and Hochberg's procedure (1995) holds the false discovery rate over the
    columns at `false_alarms`, which in a quiet time is the chance of any alarm in a window: so the first false one is
    awaited 1 / false_alarms windows, however long one goes on looking. `drifted` also asks for a PSI of `min_psi`, in either look: with
    rows enough, everything is significant. The tables are those of `compare_window` (of the window alone), with p of both
    looks, q (adjusted) and drifted. None for a window with fewer than `min_rows` rows, also with those before.
    """
    judged: list[pd.DataFrame | None] = []
    for place, counts in enumerate(windows):
        pool = reduce(add, windows[max(0, place - LOOKS + 1) : place + 1])
        if pool.rows < min_rows:
            judged.append(None)
            continue
        short = counts.rows < min_rows
        rows = compare_columns(reference, pool if short else counts)
        longer = rows if short or pool.rows == counts.rows else compare_columns(reference, pool)
        for row, other in zip(rows, longer, strict=True):
            row |= {"p_alone": row["p"], "psi_longer": other["psi"]}
            if other is not row:
                row["p"] = combine_p((row["p"], other["p"]))
        judged.append(mark_drifted(pd.DataFrame(rows), false_alarms, min_psi))
    return judged


def mark_drifted(table: pd.DataFrame, false_alarms: float, min_psi: float) -> pd.DataFrame:
    """The table with q and drifted."""
    p = table["p"].to_numpy(dtype=np.float64)
    known = ~np.isnan(p)
    q = np.full(len(p), np.nan)
    if known.any():
        q[known] = false_discovery_control(p[known])
    psi = np.fmax(table["psi"].to_numpy(), table["psi_longer"].to_numpy())
    large = (psi >= min_psi) | np.isnan(psi)  # nothing to measure it by: all columns together
    alone = table["psi"].to_numpy()
    back = (table["p_alone"].to_numpy(dtype=np.float64) > BACK) & ~(alone >= table["psi_longer"].to_numpy() / 2)
    return table.assign(q=q, drifted=(q <= false_alarms) & large & ~back)
