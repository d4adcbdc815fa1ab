"""Drift: how soon it is found, `python -m benchmarks.drift`, and how quickly, `python -m benchmarks.drift.speed`."""
