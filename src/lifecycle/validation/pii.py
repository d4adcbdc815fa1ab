"""Personal data: found by what cells look like, and dropped, pseudonymised or blotted out before anything sees it.

What a form and a checksum can tell is found: e-mail addresses, telephone numbers, payment cards, IBANs, US social
security numbers. Names and postal addresses have no such form: the contract must declare them (role pii).
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from lifecycle.core.contract import Column, Role
from lifecycle.core.errors import ProjectError
from lifecycle.validation.conversion import is_words, map_distinct
from lifecycle.validation.sampling import Tally, count_distinct

Series: TypeAlias = "pd.Series[Any]"
Array = np.ndarray[Any, Any]
Decision = Literal["drop", "pseudonymise", "blot out"]
Policy = Literal["drop", "pseudonymise", "stop"]

KEY_VARIABLE = "LIFECYCLE_PII_KEY"
KEY_LENGTH = 16  # characters at least: a telephone number behind a short key is found by trying
LEAST_SHARE = 0.01  # of a column's present cells that look personal, from which the column is held to be personal
LEAST_DISTINCT = 5  # different such values, from which it is too
LEAST_CARD = 10**12  # the shortest payment card has 13 digits
PIECES = 3  # of one kind that are looked for in a cell, lest a valid one stand behind an invalid one

# What may not stand right beside a piece: it would be part of something longer. A full stop may end a sentence.
BEFORE = r"(?:^|[^A-Za-z0-9_.+-])"
AFTER = r"(?:$|[^A-Za-z0-9_.-]|\.(?:$|[^A-Za-z0-9]))"
# Any letter of any script, said by what it is not: to compile Unicode's classes takes fifty times as long.
LOCAL = r"[^\x00-\x24\x26-\x2a,/\x3a-\x40\x5b-\x5e`\x7b-\x7f]+"  # leaves % + - . _
LABEL = r"[^\x00-\x2c\x2e\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+"  # leaves -
ENDING = r"[^\x00-\x40\x5b-\x60\x7b-\x7f]{2,}"
FORMS = {
    "e-mail": f"{LOCAL}@(?:{LABEL}\\.)+{ENDING}",
    "card": r"(?:4\d{3}|5[1-5]\d{2}|2[2-7]\d{2}|3[04-8]\d{2}|6\d{3})[ -]?\d{4}[ -]?\d{4}[ -]?\d{1,7}"
    r"|3[47]\d{2}[ -]\d{6}[ -]\d{5}",
    "IBAN": r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?",
    "SSN": r"(?:00[1-9]|0[1-9]\d|[1-57-8]\d\d|6[0-57-9]\d|66[0-57-9])-(?:0[1-9]|[1-9]\d)"
    r"-(?:\d{3}[1-9]|\d{2}[1-9]0|\d[1-9]00|[1-9]000)",
    # with a country's code; North American; with a trunk zero: plain digits could be anything
    "phone": r"\+[1-9]\d{0,2}(?:[ -]?\(?\d{1,4}\)?){2,6}"
    r"|(?:1[-. ])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-. ])[2-9]\d{2}[-. ]\d{4}"
    r"|0[1-9]\d{1,3}[ /-]\d{3,4}[ -]?\d{3,5}|0[1-9](?:[ .]\d{2}){4}",
}
BARE_FORMS = FORMS | {"e-mail": "@"}
ANY_FORM = "|".join(f"(?:{form})" for form in BARE_FORMS.values())


@dataclass(frozen=True)
class Finding:
    """Cells of one column that look like one kind of personal data; `example` is masked."""

    column: str
    kind: str
    cells: int
    distinct: int
    share: float  # of the column's present cells
    example: str
    decision: Decision


@dataclass(frozen=True)
class Protection:
    """What becomes of whole columns, and of single cells (column: kinds) of the others."""

    dropped: tuple[str, ...] = ()
    pseudonymised: tuple[str, ...] = ()
    blotted: tuple[tuple[str, tuple[str, ...]], ...] = ()


def find_personal(
    parts: Iterable[pd.DataFrame], columns: Mapping[str, Column], policy: Policy = "drop"
) -> list[Finding]:
    """Look for personal data in the columns of text that the contract does not declare as such (and cards in integers).

    The raw table comes in parts. A column of which 1 % of the cells or five different values look personal is dropped or
    pseudonymised, as `policy` says; a column of numbers, which a pseudonym is not, is dropped. Elsewhere, and where the
    contract lists a column's values, the cells themselves are blotted out.
    """
    searches: dict[str, Search] = {}
    for part in parts:
        for name, column in columns.items():
            if name in part and column.role not in (Role.PII, Role.IGNORED):
                searches.setdefault(name, Search(column)).add(part[name])
    return [
        finding
        for name, column in columns.items()
        if name in searches
        for finding in searches[name].list_findings(name, column, policy)
    ]


class Search:
    """Takes a raw column in parts and counts what in it looks personal, by kind."""

    def __init__(self, column: Column) -> None:
        self.listed = [str(value) for value in column.values or ()]  # by the contract itself
        self.cells = 0
        self.least = 0.0
        self.personal = dict.fromkeys(FORMS, 0)  # cells
        self.formed = {kind: Tally() for kind in FORMS}
        self.valid = {kind: Tally() for kind in FORMS}
        self.examples: dict[str, str] = {}

    def add(self, raw: Series) -> None:
        """Look at a part's distinct values, where these are known, or at each cell."""
        if is_words(raw):
            texts, counts = count_texts(raw)
            open_to = ~texts.isin(self.listed).to_numpy()
            texts, counts = texts[open_to], counts[open_to]
            self.cells += int(counts.sum())
        elif raw.dtype == "Int64":
            self.least = 0.5  # a number has no form that tells a card from a serial number
            self.cells += int(raw.notna().sum())
            texts, counts = count_texts(raw[(raw >= LEAST_CARD).fillna(False)].astype("str"))
        else:
            return
        near = np.asarray(pc.match_substring_regex(to_arrow(texts), ANY_FORM))
        if near.any():
            self.count(texts[near], counts[near], raw)

    def count(self, texts: Series, counts: Array, raw: Series) -> None:
        """Count the texts of a part, each so often, that are personal."""
        for kind in FORMS:
            formed, valid = match_forms(texts, kind)
            self.formed[kind].add(texts[formed], counts[formed])
            self.valid[kind].add(texts[valid], counts[valid])
            self.personal[kind] += int(counts[valid].sum())
            if valid.any() and kind not in self.examples:
                first = raw[raw.astype("str").isin(texts[valid])].astype("str").iloc[:1]
                self.examples[kind] = mask_text(find_pieces(to_arrow(first), kind)[0].as_py())

    def list_findings(self, name: str, column: Column, policy: Policy) -> list[Finding]:
        """What was found in the column of this name, by kind."""
        findings = []
        for kind, cells in self.personal.items():
            share, distinct = cells / max(self.cells, 1), self.valid[kind].distinct
            if cells and share >= self.least and not is_chance(kind, distinct, self.formed[kind].distinct):
                decision = decide(column, share, distinct, policy)
                findings.append(Finding(name, kind, cells, distinct, share, self.examples[kind], decision))
        return findings


def count_texts(raw: Series) -> tuple[Series, Array]:
    """A column's texts and how often each is there, int64: the distinct ones of categories, else those of all cells."""
    if isinstance(raw.dtype, pd.CategoricalDtype):
        return count_distinct(raw)
    present = raw.dropna()
    return present, np.ones(len(present), dtype=np.int64)


def is_chance(kind: str, valid: int, formed: int) -> bool:
    """Whether too few of a form's bearers pass its checksum for the others to mean something."""
    return kind in ("card", "IBAN") and 2 * valid < formed


def decide(column: Column, share: float, distinct: int, policy: Policy) -> Decision:
    """What becomes of a column, or of its cells, by how much of it looks personal."""
    if column.values is not None or (share < LEAST_SHARE and distinct < LEAST_DISTINCT):
        return "blot out"
    text = column.dtype == "string"
    return "pseudonymise" if policy == "pseudonymise" and text else "drop"


def frame_form(kind: str) -> str:
    """The pattern (RE2) of a piece of the kind that stands by itself."""
    return f"(?P<before>{BEFORE})(?P<piece>{FORMS[kind]})(?P<after>{AFTER})"


def find_pieces(text: pa.Array, kind: str) -> pa.Array:
    """The first piece of the kind's form in each text; null where there is none."""
    found = pc.extract_regex(text, frame_form(kind))
    return pc.if_else(pc.is_valid(found), pc.struct_field(found, "piece"), None)


def to_arrow(values: Any) -> pa.Array:
    """Text as one Arrow array of strings."""
    return pa.array(values, type=pa.string())


def recognise(values: Any, kind: str) -> Array:
    """Which texts hold personal data of the kind: booleans, shape (values,).

    A form with a checksum counts only where at least half of its bearers pass: of other long numbers, one in ten passes
    Luhn's by chance, and one in a hundred the IBAN's.
    """
    formed, valid = match_forms(values, kind)
    return np.zeros_like(valid) if is_chance(kind, valid.sum(), formed.sum()) else valid


def match_forms(values: Any, kind: str) -> tuple[Array, Array]:
    """Which texts hold a piece of the kind's form, and which one that is also valid: booleans, shape (values,)."""
    text = to_arrow(values)
    formed, valid = np.zeros((2, len(text)), dtype=bool)
    if not pc.any(pc.match_substring_regex(text, BARE_FORMS[kind])).as_py():  # spares most the slower framed pattern
        return formed, valid
    places = np.arange(len(text))
    for _ in range(PIECES):
        pieces = find_pieces(text, kind)
        found = pc.is_valid(pieces)
        places, pieces, text = (places[np.asarray(found)], pieces.filter(found), text.filter(found))
        if not len(places):
            break
        formed[places] = True
        valid[places] |= check_pieces(pieces, kind)
        text = pc.replace_substring_regex(text, frame_form(kind), " ", max_replacements=1)
    return formed, valid


def check_pieces(pieces: pa.Array, kind: str) -> Array:
    """Which pieces that have the kind's form are also valid: booleans."""
    if kind == "card":
        return check_luhn(pc.replace_substring_regex(pieces, "[^0-9]", ""))
    if kind == "IBAN":
        return check_iban(pc.replace_substring(pieces, " ", ""))
    if kind == "phone":
        digits = np.asarray(pc.utf8_length(pc.replace_substring_regex(pieces, "[^0-9]", "")))
        return (digits >= 8) & (digits <= 15)  # ITU-T E.164 allows 15
    return np.ones(len(pieces), dtype=bool)


def to_letters(text: Any, width: int) -> Array:
    """ASCII texts as a matrix of codes, uint8 (texts, width), filled with 0 on the right."""
    fixed = np.array(to_arrow(text).to_pylist(), dtype=f"S{width}")
    return fixed.view(np.uint8).reshape(len(fixed), width)


def check_luhn(digits: Any) -> Array:
    """Which strings of digits, up to 19 long, pass Luhn's test (ISO/IEC 7812-1, annex B): booleans (strings,)."""
    padded = pc.utf8_lpad(to_arrow(digits), 19, "0")
    values = to_letters(padded, 19).astype(np.int64) - ord("0")
    values[:, -2::-2] *= 2
    values[values > 9] -= 9
    return np.asarray(values.sum(axis=1) % 10 == 0)


def check_iban(texts: Any) -> Array:
    """Which texts of capitals and digits are 15 to 34 long and leave 1 modulo 97, as IBANs do (ISO 13616, ISO 7064)."""
    letters = to_letters(texts, 34)
    length = (letters > 0).sum(axis=1)
    remainder = np.zeros(len(letters), dtype=np.int64)
    for place in [*range(4, 34), *range(4)]:  # the country and the check digits go last
        code = letters[:, place].astype(np.int64)
        letter = code >= ord("A")
        value = np.where(letter, code - ord("A") + 10, code - ord("0"))
        remainder = np.where(code > 0, (remainder * np.where(letter, 100, 10) + value) % 97, remainder)
    whole = np.asarray(pc.utf8_length(to_arrow(texts))) <= 34
    return np.asarray((remainder == 1) & (length >= 15) & whole)


def mask_text(text: str) -> str:
    """The shape of a text and nothing else: each letter as x, each digit as 9."""
    return re.sub(r"[^\W\d_]", "x", re.sub(r"\d", "9", text))


def plan_protection(columns: Mapping[str, Column], findings: list[Finding]) -> Protection:
    """What becomes of the columns declared as personal or ignored, and of those in which something was found."""
    dropped = [name for name, column in columns.items() if column.role is Role.IGNORED]
    pseudonymised = []
    for name, column in columns.items():
        decisions = {finding.decision for finding in findings if finding.column == name}
        if column.role is Role.PII:
            decisions.add(column.pii)
        if "drop" in decisions:
            dropped.append(name)
        elif "pseudonymise" in decisions:
            pseudonymised.append(name)
    whole = {*dropped, *pseudonymised}
    blotted = [
        (name, tuple(finding.kind for finding in findings if finding.column == name))
        for name in columns
        if name not in whole and any(finding.column == name for finding in findings)
    ]
    return Protection(tuple(name for name in columns if name in dropped), tuple(pseudonymised), tuple(blotted))


def read_key() -> bytes:
    """The key of the pseudonyms, from the environment; raises ProjectError when it is not there or too short."""
    key = os.environ.get(KEY_VARIABLE, "")
    if len(key) < KEY_LENGTH:
        problem = f"has {len(key)} characters" if key else "is not set"
        raise ProjectError(
            f"The environment variable {KEY_VARIABLE} {problem}: columns are to be pseudonymised, which needs a secret "
            f"of at least {KEY_LENGTH} characters (the same secret gives the same pseudonyms)."
        )
    return key.encode()


def protect_table(raw: pd.DataFrame, protection: Protection) -> pd.DataFrame:
    """A part of the raw table without personal data: what every later step reads.

    Raises ProjectError when a column is to be pseudonymised and the key is not in the environment.
    """
    safe = raw.drop(columns=[name for name in protection.dropped if name in raw])
    changed = {name: blot_out(safe[name], kinds) for name, kinds in protection.blotted if is_words(safe[name])}
    if protection.pseudonymised:
        key = read_key()
        changed |= {name: pseudonymise(safe[name], key) for name in protection.pseudonymised}
    return safe.assign(**changed)


def pseudonymise(column: Series, key: bytes) -> Series:
    """HMAC-SHA256 (RFC 2104) of each value's text under the key, 64 hexadecimal digits; missing stays missing."""

    def sign(values: Series) -> Series:
        texts = values.astype("str")
        return pd.Series([hmac.digest(key, text.encode(), "sha256").hex() for text in texts], dtype="str")

    return map_distinct(column, sign)


def blot_out(column: Series, kinds: tuple[str, ...]) -> Series:
    """Replace each piece of personal data of the kinds by its kind in brackets: `write to [e-mail]`."""

    def blot(values: Series) -> Series:
        text = to_arrow(values)
        for kind in kinds:
            hit = pa.array(recognise(text, kind))
            clean = text
            for _ in range(2):  # two neighbours share the space between them
                clean = pc.replace_substring_regex(clean, frame_form(kind), rf"\1[{kind}]\3")
            text = pc.if_else(hit, clean, text)
        return pd.Series(text.to_pandas(), dtype="str")

    return map_distinct(column, blot)


def narrow_columns(columns: Mapping[str, Column], protection: Protection) -> dict[str, Column]:
    """The columns that are left to check; pseudonymised ones are text of which only the presence is checked."""
    plain = {"dtype": "string", "values": None, "min": None, "max": None}
    return {
        name: column.model_copy(update=plain) if name in protection.pseudonymised else column
        for name, column in columns.items()
        if name not in protection.dropped
    }
