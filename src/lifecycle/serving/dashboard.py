"""The files of the dashboard, which the browser draws from /metrics, /monitor and the traffic of the last minutes."""

from __future__ import annotations

from pathlib import Path

_FILES = Path(__file__).parent / "pages"
HISTORY = "/dashboard/traffic"
PAGES = {  # path: file and media type
    "/dashboard": ("page.html", b"text/html"),
    "/dashboard/style.css": ("style.css", b"text/css"),
    "/dashboard/script.js": ("script.js", b"text/javascript"),
}
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    b"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)


def read_page(path: str) -> tuple[bytes, bytes]:
    """Return the content type and the bytes of one of PAGES."""
    name, kind = PAGES[path]
    return kind + b"; charset=utf-8", (_FILES / name).read_bytes()
