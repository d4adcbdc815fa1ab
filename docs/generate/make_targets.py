"""The targets of the Makefile."""

from __future__ import annotations

import re

from generate.markdown import code, finish, write_table
from generate.schemas import ROOT


def tabulate_targets() -> str:
    """Tabulate the targets that `make help` lists."""
    found = re.findall(r"^([a-z-]+):.*?## (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return write_table(["command", "what it does"], [[code(f"make {name}"), finish(text)] for name, text in found])
