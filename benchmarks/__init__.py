"""Benchmarks: `python -m benchmarks --list` names them, and README.md says what each measures and against whom."""
