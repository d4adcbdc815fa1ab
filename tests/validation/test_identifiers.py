"""Which columns hold telephone numbers, national ids, cards or addresses, and which only look like it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from importlib import import_module
from random import Random

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.validation.identifiers import IDENTIFIERS, recognise_column

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
random = Random(12)  # noqa: S311  for test data


def digits(length: int, start: str = "") -> str:
    return start + "".join(random.choice("0123456789") for _ in range(length - len(start)))


def moment(form: str, first: int = 2005, last: int = 2024) -> str:
    day = dt.datetime(random.randint(first, last), random.randint(1, 12), random.randint(1, 28), tzinfo=dt.UTC)
    return (day + dt.timedelta(seconds=random.randrange(86_400))).strftime(form)


def born(form: str = "%y%m%d") -> str:
    return moment(form, 1940, 1999)


def checked(length: int, start: str, weigh: Callable[[int, int], int], modulus: int) -> str:
    """Digits of which the weighted sum is a multiple, the place counted from the right."""
    while True:
        text = digits(length, start)
        if sum(weigh(place, int(digit)) for place, digit in enumerate(reversed(text))) % modulus == 0:
            return text


def gtin(length: int, start: str = "") -> str:
    return checked(length, start, lambda place, digit: digit * (3 if place % 2 else 1), 10)


def luhn(length: int, start: str = "") -> str:
    return checked(length, start, lambda place, digit: sum(divmod(digit * (1 + place % 2), 10)), 10)


def valid(module: str, draw: Callable[[], str]) -> Callable[[], str]:
    """Return a function that draws until python-stdnum finds a text valid."""
    check = import_module(f"stdnum.{module}").is_valid

    def find() -> str:
        while not check(text := draw()):
            pass
        return text

    return find


def national(region: str, draw: Callable[[], str]) -> Callable[[], str]:
    """Return a function that draws until a number is valid in a region."""

    def find() -> str:
        while not is_phone(text := draw(), region):
            pass
        return text

    return find


def is_phone(text: str, region: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text, region))
    except phonenumbers.NumberParseException:
        return False


count = iter(range(1, 10**9))
ORDINARY: dict[str, Callable[[], str]] = {
    **{f"digits_{length}": lambda length=length: digits(length) for length in range(6, 20)},
    **{f"padded_{length}": lambda length=length: str(next(count)).zfill(length) for length in range(8, 16)},
    "price": lambda: f"{random.gammavariate(2, 100):.2f}",
    "money": lambda: f"{random.randrange(10**6):,}.{random.randrange(100):02d}",
    "euro": lambda: f"{random.randrange(1000)}.{random.randrange(1000):03d},{random.randrange(100):02d} €",
    "order": lambda: str(4_500_000_000 + 7 * next(count)),
    "order_dash": lambda: f"{digits(3)}-{digits(7)}-{digits(7)}",
    "series": lambda: str(4_000_000_000_000_000 + next(count)),
    "hundreds": lambda: str(100_000_000 + 100 * next(count)),
    "elevens": lambda: str(1_000_000_000 + 11 * next(count)),
    "customer_id": lambda: digits(10, "0"),
    "member_no": lambda: digits(11, "07"),
    "policy": lambda: digits(10, "01"),
    "day": lambda: moment("%Y%m%d"),
    "day_text": lambda: moment("%d/%m/%Y"),
    "day_german": lambda: moment("%d.%m.%Y %H:%M"),
    "contact": lambda: moment("%d/%m/%Y"),
    "contact_day": lambda: moment("%Y%m%d"),
    "minute": lambda: moment("%Y%m%d%H%M", 2010, 2012),
    "minute_short": lambda: moment("%d%m%y%H%M"),
    "second": lambda: moment("%Y%m%d%H%M%S"),
    "iso": lambda: moment("%Y-%m-%dT%H:%M:%S"),
    "clock": lambda: moment("%H:%M:%S"),
    "epoch": lambda: str(random.randrange(1_000_000_000, 1_800_000_000)),
    "epoch_ms": lambda: str(random.randrange(1_000_000_000_000, 1_800_000_000_000)),
    "epoch_us": lambda: str(random.randrange(1_000_000_000_000_000, 1_800_000_000_000_000)),
    "zip": lambda: digits(5),
    "zip_plus": lambda: f"{digits(5)}-{digits(4)}",
    "ean": lambda: gtin(13),
    "ean_german": lambda: gtin(13, "40"),
    "upc": lambda: gtin(12),
    "ean_short": lambda: gtin(8),
    "gtin": lambda: gtin(14),
    "isbn": lambda: gtin(13, "978"),
    "isbn_old": lambda: checked(10, "3", lambda place, digit: (place + 1) * digit, 11),
    "siren": lambda: luhn(9),
    "siret": lambda: luhn(14),
    "latitude": lambda: f"{random.uniform(47, 55):.6f}",
    "longitude": lambda: f"{random.uniform(-180, 180):.8f}",
    "point": lambda: f"{random.uniform(47, 55):.4f}, {random.uniform(5, 15):.4f}",
    "version": lambda: ".".join(str(random.randrange(40)) for _ in range(4)),
    "sku": lambda: f"AB{digits(6)}C",
    "sku_short": lambda: f"{random.choice(['AB', 'CE', 'SK'])}-{digits(6)}",
    "hex": lambda: f"{random.getrandbits(48):012x}",
    "uuid": lambda: f"{random.getrandbits(128):032x}",
    "tracking": lambda: f"1Z{digits(16)}",
    "score": lambda: f"{random.random():.10f}",
    "plus": lambda: f"+{random.random():.3f}",
    "range": lambda: f"{random.randrange(100, 1000)}-{random.randrange(1000, 2000)}",
    "icd": lambda: f"{random.choice(LETTERS)}{digits(2)}.{digits(1)}",
    "flight": lambda: f"LH{digits(4)}",
    "subnet": lambda: f"10.0.0.{random.randrange(5)}",
    "few_phones": lambda: random.choice(["0171 1234567", "030 1234567"]),
}
NUMBERS: dict[str, Callable[[], int]] = {
    "population": lambda: int(10 ** random.uniform(5, 9)),
    "traffic": lambda: int(10 ** random.uniform(6, 12)),
    "salary": lambda: random.randrange(10**6, 10**8),
    "balance": lambda: random.randrange(10**7, 10**11),
    "key": lambda: random.randrange(10**9, 10**10),
    "number": lambda: random.randrange(10**11, 10**12),
    "serial": lambda: 447_000_000_000 + 3 * next(count),
    "serial_german": lambda: 491_500_000_000 + 37 * next(count),
    "day": lambda: int(moment("%Y%m%d")),
    "minute": lambda: int(moment("%Y%m%d%H%M")),
    "epoch": lambda: random.randrange(1_000_000_000, 1_800_000_000),
}
PERSONAL: dict[tuple[str, str], Callable[[], str]] = {
    ("phone", "kontakt2"): lambda: digits(11, "07"),
    ("phone", "Tel."): lambda: f"0{digits(3, '1')}/{digits(6)}",
    ("phone", "mobile"): lambda: digits(10, "555"),
    ("phone", "handy_nr"): lambda: f"0049 {digits(11, '17')}",
    ("phone", "x"): national("GB", lambda: digits(11, "07")),
    ("phone", "y"): national("FR", lambda: digits(10, "0")),
    ("phone", "z"): national("DE", lambda: digits(11, "0")),
    ("phone", "w"): national("AU", lambda: digits(10, "0")),
    ("phone", "v"): lambda: national("DE", lambda: digits(13, "+49"))()[1:],
    ("SSN", "ssn"): valid("us.ssn", lambda: digits(9)),
    ("Canadian SIN", "SIN"): valid("ca.sin", lambda: digits(9)),
    ("Brazilian CPF", "x"): valid("br.cpf", lambda: digits(11)),
    ("UK NHS number", "nhs_number"): valid("gb.nhs", lambda: digits(10)),
    ("UK national insurance number", "x"): lambda: f"{random.choice(['AB', 'CE', 'JK'])} {digits(6)} {random.choice('ABCD')}",
    ("German tax id", "x"): valid("de.idnr", lambda: digits(11)),
    ("Swiss AHV number", "x"): lambda: gtin(13, "756"),
    ("French NIR", "x"): valid("fr.nir", lambda: f"{random.choice('12')}{born()[:4]}75{digits(8)}"),
    ("Spanish DNI", "x"): valid("es.dni", lambda: digits(8) + random.choice(LETTERS)),
    ("Spanish NIE", "x"): valid("es.nie", lambda: random.choice("XYZ") + digits(7) + random.choice(LETTERS)),
    ("Portuguese NIF", "nif"): valid("pt.nif", lambda: digits(9, "2")),
    ("Italian codice fiscale", "x"): valid(
        "it.codicefiscale",
        lambda: "".join(random.choice(LETTERS) for _ in range(6)) + digits(2) + "H" + f"{random.randint(1, 28):02d}H501"
        + random.choice(LETTERS),
    ),
    ("Dutch BSN", "bsn"): valid("nl.bsn", lambda: digits(9)),
    ("Belgian national number", "x"): valid("be.nn", lambda: born() + digits(5)),
    ("Polish PESEL", "x"): valid("pl.pesel", lambda: born() + digits(5)),
    ("Czech or Slovak birth number", "x"): valid("cz.rc", lambda: born() + digits(4)),
    ("Swedish personal number", "x"): valid("se.personnummer", lambda: f"{born()}-{digits(4)}"),
    ("Norwegian birth number", "x"): valid("no.fodselsnummer", lambda: born("%d%m%y") + digits(5)),
    ("Danish CPR number", "cpr_nr"): valid("dk.cpr", lambda: born("%d%m%y") + digits(4)),
    ("Finnish personal identity code", "x"): valid(
        "fi.hetu", lambda: f"{born('%d%m%y')}-{digits(3)}{random.choice('0123456789ABCDEFHJKLMNPRSTUVWXY')}"
    ),
    ("Turkish TC number", "x"): valid("tr.tckimlik", lambda: digits(11)),
    ("Indian Aadhaar number", "x"): valid("in_.aadhaar", lambda: digits(12)),
    ("Chinese identity number", "x"): valid("cn.ric", lambda: f"110105{born('%Y%m%d')}{digits(3)}{random.choice('0123456789X')}"),
    ("South African identity number", "x"): valid("za.idnr", lambda: born() + digits(7)),
    ("Australian TFN", "tfn"): valid("au.tfn", lambda: digits(9)),
    ("European VAT number", "x"): valid("eu.vat", lambda: f"DE{digits(9)}"),
    ("card", "x"): lambda: luhn(16, "4"),
    ("national id", "passport_no"): lambda: f"C{digits(8)}",
    ("account number", "Kontonummer"): lambda: digits(8),
    ("IP address", "x"): lambda: ".".join(str(random.randrange(256)) for _ in range(4)),
    ("IP address", "ip"): lambda: f"10.0.{random.randrange(90)}.{random.randrange(90)}",
    ("IP address", "six"): lambda: f"2001:db8::{random.getrandbits(16):x}:{random.getrandbits(16):x}",
    ("MAC address", "x"): lambda: ":".join(f"{random.getrandbits(8):02X}" for _ in range(6)),
}  # fmt: skip


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_texts_are_not_personal(name: str) -> None:
    for rows in (60, 1000):
        assert recognise_column(name, [ORDINARY[name]() for _ in range(rows)]) is None


@pytest.mark.parametrize("name", NUMBERS)
def test_ordinary_numbers_are_not_personal(name: str) -> None:
    for rows in (60, 1000):
        assert recognise_column(name, [str(NUMBERS[name]()) for _ in range(rows)], numeric=True) is None


@pytest.mark.parametrize(("kind", "name"), PERSONAL)
def test_personal_columns_are_recognised(kind: str, name: str) -> None:
    texts = [PERSONAL[kind, name]() for _ in range(150)]
    match = recognise_column(name, [*texts, "", " "])
    assert match is not None
    assert (match.kind, match.share) == (kind, pytest.approx(1, abs=0.05))
    assert match.example in texts


@pytest.mark.parametrize(
    ("kind", "name", "draw"),
    [
        ("phone", "tel", lambda: digits(11, "07")),
        ("SSN", "ssn", valid("us.ssn", lambda: digits(9, "0"))),
        ("Polish PESEL", "x", valid("pl.pesel", lambda: f"0{digits(1)}{random.choice(['21', '32'])}{digits(7)}")),
        ("card", "x", lambda: luhn(16, "51")),
    ],
)
def test_numbers_that_lost_their_leading_zeros_are_recognised(kind: str, name: str, draw: Callable[[], str]) -> None:
    match = recognise_column(name, [str(int(draw())) for _ in range(150)], numeric=True)
    assert match is not None
    assert match.kind == kind


def test_most_cells_must_agree() -> None:
    phones, words = [digits(11, "07") for _ in range(100)], [f"unknown {place}" for place in range(400)]
    assert recognise_column("phone", [*phones, *words[:50]]) is not None
    assert recognise_column("phone", [*phones, *words[:150]]) is None
    assert recognise_column("phone", phones[:4] * 30) is None


def test_the_name_of_an_identifier_is_not_trusted_alone() -> None:
    accounts = [digits(8) for _ in range(100)]
    assert recognise_column("account_number", accounts, trusted=False) is None
    assert recognise_column("account_number", accounts[:30] * 4) is None  # accounts of a ledger repeat


@settings(deadline=None, max_examples=40)
@given(st.integers(5, 19), st.integers(0, 10**6), st.sampled_from(["", "0", "1", "2", "12", "44", "49", "99"]))
def test_random_digits_are_not_personal(length: int, seed: int, start: str) -> None:
    source = Random(seed)  # noqa: S311  for test data
    texts = [start + "".join(source.choice("0123456789") for _ in range(length - len(start))) for _ in range(200)]
    assert recognise_column("x", texts) is None


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=30), st.booleans())
def test_any_column_can_be_looked_at(name: str, texts: list[str], numeric: bool) -> None:
    recognise_column(name, texts, numeric=numeric)


def test_every_check_exists() -> None:
    for identifier in IDENTIFIERS:
        if identifier.module:
            assert callable(import_module(f"stdnum.{identifier.module}").is_valid)
