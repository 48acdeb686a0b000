"""`lvm-fast topk`: writes the exact best candidates of many queries, ground truth for other searches."""

from __future__ import annotations

import argparse
from pathlib import Path

from ._options import path_or_name

HELP = "write the exact nearest chunks of many query vectors: ground truth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "queries",
        type=path_or_name,
        metavar="QUERIES",
        help="a .npy of vectors (B, D), or a chain store whose chunks are the queries",
    )
    parser.add_argument("data", type=path_or_name, metavar="STORE", help="the chain store to search, or 'sample'")
    parser.add_argument("-k", "--k", type=int, default=10, metavar="N", help="how many a query (default: %(default)s)")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="the file to write: .trec (a run), .npz (ids and scores) or .parquet (query, rank, id, score); "
        "a run that was cut off goes on where it stopped",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument(
        "--metric",
        choices=("ip", "cosine", "l2"),
        default="cosine",
        help="inner products, cosines or squared distances (default: %(default)s)",
    )
    parser.add_argument(
        "--device",
        default="cpu",
        metavar="auto|cpu|mps|cuda",
        help="where to search; the answers are the same (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def run(args: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from .._util.text import unicode_text
    from ..retrieval.topk_run import write_topk

    done = write_topk(
        args.queries,
        args.data,
        args.output,
        args.k,
        metric=args.metric,
        device=args.device,
        overwrite=args.overwrite,
    )
    if args.json:
        print(json.dumps({"output": unicode_text(args.output), **asdict(done)}, indent=1))
        return 0
    print(f"{unicode_text(args.output)}: queries={done.queries} candidates={done.candidates} k={done.k} {done.metric}")
    return 0
