"""What others predict from the properly read columns: CatBoost, LightGBM and scikit-learn's boosting by default, and FLAML.

This module imports nothing of ours, for CatBoost and FLAML run in environments without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

SEED, THREADS = 0, 2


def predict(library: str, train: str, test: str, target: str, seconds: float = 0.0) -> list[float]:
    """Return the probability of 1 in the column `target` for each row of a Parquet file, learned from another one.

    library: `catboost`, `lightgbm`, `scikit-learn`, or `flaml`, which searches for so many seconds. Columns of text are
    categories, which are named to the library; times are numbers of days.
    """
    tables = [_prepare(pd.read_parquet(Path(path))) for path in (train, test)]
    labels = tables[0].pop(target)
    words = [str(name) for name in tables[0] if not pd.api.types.is_numeric_dtype(tables[0][name])]
    test_rows = tables[1].drop(columns=target)
    if library == "flaml":
        return _run_flaml(tables[0], labels, test_rows, words, seconds)
    run = {"catboost": _run_catboost, "lightgbm": _run_lightgbm, "scikit-learn": _run_sklearn}[library]
    return run(tables[0], labels, test_rows, words)


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

    model = CatBoostClassifier(random_seed=SEED, thread_count=THREADS, verbose=False, allow_writing_files=False)
    model.fit(train, labels, cat_features=list(words))
    return [float(value) for value in model.predict_proba(test)[:, 1]]


def _run_lightgbm(train: pd.DataFrame, labels: pd.Series, test: pd.DataFrame, words: Sequence[str]) -> list[float]:
    from lightgbm import LGBMClassifier

    fit, judge = _to_categories(train, test, words)
    model = LGBMClassifier(random_state=SEED, n_jobs=THREADS, deterministic=True, force_row_wise=True, verbose=-1)
    return [float(value) for value in model.fit(fit, labels).predict_proba(judge)[:, 1]]


def _run_flaml(
    train: pd.DataFrame, labels: pd.Series, test: pd.DataFrame, words: Sequence[str], seconds: float
) -> list[float]:
    from flaml import AutoML

    fit, judge = _to_categories(train, test, words)
    model = AutoML()
    model.fit(
        fit, labels, task="classification", metric="roc_auc", time_budget=seconds, n_jobs=THREADS, seed=SEED, verbose=0
    )
    return [float(value) for value in model.predict_proba(judge)[:, 1]]


def _to_categories(train: pd.DataFrame, test: pd.DataFrame, words: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables with words as pandas' categories, those of the training rows, and names that every library takes."""
    kinds = {name: pd.CategoricalDtype(list(train[name].unique())) for name in words}
    names = {name: f"column_{place}" for place, name in enumerate(train)}
    fit, judge = (table.astype(kinds).rename(columns=names) for table in (train, test))
    return fit, judge


def _run_sklearn(train: pd.DataFrame, labels: pd.Series, test: pd.DataFrame, words: Sequence[str]) -> list[float]:
    from sklearn.ensemble import HistGradientBoostingClassifier

    both = pd.concat([train, test], ignore_index=True)
    for name in words:  # it takes at most 255 categories
        common = both[name].iloc[: len(train)].value_counts().index[:200]
        both[name] = both[name].where(both[name].isin(common)).astype("category")
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=SEED)
    model.fit(both.iloc[: len(train)], labels)
    return [float(value) for value in model.predict_proba(both.iloc[len(train) :])[:, 1]]
