"""Turns your own documents into a model on a phone: encode, split, train, evaluate, predict, export.

python examples/own_documents.py my-documents/ --output-dir mine                 # .txt, .md, .jsonl files, folders
python examples/own_documents.py my-documents/ --output-dir mine --encoder hash  # needs no download: try this first

An encoder is any object with a name, a number of tokens it can read (or None), `encode(texts)` -> (n, D) numbers and
`count_tokens(words)` -> n counts. `SentenceEncoder` wraps every sentence-transformers model; `HashEncoder` below has
twenty lines. To use another encoder, put it into `encoder_called`; nothing else depends on it. A model only understands
vectors of the encoder it was trained with.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lvm_fast as lf
from lvm_fast.data.documents import Document, read_documents
from lvm_fast.data.encode import Encoder, encode_documents
from lvm_fast.data.sentence_encoder import SentenceEncoder

CHUNK_TOKENS = 20


class HashEncoder:
    """Hashes words to signed places of a vector (Weinberger et al., Feature Hashing, 2009); it knows no meanings."""

    name: str = "hash"
    max_tokens: int | None = None
    dim = 256

    def encode(self, texts: list[str]) -> Any:
        rows = np.zeros((len(texts), self.dim), np.float32)
        rows[:, 0] = 0.1  # a text without words has a direction too
        for row, text in zip(rows, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                place, sign = divmod(int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "big"), 2)
                row[place % self.dim] += 2 * sign - 1
        return rows

    def count_tokens(self, words: list[str]) -> list[int]:
        return [1] * len(words)


def encoder_called(name: str) -> Encoder:
    return HashEncoder() if name == "hash" else SentenceEncoder(name)


def main(arguments: Sequence[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    if args.output_dir.exists() and any(args.output_dir.iterdir()):
        raise SystemExit(f"{args.output_dir} is not empty; expected a new folder")
    documents = read_documents(args.documents)
    if len(documents) < 2:
        raise SystemExit(f"{len(documents)} document; expected at least 2, one of them to hold out")
    args.output_dir.mkdir(parents=True, exist_ok=True)
    encoder = encoder_called(args.encoder)

    print("1. Encode: every document becomes a chain of vectors, one a chunk of about 20 tokens")
    place = args.output_dir / "chunks.safetensors"
    store = encode_documents(documents, encoder, place, chunk_tokens=CHUNK_TOKENS)
    print(f"   {len(store)} documents, {len(store.vectors):,} chunks of {store.dim} numbers: {place}")

    print("2. Train the champion: whole documents are held out, and the best epoch on them is kept")
    recipe = lf.Recipe.named(
        "champion",
        data=place,
        context_length=args.context_length,
        val_fraction=args.val_fraction,
        epochs=args.epochs,
        output_dir=str(args.output_dir / "run"),
    )
    result = lf.train(recipe)

    print("3. Evaluate: the held-out documents again, beside what needs no training")
    report = lf.evaluate(
        result.model,
        result.validation,
        args.context_length,
        training=result.training,
        data_name=place.name,
        questions=2000,
    )
    report.save(result.output_dir, result.history)
    page = report.save_html(result.output_dir / "report.html", result.history)
    print(report.summary())
    print(*report.warnings, sep="\n")
    print(f"   To look at, in a browser: {page}")

    print("4. Predict: what may come after the first half of a document that was held out")
    ready = lf.TextPredictor(result.model, store, encoder, context_length=args.context_length)
    show_prediction(ready, held_out(documents, result.validation))

    if args.export:
        print("5. Export: one Core ML package, checked on this machine")
        package = result.output_dir / "model.mlpackage"
        lf.export_coreml(result.model, package, contexts=(args.context_length,))
        verification = lf.verify_coreml(package, result.model, contexts=1)
        print(verification.to_text())
        if not verification.passed:
            return 1
    print(report.three_predictions())
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="+", type=Path, help=".txt, .md or .jsonl files, or folders of them")
    parser.add_argument("--output-dir", type=Path, required=True, help="where everything goes; a new folder")
    parser.add_argument(
        "--encoder",
        default="sentence-transformers/all-mpnet-base-v2",
        help="a sentence-transformers model, or 'hash' (default: %(default)s)",
    )
    parser.add_argument("--context-length", type=int, default=32, help="most chunks a prediction reads (default: 32)")
    parser.add_argument("--epochs", type=int, default=6, help="most passes over the documents (default: 6)")
    parser.add_argument("--val-fraction", type=float, default=0.2, help="share held out (default: %(default)s)")
    parser.add_argument("--no-export", dest="export", action="store_false", help="leave the Core ML package out")
    return parser


def held_out(documents: Sequence[Document], validation: Any) -> Document:
    """Return the first document that training has not seen."""
    return next(document for document in documents if document.id in validation.origins)


def show_prediction(ready: lf.TextPredictor, document: Document) -> None:
    chain = ready.search.store.ids.index(document.id)
    first, length = int(ready.search.store.offsets[chain]), int(ready.search.store.lengths[chain])
    middle = max(1, length // 2)
    chunks = [str(ready.search.rows.text(row)) for row in range(first, first + middle + 1)]
    read = ready.read(Document(document.id, chunks=tuple(chunks[:middle])))
    print(f"   {document.id} goes on: {chunks[middle]!r}")
    for hit in ready.next_chunks(read.vectors, 3):  # what was read is left out
        print(f"   predicted, {hit.score:.3f}: {hit.text!r} ({hit.chain}, chunk {hit.position})")


if __name__ == "__main__":
    sys.exit(main())
