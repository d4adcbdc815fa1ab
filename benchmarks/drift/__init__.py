"""How soon drift is detected, `python -m benchmarks.drift`, and what that costs, `python -m benchmarks.drift.speed`."""
