"""`lvm-fast train` as tests call it: its words parsed, and the recipe that it prints."""

from __future__ import annotations

import argparse
from typing import Any

import yaml

from lvm_fast.cli import train as command


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lvm-fast train")
    command.add_arguments(parser)
    return parser.parse_args(words)


def printed(capsys: Any, *words: str) -> Any:
    """The settings of `--print-config`."""
    assert command.run(parse("--print-config", *words)) == 0
    return yaml.safe_load(capsys.readouterr().out)
