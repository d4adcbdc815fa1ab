from pathlib import Path

import pytest

from lifecycle.core.contract import Contract, Role, load_contract
from lifecycle.core.errors import ProjectError

GOOD = """
name: shop
description: Orders.
columns:
  key: {role: id, dtype: int64, description: Order.}
  at: {role: time, dtype: datetime, description: When.}
  price: {role: numeric, dtype: float64, min: 0, unit: euros, description: Price.}
  back: {role: target, dtype: string, values: ["No", "Yes"], positive: "Yes", description: Sent back.}
"""


def load(text: str, folder: Path) -> Contract:
    path = folder / "contract.yaml"
    path.write_text(text)
    return load_contract(path)


def test_roles_and_names(tmp_path: Path) -> None:
    contract = load(GOOD, tmp_path)
    assert (contract.target, contract.positive, contract.time) == ("back", "Yes", "at")
    assert contract.names(Role.ID, Role.NUMERIC) == ["key", "price"]


def test_yes_and_no_stay_words(tmp_path: Path) -> None:
    assert load(GOOD.replace('["No", "Yes"]', "[No, Yes]"), tmp_path).columns["back"].values == ("No", "Yes")


def test_the_projects_contract_is_good(checkout: Path) -> None:
    contract = load_contract(checkout / "data/contract.yaml")
    assert contract.target not in contract.fairness


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("role: id", "role: key", r"columns\.key\.role: .*'id', 'target'.*\(it is 'key'\)"),
        ("unit: euros", "units: euros", r"columns\.price\.units: is not a known key"),
        (", description: When.", "", r"columns\.at\.description: is missing"),
        ("dtype: datetime", "dtype: string", "role time needs dtype datetime, not string"),
        ("role: numeric, dtype: float64", "role: numeric, dtype: string", "min and max need dtype"),
        ("min: 0", "min: 9, max: 1", "min 9 is above max 1"),
        ("role: time", "role: time, monotone: increasing", "`monotone` needs role numeric or boolean"),
        ("min: 0", "monotone: upwards", r"columns\.price\.monotone: .*'increasing' or 'decreasing'"),
        ("name: shop", "name: shop\nmonotone: {price: increasing}", r"monotone names \['price'\]: a column has a key"),
        ("role: target", "role: categorical", "`positive` belongs to the target alone"),
        (', positive: "Yes"', "", "a target needs `positive`"),
        ('["No", "Yes"]', '["No", "Yes", "Maybe"]', "exactly its two classes"),
        (
            'positive: "Yes"',
            'positive: "Yes", others: ["No"]',
            "`others` need a target of dtype string, and none of them",
        ),
        ("unit: euros", "others: [a]", "`others` and `spellings` belong to the target alone"),
        ("unit: euros", "format: '%d/%m/%Y'", "is not how 1234.5 would be written"),
        ('["No", "Yes"], positive: "Yes"', "[0, 1], positive: 1", r"values \[0, 1\] are not of dtype string"),
        (
            'dtype: string, values: ["No", "Yes"], positive: "Yes"',
            "dtype: int64, values: [true, false], positive: true",
            "dtype int64",
        ),
        (
            "role: time, dtype: datetime",
            "role: text, dtype: datetime, terms: 5",
            "`terms` needs role text and dtype string",
        ),
        (
            "role: time, dtype: datetime",
            "role: ignored, dtype: datetime, duration: true",
            "`duration` needs role numeric",
        ),
        ("role: numeric", "role: ignored", None),
        ("unit: euros", "open: true", "`open` needs `values`, and role categorical"),
        ('positive: "Yes"', 'open: true, positive: "Yes"', "`open` needs `values`, and role categorical"),
        ("columns:", "fairness: [sex]\ncolumns:", "fairness names 'sex', which is not a column"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, message: str | None) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    if message is None:
        load(text, tmp_path)
        return
    with pytest.raises(ProjectError, match=message):
        load(text, tmp_path)


def test_exactly_one_target(tmp_path: Path) -> None:
    second = "  again: {role: target, dtype: string, values: [a, b], positive: a, description: Twice.}\n"
    with pytest.raises(ProjectError, match=r"exactly one column needs role target, found 2"):
        load(GOOD + second, tmp_path)


def test_something_to_learn_from(tmp_path: Path) -> None:
    text = "\n".join(line for line in GOOD.splitlines() if "  at:" not in line and "  price:" not in line)
    with pytest.raises(ProjectError, match="no column is left to learn from"):
        load(text, tmp_path)


@pytest.mark.parametrize(
    ("rules", "closed"),
    [
        ("role: categorical, dtype: string, values: [a, b]", ("a", "b")),
        ("role: categorical, dtype: string, values: [a, b], open: true", None),
        ("role: categorical, dtype: int64, values: [1, 2], open: true", None),
        ("role: boolean, dtype: string, values: [f, m], open: true", None),
        ("role: categorical, dtype: string", None),
    ],
)
def test_a_list_is_closed_unless_it_says_otherwise(tmp_path: Path, rules: str, closed: object) -> None:
    contract = load(GOOD + f"  kind: {{{rules}, description: Kind.}}\n", tmp_path)
    assert contract.columns["kind"].closed == closed


def test_a_boolean_of_numbers_cannot_be_open(tmp_path: Path) -> None:
    """Its values are 0 and 1 to the model: there is no third one."""
    column = "  kind: {role: boolean, dtype: int64, values: [0, 1], open: true, description: Kind.}\n"
    with pytest.raises(ProjectError, match="`open` needs `values`"):
        load(GOOD + column, tmp_path)
