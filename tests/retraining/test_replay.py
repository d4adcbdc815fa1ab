"""`lifecycle replay`: months of production with monitoring and retraining."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.built import run
from tests.support.sizes import size

# minutes: monitoring month after month, and a challenger
pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("warm", "measured")]


def test_a_replayed_year_reacts_to_concept_drift_and_is_repeatable(live: Path, tmp_path: Path) -> None:
    """Concept drift begins in April; it is detected, a challenger is promoted, and no further alert fires."""
    pages = []
    for name in size(("one",), ("one", "two")):
        root = tmp_path / name
        shutil.copytree(live, root, symlinks=True)
        before = (root / "models/champion.json").read_bytes()
        done = run(root, "lifecycle", "replay")
        assert done.returncode == 0, done.stdout + done.stderr
        assert (root / "models/champion.json").read_bytes() == before
        pages.append([(root / name).read_bytes() for name in ("reports/replay.json", "reports/replay.html")])
    assert all(page == pages[0] for page in pages)
    months = {month["month"]: month for month in json.loads(pages[0][0])["months"]}
    assert [month for month in months if months[month]["severity"] == "ok"][:3] == ["2026-01", "2026-02", "2026-03"]
    alerted = [month for month, month_report in months.items() if month_report["severity"] != "ok"]
    assert "2026-04" <= alerted[0] <= "2026-05"
    judged = [month for month, month_report in months.items() if month_report["outcome"]]
    assert all(month >= alerted[0] and months[month]["outcome"]["because"] for month in judged)
    promoted = [month for month in judged if months[month]["outcome"]["outcome"] == "promoted"]
    assert len(promoted) == 1 and alerted[0] <= promoted[0] <= "2026-08"
    assert all(record["severity"] == "ok" for month, record in months.items() if month > promoted[0])
    after = [month_report for month, month_report in months.items() if month > promoted[0]]
    assert after and all(month_report["served"]["roc_auc"] > month_report["stale"]["roc_auc"] for month_report in after)
