"""Split rows into training part and hold-out, and training rows into folds in the same way.

Rows of one entity, of one moment (in a split by time), and rows that are equal are never on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import PARAMS
from lifecycle.core.split_rule import SplitRule, ValueKind
from lifecycle.modeling.entities import NO_MOMENT, Groups, Link, SplitKeys, find_feature_keys, group_rows
from lifecycle.modeling.rule import place_hashes, to_moment
from lifecycle.modeling.task import Task, task_for
from lifecycle.validation.sampling import scramble

Array = np.ndarray[Any, Any]
Folds = list[tuple[Array, Array]]

_FORWARD = ("time", "time_group")  # strategies in which the hold-out is newer than the training part
_GROUPED = ("group", "time_group")  # strategies that keep the rows of an entity together
_TOLERANCE = 0.25  # part of a side's rows by which a cut between moments may miss its place
_EVEN = 0.05  # part of a share by which the classes may miss it; in a small table, a standard error
_TRIES = 200  # salts that are tried for a small table
_MANY_GROUPS = (
    20_000  # from which scikit-learn's search for balanced folds takes long, and chance balances them as well
)


@dataclass(frozen=True)
class Sides:
    """Which rows are held out and which are on neither side, as masks (rows,), and how they were chosen.

    groups: the rows that belong together; None where the strategy does not need them. rule: by which any row is held out
    or not.
    """

    strategy: str
    share: float
    gap: str
    held_out: Array
    left_out: Array
    groups: Groups | None
    rule: SplitRule = field(default_factory=lambda: SplitRule(kind="rows"))

    def drop_groups(self) -> Sides:
        """Return the same sides without the groups, which take much memory in a long table."""
        return replace(self, groups=None)

    @property
    def train(self) -> Array:
        """The rows of the training part."""
        return np.asarray(~(self.held_out | self.left_out))


def choose_strategy(split: str, keys: SplitKeys) -> str:
    """Return the strategy: `split`, or for `auto` the one that the table suggests.

    With a time column the newest rows are held out, with a repeating id whole groups, with both the newest groups, and
    otherwise rows at random. Raises ProjectError for a strategy whose column the contract lacks.
    """
    if split in _FORWARD and keys.moments is None:
        raise ProjectError(f"{PARAMS}: features.split is {split!r}, but the contract has no column with role time.")
    if split in _GROUPED and not keys.ids:
        raise ProjectError(f"{PARAMS}: features.split is {split!r}, but the contract has no column with role id.")
    if split != "auto":
        return split
    if keys.repeating:
        return "group" if keys.moments is None else "time_group"
    return "stratified" if keys.moments is None else "time"


def split_rows(
    keys: SplitKeys, task: Task, strategy: str, share: float, seed: int, gap: str = "",
    content: Mapping[str, ValueKind] | None = None,
) -> Sides:  # fmt: skip
    """Choose about a share of the rows to hold out. content: the columns that `keys` compare rows by, for the rule.

    time: the newest rows, with no moment on both sides. group: whole groups of an id, with the classes' shares as even as
    they can be. time_group: the groups with the newest rows, whole; a training row is older than the newest row of each.
    stratified: at random, with the classes' shares as even. order: the last rows, for a table that grew.

    Equal rows are on one side: with `stratified` a hash of their content decides, with `order` the older ones are on neither
    side, and in groups they connect what they belong to. `gap`: training rows so shortly before the hold-out are on neither
    side. Raises ProjectError when a side would lack one of the classes.
    """
    if gap and strategy not in _FORWARD:
        raise ProjectError(f"{PARAMS}: features.gap needs a split by time or time_group, and the split is {strategy}.")
    groups = group_rows(keys, None if strategy in _GROUPED else []) if _needs_groups(keys, strategy) else None
    left_out = np.zeros(len(keys), dtype=bool)
    task.check_rows(keys.encoded)
    rule = SplitRule(kind="rows")
    if strategy in _FORWARD:
        wanted = len(keys) - round(len(keys) * share)
        ((fit, held_out),) = _split_forward(keys, groups, [wanted], _TOLERANCE * share * len(keys), gap, "two sides")
        left_out = ~(fit | held_out)
        since = int(_require_moments(keys)[fit].max(initial=NO_MOMENT)) + 1
        rule = SplitRule(kind="time", since=None if since <= NO_MOMENT + 1 else to_moment(since))
    elif strategy == "group" and groups is not None:
        held_out, salt, limit = _hold_out_groups(keys, groups, share, seed)
        rule = SplitRule(kind="ids", ids=list(groups.ids), salt=salt, share=limit)
    elif strategy == "order":
        held_out = np.arange(len(keys)) >= len(keys) - round(len(keys) * share)
        if groups is not None and groups.contents:
            left_out = ~held_out & (np.bincount(groups.labels, held_out) > 0)[groups.labels]
    elif groups is not None and groups.contents:
        held_out, salt, limit = _hold_out_groups(keys, groups, share, seed)
        rule = SplitRule(kind="content", columns=dict(content or {}), salt=salt, share=limit)
    elif keys.ids:  # which tell apart what the content does not
        name = next(iter(keys.ids))
        held_out, salt, limit = _hold_out_groups(keys, group_rows(keys, [name]), share, seed)
        rule = SplitRule(kind="ids", ids=[name], salt=salt, share=limit)
    else:
        held_out = task.hold_out(pd.Series(keys.encoded), share, seed)
    return _check_sides(keys, task, Sides(strategy, share, gap, held_out, left_out, groups, rule))


def apply_rule(keys: SplitKeys, task: Task, rule: SplitRule) -> Sides:
    """Hold out the rows that a rule of ids or content holds out; rows that belong to these are on neither side.

    `keys` compare rows by the rule's columns. Raises ProjectError when a side would lack one of the classes.
    """
    held_out, left_out, groups = place_rows(keys, rule)
    strategy = "group" if rule.kind == "ids" else "stratified"
    return _check_sides(keys, task, Sides(strategy, rule.share, "", held_out, left_out, groups, rule))


def place_rows(keys: SplitKeys, rule: SplitRule) -> tuple[Array, Array, Groups]:
    """Return which rows a rule of ids or content holds out, which others belong to these, as masks (rows,), and the groups."""
    ids = rule.ids if rule.kind == "ids" else list(keys.repeating)
    groups = group_rows(keys, ids)
    links = [keys.ids[name] for name in rule.ids]
    places = [np.where(link.known, place_hashes(link.values, rule.salt), 1.0) for link in links]
    if rule.kind == "content" and keys.content is not None:
        places.append(place_hashes(keys.content, rule.salt))
    held_out = np.asarray(np.min([np.ones(len(keys)), *places], axis=0) < rule.share)
    left_out = ~held_out & (np.bincount(groups.labels, held_out, minlength=1) > 0)[groups.labels]
    return held_out, left_out, groups


def _check_sides(keys: SplitKeys, task: Task, sides: Sides) -> Sides:
    """Return the sides; raise ProjectError when one lacks a class."""
    for side, rows in (("training part", sides.train), ("hold-out", sides.held_out)):
        task.check_classes(keys.encoded[rows], f"{side} of the {sides.strategy} split")
    return sides


def split_folds(table: pd.DataFrame, declaration: Mapping[str, Any], folds: int, seed: int) -> Folds:
    """Return the row positions (fit, judge) of each fold of a feature table, by the split of its declaration.

    Folds go forward in time where the split does, each fitted on older rows only; whole groups stay whole. After a split by
    order they are stratified. Raises ProjectError when a class has too few rows, or a fold would lack one.
    """
    division = declaration["split"]
    return make_folds(
        find_feature_keys(table, declaration), task_for(declaration), division["strategy"], folds, seed,
        gap=division.get("gap", ""), ids=division.get("ids"),
    )  # fmt: skip


def make_folds(
    keys: SplitKeys, task: Task, strategy: str, folds: int, seed: int, gap: str = "", ids: Sequence[str] | None = None
) -> Folds:
    """Return the row positions (fit, judge) of each fold; `ids`: the columns that the hold-out was grouped by."""
    task.check_folds(pd.Series(keys.encoded), folds)
    groups = group_rows(keys, ids if strategy in _GROUPED else []) if _needs_groups(keys, strategy) else None
    if strategy in _FORWARD:
        size = len(keys) // (folds + 1)
        places = [len(keys) - size * number for number in range(folds, 0, -1)]
        masks = _split_forward(keys, groups, places, _TOLERANCE * size, gap, f"{folds} folds")
        order = np.argsort(_require_moments(keys), kind="stable")
        made = [(order[fit[order]], order[judge[order]]) for fit, judge in masks]
    else:
        number = _number_folds(keys, groups, strategy, folds, seed)
        made = [(np.flatnonzero(number != fold), np.flatnonzero(number == fold)) for fold in range(folds)]
    for place, parts in enumerate(made, 1):
        for rows in parts:
            task.check_classes(keys.encoded[rows], f"fold {place} of {folds} of the {strategy} split", "lower `folds`")
    return made


def _needs_groups(keys: SplitKeys, strategy: str) -> bool:
    """Return whether a split has to know which rows belong together."""
    return strategy in _GROUPED or (strategy != "time" and keys.contents is not None)


def find_obstacle(keys: SplitKeys, task: Task, strategy: str, share: float, folds: int, seed: int) -> str:
    """Return why a table cannot be split and have so many folds in this way, as a sentence; empty where it can."""
    try:
        sides = split_rows(keys, task, strategy, share, seed)
        if not task.has_enough_rows(pd.Series(keys.encoded[sides.held_out])):
            return f"the hold-out of the {strategy} split has fewer than two rows of a class."
        used = sides.groups.ids if sides.groups is not None else None
        make_folds(keys.take(sides.train), task, strategy, folds, seed, ids=used)
    except ProjectError as error:
        return str(error)
    return ""


def _split_forward(
    keys: SplitKeys, groups: Groups | None, places: Sequence[int], tolerance: float, gap: str, what: str
) -> list[tuple[Array, Array]]:
    """Cut the rows forward in time near some places of their order; return a pair of masks (older, newer) for each cut.

    Newer rows go as far as the next cut. A row is placed by its moment, or by the newest moment of its group. Where so many
    groups share their newest moment that no cut between moments comes near its place, a hash orders them.
    """
    newest = moments = _require_moments(keys)
    candidates = [moments]
    if groups is not None:
        ends = groups.find_newest(moments)
        newest = ends[groups.labels]
        ranks = np.empty(len(groups), dtype=np.int64)
        ranks[np.lexsort((groups.hashes, ends))] = np.arange(len(groups))
        candidates = [newest, ranks[groups.labels]]
    for placed in candidates:
        cuts, miss = _find_cuts(placed, places)
        if cuts is not None and (miss <= tolerance or placed is candidates[-1]):
            break
    if cuts is None:
        units = "groups" if groups is not None else "moments"
        raise ProjectError(
            f"the {units} of the table are too few or too uneven for {what} that go forward in time: "
            "choose another `features.split`, or fewer `folds`."
        )
    made = []
    for cut, following in zip(cuts, [*cuts[1:], None], strict=True):
        newer = placed >= cut if following is None else (placed >= cut) & (placed < following)
        first = int(newest[newer].min())
        made.append(((placed < cut) & (moments < first) & (moments <= first - measure_gap(gap)), newer))
    return made


def _find_cuts(placed: Array, places: Sequence[int]) -> tuple[list[int] | None, float]:
    """Return the values to cut at, each the first of the newer rows, and by how many rows they miss their places.

    None where two cuts would be one, or nothing would be older than the first.
    """
    ordered = np.sort(placed)
    found: list[int] = []
    miss = 0
    for place in places:
        value = ordered[min(place, len(ordered) - 1)]
        ends = np.searchsorted(ordered, value, "left"), np.searchsorted(ordered, value, "right")
        free = [int(end) for end in ends if (found[-1] if found else 0) < end < len(ordered)]
        if not free:
            return None, np.inf
        found.append(min(free, key=lambda end: abs(end - place)))
        miss = max(miss, abs(found[-1] - place))
    return [int(ordered[end]) for end in found], miss


def _require_moments(keys: SplitKeys) -> Array:
    """Return the moments of rows that have some."""
    if keys.moments is None:
        raise ProjectError("The table has no time column, so that it cannot be split by time.")
    return keys.moments


def measure_gap(gap: str) -> int:
    """Return a gap such as `7 days` in microseconds; 0 for an empty one."""
    if not gap:
        return 0
    number, unit = gap.split()
    return timedelta(**{unit.rstrip("s") + "s": float(number)}) // timedelta(microseconds=1)


def _hold_out_groups(keys: SplitKeys, groups: Groups, share: float, seed: int) -> tuple[Array, int, float]:
    """Choose whole groups to hold out; return the rows as a mask, and the salt and the limit of the hashes that chose them.

    A group is held out when the least of its rows' salted hashes is among the smallest: more rows of the group do not move
    it. The first salt is taken with which both classes have about `share`, so that a table that grows keeps it; else the best.
    """
    labels, hashes = _list_members(keys, groups)
    sizes = np.bincount(2 * groups.labels + keys.encoded, minlength=2 * len(groups)).reshape(-1, 2)
    best, chosen = np.inf, (np.zeros(len(groups), dtype=bool), 0, 0.0)
    for number in range(int(np.clip((1 << 20) // max(len(labels), 1), 1, _TRIES))):
        salt = seed + (number << 32)
        places = np.ones(len(groups))
        np.minimum.at(places, labels, place_hashes(hashes, salt))
        order = np.argsort(places, kind="stable")
        taken = sizes[order].cumsum(axis=0)
        both = ((taken > 0) & (taken < taken[-1])).all(axis=1)  # classes on both sides
        apart = np.abs(taken / np.maximum(taken[-1], 1) - share).max(axis=1)
        distance = np.where(both, apart, np.inf)
        place = int(distance.argmin())
        if distance[place] < best:
            best = float(distance[place])
            ends = places[order[place : place + 2]]
            chosen = places <= ends[0], salt, float(ends.mean())
        if best <= max(_EVEN * share, np.sqrt(share * (1 - share) / sizes.sum(axis=0).min())):
            break
    held_out, salt, limit = chosen
    return np.asarray(held_out[groups.labels]), salt, limit


def _list_members(keys: SplitKeys, groups: Groups) -> tuple[Array, Array]:
    """Return the groups' distinct keys: the group of each, and its hash. A row without an id counts by its content or its place."""
    links = [keys.ids[name] for name in groups.ids]
    nameless = ~np.any([np.zeros(len(keys), dtype=bool), *(link.known for link in links)], axis=0)
    rest = keys.content if groups.contents and keys.content is not None else np.arange(len(keys), dtype=np.uint64)
    members = pd.concat(
        pd.DataFrame({"group": groups.labels[link.known], "hash": link.values[link.known]}).drop_duplicates()
        for link in [*links, Link(rest, nameless)]
    )
    return members["group"].to_numpy(), members["hash"].to_numpy()


def _number_folds(keys: SplitKeys, groups: Groups | None, strategy: str, folds: int, seed: int) -> Array:
    """Return the number of the fold in which each row is judged."""
    number = np.zeros(len(keys), dtype=np.int64)
    if strategy == "group" and groups is not None:
        if len(groups) < folds:
            raise ProjectError(f"The training rows have {len(groups)} groups, fewer than {folds} folds: lower `folds`.")
        if len(groups) > _MANY_GROUPS:
            order = np.argsort(scramble(groups.hashes, seed), kind="stable")
            ends = np.bincount(groups.labels)[order].cumsum()
            each = np.empty(len(groups), dtype=np.int64)
            each[order] = (ends - 1) * folds // len(keys)
            return np.asarray(each[groups.labels])
        search = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        parts = search.split(np.zeros(len(keys)), keys.encoded, groups.labels)
    else:
        search = StratifiedKFold(folds, shuffle=True, random_state=seed)
        parts = search.split(np.zeros(len(keys)), keys.encoded)
    for fold, (_, judge) in enumerate(parts):
        number[judge] = fold
    if strategy != "group" and groups is not None and groups.contents:
        number = _follow_first(number, keys.contents)
    return number


def _follow_first(sides: Array, link: Link | None) -> Array:
    """Return the sides of rows with each row on the side of the first row that equals it."""
    if link is None:
        return sides
    rows = np.flatnonzero(link.known)
    _, firsts, codes = np.unique(link.values[rows], return_index=True, return_inverse=True)
    followed = sides.copy()
    followed[rows] = sides[rows[firsts[codes]]]
    return followed


def describe_split(keys: SplitKeys, sides: Sides) -> dict[str, Any]:
    """Return the record of a split: its strategy, and the rows, the share of positives, groups and moments of its sides."""
    groups = sides.groups
    record: dict[str, Any] = {
        "strategy": sides.strategy,
        "gap": sides.gap,
        "test_share": sides.share,
        "left_rows": int(sides.left_out.sum()),
        "ids": list(groups.ids) if groups is not None else [],
        "unused_ids": list(groups.unused) if groups is not None else [],
        "repeating_ids": list(keys.repeating),
        "equal_rows": _describe_equal(keys, sides),
        "rows_without_id": _count_nameless(keys, groups),
        "rows_without_time": 0 if keys.moments is None else int((keys.moments == NO_MOMENT).sum()),
    }
    for side, rows in (("train", sides.train), ("test", sides.held_out)):
        record[f"{side}_rows"] = int(rows.sum())
        record[f"{side}_rate"] = float(keys.encoded[rows].mean())
        record[f"{side}_groups"] = groups.count(rows) if groups is not None and groups.ids else None
        moments = keys.moments[rows & (keys.moments != NO_MOMENT)] if keys.moments is not None else np.array([])
        record[f"{side}_first"], record[f"{side}_last"] = _format_ends(moments)
    return record | {"rule": sides.rule.to_json()}


def _describe_equal(keys: SplitKeys, sides: Sides) -> str:
    """Return what happened to equal rows: none, together, or apart."""
    if keys.contents is not None and not keys.contents.known.any():
        return "none"
    return "together" if sides.strategy == "time" or (sides.groups is not None and sides.groups.contents) else "apart"


def _count_nameless(keys: SplitKeys, groups: Groups | None) -> int:
    """Count the rows that have none of the ids that rows are grouped by."""
    if groups is None or not groups.ids:
        return 0
    return int((~np.any([keys.ids[name].known for name in groups.ids], axis=0)).sum())


def _format_ends(moments: Array) -> tuple[str | None, str | None]:
    """Return the first and the last of some moments as text."""
    if not moments.size:
        return None, None
    first, last = (str(pd.Timestamp(int(end), unit="us")) for end in (moments.min(), moments.max()))
    return first, last


def describe_sides(record: Mapping[str, Any]) -> str:
    """Describe a split in a few sentences: how rows were held out, what share came out, and what was left out or joined."""
    by = f"all rows with the same {' or '.join(record['ids'])}" if record["ids"] else "single rows, as no id repeats"
    how = {
        "time": "the newest rows are held out",
        "group": f"groups are held out at random, whole ({by})",
        "time_group": f"the groups with the newest rows are held out, whole ({by}, the older ones too)",
        "order": "the last rows of the table are held out",
        "stratified": "rows are held out at random, with the classes' shares",
    }[record["strategy"]]
    share = record["test_rows"] / (record["train_rows"] + record["test_rows"] + record["left_rows"])
    said = [f"The split is *{record['strategy']}*: {how}, {share:.1%} of the rows."]
    if abs(share - record["test_share"]) > _TOLERANCE * record["test_share"]:
        said.append(
            f"`features.test_share` asks for {record['test_share']:.1%}, but what has to stay together does not allow it."
        )
    if record["left_rows"]:
        why = (
            f"within {record['gap']} of the hold-out"
            if record["gap"]
            else "as new as the hold-out, or equal to its rows"
        )
        said.append(f"{record['left_rows']:,} rows are on neither side, because they are {why}.")
    if record["unused_ids"]:
        said.append(
            f"{' and '.join(record['unused_ids'])} would connect most rows into one group, so that it is not used."
        )
    if record["rows_without_id"]:
        said.append(f"{record['rows_without_id']:,} rows without an id are each a group of their own.")
    if record["rows_without_time"] and record["strategy"] in _FORWARD:
        said.append(f"{record['rows_without_time']:,} rows without a time count as the oldest.")
    if record["equal_rows"] == "apart":
        said.append("So many rows equal others that they are taken for different cases, which can be on both sides.")
    if record["repeating_ids"] and not record["ids"]:
        said.append(f"Rows with the same {' or '.join(record['repeating_ids'])} can be on both sides.")
    return " ".join(said)
