"""`lvm-fast encode`: encodes texts into a chain store."""

from __future__ import annotations

import argparse
from pathlib import Path

from ._json_output import add_json, print_json
from ._options import add_device, add_encoder

HELP = "turn text files or JSON lines into a chain store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT", help=".txt or .md files, folders of them, or .jsonl (id, text)"
    )
    parser.add_argument("--output", type=Path, required=True, help="the store to write (.safetensors)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing store, and the texts beside it")
    add_encoder(
        parser,
        "a sentence-transformers model, by name or folder (default: %(default)s)",
        "sentence-transformers/all-mpnet-base-v2",
    )
    parser.add_argument(
        "--chunk-tokens", type=int, default=20, help="tokens in a chunk, roughly (default: %(default)s)"
    )
    parser.add_argument("--batch-size", type=int, default=32, help="chunks encoded at once (default: %(default)s)")
    parser.add_argument(
        "--dtype",
        default="float16",
        choices=("float32", "float16", "bfloat16", "int8"),
        help="how to store the numbers (default: %(default)s)",
    )
    add_device(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from .._util.device import choose_device
    from .._util.text import unicode_text
    from ..data.documents import read_documents
    from ..data.encode import encode_documents, input_files
    from ..data.sentence_encoder import SentenceEncoder
    from ..data.source import check_store_path, chunks_path

    documents = read_documents(args.inputs)
    check_store_path(args.output, "encode: output", input_files(documents, args.encoder), args.overwrite)
    encoder = SentenceEncoder(args.encoder, str(choose_device(args.device)), args.batch_size)
    store = encode_documents(
        documents,
        encoder,
        args.output,
        chunk_tokens=args.chunk_tokens,
        dtype=args.dtype,
        source=", ".join(path.name for path in args.inputs),
        overwrite=args.overwrite,
    )
    rows, dim = store.vectors.shape
    if args.json:
        made = {"chains": len(store), "rows": rows, "dim": dim, "dtype": store.vectors.dtype_name}
        print_json({"output": unicode_text(args.output), "texts": unicode_text(chunks_path(args.output)), **made})
        return 0
    print(f"{unicode_text(args.output)}: chains={len(store)} rows={rows} dim={dim} dtype={store.vectors.dtype_name}")
    print(f"{unicode_text(chunks_path(args.output))}: the texts of the chunks")
    return 0
