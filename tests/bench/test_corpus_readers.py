"""Readers of the corpora: the paragraphs that each format gives."""

import json
import sqlite3
import struct
import zipfile
import zlib

import pytest
from corpus_readers import (
    Prose,
    html_paragraphs,
    read_code_of_law,
    read_factbook,
    read_html,
    read_parliament,
    read_r_books,
    read_speeches,
    read_sword,
    read_text,
)

SENTENCE = "It is a sentence of some words."


@pytest.mark.parametrize(
    ("page", "paragraphs"),
    [
        (f"<p>{SENTENCE}</p><pre>code of four words</pre><p>And <b>another one</b> of\n them.", 2),
        (f"<nav><p>{SENTENCE}</p></nav><table><tr><td><table></table><p>{SENTENCE}</table><p>{SENTENCE}</p>", 1),
        (f"<p>{SENTENCE}<p>{SENTENCE}<ul><li>{SENTENCE}<li>{SENTENCE}</ul>", 4),
        (f'<div class="Menu"><div><p>{SENTENCE}</p></div></div><div id="menu">x</div><h1>Two words</h1>', 0),
        (f'<div class="Normal">{SENTENCE}</div><div class="other">{SENTENCE}</div>', 1),
    ],
)
def test_html_paragraphs_are_the_running_text(page, paragraphs):
    found = html_paragraphs(page, skipped_classes=("menu",), text_classes=("normal",))
    assert len(found) == paragraphs
    assert set(found) <= {SENTENCE, "And another one of them."}


def test_html_pages_come_in_order_in_their_own_coding_and_language(tmp_path):
    (tmp_path / "b").mkdir()
    german = '<html lang="de"><head><meta charset="latin-1"></head><p>Schön ist es hier überall.</p>'
    (tmp_path / "b/2.html").write_bytes(german.encode("latin-1"))
    (tmp_path / "b/1.html").write_text('<html lang="de"><p>Es war einmal ein Satz.</p>')
    (tmp_path / "b/3.html").write_text(f'<html lang="en"><p>{SENTENCE}</p>')
    (tmp_path / "b/print.html").write_text('<html lang="de"><p>Es war einmal ein Satz.</p>')
    found = list(read_html(tmp_path, "b", ("*.html", "**/*.html"), language="de"))
    assert found == [Prose("1", ["Es war einmal ein Satz."]), Prose("2", ["Schön ist es hier überall."])]


def test_text_files_come_by_their_numbers(tmp_path):
    for number in (1, 2, 10, 3):
        (tmp_path / f"chapter_{number}.txt").write_text(f"Title {number}\n\nA line\nand another.\n")
    found = list(read_text(tmp_path, "*.txt", without=["chapter_3"]))
    assert [one.id for one in found] == ["chapter_1", "chapter_2", "chapter_10"]
    assert found[2].paragraphs == ["Title 10", "A line and another."]


def sword_testament(folder, name, books):
    packed, table = b"", b""
    for book in books:
        block = zlib.compress(book.encode())
        table += struct.pack("<III", len(packed), len(block), len(book.encode()))
        packed += block
    (folder / f"{name}.bzs").write_bytes(table + bytes(12))  # the last block is empty
    (folder / f"{name}.bzz").write_bytes(packed)


def test_sword_gives_chapters_without_notes_titles_and_marks(tmp_path):
    folder = tmp_path / "usr/share/sword/modules/texts/ztext/module"
    folder.mkdir(parents=True)
    chapter = (
        '<chapter n="{0}" osisID="Gen.{0}" sID="Gen.{0}"/><w lemma="x">In</w> the &amp; {0}.<note>No\nnote.</note>'
    )
    book = '<title level="1">Genesis</title>' + "".join(chapter.format(number) for number in (1, 2, 3))
    sword_testament(folder, "ot", [book])
    sword_testament(folder, "nt", [])
    found = list(read_sword(tmp_path, chapters=2))
    assert found == [Prose("Gen 1-2", ["In the & 1.", "In the & 2."]), Prose("Gen 3-3", ["In the & 3."])]


def r_strings(lines):
    """A character vector as R serialises it, in the block of a lazy-load database."""
    vector = b"X\n" + struct.pack(">iiii", 2, 0x40201, 0x20300, 16) + struct.pack(">i", len(lines))
    for line in lines:
        vector += struct.pack(">ii", 0x40009, len(line.encode())) + line.encode()
    return struct.pack(">I", len(vector)) + zlib.compress(vector)


def test_r_books_are_cut_at_chapters(tmp_path):
    folder = tmp_path / "usr/lib/R/site-library/books/data"
    folder.mkdir(parents=True)
    emma = ["EMMA", "", "CHAPTER I", "", "It _was_ é", "so.", "", "Then.", "CHAPTER II", "End."]
    other = ["Other", "CHAPTER I", "Text."]
    (folder / "Rdata.rdb").write_bytes(r_strings(emma) + r_strings(other))
    found = list(read_r_books(tmp_path, r"CHAPTER [IVX]+"))
    assert [one.id for one in found] == ["Emma, chapter 1", "Emma, chapter 2", "Other, chapter 1"]
    assert [text for text in found[0].paragraphs if text] == ["It was é so.", "Then."]


def test_speeches_lose_the_marks_of_notes(tmp_path):
    database = sqlite3.connect(tmp_path / "a.db")
    database.execute("CREATE TABLE texts (id, body)")
    database.execute("INSERT INTO texts VALUES ('one', 'Nuri1 in 1920.\n\nMore.')")
    database.commit()
    database.close()
    found = list(read_speeches(tmp_path, "a.db", "SELECT id, body FROM texts"))
    assert found == [Prose("one", ["Nuri in 1920.", "More."])]


def test_parliament_gives_speeches_by_date(tmp_path):
    table = 'date,speaker,text,parlspeech_row\n2001-01-02,B,"Later , yes !",2\n2001-01-01,A,First.,7\n'
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.writestr("p.csv", table)
    found = list(read_parliament(tmp_path, "p.zip", "p.csv"))
    assert found == [Prose("2001-01-01 A 7", ["First."]), Prose("2001-01-02 B 2", ["Later, yes!"])]


def test_factbook_keeps_sentences_and_leaves_out_lists(tmp_path):
    (tmp_path / "europe").mkdir()
    prose = " ".join(["word"] * 30)
    country = {"A": {"text": f"{prose} ++ &amp; <b>more</b>"}, "B": {"text": "UN, WTO, " * 20}, "C": "few words"}
    (tmp_path / "europe/xx.json").write_text(json.dumps(country))
    assert list(read_factbook(tmp_path, ".")) == [Prose("xx", [f"{prose} & more"])]


def test_law_gives_the_articles_in_force_of_each_section(tmp_path):
    def article(text, state="VIGUEUR"):
        return {"type": "article", "data": {"etat": state, "texte": text}}

    def section(name, *children):
        return {"type": "section", "data": {"etat": "VIGUEUR", "id": f"LEGISCTA{name}"}, "children": list(children)}

    code = section("1", article("<p>Un&nbsp;texte.</p>"), article("Passé.", "ABROGE")), section("2", article("Deux."))
    (tmp_path / "code.json").write_text(json.dumps({"type": "code", "data": {}, "children": code}))
    found = list(read_code_of_law(tmp_path, ["code.json"]))
    assert found == [Prose("code 1", ["Un texte."]), Prose("code 2", ["Deux."])]
