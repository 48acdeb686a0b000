"""The `lvm-fast` command: one module a command, each with HELP, add_arguments(parser) and run(args)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from ..suggest import unknown_name

COMMANDS = (
    "demo",
    "encode",
    "prepare",
    "train",
    "evaluate",
    "compare",
    "predict",
    "search",
    "mine",
    "export",
    "verify",
    "info",
)


def build_parser() -> argparse.ArgumentParser:
    from .. import __version__

    parser = argparse.ArgumentParser(
        prog="lvm-fast", description="Train, score and export Latent Vector Models: fast, exact, honest."
    )
    parser.add_argument("--version", action="version", version=f"lvm-fast {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = import_module(f".{name}", __name__)
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.set_defaults(run=module.run, parser=command)
    return parser


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; an unknown command or flag is an error that offers the nearest known one."""
    parser = build_parser()
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        parser.error(unknown_name("command", words[0], COMMANDS))
    args, unknown = parser.parse_known_args(words)
    command: argparse.ArgumentParser = args.parser
    flags = [word.partition("=")[0] for word in unknown if word.startswith("--")]
    if flags:
        known = [flag for flag in command._option_string_actions if flag.startswith("--")]
        command.error(unknown_name("flag", flags[0], known))
    if unknown:
        command.error(f"unexpected {' '.join(map(repr, unknown))}")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code; bad input is one line on standard error and exit code 2."""
    args = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        return int(args.run(args))
    except (ValueError, OSError, ImportError) as error:
        print(f"lvm-fast: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lvm-fast: interrupted", file=sys.stderr)
        return 130
