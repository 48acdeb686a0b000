"""Writes and reads a Core ML package on disk: its files, its weights byte for byte, and the seal over all of it."""

SUFFIX = ".mlpackage"
METADATA_PREFIX = "lvm_fast."  # of the keys of our user-defined metadata
