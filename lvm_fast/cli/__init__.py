"""Runs the `lvm-fast` command.

A command is a module with HELP, add_arguments(parser) and run(args). A new one is one new file and one line here.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import NoReturn

from .._util.argparse_compat import flags_of
from .._util.did_you_mean import unknown_name
from .._util.registry import Registry
from ._completion import complete
from ._errors import BUG, print_bug, user_error_message
from ._options import expand_paths
from ._streams import exit_code, standard_streams
from ._verbosity import add_verbosity, chosen_verbosity
from ._warnings import plain_warnings

COMMANDS: Registry[ModuleType] = Registry(
    "command",
    __name__,
    {
        "demo": ".demo",
        "encode": ".encode",
        "prepare": ".prepare",
        "train": ".train",
        "evaluate": ".evaluate",
        "compare": ".compare",
        "predict": ".predict",
        "search": ".search",
        "explore": ".explore",
        "mine": ".mine",
        "topk": ".topk",
        "export": ".export",
        "verify": ".verify",
        "info": ".info",
    },
)


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line, because the usage would fill a screen with options."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} ({self.prog} --help tells more)\n")


def build_parser(names: Iterable[str] = COMMANDS) -> argparse.ArgumentParser:
    """Build the parser of some commands; each imports its module, so one alone is quicker."""
    from .._version import __version__

    parser = _Parser(
        prog="lvm-fast",
        description="Train, score and export Latent Vector Models: fast, exact, honest.",
        epilog="Exit codes: 0 done, 1 done but the package is not equal to the model (verify, demo, export --compare), "
        "2 a mistake in the command or its input, 3 nothing could be verified here (verify), 70 a bug, "
        "130 interrupted, 141 nobody reads the output.",
    )
    parser.add_argument("-V", "--version", action="version", version=f"lvm-fast {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in names:
        module = COMMANDS.load(name)
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        add_verbosity(command)
        command.set_defaults(run=module.run, parser=command)
    return parser


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; the error for an unknown command or flag suggests the nearest one."""
    parser = build_parser(words[:1] if words and words[0] in COMMANDS else COMMANDS)
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        parser.error(unknown_name("command", words[0], COMMANDS))
    args, unknown = parser.parse_known_args(words)
    command: argparse.ArgumentParser = args.parser
    flags = [word.partition("=")[0] for word in unknown if word.startswith("--")]
    if flags:
        command.error(unknown_name("flag", flags[0], flags_of(command)))
    if unknown:
        command.error(f"unexpected {' '.join(map(repr, unknown))}")
    expand_paths(args)
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        Its exit code. A mistake in the command or its input is one line on standard error and exit code 2. A bug prints
        its traceback and where to report it, exit code 70.

    Raises:
        SystemExit: The command line is not understood (2), or asks for help (0).
    """
    with standard_streams() as output, plain_warnings():
        return exit_code(_run(sys.argv[1:] if arguments is None else arguments), output)


def _run(words: Sequence[str]) -> int:
    if "_ARGCOMPLETE" in os.environ:
        complete(build_parser())
    try:
        args = _parse(words)
        with chosen_verbosity(args):
            return int(args.run(args))
    except KeyboardInterrupt:
        print("lvm-fast: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        mistake = user_error_message(error)
        if mistake is None:
            print_bug()
            return BUG
        print(f"lvm-fast: error: {mistake}", file=sys.stderr)
        return 2
