"""Adds ``--quiet`` and ``--verbose`` to every command, and does what they say."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """Add the two options."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--quiet", dest="verbosity", action="store_const", const=-1, default=0, help="show no progress")
    group.add_argument(
        "--verbose",
        dest="verbosity",
        action="store_const",
        const=1,
        help="tell the progress every second where it is no bar, and what the package logs",
    )


@contextmanager
def chosen_verbosity(args: argparse.Namespace) -> Iterator[None]:
    """Say as much as was asked for while the block runs."""
    from .._util.terminal import verbosity

    logger, handler = logging.getLogger("lvm_fast"), logging.StreamHandler(sys.stderr)
    before = logger.level
    if args.verbosity > 0:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    try:
        with verbosity(args.verbosity):
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
