"""What figures were measured on: the commit, the machine, and what else it was doing."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import psutil

from benchmarks.project import CHECKOUT

RESULTS = "benchmarks/results"
BUSY = 15.0  # percent of the processors in use by others: above this the machine counts as busy


def read_commit() -> str:
    """Return the commit of the checkout, with `+changes` where tracked files other than results differ from it."""
    try:
        commit = _ask_git("rev-parse", "HEAD")
        changed = _ask_git("status", "--porcelain", "--untracked-files=no", "--", ".", f":!{RESULTS}")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}+changes" if changed else commit


def _ask_git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def measure_use(seconds: float) -> float:
    """Return the percentage of the processors that are in use during so many seconds, in which this process waits."""
    return psutil.cpu_percent(interval=seconds)


def describe_machine(use: float) -> dict[str, Any]:
    """Return the processor, its cores, the memory, the load average, and `use`, the percentage that others used."""
    return {
        "processor": _read_processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gigabytes": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "load_average": round(psutil.getloadavg()[0], 2),
        "used_by_others_percent": round(use, 1),
        "busy": use > BUSY,
    }


def _read_processor() -> str:
    """Return the processor's name, which psutil does not know."""
    facts = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", facts.read_text(), re.MULTILINE) if facts.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()
