"""Explanations of single predictions: Shapley values of the columns against background rows, in probability."""

from __future__ import annotations

import numpy as np

from lifecycle.core.records import Record
from lifecycle.serving.bundle import Bundle

SHOWN = 5  # contributions of a row, the strongest first
_SEED = 0  # the same request has the same explanation


def explain_row(bundle: Bundle, row: Record) -> Record:
    """Return the background's mean probability (`base`) and the strongest contributions to the row's probability.

    Each background row becomes the explained row column by column, in a random order and in its reverse; a column's
    contribution is its mean step (Štrumbelj and Kononenko 2014; antithetic orders: Mitchell et al. 2022). Over all columns,
    `others` included, contributions and base add up to the row's probability.
    """
    names, background = bundle.schema.names, bundle.background
    rng = np.random.default_rng(_SEED)
    count = len(names)
    orders = []
    for _ in background:
        order = rng.permutation(count)
        orders += [order, order[::-1]]
    mixed = []
    for number, order in enumerate(orders):
        changing = dict(background[number // 2])
        mixed.append(dict(changing))
        for place in order:
            changing[names[place]] = row.get(names[place])
            mixed.append(dict(changing))
    probability = bundle.score(mixed).reshape(len(orders), count + 1)
    steps = np.diff(probability, axis=1)
    shares = np.zeros(count)
    for order, step in zip(orders, steps, strict=True):
        shares[order] += step  # a step belongs to the column that changed
    shares /= len(orders)
    strongest = np.argsort(-np.abs(shares), kind="stable")[:SHOWN]
    return {
        "base": float(probability[:, 0].mean()),
        "contributions": [
            {"column": names[place], "value": row.get(names[place]), "contribution": float(shares[place])}
            for place in strongest
        ],
        "others": float(shares.sum() - shares[strongest].sum()),
    }
