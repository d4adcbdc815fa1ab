"""Sphinx's configuration. Reference pages are generated from the code while the site is built: see docs/generate."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

project = "Lifecycle"
author = "the authors of Lifecycle"
copyright = author  # noqa: A001 - Sphinx's name; without a year, the same source gives the same pages
release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser", "sphinx_design", "sphinx.ext.autodoc", "generate"]
exclude_patterns = ["_build"]
suppress_warnings = ["ref.python"]  # two classes of one name in two modules: the annotation does not say which
default_role = "code"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_typehints = "signature"
autodoc_preserve_defaults = False
python_maximum_signature_line_length = 100
toc_object_entries = False

html_theme = "pydata_sphinx_theme"
html_title = "Lifecycle"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_show_sourcelink = False
html_copy_source = False
html_last_updated_fmt = None
html_sidebars = {name: [] for name in ("index", "troubleshooting", "benchmarks", "contributing", "changelog")}
html_theme_options = {
    "logo": {"text": "Lifecycle"},
    "navbar_align": "left",
    "show_prev_next": True,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
    "navigation_with_keys": False,
}
