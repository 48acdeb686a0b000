"""`lvm-fast explore`: who may ask, what is refused, and that the answers are those of a search by hand."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium, page_at

import lvm_fast as lf
from lvm_fast import cli
from lvm_fast.cli.explore_server import MOST_BYTES, ExploreServer
from lvm_fast.data.documents import Document
from lvm_fast.data.encode import encode_documents
from lvm_fast.inference.explorer import Explorer

DIM = 8
SENTENCES = [f"Sentence number {i} speaks of <b>matter</b> {i * i % 17} and no other." for i in range(30)]
QUESTION = {"text": " ".join(SENTENCES[3:6])}


class FakeEncoder:
    max_tokens = None

    def __init__(self, name: str = "fake", device: str = "cpu") -> None:
        if name == "missing":
            raise ValueError("SentenceEncoder: model 'missing' cannot be loaded: no such thing.")
        self.name = name

    def encode(self, texts: list[str]) -> Any:
        width = 5 if self.name == "narrow" else DIM
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") for text in texts]
        return np.stack([np.random.default_rng(seed).standard_normal(width) for seed in seeds])

    def count_tokens(self, words: list[str]) -> list[int]:
        return [1] * len(words)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> lf.ChainStore:
    documents = [Document("a.txt", " ".join(SENTENCES[:20])), Document("b <i>", " ".join(SENTENCES[20:]))]
    place = tmp_path_factory.mktemp("explore") / "my.safetensors"
    return encode_documents(documents, FakeEncoder(), place, chunk_tokens=10, dtype="float32", progress=False)


def served(explorer: Explorer) -> Iterator[ExploreServer]:
    with ExploreServer(explorer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def ready(store: lf.ChainStore) -> lf.TextPredictor:
    model = lf.create_model("whitened_recency", input_dim=DIM, space=lf.fit_space(store.vectors)).eval()
    return lf.TextPredictor(model, store, FakeEncoder())


@pytest.fixture(scope="module")
def server(ready: lf.TextPredictor) -> Iterator[ExploreServer]:
    yield from served(Explorer(ready, "a model", "my.safetensors"))


def asked(server: ExploreServer, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path.replace("TOKEN", server.token), body, given)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    is_json = response.headers.get_content_type() == "application/json"
    return response.status, json.loads(content) if is_json else content, response.headers


def ask(server: ExploreServer, question: Any, **headers: str) -> tuple[int, Any]:
    body = question if isinstance(question, bytes) else json.dumps(question).encode()
    status, answer, _ = asked(server, "POST", "/TOKEN/ask", body, **{"Content_Type": "application/json", **headers})
    return status, answer


def test_the_answers_are_those_of_the_predictor(server: ExploreServer, ready: lf.TextPredictor) -> None:
    status, answer = ask(server, QUESTION)
    vectors = ready.read(Document("d", QUESTION["text"])).vectors
    coming, nearest = ready.next_and_nearest(vectors, 8)
    assert (status, answer["read"], answer["chunks"]) == (200, 3, 3)
    assert [(hit["chunk"], hit["text"]) for hit in answer["next"]] == [(hit.chunk, hit.text) for hit in coming]
    assert [hit["chunk"] for hit in answer["nearest"]] == [hit.chunk for hit in nearest]
    assert not {hit["text"] for hit in answer["next"]} & set(SENTENCES[3:6])


def test_a_document_of_the_store_goes_on(server: ExploreServer, ready: lf.TextPredictor, store: lf.ChainStore) -> None:
    status, answer = ask(server, {"chain": "a.txt", "position": 7})
    coming, _ = ready.next_and_nearest(store.vectors[:7], 8)
    assert (status, answer["read"], answer["context"]) == (200, 7, SENTENCES[2:7])
    assert answer["followed_by"] == SENTENCES[7]
    assert [hit["chunk"] for hit in answer["next"]] == [hit.chunk for hit in coming]
    assert ask(server, {"chain": "a.txt", "position": 20})[1]["followed_by"] is None


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"text": " "}, "expected words as text"),
        ({"text": 3}, "expected words as text"),
        ({"text": "caf\udce9"}, "half of a surrogate pair"),
        ({"chain": "zebra", "position": 1}, "there is no document called 'zebra'"),
        ({"chain": "a.txt", "position": 0}, "position = 0; expected 1 to 20"),
        ({"chain": "a.txt", "position": 21}, "position = 21; expected 1 to 20"),
        ({"chain": "a.txt", "position": True}, "position = True"),
        ({"chain": ["a.txt"], "position": 1}, "there is no document called"),
        ({}, "there is no document called None"),
        ([], "expected a JSON object"),
        (b"{", ""),
        (b'{"text": "a", "text": "b"}', ""),
        (b"\xff\xfe", ""),
        (b"", ""),
    ],
)
def test_bad_questions_are_refused_with_a_reason(server: ExploreServer, question: Any, message: str) -> None:
    status, answer = ask(server, question)
    assert (status, answer.keys()) == (400, {"error"})
    assert message in answer["error"]
    assert ask(server, QUESTION)[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 404),
        ("GET", "/TOKEN", {}, 404),
        ("GET", "/TOKEN/ask", {}, 404),
        ("GET", "/TOKEN/../etc/passwd", {}, 404),
        ("GET", "/wrong/", {}, 404),
        ("GET", "/TOKEN/", {"Host": "evil.example"}, 403),
        ("GET", "/TOKEN/", {"Host": "evil.example:80"}, 403),
        ("GET", "/TOKEN/", {"Origin": "http://evil.example"}, 403),
        ("POST", "/TOKEN/ask", {"Host": "evil.example", "Content_Type": "application/json"}, 403),
        ("POST", "/TOKEN/ask", {"Origin": "null", "Content_Type": "application/json"}, 403),
        ("POST", "/TOKEN/", {"Content_Type": "application/json"}, 404),
        ("POST", "/wrong/ask", {"Content_Type": "application/json"}, 404),
        ("POST", "/TOKEN/ask", {}, 415),
        ("POST", "/TOKEN/ask", {"Content_Type": "text/plain"}, 415),
        ("POST", "/TOKEN/ask", {"Content_Type": "application/json", "Content_Length": "-1"}, 411),
        ("POST", "/TOKEN/ask", {"Content_Type": "application/json", "Content_Length": str(MOST_BYTES + 1)}, 413),
        ("PUT", "/TOKEN/ask", {}, 501),
        ("DELETE", "/TOKEN/", {}, 501),
    ],
)
def test_who_has_no_business_here_gets_nothing(
    server: ExploreServer, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    body = json.dumps(QUESTION) if method == "POST" else None
    told, content, _ = asked(server, method, path, body, **headers)
    assert told == status
    assert SENTENCES[0].encode() not in (content if isinstance(content, bytes) else json.dumps(content).encode())


def test_only_this_machine_is_listened_to(server: ExploreServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert len(server.token) >= 32
    status, page, headers = asked(server, "GET", "/TOKEN/")
    assert (status, headers["Cache-Control"], headers["Referrer-Policy"]) == (200, "no-store", "no-referrer")
    assert b"default-src 'none'" in page
    assert asked(server, "GET", "/TOKEN/", Host=f"localhost:{server.server_port}")[0] == 200


def test_without_an_encoder_documents_can_be_looked_at_and_texts_are_refused(ready: lf.TextPredictor) -> None:
    for server in served(Explorer(ready, "a model", "my.safetensors", "sentence_transformers is missing")):
        assert ask(server, QUESTION) == (400, {"error": "sentence_transformers is missing"})
        assert ask(server, {"chain": "a.txt", "position": 3})[0] == 200


def test_the_command_serves_until_it_is_interrupted(
    store: lf.ChainStore, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupted(server: ExploreServer, poll_interval: float = 0.5) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ExploreServer, "serve_forever", interrupted)
    monkeypatch.setattr("lvm_fast.data.sentence_encoder.SentenceEncoder", FakeEncoder)
    words = ["explore", str(store.file), "--no-browser"]
    assert cli.main(words) == 0
    address, *_ = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", address)
    bare = Path(str(store.file)).with_name("bare.safetensors")
    lf.ChainStore.write(bare, store.vectors[:], store.offsets)
    assert cli.main(["explore", str(bare), "--no-browser"]) == 0
    assert capsys.readouterr().out.startswith("Texts cannot be read: explore: the store does not say what it was")
    for more, message in (
        (["--port", "70000"], "explore: --port = 70000; expected 0 to 65535"),
        (["--context-length", "0"], "explore: --context-length = 0; expected at least 1"),
        (["--encoder", "missing"], "model 'missing' cannot be loaded"),
        (["--encoder", "narrow"], "narrow gives vectors of 5 numbers; the store's have 8"),
        (["--model", "general"], "the data was encoded by fake, the model's space is of"),
    ):
        assert cli.main([*words, *more]) == 2
        assert message in capsys.readouterr().err


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


def test_the_page_answers_as_one_types(browser: Any, server: ExploreServer, ready: lf.TextPredictor) -> None:
    with page_at(browser, server.address) as page:
        assert page.locator("#about").inner_text() == "Model: a model. Store: my.safetensors, 30 chunks of 2 documents."
        page.fill("#text", QUESTION["text"])
        page.locator("#next li").first.wait_for()
        coming, _ = ready.next_and_nearest(ready.read(Document("d", QUESTION["text"])).vectors, 8)
        assert page.locator("#next .chunk").all_inner_texts() == [hit.text for hit in coming]
        assert page.locator("#state").inner_text().startswith("read 3 chunks, answered in ")
        page.select_option("#chain", "b <i>")
        page.locator("#followed").wait_for()
        assert page.locator("#followed p").inner_text() == SENTENCES[25]
        assert page.locator("#read .chunk").all_inner_texts() == SENTENCES[20:25]
        page.fill("#position", "99")
        page.get_by_text("Choose a chunk from 1 to 10.").wait_for()
        page.click("#clear")
        assert page.locator("#answers").is_hidden()
        assert page.locator("main b, main i").count() == 0


def test_the_page_says_that_the_encoder_is_missing(browser: Any, ready: lf.TextPredictor) -> None:
    for server in served(Explorer(ready, "a model", "my.safetensors", "sentence_transformers is missing")):
        with page_at(browser, server.address, color_scheme="dark", viewport={"width": 360, "height": 740}) as page:
            assert "Texts cannot be read here: sentence_transformers is missing." in page.locator("main").inner_text()
            assert page.locator("#text").is_hidden()
            page.select_option("#chain", "a.txt")
            page.locator("#next li").first.wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") == 360
