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
from lvm_fast.data.encode import Encoder, encode_context, encode_documents
from lvm_fast.data.sentence_encoder import SentenceEncoder
from lvm_fast.evaluation.report_markdown import summary
from lvm_fast.retrieval.search import ChunkTexts

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

    stride = max(1, args.context_length // 4)
    print("2. Split and train: whole documents are held out, and the best epoch on them is kept")
    result = lf.train(
        lf.Recipe(
            data=place,
            context_length=args.context_length,
            stride=max(1, args.context_length // 5),  # short of data, many windows
            alpha_infonce=10.0,  # to be found counts for more than to be near
            temperature=0.03,
            val_fraction=args.val_fraction,
            val_stride=stride,
            model={"hidden_dim": args.hidden_dim, "num_layers": 1, "memory_slots": 256},
            lr=3e-4,
            warmup_epochs=0.2,
            accumulation_steps=1,
            epochs=args.epochs,
            output_dir=str(args.output_dir / "run"),
        )
    )

    print("3. Evaluate: the held-out documents again, beside what needs no training")
    report = lf.evaluate(
        result.model,
        result.validation,
        args.context_length,
        stride=stride,
        training=result.training,
        data_name=place.name,
    )
    report.save(result.output_dir, result.history)
    print(summary(report))
    print(*report.warnings, sep="\n")

    print("4. Predict: what may come after the first half of a document that was held out")
    show_prediction(result.model, held_out(documents, result.validation), encoder, store, place, args.context_length)

    if args.export:
        print("5. Export: one Core ML package, checked on this machine")
        package = result.output_dir / "model.mlpackage"
        lf.export_coreml(result.model, package, contexts=(args.context_length,))
        verification = lf.verify_coreml(package, result.model, contexts=1)
        print(verification.to_text())
        return 0 if verification.passed else 1
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
    parser.add_argument("--hidden-dim", type=int, default=256, help="width of the model (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="most passes over the documents (default: 10)")
    parser.add_argument("--val-fraction", type=float, default=0.2, help="share held out (default: %(default)s)")
    parser.add_argument("--no-export", dest="export", action="store_false", help="leave the Core ML package out")
    return parser


def held_out(documents: Sequence[Document], validation: Any) -> Document:
    """Return the first document that training has not seen."""
    return next(document for document in documents if document.id in validation.origins)


def show_prediction(
    model: Any, document: Document, encoder: Encoder, store: lf.ChainStore, place: Path, context_length: int
) -> None:
    texts = ChunkTexts.beside(place)
    assert texts is not None
    chain = store.ids.index(document.id)
    middle = max(1, int(store.lengths[chain]) // 2)
    chunks = tuple(texts.text(store, chain, position) for position in range(middle + 1))
    context, _ = encode_context(Document(document.id, chunks=chunks[:middle]), encoder, context_length)
    # `unlike` leaves out what the context has said
    (hits,) = lf.search(store, model.predict(context[None]), 3, texts=texts, unlike=context)
    print(f"   {document.id} goes on: {chunks[middle]!r}")
    for hit in hits:
        print(f"   predicted, {hit.score:.3f}: {hit.text!r} ({hit.chain}, chunk {hit.position})")


if __name__ == "__main__":
    sys.exit(main())
