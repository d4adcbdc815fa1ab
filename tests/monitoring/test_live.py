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


def test_monitor_reports_alerts_and_its_exit_code_suits_schedulers(live: Path, tmp_path: Path) -> None:
    live = Path(shutil.copytree(live, tmp_path / "copy", symlinks=True))
    calm = run(live, "lifecycle", "monitor", "--log", str(live / "data/simulated/logs/none"), "--exit-code")
    assert (calm.returncode, "critical: " in calm.stdout) == (0, False), calm.stdout + calm.stderr
    loud = run(live, "lifecycle", "monitor", "--log", turn(live), "--exit-code")
    assert loud.returncode == 2 and "critical: The model has performed worse since 2026-0" in loud.stdout, loud.stdout
    report = json.loads((live / "reports/live/monitor.json").read_text())
    assert report["severity"] == "critical" and report["simulated"] and report["model"] == read_champion(live)[:12]
    assert "<h1" in (live / "reports/live/monitor.html").read_text()
    nothing = run(live, "lifecycle", "monitor")
    assert nothing.returncode == 1 and "expected a prediction log" in nothing.stderr
