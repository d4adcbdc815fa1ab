"""Monitoring: how far the columns have moved since the model was evaluated, and how well it still does."""
