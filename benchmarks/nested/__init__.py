"""Nested cross-validation of the whole procedure on public tables."""
