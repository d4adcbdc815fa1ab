from pathlib import Path

import pytest
from pydantic import ValidationError

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import load_params, read_yaml
from lifecycle.pipeline.runner import STAGES
from tests.support.small import SMALL


@pytest.fixture
def text() -> str:
    return (SMALL / "params.yaml").read_text()


def load(text: str, folder: Path):
    path = folder / "params.yaml"
    path.write_text(text)
    return load_params(path)


def test_every_stage_has_a_section(checkout: Path) -> None:
    params = load_params(checkout / "params.yaml")
    for stage in STAGES:
        assert params.for_notebook(stage)["seed"] == params.base.seed


def test_sections_are_frozen(checkout: Path) -> None:
    params = load_params(checkout / "params.yaml")
    with pytest.raises(ValidationError):
        params.base.seed = 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  seed: 42", "  sead: 42", r"params\.yaml: base\.seed: is missing \(1 more"),
        ("  trials: 4", "  trials: 4\n  trails: 3", r"params\.yaml: tune\.trails: is not a known key"),
        ("  trials: 4", "  trials: many", r"params\.yaml: tune\.trials: .*integer.*'many'"),
        ("  trials: 4", "  trials: 0", r"params\.yaml: tune\.trials: .*greater than or equal to 1"),
        ("{low: 0.03, high: 10.0", "{low: 30.0, high: 10.0", r"tune\.families\.logistic\.C.*low 30 is above high 10"),
        ("{low: 0.03, high: 10.0", "{low: 0.0, high: 10.0", r"logarithmic range needs low above 0"),
        ('  gap: ""', "  gap: a week", r"params\.yaml: features\.gap: .*such as 7 days, or empty"),
        ('  gap: ""', "  gap: 7", r"params\.yaml: features\.gap: .*valid string"),
        ("  seed: 42", "  seed: 42\n  seed: 43", r"params\.yaml is not readable as YAML.*duplicate key"),
        ("base:", "base: [", r"params\.yaml is not readable as YAML"),
    ],
)
def test_a_mistake_is_named(text: str, tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in text
    with pytest.raises(ProjectError, match=message):
        load(text.replace(old, new, 1), tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"params\.yaml is missing"):
        load_params(tmp_path / "params.yaml")


def test_what_is_read_belongs_to_the_reader_and_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("a: {b: [1]}")
    read_yaml(path)["a"]["b"].append(2)
    assert read_yaml(path) == {"a": {"b": [1]}}
    path.write_text("a: {b: [3]}")
    assert read_yaml(path) == {"a": {"b": [3]}}
