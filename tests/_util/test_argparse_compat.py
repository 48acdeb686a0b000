"""Private parts of argparse, as the command line uses them."""

from __future__ import annotations

import argparse

from lvm_fast._util.argparse_compat import ArgumentGroup, flags_of


def test_the_flags_are_the_long_ones_that_the_help_shows():
    parser = argparse.ArgumentParser(prog="lvm-fast")
    group = parser.add_argument_group("words")
    assert isinstance(group, ArgumentGroup)
    group.add_argument("-k", "--count")
    parser.add_argument("--old-name", help=argparse.SUPPRESS)
    parser.add_argument("path")
    assert flags_of(parser) == ["--help", "--count"]
