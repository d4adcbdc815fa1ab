"""The outcome of validation: the content of data/validated/checks.json."""

from __future__ import annotations

from lifecycle.core.records import Frozen
from lifecycle.validation.checks import Check


class Validation(Frozen):
    """Whether a table passed and why, its row counts, the columns protected as personal data, and every check.

    `rows` is the sum of the `valid` ones, the `quarantined` ones, which broke the contract, and the `rejected` ones, which could
    not be read. `tolerance` is the share of the last two that the contract accepts; `redacted` maps columns to the kinds of personal
    data that were redacted in them.
    """

    passed: bool
    because: str
    rows: int
    valid: int
    quarantined: int
    rejected: int
    tolerance: int | float
    dropped: tuple[str, ...]
    pseudonymised: tuple[str, ...]
    redacted: dict[str, tuple[str, ...]]
    checks: tuple[Check, ...]

    @property
    def unused(self) -> int:
        """The rows that are not valid: quarantined or rejected."""
        return self.quarantined + self.rejected

    @property
    def failed(self) -> list[Check]:
        """The checks that failed, whatever their severity."""
        return [check for check in self.checks if check.status == "failed"]
