"""What a lookup of features costs: `python -m benchmarks.feature_store`."""
