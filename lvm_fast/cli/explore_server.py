"""Serves the page of `lvm-fast explore` on this machine alone, to whoever has its address with the token."""

from __future__ import annotations

import hmac
import json
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from .._util.strict_json import read_json
from .._version import __version__
from ..evaluation.page.assets import fill

if TYPE_CHECKING:
    from ..inference.explorer import Explorer

HOST = "127.0.0.1"
MOST_BYTES = 1 << 18  # of a request
_SECONDS = 30  # that a connection may be silent


class ExploreServer(ThreadingHTTPServer):
    """The server; `address` is the page's, with the token that every request has to bring."""

    daemon_threads = True

    def __init__(self, explorer: Explorer, port: int = 0) -> None:
        """Listen on a port of this machine, any free one for 0. Raises OSError where it is taken."""
        self.explorer, self.token = explorer, secrets.token_urlsafe(24)
        super().__init__((HOST, port), _Handler)
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}
        self.page = fill("explore.html", "explore.js", explorer.facts(), {"version": __version__}).encode()

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: ExploreServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "lvm_fast", ""
    timeout = _SECONDS

    def do_GET(self) -> None:
        """Give the page."""
        if self._is_allowed(""):
            self._send(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")

    def do_POST(self) -> None:
        """Answer a question."""
        if not self._is_allowed("ask"):
            return
        if self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        elif int(length) > MOST_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {MOST_BYTES:,} bytes")
        else:
            self._answer(self.rfile.read(int(length)))

    def _answer(self, body: bytes) -> None:
        try:
            question = read_json(body.decode())
            if not isinstance(question, dict):
                raise ValueError("expected a JSON object")
            answer = self.server.explorer.ask(question)
        except ValueError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        self._send_json(HTTPStatus.OK, answer)

    def _is_allowed(self, name: str) -> bool:
        """Refuse what comes by another name of this machine, from another page, or without the token."""
        origin = self.headers.get("Origin")
        if self.headers.get("Host") not in self.server.hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "expected the address that lvm-fast explore printed")
        elif origin is not None and origin.removeprefix("http://") not in self.server.hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "expected a request of this page")
        elif not hmac.compare_digest(self.path.encode(), f"/{self.server.token}/{name}".encode()):
            self._refuse(HTTPStatus.NOT_FOUND, "expected the address that lvm-fast explore printed")
        else:
            return True
        return False

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self.close_connection = True  # a body may be left unread
        self._send_json(status, {"error": reason})

    def _send_json(self, status: HTTPStatus, value: Any) -> None:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        self._send(status, text.encode("utf-8", "replace"), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        headers |= {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the address holds the token."""
