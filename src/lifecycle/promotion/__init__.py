"""Which model is live, why, and since when."""
