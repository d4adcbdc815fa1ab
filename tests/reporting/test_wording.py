import pytest

from lifecycle.reporting.wording import format_number, format_percent, join_words, quote


def test_names_stand_in_code_whatever_they_hold() -> None:
    assert quote("a `b`\n c") == "`a 'b' c`"
    assert quote("plan", "<b>pro</b> | *") == "`plan = <b>pro</b> | *`"
    assert quote("flag", 0) == "`flag = 0`"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0.0"), (1.0, "100.0"), (0.2653, "26.5"), (0.0004, "0.04"), (0.00004, "0.004"), (0.9996, "99.96")],
)
def test_percentages_can_be_told_from_none_and_all(share: float, text: str) -> None:
    assert format_percent(share) == f"{text}\u00a0%"


def test_numbers_and_lists() -> None:
    assert [format_number(value, "m") for value in (1234.5, 79.654, 0.01234)] == ["1,234 m", "79.7 m", "0.0123 m"]
    assert [join_words(list(words)) for words in ("", "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]
