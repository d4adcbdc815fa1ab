"""Derived features as expressions over a row's columns: one definition for training and for serving.

The language is a small part of Python's, parsed with `ast` and never passed to `eval`: columns by name (`col("a name")` for a
name that is not an identifier), numbers, strings, arithmetic, comparisons, `in`, and/or/not, and FUNCTIONS.
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
_Compute = Callable[[Mapping[str, Any]], Any]


def _hour(time: Array) -> Array:
    """Return the hours since midnight of datetime64 values, as float64 with a fraction."""
    return np.asarray((time - time.astype("datetime64[D]")) / np.timedelta64(1, "h"))


def _weekday(time: Array) -> Array:
    """Return the day of the week of datetime64 values; Monday is 0."""
    days = time.astype("datetime64[D]")
    return np.where(np.isnat(days), np.nan, (days.astype("int64") + 3) % 7)  # the epoch was a Thursday


def _month(time: Array) -> Array:
    """Return the month of datetime64 values, from 1 to 12."""
    months = time.astype("datetime64[M]")
    return np.where(np.isnat(months), np.nan, months.astype("int64") % 12 + 1)


def _is_missing(values: Array) -> Array:
    """Return whether each value is missing: NaN, NaT or None."""
    if values.dtype.kind == "M":
        return np.isnat(values)
    if values.dtype != object:
        return np.isnan(values)
    return np.array([value is None or (isinstance(value, float) and np.isnan(value)) for value in values], dtype=bool)


def _divide(left: Array, right: Array) -> Array:
    """Return left / right, NaN where right is zero, as models do not accept infinities."""
    right = np.asarray(right, dtype="float64")
    return np.asarray(left, dtype="float64") / np.where(right == 0, np.nan, right)


def _raise_to(base: float, exponent: float) -> float:
    """Return base ** exponent: infinite on overflow, NaN when the result is not a real number."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.nan


def _swing(function: Callable[[float], float]) -> Callable[[float], float]:
    """Wrap a function of an angle so that it returns NaN for an infinite angle."""
    return lambda angle: function(angle) if math.isfinite(angle) else math.nan


def _pick(choose: Callable[[float, float], float]) -> Callable[[float, float], float]:
    """Wrap `min` or `max` of two numbers so that it returns NaN when either is NaN."""
    return lambda left, right: math.nan if left != left or right != right else choose(left, right)  # noqa: PLR0124 - NaN


_HOUR = timedelta(hours=1)
# Each function twice: for arrays, and for the values of one row, where a numpy call would cost a microsecond.
_ARRAYS: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "cos": np.cos,
    "hour": _hour,
    "is_missing": _is_missing,
    "log": lambda x: np.log(np.where(np.asarray(x, dtype="float64") > 0, x, np.nan)),
    "log1p": lambda x: np.log1p(np.where(np.asarray(x, dtype="float64") > -1, x, np.nan)),
    "max": np.maximum,
    "min": np.minimum,
    "month": _month,
    "sin": np.sin,
    "sqrt": lambda x: np.sqrt(np.where(np.asarray(x, dtype="float64") >= 0, x, np.nan)),
    "weekday": _weekday,
    "where": np.where,
    "Number": lambda x: np.asarray(x, dtype="float64"),
    "Add": np.add,
    "Sub": np.subtract,
    "Mult": np.multiply,
    "Div": _divide,
    "Pow": np.float_power,
    "USub": np.negative,
    "Not": np.logical_not,
    "And": lambda *parts: np.logical_and.reduce([np.asarray(part, dtype=bool) for part in parts]),
    "Or": lambda *parts: np.logical_or.reduce([np.asarray(part, dtype=bool) for part in parts]),
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Lt": np.less,
    "LtE": np.less_equal,
    "Gt": np.greater,
    "GtE": np.greater_equal,
    "In": np.isin,
    "NotIn": lambda left, right: ~np.isin(left, right),
}
_VALUES: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "cos": _swing(math.cos),
    "hour": lambda x: math.nan if x is None else (x - x.replace(hour=0, minute=0, second=0, microsecond=0)) / _HOUR,
    "is_missing": lambda x: x is None or x != x,  # noqa: PLR0124 - NaN alone is not itself
    "log": lambda x: math.log(x) if x > 0 else math.nan,
    "log1p": lambda x: math.log1p(x) if x > -1 else math.nan,
    "max": _pick(max),
    "min": _pick(min),
    "month": lambda x: math.nan if x is None else x.month,
    "sin": _swing(math.sin),
    "sqrt": lambda x: math.sqrt(x) if x >= 0 else math.nan,
    "weekday": lambda x: math.nan if x is None else x.weekday(),
    "where": lambda condition, left, right: left if condition else right,
    "Number": float,
    "Add": operator.add,
    "Sub": operator.sub,
    "Mult": operator.mul,
    "Div": lambda left, right: left / right if right else math.nan,
    "Pow": _raise_to,
    "USub": operator.neg,
    "Not": operator.not_,
    "And": lambda *parts: all(parts),
    "Or": lambda *parts: any(parts),
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Lt": operator.lt,
    "LtE": operator.le,
    "Gt": operator.gt,
    "GtE": operator.ge,
    "In": lambda left, right: left in right,
    "NotIn": lambda left, right: left not in right,
}
FUNCTIONS = tuple(sorted(name for name in _ARRAYS if name.islower()))
CONSTANTS = {"pi": math.pi}
_BINARY = ("Add", "Sub", "Mult", "Div", "Pow")
_COMPARISONS = ("Eq", "NotEq", "Lt", "LtE", "Gt", "GtE", "In", "NotIn")


@dataclass(frozen=True)
class Expression:
    """A parsed expression: its text, the columns that it reads in order of appearance, and the functions that compute it.

    `compute` takes arrays: it may warn, may return one value for all rows, and is not finite where undefined.
    `compute_one` takes one row's values: missing numbers are NaN, missing strings and datetimes None.
    """

    text: str
    columns: tuple[str, ...]
    compute: _Compute
    compute_one: _Compute

    def evaluate(self, values: Mapping[str, Array]) -> Array:
        """Evaluate over arrays of one length; return float64 of that length, NaN where an input is missing or the result undefined.

        Comparisons return 0 or 1; a missing value is not equal to any value.
        """
        with np.errstate(all="ignore"):
            result = np.asarray(self.compute(values), dtype="float64")
        result = np.where(np.isfinite(result), result, np.nan)
        rows = len(values[self.columns[0]])
        return result if result.shape == (rows,) else np.full(rows, result)


def to_array(values: Sequence[Any], dtype: str) -> Array:
    """Convert a column to what `compute` reads: float64, datetime64 in UTC, or objects with None for missing values."""
    if dtype == "string":
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array
    if dtype == "datetime":
        return np.array(values, dtype="datetime64[us]")
    return np.array(values, dtype="float64")


def to_value(value: Any, dtype: str) -> Any:
    """Convert a value to what `compute_one` reads: a number becomes a float, NaN when missing."""
    if dtype in ("string", "datetime"):
        return value
    return math.nan if value is None else float(value)


def parse_expression(text: str, name: str, kind: str = "derived feature") -> Expression:
    """Parse the expression of what `kind` and `name` say; raise ProjectError when it is not in this language."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ProjectError(f"the {kind} {name!r} is not an expression: {text!r} ({error.msg}).") from error
    columns: dict[str, None] = {}
    try:
        _check(tree, columns)
    except ValueError as error:
        raise ProjectError(f"the {kind} {name!r}, {text!r}: {error}.") from error
    if not columns:
        raise ProjectError(f"the {kind} {name!r}, {text!r}, does not read any column.")
    return Expression(text, tuple(columns), _compile_tree(tree, _ARRAYS), _compile_tree(tree, _VALUES))


def _check(node: ast.expr, columns: dict[str, None]) -> None:
    """Raise ValueError for what the language does not have, and collect the columns that are read."""
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
        case ast.BinOp(left=left, op=op, right=right) if type(op).__name__ in _BINARY:
            parts = [left, right]
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            parts = [operand]
        case ast.BoolOp(values=values):
            parts = values
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op).__name__ in _COMPARISONS:
            parts = [left, right]
        case ast.List(elts=parts) | ast.Tuple(elts=parts) if all(isinstance(part, ast.Constant) for part in parts):
            return
        case _:
            raise ValueError(
                f"{ast.unparse(node)!r} is not allowed; allowed are columns, numbers, strings, + - * / **, comparisons, "
                f"and/or/not, in [...], and {', '.join(FUNCTIONS)}"
            )
    for part in parts:
        _check(part, columns)


def _compile_tree(node: ast.expr, words: Mapping[str, Callable[..., Any]]) -> _Compute:
    """Compile a checked tree to a function of the columns' values, so that the tree is not walked for every request."""
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
            compiled = [_compile_tree(part, words) for part in parts]
        case ast.BinOp(left=left, op=op, right=right):
            word, compiled = type(op).__name__, [_compile_number(left, words), _compile_number(right, words)]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            word, compiled = "USub", [_compile_number(operand, words)]
        case ast.UnaryOp(operand=operand):
            word, compiled = "Not", [_compile_tree(operand, words)]
        case ast.BoolOp(op=op, values=parts):
            word, compiled = type(op).__name__, [_compile_tree(part, words) for part in parts]
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            word, compiled = type(op).__name__, [_compile_tree(left, words), _compile_tree(right, words)]
        case _:
            raise AssertionError(ast.dump(node))  # _check() has refused everything else
    return _apply(words[word], *compiled)


def _apply(function: Callable[..., Any], *parts: _Compute) -> _Compute:
    """Compose a function of the columns' values that applies `function` to the results of the parts."""
    if len(parts) == 1:
        only = parts[0]
        return lambda values: function(only(values))
    if len(parts) == 2:
        left, right = parts
        return lambda values: function(left(values), right(values))
    return lambda values: function(*[part(values) for part in parts])


def _compile_number(node: ast.expr, words: Mapping[str, Callable[..., Any]]) -> _Compute:
    """Compile an operand of arithmetic: booleans become 0 and 1, so that `(a == "x") + (b == "x")` counts."""
    part = _compile_tree(node, words)
    if isinstance(node, ast.BinOp) or (isinstance(node, ast.Constant) and type(node.value) in (int, float)):
        return part
    return _apply(words["Number"], part)
