"""Core ML programs (MIL): one file a model type, the layers they share, and an interpreter that runs them."""
