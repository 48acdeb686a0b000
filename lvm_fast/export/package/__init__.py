"""A Core ML package on disk: its files, its weights byte for byte, and the seal over all of it."""
