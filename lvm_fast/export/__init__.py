"""Core ML packages: writing them, and proving them equal to the model on any machine."""
