"""The HTTP server that answers with the live model."""
