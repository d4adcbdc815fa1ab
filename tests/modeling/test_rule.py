"""Tests of the rule of the hold-out that a release records."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lifecycle.core.contract import Contract
from lifecycle.modeling.entities import find_keys
from lifecycle.modeling.rule import find_unlearned, list_kinds
from lifecycle.modeling.split import split_rows
from lifecycle.modeling.task import task_for
from tests.support.contracts import make_contract

FEATURES = ["spend", "plan", "months", "senior"]


def hold_out(frame: pd.DataFrame, contract: Contract, order: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The rows that the split holds out, and those that its rule does, read with its columns in another order."""
    kinds = list_kinds(contract, FEATURES)
    sides = split_rows(find_keys(frame, contract), task_for(contract), "stratified", 0.2, seed=1, content=kinds)
    assert sides.rule.kind == "content"
    reordered = sides.rule.model_copy(update={"columns": {name: kinds[name] for name in order}})
    return sides.held_out, find_unlearned(reordered, frame)


def test_the_rule_holds_out_what_the_split_did_whatever_the_order_of_its_columns(customers: pd.DataFrame) -> None:
    """A record may be written again with its keys in another order, and a contract with its columns."""
    contract = make_contract()
    frame = customers.drop(columns="id")
    turned = contract.model_copy(update={"columns": dict(reversed(contract.columns.items()))})
    found = [
        mask
        for each in (contract, turned)
        for order in (FEATURES, FEATURES[::-1])
        for mask in hold_out(frame, each, order)
    ]
    assert all(np.array_equal(mask, found[0]) for mask in found) and 0.1 < found[0].mean() < 0.3


def test_columns_are_not_taken_for_one_another(customers: pd.DataFrame) -> None:
    frame = customers.drop(columns="id").assign(spend=customers["months"] * 2.0, senior=0)
    swapped = frame.rename(columns={"spend": "months", "months": "spend"})
    first, second = (hold_out(each, make_contract(), FEATURES)[1] for each in (frame, swapped))
    assert not np.array_equal(first, second)
