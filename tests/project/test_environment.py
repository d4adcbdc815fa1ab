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

BEGINNING = 1 << 20  # bytes of a file that are searched


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
    groups = [each for name in ("serve", "docs", "dev") for each in declared["dependency-groups"][name]]
    wanted = [*declared["project"]["dependencies"], *extras, *groups]
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


def test_the_makefile_and_ci_know_the_same_pythons(checkout: Path, declared: dict[str, Any]) -> None:
    supported = SpecifierSet(declared["project"]["requires-python"])
    minors = [minor for minor in range(40) if f"3.{minor}" in supported]
    oldest, newest = f"3.{minors[0]}", f"3.{minors[-1]}"
    makefile = (checkout / "Makefile").read_text(encoding="utf-8")
    assert f"(3, {minors[0]}) <= sys.version_info < (3, {minors[-1] + 1})" in makefile
    assert all(f" python3.{minor}" in makefile for minor in minors)
    assert makefile.count(f"Python {oldest} to {newest}") == 2 and f"--python-version {oldest} " in makefile
    jobs = read_yaml(checkout / ".github/workflows/ci.yml")["jobs"]
    tried = [
        step["with"]["python-version"] for step in jobs["rebuild"]["steps"] if "setup-python" in step.get("uses", "")
    ]
    assert tried + jobs["test"]["strategy"]["matrix"]["python-version"] == [f"3.{minor}" for minor in minors]
    assert f"{oldest} to {newest}" in (checkout / "README.md").read_text(encoding="utf-8")


def test_nothing_tracked_names_a_registry_or_this_machine(checkout: Path) -> None:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=checkout, capture_output=True, text=True, check=True).stdout
    hosts = "pypi|pythonhosted|npmjs|maven|golang|crates|debian"
    registry = re.compile(rf"https?://[^ ]*({hosts})[^ ]*\.(org|com|io)")
    for name in filter(None, names.split("\0")):
        path = checkout / name
        if path.is_file() and path.suffix not in {".png", ".joblib"}:
            with path.open("rb") as file:  # a table that somebody keeps in git may be long, and in any encoding
                text = file.read(BEGINNING).decode(errors="replace")
            assert not registry.search(text), name
            assert f"{checkout}/" not in text, name


def test_ci_calls_what_the_readme_says(checkout: Path) -> None:
    steps = (checkout / ".ci/run").read_text()
    assert {"make repro", "make lint", "make test-all"} <= set(map(str.strip, steps.splitlines()))
