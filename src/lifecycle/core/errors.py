"""The error whose text is meant for the user."""

from __future__ import annotations


class ProjectError(Exception):
    """What a user can mend: its text is one sentence that names the file, column, row or key and what was expected."""
