"""Run a stage's notebook, in the project or in a workspace of its own."""
