"""Tables as they come: each odd in its own way, each with a target that follows from something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from tests.support.sizes import size

NAMES = ["index", "probability", "prediction", "count", "größe ☃", "a b", "it's", 'say "so"', "a.b", "a/b", "a:b", "#x",
         "- y", "{z}", "null", "yes", "1", "x,y", "{{j}}", "<b>&", "%d", "target", "fold", "row", "'", "*a", "&b", "!c"]  # fmt: skip


def draw_target(score: Any, rate: float, seed: int = 0) -> Any:
    """Booleans that follow from a score, so many of them true as `rate` says, with noise."""
    noisy = np.asarray(score) + np.random.default_rng([seed, 1]).normal(0, 0.7, len(score))
    return noisy >= np.quantile(noisy, 1 - rate)


def make_wide(rng: np.random.Generator) -> pd.DataFrame:
    """Five hundred columns, or just so many that not all pairs are compared."""
    numbers, words = size((120, 40), (400, 99))
    frame = pd.DataFrame(rng.normal(size=(600, numbers)).round(3), columns=[f"x{place}" for place in range(numbers)])
    words = {f"w{place}": rng.choice(["a", "b", "c"], 600) for place in range(words)}
    return pd.concat([frame, pd.DataFrame(words)], axis=1).assign(left=draw_target(frame["x0"] + frame["x1"], 0.4))


def make_tiny(rng: np.random.Generator) -> pd.DataFrame:
    """Sixty rows."""
    age = rng.integers(18, 90, 60)
    return pd.DataFrame({"age": age, "side": rng.choice(["l", "r"], 60), "ill": draw_target(age / 20, 0.3)})


def make_rare(rng: np.random.Generator) -> pd.DataFrame:
    """Half a percent of positives."""
    amount = rng.gamma(2, 50, 4000).round(2)
    kind = rng.choice(["card", "cash", "wire"], 4000)
    return pd.DataFrame({"amount": amount, "kind": kind, "fraud": draw_target(amount / 70, 0.005).astype(int)})


def make_categorical(rng: np.random.Generator) -> pd.DataFrame:
    """Nothing but words."""
    columns = {name: rng.choice(list("abcde"), 400) for name in ("cap", "gill", "stalk")}
    frame = pd.DataFrame(columns)
    return frame.assign(edible=np.where(draw_target(frame["cap"].isin(["a", "b"]) * 2.0, 0.5), "e", "p"))


def make_numeric(rng: np.random.Generator) -> pd.DataFrame:
    """Nothing but numbers, some of them missing."""
    frame = pd.DataFrame(rng.normal(size=(400, 5)), columns=list("abcde"))
    target = draw_target(frame["a"] - frame["b"], 0.4)
    return frame.mask(rng.random(frame.shape) < 0.05).assign(y=target.astype(int))


def make_motley(rng: np.random.Generator) -> pd.DataFrame:
    """Booleans in all spellings, dates in several formats, a time with a zone, and columns that tell nothing."""
    rows = 400
    truth = draw_target(rng.normal(size=(5, rows)).sum(axis=0), 0.5)
    days = pd.date_range("2024-01-15", periods=rows, freq="D")
    spellings = {
        "yn": ("No", "Yes"),
        "tf": ("f", "t"),
        "digits": (0, 1),
        "letters": ("N", "Y"),
        "words": ("False", "True"),
    }
    booleans = {name: np.where(rng.random(rows) < 0.3, no, yes) for name, (no, yes) in spellings.items()}
    return pd.DataFrame({
        **booleans,
        "yn": np.where(truth ^ (rng.random(rows) < 0.3), "No", "Yes"),
        "mixed": rng.choice(["yes", "TRUE", "No", "0"], rows),
        "gap": np.where(rng.random(rows) < 0.2, None, np.where(truth, "Y", "N")),
        "paid": days.strftime("%d/%m/%Y"), "sent": days.strftime("%m/%d/%Y"), "born": days.strftime("%Y%m%d"),
        "created at": days.strftime("%Y-%m-%d %H:%M:%S+02:00"),
        "customer": [f"{place:x}-{place % 7}" for place in range(rows)],
        "note": [f"some words here {place}" for place in range(rows)],
        "mail": [f"user{place}@example.org" for place in range(rows)],
        "same": "k", "none": None, "class": np.where(truth ^ (rng.random(rows) < 0.2), "good", "bad"),
    })  # fmt: skip


def make_named(rng: np.random.Generator) -> pd.DataFrame:
    """Column names with spaces, quotes, dots, and words that mean something to Python, YAML or pandas."""
    frame = pd.DataFrame(rng.normal(size=(300, len(NAMES))).round(3), columns=NAMES)
    words = rng.choice(['"quoted"', "ü ☃", "{{j}}", "<i>", "null.", "yes"], 300)
    return frame.assign(**{"word's": words, "class": draw_target(frame["index"] - frame["a b"], 0.5).astype(str)})


def make_classes(rng: np.random.Generator) -> pd.DataFrame:
    """Three classes, one of which is asked for."""
    x, y = rng.normal(size=(2, 450))
    return pd.DataFrame({"x": x, "y": y, "species": np.select([x > 0.5, y > 0.5], ["a", "b"], "c")})


def make_long(rng: np.random.Generator) -> pd.DataFrame:
    """A million rows, or just so many that the trials of `tune` take a sample."""
    rows = size(30_000, 1_000_000)
    frame = pd.DataFrame({
        "number": np.arange(rows), "amount": rng.gamma(2, 50, rows).round(2), "age": rng.integers(18, 90, rows),
        "kind": rng.choice(["card", "cash", "wire"], rows), "zip": rng.integers(10000, 10060, rows).astype(str),
        "x": rng.normal(size=rows), "flag": rng.choice(["Yes", "No"], rows),
    })  # fmt: skip
    return frame.assign(zip="Z" + frame["zip"], bad=draw_target(frame["x"] + frame["amount"] / 100, 0.1).astype(int))


def make_shops(rng: np.random.Generator) -> pd.DataFrame:
    """Three hundred shops, whose effect is the strongest."""
    names = [f"{first}{last}" for first in "bdfghjklmnprstvwxz" for last in ("akko", "ello", "immi", "otto", "unna")]
    names = [f"{name} {word}" for name in names[:75] for word in ("north", "south", "east", "west")]
    shop, x = rng.integers(0, 300, 3000), rng.normal(size=3000)
    log_odds = 0.5 * x + rng.normal(0, 1.5, 300)[shop] - 1
    bought = np.where(rng.random(3000) < 1 / (1 + np.exp(-log_odds)), "yes", "no")
    return pd.DataFrame(
        {"shop": np.array(names)[shop], "x": x, "share": rng.gamma(2, 1, 3000).round(2) + 0.1, "bought": bought}
    )


def make_notes(rng: np.random.Generator) -> pd.DataFrame:
    """Notes whose words tell more than the number does; some are missing, and one has an address."""
    filler = ["the", "order", "came", "with", "a", "box", "and", "we", "saw", "it", "in", "our", "shop", "last", "week"]
    topic, x = rng.integers(0, 4, 1500), rng.normal(size=1500)
    said = np.array(["cancel", "too expensive", "not happy 😡", "happy"], dtype=object)[topic]
    notes = [" ".join([*rng.choice(filler, 5), words, *rng.choice(filler, 4)]).capitalize() for words in said]
    notes[7] = f"Write to somebody@example.org, {notes[7]}"
    left = rng.random(1500) < 1 / (1 + np.exp(-0.5 * x - np.array([2, 1.5, 1.5, -2.5])[topic]))
    missing = rng.random(1500) < 0.05
    return pd.DataFrame({"x": x, "note": pd.Series(notes).mask(missing), "left": np.where(left, "yes", "no")})


TABLES: dict[str, tuple[Callable[[np.random.Generator], pd.DataFrame], list[str]]] = {
    "wide": (make_wide, ["--target", "left"]),
    "tiny": (make_tiny, ["--target", "ill"]),
    "rare": (make_rare, ["--target", "fraud"]),
    "categorical": (make_categorical, ["--target", "edible"]),
    "numeric": (make_numeric, ["--target", "y"]),
    "motley": (make_motley, ["--target", "class"]),
    "named": (make_named, ["--target", "class"]),
    "classes": (make_classes, ["--target", "species", "--positive", "b"]),
    "notes": (make_notes, ["--target", "left"]),
    "shops": (make_shops, ["--target", "bought"]),
    "long": (make_long, ["--target", "bad"]),
}


def make_table(name: str) -> tuple[pd.DataFrame, list[str]]:
    """An odd table by its name, the same each time, and what `lifecycle adopt` is told of it."""
    make, words = TABLES[name]
    return make(np.random.default_rng(0)), words
