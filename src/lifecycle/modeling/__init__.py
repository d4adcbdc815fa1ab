"""Pipelines, metrics and the tracking of runs."""
