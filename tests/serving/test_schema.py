import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from lifecycle.serving.schema import MAX_SHOWN_LETTERS, MAX_SHOWN_PROBLEMS, RequestError, Schema


def make_column(name: str, dtype: str, **rules: Any) -> dict[str, Any]:
    nothing = {"nullable": False, "values": None, "min": None, "max": None, "unit": None, "example": None}
    return {"name": name, "dtype": dtype, "description": f"{name.capitalize()}.", **nothing, **rules}


COLUMNS = [
    make_column("age", "int64", min=0, max=120, unit="years", example=44),
    make_column("count", "int64", nullable=True, example=3),
    make_column("spend", "float64", min=0, example=12.5),
    make_column("balance", "float64", nullable=True, example=None),
    make_column("share", "float64", min=-1.5, max=1.5, example=0.5),
    make_column("plan", "string", values=["basic", "plus"], example="basic"),
    make_column("note", "string", nullable=True, example="a note"),
    make_column("active", "bool", example=True),
    make_column("senior", "int64", values=[0, 1], example=0),
    make_column("size", "float64", values=[0.5, 1.0], nullable=True, example=0.5),
    make_column("loud", "bool", values=[False, True], nullable=True, example=True),
    make_column("since", "datetime", nullable=True, example="2026-01-31T12:00:00"),
]  # fmt: skip
SCHEMA = Schema(COLUMNS, rows=3)
ROW = SCHEMA.example
TOLD = Draft202012Validator(SCHEMA.to_json_schema())
TYPES = {
    "age": int, "count": int, "spend": float, "balance": float, "share": float, "plan": str, "note": str, "active": bool,
    "senior": int, "size": float, "loud": bool, "since": datetime,
}  # fmt: skip
BIG = 10**400


def read(name: str, text: str) -> Any:
    """What a column's value, in JSON, is read as."""
    body = json.dumps({**ROW, name: "HERE"}).replace('"HERE"', text).encode()
    parsed = SCHEMA.parse(body)
    assert not parsed.listed
    return parsed.rows[0][name]


def is_admitted(body: str) -> bool:
    try:
        return bool(SCHEMA.parse(body.encode()).rows)
    except RequestError:
        return False


def refuse(body: str | bytes) -> RequestError:
    with pytest.raises(RequestError) as refusal:
        SCHEMA.parse(body.encode() if isinstance(body, str) else body)
    error = refusal.value
    assert error.status in (400, 413, 422)
    assert error.detail == str(error) and error.detail.endswith(".") and "\n" not in error.detail
    assert len(error.detail) < 1000
    return error


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("age", "0", 0),
        ("age", "120", 120),
        ("age", "3.0", 3),
        ("age", "1.2e2", 120),
        ("age", "-0.0", 0),
        ("count", str(2**53 - 1), 2**53 - 1),
        ("count", str(1 - 2**53), 1 - 2**53),
        ("count", "null", None),
        ("spend", "0", 0.0),
        ("spend", "3", 3.0),
        ("spend", "5e-324", 5e-324),
        ("spend", "1.7976931348623157e308", 1.7976931348623157e308),
        ("balance", "-1e308", -1e308),
        ("balance", str(2**53 + 1), 2.0**53),
        ("balance", "null", None),
        ("share", "-1.5", -1.5),
        ("share", "1.5", 1.5),
        ("plan", '"plus"', "plus"),
        ("plan", '"\\u0070lus"', "plus"),
        ("note", '""', None),
        ("note", '" \\t\\u00a0"', None),
        ("balance", '""', None),
        ("since", '" "', None),
        ("since", '"2026-01-31"', datetime(2026, 1, 31)),  # noqa: DTZ001
        ("since", '"2026-01-31 12:00"', datetime(2026, 1, 31, 12)),  # noqa: DTZ001
        ("note", '"\\u0000"', "\0"),
        ("note", '"\\ud834\\udd1e 𝄞"', "𝄞 𝄞"),
        ("active", "true", True),
        ("active", '"TRUE"', True),
        ("active", '" no "', False),
        ("loud", '"FALSE"', False),
        ("senior", "1", 1),
        ("senior", "1.0", 1),
        ("size", "1", 1.0),
        ("size", "null", None),
        ("loud", "false", False),
        ("since", '"2026-01-31T12:00:00"', datetime(2026, 1, 31, 12)),  # noqa: DTZ001 - moments are in UTC, without a zone
        ("since", '"2026-01-31T12:00:00Z"', datetime(2026, 1, 31, 12)),  # noqa: DTZ001
        ("since", '"2026-01-31T12:00:00.25+02:00"', datetime(2026, 1, 31, 10, 0, 0, 250_000)),  # noqa: DTZ001
        ("since", '"2026-01-01T00:30:00-05:30"', datetime(2026, 1, 1, 6)),  # noqa: DTZ001
        ("since", '"0001-01-01T00:00:00Z"', datetime(1, 1, 1)),  # noqa: DTZ001
        ("since", "null", None),
    ],
)
def test_what_is_within_the_limits_is_read(name: str, text: str, value: Any) -> None:
    found = read(name, text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("age", text) for text in ("-1", "121", "1.5", "1e-12", "119.9999999999999", '"1"', "true", "false", "null", "[]",
                                     "{}", '""', "NaN", "Infinity", "-Infinity", "1e999", str(BIG), str(-BIG))),
        *(("count", text) for text in (str(2**53 + 1), str(-(2**53) - 1), "1e16", "9007199254740992.5", "2.9999999999",
                                       "true", str(BIG), "1e999")),
        *(("spend", text) for text in ("-5e-324", "true", '"3"', "null", "NaN", "1e999", "1e309", str(BIG), "[1]")),
        *(("balance", text) for text in ("NaN", "Infinity", "-1e999", str(-BIG), "false", '"NaN"', '"3"')),
        *(("share", text) for text in ("1.5000000000000002", "-1.6", "2")),
        *(("plan", text) for text in ('"pro"', '"Basic"', '"basic "', '""', "null", "0", "true", '["basic"]')),
        *(("note", text) for text in ("1", "true", "{}", '["a"]')),
        *(("active", text) for text in ("0", "1", '"maybe"', "null", "1.0")),
        *(("senior", text) for text in ("true", "false", "2", "0.5", '"1"', "null", "NaN", str(BIG), "1e999")),
        *(("size", text) for text in ("true", "0.4", '"0.5"', "NaN")),
        *(("loud", text) for text in ("0", "1", "1.0", '"loud"')),
        *(("since", text) for text in (
            "1769860800", "1.5", "true", '"2026-13-45"', '"31.01.2026"', '"12:00"', '"now"', '"1769860800"',
            '"1769860800.5"', '"2026-01-31T25:00:00Z"', '"2026-01-31T12:00:00+25:00"', '"0001-01-01T00:00:00+10:00"',
            '"9999-12-31T23:59:59-10:00"', '"99999999999999999999"', "[]")),
    ],
)  # fmt: skip
def test_what_is_not_is_refused_and_named(name: str, text: str) -> None:
    body = json.dumps({**ROW, name: "HERE"}).replace('"HERE"', text)
    error = refuse(body)
    assert error.status == 422
    (told,) = error.errors
    assert told["field"] == name and len(told["got"]) <= MAX_SHOWN_LETTERS + 1
    assert error.detail == f"{name}: got {told['got']}, expected {told['expected']}."


@pytest.mark.parametrize(
    ("name", "text", "got", "expected"),
    [
        ("age", "-1", "-1", "a whole number from 0 to 120 years"),
        ("count", "1.5", "1.5", "a whole number or null"),
        ("spend", '"3"', "'3'", "a finite number of at least 0: send 3 without quotes"),
        ("spend", '"three"', "'three'", "a finite number of at least 0, without quotes"),
        ("spend", '""', "''", "a finite number of at least 0, without quotes"),
        ("share", "[1, 2]", "list of 2", "a finite number from -1.5 to 1.5"),
        ("plan", '"pro"', "'pro'", "one of 'basic', 'plus'"),
        ("active", "3", "3", "true or false"),
        ("since", '"x"', "'x'", "a date or time such as 2026-01-31 or 2026-01-31T12:00:00Z or null"),
        ("note", "{}", "object of 0", "a string or null"),
        ("plan", '"' + "x" * 5000 + '"', "'" + "x" * (MAX_SHOWN_LETTERS - 1) + "…", "one of 'basic', 'plus'"),
    ],
)
def test_a_message_says_what_came_and_what_was_expected(name: str, text: str, got: str, expected: str) -> None:
    error = refuse(json.dumps({**ROW, name: "HERE"}).replace('"HERE"', text))
    assert error.errors == [{"field": name, "got": got, "expected": expected}]


def test_a_missing_and_an_unknown_column_are_named() -> None:
    error = refuse(json.dumps({key: value for key, value in ROW.items() if key != "age"}))
    assert error.errors == [{"field": "age", "got": "nothing", "expected": "a whole number from 0 to 120 years"}]
    error = refuse(json.dumps({**ROW, "agee": 3}))
    assert error.errors == [{"field": "agee", "got": "3", "expected": "no such column; the closest is 'age'"}]
    error = refuse(json.dumps({**ROW, "?": 3}))
    named = f"no such column; the columns are {', '.join(SCHEMA.names)}"
    assert error.errors == [{"field": "?", "got": "3", "expected": named}]
    (told,) = refuse(json.dumps({**ROW, "k" * 5000: "v" * 5000})).errors
    assert len(told["field"]) <= MAX_SHOWN_LETTERS and len(told["got"]) <= MAX_SHOWN_LETTERS + 1


def test_what_may_be_absent_may_be_left_out() -> None:
    nullable = {column["name"] for column in COLUMNS if column["nullable"]}
    assert set(SCHEMA.nullable) == nullable
    kept = {key: value for key, value in ROW.items() if key not in nullable}
    (row,) = SCHEMA.parse(json.dumps(kept).encode()).rows
    assert row == kept


def test_of_doubled_keys_the_last_counts() -> None:
    """RFC 8259 leaves it open; the common parsers do so, and no earlier value gets in unchecked."""
    body = json.dumps(ROW)[1:]
    (row,) = SCHEMA.parse(f'{{"age": 1, "note": 5, {body}'.encode()).rows
    assert row["age"] == 44 and row["note"] == "a note"
    assert refuse(f'{{{body[:-1]}, "\\u0061ge": "1"}}').errors[0]["field"] == "age"


def test_a_list_says_which_row_is_wrong() -> None:
    rows = [ROW, {**ROW, "age": -1}, {**ROW, "plan": 5, "other": 1}]
    error = refuse(json.dumps(rows))
    assert [(told["row"], told["field"]) for told in error.errors] == [(1, "age"), (2, "plan"), (2, "other")]
    assert error.detail.startswith("age: got -1, expected a whole number from 0 to 120 years (2 more")


@pytest.mark.parametrize("count", [1, 3])
def test_a_list_gives_as_many_rows(count: int) -> None:
    parsed = SCHEMA.parse(b" \n" + json.dumps([ROW] * count).encode() + b"\t")
    assert parsed.listed and len(parsed.rows) == count


def test_a_list_that_is_too_long_or_empty_is_refused() -> None:
    error = refuse(json.dumps([ROW] * 4))
    assert (error.status, error.detail) == (413, "A request may hold at most 3 rows.")
    error = refuse("[]")
    assert (error.status, error.detail) == (422, "The list has no row.")


def test_only_so_many_problems_are_told() -> None:
    error = refuse(json.dumps({**ROW, **{f"unknown {number}": 1 for number in range(1000)}}))
    assert len(error.errors) == MAX_SHOWN_PROBLEMS and "(999 more problems)" in error.detail


@pytest.mark.parametrize("body", ["null", "true", "5", '"x"', "[1]", "[null]", "[[]]", '[{"age": 1}, 2]', '"{}"'])
def test_what_is_no_object_is_refused(body: str) -> None:
    error = refuse(body)
    assert error.status == 422
    assert error.errors[-1]["expected"] in ("an object with the columns", "true or false")


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b"{}}", b"[{}", b"\x00", b"{'age': 1}", b'{"age": 01}', b'{"age": 1,}', b"[,]", b'{"age" 1}',
        b'{"age": 1 /* years */}', b'{"age": .5}', b'{"age": +1}', b'{"age": 0x1F}', b'{"note": "a\nb"}',
        b'{"note": "\\x"}', b"<xml/>", b"age=1", b'{"age": 1}{"age": 1}', b'{"age": 1}\x00', b"[" * 100_000,
        b'{"a":' * 100_000, b'{"age": ' + b"[" * 300 + b"]" * 300 + b"}", b'{"age": 1' + b"0" * 100_000 + b"}",
        b"\xa0{}", b"\x0c{}",
        json.dumps(ROW).encode("utf-8-sig"), json.dumps(ROW).encode("utf-16"), json.dumps(ROW).encode("utf-32-be"),
        b'{"note": "\xff"}', b'{"note": "\xed\xa0\x80"}', '{"note": "é"}'.encode("latin-1"), b'{"note": "\xc0\xaf"}',
        b'{"note": "\\ud800"}', b'{"note": "\\udd1e"}', b'{"note": "\\ud834\\u0061"}', b'{"\\ud800": 1}',
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(body: bytes) -> None:
    error = refuse(body)
    assert error.status == 400 and error.detail.startswith("The body is not JSON: ") and not error.errors


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**53, 2**53 + 1, -(2**53), -(2**53) - 1, 2**63, BIG, -BIG])
    | st.floats()
    | st.floats(-200, 200).map(lambda value: round(value, 1))
    | st.text(max_size=8)
    | st.sampled_from(["basic", "plus", "2026-01-31T12:00:00Z", "2026-01-31 12:00+02:00", "NaN", "17", "-1e5"])
    | st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=5.5))])).map(datetime.isoformat),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
REQUESTS = st.fixed_dictionaries({}, optional={**dict.fromkeys(SCHEMA.names, JSON_VALUES), "unknown": JSON_VALUES})


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(REQUESTS)
def test_any_json_gives_a_row_within_the_limits_or_a_refusal(changes: dict[str, Any]) -> None:
    """And what the parser admits, the JSON Schema admits: a client that trusts the one is not told lies by the other."""
    body = json.dumps({**ROW, **changes})
    if not is_admitted(body):
        refuse(body)
        return
    TOLD.validate(json.loads(body))
    (row,) = SCHEMA.parse(body.encode()).rows
    for name, value in row.items():
        column = SCHEMA.columns[name]
        if value is None:
            assert column["nullable"]
            continue
        assert type(value) is TYPES[name]
        assert column["values"] is None or value in column["values"]
        assert column["min"] is None or value >= column["min"]
        assert column["max"] is None or value <= column["max"]
        if isinstance(value, datetime):
            assert value.tzinfo is None
        elif name in changes and not isinstance(value, str):
            assert value == float(changes[name])
        elif name in changes:
            assert value == changes[name]


@pytest.mark.parametrize("name", SCHEMA.names)
@given(value=JSON_VALUES)
@settings(max_examples=30, deadline=None)
@example(value=True)
@example(value=0)
@example(value=1.0)
@example(value=2**53 + 1)
@example(value=0.9999999999999999)
@example(value=-0.0)
def test_a_value_is_admitted_as_the_json_schema_says(name: str, value: Any) -> None:
    """A JSON Schema has no word for a moment's form, and what json.loads reads as infinite is no JSON: all else agrees."""
    admitted = is_admitted(json.dumps({**ROW, name: value}))
    told = TOLD.is_valid({**ROW, name: value})
    unsaid = isinstance(value, str) if name == "since" else isinstance(value, float | int) and not abs(value) < 1e308
    assert admitted == told or (unsaid and told)


@given(st.binary(max_size=60))
@settings(deadline=None)
def test_any_bytes_are_refused_in_a_sentence(body: bytes) -> None:
    assert refuse(body).status in (400, 422)


def test_the_json_schema_describes_every_column() -> None:
    told = SCHEMA.to_json_schema()
    Draft202012Validator.check_schema(told)
    assert list(told["properties"]) == [*(column["name"] for column in COLUMNS), ""]
    assert set(told["required"]) == set(SCHEMA.names) - set(SCHEMA.nullable)
    assert told["additionalProperties"] is False
    assert told["properties"]["age"]["description"] == "Age. In years."
    TOLD.validate(told["example"])


def test_rows_of_other_columns_are_told_apart() -> None:
    (row,) = SCHEMA.parse(json.dumps(ROW).encode()).rows
    fewer = Schema(COLUMNS[1:], 1)
    assert SCHEMA.accepts([row]) and not fewer.accepts([row]) and not SCHEMA.accepts([{**row, "other": 1}])
    del row["note"]
    assert SCHEMA.accepts([row])
    del row["age"]
    assert not SCHEMA.accepts([row]) and fewer.accepts([row])


# --- the table's own rows

OWN = Schema(
    [
        make_column("day", "datetime", format="%d.%m.%Y", null_values=["k.A.", "01.01.1900"], nullable=True, example="2026-01-31T00:00:00"),
        make_column("seen", "datetime", format="epoch seconds", null_values=["0"], nullable=True, example="2026-01-31T00:00:00"),
        make_column("price", "float64", format="1.234,5", null_values=["n/a", "-"], nullable=True, example=3.5),
        make_column("count", "int64", null_values=["n/a", "-9"], example=3),
        make_column("debt", "float64", format="1.234,5", null_values=["-999,5"], nullable=True, example=1.5),
        make_column("opened", "float64", format="clock", nullable=True, example=27000.0),
        make_column("word", "string", null_values=["NA"], nullable=True, example="a"),
        make_column("plan", "string", values=["basic", "plus"], open=True, null_values=["NA"], nullable=True, example="basic"),
        make_column("region", "string", values=["north"], open=True, example="north"),
        make_column("rank", "int64", values=[1, 2], open=True, min=0, nullable=True, example=1),
    ],
    rows=5,
    others=["id", "left", "Name of client", "rank "],
)  # fmt: skip
OWN_ROW = OWN.example
DAY = datetime(2026, 1, 31)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("day", "31.01.2026", DAY),
        ("day", "2026-01-31", DAY),
        ("day", "2026-01-31T02:00+02:00", DAY),
        ("day", "k.A.", None),
        ("day", " k.A. ", None),
        ("day", "01.01.1900", None),
        ("debt", -999.5, None),
        ("debt", "-999,5", None),
        ("debt", -9995, -9995.0),
        ("count", 9, 9),
        ("seen", 1769817600, DAY),
        ("seen", 1769817600.0, DAY),
        ("seen", "1769817600", DAY),
        ("seen", "2026-01-31", DAY),
        ("seen", None, None),
        ("seen", 0, None),
        ("seen", "0", None),
        ("price", 1234.5, 1234.5),
        ("price", "n/a", None),
        ("price", "-", None),
        ("word", "NA", None),
        ("word", "NAN", "NAN"),
        ("plan", "NA", None),
        ("plan", "", None),
        ("plan", "gold", "gold"),
        ("rank", 3, 3),
        ("rank", 3.0, 3),
    ],
)
def test_a_row_is_taken_as_the_table_has_it(name: str, value: Any, expected: Any) -> None:
    body = json.dumps({**OWN_ROW, name: value})
    (row,) = OWN.parse(body.encode()).rows
    assert row[name] == expected and type(row[name]) is type(expected)
    Draft202012Validator(OWN.to_json_schema()).validate(json.loads(body))


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("day", "01/31/2026", "or in the format %d.%m.%Y or null"),
        ("day", 20260131, "or in the format %d.%m.%Y or null"),
        ("seen", True, "or in epoch seconds or null"),
        ("seen", 1e300, "or in epoch seconds or null"),
        ("seen", "31.01.2026", "or in epoch seconds or null"),
        ("price", "1.234,5", "a finite number or null: send 1234.5 without quotes"),
        ("price", "-1.234.567,25", "a finite number or null: send -1234567.25 without quotes"),
        ("price", "abc", "a finite number or null, without quotes"),
        ("opened", "07:30", "a finite number or null, in seconds and without quotes"),
        ("count", "n/a", "as n/a, -9 does, without quotes"),
        ("count", -9, "a whole number that does not mean missing, as n/a, -9 does"),
        ("count", -9.0, "a whole number that does not mean missing, as n/a, -9 does"),
        ("count", 1.5, "a whole number that does not mean missing, as n/a, -9 does"),
        ("debt", True, "a finite number or null"),
        ("count", "", "as n/a, -9 does, without quotes"),
        ("plan", 5, 'a string or null: send "5"'),
        ("region", "", "a string"),
        ("region", None, "a string"),
        ("rank", -1, "a whole number of at least 0 or null"),
        ("rank", True, "a whole number of at least 0 or null"),
    ],
)
def test_what_the_table_could_not_have_is_refused(name: str, value: Any, told: str) -> None:
    with pytest.raises(RequestError) as refusal:
        OWN.parse(json.dumps({**OWN_ROW, name: value}).encode())
    (error,) = refusal.value.errors
    assert error["field"] == name and error["expected"].endswith(told)


def test_other_columns_of_the_contract_are_dropped_and_counted() -> None:
    rows = [{**OWN_ROW, "id": 7, "Name of client": {"first": "Ann"}}, OWN_ROW, {**OWN_ROW, "id": None}]
    parsed = OWN.parse(json.dumps(rows).encode())
    assert parsed.ignored == {"id": 2, "Name of client": 1} and parsed.unseen == {}
    assert all(row.keys() == OWN_ROW.keys() for row in parsed.rows)
    assert OWN.parse(json.dumps(OWN_ROW).encode()).ignored == {}


@pytest.mark.parametrize(("name", "closest"), [("Id", "id"), ("pric", "price"), ("Name of Client", "Name of client")])
def test_a_name_that_the_contract_does_not_have_is_refused_with_the_closest(name: str, closest: str) -> None:
    with pytest.raises(RequestError) as refusal:
        OWN.parse(json.dumps({**OWN_ROW, "left": "no", name: 1}).encode())
    assert refusal.value.detail == f"{name}: got 1, expected no such column; the closest is {closest!r}."


def test_values_beyond_an_open_list_are_noted_by_row() -> None:
    changes = [{}, {"plan": "gold", "rank": 9}, {"region": "south"}, {"plan": None}, {"rank": 2, "id": 3}]
    parsed = OWN.parse(json.dumps([{**OWN_ROW, **change} for change in changes]).encode())
    assert parsed.unseen == {1: ["plan", "rank"], 2: ["region"]} and parsed.ignored == {"id": 1}
    assert OWN.parse(json.dumps({**OWN_ROW, "region": "south"}).encode()).unseen == {0: ["region"]}


@given(st.text(max_size=12), st.sampled_from(["plan", "region", "word"]))
@settings(deadline=None)
def test_any_text_is_a_value_of_an_open_list_or_missing(text: str, name: str) -> None:
    """As training takes it: blank text and the words for a missing value are missing, all other text is a value."""
    missing = not text.strip() or (name != "region" and text.strip() == "NA")
    try:
        (row,) = OWN.parse(json.dumps({**OWN_ROW, name: text}).encode()).rows
        assert row[name] == (None if missing else text)
    except RequestError as error:
        assert (missing and name == "region") or "\\ud" in json.dumps(text), error  # noqa: PT017


OTHER_VALUES = st.fixed_dictionaries({}, optional=dict.fromkeys([*OWN.others, "Ids"], JSON_VALUES))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(OTHER_VALUES, min_size=1, max_size=3))
def test_no_value_of_another_column_gets_further_or_matters(given_rows: list[dict[str, Any]]) -> None:
    body = json.dumps([{**OWN_ROW, **row} for row in given_rows])
    if any("Ids" in row for row in given_rows):
        with pytest.raises(RequestError):
            OWN.parse(body.encode())
        return
    parsed = OWN.parse(body.encode())
    assert parsed.rows == OWN.parse(json.dumps([OWN_ROW] * len(given_rows)).encode()).rows
    counts = {name: sum(name in row for row in given_rows) for name in OWN.others}
    assert parsed.ignored == {name: count for name, count in counts.items() if count}


def test_the_json_schema_says_what_is_ignored_and_what_is_open() -> None:
    told = OWN.to_json_schema()
    Draft202012Validator.check_schema(told)
    assert list(told["properties"]) == [*OWN.names, *OWN.others]
    assert told["properties"]["id"]["description"].startswith("Ignored")
    assert told["properties"]["region"]["examples"] == ["north"]
    assert told["properties"]["plan"]["description"] == "Plan."
    strict = OWN.to_json_schema(strict=True)
    assert list(strict["properties"]) == list(OWN.names) and strict["additionalProperties"] is False


def test_row_names_without_a_name_are_ignored() -> None:
    """The rows of a table that pandas or R wrote begin with such a column."""
    row = {**{name: column["example"] for name, column in OWN.columns.items()}, "": 17}
    parsed = OWN.parse(json.dumps(row).encode())
    assert parsed.ignored == {"": 1} and "" not in parsed.rows[0]


def test_a_refusal_of_ignored_columns_shows_no_value() -> None:
    error = OWN.reject_ignored({"id": 2, "left": 1}, "LIFECYCLE_SERVE_STRICT")
    assert error.status == 422 and [told["field"] for told in error.errors] == ["id", "left"]
    expected = "no column that the model does not read, because LIFECYCLE_SERVE_STRICT is set"
    assert error.detail == f"id, left: expected {expected}."


def test_a_bundle_from_before_these_keys_is_read_as_it_was() -> None:
    parsed = SCHEMA.parse(json.dumps(ROW).encode())
    assert (SCHEMA.others, SCHEMA.known, parsed.ignored, parsed.unseen) == (("",), {}, {}, {})
    assert refuse(json.dumps({**ROW, "plan": "gold"})).status == 422
