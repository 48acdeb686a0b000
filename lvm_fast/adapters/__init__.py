"""The search functions of other libraries, answered by an exact `VectorBank`: change an import, keep the call.

Each module is named after the library whose calls it takes.
"""
