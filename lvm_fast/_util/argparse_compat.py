"""Every private name of argparse that the command line uses, in one place."""

from __future__ import annotations

import argparse
from typing import TypeAlias

ArgumentGroup: TypeAlias = argparse._ArgumentGroup


def flags_of(parser: argparse.ArgumentParser) -> list[str]:
    """Return the long flags that a parser's help shows."""
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    return [flag for action in shown for flag in action.option_strings if flag.startswith("--")]
