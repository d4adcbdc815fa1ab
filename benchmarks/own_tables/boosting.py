"""Plain boosting on the properly read columns: CatBoost, or scikit-learn's, with default hyperparameters.

This module imports nothing of ours, for CatBoost runs in an environment without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

SEED = 0


def predict(library: str, train: str, test: str, target: str) -> list[float]:
    """Return the probability of 1 in the column `target` for each row of a Parquet file, learned from another one.

    library: `catboost` or `scikit-learn`. Columns of text are categories, which are named to the library; times are numbers of days.
    """
    tables = [_prepare(pd.read_parquet(Path(path))) for path in (train, test)]
    labels = tables[0].pop(target)
    words = [name for name in tables[0] if not pd.api.types.is_numeric_dtype(tables[0][name])]
    run = {"catboost": _run_catboost, "scikit-learn": _run_sklearn}[library]
    return run(tables[0], labels, tables[1].drop(columns=target), words)


def _prepare(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with numbers as floats, times as days, and all else as text whose missing values are a category."""
    columns = {}
    for name, column in table.items():
        if pd.api.types.is_datetime64_any_dtype(column):
            columns[name] = (column - pd.Timestamp(0)) / pd.Timedelta("1D")
        elif pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            columns[name] = column.astype("float64")
        else:
            columns[name] = column.astype("str").fillna("missing").astype(object)
    return pd.DataFrame(columns)


def _run_catboost(train: pd.DataFrame, labels: pd.Series, test: pd.DataFrame, words: Sequence[str]) -> list[float]:
    from catboost import CatBoostClassifier

    model = CatBoostClassifier(random_seed=SEED, verbose=False, allow_writing_files=False)
    model.fit(train, labels, cat_features=list(words))
    return [float(value) for value in model.predict_proba(test)[:, 1]]


def _run_sklearn(train: pd.DataFrame, labels: pd.Series, test: pd.DataFrame, words: Sequence[str]) -> list[float]:
    from sklearn.ensemble import HistGradientBoostingClassifier

    both = pd.concat([train, test], ignore_index=True)
    for name in words:  # it takes at most 255 categories
        common = both[name].iloc[: len(train)].value_counts().index[:200]
        both[name] = both[name].where(both[name].isin(common)).astype("category")
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=SEED)
    model.fit(both.iloc[: len(train)], labels)
    return [float(value) for value in model.predict_proba(both.iloc[len(train) :])[:, 1]]
