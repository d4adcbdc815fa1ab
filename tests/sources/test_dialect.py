from __future__ import annotations

import csv
import io
import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.sources.dialect import Dialect, detect_dialect

ORDINARY = "city;x;y\n" + "".join(f"Bonn {at};{at},5;{'yes' if at % 2 else 'no'}\n" for at in range(20))


def detect(text: str | bytes, **given: Any) -> Dialect:
    data = text if isinstance(text, bytes) else text.encode()
    return detect_dialect(data, name="a.csv", given=given).dialect


def doubts_of(text: str | bytes, **given: Any) -> str:
    data = text if isinstance(text, bytes) else text.encode()
    return " ".join(detect_dialect(data, name="a.csv", given=given).doubts)


def test_a_plain_file_has_the_default_dialect_and_no_doubts() -> None:
    text = "city,x,y\n" + "Bonn,1.5,yes\nParis,2.5,no\n" * 10
    assert detect(text) == Dialect() and not doubts_of(text)


def test_decimal_commas_and_commas_in_quotes_are_not_delimiters() -> None:
    assert detect("amount;x;y\n" + "1152,06;-0.447;yes\n7,5;1.2;no\n" * 10).delimiter == ";"
    assert detect("a;b\n" + "1,5;2,5\n3,25;4,75\n" * 10).delimiter == ";"
    assert detect("name|n\n" + '"Smith, John, Jr."|1\n"Doe, Ann, Dr."|2\n' * 10).delimiter == "|"
    assert detect('amount,x,y\n"37,951",-1.62,no\n"44,257",1.3,yes\n').quote == '"'


@pytest.mark.parametrize(("text", "expected"), [
    ("a'b,c\nit's,1\n", '"'),
    ("a,b\n'x, y',1\n'z, w',2\n", "'"),
    ('a,b\n5" pipe,1\n6" pipe,2\n', '"'),
])  # fmt: skip
def test_quotes_are_those_around_cells(text: str, expected: str) -> None:
    assert detect(text).quote == expected


@pytest.mark.parametrize("pair", ['""', '\\"'])
def test_many_quotes_take_no_exponential_time(pair: str) -> None:
    """Split at blanks, a cell begins with each pair and never ends: if a pair could be read in two ways, this would take years."""
    text = "".join(f'{row}\t"the router {f"{pair}really{pair}, " * 30}failed"\tend\n' for row in range(20))
    assert detect(text).delimiter == "\t"


def test_backslashes_escape_quotes_only_where_cells_need_it() -> None:
    assert detect('a,b\n"say \\"hi\\", he said",1\n"x",2\n').escape == "\\"
    assert detect('a,b\n"C:\\dir",1\n"say ""hi""",2\n').escape == ""


def test_excel_names_its_delimiter_in_the_first_line() -> None:
    found = detect("sep=;\n" + ORDINARY)
    assert (found.delimiter, found.skip, found.header) == (";", 1, True)


def test_lines_before_the_table_are_skipped_and_told() -> None:
    for before, lines in (
        ("Report of May\n\n", 2),
        ("# made by hand\n# on Monday\n", 2),
        ("Title;;\n;;\n", 2),
        ("Sales, all\n", 1),
    ):
        assert detect(before + ORDINARY).skip == lines, before
        assert "skip" in doubts_of(before + ORDINARY)
    assert detect("\n\n" + ORDINARY).header


def test_a_first_row_like_the_others_is_data() -> None:
    rows = "".join(f"2020-01-{at:02},{at * 1.5},yes\n" for at in range(1, 25))
    assert not detect(rows).header
    assert detect("day,x,y\n" + rows).header
    assert detect("country,2019,2020\n" + "".join(f"c{at},{at},{at * 2}\n" for at in range(20))).header
    assert detect("a,b\n").header and detect("name,word\n" + "ann,red\nbob,blue\n" * 10).header
    words = "red,ann\nblue,bob\nred,bob\n" * 10
    assert not detect(words).header and "header" in doubts_of(words)


def test_a_file_of_one_column_has_no_delimiter_that_splits_it() -> None:
    assert detect("x\n1\n2\n3\n").delimiter == ","
    text = "remark\n" + "well, yes\nno\nwhy not: maybe; or not, then\nfine\n" * 5
    assert detect(text).delimiter not in text
    assert detect("name\nInformation Technology\nFinance\nPublic Health\n").delimiter == ","


def test_what_is_given_is_not_detected() -> None:
    found = detect(ORDINARY, delimiter=",", header=False, skip=3, quote="", escape="\\", encoding="latin-1")
    assert (found.delimiter, found.header, found.skip, found.quote) == (",", False, 3, "")
    assert (found.escape, found.encoding) == ("\\", "latin-1")


@pytest.mark.parametrize(("encoding", "expected"), [
    ("utf-8-sig", "utf-8"), ("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be"),
    ("utf-32", "utf-32"), ("cp1252", "cp1252"),
])  # fmt: skip
def test_encodings_are_detected(encoding: str, expected: str) -> None:
    text = "größe;ort\n" + "1,5;München\n2,5;Köln\n" * 20
    data = text.encode(encoding)
    assert detect(data).encoding == expected
    assert detect(data[: len(data) - 1]).delimiter == ";", "the last character may be cut"


@pytest.mark.parametrize(("encoding", "text"), [
    ("cp1251", "имя;город\nИван;Москва\nОльга;Казань\n"), ("cp1250", "imię;miasto\nŁukasz;Łódź\nGrażyna;Wrocław\n"),
    ("cp932", "名前,市\n田中さん,東京都のまち\n鈴木さん,大阪府のまち\n"), ("gb18030", "姓名,城市\n王小明,北京市\n张伟,广州\n"),
])  # fmt: skip
def test_letters_of_other_scripts_are_kept_and_the_guess_is_told(encoding: str, text: str) -> None:
    data = (text * 10).encode(encoding)
    assert data.decode(detect(data).encoding) == text * 10
    assert "set encoding" in doubts_of(data)


def test_a_few_broken_bytes_do_not_change_the_encoding() -> None:
    data = ("größe;ort\n" + "süß;Köln\n" * 50).encode() + b"\xff;x\n"
    assert detect(data).encoding == "utf-8" and "broken" in doubts_of(data)


def test_columns_that_spaces_align_are_split_at_runs_of_spaces() -> None:
    found = detect("id   x    y\n" + "".join(f"{at:<4} {at * 1.5:<6} no\n" for at in range(20)))
    assert (found.delimiter, found.skip_space) == (" ", True)
    assert detect("a, b, c\n" + "1, 2, 3\n" * 10).skip_space


def test_json_in_cells_does_not_take_forever() -> None:
    """Split at `:`, say, no quote is ever closed: each doubled quote must be read in one way alone."""
    rows = "".join(f'"{{""a"": {place}, ""b"": ""x""}}",yes\n' for place in range(200))
    started = time.process_time()
    dialect = detect(f"tags,y\n{rows}".encode())
    assert dialect == Dialect() and time.process_time() - started < 30


def test_a_file_that_quotes_every_cell_is_known() -> None:
    assert detect('"a","b"\n"1","x"\n"2",""\n').quotes_all
    assert not detect('"a","b"\n1,"x"\n').quotes_all


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_have_a_dialect(data: bytes) -> None:
    assert len(detect(data).delimiter) == 1


WORDS = [
    "Bonn",
    "New York",
    "red",
    "São Paulo",
    "well done",
    "A-17",
    "x/y",
    "Smith, John",
    "a; b",
    'the "big" one',
    "it's",
]
KINDS = {
    "number": lambda draw: str(draw.randint(0, 99999)),
    "decimal": lambda draw: f"{draw.uniform(-99, 99):.3f}",
    "comma": lambda draw: f"{draw.uniform(-99, 99):.2f}".replace(".", ","),
    "date": lambda draw: f"20{draw.randint(10, 30)}-0{draw.randint(1, 9)}-{draw.randint(10, 28)}",
    "time": lambda draw: f"{draw.randint(10, 23)}:{draw.randint(10, 59)}",
    "word": lambda draw: draw.choice(WORDS),
    "gaps": lambda draw: draw.choice(["", "", "1.5", "2"]),
}


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(KINDS)), min_size=2, max_size=6),
    st.integers(20, 40),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(['"', "'"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.integers(0, 1 << 32),
)
def test_ordinary_tables_are_recognized(
    kinds: list[str], rows: int, delimiter: str, quote: str, end: str, encoding: str, quoting: Any, seed: int
) -> None:
    draw = random.Random(seed)  # noqa: S311
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, quotechar=quote, lineterminator=end, quoting=quoting)
    writer.writerow([f"{kind}_{at}" for at, kind in enumerate(kinds)])
    writer.writerows([[KINDS[kind](draw) for kind in kinds] for _ in range(rows)])
    data = file.getvalue().encode(encoding)
    found = detect(data)
    read = list(csv.reader(io.StringIO(file.getvalue(), newline=""), delimiter=delimiter, quotechar=quote))
    opened = {"delimiter": found.delimiter, "quotechar": found.quote or None}
    how = opened if found.quote else {**opened, "quoting": csv.QUOTE_NONE}
    assert list(csv.reader(io.StringIO(data.decode(found.encoding).removeprefix("\ufeff"), newline=""), **how)) == read
    assert found.header and found.skip == 0 and not found.escape and not found.skip_space
