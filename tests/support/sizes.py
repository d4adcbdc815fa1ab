"""How much the tests do: a little in every run, all of it in `make prove`, which sets LIFECYCLE_PROVE=1."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")
PROVE = os.environ.get("LIFECYCLE_PROVE") == "1"


def size(small: T, full: T) -> T:
    """Return `full` in `make prove`, and `small` in any other run."""
    return full if PROVE else small
