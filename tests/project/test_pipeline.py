"""The whole pipeline through DVC, on a sample: what runs when, that it repeats byte for byte, and that it promotes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lifecycle.core.params import read_yaml
from lifecycle.core.tables import write_table
from lifecycle.pipeline.runner import STAGES
from tests.support.built import clone, repro, run
from tests.support.sizes import size
from tests.support.small import read_sample

# minutes, not a package: the whole pipeline several times over
pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("warm")]


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """A copy of the built project that a test may change."""
    return Path(shutil.copytree(built, tmp_path / "copy", symlinks=True))


def test_a_second_clone_has_the_same_lock(checkout: Path, built: Path, tmp_path: Path) -> None:
    """Another folder, another time: the same hashes of all data, models and reports, for so many stages as run here."""
    other = clone(checkout, tmp_path / "a second clone, elsewhere")
    ran = repro(other, *size(("train",), ()))
    assert {"collect", "tune", "train"} <= set(ran)
    locks = [read_yaml(root / "dvc.lock")["stages"] for root in (other, built)]
    assert locks[0].keys() == set(ran)
    assert locks[0] == {stage: locks[1][stage] for stage in ran}


def test_promotion_and_then_only_the_comparison_runs_again(copy: Path) -> None:
    """The first blessed model becomes champion; the comparison sees it, and then everything is at rest."""
    assert repro(copy) == []
    done = run(copy, "lifecycle", "promote", "--if-blessed")
    assert done.returncode == 0, done.stderr
    assert "is now the champion: it is the first" in done.stdout
    champion = json.loads((copy / "models/champion.json").read_text())
    assert champion["model"] == json.loads((copy / "models/verdict.json").read_text())["model"]
    assert set(repro(copy)) <= {"evaluate", "explain", "report"}
    assert "the champion already" in run(copy, "lifecycle", "promote", "--if-blessed").stdout
    assert repro(copy) == []
    assert "is the champion" in run(copy, "lifecycle", "shadow", "candidate").stderr  # test_registry.py has the others
    assert "no model" in run(copy, "lifecycle", "shadow", "off").stdout
    assert champion["model"][:12] in run(copy, "lifecycle", "history").stdout
    back = run(copy, "lifecycle", "rollback")  # there is nothing to go back to
    assert (back.returncode, "lifecycle rollback: " in back.stderr) == (1, True), back.stderr
    assert repro(copy) == []


def test_one_key_reruns_its_stage_and_what_follows(copy: Path) -> None:
    params = copy / "params.yaml"
    text = params.read_text()
    assert "max_effects: 6" in text
    params.write_text(text.replace("max_effects: 6", "max_effects: 5"))
    ran = repro(copy)
    assert ran[0] == "explain" and set(ran) <= {"explain", "report"}


def test_a_changed_source_file_makes_collect_stale(copy: Path) -> None:
    write_table(read_sample().head(1900), copy / "data/sample.parquet")
    assert re.search(r"^collect:", run(copy, "dvc", "status").stdout, re.MULTILINE)


def test_reports_stand_alone(built: Path) -> None:
    """No page of the pipeline fetches anything."""
    pages = sorted((built / "reports").glob("*.html"))
    assert len(pages) == len(STAGES) + 4  # the front page, the model card, the features, serving.html
    for page in pages:
        text = page.read_text()
        for outside in ('src="http', 'src="//', "@import", "url(http", '<link rel="stylesheet"', "<iframe"):
            assert outside not in text, f"{page.name} has {outside}"
        for address in re.findall(r'href="([^"#]+)"', text):
            if not address.startswith(("http", "data:", "mailto:")):
                assert (page.parent / address).exists(), f"{page.name} links {address}"


def test_pages_open_in_a_browser(built: Path, tmp_path: Path, require_program: Callable[[str, str], str]) -> None:
    """Chromium, with no network, draws each page without an error, no wider than its window."""
    chromium = require_program("chromium", "chromium")
    for page in sorted((built / "reports").glob("*.html")):
        probe = tmp_path / page.name
        check = "<script>document.title = [document.documentElement.scrollWidth <= innerWidth, document.images.length, "
        check += (
            "[...document.images].every(i => i.naturalWidth > 0), document.body.innerText.length].join(' ')</script>"
        )
        probe.write_text(page.read_text().replace("</body>", check + "</body>"))
        done = subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1100,900",
             "--dump-dom", probe.as_uri()], capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        title = re.search(r"<title>(\w+) (\d+) (\w+) (\d+)</title>", done.stdout)
        assert title, f"{page.name}: {done.stderr[-500:]}"
        fits, _, drawn, letters = title.groups()
        assert (fits, drawn) == ("true", "true"), page.name
        assert int(letters) > 400, page.name


def test_an_experiment_in_the_workspace_runs_what_it_changes(copy: Path) -> None:
    """Without a queue it runs here; test_dvc.py has those in a queue."""
    done = run(copy, "dvc", "exp", "run", "-S", "explore.max_categories=11")
    ran = re.findall(r"Running stage '(\w+)'", done.stdout)
    assert ran[:1] == ["explore"] and set(ran) <= {"explore", "report"}, done.stdout + done.stderr
    assert "  max_categories: 11" in (copy / "params.yaml").read_text()
