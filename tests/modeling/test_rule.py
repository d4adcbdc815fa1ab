"""Tests of the rule of the hold-out that a release records."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lifecycle.core.split_rule import SplitRule
from lifecycle.modeling.rule import find_unlearned


def test_the_order_of_the_columns_does_not_matter(customers: pd.DataFrame) -> None:
    """A record may be written again with its keys in another order."""
    columns = {"spend": "number", "plan": "text", "months": "number"}
    first, second = (
        find_unlearned(SplitRule(kind="content", columns=dict(order), salt=7, share=0.3), customers)
        for order in (columns.items(), reversed(columns.items()))
    )
    assert np.array_equal(first, second) and 0.2 < first.mean() < 0.4
    other = customers.rename(columns={"spend": "months", "months": "spend"})
    assert not np.array_equal(
        find_unlearned(SplitRule(kind="content", columns=columns, salt=7, share=0.3), other), first
    )
