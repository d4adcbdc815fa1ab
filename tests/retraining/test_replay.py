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


def test_a_year_is_played_as_scripted_and_twice_with_the_same_bytes(live: Path, tmp_path: Path) -> None:
    """The relation turns in April; it is noticed, a challenger is promoted, and then it is quiet."""
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
    assert [month for month in months if months[month]["severity"] == "quiet"][:3] == ["2026-01", "2026-02", "2026-03"]
    rung = [month for month, told in months.items() if told["severity"] != "quiet"]
    assert "2026-04" <= rung[0] <= "2026-05"
    judged = [month for month, told in months.items() if told["outcome"]]
    assert all(month >= rung[0] and months[month]["outcome"]["because"] for month in judged)
    promoted = [month for month in judged if months[month]["outcome"]["outcome"] == "promoted"]
    assert len(promoted) == 1 and rung[0] <= promoted[0] <= "2026-07"
    assert all(told["severity"] == "quiet" for month, told in months.items() if month > promoted[0])
    after = [told for month, told in months.items() if month > promoted[0]]
    assert after and all(told["served"]["roc_auc"] > told["stale"]["roc_auc"] for told in after)
