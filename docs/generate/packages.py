"""The packages below src/lifecycle, in the order in which they may import each other."""

from __future__ import annotations

from generate.markdown import code, finish, write_table
from generate.schemas import ROOT

PACKAGES = (  # as tests/project/test_layout.py has them; a test compares both
    "core", "reporting", "pipeline", "sources", "validation", "exploration", "features", "modeling", "promotion",
    "prediction_log", "serving", "monitoring", "retraining", "adoption", "stages", "cli",
)  # fmt: skip


def list_modules(package: str) -> list[str]:
    """Return the names of a package's public modules."""
    paths = (ROOT / "src/lifecycle" / package).glob("*.py")
    return sorted(path.stem for path in paths if not path.stem.startswith("_"))


def read_summary(package: str) -> str:
    """Return the first line of a package's docstring."""
    import ast

    tree = ast.parse((ROOT / "src/lifecycle" / package / "__init__.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").split("\n")[0]


def tabulate_packages() -> str:
    """Tabulate the packages: what each is for, and its modules."""
    found = {path.parent.name for path in (ROOT / "src/lifecycle").glob("*/__init__.py")}
    if found != set(PACKAGES):
        raise ValueError(f"packages that this list does not have, or does not need: {sorted(found ^ set(PACKAGES))}")
    rows = [
        [
            f"[`{name}`](/reference/python/{name}.md)",
            finish(read_summary(name)),
            ", ".join(map(code, list_modules(name))),
        ]
        for name in PACKAGES
    ]
    return write_table(["package", "what it is for", "modules"], rows)
