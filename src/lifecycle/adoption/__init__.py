"""Infer a contract and parameters for a table of one's own."""
