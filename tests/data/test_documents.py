from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lvm_fast.data.documents import Document, read_documents


def test_files_folders_and_lines_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    (folder / "b.md").write_text("# B")
    (folder / "deep" / "a.txt").write_text("a")
    (folder / "picture.png").write_bytes(b"\xff")
    (tmp_path / "one.txt").write_bytes(b"\xef\xbb\xbfmarked")  # a byte-order mark
    lines = tmp_path / "more.jsonl"
    lines.write_text('{"id": "x", "text": "words"}\n{"id": "y", "chunks": ["one", "two"]}\n')
    assert read_documents([tmp_path / "one.txt", folder, lines]) == [
        Document("one.txt", "marked"),
        Document("b.md", "# B"),
        Document("deep/a.txt", "a"),
        Document("x", "words"),
        Document("y", "", ("one", "two")),
    ]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b" \n\t ", r"a\.txt: holds no text"),
        ("a.txt", b"caf\xe9", r"a\.txt: not UTF-8 text \(.* at byte 3\)"),
        ("a.pdf", b"%PDF", r"a\.pdf: expected a \.txt, \.md"),
        ("a.jsonl", b"", r"a\.jsonl: holds no documents"),
    ],
)
def test_a_file_without_text_is_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_documents([tmp_path / name])


def test_files_without_text_in_a_folder_are_left_out_and_counted(tmp_path: Path) -> None:
    for name, text in (("a.txt", "words"), ("b.md", " \n"), ("c.txt", ""), ("d.txt", "more")):
        (tmp_path / name).write_text(text)
    with pytest.warns(UserWarning, match="left out 2 of 4 files, which hold no text"):
        documents = read_documents([tmp_path])
    assert [document.id for document in documents] == ["a.txt", "d.txt"]
    for name in ("a.txt", "d.txt"):
        (tmp_path / name).write_text("\n")
    with pytest.raises(ValueError, match="none of its 4 files holds text"):
        read_documents([tmp_path])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, 'expected "text" or "chunks"'),
        ({"text": "  "}, "no text"),
        ({"text": 3}, '"text" is a int'),
        ({"chunks": []}, "no text"),
        ({"chunks": "abc"}, '"chunks" is no list of strings'),
        ({"chunks": ["a", 3]}, '"chunks" is no list of strings'),
        ({"chunks": ["a", " "]}, '"chunks" is no list of strings that hold text'),
    ],
)
def test_a_line_without_text_is_named(tmp_path: Path, record: dict[str, Any], message: str) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"id": "first", "text": "words"}\n' + json.dumps({"id": "a", **record}))
    with pytest.raises(ValueError, match=rf"a\.jsonl: line 2: .*{message}"):
        read_documents([lines])


def test_names_must_differ_and_something_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ValueError, match=r"two documents are called 'a\.txt'"):
        read_documents([tmp_path / "a.txt", tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: no \.txt or \.md file in this folder"):
        read_documents([tmp_path / "empty"])
    with pytest.raises(ValueError, match="no documents given"):
        read_documents([])
    for name in ("missing.txt", "missing.jsonl", "missing"):
        with pytest.raises(FileNotFoundError, match=name):
            read_documents([tmp_path / name])
