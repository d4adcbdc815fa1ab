"""What a prediction costs: `python -m benchmarks.serving`."""
