"""The options of a source, parsed strictly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Strict
from lifecycle.core.paths import PARAMS

_Options = TypeVar("_Options", bound=Strict)


def parse_options(kind: type[_Options], name: str, options: Mapping[str, Any]) -> _Options:
    """Parse the options of a kind of source; raise ProjectError naming an unknown or a wrong one, without its value."""
    if unknown := sorted(set(options) - set(kind.model_fields)):
        taken = f"it takes {', '.join(kind.model_fields)}" if kind.model_fields else "it takes none"
        raise ProjectError(f"{PARAMS}: collect.options has {', '.join(unknown)}, which {name} does not take: {taken}.")
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, ("collect.options", *first["loc"])))
        raise ProjectError(f"{PARAMS}: {key} of {name}: {first['msg'].removeprefix('Value error, ')}.") from None
