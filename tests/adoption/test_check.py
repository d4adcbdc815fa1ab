"""Another file of the adopted kind: what it would change, without writing anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lifecycle.cli.main import main
from tests.adoption.test_adopt import read_state


@pytest.fixture
def shop(project: Path, tmp_path: Path) -> pd.DataFrame:
    """A table that was adopted."""
    rng = np.random.default_rng(0)
    spend = np.round(rng.gamma(3, 20, 200), 2)
    frame = pd.DataFrame(
        {"spend": spend, "plan": rng.choice(["basic", "plus"], 200), "left": np.where(spend > 60, "yes", "no")}
    )
    frame.loc[::7, "left"] = "no"
    frame.to_csv(tmp_path / "table.csv", index=False)
    assert main(["adopt", str(tmp_path / "table.csv"), "--target", "left"]) == 0
    return frame


def check(frame: pd.DataFrame, folder: Path, capsys: pytest.CaptureFixture[str], **write: str) -> str:
    frame.to_csv(folder / "next.csv", index=False, **write)  # type: ignore[call-overload]
    capsys.readouterr()
    assert main(["adopt", str(folder / "next.csv"), "--check"]) == 0
    return capsys.readouterr().out


def test_a_file_that_agrees_changes_nothing(
    shop: pd.DataFrame, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_state(project)
    assert "nothing would change" in check(shop, tmp_path, capsys)
    assert read_state(project) == before


def test_a_path_is_relative_to_the_working_directory_as_for_adopt(
    shop: pd.DataFrame,
    project: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop.rename(columns={"plan": "tariff"}).to_csv(project / "next.csv", index=False)
    shop.to_csv(tmp_path / "next.csv", index=False)
    monkeypatch.chdir(tmp_path)
    assert main(["adopt", "next.csv", "--check"]) == 0
    assert "nothing would change" in capsys.readouterr().out


def test_what_differs_is_named(
    shop: pd.DataFrame, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_state(project)
    other = shop.rename(columns={"plan": "tariff"})
    assert "the column 'plan' is missing" in check(other, tmp_path, capsys)
    assert "the column 'tariff' is new" in check(other, tmp_path, capsys)
    newer = shop.assign(
        plan=np.where(shop.index < 5, "gold", shop["plan"]), spend=shop["spend"].where(shop.index != 3, -1e6)
    )
    said = check(newer, tmp_path, capsys)
    assert "plan: 'gold' in 5 rows is new" in said
    assert "1 rows would be quarantined: spend: expected at least 0" in said
    assert "delimiter" in check(shop, tmp_path, capsys, sep=";")
    marked = shop.assign(spend=shop["spend"].astype(str).where(shop.index % 9 > 0, "k.A."))
    said = check(marked, tmp_path, capsys)
    assert "spend: null_values would be ['k.A.']" in said and "spend: nullable would be True" in said
    assert read_state(project) == before
