"""The error whose text is meant for the user."""

from __future__ import annotations


class ProjectError(Exception):
    """An error that the user can fix: one sentence that names the file, column, row or key, and what was expected."""
