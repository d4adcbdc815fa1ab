"""Run Python scripts one after another in this process, and print what each took as JSON.

    python benchmarks/run_scripts.py [--draw] [--preload MODULE ...] SCRIPT ...

The scripts are the exported code cells of stages. `--draw` draws the figures that each leaves open, as a notebook's inline
backend does: figures that are never drawn are not the same work.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import re
import time
from pathlib import Path


def draw_figures() -> None:
    """Draw and close all open figures."""
    import matplotlib.pyplot as plt

    for number in plt.get_fignums():
        plt.figure(number).savefig(io.BytesIO(), format="png", bbox_inches="tight")
    plt.close("all")


def read_peak() -> float:
    """Return the most megabytes of this process that were resident at once."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[0]) * 1024 / 1e6


def main() -> None:
    """Run the scripts and print seconds by script, seconds of drawing, and megabytes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--preload", action="append", default=[])
    parser.add_argument("scripts", nargs="+", type=Path)
    options = parser.parse_args()
    for name in options.preload:
        importlib.import_module(name)
    seconds, drawing = {}, 0.0
    for path in options.scripts:
        begun = time.perf_counter()
        code = compile(path.read_text(encoding="utf-8"), str(path), "exec", dont_inherit=True)
        exec(code, {"__name__": "__main__"})  # noqa: S102 the project's own notebooks
        computed = time.perf_counter()
        if options.draw:
            draw_figures()
        drawing += time.perf_counter() - computed
        seconds[path.stem] = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, "drawing": drawing, "megabytes": read_peak()}))


if __name__ == "__main__":
    main()
