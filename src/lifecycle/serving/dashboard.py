"""The live page: what /metrics and /monitor tell, drawn in the browser, with no other service."""

from __future__ import annotations

from pathlib import Path

FILES = Path(__file__).parent / "pages"
PAGES = {  # where each file is, and what it is
    "/dashboard": ("page.html", b"text/html"),
    "/dashboard/style.css": ("style.css", b"text/css"),
    "/dashboard/script.js": ("script.js", b"text/javascript"),
}
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    b"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)


def read_page(path: str) -> tuple[bytes, bytes]:
    """Content type and bytes of one of PAGES."""
    name, kind = PAGES[path]
    return kind + b"; charset=utf-8", (FILES / name).read_bytes()
