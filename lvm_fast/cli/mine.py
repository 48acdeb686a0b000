"""`lvm-fast mine`: a chain store -> the hard negatives of each of its chunks."""

from __future__ import annotations

import argparse
from pathlib import Path

from ._options import source

HELP = "find hard negatives for every chunk of a chain store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=source, required=True, help="the chain store, or 'sample' for the bundled one")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="the file to write (.safetensors): ids and scores, for `lvm-fast train --negatives`",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    parser.add_argument(
        "--low", type=float, default=0.75, metavar="COS", help="least cosine of a negative (default: %(default)s)"
    )
    parser.add_argument(
        "--high",
        type=float,
        default=0.9,
        metavar="COS",
        help="cosines from here on are too near (default: %(default)s)",
    )
    parser.add_argument(
        "--limit", type=int, default=16, metavar="N", help="most negatives a chunk (default: %(default)s)"
    )
    parser.add_argument(
        "--below",
        type=float,
        metavar="SHARE",
        help="also below this share of the cosine with the chunk's positive, the next of its chain; 0.95 is usual",
    )
    same_chain = parser.add_mutually_exclusive_group()
    same_chain.add_argument(
        "--exclude-within",
        type=int,
        default=1,
        metavar="N",
        help="never chunks of the same chain up to N places away (default: 1, so never the positive)",
    )
    same_chain.add_argument("--exclude-chain", action="store_true", help="never chunks of the same chain")


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from .._util.text import unicode_text
    from ..retrieval.mining import mine

    mined = mine(
        args.data,
        args.output,
        low=args.low,
        high=args.high,
        limit=args.limit,
        below=args.below,
        exclude_within=args.exclude_within,
        exclude_chain=args.exclude_chain,
        overwrite=args.overwrite,
    )
    found = np.count_nonzero(mined.ids >= 0, axis=1)
    print(f"{unicode_text(args.output)}: chunks={len(mined)} negatives={found.sum()} limit={args.limit}")
    print(f"{found.mean():.1f} a chunk; {np.count_nonzero(found == 0):,} chunks have none")
    return 0
