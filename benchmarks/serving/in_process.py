"""The rows a second of the fitted champion in one process, without a server.

python -m benchmarks.serving.in_process RELEASE ROWS SECONDS
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pandas as pd

from benchmarks.serving.fitted import Fitted
from lifecycle.core.files import read_json


def main() -> None:
    """Predict the rows of a JSON file again and again for so many seconds, and print the rows a second."""
    fitted, frame = Fitted(Path(sys.argv[1])), pd.DataFrame(read_json(Path(sys.argv[2])))
    fitted.predict(frame)
    times, began, took = 0, time.perf_counter(), 0.0
    while took < float(sys.argv[3]):
        fitted.predict(frame)
        times, took = times + 1, time.perf_counter() - began
    print(times * len(frame) / took)


if __name__ == "__main__":
    main()
