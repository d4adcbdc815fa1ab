import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lifecycle.core.terms import Terms, list_terms, split_words
from lifecycle.modeling.texts import TermEncoder
from lifecycle.validation.pii import Protection, protect_table


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's BROKEN, again!", ["it", "s", "broken", "again"]),
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("cafe\u0301 CAFÉ", ["café", "café"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("İstanbul istanbul ISTANBUL", ["i̇stanbul", "istanbul", "istanbul"]),
        ("so bad 😡", ["so", "bad", "😡"]),
        ("one\0two\u00a0three—four_five", ["one", "two", "three", "four", "five"]),
        ("order 12345 of ٣٤ AB12-x", ["order", "of", "x"]),
        ("see " + "x" * 41, ["see"]),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_pairs_are_of_words_that_follow_each_other() -> None:
    assert list(list_terms("not happy")) == ["not", "happy", "not happy"]
    terms = Terms({"happy": 0, "not happy": 1, "sad": 2}, [1.0, 2.0, 1.0])
    assert [place for place, _ in terms.weigh("NOT happy. Happy?")] == [0, 1]
    assert terms.weigh("happy") == [(0, 1.0)]
    assert terms.weigh(None) == terms.weigh("nothing known") == []
    first, second = (weight for _, weight in terms.weigh("not happy happy"))
    assert first / second == pytest.approx((1 + np.log(2)) / 2)
    assert first**2 + second**2 == pytest.approx(1)


def test_a_concealed_text_shows_the_known_words_alone() -> None:
    terms = Terms({"late": 0, "not happy": 1}, [1.0, 1.0])
    assert terms.conceal("Dear Mrs Smith, I am NOT happy. Late, by 12 days") == "▮ not happy late ▮"
    assert terms.conceal("not very happy") == "not ▮ happy"
    assert terms.conceal("") == terms.conceal("12") == terms.conceal("Smith") == "▮"


PIECES = ["call", "me", "at", "bob.long@example.org", "mailto:bob@example.org,", "<a@b.example.org>", "+1 212 555 0123", "(212) 555-0123",
          "4111 1111 1111 1111", "5500-0000-0000-0004", "DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819",
          "GB82 WEST 1234 5698 7654 32", "078-05-1120", "tel:+442071838750;", "Straße", "😡", "now.", "CALL", "A1"]  # fmt: skip
FORMS = {
    "e-mail": "x@y.example", "phone": "+1 212 555 0123", "card": "4111 1111 1111 1111", "IBAN": "GB29NWBK60161331926819",
    "SSN": "078-05-1120",
}  # fmt: skip


def redact(texts: list[str]) -> list[str]:
    """Return texts as validation leaves them where it finds every kind of personal data."""
    raw = pd.DataFrame({"note": pd.Series(texts, dtype="str")})
    return protect_table(raw, Protection((), (), (("note", tuple(FORMS)),)))["note"].tolist()


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(PIECES), max_size=8), min_size=30, max_size=60),
    st.sampled_from([", ", "\n", " or ", "; "]),
)
def test_a_redacted_text_has_the_terms_of_the_text(drawn: list[list[str]], between: str) -> None:
    """The server gets a text as it was written, and a model learns from redacted ones."""
    texts = [between.join(pieces) for pieces in drawn]
    for before, after in zip(texts, redact(texts), strict=True):
        assert split_words(after) == split_words(before)


def test_redaction_leaves_something_to_compare() -> None:
    """The test above would not fail if nothing were redacted: every kind is, and its words are not known then."""
    texts = [f"call {piece} today" for piece in FORMS.values()]
    safe = redact(texts)
    assert safe == [f"call [{kind}] today" for kind in FORMS]
    assert {tuple(split_words(text)) for text in [*texts, *safe]} == {("call", "today")}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=3))
@example(["İstanbul ß ẞ \u0301a\u0327\u0301 😡👍🏽 \0 x"])
@example(["happy " * 20_000, "a@b " * 20_000])
@example(["\u25ae happy \u25ae \u25ae", "x \u25ae"])
def test_training_and_serving_have_the_same_bits(texts: list[str]) -> None:
    known = pd.DataFrame({"note": [*texts, "not happy at all", "ß İ é"] * 10})
    encoder = TermEncoder(50).fit(known)
    terms = Terms(dict(encoder.terms_[0].places), list(encoder.terms_[0].idf))
    whole = encoder.transform(known)
    for text in known["note"]:
        assert terms.weigh(terms.conceal(text)) == terms.weigh(text)
    for row, text in enumerate(known["note"][: len(texts) + 2]):
        expected = np.zeros(whole.shape[1])
        for place, weight in terms.weigh(text):
            expected[place] = weight
        assert whole[row].tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "piece",
    ["a", "\u0301", "A\u0301\u0327", "AB12 ", "AB12CDEF", "@ ", "a@", "ﷺ ", "İ", "[", "a b ", "GB29 NWBK 6016 1331 _"],
)
def test_a_long_text_takes_a_bounded_time(piece: str) -> None:
    terms = Terms({"a": 0, "a b": 1}, [1.0, 1.0])
    seconds = []
    for _ in range(3):
        start = time.process_time()
        terms.weigh(piece * 1_000_000)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.1
