"""The terms of free text, its words and pairs of words, and their weights: the same in training and on the server.

E-mail addresses, account numbers and words with digits are not terms, so that a text has the same terms before and after validation
redacts the personal data in it (`validation.pii`): the server gets texts as they were written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from math import log, sqrt

_LETTERS = 20_000  # characters of a text that are read
_WORDS = 1000  # words of these
_LONGEST = 40  # characters of a word: longer ones are addresses of pages, keys and the like
# All but white space, control characters and punctuation: `\w` would break words at the marks of many scripts
_WORD = re.compile(r"[^\s\x00-/:-@\[-`{-\u00bf\u2000-\u206f\u3000-\u303f\uff00-\uff0f]+")
_DIGIT = re.compile(r"\d")
_PART = re.compile(r"[^\x00-\x20]+")  # an e-mail address is in one part
_ACCOUNT = re.compile(  # the form of an IBAN in `validation.pii`, and what redaction leaves of accounts and numbers
    r"(?<![A-Za-z0-9_.+-])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9_-])(?!\.[A-Za-z0-9])"
    r"|\[(?:IBAN|card|phone|SSN)\]"
)
_BAR = "\u25ae"
_ADDRESS = "[e-mail]"  # what redaction leaves of an address


class Terms:
    """The known terms of a column of texts.

    places: the place of each term, from 0. idf: the inverse document frequency of each place.
    """

    def __init__(self, places: Mapping[str, int], idf: Sequence[float]) -> None:
        self.places, self.idf = places, idf
        self.width = max(1, len(idf))  # of the model's columns: one of zeros where no term is known
        self.pairs = frozenset(term.partition(" ")[0] for term in places if " " in term)  # their first words

    def weigh(self, text: str | None) -> list[tuple[int, float]]:
        """Return the place and the weight of each known term of a text, in the order of the places; none of a missing text.

        A term that occurs n times weighs (1 + log n) idf, and the squares of a text's weights add up to 1 (Salton & Buckley
        1988, Information Processing & Management 24).
        """
        if text is None:
            return []
        counts: dict[int, int] = {}
        find, pairs, before = self.places.get, self.pairs, None
        for word in split_words(text):
            if (place := find(word)) is not None:
                counts[place] = counts.get(place, 0) + 1
            if before is not None and (place := find(f"{before} {word}")) is not None:
                counts[place] = counts.get(place, 0) + 1
            before = word if word in pairs else None
        weights, total = [], 0.0
        for place in sorted(counts):
            weight = (1 + log(counts[place])) * self.idf[place]
            weights.append((place, weight))
            total += weight * weight  # not `sum`, whose last digit is another one since Python 3.12
        length = sqrt(total)
        return [(place, weight / length) for place, weight in weights]

    def conceal(self, text: str) -> str:
        """Return a text of the same terms that shows no other words: a bar stands for those between the known ones."""
        known = self.pairs.union(*(term.split(" ") for term in self.places))
        shown: list[str] = []
        for word in split_words(text):
            if word in known:
                shown.append(word)
            elif shown[-1:] != [_BAR]:
                shown.append(_BAR)
        return " ".join(shown) or _BAR


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case (Unicode's case folding, NFC), without those with digits and what looks personal."""
    text = text[:_LETTERS]
    if "[" in text or not text.islower():
        text = _ACCOUNT.sub(" ", text)
    if "@" in text or _ADDRESS in text:
        text = " ".join(part for part in _PART.findall(text) if "@" not in part and _ADDRESS not in part)
    if text.isascii():
        words = _WORD.findall(text.lower())
    else:
        words = [unicodedata.normalize("NFC", word.casefold()) for word in _WORD.findall(text) if len(word) <= _LONGEST]
    if _DIGIT.search(text):
        words = [word for word in words if not _DIGIT.search(word)]
    return [word for word in words if len(word) <= _LONGEST][:_WORDS]


def list_terms(text: str) -> Iterator[str]:
    """Yield the words of a text, and each two that follow each other as a pair; the bar of a concealed text is in none."""
    before = None
    for word in split_words(text):
        if word == _BAR:
            before = None
            continue
        yield word
        if before is not None:
            yield f"{before} {word}"
        before = word
