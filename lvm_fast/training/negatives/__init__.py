"""Wrong answers for InfoNCE: those that a step's predictions share, and the hard negatives of each. One file a source.

`negative_sources` lists them.
"""
