"""README and documentation: short, whole, and complete. test_guides.py types every command that they show."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from lifecycle.cli.main import lifecycle, main
from lifecycle.core import contract, expressions
from lifecycle.core.params import Params, read_yaml
from lifecycle.serving.acceptance import start_server
from lifecycle.serving.settings import Settings, name_variable
from tests.project.test_layout import PACKAGES
from tests.support.guides import read_guide

HERE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(HERE / "docs"))

generate, metrics, packages, schemas, variables = map(
    import_module, ("generate", "generate.metrics", "generate.packages", "generate.schemas", "generate.settings")
)

COMMANDS = tuple(lifecycle.commands)
DOCS = HERE / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
WRITTEN = [HERE / "README.md", HERE / "CONTRIBUTING.md", *PAGES]
DRY = {  # servers: what they start
    "make lab": "jupyter lab --ip 127.0.0.1",
    "make ui": "mlflow ui --host 127.0.0.1",
    "make serve": "lifecycle serve",
    "make docs": "sphinx --fail-on-warning",
}
TARGETS = (
    "env", "repro", "test", "test-all", "lint", "format", "lab", "ui", "serve", "docs", "picture", "deliver", "container",
    "airflow", "lock", "clean",
)  # fmt: skip
MADE = ("data/", "docs/_build", "models/", "reports/", "benchmarks/results")  # what a rebuild or a command writes
PLACEHOLDERS = ("NAME", "NN_", "STAGE")


@cache
def fill(name: str) -> str:
    """A page of the reference as Sphinx reads it."""
    text: str = generate.fill_page((DOCS / "reference" / f"{name}.md").read_text(encoding="utf-8"))
    return text


def list_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of a model, found without the generator: a mapping's values have a name in capitals."""
    schema = model.model_json_schema(by_alias=True)

    def walk(part: dict[str, Any], path: str) -> Iterator[str]:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rsplit("/", 1)[-1]]
        for key, inner in part.get("properties", {}).items():
            yield f"{path}{key}"
            yield from walk(inner, f"{path}{key}.")

    return walk(schema, prefix)


# The README.


def test_the_readme_is_short(checkout: Path) -> None:
    text = (checkout / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    assert len(re.sub(r"<!--.*?-->", "", text).split()) <= 700


def test_the_readme_begins_with_two_commands_and_shows_a_picture(checkout: Path) -> None:
    guide = read_guide(checkout / "README.md")
    assert guide.commands[:2] == ["make repro", "make test"]
    assert guide.commands[2].startswith(".venv/bin/lifecycle adopt customers.csv --target ")
    assert (checkout / re.findall(r"!\[.+?\]\((.+?)\)", guide.path.read_text())[0]).is_file()


# What pages name.


def test_shell_blocks_are_all_of_the_language_that_is_tested() -> None:
    for page in WRITTEN:
        languages = {block.language for block in read_guide(page).blocks}
        assert not languages & {"bash", "shell", "console", "zsh"}, page
        assert not re.search(r"^```\n(\$ |make |lifecycle |dvc )", page.read_text(), re.MULTILINE), page


def test_make_targets_exist_and_are_described(checkout: Path) -> None:
    words = ["make", f"PYTHON={sys.executable}"]  # named, so that make does not look for one
    listed = subprocess.run([*words, "help"], cwd=checkout, capture_output=True, text=True, check=True).stdout
    for target in TARGETS:
        done = subprocess.run([*words, "--dry-run", target], cwd=checkout, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert DRY.get(f"make {target}", "") in done.stdout
        assert re.search(rf"^make {target} +\S", listed, re.MULTILINE)
        assert f"`make {target}`" in fill("command_line")


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(HERE)))
def test_commands_and_files_named_in_prose_exist(checkout: Path, page: Path) -> None:
    prose = page.read_text()
    for target in re.findall(r"`make ([a-z-]+)", prose):
        assert re.search(rf"^{target}:", (checkout / "Makefile").read_text(), re.MULTILINE), target
    for command in re.findall(r"(?:^|`|/bin/)lifecycle ([a-z]+)", prose, re.MULTILINE):
        assert command in COMMANDS, command
    for module in re.findall(r"python -m (benchmarks[\w.]*)", prose):
        name = module.replace(".", "/")
        assert (checkout / f"{name}.py").exists() or (checkout / name / "__main__.py").exists(), module
    for name in re.findall(r"`((?:src|tests|docs|notebooks|data|benchmarks|ops|dags|models|reports)/[\w/.-]*)`", prose):
        built = name.startswith(MADE) or any(word in name for word in PLACEHOLDERS)
        assert built or (checkout / name).exists(), name


def test_links_of_pages_outside_the_documentation_lead_somewhere(checkout: Path) -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", (checkout / name).read_text()):
            assert link.startswith("https://") or (checkout / link).exists(), link


# The reference.


def test_every_parameter_is_in_the_reference() -> None:
    page = fill("parameters")
    for key in list_keys(Params):
        assert f"`{key}`" in page or f"## `{key}`" in page, key
    for key in ("simulate.scenarios.SCENARIO.kind", "tune.families.FAMILY.HYPERPARAMETER.low"):
        assert f"`{key}`" in page


def test_every_contract_key_and_role_is_in_the_reference() -> None:
    page = fill("contract")
    for key in (*contract.Contract.model_fields, *contract.Column.model_fields, "tolerance.quarantined"):
        assert f"| `{key}` |" in page, key
    for role in contract.Role:
        assert re.search(rf"^\| .*`{role}`", page, re.MULTILINE), role


def test_every_setting_and_variable_is_in_the_reference() -> None:
    page = fill("settings")
    for name in Settings.model_fields:
        assert f"`{name_variable(name)}`" in page, name
    for name in variables.find_variables():
        assert f"`{name}`" in page, name


def test_every_command_and_option_is_in_the_reference(capsys: pytest.CaptureFixture[str]) -> None:
    page = fill("command_line")
    for command in COMMANDS:
        section = page.split(f"## `lifecycle {command}`\n")[1].split("\n## ")[0]
        with suppress(SystemExit):
            main([command, "--help"])
        for option in set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}:
            assert option in section, f"{command} {option}"


def test_every_metric_is_in_the_reference(checkout: Path) -> None:
    page = fill("metrics")
    found = metrics.find_all()
    assert len(found) > 20
    for each in found:
        assert f"| `{each.name}` |" in page
    used = set()
    for name in ("ops/alerts.yml", "ops/grafana/dashboards/lifecycle.json"):
        used |= set(
            re.findall(
                r"\b(?:model|drift|live|feature_store|prediction_log|monitor)_[a-z_]+(?=[{\[) ])",
                (checkout / name).read_text(),
            )
        )
    known = {each.name for each in found}
    for name in used:
        plain = re.sub(r"_(bucket|count|sum)$", "", name)
        assert plain in known or name in known or name.endswith("_"), name


def test_every_alert_is_in_the_reference(checkout: Path) -> None:
    page = fill("alerts")
    rules = [rule for group in read_yaml(checkout / "ops/alerts.yml")["groups"] for rule in group["rules"]]
    names = [rule["alert"] for rule in rules if "alert" in rule]
    assert names
    for name in names:
        assert f"### {name}\n" in page
    assert page.count("*What to do.* ") == len(names)
    for kind in ("missing", "unit", "volume", "prediction", "multivariate"):
        assert f"| `{kind}` |" in page


def test_every_word_of_expressions_is_in_the_reference() -> None:
    page = fill("expressions")
    for word in (*expressions.FUNCTIONS, *expressions.CONSTANTS):
        assert f"`{word}(" in page or f"| `{word}` |" in page, word


def test_every_endpoint_is_in_the_reference() -> None:
    page = fill("http_api")
    for path in ("/predict", "/feedback", "/model", "/health", "/ready", "/metrics", "/monitor", "/dashboard"):
        assert re.search(rf"^## `(GET|POST) {path}`$", page, re.MULTILINE), path


def test_every_package_has_a_page() -> None:
    assert packages.PACKAGES == PACKAGES
    for name in PACKAGES:
        text = generate.fill_page((DOCS / "reference/python" / f"{name}.md").read_text())
        for module in packages.list_modules(name):
            assert f".. automodule:: lifecycle.{name}.{module}" in text


def test_what_has_no_description_fails() -> None:
    with pytest.raises(ValueError, match=r"without a description: train\.folds"):
        schemas.refuse_missing(["train.folds"])
    with pytest.raises(KeyError):
        generate.fill_page("<!-- generated: nothing-like-this -->")


# What is built.


@pytest.mark.integration
def test_the_site_is_built_without_a_warning_and_needs_no_network(checkout: Path, tmp_path: Path) -> None:
    words = ["-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--jobs", "auto", "docs", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for page in tmp_path.rglob("*.html"):
        fetched = re.findall(r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"(https?:[^\"]+)\"", page.read_text())
        assert not fetched, f"{page}: {fetched}"
    for sheet in tmp_path.rglob("*.css"):
        assert not re.search(r"url\([\"']?https?:", sheet.read_text(errors="replace")), sheet


@pytest.mark.integration
def test_a_picture_shows_the_whole_page(
    checkout: Path, tmp_path: Path, require_program: Callable[[str, str], str]
) -> None:
    from PIL import Image

    chromium = require_program("chromium", "chromium")
    page = tmp_path / "page.html"
    page.write_text(
        '<body style="margin:0"><div style="height:3000px"></div><div style="height:10px;background:red"></div>'
    )
    words = [str(page), str(tmp_path / "page.png"), "--chromium", chromium, "--width", "400"]
    subprocess.run([sys.executable, str(checkout / "docs/take_picture.py"), *words], check=True)
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.size == (400, 3034)
        assert picture.convert("RGB").getpixel((10, 3005)) == (255, 0, 0)


@pytest.mark.integration
def test_the_request_of_the_tutorial_is_answered_as_shown(checkout: Path, tmp_path: Path) -> None:
    """The request, sent to the committed champion: the same words, and the numbers that are rounded on the page."""
    blocks = read_guide(checkout / "docs/tutorials/worked_example.md").blocks
    command = next(block.text for block in blocks if "curl" in block.text)
    path, body = command.rsplit("8000", 1)[1].strip("'"), command.split("--data '", 1)[1].rsplit("' '", 1)[0]
    shown = json.loads(next(block.text for block in blocks if block.language == "json"))
    with start_server(checkout, log_folder=tmp_path) as server:
        status, _, content = server.ask(path, json.dumps(json.loads(body)).encode())
        exported = server.ask("/metrics")[2].decode()
    given = json.loads(content)
    assert status == 200 and given.keys() == shown.keys()
    shown["request_id"] = given["request_id"]
    explained, given_explained = shown.pop("explanation"), given.pop("explanation")
    contributions = given_explained.pop("contributions")
    for expected, found in zip(explained.pop("contributions"), contributions, strict=False):
        assert expected == {**found, "contribution": round(found["contribution"], 3)}
    for expected, found in ((shown, given), (explained, given_explained)):
        assert expected == {key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()}
    page = fill("metrics")
    for name in re.findall(r"^# TYPE (\S+) ", exported, re.MULTILINE):
        assert name.endswith("_created") or f"| `{name}` |" in page, name  # the client adds when a counter began
