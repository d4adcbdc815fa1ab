"""Measure a function in a process of its own: its seconds, its processor seconds and the peak of its memory.

`python -m benchmarks.isolated MODULE:FUNCTION VALUES` calls the function with the values, a JSON list, and prints the cost and the
result as JSON. This module imports nothing but the standard library, for peers run it in environments without ours.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cost:
    """What a call took: seconds, processor seconds, the peak of resident memory in megabytes; and what it returned."""

    seconds: float
    processor: float
    megabytes: float
    result: Any


def measure_apart(
    function: str,
    *values: Any,
    apart: bool = True,
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
) -> Cost:
    """Call `function` ("module:name") with values that JSON can carry; importing its module is not measured.

    Without `apart` it is called in this process, for small sizes: then the memory is that of everything before. Raises
    OSError with the end of what the process wrote when it fails.
    """
    if not apart:
        before = dict(os.environ)
        try:
            return _measure(function, list(values))
        finally:
            os.environ.clear()
            os.environ.update(before)
    root = Path(__file__).resolve().parent.parent
    found = {**os.environ, **(environment or {})}
    found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), found.get("PYTHONPATH", "")]))
    words = [python, "-m", "benchmarks.isolated", function, json.dumps(values)]
    done = subprocess.run(words, env=found, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{function} failed: {done.stderr[-2000:].strip()}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def _measure(function: str, values: list[Any]) -> Cost:
    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    begun, used = time.perf_counter(), time.process_time()
    result = call(*values)
    return Cost(time.perf_counter() - begun, time.process_time() - used, read_peak(), result)


def read_peak() -> float:
    """Return the most megabytes of this process that were resident at once.

    On Linux not that of `getrusage`, which begins with what the process that started this one had.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return int(re.findall(r"^VmHWM:\s+(\d+) kB$", status.read_text(encoding="ascii"), re.MULTILINE)[0]) * 1024 / 1e6


if __name__ == "__main__":
    print(json.dumps(asdict(_measure(sys.argv[1], json.loads(sys.argv[2]))), default=int))
