"""The command `lifecycle`."""
