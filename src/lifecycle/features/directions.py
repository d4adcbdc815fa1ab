"""The direction in which a prediction may move with a derived feature, as the contract declares it."""

from __future__ import annotations

from typing import Any

from lifecycle.core.contract import Contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import CONTRACT

_FeatureRecord = dict[str, Any]


def declare_directions(features: list[_FeatureRecord], contract: Contract) -> list[_FeatureRecord]:
    """Return the features with the contract's `monotone` at the derived ones.

    Raises ProjectError for a name that is not a derived feature, and for a derived feature without a direction that reads a
    monotone column: through it, the prediction could move against the column.
    """
    derived = {feature["name"] for feature in features if feature["source"] == "derived"}
    if unknown := sorted(contract.monotone.keys() - derived):
        raise ProjectError(f"{CONTRACT}: monotone names {unknown}, which are not among features.derived.")
    monotone = {name for name, column in contract.columns.items() if column.monotone}
    for feature in features:
        read = sorted(monotone & set(feature["columns"]))
        if feature["name"] in derived - contract.monotone.keys() and read:
            raise ProjectError(
                f"{CONTRACT}: the derived feature {feature['name']!r} reads {read}, with which the prediction is monotone: "
                "declare its own direction under `monotone`, or remove it."
            )
    return [
        {**feature, "monotone": contract.monotone.get(feature["name"], feature["monotone"])} for feature in features
    ]
