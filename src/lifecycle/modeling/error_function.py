"""The error function with the same bits under every C library, so that a study gives the same trials.

Optuna's sampler calls `math.erf` and `math.erfc`, which are the C library's. glibc 2.41 rounds them otherwise than those before it, and
the last digit of a sampled value differs. The functions here evaluate the approximation of FreeBSD's `s_erf.c`, whose coefficients Optuna
ships, in the order in which glibc 2.40 and older do: with their bits, wherever they run.
"""

from __future__ import annotations

import math
import struct
from types import SimpleNamespace

from optuna.samplers._tpe import _erf, _truncnorm

_SMALL, _MIDDLE = 0.84375, 1.25  # each interval of |x| has an approximation of its own
_TINY_ERF, _TINY_ERFC = 2.0**-28, 2.0**-56
_LARGE_ERF, _LARGE_ERFC = 6.0, 28.0
_TAIL_ERF, _TAIL_ERFC = 0x4006DB6E, 0x4006DB6D  # the upper halves of the floats next to 1 / 0.35

_PP, _QQ, _PA, _QA, _RA, _SA, _RB, _SB = (  # coefficients, lowest power first
    [float(coefficient) for coefficient in polynomial.coef]
    for polynomial in (_erf.pp, _erf.qq, _erf.pa, _erf.qa, _erf.ra, _erf.sa, _erf.rb, _erf.sb)
)


def pin_error_function() -> None:
    """Make Optuna's TPE sampler compute with `erf` and `erfc` of this module. Done twice, it changes nothing more."""
    portable = SimpleNamespace(**{**vars(math), "erf": erf, "erfc": erfc})
    for module in (_truncnorm, _erf):
        vars(module)["math"] = portable


def erf(x: float) -> float:
    """The error function."""
    size = abs(x)
    if size < _SMALL:
        return x + (_erf.efx * x if size < _TINY_ERF else x * _approximate_small(x))
    if size < _MIDDLE:
        value = _erf.erx + _approximate_middle(size)
    elif size < _LARGE_ERF:
        value = 1 - _approximate_tail(size, _TAIL_ERF) / size
    else:
        value = 1.0 if size >= _LARGE_ERF else size  # NaN
    return math.copysign(value, x)


def erfc(x: float) -> float:
    """The complement of the error function, 1 - erf(x), without cancellation where x is large."""
    size = abs(x)
    if size < _SMALL:
        return 1 - x if size < _TINY_ERFC else _complement_small(x)
    if size < _MIDDLE:
        value = _approximate_middle(size)
        return 1 - _erf.erx - value if x > 0 else 1 + (_erf.erx + value)
    if size < _LARGE_ERFC and x > -_LARGE_ERF:
        value = _approximate_tail(size, _TAIL_ERFC) / size
        return value if x > 0 else 2 - value
    if math.isnan(x):
        return x
    return 0.0 if x > 0 else 2.0


def _complement_small(x: float) -> float:
    """Return erfc(x) for |x| < 0.84375."""
    product = x * _approximate_small(x)
    return 1 - (x + product) if x < 0.25 else 0.5 - (product + (x - 0.5))


def _approximate_small(x: float) -> float:
    """Return (erf(x) - x) / x for |x| < 0.84375, by a rational function of x squared."""
    square = x * x
    return _evaluate(_PP, square) / _evaluate(_QQ, square)


def _approximate_middle(size: float) -> float:
    """Return erf(size) minus the constant near erf(1), for 0.84375 <= size < 1.25, by a rational function."""
    return _evaluate(_PA, size - 1) / _evaluate(_QA, size - 1)


def _approximate_tail(size: float, limit: int) -> float:
    """Return size times erfc(size) for larger sizes; `limit` is the upper half of the bits at which the coefficients change."""
    inverse = 1 / (size * size)
    bits = struct.unpack("<Q", struct.pack("<d", size))[0]
    above, below = (_RA, _SA) if bits >> 32 < limit else (_RB, _SB)
    ratio = _evaluate(above, inverse) / _evaluate(below, inverse)
    rounded = struct.unpack("<d", struct.pack("<Q", bits >> 32 << 32))[0]  # its square is exact
    return math.exp(-rounded * rounded - 0.5625) * math.exp((rounded - size) * (rounded + size) + ratio)


def _evaluate(a: list[float], x: float) -> float:
    """A polynomial, lowest power first, by pairs: (a + b x) + x² (c + d x) + ... The order decides the last bit."""
    square = x * x
    fourth = square * square
    total = a[0] + x * a[1]
    for place, power in zip(range(2, len(a), 2), (square, fourth, fourth * square, fourth * fourth), strict=False):
        total += power * (a[place] + x * a[place + 1] if place + 1 < len(a) else a[place])
    return total
