"""Names of columns that a source leaves empty or gives twice."""

from __future__ import annotations

from collections.abc import Sequence


def repair_names(names: Sequence[str], source: str) -> tuple[list[str], list[str]]:
    """Return a distinct name for each column, and what was changed, in sentences.

    A column without a name is called by its position, as in `column_3`; the second `x` is `x_2`.
    """
    taken, repaired, notes = {name.strip() for name in names}, [], []
    seen: set[str] = set()
    for position, given in enumerate(names, 1):
        wanted = given.strip() or f"column_{position}"
        name, number = wanted, 2
        while name in seen or (name != given.strip() and name in taken):
            name, number = f"{wanted}_{number}", number + 1
        seen.add(name)
        repaired.append(name)
        if not given.strip():
            notes.append(f"{source}: column {position} has no name and is called {name!r}.")
        elif name != wanted:
            notes.append(f"{source}: column {position} is a second {wanted!r} and is called {name!r}.")
    return repaired, notes
