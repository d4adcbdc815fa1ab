"""Benchmarks: `python -m benchmarks --list` names them, and README.md describes what each measures."""
