"""Feature definitions and the feature store."""
