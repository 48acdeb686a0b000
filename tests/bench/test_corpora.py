"""Corpora: from packages to stores; what is dropped, cut and chosen."""

import gzip
import hashlib
import io
import json
import re
import shutil
import tarfile
from functools import partial

import corpora
import numpy as np
import pytest
from corpora import Together, documents, open_corpora, parts, spread, without_boilerplate
from corpus_packages import Package
from corpus_readers import Prose, read_text
from corpus_table import CORPORA, Corpus

from lvm_fast.data.documents import Document


class Words:
    """An encoder of words: a chunk's vector says which words it has."""

    name, max_tokens = "words", None

    def encode(self, texts):
        return np.array([np.bincount([len(word) for word in text.split()], minlength=20)[:20] for text in texts])

    def count_tokens(self, words):
        return [1] * len(words)


def text(seed, words):
    """Different words, a sentence every ten of them."""
    return " ".join(f"{seed}{word}" + "." * (word % 10 == 9) for word in range(words))


def corpus(most=10_000, longest=400, packages=(), name="small"):
    read = partial(read_text, pattern="data/*.txt")
    return Corpus(name, "texts", "en", "public domain", True, packages, read, most, longest)


def of_lengths(*lengths):
    return [Document(str(number), chunks=("a",) * length) for number, length in enumerate(lengths)]


def test_documents_are_long_enough_and_no_copies():
    prose = [Prose("a", [text("a", 700)]), Prose("short", [text("s", 500)]), Prose("copy", [text("a", 690)])]
    found = documents(corpus(), prose, Words().count_tokens)
    assert [one.id for one in found] == ["a"]
    assert " ".join(found[0].chunks) == prose[0].paragraphs[0]


def test_documents_refuse_a_corpus_of_short_ones():
    with pytest.raises(ValueError, match="small: no document of 30 chunks"):
        documents(corpus(), [Prose("short", [text("s", 500)])], Words().count_tokens)


def test_documents_of_no_text_are_left_out():
    found = documents(corpus(), [Prose("none", [""]), Prose("a", [text("a", 700)])], Words().count_tokens)
    assert [one.id for one in found] == ["a"]


def test_paragraphs_that_three_documents_share_are_left_out_but_not_short_ones():
    boilerplate, short = "All rights are reserved by the people who wrote this.", "Yes, said he."
    prose = [Prose(name, [name, boilerplate, short]) for name in "abc"] + [Prose("d", ["d", boilerplate + " Or not."])]
    assert list(without_boilerplate(prose)) == [*(Prose(name, [name, short]) for name in "abc"), prose[3]]
    assert list(without_boilerplate(prose[:2])) == prose[:2]


def test_long_documents_are_cut_into_even_parts():
    chunks = [str(number) for number in range(10)]
    assert parts("a", chunks, 10) == [Document("a", chunks=tuple(chunks))]
    cut = parts("a", chunks, 4)
    assert [one.id for one in cut] == ["a, part 1", "a, part 2", "a, part 3"]
    assert [len(one.chunks) for one in cut] == [3, 3, 4]
    assert [chunk for one in cut for chunk in one.chunks] == chunks


@pytest.mark.parametrize(
    ("most", "taken"),
    [(1000, ["0", "1", "2", "3", "4", "5"]), (600, ["0", "1", "2", "3", "4", "5"]), (300, ["0", "2", "4"])],
)
def test_spread_takes_whole_documents_from_all_over(most, taken):
    assert [one.id for one in spread(of_lengths(*[100] * 6), most)] == taken


def test_spread_comes_close_to_the_number_of_chunks():
    lengths = np.random.default_rng(0).integers(30, 400, 200)
    assert abs(sum(len(one.chunks) for one in spread(of_lengths(*lengths), 6000)) - 6000) <= 200


def test_together_gives_what_the_encoder_gives():
    texts = [text("a", 1 + number * 7 % 100) for number in range(100)]
    together = Together(Words(), "named", 2)
    np.testing.assert_array_equal(together.encode(texts), Words().encode(texts))
    assert (together.name, together.max_tokens, together.count_tokens(["a"])) == ("named", None, [1])


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A folder whose downloads hold the one package of the one corpus; an encoder that needs no model."""
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    file = downloads / "texts-1"
    with tarfile.open(file, "w:gz") as archive:
        for name in ("b", "a"):
            content = text(name, 700).encode()
            info = tarfile.TarInfo(f"data/{name}.txt")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    package = Package("npm", "texts", "1", hashlib.sha256(file.read_bytes()).hexdigest())
    monkeypatch.setattr(corpora, "CORPORA", (corpus(packages=(package,)), corpus(packages=(package,), name="other")))
    monkeypatch.setattr(corpora, "SentenceEncoder", lambda path: Words())
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["corpora.py", *map(str, arguments)])
    corpora.main()


def test_main_makes_stores_that_open_and_list(made, monkeypatch, capsys):
    run(monkeypatch, "--folder", made, "--encoder", "path", "--encoder-name", "words", "--only", "small")
    stores = open_corpora(made)
    assert list(stores) == ["small"]
    assert stores["small"].ids == ["a", "b"]
    facts = {"encoder": "words", "source": "npm texts 1", "chunk_tokens": 20}
    assert stores["small"].metadata.items() >= facts.items()
    assert capsys.readouterr().out == f"small: 2 documents, {len(stores['small'].vectors)} chunks\n"
    with gzip.open(made / "small.chunks.jsonl.gz", "rt") as file:
        kept = [json.loads(line) for line in file]
    assert [" ".join(one["chunks"]) for one in kept] == [text("a", 700), text("b", 700)]
    run(monkeypatch, "--folder", made, "--list")
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"\| small +\| texts \| +en \| public domain \| +yes \| +2 \| +\d+ \| texts 1 \(npm\) \|", lines[2]
    )
    assert re.search(r"\| +- \| +- \|", lines[3])


def test_main_gives_the_same_bytes_again_and_leaves_what_is_there(made, monkeypatch, tmp_path):
    run(monkeypatch, "--folder", made, "--encoder", "words")
    first = {file.name: file.read_bytes() for file in made.glob("*.*")}
    assert set(first) == {
        f"{name}.{kind}" for name in ("small", "other") for kind in ("safetensors", "chunks.jsonl.gz")
    }
    shutil.rmtree(made / "downloads")  # a second run must not want them
    run(monkeypatch, "--folder", made, "--encoder", "words")
    assert {file.name: file.read_bytes() for file in made.glob("*.*")} == first


def test_the_same_package_gives_the_same_bytes_in_another_folder(made, monkeypatch):
    for folder in ("one", "two"):
        shutil.copytree(made / "downloads", made / folder / "downloads")
        run(monkeypatch, "--folder", made / folder, "--encoder", "words")
    for name in ("small.safetensors", "small.chunks.jsonl.gz"):
        assert (made / "one" / name).read_bytes() == (made / "two" / name).read_bytes()


def test_main_says_in_one_line_what_is_wrong(made, monkeypatch, capsys):
    (made / "downloads/texts-1").write_bytes(b"damaged")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, "--folder", made, "--encoder", "words")
    assert end.value.code == 2
    assert re.fullmatch(r"\S*corpora.py: error: npm: not installed.*\n", capsys.readouterr().err)


def test_main_needs_an_encoder(made, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "--folder", made)
    assert "--encoder is missing" in capsys.readouterr().err


def test_the_table_is_whole():
    assert len({one.name for one in CORPORA}) == len(CORPORA) >= 10
    assert all(re.fullmatch("[0-9a-f]{64}", package.sha256) for one in CORPORA for package in one.packages)
    trainable = [one.language for one in CORPORA if one.trainable]
    assert len(trainable) >= 8
    assert len(set(trainable) - {"en"}) >= 2
