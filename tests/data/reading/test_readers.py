"""Every kind of document is read from a file that another program wrote.

`files/river.*` are pandoc 3.9's, made of one Markdown file; `files/saved_dataset` is of Hugging Face datasets 5.0.
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lvm_fast.cli import main
from lvm_fast.data.documents import read_documents

FILES = Path(__file__).with_name("files")
RIVER = [
    "The River",
    "A. Writer",
    "First chapter",
    "The river is wide here, and the boats are slow.",
    "oars",
    "sails",
    "Second chapter",
    *("place | depth", "ford | 1 m", "mouth | 9 m"),
    "Nobody knows where it “begins”; some say in the hills.",
]
CELLS = [cell for paragraph in RIVER for cell in paragraph.split(" | ")]


@pytest.mark.parametrize(
    ("name", "package", "expected"),
    [("river.docx", "docx", RIVER), ("river.epub", "bs4", CELLS), ("river.html", "bs4", CELLS)],
)
def test_the_text_of_a_document_is_its_paragraphs_in_order(name: str, package: str, expected: list[str]) -> None:
    pytest.importorskip(package)
    (document,) = read_documents([FILES / name])
    assert document.id == name
    assert document.text.split("\n\n") == expected


def write_pdf(path: Path, pages: list[str]) -> None:
    """A PDF file by matplotlib; a page without text has a line on it."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    from matplotlib.backends.backend_pdf import PdfPages

    with pyplot.rc_context({"pdf.fonttype": 42}), PdfPages(path) as file:
        for text in pages:
            figure = pyplot.figure()
            if text:
                figure.text(0.1, 0.5, text)
            else:
                figure.add_artist(pyplot.Line2D([0, 1], [0, 1]))
            file.savefig(figure)
            pyplot.close(figure)


def test_the_pages_of_a_pdf_are_read_and_those_without_text_are_said(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    write_pdf(tmp_path / "a.pdf", ["The first page.", "", "The third page."])
    with pytest.warns(UserWarning, match=r"a\.pdf: left out 1 of 3 pages hold no text \(page 2\)$"):
        (document,) = read_documents([tmp_path / "a.pdf"])
    assert document.text == "The first page.\n\nThe third page."
    write_pdf(tmp_path / "scan.pdf", [""])
    with pytest.raises(ValueError, match=r"scan\.pdf: holds no text"):
        read_documents([tmp_path / "scan.pdf"])


def test_a_folder_of_all_kinds_is_read(tmp_path: Path) -> None:
    for package in ("docx", "bs4", "pypdf"):
        pytest.importorskip(package)
    for name in ("river.docx", "river.epub", "river.html"):
        shutil.copy(FILES / name, tmp_path)
    write_pdf(tmp_path / "page.pdf", ["Words."])
    (tmp_path / "note.txt").write_text("A note.")
    for name in ("bad.pdf", "bad.docx", "bad.epub"):
        (tmp_path / name).write_bytes(b"PK nothing")
    with pytest.warns(UserWarning, match=r"left out 3 that cannot be read \(bad\.docx, bad\.epub, bad\.pdf\)$"):
        documents = read_documents([tmp_path])
    assert [document.id for document in documents] == ["note.txt", "page.pdf", "river.docx", "river.epub", "river.html"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.pdf", b"%PDF-1.7 nothing", r"a\.pdf: no PDF file that can be read"),
        ("a.docx", b"PK nothing", r"a\.docx: no \.docx file that can be read"),
        ("a.epub", b"PK nothing", r"a\.epub: no EPUB book that can be read"),
        ("a.html", b"<script>alert(1)</script><title>t</title>", r"a\.html: holds no text"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    for package in ("docx", "bs4", "pypdf"):
        pytest.importorskip(package)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_documents([tmp_path / name])


def test_a_book_that_defines_entities_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.epub", "w") as book:
        book.writestr("META-INF/container.xml", '<!DOCTYPE a [<!ENTITY x "ha">]><a>&x;</a>')
    with pytest.raises(ValueError, match="it defines entities"):
        read_documents([tmp_path / "bomb.epub"])


def test_scripts_and_navigation_are_no_text_and_the_page_says_its_encoding(tmp_path: Path) -> None:
    pytest.importorskip("bs4")
    page = (
        "<html><head><meta charset='iso-8859-1'><title>T</title><style>p {}</style></head><body><nav>Home</nav>"
        "<p>Caf\xe9 &amp; <b>bar</b>.<br>Next line</p><script>var x;</script><div>One<div>Two</div>Three</div></body>"
    )
    (tmp_path / "a.htm").write_bytes(page.encode("latin-1"))
    (document,) = read_documents([tmp_path / "a.htm"])
    assert document.text.split("\n\n") == ["Café & bar.", "Next line", "One", "Two", "Three"]


@pytest.mark.parametrize("package", ["pypdf", "bs4", "docx"])
def test_without_the_extra_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    name = {"pypdf": "a.pdf", "bs4": "river.html", "docx": "river.docx"}[package]
    shutil.copy(FILES / "river.docx", tmp_path / "a.pdf")
    path = tmp_path / name if package == "pypdf" else FILES / name
    assert main(["encode", str(path), "--output", str(tmp_path / "s.safetensors")]) == 2
    assert "pip install 'lvm_fast[documents]'" in capsys.readouterr().err
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(path, folder)
    (folder / "b.txt").write_text("words")
    with pytest.warns(UserWarning, match=rf"left out 1 without a reader.*lvm_fast\[documents\].*{name}"):
        assert [document.id for document in read_documents([folder])] == ["b.txt"]


def test_rows_of_a_csv_file_are_documents(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('id,text\nx,"Two\nlines, one text"\ny,Other\n')
    assert [(d.id, d.text) for d in read_documents([tmp_path / "t.csv"])] == [
        ("x", "Two\nlines, one text"),
        ("y", "Other"),
    ]
    (tmp_path / "t.csv").write_text("body,number\nOne,1\nTwo,2\n")
    with pytest.raises(ValueError, match=r"which column is the text\? Say --text-column; found body, number"):
        read_documents([tmp_path / "t.csv"])
    documents = read_documents([tmp_path / "t.csv"], text_column="body")
    assert [(d.id, d.text) for d in documents] == [("t.csv:0", "One"), ("t.csv:1", "Two")]
    assert [d.id for d in read_documents([tmp_path / "t.csv"], text_column="body", id_column="number")] == ["1", "2"]
    with pytest.raises(ValueError, match="unknown column 'bodi'; did you mean 'body'"):
        read_documents([tmp_path / "t.csv"], text_column="bodi")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"id,text\nx,y,z\n", "row 0 has another number of columns than the 2 named"),
        (b"id,text\nx\n", "row 0 has another number of columns"),
        (b'id,text\nx,"open\n', "unexpected end of data"),
        (b"id,text\nx,caf\xe9\n", "not UTF-8 text"),
        (b"id,text\n,words\n", "row 0 has no id"),
        (b"id,text\nx, \n", "none of its 1 rows holds text"),
        (b"id,text\nx,a\nx,b\n", "two documents are called 'x'"),
    ],
)
def test_a_csv_file_that_is_not_one_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_documents([tmp_path / "t.csv"])


def test_rows_without_text_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,text\nx,\ny,words\n")
    with pytest.warns(UserWarning, match=r"t\.csv: left out 1 of 2 rows, which hold no text"):
        assert [d.id for d in read_documents([tmp_path / "t.csv"])] == ["y"]


def test_rows_of_a_parquet_file_are_documents(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"name": ["a", "b"], "body": ["One.", "Two."], "n": [1, 2]})
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=1)
    documents = read_documents([tmp_path / "t.parquet"], text_column="body", id_column="name")
    assert [(d.id, d.text) for d in documents] == [("a", "One."), ("b", "Two.")]
    parquet.write_table(table.select(["body", "n"]), tmp_path / "t.parquet", row_group_size=1)
    assert [d.id for d in read_documents([tmp_path / "t.parquet"])] == ["t.parquet:0", "t.parquet:1"]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(ValueError, match=r"bad\.parquet: no Parquet file that can be read"):
        read_documents([tmp_path / "bad.parquet"])


def test_a_folder_that_datasets_has_saved_is_its_rows() -> None:
    pytest.importorskip("pyarrow")
    documents = read_documents([FILES / "saved_dataset"])
    expected: list[Any] = [("a", "One text."), ("b", "Another text."), ("c", "A third text."), ("z", "A third text.")]
    assert [(d.id, d.text) for d in documents] == expected
    assert [d.id for d in read_documents([FILES / "saved_dataset" / "test"])] == ["z"]
