from __future__ import annotations

import gzip
import json
import os
import sys
import warnings
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
    with pytest.warns(UserWarning, match=r"texts: read 2 files, left out 1 of other kinds \(\.png\)$"):
        documents = read_documents([tmp_path / "one.txt", folder, lines])
    assert documents == [
        Document("one.txt", "marked"),
        Document("b.md", "# B"),
        Document("deep/a.txt", "a"),
        Document("x", "words"),
        Document("y", "", ("one", "two")),
    ]
    paths = [tmp_path / "one.txt", folder / "b.md", folder / "deep" / "a.txt", lines, lines]
    assert [document.path for document in documents] == paths


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b" \n\t ", r"a\.txt: holds no text"),
        ("a.txt", b"caf\xe9", r"a\.txt: not UTF-8 text \(.* at byte 3\)"),
        ("a.odt", b"PK", r"a\.odt: expected a file that ends in \.txt, \.md, .*; --suffix reads another as text"),
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
    with pytest.warns(UserWarning, match=r"read 2 files, left out 2 without text \(b\.md, c\.txt\)$"):
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
    with pytest.raises(ValueError, match=r"empty: no \.txt, \.md, .*\.docx file in this folder"):
        read_documents([tmp_path / "empty"])
    with pytest.raises(ValueError, match="no documents given"):
        read_documents([])
    for name in ("missing.txt", "missing.jsonl", "missing"):
        with pytest.raises(FileNotFoundError, match=name):
            read_documents([tmp_path / name])


def made_tree(folder: Path, *names: str) -> Path:
    """Files that hold their own names, and the folders they are in."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def ids_of(folder: Path, left_out: str | None) -> list[str]:
    """What is read of a folder, and the line that says what is not."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        documents = read_documents([folder])
    said = [str(warning.message) for warning in caught]
    count = f"read {len(documents)} file{'s' * (len(documents) != 1)}"
    assert said == ([] if left_out is None else [f"{folder}: {count}, left out {left_out}"])
    return [document.id for document in documents]


def test_suffixes_count_in_any_case(tmp_path: Path) -> None:
    made_tree(tmp_path / "in", "a.txt", "c.TXT", "README.MD", "deep/n.Md")
    assert ids_of(tmp_path / "in", None) == ["README.MD", "a.txt", "c.TXT", "deep/n.Md"]
    (tmp_path / "L.JSONL").write_text('{"id": "x", "text": "words"}')
    (tmp_path / "Z.JsonL.GZ").write_bytes(gzip.compress(b'{"id": "y", "text": "words"}'))
    documents = read_documents([tmp_path / "in" / "c.TXT", tmp_path / "L.JSONL", tmp_path / "Z.JsonL.GZ"])
    assert [document.id for document in documents] == ["c.TXT", "x", "y"]


def test_what_is_left_out_of_a_folder_is_said_with_its_reason(tmp_path: Path) -> None:
    made_tree(tmp_path, "a.txt", "b.odt", "c.odt", "d.doc", "e.ODT", "Makefile", "f.csv", "lines.jsonl")
    made_tree(tmp_path, ".ipynb_checkpoints/a-checkpoint.txt", "deep/.git/x.md", "deep/.hidden.txt", "deep/g.md")
    (tmp_path / "blank.txt").write_text(" ")
    (tmp_path / "gone.txt").symlink_to("nowhere.txt")
    (tmp_path / "folder.txt").mkdir()
    said = (
        "3 hidden (.ipynb_checkpoints, deep/.git, deep/.hidden.txt), "
        "7 of other kinds (.odt 3, no suffix, .doc, and 2 more), "
        "1 that are no files, or links to none (gone.txt), 1 without text (blank.txt)"
    )
    assert ids_of(tmp_path, said) == ["a.txt", "deep/g.md"]


def test_hidden_is_what_is_inside_not_the_folder_that_was_named(tmp_path: Path) -> None:
    made_tree(tmp_path / ".notes", "a.txt")
    assert ids_of(tmp_path / ".notes", None) == ["a.txt"]


def test_linked_folders_are_read_once_and_circles_end(tmp_path: Path) -> None:
    made_tree(tmp_path / "elsewhere", "x.txt", "deep/y.txt")
    folder = made_tree(tmp_path / "in", "a.txt", "sub/b.txt")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    assert ids_of(folder, None) == ["a.txt", "linked/deep/y.txt", "linked/x.txt", "sub/b.txt"]
    (tmp_path / "elsewhere" / "back").symlink_to(folder)
    (folder / "again").symlink_to("sub")
    (folder / "sub" / "up").symlink_to("..")
    (folder / "sub" / "out").symlink_to(tmp_path)
    (folder / "self").symlink_to("self")
    said = "1 of other kinds (no suffix), 4 linked in a circle or twice (again, sub/out, sub/up, and 1 more)"
    assert ids_of(folder, said) == ["a.txt", "linked/deep/y.txt", "linked/x.txt", "sub/b.txt"]


def test_a_linked_file_is_read(tmp_path: Path) -> None:
    made_tree(tmp_path / "in", "a.txt")
    (tmp_path / "one.txt").write_text("one")
    (tmp_path / "in" / "b.txt").symlink_to(tmp_path / "one.txt")
    assert ids_of(tmp_path / "in", None) == ["a.txt", "b.txt"]


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_tree(tmp_path, "a.txt", "closed/b.txt")
    listdir = os.listdir

    def refuse(path: Any) -> list[str]:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(PermissionError, match="closed"):
        read_documents([tmp_path])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_utf8_is_replaced_and_said(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (tmp_path / name).write_text("words")
    said = r"caf\ufffd\.txt: the name is no UTF-8; the document is called 'caf\ufffd\.txt'"
    for path in (tmp_path, tmp_path / name):
        with pytest.warns(UserWarning, match=said):
            documents = read_documents([path])
        assert documents == [Document("caf\ufffd.txt", "words")]
        assert documents[0].path == tmp_path / name
    (tmp_path / os.fsdecode(b"caf\xe8.txt")).write_text("more")
    same = r"two documents are called 'caf\ufffd\.txt' \(.*caf.\.txt and .*caf.\.txt\)"
    with pytest.warns(UserWarning, match="the name is no UTF-8"), pytest.raises(ValueError, match=same):
        read_documents([tmp_path])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a", "text": "half \\ud83d"}', r"half of a surrogate pair, '\\ud83d', at character 5"),
        ('{"id": "a\\udc80", "text": "words"}', "half of a surrogate pair"),
        ('{"id": "a", "chunks": ["x", "\\ud83d"]}', "half of a surrogate pair"),
        ('{"id": "a", "text": "x", "text": "y"}', "the key 'text' stands twice in one object"),
        ('{"id": "a", "id": "b", "text": "y"}', "the key 'id' stands twice"),
        ('{"id": "a", "text": "x", "score": NaN}', "NaN is no JSON number"),
    ],
)
def test_a_line_that_can_be_read_in_two_ways_is_named(tmp_path: Path, line: str, message: str) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"id": "first", "text": "words"}\n' + line)
    with pytest.raises(ValueError, match=rf"a\.jsonl: line 2: no valid JSON in UTF-8: .*{message}"):
        read_documents([lines])


def test_whole_surrogate_pairs_are_characters(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "a", "text": "\\ud83d\\ude00"}')
    assert read_documents([tmp_path / "a.jsonl"]) == [Document("a", "\U0001f600")]


def test_one_file_of_another_encoding_does_not_end_the_rest(tmp_path: Path) -> None:
    made_tree(tmp_path, "a.txt", "b.txt")
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    assert ids_of(tmp_path, "1 of another encoding than UTF-8 (latin.txt)") == ["a.txt", "b.txt"]
    documents = read_documents([tmp_path], encoding="latin-1")
    assert [(document.id, document.text) for document in documents] == [
        ("a.txt", "a.txt"),
        ("b.txt", "b.txt"),
        ("latin.txt", "café"),
    ]
    with pytest.raises(ValueError, match=r"latin\.txt: not UTF-8 text \(.*\); --encoding says which it is"):
        read_documents([tmp_path / "latin.txt"])
    with pytest.raises(ValueError, match="encoding = 'latin-99'; expected one that Python knows"):
        read_documents([tmp_path], encoding="latin-99")


def test_the_files_of_some_suffixes_only_are_read_where_asked(tmp_path: Path) -> None:
    made_tree(tmp_path, "a.txt", "b.md", "c.rst", "deep/d.RST")
    (tmp_path / "t.csv").write_text("id,text\nrow,words\n")
    with pytest.warns(UserWarning, match=r"left out 3 of other kinds \(\.txt, \.md, \.csv\)"):
        assert [document.id for document in read_documents([tmp_path], suffixes=["rst"])] == ["c.rst", "deep/d.RST"]
    with pytest.warns(UserWarning, match=r"left out 4 of other kinds"):
        assert [document.id for document in read_documents([tmp_path], suffixes=[".csv"])] == ["row"]
    assert read_documents([tmp_path / "c.rst"], suffixes=[".rst"])[0].text == "c.rst"
    with pytest.raises(ValueError, match="expected several"):
        read_documents([tmp_path], suffixes=".txt")
