"""Writes, runs and verifies Core AI assets: plain-torch programs, and Apple's converter and runtime."""

SUFFIX = ".aimodel"
