"""Derived features as expressions over a row's columns: one definition for training and for serving.

The language is a small part of Python's, read with `ast` and never evaluated by it: columns by name (`col("a name")` where
it is no identifier), numbers, strings, arithmetic, comparisons, `in`, and/or/not, and FUNCTIONS. It needs numpy alone.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from operator import itemgetter
from typing import Any

import numpy as np

from lifecycle.core.errors import ProjectError

Array = np.ndarray[Any, Any]
Compute = Callable[[Mapping[str, Any]], Any]


def hour(time: Array) -> Array:
    """Hours since midnight, with their fraction, of datetime64 values."""
    return np.asarray((time - time.astype("datetime64[D]")) / np.timedelta64(1, "h"))


def weekday(time: Array) -> Array:
    """Day of the week of datetime64 values: Monday is 0. The epoch was a Thursday."""
    days = time.astype("datetime64[D]")
    return np.where(np.isnat(days), np.nan, (days.astype("int64") + 3) % 7)


def month(time: Array) -> Array:
    """Month of datetime64 values, from 1 to 12."""
    months = time.astype("datetime64[M]")
    return np.where(np.isnat(months), np.nan, months.astype("int64") % 12 + 1)


def is_missing(values: Array) -> Array:
    """Whether each value is absent: NaN, NaT or None."""
    if values.dtype.kind == "M":
        return np.isnat(values)
    if values.dtype != object:
        return np.isnan(values)
    return np.array([value is None or (isinstance(value, float) and np.isnan(value)) for value in values], dtype=bool)


def divide(left: Array, right: Array) -> Array:
    """left / right, missing where right is zero: an infinity would break a model."""
    right = np.asarray(right, dtype="float64")
    return np.asarray(left, dtype="float64") / np.where(right == 0, np.nan, right)


def raise_to(base: float, exponent: float) -> float:
    """base ** exponent, infinite where float64 ends, missing where the result is no real number."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.nan


def swing(function: Callable[[float], float]) -> Callable[[float], float]:
    """A function of an angle, missing where the angle is infinite."""
    return lambda angle: function(angle) if math.isfinite(angle) else math.nan


def pick(choose: Callable[[float, float], float]) -> Callable[[float, float], float]:
    """The lesser or greater of two numbers, missing where either is."""
    return lambda left, right: math.nan if left != left or right != right else choose(left, right)  # noqa: PLR0124 - NaN


HOUR = timedelta(hours=1)
# What the words of the language do, twice: to arrays, and to one row's values, for numpy takes a microsecond to begin.
ARRAYS: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "cos": np.cos,
    "hour": hour,
    "is_missing": is_missing,
    "log": lambda x: np.log(np.where(np.asarray(x, dtype="float64") > 0, x, np.nan)),
    "log1p": lambda x: np.log1p(np.where(np.asarray(x, dtype="float64") > -1, x, np.nan)),
    "max": np.maximum,
    "min": np.minimum,
    "month": month,
    "sin": np.sin,
    "sqrt": lambda x: np.sqrt(np.where(np.asarray(x, dtype="float64") >= 0, x, np.nan)),
    "weekday": weekday,
    "where": np.where,
    "Number": lambda x: np.asarray(x, dtype="float64"),
    "Add": np.add,
    "Sub": np.subtract,
    "Mult": np.multiply,
    "Div": divide,
    "Pow": np.float_power,
    "USub": np.negative,
    "Not": np.logical_not,
    "And": lambda *truths: np.logical_and.reduce([np.asarray(truth, dtype=bool) for truth in truths]),
    "Or": lambda *truths: np.logical_or.reduce([np.asarray(truth, dtype=bool) for truth in truths]),
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Lt": np.less,
    "LtE": np.less_equal,
    "Gt": np.greater,
    "GtE": np.greater_equal,
    "In": np.isin,
    "NotIn": lambda left, right: ~np.isin(left, right),
}
VALUES: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "cos": swing(math.cos),
    "hour": lambda x: math.nan if x is None else (x - x.replace(hour=0, minute=0, second=0, microsecond=0)) / HOUR,
    "is_missing": lambda x: x is None or x != x,  # noqa: PLR0124 - NaN alone is not itself
    "log": lambda x: math.log(x) if x > 0 else math.nan,
    "log1p": lambda x: math.log1p(x) if x > -1 else math.nan,
    "max": pick(max),
    "min": pick(min),
    "month": lambda x: math.nan if x is None else x.month,
    "sin": swing(math.sin),
    "sqrt": lambda x: math.sqrt(x) if x >= 0 else math.nan,
    "weekday": lambda x: math.nan if x is None else x.weekday(),
    "where": lambda condition, left, right: left if condition else right,
    "Number": float,
    "Add": operator.add,
    "Sub": operator.sub,
    "Mult": operator.mul,
    "Div": lambda left, right: left / right if right else math.nan,
    "Pow": raise_to,
    "USub": operator.neg,
    "Not": operator.not_,
    "And": lambda *truths: all(truths),
    "Or": lambda *truths: any(truths),
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Lt": operator.lt,
    "LtE": operator.le,
    "Gt": operator.gt,
    "GtE": operator.ge,
    "In": lambda left, right: left in right,
    "NotIn": lambda left, right: left not in right,
}
FUNCTIONS = tuple(sorted(name for name in ARRAYS if name.islower()))
CONSTANTS = {"pi": math.pi}
BINARY = ("Add", "Sub", "Mult", "Div", "Pow")
COMPARISONS = ("Eq", "NotEq", "Lt", "LtE", "Gt", "GtE", "In", "NotIn")


@dataclass(frozen=True)
class Expression:
    """A parsed expression: its text, the columns that it reads in order of appearance, and what computes it.

    `compute` is the bare function of arrays: it may warn, may give one value for all rows, and is not finite where undefined.
    `compute_one` is that of one row's values: numbers with NaN, strings and datetimes with None where absent.
    """

    text: str
    columns: tuple[str, ...]
    compute: Compute
    compute_one: Compute

    def evaluate(self, values: Mapping[str, Array]) -> Array:
        """Evaluate over arrays of one length; float64 of that length, NaN where an input is missing or a value undefined.

        Comparisons give 0 or 1; a missing value equals nothing.
        """
        with np.errstate(all="ignore"):
            result = np.asarray(self.compute(values), dtype="float64")
        result = np.where(np.isfinite(result), result, np.nan)
        rows = len(values[self.columns[0]])
        return result if result.shape == (rows,) else np.full(rows, result)


def to_array(values: Sequence[Any], dtype: str) -> Array:
    """A column as `compute` reads it: float64, datetime64 in UTC, or objects with None where absent."""
    if dtype == "string":
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array
    if dtype == "datetime":
        return np.array(values, dtype="datetime64[us]")
    return np.array(values, dtype="float64")


def to_value(value: Any, dtype: str) -> Any:
    """A value as `compute_one` reads it: a number is a float, NaN where absent."""
    if dtype in ("string", "datetime"):
        return value
    return math.nan if value is None else float(value)


def parse_expression(text: str, name: str) -> Expression:
    """Parse the expression of the feature `name`; raises ProjectError when it is not of this language."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ProjectError(f"the derived feature {name!r} is no expression: {text!r} ({error.msg}).") from error
    columns: dict[str, None] = {}
    try:
        check(tree, columns)
    except ValueError as error:
        raise ProjectError(f"the derived feature {name!r}, {text!r}: {error}.") from error
    if not columns:
        raise ProjectError(f"the derived feature {name!r}, {text!r}, reads no column.")
    return Expression(text, tuple(columns), compile_tree(tree, ARRAYS), compile_tree(tree, VALUES))


def check(node: ast.expr, columns: dict[str, None]) -> None:
    """Refuse (ValueError) what the language does not have, and gather the columns that are read."""
    match node:
        case ast.Constant(value=bool() | int() | float() | str()):
            return
        case ast.Name(id=name):
            if name not in CONSTANTS:
                columns[name] = None
            return
        case ast.Call(func=ast.Name(id="col"), args=[ast.Constant(value=str(name))], keywords=[]):
            columns[name] = None
            return
        case ast.Call(func=ast.Name(id=name), args=parts, keywords=[]) if name in FUNCTIONS:
            pass
        case ast.BinOp(left=left, op=op, right=right) if type(op).__name__ in BINARY:
            parts = [left, right]
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            parts = [operand]
        case ast.BoolOp(values=values):
            parts = values
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op).__name__ in COMPARISONS:
            parts = [left, right]
        case ast.List(elts=parts) | ast.Tuple(elts=parts) if all(isinstance(part, ast.Constant) for part in parts):
            return
        case _:
            raise ValueError(
                f"{ast.unparse(node)!r} is not allowed; there are columns, numbers, strings, + - * / **, comparisons, "
                f"and/or/not, in [...], and {', '.join(FUNCTIONS)}"
            )
    for part in parts:
        check(part, columns)


def compile_tree(node: ast.expr, words: Mapping[str, Callable[..., Any]]) -> Compute:
    """A checked tree as a function of the columns' values: it is walked once, not for every request."""
    match node:
        case ast.Constant(value=value):
            return lambda values: value
        case ast.Name(id=name) if name in CONSTANTS:
            return lambda values: CONSTANTS[name]
        case ast.Name(id=name) | ast.Call(func=ast.Name(id="col"), args=[ast.Constant(value=str(name))]):
            return itemgetter(name)
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            constants = [part.value for part in parts if isinstance(part, ast.Constant)]
            return lambda values: constants
        case ast.Call(func=ast.Name(id=word), args=parts):
            compiled = [compile_tree(part, words) for part in parts]
        case ast.BinOp(left=left, op=op, right=right):
            word, compiled = type(op).__name__, [compile_number(left, words), compile_number(right, words)]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            word, compiled = "USub", [compile_number(operand, words)]
        case ast.UnaryOp(operand=operand):
            word, compiled = "Not", [compile_tree(operand, words)]
        case ast.BoolOp(op=op, values=parts):
            word, compiled = type(op).__name__, [compile_tree(part, words) for part in parts]
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            word, compiled = type(op).__name__, [compile_tree(left, words), compile_tree(right, words)]
        case _:
            raise AssertionError(ast.dump(node))  # check() has refused everything else
    return apply(words[word], *compiled)


def apply(function: Callable[..., Any], *parts: Compute) -> Compute:
    """The function of the columns' values that applies `function` to what the parts give."""
    if len(parts) == 1:
        only = parts[0]
        return lambda values: function(only(values))
    if len(parts) == 2:
        left, right = parts
        return lambda values: function(left(values), right(values))
    return lambda values: function(*[part(values) for part in parts])


def compile_number(node: ast.expr, words: Mapping[str, Callable[..., Any]]) -> Compute:
    """An operand of arithmetic: truth values become 0 and 1, so that `(a == "x") + (b == "x")` counts."""
    part = compile_tree(node, words)
    if isinstance(node, ast.BinOp) or (isinstance(node, ast.Constant) and type(node.value) in (int, float)):
        return part
    return apply(words["Number"], part)
