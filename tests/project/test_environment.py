"""pyproject.toml, the lock and environment.yml say the same; and nothing tracked names a registry or this machine."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from lifecycle.core.params import read_yaml


@pytest.fixture(scope="module")
def declared(checkout: Path) -> dict[str, Any]:
    return tomllib.loads((checkout / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def lock(checkout: Path) -> str:
    return (checkout / "requirements.txt").read_text()


@pytest.fixture(scope="module")
def locked(lock: str) -> dict[str, Requirement]:
    lines = re.findall(r"^(\S+==.*?) *\\$", lock, re.MULTILINE)
    requirements = [Requirement(line) for line in lines]
    names = [canonicalize_name(requirement.name) for requirement in requirements]
    assert len(names) == len(set(names)), "one version of each package, whatever the Python"
    return dict(zip(names, requirements, strict=True))


def test_the_lock_holds_what_is_declared(declared: dict[str, Any], locked: dict[str, Requirement]) -> None:
    extras = [each for extra in declared["project"]["optional-dependencies"].values() for each in extra]
    wanted = [*declared["project"]["dependencies"], *extras, *declared["dependency-groups"]["dev"]]
    for requirement in map(Requirement, wanted):
        found = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(next(iter(found.specifier)).version), f"{requirement} and {found}"


def test_every_package_has_hashes_and_no_address(lock: str, locked: dict[str, Requirement]) -> None:
    entries = re.split(r"^(?=\S+==)", lock, flags=re.MULTILINE)[1:]
    assert len(entries) == len(locked)
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]
    assert "://" not in lock
    assert "index" not in re.sub(r"^\S+==.*$", "", lock, flags=re.MULTILINE)


def test_what_is_installed_is_the_lock(locked: dict[str, Requirement]) -> None:
    for name, requirement in locked.items():
        if requirement.marker is None or requirement.marker.evaluate():
            assert requirement.specifier.contains(version(name), prereleases=True), (
                f"{requirement}, installed {version(name)}"
            )
    ours = {canonicalize_name(found.metadata["Name"]) for found in distributions()}
    assert ours - set(locked) <= {"lifecycle", "pip", "setuptools", "wheel"}


def test_conda_gets_the_same(checkout: Path, declared: dict[str, Any]) -> None:
    *packages, pip = read_yaml(checkout / "environment.yml")["dependencies"]
    python = next(package for package in packages if package.startswith("python "))
    assert SpecifierSet(python.removeprefix("python ")) == SpecifierSet(declared["project"]["requires-python"])
    assert pip["pip"] == ["--requirement requirements.txt"]


def test_nothing_tracked_names_a_registry_or_this_machine(checkout: Path) -> None:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=checkout, capture_output=True, text=True, check=True).stdout
    hosts = "pypi|pythonhosted|npmjs|maven|golang|crates|debian"
    registry = re.compile(rf"https?://[^ ]*({hosts})[^ ]*\.(org|com|io)")
    for name in filter(None, names.split("\0")):
        path = checkout / name
        if path.is_file() and path.suffix not in {".png", ".joblib"}:
            text = path.read_text(encoding="utf-8")
            assert not registry.search(text), name
            assert f"{checkout}/" not in text, name


def test_ci_calls_what_the_readme_says(checkout: Path) -> None:
    steps = (checkout / ".ci/run").read_text()
    assert {"make repro", "make lint", "make test-all"} <= set(steps.splitlines())
