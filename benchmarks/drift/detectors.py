"""The detectors whose cost is compared. Peers run them in environments of their own, which lack `lifecycle`.

Each takes a folder with reference.parquet and window-0.parquet, window-1.parquet, ... (tables of `tables.py`), adds the seconds
for the reference and for the window to a dictionary, without imports and the reading of files, and returns how many columns it compared.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

Seconds = dict[str, float]


@contextmanager
def clock(seconds: Seconds, name: str) -> Iterator[None]:
    """Add the seconds that a block takes to `name`."""
    began = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began


def split_columns(frame: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return the names of the numbers and of the categories of a table."""
    numbers = [name for name in frame.columns if pd.api.types.is_numeric_dtype(frame[name].dtype)]
    return numbers, [name for name in frame.columns if name not in numbers]


def list_windows(folder: Path) -> list[Path]:
    """Return the files of the window, in order."""
    return sorted(folder.glob("window-*.parquet"), key=lambda path: int(path.stem.partition("-")[2]))


def read_window(folder: Path) -> pd.DataFrame:
    """Return the whole window."""
    return pd.concat([pd.read_parquet(path) for path in list_windows(folder)], ignore_index=True)


def measure_ours(folder: Path, seconds: Seconds) -> int:
    """Count the reference once; then count each part of the window, add the counts up, and compare."""
    from lifecycle.monitoring.drift import compare_window
    from lifecycle.monitoring.reference import build_reference, count_window

    frame = pd.read_parquet(folder / "reference.parquet")
    numbers, categories = split_columns(frame)
    with clock(seconds, "reference"):
        reference = build_reference(
            frame, {**dict.fromkeys(numbers, "numeric"), **dict.fromkeys(categories, "categories")}
        )
    counts: Any = None
    for path in list_windows(folder):
        frame = pd.read_parquet(path)
        with clock(seconds, "window"):
            part = count_window(frame, reference)
            counts = part if counts is None else counts + part
    with clock(seconds, "window"):
        table = compare_window(reference, counts)
    return int(table["column"].isin([*numbers, *categories]).sum())


def measure_scipy(folder: Path, seconds: Seconds) -> int:
    """Test the raw columns with scipy, as one would by hand: two-sample Kolmogorov-Smirnov and chi-squared tests."""
    from scipy.stats import chi2_contingency, ks_2samp

    reference, window = pd.read_parquet(folder / "reference.parquet"), read_window(folder)
    numbers, categories = split_columns(reference)
    with clock(seconds, "window"):
        tests = [ks_2samp(reference[name].dropna(), window[name].dropna()).pvalue for name in numbers]
        for name in categories:
            counted = pd.concat([frame[name].value_counts() for frame in (reference, window)], axis=1).fillna(0)
            tests.append(chi2_contingency(counted).pvalue)
    return len(tests)


def measure_evidently(folder: Path, seconds: Seconds) -> int:
    """Run Evidently's preset for drift with default settings: a distance for each column, chosen by kind and rows."""
    from evidently import DataDefinition, Dataset, Report  # type: ignore[import-not-found]
    from evidently.presets import DataDriftPreset  # type: ignore[import-not-found]

    reference, window = pd.read_parquet(folder / "reference.parquet"), read_window(folder)
    numbers, categories = split_columns(reference)
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
    with clock(seconds, "window"):
        sets = [Dataset.from_pandas(frame, data_definition=definition) for frame in (window, reference)]
        found = Report([DataDriftPreset()]).run(*sets).dict()
    return sum(metric["metric_name"].startswith("ValueDrift") for metric in found["metrics"])


def measure_nannyml(folder: Path, seconds: Seconds) -> int:
    """Run NannyML's univariate drift with default settings (Jensen-Shannon), the window as one chunk."""
    from nannyml import UnivariateDriftCalculator  # type: ignore[import-not-found]

    reference, window = pd.read_parquet(folder / "reference.parquet"), read_window(folder)
    numbers, categories = split_columns(reference)
    calculator = UnivariateDriftCalculator(
        [*numbers, *categories], treat_as_categorical=categories, chunk_size=len(window)
    )
    with clock(seconds, "reference"):
        calculator.fit(reference)
    with clock(seconds, "window"):
        found = calculator.calculate(window).to_df()
    return int(
        found.columns.get_level_values(0).isin([*numbers, *categories]).sum() / 4
    )  # a value, two limits, an alert


DETECTORS: dict[str, Callable[[Path, Seconds], int]] = {
    "ours": measure_ours,
    "scipy": measure_scipy,
    "evidently": measure_evidently,
    "nannyml": measure_nannyml,
}


def run_detector(name: str, folder: str) -> dict[str, Any]:
    """Run a detector and return its seconds, by part, and the number of columns that it compared."""
    warnings.simplefilter("ignore")  # those of peers, about versions
    seconds: Seconds = {}
    columns = DETECTORS[name](Path(folder), seconds)
    return {"seconds": seconds, "columns": columns}
