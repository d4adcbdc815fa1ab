"""Decision flips: counted by hand, by slice, and with the intervals of rows that belong together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lifecycle.modeling.flips import count_flips
from lifecycle.modeling.intervals import bound_share
from lifecycle.reporting import pages
from lifecycle.reporting.decisions import tabulate_flips


def test_flips_by_hand() -> None:
    candidate = np.array([True, True, False, False, True, False])
    champion = np.array([True, False, True, False, False, False])
    found = count_flips(candidate, champion, {"g": pd.Series(list("aabbbc"))}, min_support=2)
    assert found["rows"] == 6 and found["flips"]["value"] == pytest.approx(3 / 6)
    assert (found["flips"]["low"], found["flips"]["high"]) == tuple(map(float, bound_share(3, 6)))
    assert found["to_positive"]["value"] == pytest.approx(2 / 6) and found["to_negative"]["value"] == pytest.approx(
        1 / 6
    )
    shares = {part["category"]: (part["rows"], part["flips"]["value"]) for part in found["by_slice"]}
    assert shares == {"a": (2, 0.5), "b": (3, pytest.approx(2 / 3))}  # c has too few rows


def test_equal_models_flip_nothing() -> None:
    positive = np.arange(50) % 3 == 0
    found = count_flips(positive, positive, {}, min_support=1)
    assert found["flips"]["value"] == found["flips"]["low"] == 0 < found["flips"]["high"] < 0.1


def test_copies_of_rows_add_no_certainty() -> None:
    rng = np.random.default_rng(0)
    candidate, champion = rng.random((2, 100)) < 0.3
    alone = count_flips(candidate, champion, {}, 1)["flips"]
    owners, group = np.repeat(np.arange(100), 10), pd.Series(["x"] * 1000)
    grouped = count_flips(np.repeat(candidate, 10), np.repeat(champion, 10), {"g": group}, 1, owners)
    for part in (grouped, grouped["by_slice"][0]):
        assert part["flips"]["high"] - part["flips"]["low"] == pytest.approx(alone["high"] - alone["low"], rel=0.03)
    naive = count_flips(np.repeat(candidate, 10), np.repeat(champion, 10), {}, 1)["flips"]
    assert naive["high"] - naive["low"] < 0.4 * (alone["high"] - alone["low"])


def test_the_table_begins_with_all_rows_and_is_escaped() -> None:
    positive = np.arange(60) % 2 == 0
    groups = pd.Series(["<b>"] * 30 + ["calm"] * 30)
    changed = positive ^ (np.arange(60) < 12)
    table = tabulate_flips(count_flips(changed, positive, {"who": groups}, 10))
    assert list(table.index) == ["all rows", "who = <b>", "who = calm"]
    assert table.loc["who = <b>", "treated otherwise"].startswith("40.0 % (")
    assert "<b>" not in pages.render_table(table)
