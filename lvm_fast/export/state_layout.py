"""Lays out what a `step` keeps between calls as the Neural Engine wants it: rows of whole groups of 32 numbers.

It moves memory in groups of 64 bytes, 32 numbers of float16, and pads a last axis to whole ones: a last axis of 1 takes
32 times its room. Stateful models have failed there where the width of a state was no multiple of 32.
"""

from __future__ import annotations

GROUP = 32  # numbers


def laid_out(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape in which a state is kept, given that in which a model reads it: whole groups in each row."""
    *others, width = shape
    return *others, -(-width // GROUP) * GROUP
