"""What each stage does, one module a stage; its notebook composes it."""
