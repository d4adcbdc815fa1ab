"""Slices of columns: their names, and that both parts of a table have the same."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lifecycle.modeling import slices


def test_categories_have_the_contracts_names() -> None:
    boolean = {"kind": "boolean", "values": ["no", "yes"]}
    assert slices.name_categories(pd.Series([0.0, 1.0, np.nan]), boolean).tolist() == ["no", "yes", "(missing)"]
    assert slices.name_categories(pd.Series(["ü", None]), {"kind": "categorical"}).tolist() == ["ü", "(missing)"]
    numbers = slices.name_categories(pd.Series([10.0, 2.0, np.nan]), {"kind": "numeric"})
    assert numbers.tolist() == ["10", "2", "(missing)"] and slices.sort_categories(numbers) == [
        "2",
        "10",
        "(missing)",
    ]
    close = slices.name_categories(pd.Series([1.0, 1.00000001]), {"kind": "numeric"})
    assert close.nunique() == 2


def test_numbers_come_in_bands_of_the_training_quartiles() -> None:
    train = pd.Series(np.arange(101.0))
    bands = slices.band_numbers(pd.Series([0.0, 25.0, 26.0, 99.0, np.nan]), train)
    assert bands.tolist() == ["up to 25", "up to 25", "25 to 50", "above 75", "(missing)"]
    assert slices.band_numbers(pd.Series([1.0, np.nan]), pd.Series([np.nan])).tolist() == ["any", "(missing)"]


def feature(name: str, kind: str, source: str = "column") -> dict:
    return {"name": name, "kind": kind, "source": source, "values": None}


def test_both_parts_have_the_same_slices() -> None:
    """Bands and frequent categories are those of the training part, whatever the other part has."""
    rng = np.random.default_rng(0)
    train = pd.DataFrame({
        "age": rng.integers(0, 100, 400), "town": rng.choice(list("abcdef"), 400, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.05]),
        "same": "x", "sum": rng.random(400),
    })  # fmt: skip
    features = [feature("age", "numeric"), feature("town", "categorical"), feature("same", "categorical"),
                feature("sum", "numeric", "derived"), feature("town", "text")]  # fmt: skip
    other = train.tail(30).assign(town=["e", "z"] * 15, age=7)
    found = slices.slice_columns(other, train, features, 3)
    assert list(found) == []  # one band of age, and only rare towns
    found = slices.slice_columns(train, train, features, 3)
    assert list(found) == ["age", "town"]
    assert found["age"].nunique() == 4 and set(found["town"]) == {"a", "b", "(other)"}
