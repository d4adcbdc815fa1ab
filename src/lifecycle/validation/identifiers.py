"""Recognise a whole column of telephone numbers, national identifiers, payment cards, account numbers, or network addresses.

Digits alone could be anything. A column counts when its name says what it holds and the values agree, or when the values pass
a check so much more often than the same values with other digits that chance does not explain it.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from itertools import islice

import numpy as np

from lifecycle.validation.names import NameKind, classify_name

_CHECKED = 300  # distinct values of a column that are checked
_PROBED = 20  # of these, which must not already be too few that pass
_FEWEST = 5  # distinct values, below which nothing is said
_LEAST_VALUES = 20  # distinct values without which the name must say what they are
_LEAST_PHONES = 50  # distinct telephone numbers in digits alone, without a name
_LEAST_PREFIXES = 30  # of their first digits, as numbers of a series have few
_FORMED = 0.5  # share of a column's cells that must have the form
_NAMED = 0.9  # the same where no check supports the name
_VALID = 0.95  # share of these that must pass the check
_SUPPORTED = 0.5  # the same where the name says so
_EVIDENCE = 20.0  # logarithm of the odds against chance
_PUNCTUATION = re.compile(r"[\s().,/\-\u2010-\u2015]+")
_DATE = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_LIKELY = re.compile(r"(?:[0-9].*){4}|:.*:")
_ACCOUNT = re.compile(r"[A-Z]{0,4}[0-9]{6}[0-9A-Z]{0,15}")
_MAC = re.compile(r"(?i)(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}")
_CARD = re.compile(r"(?:4\d|5[1-5]|2[2-7]|3[04-8]|6\d)\d{11,17}")
_PHONE = re.compile(r"\+?[0-9]{7,15}")
_UNLIKE_PHONE = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}(?:[ T].*)?|\d+[.,]\d+")  # dates and decimal fractions
_TIMES = {NameKind.TIME, NameKind.OTHER_TIME}
_OTHER_NUMBERS = {NameKind.IDENTIFIER, NameKind.CODE, NameKind.QUANTITY, NameKind.PAYMENT, NameKind.NATIONAL_ID}
# Where national telephone numbers are looked up, besides numbers with a country code.
_REGIONS = (
    "US", "GB", "DE", "FR", "ES", "IT", "PT", "NL", "BE", "AT", "CH", "PL", "SE", "DK", "NO", "FI", "CZ", "TR", "IE", "BR",
    "MX", "AR", "CL", "CO", "IN", "AU", "NZ", "ZA", "JP", "CN",
)  # fmt: skip


@dataclass(frozen=True)
class Identifier:
    """A kind of identifier of persons: the form of a cell without punctuation, and the module of python-stdnum that checks it.

    `width` is the number of digits, as numbers have lost leading zeros (0 with letters); `named` marks a check that
    so many other numbers pass that the column's name must support it.
    """

    kind: str
    form: str
    module: str = ""
    width: int = 0
    named: bool = False

    def check(self, text: str) -> bool:
        """Return whether a text has the form and passes the check."""
        return bool(re.fullmatch(self.form, _compact(text))) and _load_check(self.module)(text)


IDENTIFIERS = (
    Identifier("SSN", r"\d{9}", "us.ssn", 9, named=True),
    Identifier("Canadian SIN", r"\d{9}", "ca.sin", 9, named=True),
    Identifier("Mexican CURP", r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[0-9A-Z]\d", "mx.curp"),
    Identifier("Brazilian CPF", r"\d{11}", "br.cpf", 11),
    Identifier("Argentinian CUIT", r"\d{11}", "ar.cuit", 11),
    Identifier("Chilean RUT", r"\d{7,8}[0-9K]", "cl.rut", named=True),
    Identifier("UK national insurance number", r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]"),
    Identifier("UK NHS number", r"\d{10}", "gb.nhs", 10, named=True),
    Identifier("Irish PPS number", r"\d{7}[A-W][A-IW]?", "ie.pps"),
    Identifier("German tax id", r"[1-9]\d{10}", "de.idnr", 11),
    Identifier("Austrian social insurance number", r"\d{10}", "at.vnr", 10),
    Identifier("Swiss AHV number", r"756\d{10}", "ch.ssn", 13),
    Identifier("French NIR", r"[1-8]\d{5}[0-9AB]\d{8}", "fr.nir", 15),
    Identifier("French tax number", r"[0-3]\d{12}", "fr.nif", 13, named=True),
    Identifier("Spanish DNI", r"\d{8}[A-Z]", "es.dni"),
    Identifier("Spanish NIE", r"[XYZ]\d{7}[A-Z]", "es.nie"),
    Identifier("Portuguese NIF", r"\d{9}", "pt.nif", 9, named=True),
    Identifier(
        "Italian codice fiscale",
        r"[A-Z]{6}[0-9L-NP-V]{2}[A-Z][0-9L-NP-V]{2}[A-Z][0-9L-NP-V]{3}[A-Z]",
        "it.codicefiscale",
    ),
    Identifier("Dutch BSN", r"\d{9}", "nl.bsn", 9, named=True),
    Identifier("Belgian national number", r"\d{11}", "be.nn", 11),
    Identifier("Polish PESEL", r"\d{11}", "pl.pesel", 11),
    Identifier("Czech or Slovak birth number", r"\d{10}", "cz.rc", 10),
    Identifier("Swedish personal number", r"(?:19|20)?\d{6}\+?\d{4}", "se.personnummer", 10),
    Identifier("Norwegian birth number", r"\d{11}", "no.fodselsnummer", 11),
    Identifier("Danish CPR number", r"\d{10}", "dk.cpr", 10, named=True),
    Identifier("Finnish personal identity code", r"\d{6}[+A-FU-Y]?\d{3}[0-9A-Y]", "fi.hetu"),
    Identifier("Icelandic kennitala", r"\d{10}", "is_.kennitala", 10),
    Identifier("Estonian personal code", r"\d{11}", "ee.ik", 11),
    Identifier("Lithuanian personal code", r"\d{11}", "lt.asmens", 11),
    Identifier("Romanian CNP", r"\d{13}", "ro.cnp", 13),
    Identifier("Bulgarian EGN", r"\d{10}", "bg.egn", 10),
    Identifier("Croatian OIB", r"\d{11}", "hr.oib", 11, named=True),
    Identifier("Greek AMKA", r"\d{11}", "gr.amka", 11),
    Identifier("Turkish TC number", r"[1-9]\d{10}", "tr.tckimlik", 11),
    Identifier("Israeli identity number", r"\d{9}", "il.idnr", 9, named=True),
    Identifier("Russian INN", r"\d{12}", "ru.inn", 12),
    Identifier("Indian Aadhaar number", r"[2-9]\d{11}", "in_.aadhaar", 12),
    Identifier("Indian PAN", r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]", "in_.pan"),
    Identifier("Chinese identity number", r"\d{17}[0-9X]", "cn.ric", 18),
    Identifier("Japanese My Number", r"\d{12}", "jp.in_", 12, named=True),
    Identifier("Korean RRN", r"\d{13}", "kr.rrn", 13),
    Identifier("Thai identity number", r"[1-8]\d{12}", "th.pin", 13, named=True),
    Identifier("Malaysian NRIC", r"\d{12}", "my.nric", 12, named=True),
    Identifier("Indonesian NIK", r"\d{16}", "id.nik", 16, named=True),
    Identifier("South African identity number", r"\d{13}", "za.idnr", 13),
    Identifier("Australian TFN", r"\d{8,9}", "au.tfn", 9, named=True),
    Identifier("European VAT number", r"[A-Z]{2}[0-9A-Z+*]{8,12}", "eu.vat"),
    Identifier("IMEI", r"\d{15}", "imei", 15, named=True),
)


@dataclass(frozen=True)
class Match:
    """What a column holds: its kind, the share of the present cells and an example."""

    kind: str
    share: float
    example: str


def recognise_column(name: str, cells: Sequence[str], *, numeric: bool = False, trusted: bool = True) -> Match | None:
    """Return what kind of personal data a column holds, from a sample of its present cells; None when nothing proves it.

    `numeric` columns have whole numbers, written in digits without leading zeros. A name that says national or account
    number is `trusted` for different long numbers without a check that they pass.
    """
    counts = Counter(text for cell in cells if (text := cell.strip()))
    likely = sum(count for text, count in counts.items() if _LIKELY.search(text))
    if len(counts) < _FEWEST or likely < _FORMED * counts.total():
        return None
    column = _Column(counts, {text: _compact(text) for text in counts}, classify_name(name), numeric)
    searches = (_find_network, _find_cards, _find_ids, _find_phones)
    matches = [match for search in searches for match in search(column)]
    if matches:
        return max(matches, key=lambda match: match.share)
    return _trust_name(column) if trusted else None


@dataclass(frozen=True)
class _Column:
    """A column's distinct texts with their counts and without punctuation, what its name says, and whether it has numbers."""

    counts: Counter[str]
    compact: dict[str, str]
    name: frozenset[NameKind]
    numeric: bool

    def choose(self, chosen: Callable[[str], object]) -> tuple[list[str], float]:
        """Return the distinct texts that are chosen, and their share of the cells."""
        found = [text for text in self.counts if chosen(text)]
        return found, sum(self.counts[text] for text in found) / self.counts.total()


def _prove(formed: Sequence[str], check: Callable[[str], bool], *, supported: bool) -> float:
    """Return the share of distinct texts that pass a check; 0 when chance explains it.

    A name that says so is evidence (`supported`): half of them are enough.
    """
    tested = formed[:_CHECKED]
    probe = tested[:_PROBED]
    if not probe or sum(map(check, probe)) < _SUPPORTED * len(probe):
        return 0.0
    share = sum(map(check, tested)) / len(tested)
    if supported:
        return share
    if share < _VALID or len(formed) < _LEAST_VALUES:
        return 0.0
    chance = (sum(map(check, _scramble(tested))) + 1) / (len(tested) + 2)
    return share if len(tested) * _diverge(share, chance) > _EVIDENCE else 0.0


def _diverge(share: float, chance: float) -> float:
    """Return the logarithm of the odds against a share by chance, per value (Chernoff's bound); 0 for one below chance."""
    if share <= chance:
        return 0.0
    others = (1 - share) * math.log((1 - share) / (1 - chance)) if share < 1 else 0.0
    return share * math.log(share / chance) + others


def _scramble(texts: Sequence[str]) -> Iterator[str]:
    """Yield the texts with other digits and letters between what all have in common at the start and the end."""
    random = np.random.default_rng(0)
    start = _count_common(texts)
    end = _count_common([text[start:][::-1] for text in texts])
    for text in texts:
        inner = text[start : len(text) - end]
        digits, letters = random.integers(0, 10, len(inner)), random.integers(0, 26, len(inner))
        changed = (
            str(digit) if old.isdigit() else chr(65 + letter) if old.isalpha() else old
            for old, digit, letter in zip(inner, digits, letters, strict=True)
        )
        yield text[:start] + "".join(changed) + text[len(text) - end :]


def _count_common(texts: Sequence[str]) -> int:
    """Return how many characters all texts begin with."""
    first, last = min(texts), max(texts)
    return next((place for place, letter in enumerate(first) if letter != last[place]), len(first))


# Network addresses.


def _find_network(column: _Column) -> Iterator[Match]:
    """Yield a match of MAC addresses, or of IP addresses other than versions such as 1.2.3.4."""
    found, share = column.choose(_MAC.fullmatch)
    if share >= _NAMED:
        yield Match("MAC address", share, found[0])
    found, share = column.choose(_is_ip)
    _, large = column.choose(lambda text: ":" in text or any(len(part) == 3 for part in text.split(".")))
    if share >= _NAMED and (large >= _FORMED or NameKind.PERSONAL in column.name):
        yield Match("IP address", share, found[0])


def _is_ip(text: str) -> bool:
    """Return whether a text is an IPv4 or IPv6 address."""
    if text.count(".") != 3 and ":" not in text:
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


# Identifiers with a check.


def _find_cards(column: _Column) -> Iterator[Match]:
    """Yield a match of payment cards."""
    formed, share = column.choose(lambda text: _CARD.fullmatch(column.compact[text]))
    if share >= _FORMED:
        digits = [column.compact[text] for text in formed]
        if valid := _prove(digits, _load_check("luhn"), supported=False):
            yield Match("card", share * valid, formed[0])


def _find_ids(column: _Column) -> Iterator[Match]:
    """Yield a match of each kind of national identifier that the column's values agree with."""
    supported = NameKind.NATIONAL_ID in column.name
    for identifier in IDENTIFIERS:
        if identifier.named and not supported:
            continue
        form = re.compile(identifier.form)
        padded = {text: _pad(text, identifier.width) for text in column.counts} if column.numeric else column.compact
        if not any(form.fullmatch(padded[text]) for text in islice(column.counts, _PROBED)):
            continue
        formed, share = column.choose(lambda text, form=form, padded=padded: form.fullmatch(padded[text]))  # type: ignore[misc]
        values = [padded[text] for text in formed] if column.numeric else formed
        if share >= _FORMED and (valid := _prove(values, identifier.check, supported=supported)):
            yield Match(identifier.kind, share * valid, formed[0])


def _pad(digits: str, width: int) -> str:
    """Restore the leading zeros that a number has lost, of which there are at most two."""
    return digits.zfill(width) if len(digits) >= width - 2 else digits


def _compact(text: str) -> str:
    """Return a text without punctuation, in capitals."""
    return _PUNCTUATION.sub("", text).upper()


@cache
def _load_check(module: str) -> Callable[[str], bool]:
    """Return the check of a module of python-stdnum; without one, every text passes."""
    if not module:
        return lambda text: True
    is_valid = import_module(f"stdnum.{module}").is_valid

    def check(text: str) -> bool:
        try:
            return bool(is_valid(text))
        except (LookupError, ValueError):  # stdnum's tables of places have gaps
            return False

    return check


# Telephone numbers.


def _find_phones(column: _Column) -> Iterator[Match]:
    """Yield a match of telephone numbers: those of a column that is named so, international ones, or those of one region."""
    numbers = {text: number for text in column.counts if (number := _read_phone(text, column.compact[text]))}
    found, share = column.choose(numbers.__contains__)
    if share < _FORMED or column.name & _TIMES or sum(map(_is_date, numbers.values())) >= _FORMED * len(numbers):
        return
    if NameKind.PHONE in column.name:
        yield Match("phone", share, found[0])
    elif not column.name & _OTHER_NUMBERS and (valid := _prove_phones(column, list(numbers.values()))):
        yield Match("phone", share * valid, found[0])


def _read_phone(text: str, compact: str) -> str:
    """Return the digits of a telephone number, after + if it has a country code; empty for another text."""
    compact = "+" + compact[2:] if compact.startswith("00") else compact
    return compact if _PHONE.fullmatch(compact) and not _UNLIKE_PHONE.fullmatch(text) else ""


def _is_date(digits: str) -> bool:
    """Return whether digits begin with a date such as 20240131."""
    return bool(_DATE.match(digits))


def _prove_phones(column: _Column, numbers: list[str]) -> float:
    """Return the share of valid numbers in a column whose name does not say telephone; 0 when it could be something else.

    All begin with a country code, or they are different numbers of one region with a leading zero.
    """
    if len(numbers) < _LEAST_PHONES or len({number.lstrip("+")[:6] for number in numbers}) < _LEAST_PREFIXES:
        return 0.0
    if not all(number.startswith("0") for number in numbers):
        return _prove(
            ["+" + number.lstrip("+") for number in numbers], partial(_is_phone, region=None), supported=False
        )
    if len(numbers) < _NAMED * column.counts.total() or not {len(number) for number in numbers} <= {10, 11}:
        return 0.0
    shares = (_prove(numbers, partial(_is_phone, region=region), supported=False) for region in _REGIONS)
    return next(filter(None, shares), 0.0)


def _is_phone(number: str, region: str | None) -> bool:
    """Return whether a telephone number is valid in a region, or anywhere for one with a country code."""
    import phonenumbers

    try:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(number, region)))
    except phonenumbers.NumberParseException:
        return False


def is_dialled(number: str) -> bool:
    """Return whether a number with + has as many digits as numbers of its country code have."""
    import phonenumbers

    try:
        reason = phonenumbers.is_possible_number_with_reason(phonenumbers.parse(number, None))
    except phonenumbers.NumberParseException:
        return False
    return bool(reason == phonenumbers.ValidationResult.IS_POSSIBLE)


# The name alone.


def _trust_name(column: _Column) -> Match | None:
    """Return what the name alone says of long numbers of which most occur once."""
    kind = next((kind for kind in (NameKind.NATIONAL_ID, NameKind.PAYMENT) if kind in column.name), None)
    if kind is None or len(column.counts) < max(_LEAST_VALUES, _FORMED * column.counts.total()):
        return None
    found, share = column.choose(lambda text: _ACCOUNT.fullmatch(column.compact[text]))
    label = "national id" if kind is NameKind.NATIONAL_ID else "account number"
    return Match(label, share, found[0]) if share >= _NAMED else None
