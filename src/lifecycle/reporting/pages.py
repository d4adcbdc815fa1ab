"""HTML pages that need no network: a stage's notebook, or any page with a given body."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

if TYPE_CHECKING:
    import pandas as pd
    from nbformat import NotebookNode

_TEMPLATES = Path(str(files("lifecycle.reporting") / "templates"))


@cache
def _load_templates() -> jinja2.Environment:
    """Return the environment of the package's templates, which escapes values."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )


def render_part(template: str, **values: Any) -> str:
    """Render one of the templates as HTML, for a part of a page or an output of a notebook; the values are escaped."""
    return _load_templates().get_template(template).render(**values)


def render_table(table: pd.DataFrame, text: Collection[str] = ()) -> str:
    """Render a frame of formatted texts with its index as a table; the columns named in `text` are aligned left."""
    return render_part("table.html.j2", table=table, text=text)


def fold_table(title: str, table: pd.DataFrame) -> str:
    """A long table behind a line that opens it."""
    return f"<details><summary>{escape(title)}</summary>{render_table(table)}</details>"


def render_page(
    title: str, body: str, *, project: str, links: list[tuple[str, str]], current: str = "", toggle: bool = False
) -> str:
    """One self-contained page around `body` (HTML that the caller has escaped), with links to the other pages."""
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    if toggle:
        from pygments.formatters import HtmlFormatter

        style += HtmlFormatter(style="friendly").get_style_defs(".highlight")
    return (
        _load_templates()
        .get_template("page.html.j2")
        .render(
            title=title,
            body=Markup(body),  # noqa: S704 - made by our templates or by nbconvert
            style=Markup(style),  # noqa: S704 - our own file
            project=project,
            links=links,
            current=current,
            toggle=toggle,
        )
    )


def render_notebook(notebook: NotebookNode, *, project: str, links: list[tuple[str, str]], current: str) -> str:
    """Render a notebook as a page: prose and outputs are visible, code is behind a toggle.

    The title is the notebook's first heading. nbconvert's stock templates link scripts from a CDN; this one links none.
    """
    from nbconvert.exporters.html import HTMLExporter  # slow to import, and not needed for parts of pages

    exporter = HTMLExporter(template_name="report", extra_template_basedirs=[str(_TEMPLATES)])
    body, _ = exporter.from_notebook_node(notebook)
    heading = next(
        (line[2:] for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines()
         if line.startswith("# ")), current,
    )  # fmt: skip
    return render_page(heading, body, project=project, links=links, current=current, toggle=True)
