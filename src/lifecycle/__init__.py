"""Lifecycle: one model, from raw table to registry, as notebooks that rebuild bit for bit."""
