"""Find personal data by the content of cells, and drop, pseudonymise or redact it before later steps read it.

A form and a checksum identify e-mail addresses, telephone numbers, payment cards, IBANs and US social security numbers in
any text. Whole columns of numbers and codes are recognised from a sample of their rows, with the column's name as evidence
(see `identifiers`). Names and postal addresses have no such form: the contract must declare them (role pii).
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
from lifecycle.core.parsing import join_chunks
from lifecycle.core.tables import set_columns
from lifecycle.validation.conversion import is_words, map_distinct
from lifecycle.validation.identifiers import is_dialled, recognise_column
from lifecycle.validation.sampling import Tally, count_distinct, scramble

Series: TypeAlias = "pd.Series[Any]"
Array = np.ndarray[Any, Any]
_Decision = Literal["drop", "pseudonymise", "redact"]
Policy = Literal["drop", "pseudonymise", "stop"]

_KEY_VARIABLE = "LIFECYCLE_PII_KEY"
_KEY_LENGTH = 16  # characters at least: with a short key, a telephone number could be found by trial
_LEAST_SHARE = 0.01  # share of a column's cells that look personal, from which the whole column counts as personal
_LEAST_DISTINCT = 5  # or this many different values
_SAMPLE = 1000  # rows in which whole columns are recognised
_CELLS = 1 << 22  # of this sample at most
LEAST_NUMBER = 10**6  # the least number that could identify a person: telephone numbers have seven digits
_SIGNED = re.compile(r"\s*\+[0-9]+\s*")
_CHECKED = 200  # of them
_TOGETHER = 1 << 16  # cells that are searched at once
_NO_TEXTS: Series = pd.Series([], dtype="str")
_PIECES = 3  # matches of one kind that are checked in a cell, as a valid one may follow an invalid one

# Characters that must not precede or follow a match, as it would be part of something longer. A full stop may end a sentence.
_BEFORE = r"(?:^|[^A-Za-z0-9_.+-])"
_AFTER = r"(?:$|[^A-Za-z0-9_.-]|\.(?:$|[^A-Za-z0-9]))"
# Any letter of any script, as a negated class: compiling Unicode's classes takes fifty times as long.
_LOCAL = r"[^\x00-\x24\x26-\x2a,/\x3a-\x40\x5b-\x5e`\x7b-\x7f]+"  # leaves % + - . _
_LABEL = r"[^\x00-\x2c\x2e\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+"  # leaves -
_ENDING = r"[^\x00-\x40\x5b-\x60\x7b-\x7f]{2,}"
_FORMS = {
    "e-mail": f"{_LOCAL}@(?:{_LABEL}\\.)+{_ENDING}",
    "card": r"(?:4\d{3}|5[1-5]\d{2}|2[2-7]\d{2}|3[04-8]\d{2}|6\d{3})[ -]?\d{4}[ -]?\d{4}[ -]?\d{1,7}"
    r"|3[47]\d{2}[ -]\d{6}[ -]\d{5}",
    "IBAN": r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?",
    "SSN": r"(?:00[1-9]|0[1-9]\d|[1-57-8]\d\d|6[0-57-9]\d|66[0-57-9])-(?:0[1-9]|[1-9]\d)"
    r"-(?:\d{3}[1-9]|\d{2}[1-9]0|\d[1-9]00|[1-9]000)",
    # with a country code; North American; with a trunk zero. Plain digits could be anything.
    "phone": r"\+[1-9]\d{0,2}(?:[ -]?\(?\d{1,4}\)?){2,6}"
    r"|(?:1[-. ])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-. ])[2-9]\d{2}[-. ]\d{4}"
    r"|0[1-9]\d{1,3}[ /-]\d{3,4}[ -]?\d{3,5}|0[1-9](?:[ .]\d{2}){4}",
}
BARE_FORMS = _FORMS | {"e-mail": "@"}
_ANY_FORM = "|".join(f"(?:{form})" for form in BARE_FORMS.values())


@dataclass(frozen=True)
class Finding:
    """Cells of one column that look like one kind of personal data; `example` is masked."""

    column: str
    kind: str
    cells: int
    distinct: int
    share: float  # of the column's present cells
    example: str
    decision: _Decision


@dataclass(frozen=True)
class Protection:
    """What happens to whole columns, and to single cells of the others (column: kinds)."""

    dropped: tuple[str, ...] = ()
    pseudonymised: tuple[str, ...] = ()
    redacted: tuple[tuple[str, tuple[str, ...]], ...] = ()


def find_personal(
    parts: Iterable[pd.DataFrame], columns: Mapping[str, Column], policy: Policy = "drop"
) -> list[Finding]:
    """Search the columns that the contract does not declare as personal, nor as only looking so (`pii: keep`).

    The raw table comes in parts. A column in which 1 % of the cells or five different values look personal is dropped or
    pseudonymised, according to `policy`; a column of numbers is dropped, as a pseudonym is text. In other columns, and
    when the contract lists a column's values or has a text's terms learned, single cells are redacted. A column that only `identifiers` recognises is
    judged by a sample of 1,000 rows, and its number of cells is estimated. The result does not depend on the parts.
    """
    settled = (Role.PII, Role.IGNORED)
    searched = {name: each for name, each in columns.items() if each.role not in settled and each.pii != "keep"}
    searches: dict[str, _Search] = {}
    sample = _Sample(min(_SAMPLE, _CELLS // max(len(searched), 1)))
    for part in parts:
        names = [name for name in searched if name in part]
        searches |= {name: _Search(searched[name]) for name in names if name not in searches}
        together = max(1, _TOGETHER // max(len(part), 1))
        for start in range(0, len(names), together):
            _search_columns({name: searches[name] for name in names[start : start + together]}, part)
        sample.add(part, list(searches))
    return [
        finding
        for name, search in searches.items()
        for finding in search.list_findings(name, policy, sample.rows[name])
    ]


def _search_columns(searches: Mapping[str, _Search], part: pd.DataFrame) -> None:
    """Search some columns of a part at once: to compile the pattern takes longer than to match it in a short column."""
    texts, counts = zip(*(search.read(part[name]) for name, search in searches.items()), strict=True)
    near = np.asarray(pc.match_substring_regex(pa.concat_arrays([_to_arrow(each) for each in texts]), _ANY_FORM))
    stops = np.cumsum([len(each) for each in texts])
    for (name, search), text, count, mask in zip(
        searches.items(), texts, counts, np.split(near, stops[:-1]), strict=True
    ):
        if mask.any():
            search.count(text[mask], count[mask], part[name])


class _Sample:
    """Some rows of a table, chosen by a hash of their position so that they do not depend on how the table is cut."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows = pd.DataFrame()

    def add(self, part: pd.DataFrame, names: list[str]) -> None:
        """Add the rows of a part whose hashes are among the smallest so far, in the columns of these names."""
        hashes = scramble(part.index.to_numpy().astype(np.uint64))
        full = len(self.rows) == self.size
        least = np.flatnonzero(hashes < self.rows.index[-1]) if full else np.arange(len(hashes))
        if len(least) > self.size:
            least = least[np.argpartition(hashes[least], self.size - 1)[: self.size]]
        chosen = part.iloc[least][names].set_axis(hashes[least])
        words = {str(name): chosen[name].astype("str") for name in chosen if is_words(chosen[name])}
        self.rows = pd.concat([self.rows, set_columns(chosen, words)]).sort_index().head(self.size)


class _Search:
    """Counts what looks personal in a raw column, by kind, from parts."""

    def __init__(self, column: Column) -> None:
        self.column = column
        self.listed = [str(value) for value in column.values or ()]  # declared by the contract
        self.cells = 0
        self.personal = dict.fromkeys(_FORMS, 0)  # cells
        self.formed = {kind: Tally() for kind in _FORMS}
        self.valid = {kind: Tally() for kind in _FORMS}
        self.examples: dict[str, str] = {}

    def read(self, raw: Series) -> tuple[Series, Array]:
        """Return the texts of a part to search, and how often each occurs: distinct ones when they are known; none of numbers."""
        if not is_words(raw):
            self.cells += int(raw.count())
            return _NO_TEXTS, np.zeros(0, dtype=np.int64)
        texts, counts = _count_texts(raw)
        if self.listed:
            open_to = ~texts.isin(self.listed).to_numpy()
            texts, counts = texts[open_to], counts[open_to]
        self.cells += int(counts.sum())
        return texts, counts

    def count(self, texts: Series, counts: Array, raw: Series) -> None:
        """Count the personal texts of a part, each as often as it occurs."""
        for kind in _FORMS:
            formed, valid = _match_forms(texts, kind)
            self.formed[kind].add(texts[formed], counts[formed])
            self.valid[kind].add(texts[valid], counts[valid])
            self.personal[kind] += int(counts[valid].sum())
            if valid.any() and kind not in self.examples:
                first = raw[raw.astype("str").isin(texts[valid])].astype("str").iloc[:1]
                self.examples[kind] = mask_text(_find_pieces(_to_arrow(first), kind)[0].as_py())

    def list_findings(self, name: str, policy: Policy, sample: Series) -> list[Finding]:
        """List the findings in the column of this name, by kind; a column that is kept may be recognised as a whole."""
        findings = []
        for kind, cells in self.personal.items():
            share, distinct = cells / max(self.cells, 1), self.valid[kind].distinct
            if cells and not _is_chance(kind, distinct, self.formed[kind].distinct) and not self.is_signed(kind):
                text = self.column.terms > 0 and policy != "stop"  # some of many people's texts have an address in them
                decision = "redact" if text else _decide(self.column, share, distinct, policy)
                findings.append(Finding(name, kind, cells, distinct, share, self.examples[kind], decision))
        if all(finding.decision == "redact" for finding in findings) and (
            whole := self.recognise(name, policy, sample)
        ):
            return [whole]
        return findings

    def is_signed(self, kind: str) -> bool:
        """Return whether what looks like telephone numbers are numbers with a sign, of no country's length."""
        values = self.valid[kind].values if kind == "phone" else None
        texts = [] if values is None else values[:_CHECKED].tolist()
        if not texts or not all(_SIGNED.fullmatch(text) for text in texts):
            return False
        return 2 * sum(is_dialled(text.strip()) for text in texts) < len(texts)

    def recognise(self, name: str, policy: Policy, sample: Series) -> Finding | None:
        """Return the finding that all of the column is personal, from a sample of its rows."""
        if self.column.values is not None or self.column.dtype in ("bool", "datetime"):
            return None
        texts, numeric = _write_cells(sample), not is_words(sample)
        match = recognise_column(name, texts, numeric=numeric, trusted=self.column.role is not Role.ID)
        if match is None:
            return None
        share, distinct = match.share * len(texts) / int(sample.count()), len(set(texts))
        decision = _decide(self.column, share, distinct, policy)
        return Finding(name, match.kind, round(share * self.cells), distinct, share, mask_text(match.example), decision)


def _write_cells(raw: Series) -> list[str]:
    """Write the present cells of a column as text; numbers only when most are whole and have at least seven digits."""
    present = raw.dropna()
    if is_words(raw):
        return present.tolist()
    if not (pd.api.types.is_numeric_dtype(raw) and present.dtype.kind in "if"):
        return []
    whole = present[(present >= LEAST_NUMBER) & (present % 1 == 0) & (present < 2.0**63)]
    if 2 * len(whole) < len(present):
        return []
    return whole.astype("int64").astype("str").tolist()


def _count_texts(raw: Series) -> tuple[Series, Array]:
    """Return a column's texts and how often each occurs, int64: distinct texts of categories, else the text of each cell."""
    if isinstance(raw.dtype, pd.CategoricalDtype):
        return count_distinct(raw)
    present = raw.dropna()
    return present, np.ones(len(present), dtype=np.int64)


def _is_chance(kind: str, valid: int, formed: int) -> bool:
    """Return whether so few matches pass the checksum that those which do may be chance."""
    return kind in ("card", "IBAN") and 2 * valid < formed


def _decide(column: Column, share: float, distinct: int, policy: Policy) -> _Decision:
    """Decide what happens to a column or its cells, by how much of it looks personal."""
    if column.values is not None or (share < _LEAST_SHARE and distinct < _LEAST_DISTINCT):
        return "redact"
    text = column.dtype == "string" and not column.terms  # a pseudonym has no words
    return "pseudonymise" if policy == "pseudonymise" and text else "drop"


def _frame_form(kind: str) -> str:
    """Return the pattern (RE2) of a match of the kind that is not part of something longer."""
    return f"(?P<before>{_BEFORE})(?P<piece>{_FORMS[kind]})(?P<after>{_AFTER})"


def _find_pieces(text: pa.Array, kind: str) -> pa.Array:
    """Return the first match of the kind's form in each text, null without one."""
    found = pc.extract_regex(text, _frame_form(kind))
    return pc.if_else(pc.is_valid(found), pc.struct_field(found, "piece"), None)


def _to_arrow(values: Any) -> pa.Array:
    """Convert text to one Arrow array of strings."""
    return join_chunks(pa.array(values, type=pa.string()))


def _recognise(values: Any, kind: str) -> Array:
    """Return which texts hold personal data of the kind: booleans, shape (values,).

    A form with a checksum counts only when at least half of the matches pass it: of other long numbers, one in ten passes
    Luhn's test by chance, and one in a hundred the IBAN's.
    """
    formed, valid = _match_forms(values, kind)
    return np.zeros_like(valid) if _is_chance(kind, valid.sum(), formed.sum()) else valid


def _match_forms(values: Any, kind: str) -> tuple[Array, Array]:
    """Return which texts match the kind's form, and which also pass its checksum: booleans, shape (values,)."""
    text = _to_arrow(values)
    formed, valid = np.zeros((2, len(text)), dtype=bool)
    if not pc.any(
        pc.match_substring_regex(text, BARE_FORMS[kind])
    ).as_py():  # most texts do not need the slower framed pattern
        return formed, valid
    places = np.arange(len(text))
    for _ in range(_PIECES):
        pieces = _find_pieces(text, kind)
        found = pc.is_valid(pieces)
        places, pieces, text = (places[np.asarray(found)], pieces.filter(found), text.filter(found))
        if not len(places):
            break
        formed[places] = True
        valid[places] |= _check_pieces(pieces, kind)
        text = pc.replace_substring_regex(text, _frame_form(kind), " ", max_replacements=1)
    return formed, valid


def _check_pieces(pieces: pa.Array, kind: str) -> Array:
    """Return which matches also pass the kind's checksum: booleans."""
    if kind == "card":
        return _check_luhn(pc.replace_substring_regex(pieces, "[^0-9]", ""))
    if kind == "IBAN":
        return _check_iban(pc.replace_substring(pieces, " ", ""))
    if kind == "phone":
        digits = np.asarray(pc.utf8_length(pc.replace_substring_regex(pieces, "[^0-9]", "")))
        return (digits >= 8) & (digits <= 15)  # ITU-T E.164 allows 15
    return np.ones(len(pieces), dtype=bool)


def _to_letters(text: Any, width: int) -> Array:
    """Convert ASCII texts to a matrix of codes, uint8 (texts, width), padded with 0 on the right."""
    fixed = np.array(_to_arrow(text).to_pylist(), dtype=f"S{width}")
    return fixed.view(np.uint8).reshape(len(fixed), width)


def _check_luhn(digits: Any) -> Array:
    """Return which strings of up to 19 digits pass Luhn's test (ISO/IEC 7812-1, annex B): booleans (strings,)."""
    padded = pc.utf8_lpad(_to_arrow(digits), 19, "0")
    values = _to_letters(padded, 19).astype(np.int64) - ord("0")
    values[:, -2::-2] *= 2
    values[values > 9] -= 9
    return np.asarray(values.sum(axis=1) % 10 == 0)


def _check_iban(texts: Any) -> Array:
    """Return which texts of 15 to 34 capitals and digits leave 1 modulo 97, as IBANs do (ISO 13616, ISO 7064)."""
    letters = _to_letters(texts, 34)
    length = (letters > 0).sum(axis=1)
    remainder = np.zeros(len(letters), dtype=np.int64)
    for place in [*range(4, 34), *range(4)]:  # the country and the check digits are moved to the end
        code = letters[:, place].astype(np.int64)
        letter = code >= ord("A")
        value = np.where(letter, code - ord("A") + 10, code - ord("0"))
        remainder = np.where(code > 0, (remainder * np.where(letter, 100, 10) + value) % 97, remainder)
    whole = np.asarray(pc.utf8_length(_to_arrow(texts))) <= 34
    return np.asarray((remainder == 1) & (length >= 15) & whole)


def mask_text(text: str) -> str:
    """Return the shape of a text: each letter as x, each digit as 9."""
    return re.sub(r"[^\W\d_]", "x", re.sub(r"\d", "9", text))


def plan_protection(columns: Mapping[str, Column], findings: list[Finding]) -> Protection:
    """Plan what happens to columns declared as personal or ignored, and to columns with findings."""
    dropped = [name for name, column in columns.items() if column.role is Role.IGNORED]
    pseudonymised = []
    for name, column in columns.items():
        decisions = {finding.decision for finding in findings if finding.column == name}
        if column.role is Role.PII:
            decisions.add("pseudonymise" if column.pii == "pseudonymise" else "drop")
        if "drop" in decisions:
            dropped.append(name)
        elif "pseudonymise" in decisions:
            pseudonymised.append(name)
    whole = {*dropped, *pseudonymised}
    redacted = [
        (name, tuple(finding.kind for finding in findings if finding.column == name))
        for name in columns
        if name not in whole and any(finding.column == name for finding in findings)
    ]
    return Protection(tuple(name for name in columns if name in dropped), tuple(pseudonymised), tuple(redacted))


def _read_key() -> bytes:
    """Read the key of the pseudonyms from the environment; raise ProjectError when it is missing or too short."""
    key = os.environ.get(_KEY_VARIABLE, "")
    if len(key) < _KEY_LENGTH:
        problem = f"has {len(key)} characters" if key else "is not set"
        raise ProjectError(
            f"The environment variable {_KEY_VARIABLE} {problem}: pseudonymising columns needs a secret "
            f"of at least {_KEY_LENGTH} characters (the same secret gives the same pseudonyms)."
        )
    return key.encode()


def protect_table(raw: pd.DataFrame, protection: Protection) -> pd.DataFrame:
    """Remove personal data from a part of the raw table; every later step reads the result.

    Raises ProjectError when a column is to be pseudonymised and the key is not in the environment.
    """
    safe = raw.drop(columns=[name for name in protection.dropped if name in raw])
    changed = {name: _redact(safe[name], kinds) for name, kinds in protection.redacted if is_words(safe[name])}
    if protection.pseudonymised:
        key = _read_key()
        changed |= {name: _pseudonymise(safe[name], key) for name in protection.pseudonymised}
    return set_columns(safe, changed)


def _pseudonymise(column: Series, key: bytes) -> Series:
    """Replace each value by the HMAC-SHA256 (RFC 2104) of its text under the key, 64 hexadecimal digits; missing stays missing."""

    def sign(values: Series) -> Series:
        texts = values.astype("str")
        return pd.Series([hmac.digest(key, text.encode(), "sha256").hex() for text in texts], dtype="str")

    return map_distinct(column, sign)


def _redact(column: Series, kinds: tuple[str, ...]) -> Series:
    """Replace each match of the kinds by its kind in brackets: `write to [e-mail]`."""

    def blot(values: Series) -> Series:
        text = _to_arrow(values)
        for kind in kinds:
            hit = pa.array(_recognise(text, kind))
            clean = text
            for _ in range(2):  # two neighbouring matches share the space between them
                clean = pc.replace_substring_regex(clean, _frame_form(kind), rf"\1[{kind}]\3")
            text = pc.if_else(hit, clean, text)
        return pd.Series(text.to_pandas(), dtype="str")

    return map_distinct(column, blot)


def narrow_columns(columns: Mapping[str, Column], protection: Protection) -> dict[str, Column]:
    """Return the columns that are left to check; in pseudonymised ones only missing values are checked."""
    plain = {"dtype": "string", "values": None, "min": None, "max": None}
    return {
        name: column.model_copy(update=plain) if name in protection.pseudonymised else column
        for name, column in columns.items()
        if name not in protection.dropped
    }
