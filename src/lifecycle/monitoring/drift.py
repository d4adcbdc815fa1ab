"""Drift: test whether the columns of a window are distributed as those of the reference, and measure how far they moved.

Everything is computed from counts (see `monitoring.reference`), so that the cost does not depend on the number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
import pandas as pd
from scipy.special import chdtrc, gammaln, kolmogorov, ndtr, stdtr
from scipy.stats import binom, false_discovery_control, kstwo, wasserstein_distance

from lifecycle.core.histograms import Array, CategoryCounts, measure_psi
from lifecycle.core.records import Record
from lifecycle.monitoring.baselines import Baseline
from lifecycle.monitoring.entities import inflate
from lifecycle.monitoring.reference import NumericSummary, WindowCounts

_GROUPS = 10  # of about equal size, into which a numeric column's bins are merged for PSI and chi-squared
_MIN_EXPECTED = 5.0  # rows per cell of a chi-squared test; smaller cells are merged (Cochran 1954, Biometrics 10)
_EXACT = 2_000  # effective rows up to which the Kolmogorov-Smirnov distribution is computed exactly
POOLED_WINDOWS = 3  # windows that are also tested together
_RECOVERED = 0.05  # p-value of the window alone above which the drift of the pooled windows may be over: PSI decides
_MAX_P = 0.95  # larger p-values count as this where several are combined: discrete tests return 1 too often
_SIGMAS = 2.0  # of the textbook rule on means
_MOST_COUNTED = 2_000  # rows with new categories up to which their distribution is computed exactly
_NEGLIGIBLE = 1e-16  # a chance that no sum shows
_MIN_VANISHED = 10  # rows expected of a category, from which its absence is reported
PREDICTION, MULTIVARIATE = "(prediction)", "(multivariate)"  # rows of a drift table that are not columns of the data


def compare_window(reference: Record, counts: WindowCounts) -> pd.DataFrame:
    """Return how a window's columns differ from the reference's: one row per column, and one for all columns together.

    Columns: column, kind, rows (values present), p (of no difference, all of the column's tests combined), psi (over ten bins or the
    categories, and the missing values), distance (numeric: Wasserstein, in the reference's standard deviations; categorical:
    Jensen-Shannon, base 2, 0 to 1), missing, missing_before (shares), mean, mean_before (numeric), moved (the textbook rule: whether the
    mean is more than two standard deviations away), ks_p (Kolmogorov-Smirnov or chi-squared alone), new, vanished (categories).
    Unknown values are NaN.
    """
    return pd.DataFrame(_compare_columns(reference, counts))


def _compare_columns(reference: Record, counts: WindowCounts) -> list[Record]:
    """Return the rows of `compare_window`."""
    rows = []
    together = reference.get("rows_together", 1.0), counts.together
    for name, summary in reference["columns"].items():
        counted, worth = counts.columns[name], _inflate_both(together, summary.get("correlation", 1.0))
        if isinstance(counted, NumericSummary):
            row = _compare_numbers(summary, counted, worth)
        else:
            row = _compare_categories(summary, counted, worth, together)
        before, now = _count_present(summary), counted.present
        absent = _missing_pvalue(
            summary["missing"],
            before,
            counted.missing,
            now,
            _inflate_both(together, summary.get("missing_correlation", 1.0)),
        )
        row["p"] = combine_p([*row.pop("tests"), absent])
        row["missing_before"] = summary["missing"] / max(before + summary["missing"], 1)
        row["missing"] = counted.missing / max(now + counted.missing, 1)
        rows.append({"column": name, "kind": summary["kind"], "rows": now, **row})
    if reference["components"] is not None:
        worth = _inflate_both(together, reference["components"].get("correlation", 1.0))
        rows.append(_compare_errors(reference["components"], counts.errors, worth))
    empty: Record = {"psi": np.nan, "distance": np.nan, "missing": np.nan, "missing_before": np.nan, "mean": np.nan}
    empty |= {"mean_before": np.nan, "shift": np.nan, "moved": False, "ks_p": np.nan, "new": (), "vanished": ()}
    return [{**empty, **row} for row in rows]


def _inflate_both(together: tuple[float, float], correlation: float) -> tuple[float, float]:
    """Return how many rows are worth one independent row, of the reference and of the window."""
    before, now = together
    return inflate(before, correlation), inflate(now, correlation)


def _count_present(summary: Record) -> int:
    """Return how many values of a column the reference has."""
    return (
        int(sum(summary["counts"]))
        if summary["kind"] == "numeric"
        else sum(summary["categories"].values()) + summary["other"]
    )


def _compare_numbers(summary: Record, now: NumericSummary, worth: tuple[float, float]) -> Record:
    """Test and measure a numeric column: Kolmogorov-Smirnov for the shape, Welch for the mean, chi-squared for the bins.

    worth: how many rows are worth one independent row, of the reference and of the window.
    """
    before, sums = np.array(summary["counts"], dtype=np.float64), np.array(summary["sums"])
    n, m = float(before.sum()), float(now.present)
    groups = _group_bins(before)
    grouped, grouped_now = (np.bincount(groups, weights=counts) for counts in (before, now.counts.astype(np.float64)))
    row: Record = {
        "psi": measure_psi(np.append(grouped, summary["missing"]), np.append(grouped_now, now.missing)),
        "mean_before": summary["mean"] if n else np.nan,
        "tests": [],
    }
    if not n or not m:
        return row
    shift = now.total / m
    mean, variance = summary["mean"] + shift, max(0.0, now.square / m - shift * shift)
    largest = float(np.abs(np.cumsum(before) / n - np.cumsum(now.counts) / m).max())
    free, free_now = n / worth[0], m / worth[1]
    ks_p = _bound_ks(largest, free, free_now)
    spread = max(variance, summary["sd"] ** 2)  # a few rows of a long tail underestimate its spread
    row |= {
        "mean": mean,
        "shift": abs(shift) / summary["sd"] if summary["sd"] else np.inf if shift else 0.0,
        "moved": bool(abs(mean - summary["mean"]) > _SIGMAS * summary["sd"]),
        "ks_p": ks_p,
        "distance": _measure_distance(before, sums, now, summary["sd"], abs(mean - summary["mean"])),
        "tests": [
            ks_p,
            means_pvalue(shift, summary["sd"] ** 2 / free + spread / free_now, _count_freedom(free, free_now, worth)),
            cells_pvalue(grouped / worth[0], grouped_now / worth[1]),
        ],
    }  # fmt: skip
    if free < 2:  # one row has no variance
        row["tests"] = []
    return row


def _group_bins(counts: Array) -> Array:
    """Return each bin's group: ten of about equal size in the reference, and one beyond its range on either side."""
    running = np.cumsum(counts) - counts / 2
    group = np.minimum((running * (_GROUPS / max(counts.sum(), 1.0))).astype(np.int64), _GROUPS - 1) + 1
    if len(counts) > 1:
        group[0], group[-1] = 0, _GROUPS + 1
    return np.asarray(np.unique(group, return_inverse=True)[1])


def _bound_ks(largest: float, n: float, m: float) -> float:
    """Return the p-value of the two-sample Kolmogorov-Smirnov statistic, conservative where there are ties.

    It uses the exact distribution at n m / (n + m) rows (as scipy.stats.ks_2samp does), and beyond EXACT rows its limit,
    which is slightly larger.
    """
    effective = n * m / (n + m)
    if effective > _EXACT:
        return float(kolmogorov(largest * np.sqrt(effective)))
    return float(np.clip(kstwo.sf(largest, max(1, round(effective))), 0.0, 1.0))


def _count_freedom(free: float, free_now: float, worth: tuple[float, float]) -> float:
    """Return the degrees of freedom of a variance of entities; infinite for independent rows, of which there are many."""
    return max(1.0, free + free_now - 2) if max(worth) > 1 else np.inf


def means_pvalue(difference: float, variance: float, freedom: float = np.inf) -> float:
    """Return the two-sided p-value of a difference of means (Welch 1947, Biometrika 34; by default in its normal limit)."""
    if variance <= 0:
        return 1.0 if abs(difference) < 1e-12 else 0.0
    reach = -abs(difference) / np.sqrt(variance)
    return 2 * float(ndtr(reach) if np.isinf(freedom) else stdtr(freedom, reach))


def cells_pvalue(before: Array, now: Array) -> float:
    """Return the p-value of Pearson's chi-squared test of two samples in the same cells, small ones merged; NaN for one cell."""
    n, m = before.sum(), now.sum()
    if not n or not m:
        return float("nan")
    before, now = _merge_cells(before, now)
    both = before + now
    kept = both > 0
    if kept.sum() < 2:
        return float("nan")
    if kept.sum() == 2 and (both[kept] * (min(n, m) / (n + m))).min() < _MIN_EXPECTED:
        return _exact_pvalue(*np.rint(before[kept]), *np.rint(now[kept]))  # effective numbers of rows are not whole
    expected = both[kept] * (m / (n + m))
    statistic = (((now[kept] - expected) ** 2) / expected).sum() * (n + m) / n
    return float(chdtrc(kept.sum() - 1, statistic))


def _merge_cells(before: Array, now: Array) -> tuple[Array, Array]:
    """Merge cells with fewer than MIN_EXPECTED rows expected, with the next smallest if needed; at least two cells remain."""
    both = before + now
    order = np.argsort(both, kind="stable")
    least = _MIN_EXPECTED * both.sum() / min(before.sum(), now.sum())
    small = int(np.searchsorted(both[order], least))
    if small:
        small += int(both[order][:small].sum() < least)
        small = min(small, int((both > 0).sum()) - 1 + int((both == 0).sum()))
        first, rest = order[:small], order[small:]
        before, now = (np.append(cells[rest], cells[first].sum()) for cells in (before, now))
    return before, now


def _exact_pvalue(first: float, second: float, first_now: float, second_now: float) -> float:
    """Return the p-value of Fisher's exact test of two samples in two cells, the smaller tail doubled."""
    from scipy.stats import hypergeom

    population, successes, drawn = (
        int(first + second + first_now + second_now),
        int(first + first_now),
        int(first_now + second_now),
    )
    tails = (
        hypergeom.sf(first_now - 1, population, successes, drawn),
        hypergeom.cdf(first_now, population, successes, drawn),
    )
    return float(min(1.0, 2 * min(tails)))


def _missing_pvalue(
    missing: int, present: int, missing_now: int, present_now: int, worth: tuple[float, float] = (1.0, 1.0)
) -> float:
    """Return the p-value of two shares of missing values being equal; NaN where no value is missing, or every one."""
    table = np.array([[missing, present], [missing_now, present_now]], dtype=np.float64)
    if not table.sum(axis=0).all() or not table.sum(axis=1).all():
        return float("nan")
    return cells_pvalue(table[0] / worth[0], table[1] / worth[1])


def _measure_distance(before: Array, sums: Array, now: NumericSummary, sd: float, apart: float) -> float:
    """Return the first Wasserstein distance of two samples in bins, each at its bin's mean, in standard deviations."""
    if sd <= 0:
        return 0.0 if apart < 1e-12 else float("inf")
    filled, filled_now = before > 0, now.counts > 0
    return float(
        wasserstein_distance(
            sums[filled] / before[filled],
            now.sums[filled_now] / now.counts[filled_now],
            before[filled],
            now.counts[filled_now].astype(np.float64),
        )
        / sd
    )


def _compare_categories(
    summary: Record, now: CategoryCounts, worth: tuple[float, float], together: tuple[float, float]
) -> Record:
    """Test and measure a categorical column: chi-squared over the categories, and the chance of rows with new categories.

    A category that the training rows have is not new. worth: how many rows are worth one independent row, of the reference and of the
    window; together: the same if all rows of an entity are alike, as they may be in a rare category, whatever the column.
    """
    known, trained = list(summary["categories"]), summary.get("trained", {})
    rest = {name: count for name, count in now.counts.items() if name not in summary["categories"]}
    before = np.array([*summary["categories"].values(), summary["other"]], dtype=np.float64)
    after = np.array([*now.count(known), sum(rest.values())], dtype=np.float64)
    n, m = before.sum(), after.sum()
    row: Record = {
        "psi": measure_psi(np.append(before, summary["missing"]), np.append(after, now.missing)),
        "tests": [],
    }
    if not n or not m:
        return row
    new: tuple[str, ...] = ()
    if summary["other"]:
        chi2_p = cells_pvalue(before / worth[0], after / worth[1])
        tests = [chi2_p]
    else:  # every category is a cell, those of the window alone too: one cell for all of them would be chosen by its outcome
        cells = np.array([*rest.values()], dtype=np.float64)
        chi2_p = cells_pvalue(
            np.append(before[:-1], np.zeros(len(cells))) / worth[0], np.append(after[:-1], cells) / worth[1]
        )
        tests = [chi2_p]
        unseen = {name: count for name, count in rest.items() if name not in trained}
        if unseen:
            new = tuple(sorted(unseen, key=lambda name: (-unseen[name], name)))
            names = list(dict.fromkeys([*known, *trained]))
            earlier = np.array([summary["categories"].get(name, 0) + trained.get(name, 0) for name in names])
            tests.append(_unseen_pvalue(
                _thin(earlier, together[0]), _thin(np.array(now.count(names)), together[1]),
                _thin(np.array([*unseen.values()]), together[1]),
            ))  # fmt: skip
    expected = {name: count / n * m / together[1] for name, count in summary["categories"].items()}
    gone = (name for name in known if not now.counts.get(name) and expected[name] >= _MIN_VANISHED)
    row |= {
        "ks_p": chi2_p,
        "distance": _measure_js(before / n, after / m),
        "new": new,
        "vanished": tuple(gone),
        "tests": tests,
    }
    return row


def _thin(counts: Array, together: float) -> Array:
    """Return how many entities so many rows of each category are, at least one of a category that occurs."""
    return np.maximum(np.floor(counts / together), counts > 0).astype(np.int64)


def _unseen_pvalue(earlier: Array, now: Array, unseen: Array) -> float:
    """Return the chance of at least so many rows with categories that no earlier row has, if nothing changed.

    earlier, now: rows of each known category; unseen: rows of each other one, in the window alone. The earlier rows and the
    window's are permuted: of c rows of one category all are in the window with probability (m)_c / (n + m)_c, so that in a
    long tail of rare categories some always are (Good 1953, Biometrika 40). Categories are taken as independent, which
    makes the p-value slightly too large.
    """
    n, m, rows = float(earlier.sum()), float(now.sum() + unseen.sum()), int(unseen.sum())
    sizes, categories = np.unique(np.concatenate([earlier + now, unseen]), return_counts=True)
    kept = (sizes > 0) & (sizes <= m)
    sizes, categories = sizes[kept].astype(np.int64), categories[kept]
    log_chance = gammaln(m + 1) - gammaln(m - sizes + 1) - gammaln(n + m + 1) + gammaln(n + m - sizes + 1)
    chance = np.exp(np.minimum(log_chance, 0.0))
    chance[chance < _NEGLIGIBLE**2] = 0.0  # scipy's binomial overflows for the smallest floats
    if rows > _MOST_COUNTED:  # of so many rows the sum is close to normal, or far beyond what chance explains
        mean, variance = categories @ (sizes * chance), categories @ (sizes**2 * chance * (1 - chance))
        return float(ndtr((mean + 0.5 - rows) / np.sqrt(max(variance, 1e-300))))
    fewer = np.zeros(rows)  # the chance of 0, 1, ... rows, fewer than there are
    fewer[0] = 1.0
    for size, count, each in zip(sizes.tolist(), categories.tolist(), chance.tolist(), strict=True):
        weights = binom.pmf(np.arange((rows - 1) // size + 1), count, each)
        added = np.zeros(rows)
        for place in np.flatnonzero(weights > _NEGLIGIBLE):
            added[place * size :] += weights[place] * fewer[: rows - place * size]
        fewer = added
    return float(np.clip(1 - fewer.sum(), 0.0, 1.0))


def _measure_js(one: Array, other: Array) -> float:
    """Return the Jensen-Shannon distance of two distributions, base 2: 0 if equal, 1 if disjoint (Endres & Schindelin 2003, IEEE T-IT 49)."""
    middle = (one + other) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(side > 0, side * np.log2(side / middle), 0.0).sum() for side in (one, other)]
    return float(np.sqrt(max(0.0, sum(parts) / 2)))


def _compare_errors(
    components: Record, errors: tuple[int, float, float], worth: tuple[float, float] = (1.0, 1.0)
) -> Record:
    """Compare the errors of the reference's components on a window's rows with those on the reference's own.

    `distance` is the relative increase of the mean error. worth: how many rows are worth one independent row, of either.
    """
    rows, total, square = errors
    row: Record = {"column": MULTIVARIATE, "kind": "multivariate", "rows": rows, "p": np.nan}
    if not rows:
        return row
    mean = total / rows
    variance = max(0.0, square / rows - mean**2)
    if components["mean"] < 1e-9 * len(components["columns"]):  # the components explain everything but rounding errors
        return row
    free, free_now = components["rows"] / worth[0], rows / worth[1]
    freedom = _count_freedom(free, free_now, worth)
    row["p"] = means_pvalue(mean - components["mean"], components["variance"] / free + variance / free_now, freedom)
    row["distance"] = mean / components["mean"] - 1
    return row


def combine_p(values: Sequence[float]) -> float:
    """Combine p-values into one, whatever their dependence; NaN are ignored.

    This is the Cauchy combination (Liu & Xie 2020, JASA 115).
    """
    known = np.array([value for value in values if not np.isnan(value)])
    if not len(known):
        return float("nan")
    if (known < 1e-15).any():
        return float(min(1.0, known.min() * len(known)))
    statistic = np.tan((0.5 - np.minimum(known, _MAX_P)) * np.pi).mean()
    return float(0.5 - np.arctan(statistic) / np.pi) if statistic < 1e12 else float(1 / (statistic * np.pi))


def judge_windows(
    reference: Record,
    windows: Sequence[WindowCounts],
    *,
    false_alarms: float,
    min_rows: int,
    min_psi: float,
    baselines: Sequence[Baseline] | None = None,
) -> list[pd.DataFrame | None]:
    """Test every window for drift, using only the windows up to it.

    A window is tested twice: alone, and pooled with the POOLED_WINDOWS - 1 before it, which detects small changes that
    persist; the two p-values are combined. Within a window, the procedure of Benjamini and Hochberg (1995) controls the false discovery rate
    over the columns at `false_alarms`. While nothing changes this is the chance of any alert in a window, so the first false
    alert is expected after 1 / false_alarms windows. `drifted` also requires a PSI of `min_psi`, alone or pooled, since with
    many rows every difference is significant. The tables are those of `compare_window` (of the window alone), with p of both
    tests combined, q (adjusted) and drifted. None for a window with fewer than `min_rows` rows, those of the pooled windows
    included. baselines: what each window is compared with instead of the reference; the column `against` names it.
    """
    judged: list[pd.DataFrame | None] = []
    for place, counts in enumerate(windows):
        baseline = baselines[place] if baselines else None
        first = max(0, place - POOLED_WINDOWS + 1) if baseline is None or baseline.pooled else place
        pooled = reduce(add, windows[first : place + 1])
        if pooled.rows < min_rows:
            judged.append(None)
            continue
        short, same = counts.rows < min_rows, pooled.rows == counts.rows
        before = reference if baseline is None else baseline.reference
        alone, joined = ((each if baseline is None else baseline.center(each, reference)) for each in (counts, pooled))
        rows = _compare_columns(before, joined if short else alone)
        rows_pooled = rows if short or same else _compare_columns(before, joined)
        for row, other in zip(rows, rows_pooled, strict=True):
            row |= {"p_alone": row["p"], "psi_pooled": other["psi"], "against": baseline.name if baseline else ""}
            if other is not row:
                row["p"] = combine_p((row["p"], other["p"]))
        judged.append(_mark_drifted(pd.DataFrame(rows), false_alarms, min_psi))
    return judged


def _mark_drifted(table: pd.DataFrame, false_alarms: float, min_psi: float) -> pd.DataFrame:
    """Return the table with the columns q and drifted."""
    p = table["p"].to_numpy(dtype=np.float64)
    known = ~np.isnan(p)
    q = np.full(len(p), np.nan)
    if known.any():
        q[known] = false_discovery_control(p[known])
    psi = np.fmax(table["psi"].to_numpy(), table["psi_pooled"].to_numpy())
    large = (psi >= min_psi) | np.isnan(psi)  # all columns together have no PSI
    alone = table["psi"].to_numpy()
    recovered = (table["p_alone"].to_numpy(dtype=np.float64) > _RECOVERED) & ~(
        alone >= table["psi_pooled"].to_numpy() / 2
    )
    return table.assign(q=q, drifted=(q <= false_alarms) & large & ~recovered)
