"""`lvm-fast encode`: encodes texts into a chain store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ._json_output import add_json, print_json, words_aside
from ._options import add_device, add_encoder

if TYPE_CHECKING:
    from ..data.chain_store import ChainStore

ENCODER = "sentence-transformers/all-mpnet-base-v2"
HELP = "turn text files or JSON lines into a chain store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="INPUT",
        help="texts (.txt .md), documents (.html .pdf .epub .docx), folders of them, lines (.jsonl: id, text), tables "
        "(.csv .parquet), or folders that `datasets` has saved",
    )
    parser.add_argument(
        "--suffix",
        action="append",
        metavar=".SUFFIX",
        help="read the files of a folder that end so, and no others; may be repeated (default: texts and documents)",
    )
    parser.add_argument("--encoding", dest="text_encoding", metavar="NAME", help="of texts and .csv (default: utf-8)")
    parser.add_argument("--text-column", metavar="NAME", help="of tables (default: text, or the only one of text)")
    parser.add_argument("--id-column", metavar="NAME", help="of tables (default: id, or the number of the row)")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--output", type=Path, help="the store to write (.safetensors)")
    place.add_argument(
        "--append",
        type=Path,
        metavar="STORE",
        help="a store to add to: only what is new or has changed is encoded, as the store was",
    )
    parser.add_argument("--prune", action="store_true", help="with --append: remove what is not among the inputs")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing store, and the texts beside it")
    add_encoder(
        parser,
        f"a sentence-transformers model, by name or folder (default: {ENCODER}, or the store's)",
    )
    parser.add_argument("--chunk-tokens", type=int, help="tokens in a chunk, roughly (default: 20, or as the store)")
    parser.add_argument("--batch-size", type=int, help="most chunks encoded at once (default: 512 tokens on a CPU)")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "int8"),
        help="what to compute with (default: float32, or as the store); a quicker one is checked on 512 chunks first",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16", "int8"),
        help="how to store the numbers (default: float16, or as the store)",
    )
    add_device(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from ..data.documents import read_documents
    from ..data.encode import encode_documents, input_files
    from ..data.sentence_encoder import SentenceEncoder
    from ..data.source import check_store_path
    from ..training.distributed import distributed_context

    output: Path = args.append or args.output
    name, precision = _encoder(args)
    documents = read_documents(
        args.inputs,
        suffixes=args.suffix,
        encoding=args.text_encoding,
        text_column=args.text_column,
        id_column=args.id_column,
    )
    check_store_path(output, "encode: output", input_files(documents, name), args.overwrite or bool(args.append))
    with distributed_context(args.device) as processes:
        with words_aside(args.json):
            store = encode_documents(
                documents,
                SentenceEncoder(name, str(processes.device), args.batch_size, precision=precision),
                output,
                chunk_tokens=args.chunk_tokens,
                dtype=args.dtype,
                source=", ".join(path.name for path in args.inputs),
                overwrite=args.overwrite,
                append=args.append is not None,
                prune=args.prune,
                processes=processes,
                say=print if processes.is_rank_zero else None,
            )
        if processes.is_rank_zero:
            _tell(output, store, args.json)
    return 0


def _tell(output: Path, store: ChainStore, as_json: bool) -> None:
    from .._util.text import unicode_text
    from ..data.source import chunks_path

    rows, dim = store.vectors.shape
    path, texts = unicode_text(output), unicode_text(chunks_path(output))
    made = {"chains": len(store), "rows": rows, "dim": dim, "dtype": store.vectors.dtype_name}
    if as_json:
        print_json({"output": path, "texts": texts, **made})
    else:
        print(f"{path}: {' '.join(f'{name}={value}' for name, value in made.items())}")
        print(f"{texts}: the texts of the chunks")


def _encoder(args: argparse.Namespace) -> tuple[str, str]:
    """Return the name of the encoder and its precision: those asked for, or those of the store that grows."""
    from ..data.chain_store import ChainStore

    known = ChainStore.open(args.append).metadata if args.append else {}
    name = args.encoder or known.get("encoder") or ENCODER
    return name, args.precision or known.get("precision", {}).get("name", "float32")
