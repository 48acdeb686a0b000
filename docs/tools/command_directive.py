"""The directive `command-help`: what `lvm-fast COMMAND --help` prints, taken from the parser as the site is built."""

from __future__ import annotations

from typing import Any

from command_help import help_of
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx


class CommandHelp(Directive):
    """A block with the help of the command that is named, or of `lvm-fast` itself."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        text = help_of(self.arguments[0] if self.arguments else None)
        return [nodes.literal_block(text, text, language="text")]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
