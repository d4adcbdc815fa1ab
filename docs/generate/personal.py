"""What validation recognises as personal data."""

from __future__ import annotations

from generate.markdown import write_table
from lifecycle.validation.identifiers import IDENTIFIERS

_NAME = "when the column's name says what it holds"
_CHECK = "by its check digits"
_FORM = "by its form"
_ROWS = [
    ["e-mail address", "in any text", _FORM],
    ["telephone number with a country code or punctuation", "in any text", _FORM],
    ["telephone number in digits alone", "whole columns", f"{_NAME}, or when nearly all are valid in one region"],
    ["payment card", "in any text, and whole columns of numbers", _CHECK],
    ["IBAN", "in any text", _CHECK],
    ["US social security number with hyphens", "in any text", _FORM],
    ["IP or MAC address", "whole columns", _FORM],
    ["other account, passport or national number", "whole columns", _NAME],
]


def tabulate_kinds() -> str:
    """Tabulate every kind of personal data: where it is looked for, and how it is recognised."""
    national = [
        [each.kind, "whole columns", _NAME if each.named else _CHECK if each.module else _FORM] for each in IDENTIFIERS
    ]
    return write_table(["kind", "where", "recognised"], [*_ROWS, *sorted(national)])
