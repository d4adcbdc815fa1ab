"""The stage `explore`: describe the validated table and how its columns relate to the target.

Figures are drawn from tables of counts and rates, so that drawing costs the same for a thousand or a hundred million rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lifecycle.core.contract import Contract, Role
from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import VALIDATED_TABLE
from lifecycle.exploration.association import Kind, associate, associate_with, order_by_cluster
from lifecycle.exploration.binning import (
    MISSING,
    Binned,
    bin_categories,
    bin_durations,
    bin_numbers,
    bin_periods,
    label_value,
)
from lifecycle.exploration.interactions import find_interactions, tabulate_pair
from lifecycle.exploration.significance import measure_trend
from lifecycle.modeling.intervals import bound_gap, bound_share
from lifecycle.reporting.wording import format_number, format_percent, join_words, quote

_Bools = NDArray[np.bool_]
_Floats = NDArray[np.float64]

NUMBER_BINS = 10  # of a numeric column, of about equal size
_PAIR_BINS = 5  # bins of each column of a pair: more would leave cells without rows
_COHORTS = 12
_PERIODS = 36
_MAX_COLUMNS = 18  # categorical columns drawn: those most associated with the target
_MAX_NUMBERS = 9  # numeric columns drawn
_MAX_ASSOCIATED = 30  # columns whose associations with one another are measured
_MAX_PAIRED = 20  # columns whose pairs are tested for interactions
_SAMPLE = 200_000  # rows for the associations of pairs, which are then accurate to about 0.002
_SIGNIFICANCE = 0.05  # level of the tests, after correction for their number
_STRONG = 0.7  # an association from which two columns are called closely associated
_WEAK = 0.1  # an association below which a pair is not mentioned


# The table


def read_rows(frame: pd.DataFrame, contract: Contract) -> tuple[dict[str, Kind], _Bools]:
    """Return the kinds of the columns to explore (booleans are categorical), and which rows are positive, bool (rows,).

    Raises ProjectError for a table without rows, or without the target.
    """
    if contract.target not in frame.columns:
        raise ProjectError(f"{VALIDATED_TABLE} has no column {contract.target!r}, the contract's target.")
    if frame.empty:
        raise ProjectError(f"{VALIDATED_TABLE} has no rows to explore.")
    kinds: dict[str, Kind] = {
        name: "numeric" if contract.columns[name].role is Role.NUMERIC else "categorical"
        for name in contract.names(Role.NUMERIC, Role.CATEGORICAL, Role.BOOLEAN)
        if name in frame.columns
    }
    return kinds, (frame[contract.target] == contract.positive).to_numpy(dtype=bool, na_value=False)


def name_event(contract: Contract) -> str:
    """Name the event whose rate is shown, as in `left = yes`."""
    return f"{contract.target} = {label_value(contract.positive)}"


def bin_columns(
    frame: pd.DataFrame, contract: Contract, names: Sequence[str], *, bins_per_number: int, most: int
) -> dict[str, Binned]:
    """Bin the named columns: numbers into `bins_per_number` bins, categories into the `most` frequent in the contract's order."""
    return {
        name: bin_numbers(frame[name], bins_per_number)
        if contract.columns[name].role is Role.NUMERIC
        else bin_categories(frame[name], most, contract.columns[name].values)
        for name in names
    }


def rate_categories(binned: Mapping[str, Binned], positive: _Bools) -> pd.DataFrame:
    """Return the rate of the positive class in each category: column, category, rows, positives, rate, low, high.

    `low` and `high` are Wilson's 95 % interval. Categories are in their order, missing values last as `(missing)`;
    categories without rows are left out.
    """
    parts = []
    for name, category in binned.items():
        size = len(category.labels) + 1
        codes = np.where(category.codes < 0, size - 1, category.codes)
        rows, hits = np.bincount(codes, minlength=size), np.bincount(codes[positive], minlength=size)
        labels = [*category.labels, MISSING]
        parts.append(pd.DataFrame({"column": name, "category": labels, "rows": rows, "positives": hits})[rows > 0])
    empty = pd.DataFrame({"column": [], "category": [], "rows": [], "positives": []})
    table = (pd.concat(parts, ignore_index=True) if parts else empty).astype({"rows": "int64", "positives": "int64"})
    low, high = bound_share(table["positives"], table["rows"])
    return table.assign(rate=table["positives"] / table["rows"], low=low, high=high)


def _pick_row(table: pd.DataFrame, score: pd.Series[float]) -> dict[str, Any]:
    """Return the row with the highest score, the first of equals."""
    return {str(name): value for name, value in table.iloc[int(score.to_numpy().argmax())].items()}


# The target and missing values


def count_classes(frame: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Count the target's classes, the positive one first: class, rows, share, and Wilson's 95 % interval low, high."""
    column = contract.columns[contract.target]
    assert column.values is not None
    classes = sorted(column.values, key=lambda value: value != column.positive)
    rows = np.array([int((frame[contract.target] == value).sum()) for value in classes])
    low, high = bound_share(rows, rows.sum())
    return pd.DataFrame(
        {"class": [label_value(v) for v in classes], "rows": rows, "share": rows / rows.sum(), "low": low, "high": high}
    )


def count_missing(frame: pd.DataFrame, contract: Contract, positive: _Bools) -> pd.DataFrame:
    """List the columns with missing values, the most first: column, rows, share, and by class positive_share, negative_share.

    `gap` is +1 where values are missing more often in positive rows, -1 where they are missing more often in the others,
    and 0 where the difference may be chance (Newcombe's 95 % interval, widened for the number of columns).
    """
    names = [name for name in frame.columns if name in contract.columns and name != contract.target]
    absent = frame[names].isna()
    rows, hits = absent.sum().to_numpy(), absent[positive].sum().to_numpy()
    sizes = int(positive.sum()), int((~positive).sum())
    table = pd.DataFrame({"column": names, "rows": rows, "share": rows / len(frame)})
    table["positive_share"] = hits / max(sizes[0], 1)
    table["negative_share"] = (rows - hits) / max(sizes[1], 1)
    table["gap"] = [
        _compare_shares((int(h), int(r - h)), sizes, int((rows > 0).sum())) for h, r in zip(hits, rows, strict=True)
    ]
    return table[rows > 0].sort_values("rows", ascending=False, kind="stable", ignore_index=True)


def _compare_shares(hits: tuple[int, int], rows: tuple[int, int], tests: int) -> int:
    """Return the sign of the first share minus the second; 0 where the interval, widened for `tests`, includes zero."""
    if not (rows[0] and rows[1] and sum(hits)):
        return 0
    gap = bound_gap(hits, rows, tests)
    return int(gap["low"] > 0) - int(gap["high"] < 0)


# Associations


def sample_rows(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the table, or a random sample of SAMPLE rows of a longer one."""
    return frame if len(frame) <= _SAMPLE else frame.sample(_SAMPLE, random_state=seed)


def rank_columns(sample: pd.DataFrame, kinds: Mapping[str, Kind], target: str) -> pd.Series[float]:
    """Rank the columns by their association with the target, 0..1, the strongest first."""
    return associate_with(sample, kinds, sample[target])


def choose_columns(ranked: pd.Series[float], kinds: Mapping[str, Kind]) -> tuple[list[str], list[str]]:
    """Choose the numeric and the categorical columns to draw, up to MAX_NUMBERS and MAX_COLUMNS, the strongest first."""
    names = [str(name) for name in ranked.index]
    numeric = [name for name in names if kinds[name] == "numeric"]
    return numeric[:_MAX_NUMBERS], [name for name in names if kinds[name] != "numeric"][:_MAX_COLUMNS]


def associate_columns(sample: pd.DataFrame, kinds: Mapping[str, Kind], ranked: pd.Series[float]) -> pd.DataFrame:
    """Measure the associations among the MAX_ASSOCIATED columns most associated with the target; a square frame in clustered order."""
    associations = associate(sample, {str(name): kinds[str(name)] for name in ranked.index[:_MAX_ASSOCIATED]})
    order = order_by_cluster(associations.to_numpy())
    return associations.iloc[order, order]


# Pairs


def search_pairs(
    frame: pd.DataFrame, contract: Contract, ranked: pd.Series[float], positive: _Bools, most: int
) -> tuple[pd.DataFrame, dict[tuple[str, str], pd.DataFrame]]:
    """Return all pairs of the MAX_PAIRED strongest columns by interaction (find_interactions), and the cells of those to draw.

    At most `most` significant pairs are drawn, the strongest first, and each column in one pair only.
    """
    binned = bin_columns(frame, contract, list(ranked.index[:_MAX_PAIRED]), bins_per_number=_PAIR_BINS, most=_PAIR_BINS)
    found = find_interactions(binned, positive)
    drawn: dict[tuple[str, str], pd.DataFrame] = {}
    taken: set[str] = set()
    for pair in found[found["p"] < _SIGNIFICANCE].itertuples():
        one, other = str(pair.one), str(pair.other)
        if len(drawn) < most and not {one, other} & taken:
            drawn[one, other] = tabulate_pair(binned[one], binned[other], positive)
            taken |= {one, other}
    return found, drawn


def find_strongest_cell(cells: pd.DataFrame) -> dict[str, Any]:
    """Return the cell of a pair that differs most from the additive model, in standard errors of its rate."""
    spread = np.sqrt((cells["expected"] * (1 - cells["expected"])).clip(lower=1e-4) / cells["rows"])
    return _pick_row(cells, (cells["rate"] - cells["expected"]).abs() / spread)


# Time


def bin_cohorts(frame: pd.DataFrame, contract: Contract) -> dict[str, Binned]:
    """Bin the columns that the contract marks as durations into cohorts of equal width."""
    return {
        name: bin_durations(frame[name], column.unit, _COHORTS)
        for name, column in contract.columns.items()
        if column.duration and name in frame.columns
    }


def bin_time(frame: pd.DataFrame, contract: Contract) -> dict[str, Binned]:
    """Bin the contract's time column, if it has one, into periods."""
    name = contract.time
    return {name: bin_periods(frame[name], _PERIODS)} if name is not None and name in frame.columns else {}


# Sentences


def describe_balance(classes: pd.DataFrame, contract: Contract) -> str:
    """Describe how frequent the event is, and what that means for reading an accuracy."""
    event, first, rows = quote(name_event(contract)), classes.iloc[0], int(classes["rows"].sum())
    largest = classes["share"].max()
    if largest == 1:
        return f"**All {rows:,} rows have the same class**: no column can predict {event}."
    return (
        f"**{event} occurs in {format_percent(first['share'])} of {rows:,} rows** (95 % interval "
        f"{format_percent(first['low'])} to {format_percent(first['high'])}). Always predicting "
        f"the more frequent class is right in {format_percent(largest)} of them: compare any accuracy with that."
    )


def describe_missing(missing: pd.DataFrame, columns: int) -> str:
    """Describe how many values are missing, and where missingness is associated with the event."""
    if missing.empty:
        return f"None of the {columns} columns has a missing value."
    verb = "has" if len(missing) == 1 else "have"
    worst = [
        f"{quote(row['column'])} ({format_percent(row['share'])}, {row['rows']:,} rows)"
        for row in missing.head(3).to_dict("records")
    ]
    most = "" if len(missing) <= 3 else "above all "
    text = f"**{len(missing)} of {columns} columns {verb} missing values**: {most}{join_words(worst)}. "
    differing = missing.loc[missing["gap"] != 0, "column"]
    if differing.empty:
        return text + "In no column are values missing significantly more often in one class than in the other."
    names = join_words([quote(name) for name in differing.head(3)]) + (", among others" if len(differing) > 3 else "")
    return text + f"Missing values are associated with the target in {names}."


def describe_ranking(
    ranked: pd.Series[float], pvalues: pd.Series[float], kinds: Mapping[str, Kind], target: str, rows: int
) -> str:
    """Describe which columns are most associated with the target, how many are not, and which are drawn."""
    if ranked.empty:
        return "The table has no column to associate with the target."
    top = join_words([f"{quote(name)} ({value:.2f})" for name, value in ranked.head(3).items()])
    unrelated = int((pvalues >= _SIGNIFICANCE).sum())
    if unrelated == len(ranked):
        text = f"**No single column is significantly associated with {quote(target)}**; the strongest are {top}."
    else:
        text = f"**Most strongly associated with {quote(target)}: {top}.**"
    if 0 < unrelated < len(ranked):
        text += f" {unrelated} of {len(ranked)} columns are not significantly associated with it by themselves."
    if rows > _SAMPLE:
        text += f" Associations are measured on a random sample of {_SAMPLE:,} of {rows:,} rows."
    if sum(map(len, choose_columns(ranked, kinds))) < len(ranked) or len(ranked) > _MAX_PAIRED:
        text += (
            f" The next sections show the strongest columns: at most {_MAX_NUMBERS} numeric and {_MAX_COLUMNS} categorical "
            f"ones, the associations of {_MAX_ASSOCIATED} and the pairs of {_MAX_PAIRED}."
        )
    return text


def describe_medians(numbers: pd.DataFrame, contract: Contract) -> str:
    """Compare the medians of the two classes, for the first three columns of `numbers`."""
    both = numbers.dropna()
    if both.empty:
        return "The table has no numeric column with values in both classes."
    parts = []
    for row in both.head(3).to_dict("records"):
        unit = contract.columns[row["column"]].unit
        parts.append(
            f"**the median of {quote(row['column'])} is {format_number(row['positive_median'], unit)}**, "
            f"compared with {format_number(row['negative_median'], unit)} in the other rows"
        )
    return f"In rows with {quote(name_event(contract))}, {'; '.join(parts)}."


def describe_categories(rates: pd.DataFrame, contract: Contract, overall: float) -> str:
    """Describe the category that contributes most to the deviation from the overall rate, and count those that deviate."""
    if rates.empty:
        return "The table has no categorical column."
    apart = rates[(rates["low"] > overall) | (rates["high"] < overall)]
    if apart.empty:
        return f"No category's rate differs significantly from the overall {format_percent(overall)}."
    top = _pick_row(apart, (apart["rate"] - overall) ** 2 * apart["rows"])
    return (
        f"**{_format_rate(top, contract)}**, compared with {format_percent(overall)} overall: this category contributes most to the deviation, "
        f"given its number of rows. The 95 % intervals of {len(apart)} of {len(rates)} categories exclude the overall rate."
    )


def _format_rate(row: Mapping[str, Any], contract: Contract) -> str:
    """Describe one row of rate_categories: how often the event occurs in the category."""
    category = _name_category(row["column"], row["category"], contract)
    return f"{quote(name_event(contract))} occurs in {format_percent(row['rate'])} of rows with {category}"


def _name_category(name: str, category: str, contract: Contract) -> str:
    """Name a category in a sentence: `plan = basic`, or a bin of numbers as in `age` 6 to 19 months."""
    column = contract.columns[name]
    if column.role is Role.NUMERIC and category != MISSING:
        return f"{quote(name)} {category} {column.unit}".strip()
    return quote(name, category)


def describe_cohorts(rates: pd.DataFrame, contract: Contract) -> str:
    """Describe how the rate changes along each duration."""
    parts = []
    for name, part in rates[rates["category"] != MISSING].groupby("column", sort=False):
        if len(part) < 2:
            parts.append(f"{quote(name)} has only one cohort.")
            continue
        slope, p = measure_trend(part)
        course = ("rises" if slope > 0 else "falls") if p < _SIGNIFICANCE else "neither rises nor falls significantly"
        first, last = ({str(key): value for key, value in part.iloc[place].items()} for place in (0, -1))
        category = _name_category(last["column"], last["category"], contract)
        parts.append(
            f"**Along {quote(name)} the rate {course}**: {_format_rate(first, contract)}, and in "
            f"{format_percent(last['rate'])} with {category}."
        )
    return (
        " ".join(parts)
        or "The contract marks no column with values as a duration (`duration: true`), so there are no cohorts."
    )


def describe_trend(rates: pd.DataFrame, contract: Contract) -> str:
    """Describe how the rate changed over time."""
    part = rates[rates["category"] != MISSING]
    if part.empty:
        return "The contract names no time column with values, so there is no trend over time to examine."
    slope, p = measure_trend(part)
    course = ("rises" if slope > 0 else "falls") if p < _SIGNIFICANCE else "shows no significant trend"
    first, last = part.iloc[0], part.iloc[-1]
    return (
        f"**Over time the rate {course}**: {quote(name_event(contract))} occurs in {format_percent(first['rate'])} of rows in "
        f"{first['category']}, and in {format_percent(last['rate'])} in {last['category']}."
    )


def describe_associations(pairs: pd.DataFrame) -> str:
    """Describe which columns are most associated with one another."""
    if pairs.empty:
        return "There are fewer than two columns, so there is no pair to compare."
    closest = [
        f"{quote(one)} and {quote(other)} ({value:.2f})"
        for one, other, value in pairs.head(3).itertuples(index=False, name=None)
        if value >= _WEAK
    ]
    if not closest:
        return f"No two columns are associated: all pairs are below {_WEAK}."
    return f"**The most strongly associated are {join_words(closest)}.** Near 1, one column determines the other, and a model needs only one of them."


def describe_pairs(found: pd.DataFrame, drawn: Mapping[tuple[str, str], pd.DataFrame], contract: Contract) -> str:
    """Describe how many pairs interact, and the cell that shows the strongest interaction."""
    if found.empty:
        return "There are fewer than two columns, so there is no pair to test."
    if not drawn:
        return (
            f"None of {len(found)} pairs of columns interacts significantly: their effects add up on the logit scale."
        )
    (one, other), cells = next(iter(drawn.items()))
    return (
        f"**{int((found['p'] < _SIGNIFICANCE).sum())} of {len(found)} pairs interact significantly.** The strongest is "
        f"{quote(one)} with {quote(other)}: {_describe_cell(one, other, cells, contract)} The figure shows the "
        "strongest pairs, each column in one pair only; the framed cell differs most from its columns' separate effects."
    )


def _describe_cell(one: str, other: str, cells: pd.DataFrame, contract: Contract) -> str:
    """Describe the cell of a pair that differs most from the additive model."""
    cell = find_strongest_cell(cells)
    conditions = [_name_category(name, str(cell[side]), contract) for name, side in ((one, "one"), (other, "other"))]
    return (
        f"{quote(name_event(contract))} occurs in **{format_percent(cell['rate'])}** of the {cell['rows']:,} rows with "
        f"{join_words(conditions)}; their separate effects predict {format_percent(cell['expected'])}."
    )


def _describe_extremes(rates: pd.DataFrame, name: str, contract: Contract) -> str | None:
    """Describe a column's categories with the highest and the lowest rate, among those with 1 % of rows (and 30); None without two."""
    part = rates[rates["column"] == name]
    part = part[part["rows"] >= max(30, 0.01 * part["rows"].sum())]
    if len(part) < 2:
        return None
    high, low = _pick_row(part, part["rate"]), _pick_row(part, -part["rate"])
    return (
        f"{quote(name_event(contract))} occurs in **{format_percent(high['rate'])}** of rows with "
        f"{_name_category(name, high['category'], contract)}, and in {format_percent(low['rate'])} with "
        f"{_name_category(name, low['category'], contract)}."
    )


def list_column_findings(
    rates: pd.DataFrame, ranked: pd.Series[float], pvalues: pd.Series[float], contract: Contract
) -> list[str]:
    """Describe the three columns most associated with the target, as far as they are significant."""
    strong = [str(name) for name in ranked.index if pvalues.get(str(name), 1.0) < _SIGNIFICANCE][:3]
    texts = [text for name in strong if (text := _describe_extremes(rates, name, contract)) is not None]
    return texts or ["No column is significantly associated with the target."]


def list_pair_findings(
    pairs: pd.DataFrame, drawn: Mapping[tuple[str, str], pd.DataFrame], contract: Contract
) -> list[str]:
    """Describe the strongest interaction, if one is significant, and the closest pair of columns, if it is closely associated."""
    findings = [_describe_cell(one, other, cells, contract) for (one, other), cells in list(drawn.items())[:1]]
    for one, other, value in pairs.head(1).itertuples(index=False, name=None):
        if value >= _STRONG:
            findings.append(
                f"{quote(one)} and {quote(other)} are closely associated (**{value:.2f}** on a scale from 0 to 1)."
            )
    return findings


def list_row_findings(missing: pd.DataFrame, trend: pd.DataFrame, contract: Contract) -> list[str]:
    """Describe missing values associated with the target, and a trend over time, each if it is significant."""
    findings = [
        f"{quote(row['column'])} is missing in **{format_percent(row['positive_share'])}** of rows with "
        f"{quote(name_event(contract))}, and in {format_percent(row['negative_share'])} of the others."
        for row in missing[missing["gap"] != 0].head(1).to_dict("records")
    ]
    if measure_trend(trend)[1] < _SIGNIFICANCE:
        findings.append(describe_trend(trend, contract))
    return findings
