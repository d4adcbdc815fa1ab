"""Reaching data, checking it and (later) storing features."""
