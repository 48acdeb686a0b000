"""`lvm-fast mine`: finds the hard negatives of each chunk of a chain store."""

from __future__ import annotations

import argparse
from pathlib import Path

from ._json_output import add_json, print_json
from ._options import path_or_name

HELP = "find hard negatives for every chunk of a chain store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=path_or_name, required=True, help="the chain store, or 'sample'")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="the file to write (.safetensors): ids and scores, for `lvm-fast train --negatives`",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument(
        "--low", type=float, default=0.75, metavar="COS", help="least cosine of a negative (default: %(default)s)"
    )
    parser.add_argument(
        "--high",
        type=float,
        default=0.9,
        metavar="COS",
        help="cosines from here on are too close (default: %(default)s)",
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
    add_json(parser)


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
    counts = np.count_nonzero(mined.ids >= 0, axis=1)
    if args.json:
        found = {"negatives": counts.sum(), "mean": counts.mean(), "without": np.count_nonzero(counts == 0)}
        print_json({"output": unicode_text(args.output), "chunks": len(mined), "limit": args.limit, **found})
        return 0
    print(f"{unicode_text(args.output)}: chunks={len(mined)} negatives={counts.sum()} limit={args.limit}")
    print(f"{counts.mean():.1f} a chunk; {np.count_nonzero(counts == 0):,} chunks have none")
    return 0
