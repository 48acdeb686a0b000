"""`lvm-fast prepare`: turns existing vectors into a chain store."""

from __future__ import annotations

import argparse
from pathlib import Path

from ._json_output import add_json, print_json

HELP = "turn vectors that exist already into a chain store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input",
        type=Path,
        help=".npz (sequences, or an array), .npy (T, D), .jsonl (id, vectors), .parquet or .lance with a column of "
        "lists, or a flat FAISS index (.faiss, .index)",
    )
    parser.add_argument("--output", type=Path, required=True, help="the store to write (.safetensors)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an existing store, and remove the texts beside it"
    )
    parser.add_argument("--offsets", type=Path, help="for rows without chains: a .npy of the boundaries (C + 1,)")
    parser.add_argument("--vector-column", metavar="NAME", help="of tables and .npz (default: vectors or the like)")
    parser.add_argument("--chain-column", metavar="NAME", help="of tables: says of which chain a row is")
    parser.add_argument(
        "--max-length",
        type=int,
        metavar="ROWS",
        help="cut longer chains into equal pieces of at most this many rows, where the file has no documents",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16", "int8"),
        help="how to store the numbers (default: as they are)",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from .._util.atomic_files import size_of
    from .._util.text import unicode_text
    from ..data.chain_store import ChainStore
    from ..data.prepare import check_max_length, cut_chains, read_vectors, save_prepared
    from ..data.source import check_store_path

    if args.max_length is not None:
        check_max_length(args.max_length)
    before = size_of(args.input)
    check_store_path(args.output, "prepare: output", filter(None, (args.input, args.offsets)), args.overwrite)
    vectors = read_vectors(
        args.input, args.offsets, args.dtype, vector_column=args.vector_column, chain_column=args.chain_column
    )
    if args.max_length is not None:
        vectors = cut_chains(vectors, args.max_length)
    try:
        save_prepared(vectors, args.output, args.dtype)
    except ValueError as error:
        raise ValueError(f"{args.input}: {error}") from error
    store, after = ChainStore.open(args.output), args.output.stat().st_size
    rows, dim = store.vectors.shape
    sequences = store.metadata.get("sequences")
    if args.json:
        shape = {"chains": len(store), "rows": rows, "dim": dim, "dtype": store.vectors.dtype_name}
        sizes = {"bytes_before": before, "bytes": after}
        print_json({"output": unicode_text(args.output), **shape, **sizes, "sequences": sequences})
        return 0
    if sequences:
        print(f"{sequences['windows']:,} windows held {sequences['rows_in_windows']:,} rows; joined, {rows:,} remain")
    print(f"{unicode_text(args.output)}: chains={len(store)} rows={rows} dim={dim} dtype={store.vectors.dtype_name}")
    print(f"{before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB now")
    if len(store) == 1:
        print("one chain cannot be split; --max-length cuts it into pieces that can")
    return 0
