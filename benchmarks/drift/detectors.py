"""One detector over a reference and a window, in a process and an environment of its own, which may lack `lifecycle`.

    PYTHON benchmarks/drift/detectors.py NAME FOLDER

FOLDER holds reference.parquet and window-0.parquet, window-1.parquet, ...: tables of `tables.py`. Printed as JSON: seconds for
the reference and for the window (importing and reading files left out), the peak of resident memory in megabytes (all
counts), and how many columns were compared.
"""

from __future__ import annotations

import json
import re
import sys
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
    """The numbers and the categories of a table."""
    numbers = [name for name in frame.columns if pd.api.types.is_numeric_dtype(frame[name].dtype)]
    return numbers, [name for name in frame.columns if name not in numbers]


def list_windows(folder: Path) -> list[Path]:
    """The window's parts, in order."""
    return sorted(folder.glob("window-*.parquet"), key=lambda path: int(path.stem.partition("-")[2]))


def read_window(folder: Path) -> pd.DataFrame:
    """The whole window."""
    return pd.concat([pd.read_parquet(path) for path in list_windows(folder)], ignore_index=True)


def measure_ours(folder: Path, seconds: Seconds) -> int:
    """The reference in counts, once; then each part of the window in counts, added up, and compared."""
    from lifecycle.monitoring.drift import compare_window
    from lifecycle.monitoring.reference import count_window, sketch_reference

    frame = pd.read_parquet(folder / "reference.parquet")
    numbers, levels = split_columns(frame)
    with clock(seconds, "reference"):
        reference = sketch_reference(
            frame, {**dict.fromkeys(numbers, "numeric"), **dict.fromkeys(levels, "categories")}
        )
    counts: Any = None
    for path in list_windows(folder):
        frame = pd.read_parquet(path)
        with clock(seconds, "window"):
            part = count_window(frame, reference)
            counts = part if counts is None else counts + part
    with clock(seconds, "window"):
        table = compare_window(reference, counts)
    return int(table["column"].isin([*numbers, *levels]).sum())


def measure_scipy(folder: Path, seconds: Seconds) -> int:
    """What one would write by hand: two-sample Kolmogorov-Smirnov and chi-squared tests of the raw columns."""
    from scipy.stats import chi2_contingency, ks_2samp

    reference, window = pd.read_parquet(folder / "reference.parquet"), read_window(folder)
    numbers, levels = split_columns(reference)
    with clock(seconds, "window"):
        tests = [ks_2samp(reference[name].dropna(), window[name].dropna()).pvalue for name in numbers]
        for name in levels:
            counted = pd.concat([frame[name].value_counts() for frame in (reference, window)], axis=1).fillna(0)
            tests.append(chi2_contingency(counted).pvalue)
    return len(tests)


def measure_evidently(folder: Path, seconds: Seconds) -> int:
    """Evidently's preset for drift as it comes: each column's distance, which it chooses by kind and rows."""
    from evidently import DataDefinition, Dataset, Report  # type: ignore[import-not-found]
    from evidently.presets import DataDriftPreset  # type: ignore[import-not-found]

    reference, window = pd.read_parquet(folder / "reference.parquet"), read_window(folder)
    numbers, levels = split_columns(reference)
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=levels)
    with clock(seconds, "window"):
        sets = [Dataset.from_pandas(frame, data_definition=definition) for frame in (window, reference)]
        found = Report([DataDriftPreset()]).run(*sets).dict()
    return sum(metric["metric_name"].startswith("ValueDrift") for metric in found["metrics"])


def measure_nannyml(folder: Path, seconds: Seconds) -> int:
    """NannyML's univariate drift as it comes (Jensen-Shannon), the window as one chunk."""
    from nannyml import UnivariateDriftCalculator  # type: ignore[import-not-found]

    reference, window = pd.read_parquet(folder / "reference.parquet"), read_window(folder)
    numbers, levels = split_columns(reference)
    calculator = UnivariateDriftCalculator([*numbers, *levels], treat_as_categorical=levels, chunk_size=len(window))
    with clock(seconds, "reference"):
        calculator.fit(reference)
    with clock(seconds, "window"):
        found = calculator.calculate(window).to_df()
    return int(found.columns.get_level_values(0).isin([*numbers, *levels]).sum() / 4)  # a value, two limits, an alert


DETECTORS: dict[str, Callable[[Path, Seconds], int]] = {
    "ours": measure_ours,
    "scipy": measure_scipy,
    "evidently": measure_evidently,
    "nannyml": measure_nannyml,
}


def read_peak() -> float:
    """The most megabytes of this process that were resident at once.

    Not that of `getrusage`, which begins with what the process that started this one had.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[0]) * 1024 / 1e6


def main() -> None:
    """Measure one detector and print."""
    warnings.simplefilter("ignore")  # peers' own, about versions
    seconds: Seconds = {}
    columns = DETECTORS[sys.argv[1]](Path(sys.argv[2]), seconds)
    print(json.dumps({"seconds": seconds, "megabytes": read_peak(), "columns": columns}))


if __name__ == "__main__":
    main()
