"""Data: chain stores, splits, windows, text encoding and the sample."""
