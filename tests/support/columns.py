"""Columns as people have them: made values, the text in which a locale and a habit write them, and the name above them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal

import numpy as np

Generator = np.random.Generator
Judge = Literal["number", "percent", "time", "clock", "truth", "words", "identity", "personal"]


@dataclass(frozen=True)
class Locale:
    """How a country writes numbers and dates: marks, money around a number, and the order of day and month."""

    name: str
    decimal: str
    thousands: str
    money: tuple[str, ...]
    days: tuple[str, ...]


LOCALES = (
    Locale("us", ".", ",", ("${}", "US$ {}", "USD {}"), ("%m/%d/%Y", "%m/%d/%y", "%-m/%-d/%Y", "%m-%d-%Y")),
    Locale("gb", ".", ",", ("£{}", "{} GBP"), ("%d/%m/%Y", "%d/%m/%y", "%d-%m-%Y", "%d %b %Y")),
    Locale("de", ",", ".", ("{} €", "{}€", "EUR {}", "{} EUR"), ("%d.%m.%Y", "%d.%m.%y", "%-d.%-m.%Y")),
    Locale("fr", ",", " ", ("{} €", "{} EUR"), ("%d/%m/%Y", "%d/%m/%y", "%d-%m-%Y")),
    Locale("fr-narrow", ",", "\u202f", ("{}\u00a0€", "{} EUR"), ("%d/%m/%Y", "%d/%m/%y")),
    Locale("ch", ".", "'", ("CHF {}", "Fr. {}"), ("%d.%m.%Y", "%d.%m.%y", "%-d.%-m.%Y")),
)


@dataclass(frozen=True)
class Column:
    """A made column.

    kind: what it is. names: what a person might call it. judge: how what was read is compared with it. texts: its cells
    as text. truth: what they mean. native: the same as values of Python for formats with types, None where only text makes sense;
    the three are None where a value is missing. mark: the text that stands for a missing one ("": blank). exactness: the
    relative error of a number that its type allows.
    """

    kind: str
    names: tuple[str, ...]
    judge: Judge
    texts: Sequence[str | None]
    truth: Sequence[Any]
    native: Sequence[Any] | None = None
    mark: str = ""
    exactness: float = 1e-12

    @property
    def cells(self) -> list[str]:
        """Its cells as they stand in a file of text."""
        return [self.mark if text is None else text for text in self.texts]


Make = Callable[[Generator, int, Locale], Column]


# Numbers.


def write_number(value: Decimal | int, locale: Locale, *, grouped: bool) -> str:
    """Write a number as a locale does, with or without marks between thousands."""
    plain = f"{value:,f}" if grouped else f"{value:f}"
    return plain.translate({ord("."): locale.decimal, ord(","): locale.thousands})


def _draw_decimals(rng: Generator, rows: int, most: float, digits: int, *, signed: bool = False) -> list[Decimal]:
    """Draw numbers with so many digits after the point; of every third column only a dozen different ones."""
    values = rng.gamma(1.5, most / 6, rows)
    if rng.random() < 1 / 3:
        values = rng.choice(values[:12], rows)
    if signed:
        values = values * rng.choice([-1, 1], rows)
    return [Decimal(f"{value:.{digits}f}") for value in values]


def _make_number(kind: str, values: Sequence[Any], texts: Sequence[str], **more: Any) -> Column:
    names = ("amount", "betrag", "price", "x", "Umsatz", "montant", "value", "Salario", "messwert")
    made = Column(kind, names, "number", texts, values, [float(value) for value in values])
    return replace(made, **more)


def make_integer(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make whole numbers that repeat, with and without signs."""
    low, high = ((0, 500), (-50, 50), (18, 95), (0, 12), (1, 40_000))[rng.integers(5)]
    values = [int(value) for value in rng.integers(low, high, rows)]
    return _make_number("integer", values, list(map(str, values)), native=values)


def make_year(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make years, which are numbers."""
    values = [int(value) for value in rng.integers(1990, 2025, rows)]
    return _make_number(
        "year", values, list(map(str, values)), native=values, names=("year_built", "baujahr", "vintage")
    )


def make_float(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make numbers with a decimal mark: a point or a comma."""
    values = _draw_decimals(rng, rows, 900, int(rng.integers(1, 5)), signed=rng.random() < 0.5)
    texts = [write_number(value, locale, grouped=False) for value in values]
    return _make_number("decimal comma" if locale.decimal == "," else "decimal point", values, texts)


def make_exact(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make numbers as programs write them: all digits, some with an exponent."""
    values = [float(value) for value in rng.normal(size=rows) * 10.0 ** rng.integers(-9, 12, rows)]
    return _make_number("all digits", values, list(map(repr, values)))


def make_padded(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make numbers of a fixed width, padded with blanks, some with a plus."""
    values = _draw_decimals(rng, rows, 900, 2, signed=True)
    sign = "+" if rng.random() < 0.5 else ""
    texts = [f"{f'{value:{sign}f}':>12}".replace(".", locale.decimal) for value in values]
    return _make_number("padded", values, texts)


def make_grouped(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make numbers with marks between thousands, with and without digits after the decimal mark."""
    digits = int(rng.integers(0, 3))
    values = _draw_decimals(rng, rows, 90_000, digits, signed=rng.random() < 0.3)
    texts = [write_number(value, locale, grouped=True) for value in values]
    return _make_number("thousands" if digits else "thousands, whole", values, texts)


def make_money(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make amounts with their currency."""
    pattern = str(rng.choice(locale.money))
    grouped = bool(rng.random() < 0.7)
    values = _draw_decimals(rng, rows, 20_000, int(rng.choice([0, 2])))
    texts = [pattern.format(write_number(value, locale, grouped=grouped)) for value in values]
    return _make_number("currency", values, texts)


def make_percent(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make percentages; whether 12.5 % is read as 12.5 or as 0.125 is a matter of taste."""
    values = [value.min(Decimal(100)) for value in _draw_decimals(rng, rows, 80, int(rng.integers(0, 3)))]
    space = str(rng.choice(["", " ", "\u00a0"]))
    texts = [f"{write_number(value, locale, grouped=False)}{space}%" for value in values]
    names = ("rate", "anteil", "share", "discount")
    return _make_number("percent", values, texts, judge="percent", names=names, native=None)


def make_ledger(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make amounts whose sign stands at the end, or whose negative ones are in parentheses."""
    values = _draw_decimals(rng, rows, 9000, 2, signed=True)
    bare = [write_number(abs(value), locale, grouped=True) for value in values]
    if rng.random() < 0.5:
        texts = [f"{text}-" if value < 0 else text for text, value in zip(bare, values, strict=True)]
        return _make_number("trailing minus", values, texts, native=None, names=("saldo", "balance"))
    texts = [f"({text})" if value < 0 else text for text, value in zip(bare, values, strict=True)]
    return _make_number("parentheses", values, texts, native=None, names=("profit", "balance", "ergebnis"))


def make_half(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make numbers of two or four bytes, as devices have them."""
    kind = (np.float16, np.float32)[rng.integers(2)]
    values = list(rng.normal(20, 5, rows).astype(kind))
    texts = [write_number(Decimal(str(value)), locale, grouped=False) for value in values]
    return _make_number(kind.__name__, [float(value) for value in values], texts, native=values, exactness=1e-3)


# Identifiers and codes.


def _make_identity(kind: str, values: Sequence[Any], names: tuple[str, ...], *, numbers: bool = False) -> Column:
    texts = list(map(str, values))
    return Column(kind, names, "identity", texts, texts, values if numbers else None)


def make_wide_id(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make ids that a float cannot hold: beyond 2^53, 2^63 or 2^64, each once or a few times."""
    least, kind = ((2**53, "id beyond 2^53"), (2**63, "id beyond 2^63"), (10**22, "id beyond 2^64"))[rng.integers(3)]
    start = least + int(rng.integers(1000, 10**9))
    places = rng.permutation(rows) if rng.random() < 0.5 else rng.integers(0, rows // 2, rows)
    return _make_identity(
        kind, [start + int(place) for place in places], ("order_id", "kunde_id", "account", "x_id"), numbers=True
    )


def make_gapped_id(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make unique whole numbers with gaps, named like ids."""
    values = [int(value) for value in rng.choice(10**6, rows, replace=False) + 10**6]
    return _make_identity("id with gaps", values, ("customer_id", "kundennummer", "id", "account_no", "userId"), numbers=True)  # fmt: skip


def make_padded_id(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make customer numbers of eight digits with leading zeros."""
    values = [f"{value:08d}" for value in rng.choice(10**5, rows, replace=False)]
    return _make_identity("id with leading zeros", values, ("kundennr", "customer", "client_number", "konto"))


def make_random_id(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make ids of letters and digits, UUIDs among them."""
    raw = [rng.bytes(16).hex() for _ in range(rows)]
    forms: tuple[Callable[[str], str], ...] = (
        lambda text: f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}",
        lambda text: text[:12],
        lambda text: f"C{int(text[:8], 16)}",
    )
    form = forms[rng.integers(3)]
    return _make_identity("id of letters and digits", list(map(form, raw)), ("id", "key", "uuid", "vorgang"))


def _make_words(kind: str, values: Sequence[str], names: tuple[str, ...]) -> Column:
    return Column(kind, names, "words", values, values, values)


def make_zip(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make codes with leading zeros: postal and county codes, and codes that differ by their zeros alone."""
    places = rng.integers(1, 99_999, int(rng.choice([30, 150])))
    codes = [[f"{place:05d}" for place in places], ["007", "07", "7", "012", "12"]][rng.integers(2)]
    return _make_words("leading zeros", [str(code) for code in rng.choice(codes, rows)], ("zip", "plz", "fips", "code"))


def make_exponent_code(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make codes that a reader may take for numbers: 4E12, 0x1F, 1_000, inf, nan, 3.10."""
    sets = (["4E12", "4E11", "2E5", "7E01"], ["0x1F", "0x2A", "0x10"], ["1_000", "2_000", "10_00"],
            ["inf", "nan", "infinity", "Nan"], ["3.10", "3.1", "3.9", "3.11"], ["1.0.2", "1.0.10", "2.1.0"],
            ["12-15", "1-5", "3-4"], ["1/2", "3/4", "5/6"], ["1:2", "3:10"], ["٣", "٤", "٥"], ["½", "²", "3"])  # fmt: skip
    return _make_words(
        "codes like numbers",
        [str(word) for word in rng.choice(sets[rng.integers(len(sets))], rows)],
        ("article", "version", "typ", "grade"),
    )


# Times.

_START, _SPAN = datetime.fromisoformat("2015-01-01"), 3600 * 24 * 365 * 9
_EXCEL, _UNIX = datetime.fromisoformat("1899-12-30"), datetime.fromisoformat("1970-01-01")


def _draw_moments(rng: Generator, rows: int, step: int) -> list[datetime]:
    """Draw moments of nine years, in whole steps of so many seconds."""
    return [_START + timedelta(seconds=int(value) // step * step) for value in rng.integers(0, _SPAN, rows)]


def _make_time(kind: str, moments: Sequence[datetime], texts: Sequence[str], *, native: Sequence[Any] | None) -> Column:
    names = ("order_date", "datum", "created_at", "timestamp", "zeitpunkt", "signup_date", "eventTime")
    return Column(kind, names, "time", texts, list(moments), native)


_MONTH_NAMES = ("%d-%b-%y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%a, %d %b %Y", "%d/%b/%Y")
_ISO = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d")
_CLOCKS = (" %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S")


def make_day(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make dates in the locale's order, with month names, or in ISO's."""
    kinds = (("date of the locale", locale.days), ("date with month names", _MONTH_NAMES), ("date, year first", _ISO))
    kind, forms = kinds[rng.integers(3)]
    form = str(rng.choice(forms))
    moments = _draw_moments(rng, rows, 86400)
    kind += ", two-digit year" if "%y" in form else ", unpadded" if "%-" in form else ""
    return _make_time(kind, moments, [f"{moment:{form}}" for moment in moments], native=[m.date() for m in moments])


def make_early_day(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make dates whose order of day and month at most two cells show: all others are of the first to the twelfth day."""
    form, late = locale.days[0], int(rng.integers(0, 3))
    days = [28 if row < late else int(day) for row, day in enumerate(rng.integers(1, 13, rows))]
    moments = [moment.replace(day=day) for moment, day in zip(_draw_moments(rng, rows, 86400), days, strict=True)]
    return _make_time("date, few days above 12", moments, [f"{moment:{form}}" for moment in moments], native=None)


def make_moment(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make dates with a time of day, in 24 or 12 hours."""
    clock = str(rng.choice(_CLOCKS))
    form = str(rng.choice(locale.days if clock[0] == " " else _ISO[:1]))
    moments = _draw_moments(rng, rows, 1 if "%S" in clock else 60)
    kind = "time, AM and PM" if "%p" in clock else "time"
    return _make_time(kind, moments, [f"{moment:{form}{clock}}" for moment in moments], native=moments)


def make_iso_moment(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make moments in ISO 8601: with fractions, offsets, Z, and in the basic form."""
    moments = _draw_moments(rng, rows, 1)
    offset = timezone(timedelta(hours=int(rng.integers(-8, 9))))
    fine = [moment + timedelta(milliseconds=place % 1000) for place, moment in enumerate(moments)]
    forms: tuple[tuple[str, Sequence[datetime], Callable[[datetime], str]], ...] = (
        ("ISO with fractions", fine, lambda moment: moment.isoformat(" ", "milliseconds")),
        ("ISO with Z", moments, lambda moment: f"{moment.isoformat()}Z"),
        ("ISO with an offset", moments, lambda moment: moment.replace(tzinfo=UTC).astimezone(offset).isoformat()),
        ("ISO basic", moments, lambda moment: f"{moment:%Y%m%dT%H%M%SZ}"),
        ("ISO basic without zone", moments, lambda moment: f"{moment:%Y%m%dT%H%M%S}"),
        ("yyyymmddHHMMSS", moments, lambda moment: f"{moment:%Y%m%d%H%M%S}"),
    )
    kind, values, write = forms[rng.integers(len(forms))]
    return _make_time(kind, values, list(map(write, values)), native=values if kind.startswith("ISO ") else None)


def make_epoch(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make times since 1970, in s, ms, µs, ns, or seconds with fractions."""
    moments = _draw_moments(rng, rows, 1)
    kind, factor = (("s", 1), ("ms", 1000), ("µs", 10**6), ("ns", 10**9), ("s with fractions", 1))[rng.integers(5)]
    seconds = [int((moment - _UNIX).total_seconds()) for moment in moments]
    if "fractions" in kind:
        moments = [moment + timedelta(milliseconds=250) for moment in moments]
        texts = [f"{value}.25" for value in seconds]
        native: list[Any] = [value + 0.25 for value in seconds]
    else:
        native = [value * factor for value in seconds]
        texts = list(map(str, native))
    return _make_time(f"epoch, {kind}", moments, texts, native=native)


def make_month(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make months: 202401, 2024-01, 01/2024, Jan 2024."""
    form = str(rng.choice(["%Y%m", "%Y-%m", "%m/%Y", "%b %Y", "%b-%y"]))
    moments = [moment.replace(day=1) for moment in _draw_moments(rng, rows, 86400)]
    made = _make_time(f"month, {form}", moments, [f"{moment:{form}}" for moment in moments], native=None)
    return replace(made, names=("period", "month", "monat", "billing_month"))


def make_serial(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make Excel's serial days, under the name of a date."""
    moments = _draw_moments(rng, rows, 86400)
    days = [(moment - _EXCEL).days for moment in moments]
    return _make_time("Excel's serial day", moments, list(map(str, days)), native=days)


def make_clock(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make times of day."""
    form = str(rng.choice(["%H:%M", "%H:%M:%S", "%I:%M %p"]))
    values = [time(int(value) // 60, int(value) % 60) for value in rng.integers(0, 1440, rows)]
    texts = [f"{value:{form}}" for value in values]
    return Column("clock time", ("start_time", "uhrzeit", "opened"), "clock", texts, values, values)


# Words.

_PLACES = ("Zürich", "Genève", "Köln", "Málaga", "London", "Paris", "Ystad", "Åre", "Brașov", "Łódź", "München")
_PAIRS = (("no", "yes"), ("nein", "ja"), ("non", "oui"), ("no", "sí"), ("false", "true"), ("FALSE", "TRUE"), ("N", "Y"),
          ("f", "t"), ("off", "on"), ("0", "1"), ("falsch", "wahr"), ("N", "J"), ("nej", "ja"))  # fmt: skip


def make_truth(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make booleans in the words of several languages."""
    pair = _PAIRS[rng.integers(len(_PAIRS))]
    values = [bool(value) for value in rng.random(rows) < 0.4]
    return Column("boolean", ("flag", "aktiv", "is_member", "b"), "truth", [pair[value] for value in values], values, values)  # fmt: skip


def make_category(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make categories: of letters, with accents, blanks, and the marks of a file's dialect."""
    sets = (["basic", "plus", "pro"], ["A", "B", "C", "D"], _PLACES, ["Yes", "No", "Maybe"], ["a, b", "a; b", 'a "b"'],
            ["one\ttwo", "it's", "x|y"], ["< 10", "10 - 20", "> 20"], ["true", "false", "maybe"], ["#1", "@x", "~", ": a"])  # fmt: skip
    chosen = sets[rng.integers(len(sets))]
    names = ("plan", "stadt", "kategorie", "c", "größe", "self", "state")
    return _make_words("category", [str(word) for word in rng.choice(chosen, rows)], names)


def make_null_words(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make categories one of which is a word that many readers take for a missing value."""
    word = str(rng.choice(["NA", "None", "NULL", "null", "nan", "N/A", "n/a", "none", "-", "?"]))
    others = ["NC", "NE", "NL", "garage"][: int(rng.integers(2, 5))]
    return _make_words(
        "category with NA, None, NULL",
        [str(value) for value in rng.choice([word, *others], rows)],
        ("country", "garage", "land", "typ"),
    )


def make_prose(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make free text with commas, quotes and, in half of the columns, line ends."""
    words = ["the", "router", "failed,", "again;", '"really"', "größer", "called | back", "no answer.", "50%", "it's"]
    joint = "\n" if rng.random() < 0.5 else " "
    values = [f"{' '.join(rng.choice(words, int(rng.integers(4, 12))))}{joint}ticket {row}" for row in range(rows)]
    return _make_words("free text", values, ("notes", "bemerkung", "comment"))


# Personal data.


def _make_personal(kind: str, values: Sequence[str], names: tuple[str, ...]) -> Column:
    return Column(kind, names, "personal", values, values, values)


def make_email(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make addresses of e-mail."""
    values = [f"user{value}@example.{end}" for value, end in zip(rng.integers(0, 10**6, rows), rng.choice(["org", "com"], rows), strict=True)]  # fmt: skip
    return _make_personal("email", values, ("email", "mail", "kontakt", "c"))


def make_phone(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make telephone numbers: international, national with a zero, and with punctuation."""
    tails = [f"{value:06d}" for value in rng.integers(0, 10**6, rows)]
    forms: tuple[tuple[str, Callable[[str], str], tuple[str, ...]], ...] = (
        ("phone, international", lambda tail: f"+447785{tail}", ("phone", "c", "kontakt")),
        ("phone, international with blanks", lambda tail: f"+49 30 1{tail[:3]} {tail[3:]}", ("telefon", "tel", "c")),
        ("phone, national", lambda tail: f"07785{tail}", ("phone", "mobile", "telefon", "kontakt2")),
        ("phone, with parentheses", lambda tail: f"(212) 55{tail[0]}-{tail[1:5]}", ("phone", "contact", "c")),
        ("phone, digits alone", lambda tail: f"212555{tail[1:5]}", ("phone_number", "telephone", "cell_phone")),
    )
    kind, write, names = forms[rng.integers(len(forms))]
    return _make_personal(kind, list(map(write, tails)), names)


def make_iban(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make IBANs whose check digits are right, in one piece or in blocks of four."""
    country, width = (("DE", 18), ("CH", 17), ("FR", 23))[rng.integers(3)]
    bodies = ["".join(map(str, rng.integers(0, 10, width))) for _ in range(rows)]
    letters = "".join(str(ord(letter) - 55) for letter in country)
    ibans = [f"{country}{98 - int(f'{body}{letters}00') % 97:02d}{body}" for body in bodies]
    if rng.random() < 0.5:
        ibans = [" ".join(iban[place : place + 4] for place in range(0, len(iban), 4)) for iban in ibans]
    return _make_personal("IBAN", ibans, ("iban", "konto", "account", "c"))


def make_social_number(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make social security numbers, with and without hyphens, under a name that says so."""
    parts = [(int(a), int(b), int(c)) for a, b, c in zip(rng.integers(1, 660, rows), rng.integers(1, 99, rows), rng.integers(1, 9999, rows), strict=True)]  # fmt: skip
    joint = str(rng.choice(["-", ""]))
    return _make_personal("social security number", [f"{a:03d}{joint}{b:02d}{joint}{c:04d}" for a, b, c in parts], ("ssn", "social_security_number"))  # fmt: skip


def make_card(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make numbers of payment cards whose last digit is right."""

    def close(body: str) -> str:
        doubled = [int(digit) * (2 - place % 2) for place, digit in enumerate(body)]
        return f"{body}{-sum(value // 10 + value % 10 for value in doubled) % 10}"

    values = [close("4539" + "".join(map(str, rng.integers(0, 10, 11)))) for _ in range(rows)]
    return _make_personal("payment card", values, ("card_number", "kreditkarte", "pan", "credit_card"))


def make_person(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make people's names, under a name that says so in one of several languages."""
    first, last = ["Anna", "Jürgen", "Chloé", "Tom", "María"], ["Meier", "Dupont", "Smith", "García", "Rossi"]
    values = [f"{rng.choice(first)} {rng.choice(last)}{chr(97 + row % 26)}{chr(97 + row // 26 % 26)}" for row in range(rows)]  # fmt: skip
    return _make_personal("person's name", values, ("full_name", "nachname", "nom", "customer_name", "apellido"))


NUMBERS: tuple[Make, ...] = (make_integer, make_year, make_float, make_exact, make_padded, make_grouped, make_money,
                             make_percent, make_ledger, make_half)  # fmt: skip
IDENTITIES: tuple[Make, ...] = (make_wide_id, make_gapped_id, make_padded_id, make_random_id)
CODES: tuple[Make, ...] = (make_zip, make_exponent_code)
TIMES: tuple[Make, ...] = (make_day, make_day, make_day, make_early_day, make_moment, make_moment, make_iso_moment,
                           make_iso_moment, make_epoch, make_month, make_serial, make_clock)  # fmt: skip
WORDS: tuple[Make, ...] = (make_truth, make_category, make_null_words, make_prose)
PERSONAL: tuple[Make, ...] = (make_email, make_phone, make_iban, make_social_number, make_card, make_person)
MAKES = (*NUMBERS, *NUMBERS, *IDENTITIES, *CODES, *CODES, *TIMES, *TIMES, *WORDS, *WORDS, *WORDS, *PERSONAL)

MARKS = ("", "NA", "?", "-", "k.A.", "n/a", "NULL", "null", "None", "nan", "#N/A", ".", "unknown", "keine Angabe")
_OWN_MARKS: dict[Judge, tuple[str, ...]] = {
    "number": ("-999", "-999", "9999999"), "time": ("0000-00-00", "0000-00-00", "00.00.0000", "1900-01-00"), "truth": ("unbekannt",)
}  # fmt: skip


def lose_cells(rng: Generator, column: Column) -> Column:
    """Let some cells of a column be missing, in half of all columns, under a mark that its kind may have."""
    share = float(rng.choice([0, 0, 0, 0.01, 0.05, 0.3]))
    marks = [mark for mark in (*MARKS, *_OWN_MARKS.get(column.judge, ())) if mark not in column.texts]
    blank = not share or rng.random() < 0.4
    lost = rng.random(len(column.texts)) < share

    def lose(values: Sequence[Any]) -> list[Any]:
        return [None if gone else value for gone, value in zip(lost, values, strict=True)]

    return replace(
        column,
        texts=lose(column.texts),
        truth=lose(column.truth),
        native=None if column.native is None else lose(column.native),
        mark="" if blank else str(rng.choice(marks)),
    )


def make_column(rng: Generator, rows: int, locale: Locale) -> Column:
    """Make a column of any kind, of which some cells may be missing."""
    return lose_cells(rng, MAKES[rng.integers(len(MAKES))](rng, rows, locale))


def is_whole_day(values: Sequence[Any]) -> bool:
    """Return whether all values are dates without a time of day."""
    return all(isinstance(value, date) and not isinstance(value, datetime) for value in values if value is not None)
