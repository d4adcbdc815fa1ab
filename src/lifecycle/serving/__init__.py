"""The serving wing: what answers when the model is live."""
