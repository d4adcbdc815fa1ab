"""`lifecycle monitor` on logs of a live project."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.built import run
from tests.support.live import read_champion, turn

# a kernel, three times
pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("warm")]


def test_monitor_tells_what_stands_and_ends_as_schedulers_like(live: Path, tmp_path: Path) -> None:
    live = Path(shutil.copytree(live, tmp_path / "copy", symlinks=True))
    quiet = run(live, "lifecycle", "monitor", "--log", str(live / "data/simulated/logs/none"), "--exit-code")
    assert (quiet.returncode, "act: " in quiet.stdout) == (0, False), quiet.stdout + quiet.stderr
    loud = run(live, "lifecycle", "monitor", "--log", turn(live), "--exit-code")
    assert loud.returncode == 2 and "act: The model is worse than it was, since 2026-0" in loud.stdout, loud.stdout
    told = json.loads((live / "reports/live/monitor.json").read_text())
    assert told["severity"] == "act" and told["model"] == read_champion(live)[:12]
    assert "What rang" not in loud.stdout and "<h1" in (live / "reports/live/monitor.html").read_text()
    nothing = run(live, "lifecycle", "monitor")
    assert nothing.returncode == 1 and "expected a prediction log" in nothing.stderr
