"""Workspaces: folders below the project in which the same notebooks run on other rows, without touching its outputs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from lifecycle.core import paths
from lifecycle.core.files import replace_file
from lifecycle.core.params import read_yaml
from lifecycle.core.paths import Project


def create_workspace(project: Project, name: str, changes: Mapping[str, Mapping[str, Any]]) -> Path:
    """Create the workspace `name` with the project's notebooks, contract, lock and parameters, with `changes` (section: keys)."""
    root = project.output / name
    shutil.rmtree(root, ignore_errors=True)
    (root / "data").mkdir(parents=True)
    params = read_yaml(project.read(paths.PARAMS))
    for section, values in changes.items():
        params[section] |= values
    write_yaml(params, root / paths.PARAMS)
    shutil.copyfile(project.read(paths.CONTRACT), root / paths.CONTRACT)
    shutil.copytree(project.read("notebooks"), root / "notebooks", ignore=shutil.ignore_patterns(".*"))
    if (project.root / paths.LOCK).is_file():
        shutil.copyfile(project.root / paths.LOCK, root / paths.LOCK)
    return root


def link_path(target: Path, link: Path) -> None:
    """Link to a file or folder that is only read."""
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target.resolve())


def write_yaml(value: Any, path: Path) -> None:
    """Write plain values as YAML 1.2, keys in their order, in block style, as ruamel cannot read all that it writes in flow style."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    with replace_file(path) as aside, aside.open("w", encoding="utf-8") as file:
        yaml.dump(value, file)


@contextmanager
def enter_workspace(root: Path, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run stages in a workspace, which is the working directory too, with additional environment variables, inside the block."""
    values = {paths.ROOT_VARIABLE: str(root), **(environment or {})}
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        with chdir(root):  # a kernel's sockets are created in the working directory
            yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
