"""Derived features as expressions over a row's columns: one definition for training and for serving.

The language is a small part of Python's, read with `ast` and never evaluated by it: columns by name (`col("a name")` where
it is no identifier), numbers, strings, arithmetic, comparisons, `in`, and/or/not, and FUNCTIONS. It needs numpy alone.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from lifecycle.paths import ProjectError

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


FUNCTIONS: dict[str, Callable[..., Any]] = {
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
}
CONSTANTS = {"pi": np.pi}
BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: divide,
    ast.Pow: np.float_power,
}
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: lambda left, right: left == right,
    ast.NotEq: lambda left, right: left != right,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.In: np.isin,
    ast.NotIn: lambda left, right: ~np.isin(left, right),
}


@dataclass(frozen=True)
class Expression:
    """A parsed expression: its text, the columns that it reads in order of appearance, and what computes it."""

    text: str
    columns: tuple[str, ...]
    compute: Compute

    def evaluate(self, values: Mapping[str, Array]) -> Array:
        """Evaluate over arrays of one length; float64 of that length, NaN where an input is missing or a value undefined.

        Comparisons give 0 or 1; a missing value equals nothing.
        """
        with np.errstate(all="ignore"):
            return self.evaluate_quietly(values)

    def evaluate_quietly(self, values: Mapping[str, Array]) -> Array:
        """`evaluate` for a caller that has silenced numpy's warnings itself: that takes time, and one may do it for many."""
        result = np.asarray(self.compute(values), dtype="float64")
        finite = np.isfinite(result)
        if not finite.all():
            result = np.where(finite, result, np.nan)
        rows = len(values[self.columns[0]])
        return result if result.shape == (rows,) else np.full(rows, result)


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
    return Expression(text, tuple(columns), compile_tree(tree))


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
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            parts = [left, right]
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            parts = [operand]
        case ast.BoolOp(values=values):
            parts = values
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARISONS:
            parts = [left, right]
        case ast.List(elts=parts) | ast.Tuple(elts=parts) if all(isinstance(part, ast.Constant) for part in parts):
            return
        case _:
            raise ValueError(
                f"{ast.unparse(node)!r} is not allowed; there are columns, numbers, strings, + - * / **, comparisons, "
                f"and/or/not, in [...], and {', '.join(sorted(FUNCTIONS))}"
            )
    for part in parts:
        check(part, columns)


def compile_tree(node: ast.expr) -> Compute:
    """A checked tree as a function of the columns' arrays: it is walked once, not for every request."""
    match node:
        case ast.Constant(value=value):
            return lambda values: value
        case ast.Name(id=name) if name in CONSTANTS:
            return lambda values: CONSTANTS[name]
        case ast.Name(id=name) | ast.Call(func=ast.Name(id="col"), args=[ast.Constant(value=str(name))]):
            return itemgetter(name)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return apply(FUNCTIONS[name], *map(compile_tree, arguments))
        case ast.BinOp(left=left, op=op, right=right):
            return apply(BINARY[type(op)], compile_number(left), compile_number(right))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return apply(np.negative, compile_number(operand))
        case ast.UnaryOp(operand=operand):
            return apply(np.logical_not, compile_tree(operand))
        case ast.BoolOp(op=op, values=parts):
            combine = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return apply(
                lambda *truths: combine.reduce([np.asarray(truth, dtype=bool) for truth in truths]),
                *map(compile_tree, parts),
            )
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return apply(COMPARISONS[type(op)], compile_tree(left), compile_tree(right))
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            constants = [part.value for part in parts if isinstance(part, ast.Constant)]
            return lambda values: constants
    raise AssertionError(ast.dump(node))  # check() has refused everything else


def apply(function: Callable[..., Any], *parts: Compute) -> Compute:
    """The function of the columns' arrays that applies `function` to what the parts give."""
    if len(parts) == 1:
        only = parts[0]
        return lambda values: function(only(values))
    if len(parts) == 2:
        left, right = parts
        return lambda values: function(left(values), right(values))
    return lambda values: function(*[part(values) for part in parts])


def compile_number(node: ast.expr) -> Compute:
    """An operand of arithmetic: truth values become 0 and 1, so that `(a == "x") + (b == "x")` counts."""
    part = compile_tree(node)
    if isinstance(node, ast.BinOp) or (isinstance(node, ast.Constant) and type(node.value) in (int, float)):
        return part
    return lambda values: np.asarray(part(values), dtype="float64")
