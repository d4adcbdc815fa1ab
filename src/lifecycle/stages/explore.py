"""Explore: what the table says about the target, column by column, pair by pair and over time.

Every table here is counts and rates: to draw them costs the same for a thousand rows as for a hundred million.
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
from lifecycle.exploration.association import Kind, associate, associate_with
from lifecycle.exploration.binning import Levels, cut_categories, cut_durations, cut_numbers, cut_periods, label_value
from lifecycle.exploration.interactions import correct_tails, find_interactions, tabulate_pair
from lifecycle.modeling.metrics import bound_gap, bound_share
from lifecycle.reporting.wording import format_number, format_percent, join_words, quote

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

MISSING = "(missing)"
BANDS = 10  # of a numeric column, of about equal size
COARSE = 5  # levels of each column of a pair: more would leave cells without rows
COHORTS = 12
PERIODS = 36
BINS = 30
SKEWED = 12  # medians that a column must reach to be drawn on a logarithmic scale
MAX_COLUMNS = 18  # categorical columns drawn: those most associated with the target
MAX_NUMBERS = 9  # numeric columns drawn
MAX_SQUARE = 30  # columns whose associations with one another are measured
MAX_PAIRED = 20  # columns whose pairs are searched for interactions
SAMPLE = 200_000  # rows that associations of pairs are measured on: they are then known to about 0.002
LEVEL = 0.05  # of significance
CLOSE = 0.7  # an association from which two columns go together closely
LOOSE = 0.1  # an association below which it is not worth a word


# The table


def read_rows(frame: pd.DataFrame, contract: Contract) -> tuple[dict[str, Kind], Bools]:
    """The kinds of the columns to explore (booleans are categorical), and which rows are positive, bool (rows,).

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
    """What a rate counts, in words: `left = yes`."""
    return f"{contract.target} = {label_value(contract.positive)}"


def cut_columns(
    frame: pd.DataFrame, contract: Contract, names: Sequence[str], *, bands: int, most: int
) -> dict[str, Levels]:
    """The named columns as levels: numbers in `bands`, the `most` commonest categories in the contract's order."""
    return {
        name: cut_numbers(frame[name], bands)
        if contract.columns[name].role is Role.NUMERIC
        else cut_categories(frame[name], most, contract.columns[name].values)
        for name in names
    }


def rate_levels(levels: Mapping[str, Levels], positive: Bools) -> pd.DataFrame:
    """The rate of the positive class at each level: column, level, rows, positives, rate, low, high.

    `low` and `high` are the 95 % interval of Wilson. Levels stand in their order, absent values last as `(missing)`;
    levels without rows are left out.
    """
    parts = []
    for name, level in levels.items():
        size = len(level.labels) + 1
        codes = np.where(level.codes < 0, size - 1, level.codes)
        rows, hits = np.bincount(codes, minlength=size), np.bincount(codes[positive], minlength=size)
        labels = [*level.labels, MISSING]
        parts.append(pd.DataFrame({"column": name, "category": labels, "rows": rows, "positives": hits})[rows > 0])
    empty = pd.DataFrame({"column": [], "category": [], "rows": [], "positives": []})
    table = (pd.concat(parts, ignore_index=True) if parts else empty).astype({"rows": "int64", "positives": "int64"})
    low, high = bound_share(table["positives"], table["rows"])
    return table.assign(rate=table["positives"] / table["rows"], low=low, high=high)


def pick_row(table: pd.DataFrame, score: pd.Series[float]) -> dict[str, Any]:
    """The row with the highest score, the first of equals."""
    return {str(name): value for name, value in table.iloc[int(score.to_numpy().argmax())].items()}


# The target and what is missing


def count_classes(frame: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """The target's classes, the positive one first: class, rows, share, and Wilson's 95 % interval low, high."""
    column = contract.columns[contract.target]
    assert column.values is not None
    classes = sorted(column.values, key=lambda value: value != column.positive)
    rows = np.array([int((frame[contract.target] == value).sum()) for value in classes])
    low, high = bound_share(rows, rows.sum())
    return pd.DataFrame(
        {"class": [label_value(v) for v in classes], "rows": rows, "share": rows / rows.sum(), "low": low, "high": high}
    )


def count_missing(frame: pd.DataFrame, contract: Contract, positive: Bools) -> pd.DataFrame:
    """The columns with absent values, the most first: column, rows, share, and by class positive_share, negative_share.

    `gap` is +1 where the positive rows lack the value more often, -1 where the others do, 0 where the difference may be
    chance (Newcombe's 95 % interval, widened for the number of columns).
    """
    names = [name for name in frame.columns if name in contract.columns and name != contract.target]
    absent = frame[names].isna()
    rows, hits = absent.sum().to_numpy(), absent[positive].sum().to_numpy()
    sizes = int(positive.sum()), int((~positive).sum())
    table = pd.DataFrame({"column": names, "rows": rows, "share": rows / len(frame)})
    table["positive_share"] = hits / max(sizes[0], 1)
    table["negative_share"] = (rows - hits) / max(sizes[1], 1)
    table["gap"] = [
        compare_shares((int(h), int(r - h)), sizes, int((rows > 0).sum())) for h, r in zip(hits, rows, strict=True)
    ]
    return table[rows > 0].sort_values("rows", ascending=False, kind="stable", ignore_index=True)


def compare_shares(hits: tuple[int, int], rows: tuple[int, int], tests: int) -> int:
    """The sign of the first share less the second; 0 where the interval of one of so many tests holds no difference."""
    if not (rows[0] and rows[1] and sum(hits)):
        return 0
    gap = bound_gap(hits, rows, tests)
    return int(gap["low"] > 0) - int(gap["high"] < 0)


# Numbers


def describe_numbers(frame: pd.DataFrame, names: Sequence[str], positive: Bools) -> pd.DataFrame:
    """The median of each numeric column with values, by class: column, positive_median, negative_median."""
    rows = []
    for name in names:
        values = frame[name].to_numpy(dtype="float64", na_value=np.nan)
        finite = np.isfinite(values)
        if finite.any():
            rows.append((name, median_of(values[finite & positive]), median_of(values[finite & ~positive])))
    return pd.DataFrame(rows, columns=["column", "positive_median", "negative_median"])


def median_of(values: Floats) -> float:
    """The median, NaN of nothing."""
    return float(np.median(values)) if len(values) else float("nan")


def count_bins(frame: pd.DataFrame, names: Sequence[str], positive: Bools) -> pd.DataFrame:
    """Histograms of numeric columns with bins shared by the classes: column, left, right, positives, negatives."""
    parts = []
    for name in names:
        values = frame[name].to_numpy(dtype="float64", na_value=np.nan)
        finite = np.isfinite(values)
        if not finite.any():
            continue
        edges = choose_bins(values[finite])
        hits = np.histogram(values[finite & positive], edges)[0]
        others = np.histogram(values[finite & ~positive], edges)[0]
        parts.append(
            pd.DataFrame(
                {"column": name, "left": edges[:-1], "right": edges[1:], "positives": hits, "negatives": others}
            )
        )
    columns = ["column", "left", "right", "positives", "negatives"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({name: [] for name in columns})


def choose_bins(present: Floats) -> Floats:
    """About BINS bins of equal width, whole for whole numbers; a tail of 1 % that would squeeze the rest is cut off.

    Positive numbers that spread over more than a power of ten above their median get bins of equal ratio.
    """
    low, high = float(present.min()), float(present.max())
    first, median, last = (float(point) for point in np.quantile(present, (0.005, 0.5, 0.995)))
    whole = bool((present == np.round(present)).all())
    if low > 0 and last > SKEWED * median and (not whole or median >= BINS):
        return np.geomspace(first, last, BINS + 1)
    if last > first and (high - low) > 1.5 * (last - first):
        low, high = first, last
    if whole:
        low, high = np.floor(low), np.ceil(high)
        width = max(1.0, np.ceil((high - low + 1) / BINS))
        return np.asarray(low - 0.5 + width * np.arange(np.ceil((high - low + 1) / width) + 1))
    if low == high:
        return np.array([low - 0.5, high + 0.5])
    return np.linspace(low, high, BINS + 1)


# Associations


def sample_rows(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The table, or of one with more than SAMPLE rows so many, drawn by the seed."""
    return frame if len(frame) <= SAMPLE else frame.sample(SAMPLE, random_state=seed)


def rank_columns(sample: pd.DataFrame, kinds: Mapping[str, Kind], target: str) -> pd.Series[float]:
    """Each column's association with the target, 0..1, the strongest first."""
    return associate_with(sample, kinds, sample[target])


def judge_columns(rates: pd.DataFrame) -> pd.Series[float]:
    """For each column of rate_levels the p of the hypothesis that all its levels have one rate.

    Pearson's chi-square test, corrected for the number of columns (Holm 1979, Scand. J. Stat. 6).
    """
    by_column = rates.groupby("column", sort=False)
    overall = by_column["positives"].transform("sum") / by_column["rows"].transform("sum")
    spread = rates["rows"] * overall * (1 - overall)
    deviation = ((rates["positives"] - rates["rows"] * overall) ** 2 / spread.where(spread > 0, 1.0)).to_numpy()
    statistic = pd.Series(deviation, dtype="float64").groupby(rates["column"].to_numpy(), sort=False).sum()
    freedom = np.asarray(by_column.size(), dtype=np.float64) - 1
    return pd.Series(correct_tails(statistic.to_numpy("float64"), freedom), index=statistic.index, dtype="float64")


def choose_columns(ranked: pd.Series[float], kinds: Mapping[str, Kind]) -> tuple[list[str], list[str]]:
    """The numeric and the categorical columns to draw, as many as there is room for, the strongest first."""
    names = [str(name) for name in ranked.index]
    numeric = [name for name in names if kinds[name] == "numeric"]
    return numeric[:MAX_NUMBERS], [name for name in names if kinds[name] != "numeric"][:MAX_COLUMNS]


def associate_columns(sample: pd.DataFrame, kinds: Mapping[str, Kind], ranked: pd.Series[float]) -> pd.DataFrame:
    """The associations of the MAX_SQUARE columns that tell most of the target, a square frame in clustered order."""
    square = associate(sample, {str(name): kinds[str(name)] for name in ranked.index[:MAX_SQUARE]})
    order = order_by_cluster(square.to_numpy())
    return square.iloc[order, order]


def order_by_cluster(square: Floats) -> list[int]:
    """An order in which columns that go together are neighbours: leaves of average linkage on 1 - association."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    if len(square) < 3:
        return list(range(len(square)))
    distances = np.round(1.0 - square[np.triu_indices(len(square), 1)], 9)  # a last bit must not turn a branch
    return [int(leaf) for leaf in leaves_list(linkage(distances, "average", optimal_ordering=True))]


def list_pairs(square: pd.DataFrame) -> pd.DataFrame:
    """The pairs of columns, the strongest association first: one, other, association."""
    first, second = np.triu_indices(len(square), 1)
    table = pd.DataFrame(
        {"one": square.index[first], "other": square.index[second], "association": square.to_numpy()[first, second]}
    )
    return table.sort_values("association", ascending=False, kind="stable", ignore_index=True)


# Pairs


def search_pairs(
    frame: pd.DataFrame, contract: Contract, ranked: pd.Series[float], positive: Bools, most: int
) -> tuple[pd.DataFrame, dict[tuple[str, str], pd.DataFrame]]:
    """All pairs of the MAX_PAIRED strongest columns by interaction (find_interactions), and the cells of those to draw.

    Drawn are at most `most` significant pairs, the strongest first, with no column in two of them.
    """
    levels = cut_columns(frame, contract, list(ranked.index[:MAX_PAIRED]), bands=COARSE, most=COARSE)
    found = find_interactions(levels, positive)
    drawn: dict[tuple[str, str], pd.DataFrame] = {}
    taken: set[str] = set()
    for pair in found[found["p"] < LEVEL].itertuples():
        one, other = str(pair.one), str(pair.other)
        if len(drawn) < most and not {one, other} & taken:
            drawn[one, other] = tabulate_pair(levels[one], levels[other], positive)
            taken |= {one, other}
    return found, drawn


def find_cell(cells: pd.DataFrame) -> dict[str, Any]:
    """The cell of a pair that departs most from the additive model, in standard errors of its rate."""
    spread = np.sqrt((cells["expected"] * (1 - cells["expected"])).clip(lower=1e-4) / cells["rows"])
    return pick_row(cells, (cells["rate"] - cells["expected"]).abs() / spread)


# Time


def cut_cohorts(frame: pd.DataFrame, contract: Contract) -> dict[str, Levels]:
    """The columns that the contract marks as durations, in cohorts of equal width."""
    return {
        name: cut_durations(frame[name], column.unit, COHORTS)
        for name, column in contract.columns.items()
        if column.duration and name in frame.columns
    }


def cut_time(frame: pd.DataFrame, contract: Contract) -> dict[str, Levels]:
    """The contract's time column, if it has one, in periods."""
    name = contract.time
    return {name: cut_periods(frame[name], PERIODS)} if name is not None and name in frame.columns else {}


def measure_trend(rates: pd.DataFrame) -> tuple[float, float]:
    """Whether a rate rises or falls along ordered levels: the slope, in rate a level, and its p.

    The test is that of Cochran and Armitage (Armitage 1955, Biometrics 11). Rows that lack the level do not count;
    (0, 1) where there is nothing to compare.
    """
    from scipy.special import erfc

    table = rates[rates["category"] != MISSING]
    rows, hits = table["rows"].to_numpy("float64"), table["positives"].to_numpy("float64")
    places = np.arange(len(table), dtype="float64")
    total, mean = rows.sum(), hits.sum() / max(rows.sum(), 1.0)
    centred = places - (rows @ places) / max(total, 1.0)
    spread = float(rows @ centred**2)
    if spread == 0 or mean in (0.0, 1.0):
        return 0.0, 1.0
    slope = float(centred @ hits) / spread
    z = abs(slope) * np.sqrt(spread / (mean * (1 - mean)))
    return slope, float(erfc(z / np.sqrt(2)))


# Sentences


def describe_balance(classes: pd.DataFrame, contract: Contract) -> str:
    """How common the event is, and what that means for whoever guesses."""
    event, first, rows = quote(name_event(contract)), classes.iloc[0], int(classes["rows"].sum())
    commonest = classes["share"].max()
    if commonest == 1:
        return f"**All {rows:,} rows have the same class**: nothing here can tell {event}."
    return (
        f"**{event} in {format_percent(first['share'])} of {rows:,} rows** (95 % interval "
        f"{format_percent(first['low'])} to {format_percent(first['high'])}). Calling every row the "
        f"commoner class would be right in {format_percent(commonest)} of them: accuracy is to be read against that."
    )


def describe_missing(missing: pd.DataFrame, columns: int) -> str:
    """How much is absent, and where absence itself goes with the event."""
    if missing.empty:
        return f"None of the {columns} columns has a missing value."
    verb = "lacks" if len(missing) == 1 else "lack"
    worst = [
        f"{quote(row['column'])} ({format_percent(row['share'])}, {row['rows']:,} rows)"
        for row in missing.head(3).to_dict("records")
    ]
    most = "" if len(missing) <= 3 else "most of all "
    text = f"**{len(missing)} of {columns} columns {verb} values**: {most}{join_words(worst)}. "
    telling = missing.loc[missing["gap"] != 0, "column"]
    if telling.empty:
        return text + "No value is missing more often in one class than in the other beyond chance."
    names = join_words([quote(name) for name in telling.head(3)]) + (", among others" if len(telling) > 3 else "")
    return text + f"That a value is missing goes with the target for {names}."


def describe_ranking(
    ranked: pd.Series[float], tails: pd.Series[float], kinds: Mapping[str, Kind], target: str, rows: int
) -> str:
    """Which columns go most with the target, how many hardly do, and which of them get a picture of their own."""
    if ranked.empty:
        return "The table has no column to associate with the target."
    top = join_words([f"{quote(name)} ({value:.2f})" for name, value in ranked.head(3).items()])
    idle = int((tails >= LEVEL).sum())
    if idle == len(ranked):
        text = f"**No column by itself goes with {quote(target)} beyond chance**; nearest to it are {top}."
    else:
        text = f"**With {quote(target)} go most {top}.**"
    if 0 < idle < len(ranked):
        text += f" {idle} of {len(ranked)} columns by themselves do not go with it beyond chance."
    if rows > SAMPLE:
        text += f" Associations are measured on {SAMPLE:,} of {rows:,} rows, drawn by the seed."
    if sum(map(len, choose_columns(ranked, kinds))) < len(ranked) or len(ranked) > MAX_PAIRED:
        text += (
            f" The next sections draw the strongest: at most {MAX_NUMBERS} numeric and {MAX_COLUMNS} categorical "
            f"columns, the associations of {MAX_SQUARE} and the pairs of {MAX_PAIRED}."
        )
    return text


def describe_numbers_text(numbers: pd.DataFrame, contract: Contract) -> str:
    """Where the medians of the two classes stand apart; the first three columns of `numbers`."""
    both = numbers.dropna()
    if both.empty:
        return "The table has no numeric column with values in both classes."
    parts = []
    for row in both.head(3).to_dict("records"):
        unit = contract.columns[row["column"]].unit
        parts.append(
            f"**the median of {quote(row['column'])} is {format_number(row['positive_median'], unit)}**, "
            f"against {format_number(row['negative_median'], unit)} in the others"
        )
    return f"Where {quote(name_event(contract))}, {'; '.join(parts)}."


def describe_levels_text(rates: pd.DataFrame, contract: Contract, overall: float) -> str:
    """The level that departs most from the overall rate, counting its rows, and how many levels depart."""
    if rates.empty:
        return "The table has no categorical column."
    apart = rates[(rates["low"] > overall) | (rates["high"] < overall)]
    if apart.empty:
        return f"No level's rate departs from the overall {format_percent(overall)} beyond chance."
    top = pick_row(apart, (apart["rate"] - overall) ** 2 * apart["rows"])
    return (
        f"**{format_rate(top, contract)}**, against {format_percent(overall)} overall: the level that departs most, "
        f"counting its rows. The intervals of {len(apart)} of {len(rates)} levels leave out the overall rate."
    )


def format_rate(row: Mapping[str, Any], contract: Contract) -> str:
    """One row of rate_levels: how often the event comes at the level."""
    level = name_level(row["column"], row["category"], contract)
    return f"{quote(name_event(contract))} in {format_percent(row['rate'])} of rows with {level}"


def name_level(name: str, level: str, contract: Contract) -> str:
    """A column's level as it stands in a sentence: a category `plan = basic`, a band `age` 6 to 19 months."""
    column = contract.columns[name]
    if column.role is Role.NUMERIC and level != MISSING:
        return f"{quote(name)} {level} {column.unit}".strip()
    return quote(name, level)


def describe_cohorts(rates: pd.DataFrame, contract: Contract) -> str:
    """How the rate changes along each duration."""
    parts = []
    for name, part in rates[rates["category"] != MISSING].groupby("column", sort=False):
        if len(part) < 2:
            parts.append(f"{quote(name)} has but one cohort.")
            continue
        slope, p = measure_trend(part)
        course = ("rises" if slope > 0 else "falls") if p < LEVEL else "neither rises nor falls beyond chance"
        first, last = ({str(key): value for key, value in part.iloc[place].items()} for place in (0, -1))
        level = name_level(last["column"], last["category"], contract)
        parts.append(
            f"**Along {quote(name)} the rate {course}**: {format_rate(first, contract)}, and in "
            f"{format_percent(last['rate'])} with {level}."
        )
    return " ".join(parts) or "The contract marks no column with values as a duration (`duration: true`): no cohorts."


def format_time(rates: pd.DataFrame, contract: Contract) -> str:
    """How the rate changed over time."""
    part = rates[rates["category"] != MISSING]
    if part.empty:
        return "The contract names no time column with values: no trend to look for."
    slope, p = measure_trend(part)
    course = ("rises" if slope > 0 else "falls") if p < LEVEL else "shows no trend beyond chance"
    first, last = part.iloc[0], part.iloc[-1]
    return (
        f"**Over time the rate {course}**: {quote(name_event(contract))} in {format_percent(first['rate'])} of rows in "
        f"{first['category']}, and in {format_percent(last['rate'])} in {last['category']}."
    )


def describe_associations(pairs: pd.DataFrame) -> str:
    """Which columns go most with one another."""
    if pairs.empty:
        return "There are no two columns to compare."
    closest = [
        f"{quote(one)} and {quote(other)} ({value:.2f})"
        for one, other, value in pairs.head(3).itertuples(index=False, name=None)
        if value >= LOOSE
    ]
    if not closest:
        return f"No two columns go together: all pairs are below {LOOSE}."
    return f"**The closest are {join_words(closest)}.** Near 1, one of the two says all of the other."


def describe_pairs(found: pd.DataFrame, drawn: Mapping[tuple[str, str], pd.DataFrame], contract: Contract) -> str:
    """How many pairs interact, and the cell that shows the strongest one."""
    if found.empty:
        return "There are no two columns to pair."
    if not drawn:
        return f"None of {len(found)} pairs of columns interacts beyond chance: their effects add up on the logit."
    (one, other), cells = next(iter(drawn.items()))
    return (
        f"**{int((found['p'] < LEVEL).sum())} of {len(found)} pairs interact beyond chance.** The strongest is "
        f"{quote(one)} with {quote(other)}: {describe_cell(one, other, cells, contract)} Drawn are the strongest pairs, no "
        "column in two of them; the framed cell departs most from its columns' separate effects."
    )


def describe_cell(one: str, other: str, cells: pd.DataFrame, contract: Contract) -> str:
    """A pair's most telling cell in a sentence."""
    cell = find_cell(cells)
    levels = [name_level(name, str(cell[side]), contract) for name, side in ((one, "one"), (other, "other"))]
    return (
        f"{quote(name_event(contract))} in **{format_percent(cell['rate'])}** of the {cell['rows']:,} rows with "
        f"{join_words(levels)}, where their separate effects would give {format_percent(cell['expected'])}."
    )


def describe_contrast(rates: pd.DataFrame, name: str, contract: Contract) -> str | None:
    """A column's levels of the highest and the lowest rate among those with 1 % of rows (and 30); None without two."""
    part = rates[rates["column"] == name]
    part = part[part["rows"] >= max(30, 0.01 * part["rows"].sum())]
    if len(part) < 2:
        return None
    high, low = pick_row(part, part["rate"]), pick_row(part, -part["rate"])
    return (
        f"{quote(name_event(contract))} in **{format_percent(high['rate'])}** of rows with "
        f"{name_level(name, high['category'], contract)}, and in {format_percent(low['rate'])} with "
        f"{name_level(name, low['category'], contract)}."
    )


def list_findings(
    rates: pd.DataFrame,
    ranked: pd.Series[float],
    tails: pd.Series[float],
    pairs: pd.DataFrame,
    drawn: Mapping[tuple[str, str], pd.DataFrame],
    missing: pd.DataFrame,
    trend: pd.DataFrame,
    contract: Contract,
) -> list[str]:
    """The strongest findings as sentences, as far as there are such.

    The three columns that tell most of the target, the strongest interaction, two columns that go together closely, an
    absence that goes with the target, and a trend over time.
    """
    strong = [str(name) for name in ranked.index if tails.get(str(name), 1.0) < LEVEL][:3]
    findings = [text for name in strong if (text := describe_contrast(rates, name, contract)) is not None]
    findings += [describe_cell(one, other, cells, contract) for (one, other), cells in list(drawn.items())[:1]]
    for one, other, value in pairs.head(1).itertuples(index=False, name=None):
        if value >= CLOSE:
            findings.append(f"{quote(one)} and {quote(other)} go together closely (association **{value:.2f}**).")
    for row in missing[missing["gap"] != 0].head(1).to_dict("records"):
        findings.append(
            f"{quote(row['column'])} is missing in **{format_percent(row['positive_share'])}** of rows with "
            f"{quote(name_event(contract))}, and in {format_percent(row['negative_share'])} of the others."
        )
    if measure_trend(trend)[1] < LEVEL:
        findings.append(format_time(trend, contract))
    return findings or ["No column goes with the target beyond chance."]
