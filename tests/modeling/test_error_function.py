from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable

import numpy as np
import pytest
from scipy import special

from lifecycle.modeling.error_function import erf, erfc, pin_error_function

Function = Callable[[float], float]
EDGES = [0.0, 1e-300, 2.0**-56, 2.0**-28, 0.25, 0.5, 0.84375, 1.0, 1.25, 1 / 0.35, 6.0, 27.0, 28.0, 40.0, math.inf]


def draw_arguments() -> list[float]:
    generator = np.random.default_rng(0)
    drawn = [generator.uniform(-scale, scale, 5000) for scale in (1e-9, 1e-3, 0.8, 1.3, 3, 7, 30)]
    return [*np.concatenate(drawn).tolist(), *EDGES, *(-edge for edge in EDGES)]


@pytest.mark.parametrize(("ours", "theirs"), [(erf, special.erf), (erfc, special.erfc)])
def test_the_functions_are_those_of_scipy_up_to_rounding(ours: Function, theirs: Function) -> None:
    for x in draw_arguments():
        assert ours(x) == pytest.approx(float(theirs(x)), rel=1e-13, abs=1e-300), x
    assert math.isnan(ours(math.nan))


@pytest.mark.parametrize(("ours", "digest"), [(erf, "9f19c431cc5c2942"), (erfc, "57636e2b763579e0")])
def test_the_bits_are_those_of_glibc_before_2_41(ours: Function, digest: str) -> None:
    """The digests were computed with `math.erf` and `math.erfc` under glibc 2.36."""
    values = b"".join(struct.pack("<d", ours(x)) for x in draw_arguments())
    assert hashlib.sha256(values).hexdigest()[:16] == digest


def test_the_sampler_uses_them() -> None:
    from optuna.samplers._tpe import _erf, _truncnorm

    pin_error_function()
    pin_error_function()
    for module in (_erf, _truncnorm):
        assert (module.math.erf, module.math.erfc, module.math.log) == (erf, erfc, math.log)
    assert _truncnorm._ndtr_single(1.0) == 1 - 0.5 * erfc(1 / 2**0.5)
