"""Adoption: infer a contract and parameters for another table."""
