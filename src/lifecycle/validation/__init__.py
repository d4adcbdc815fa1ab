"""Checks of a table against its contract, and the profile that later tables are compared with."""
