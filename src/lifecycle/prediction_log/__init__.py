"""The log of predictions and labels: written by the server, compacted, and read by monitoring."""
