"""The language of derived features, from the tables that define it."""

from __future__ import annotations

import ast

import numpy as np

from generate.markdown import code, finish, write_table
from generate.schemas import refuse_missing

# An example and a meaning of each function. The build fails where one of the language is missing here.
FUNCTIONS = {
    "abs": ("abs(x)", "The absolute value."),
    "cos": ("cos(x)", "The cosine of an angle in radians."),
    "hour": ("hour(time)", "Hours since midnight, with their fraction, in UTC."),
    "is_missing": ("is_missing(x)", "1 where the value is absent, else 0."),
    "log": ("log(x)", "The natural logarithm; missing unless x is above 0."),
    "log1p": ("log1p(x)", "The natural logarithm of 1 + x; missing unless x is above -1."),
    "max": ("max(x, 2)", "The greater of two numbers; missing where either is."),
    "min": ("min(x, 2)", "The lesser of two numbers; missing where either is."),
    "month": ("month(time)", "The month, from 1 to 12."),
    "sin": ("sin(x)", "The sine of an angle in radians."),
    "sqrt": ("sqrt(x)", "The square root; missing where x is below 0."),
    "weekday": ("weekday(time)", "The day of the week; Monday is 0."),
    "where": ("where(x > 2, 1, x)", "The second value where the condition holds, else the third."),
}
OPERATORS = {
    "Add": ("x + 1", "Addition."), "Sub": ("x - 1", "Subtraction."), "Mult": ("x * 2", "Multiplication."),
    "Div": ("x / 2", "Division; missing where the divisor is 0."), "Pow": ("x ** 2", "Power."),
    "Eq": ('word == "a"', "Equal; a missing value equals nothing."), "NotEq": ('word != "a"', "Not equal."),
    "Lt": ("x < 2", "Less."), "LtE": ("x <= 2", "Less or equal."), "Gt": ("x > 2", "Greater."),
    "GtE": ("x >= 2", "Greater or equal."), "In": ('word in ["a", "b"]', "One of the listed values."),
    "NotIn": ('word not in ["a", "b"]', "None of the listed values."),
}  # fmt: skip
LOGIC = (
    ("x > 1 and x < 5", "Both."),
    ("x < 1 or x > 3", "At least one."),
    ("not x > 2", "The opposite."),
    ("-x", "The negative."),
)
VALUES = {
    "x": np.array([4.0]), "word": np.array(["a"], dtype=object), "time": np.array(["2026-03-02T18:30"], dtype="datetime64[us]"),
}  # fmt: skip


def describe_language() -> str:
    """Describe functions, operators and constants, each with an example that is computed here."""
    from lifecycle.core import expressions

    missing = sorted(set(expressions.FUNCTIONS) - FUNCTIONS.keys())
    refuse_missing([f"the expression {name}" for name in missing])
    functions = [describe_example(*FUNCTIONS[name]) for name in expressions.FUNCTIONS]
    operators = [describe_example(*each) for each in OPERATORS.values()]
    logic = [describe_example(*each) for each in LOGIC]
    constants = [[code(name), f"{value:.6g}"] for name, value in expressions.CONSTANTS.items()]
    header = ["example", "result", "meaning"]
    return "\n\n".join([
        "## Functions", write_table(header, functions), "## Operators", write_table(header, operators),
        "## Logic and sign", write_table(header, logic), "## Constants", write_table(["name", "value"], constants),
    ])  # fmt: skip


def describe_example(text: str, meaning: str) -> list[str]:
    """Compute an example for x = 4, word = "a" and a Monday in March 2026 at half past six in the evening."""
    from lifecycle.core.expressions import parse_expression

    ast.parse(text, mode="eval")
    result = float(parse_expression(text, "example").evaluate(VALUES)[0])
    return [code(text), f"{result:.6g}", finish(meaning)]
