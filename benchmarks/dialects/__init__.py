"""The reading of delimited text of any dialect."""
