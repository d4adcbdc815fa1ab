"""What each test function came to and when: kept in .lifecycle/evidence.json, where `lifecycle readiness` looks for it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lifecycle.core.files import write_json
from lifecycle.core.paths import EVIDENCE

GRAVITY = ("passed", "skipped", "failed")  # of a test's phases and parameters the gravest outcome counts


def keep_evidence(config: pytest.Config) -> None:
    """Keep what this session's tests come to; with xdist in the controller alone, which hears of all of them."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(EvidenceKeeper(config.rootpath / EVIDENCE, choosy=is_choosy(config)))


def is_choosy(config: pytest.Config) -> bool:
    """Whether only some parameters of a function may have been asked for."""
    option = config.option
    narrowed = option.keyword or option.deselect or getattr(option, "lf", False)
    return bool(narrowed) or any("[" in argument for argument in config.args)


def name_function(nodeid: str) -> str:
    """A node id without its parameters."""
    return nodeid.split("[", 1)[0]


class EvidenceKeeper:
    """Gathers outcomes while tests run, and adds them to what the file holds when the session ends."""

    def __init__(self, path: Path, *, choosy: bool) -> None:
        self.path = path
        self.choosy = choosy
        self.collected: set[str] = set()
        self.outcomes: dict[str, str] = {}
        self.times: dict[str, str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.collected.update(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        self.collected.update(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome not in GRAVITY or (report.passed and report.when != "call"):
            return  # a word of another plugin's; and what was set up well has not passed yet
        before = self.outcomes.get(report.nodeid, "passed")
        self.outcomes[report.nodeid] = max(before, report.outcome, key=GRAVITY.index)
        self.times[report.nodeid] = datetime.now(UTC).isoformat(timespec="seconds")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        try:
            self.write()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong here is no test's fault
            reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
            if reporter is not None:
                reporter.write_line(f"\n{EVIDENCE} was not written: {type(error).__name__}: {error}")

    def write(self) -> None:
        """Replace the file by what it held with this session's functions in it."""
        if told := self.summarise():
            self.path.parent.mkdir(exist_ok=True)
            write_json(dict(sorted({**read_kept(self.path), **told}.items())), self.path)

    def summarise(self) -> dict[str, dict[str, str]]:
        """Outcome and time of each function; without those of which a parameter that may fail did not run."""
        parts: dict[str, list[str]] = defaultdict(list)
        for nodeid in self.outcomes:
            parts[name_function(nodeid)].append(nodeid)
        unfinished = {name_function(nodeid) for nodeid in self.collected - self.outcomes.keys()}
        told = {}
        for name, nodeids in parts.items():
            outcome = max((self.outcomes[nodeid] for nodeid in nodeids), key=GRAVITY.index)
            partial = name in unfinished or (self.choosy and nodeids != [name])
            if outcome == "failed" or not partial:
                told[name] = {"outcome": outcome, "at": max(self.times[nodeid] for nodeid in nodeids)}
        return told


def read_kept(path: Path) -> dict[str, Any]:
    """What the file holds; nothing where it does not exist, or is damaged: the next runs fill it again."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
