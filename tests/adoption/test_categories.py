"""Columns of many words: categories where they repeat, and never names of persons, addresses or identifiers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lifecycle.cli.main import main
from lifecycle.core import paths
from lifecycle.core.contract import Column, load_contract

ROWS = 800
RNG = np.random.default_rng(0)
SYLLABLES = ["ba", "do", "ke", "li", "mu", "na", "po", "ri", "su", "ta", "ve", "zo"]
WORDS = [f"{first}{second}{first}" for first in SYLLABLES for second in SYLLABLES][:120]
FIRST = ["Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Henry", "Ida", "Jonas", "Karin", "Lukas"]


def draw(words: list[str], rows: int = ROWS) -> list[str]:
    """Each of the words, and again at random."""
    return [*words, *RNG.choice(words, rows - len(words))]


@pytest.fixture
def adopt(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Column, str]]:
    """Adopt a table with one column in question; return what it is in the contract, and the lines that name it."""

    def run(name: str, values: list[str]) -> tuple[Column, str]:
        x = RNG.normal(size=len(values))
        left = np.where(x + RNG.normal(size=len(values)) > 0, "yes", "no")
        pd.DataFrame({name: values, "x": x, "left": left}).to_csv(tmp_path / "table.csv", index=False)
        status = main(["adopt", str(tmp_path / "table.csv"), "--target", "left"])
        output = capsys.readouterr()
        assert status == 0, output.err
        lines = [line for line in output.out.splitlines() if f"check: {name}: " in line]
        return load_contract(project / paths.CONTRACT).columns[name], "\n".join(lines)

    return run


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("shop", draw(WORDS), "taken as 120 categories, each encoded by its share of positives; use --id if"),
        ("town", draw([word.title() for word in WORDS]), "if they are names of persons, set role pii"),
        ("zip", draw([str(10_000 + 37 * place) for place in range(120)]), "read as codes by its name"),
        ("plz", draw([f"0{1000 + 37 * place}" for place in range(120)]), "taken as 120 categories"),
    ],
)
def test_many_words_that_repeat_are_categories(
    adopt: Callable[..., tuple[Column, str]], name: str, values: list[str], said: str
) -> None:
    column, lines = adopt(name, values)
    assert (column.role, column.dtype, column.values) == ("categorical", "string", None)
    assert said in lines


@pytest.mark.parametrize(
    ("name", "values", "role", "said"),
    [
        ("shop", draw(WORDS, 400), "ignored", "120 categories hardly repeat: it is left out"),
        ("reply_to", draw([f"{word}@example.com" for word in WORDS]), "pii", "look like personal data (e-mail)"),
        ("reached", draw([f"+4479{70_000_000 + 137 * place:08d}" for place in range(120)]), "pii", "look like personal data (phone)"),
        ("seller", draw([f"{one} {two.title()}" for one in FIRST for two in SYLLABLES[:10]]), "ignored", "may be names of persons"),
        ("surname", draw([word.title() for word in WORDS]), "pii", "its name suggests personal data"),
        ("customer_id", draw(WORDS), "ignored", "may be identifiers by its name"),
        ("account", draw([f"K{place * 7919 % 10_000:04d}" for place in range(120)]), "ignored", "may be identifiers, numbers or times"),
        ("size", draw([f">{place}.{place}" for place in range(120)]), "ignored", "may be identifiers, numbers or times"),
    ],
)  # fmt: skip
def test_many_words_are_not_used_where_they_may_name_persons_or_cases(
    adopt: Callable[..., tuple[Column, str]], name: str, values: list[str], role: str, said: str
) -> None:
    column, lines = adopt(name, values)
    assert column.role == role
    assert said in lines
