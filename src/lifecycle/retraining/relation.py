"""How the champion relates to a candidate: whether both can be compared, and on which rows neither can have learned from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.contract import Contract
from lifecycle.core.paths import CHAMPION
from lifecycle.modeling.model import Model
from lifecycle.modeling.rule import find_unlearned
from lifecycle.modeling.task import task_for
from lifecycle.promotion.records import Champion
from lifecycle.serving.bundle import Bundle, load_release_bundle, to_requests

Array = np.ndarray[Any, Any]


def load_champion(root: Path) -> Bundle | None:
    """Load the serving bundle of the champion that models/champion.json names, None while there is none.

    The release's pickle is not read. Raises ProjectError when the bundle is missing or damaged, or is not the one that
    champion.json names.
    """
    champion = Champion.read(root / CHAMPION)
    return None if champion.model is None else load_release_bundle(root, champion.model, champion.bundle)


@dataclass(frozen=True)
class Relation:
    """How the champion relates to the candidate: none, same, comparable or incomparable, and a sentence about it.

    rows: the held-out rows to compare them on, as a mask, which neither can have learned from.
    """

    kind: str
    message: str
    rows: Array


def relate_champion(
    champion: Bundle | None,
    candidate: Model,
    held_out: pd.DataFrame,
    contract: Contract,
    min_support: int,
    min_class: int,
) -> Relation:
    """Return how the champion relates to the candidate, given the validated rows of the hold-out.

    A champion is incomparable when it needs columns that the table lacks, predicts something else, or may have learned from
    all but a few of the rows: fewer than `min_support`, or than `min_class` of a class.
    """
    nothing = np.zeros(len(held_out), dtype=bool)
    if champion is None:
        return Relation("none", "There is no champion yet.", nothing)
    if champion.manifest.model == candidate.sha256:
        return Relation("same", "This model is the champion already.", nothing)
    if absent := [name for name in champion.schema.names if name not in held_out.columns]:
        return _find_incomparable(f"it needs the columns {', '.join(absent)}, which the table no longer has", nothing)
    mine = candidate.metadata["target"], candidate.metadata["positive"]
    its = champion.manifest.target, champion.manifest.positive
    if mine != its:
        message = f"it predicts {its[0]} = {its[1]}, and this model {mine[0]} = {mine[1]}"
        return _find_incomparable(message, nothing)
    if champion.manifest.hashes.get("train") == candidate.metadata.get("train_sha256"):
        return Relation("comparable", "Both learned from the same rows.", ~nothing)
    if candidate.metadata["rule"]["champion"] == champion.manifest.model:
        return Relation("comparable", "Neither learned from the held-out rows.", ~nothing)
    if champion.manifest.rule is None:
        message = "its release, of an earlier version, does not say which rows it learned from"
        return _find_incomparable(message, nothing)
    moments = pd.to_datetime(held_out[contract.time], utc=True) if contract.time in held_out else None
    rows = find_unlearned(champion.manifest.rule, held_out, moments)
    if (onset := champion.manifest.onset) is not None:
        if moments is None:
            message = (
                f"it learned what rows show since {onset:%Y-%m-%d}, after a concept drift, and the table has no times"
            )
            return _find_incomparable(message, nothing)
        rows &= (moments >= onset).to_numpy()
    positive = task_for(contract).encode(held_out[contract.target])[rows].sum()
    if rows.sum() < min_support or min(positive, rows.sum() - positive) < min_class:
        message = f"it may have learned from all but {rows.sum():,} of the {len(rows):,} held-out rows"
        return _find_incomparable(f"{message}, which are too few", nothing)
    message = (
        f"They are compared on the {rows.sum():,} of {len(rows):,} held-out rows that neither can have learned from."
    )
    return Relation("comparable", "Neither learned from the held-out rows." if rows.all() else message, rows)


def _find_incomparable(because: str, nothing: Array) -> Relation:
    """Return the relation to a champion that cannot be compared, with the way out."""
    message = (
        f"It is not comparable with the champion, because {because}. `lifecycle promote VERSION` makes it the champion "
        "all the same."
    )
    return Relation("incomparable", message, nothing)


def score_champion(champion: Bundle, held_out: pd.DataFrame) -> Array:
    """Return the champion's probabilities of the hold-out's rows, computed by its bundle from the validated columns."""
    return champion.score(to_requests(held_out, champion.schema.names))
