"""The values of params.yaml for a notebook that is run by hand, without the runner that injects them."""

from __future__ import annotations

from collections.abc import MutableMapping
from textwrap import shorten
from typing import Any

from lifecycle.core.params import load_params
from lifecycle.core.paths import PARAMS, open_project


def fill_parameters(stage: str, names: MutableMapping[str, Any]) -> None:
    """Give the parameters that are None their values of params.yaml, and print in one line which they are.

    `names` are the notebook's globals, which are changed in place. A parameter that has a value keeps it: the runner
    injected it, or it was typed in to try it. Raises ProjectError where there is no project, or where params.yaml is
    not valid.
    """
    if not any(value is None for name, value in names.items() if not name.startswith("_")):
        return  # the runner has injected all of them
    values = load_params(open_project().read(PARAMS)).for_notebook(stage)
    taken = {name: value for name, value in values.items() if names.get(name) is None}
    if taken:
        names.update(taken)
        shown = (f"{name} = {shorten(repr(value), 60, placeholder=' ...')}" for name, value in taken.items())
        print(f"From {PARAMS}: {', '.join(shown)}")
