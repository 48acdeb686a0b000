"""What `lvm-fast COMMAND --help` prints, for the site and its tests."""

from __future__ import annotations

import argparse
import os

COLUMNS = "100"


def help_of(command: str | None) -> str:
    """The help text of `lvm-fast`, or of one of its commands, 100 columns wide."""
    from lvm_fast.cli import build_parser

    before, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), COLUMNS
    try:
        parser = build_parser()
        return (parser if command is None else _commands(parser)[command]).format_help()
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before


def command_names() -> list[str]:
    """The commands of `lvm-fast`, in the order of its own help."""
    from lvm_fast.cli import build_parser

    return list(_commands(build_parser()))


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (choices,) = (action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(choices)
