"""Completes commands, flags and choices for the shell, where argcomplete is installed."""

from __future__ import annotations

import argparse


def complete(parser: argparse.ArgumentParser) -> None:
    """Print the words that may come next and end the process; the shell asks through argcomplete.

    It does nothing where the shell does not ask, or where argcomplete is missing.
    """
    try:
        import argcomplete
    except ModuleNotFoundError:
        return
    argcomplete.autocomplete(parser)
