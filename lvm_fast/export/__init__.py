"""Writes Core ML packages, and proves them equal to their model on any machine."""
