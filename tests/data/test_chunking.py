from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm_fast.data.chunking import chunk_text


def one_each(words: list[str]) -> list[int]:
    return [1] * len(words)


def by_letters(words: list[str]) -> list[int]:
    return [-(-len(word) // 4) for word in words]


@given(text=st.text("ab .,!?\n\t。，文字AB0123456789\"'()", max_size=400), chunk_tokens=st.integers(1, 30))
def test_nothing_is_lost_and_lengths_are_kept(text: str, chunk_tokens: int) -> None:
    chunks = chunk_text(text, by_letters, chunk_tokens)
    assert "".join("".join(chunks).split()) == "".join(text.split())
    for chunk in chunks:
        assert chunk == " ".join(chunk.split())
        assert chunk
    lengths = [sum(by_letters(re.findall(r"[^\s。，]+[。，]*|[。，]+", chunk))) for chunk in chunks]
    if chunk_tokens >= 8:  # a cut word may count a token more than its parts
        assert all(length <= 1.5 * chunk_tokens for length in lengths)
        assert all(length >= 0.5 * chunk_tokens - 1 for length in lengths[:-1])


def test_chunks_end_at_sentences_where_one_is_near() -> None:
    words = [f"w{i}" for i in range(45)]
    words[17] += "."
    words[18] = "Next"
    words[40] += "?!”"
    words[41] = "Then"
    chunks = chunk_text(" ".join(words), one_each, 20)
    assert [chunk.split()[-1] for chunk in chunks] == ["w17.", "w40?!”", "w44"]


def test_a_clause_is_better_than_a_word_and_a_sentence_than_a_clause() -> None:
    words = [f"w{i}" for i in range(40)]
    words[17] += ","
    assert chunk_text(" ".join(words), one_each, 20)[0].endswith("w17,")
    words[23] += "."
    words[24] = "Next"
    assert chunk_text(" ".join(words), one_each, 20)[0].endswith("w23.")


@pytest.mark.parametrize("place", [6, 34])
def test_a_sentence_end_too_near_or_too_far_is_passed_over(place: int) -> None:
    words = [f"w{i}" for i in range(60)]
    words[place] += "."
    words[place + 1] = "Next"
    assert len(chunk_text(" ".join(words), one_each, 20)[0].split()) == 20


def test_a_full_stop_inside_a_sentence_does_not_end_it() -> None:
    words = [f"w{i}" for i in range(40)]
    words[18] = "e.g."
    assert chunk_text(" ".join(words), one_each, 20)[0].endswith("w19")


def test_a_paragraph_ends_a_sentence() -> None:
    words = [f"w{i}" for i in range(40)]
    text = " ".join(words[:15]) + "\n\n" + " ".join(words[15:])
    assert chunk_text(text, one_each, 20)[0].endswith("w14")
    assert chunk_text(text.replace("\n\n", "\n"), one_each, 20)[0].endswith("w19")


def test_a_short_text_is_one_chunk_and_an_empty_one_none() -> None:
    assert chunk_text("Four more years!", one_each, 20) == ["Four more years!"]
    assert chunk_text(" \n ", one_each, 20) == []


@pytest.mark.parametrize("text", ["x" * 1000, "文" * 1000, "一二三四五六七八九。" * 100])
def test_text_without_spaces_is_cut_too(text: str) -> None:
    chunks = chunk_text(text, lambda words: [len(word) for word in words], 20)
    assert "".join(chunks) == text
    assert all(10 <= len(chunk) <= 30 for chunk in chunks)


def test_each_different_word_is_counted_once() -> None:
    asked: list[str] = []

    def count(words: list[str]) -> list[int]:
        asked.extend(words)
        return [1] * len(words)

    chunk_text("to be or not to be", count, 20)
    assert asked == ["to", "be", "or", "not"]
