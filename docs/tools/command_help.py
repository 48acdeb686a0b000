"""The directive `command-help`: what `lvm-fast COMMAND --help` prints, taken from the parser as the site is built."""

from __future__ import annotations

import os
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from lvm_fast._util.argparse_compat import commands_of

COLUMNS = "100"


def help_of(command: str | None) -> str:
    """The help text of `lvm-fast`, or of one of its commands, 100 columns wide."""
    from lvm_fast.cli import build_parser

    before, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), COLUMNS
    try:
        parser = build_parser()
        return (parser if command is None else commands_of(parser)[command]).format_help()
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before


def command_names() -> list[str]:
    """The commands of `lvm-fast`, in the order of its own help."""
    from lvm_fast.cli import build_parser

    return list(commands_of(build_parser()))


class CommandHelp(Directive):
    """A block with the help of the command that is named, or of `lvm-fast` itself."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        text = help_of(self.arguments[0] if self.arguments else None)
        return [nodes.literal_block(text, text, language="text")]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
