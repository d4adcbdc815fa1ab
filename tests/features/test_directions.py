from __future__ import annotations

from typing import Any

import pytest

from lifecycle.core.contract import Contract
from lifecycle.core.errors import ProjectError
from lifecycle.features.directions import declare_directions
from lifecycle.stages.features import list_features
from tests.support.contracts import make_contract

COLUMNS = ["id", "months", "spend", "plan", "senior", "left"]
PACE = {"pace": "spend / (1 + months)"}


def declare(contract: Contract, derived: dict[str, str], **directions: str) -> dict[str, Any]:
    """The direction of every feature."""
    whole = contract.model_copy(update={"monotone": directions})
    return {feature["name"]: feature["monotone"] for feature in list_features(whole, COLUMNS, derived)}


def test_directions_are_those_of_the_contract() -> None:
    contract = make_contract(months={"monotone": "decreasing"}, senior={"monotone": "increasing"})
    none = dict.fromkeys(("spend", "plan"))
    assert declare(contract, {}) == {"months": "decreasing", "senior": "increasing", **none}
    assert declare(contract, PACE, pace="increasing")["pace"] == "increasing"
    assert declare(make_contract(), PACE)["pace"] is None


def test_a_derived_feature_may_not_undo_a_direction() -> None:
    contract = make_contract(months={"monotone": "decreasing"})
    with pytest.raises(
        ProjectError, match=r"the derived feature 'pace' reads \['months'\].* under `monotone`, or remove it"
    ):
        declare(contract, PACE)
    assert declare(contract, {"rich": "spend > 10"})["rich"] is None


def test_a_direction_of_an_unknown_feature_is_refused() -> None:
    with pytest.raises(ProjectError, match=r"monotone names \['speed'\], which are not among features\.derived"):
        declare(make_contract(), PACE, speed="increasing")
    listed = list_features(make_contract(), COLUMNS, PACE)
    assert declare_directions(listed, make_contract()) == listed
