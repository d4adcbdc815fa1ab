"""A Sphinx extension that fills the reference pages from the code.

A page says `<!-- generated: NAME -->` or `<!-- generated: NAME ARGUMENT -->` where the text of a generator belongs. A
generator is a function that returns Markdown. It reads the code that is installed, so the page cannot differ from it, and it
raises an error where something has no description, so that the build fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from generate import (
    alerts,
    benchmarks,
    command_line,
    expressions,
    http_api,
    make_targets,
    metrics,
    packages,
    personal,
    python_api,
    schemas,
    settings,
)

MARK = re.compile(r"^<!-- generated: ([\w-]+)(?: ([\w./]+))? -->$", re.MULTILINE)
GENERATORS: dict[str, Callable[..., str]] = {
    "alerts": alerts.describe_rules,
    "benchmarks": benchmarks.include_readme,
    "benchmark-results": benchmarks.tabulate_results,
    "command-line": command_line.describe_commands,
    "contract": schemas.describe_contract,
    "expressions": expressions.describe_language,
    "http-api": http_api.describe_endpoints,
    "make": make_targets.tabulate_targets,
    "metrics": metrics.tabulate_metrics,
    "monitor-alerts": alerts.describe_findings,
    "packages": packages.tabulate_packages,
    "parameters": schemas.describe_parameters,
    "personal-data": personal.tabulate_kinds,
    "python": python_api.describe_package,
    "settings": settings.tabulate_settings,
    "source-options": schemas.describe_source_options,
    "variables": settings.tabulate_variables,
}


def fill_page(text: str) -> str:
    """Return a page's text with every mark replaced by what its generator returns."""
    return MARK.sub(lambda found: GENERATORS[found[1]](*filter(None, [found[2]])), text)


def setup(app: Any) -> dict[str, bool]:
    """Connect the generators with Sphinx."""

    def fill(app: Any, name: str, content: list[str]) -> None:
        content[0] = fill_page(content[0])

    app.connect("source-read", fill)
    # The code may have changed although the page has not.
    app.connect(
        "env-get-outdated",
        lambda app, env, added, changed, removed: [
            name for name in env.found_docs if MARK.search(env.doc2path(name).read_text(encoding="utf-8"))
        ],
    )
    app.connect("autodoc-process-docstring", python_api.escape_docstring)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
