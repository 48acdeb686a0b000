"""A stand-in for the hub's HTTP API: repositories in memory, as much of it as an upload and a download need."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SHA = "0123456789abcdef0123456789abcdef01234567"


class HubServer(ThreadingHTTPServer):
    """Holds files by repository and name, and what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        self.server.asked.append(f"POST {self.path}")
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
            if asked["name"] == "forbidden":
                self._send(403, {"error": "You have no right to make this."})
                return
            self.server.repos.setdefault(name, {})
            self._send(200, {"url": f"{self.server.address}/{name}", "name": name})
        elif match := re.fullmatch(r"/api/models/(\w+/[\w-]+)/preupload/main(\?.*)?", self.path):
            files = [file["path"] for file in json.loads(body)["files"]]
            told = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in files]
            self._send(200, {"files": told})
        elif match := re.fullmatch(r"/api/models/(\w+/[\w-]+)/commit/main(\?.*)?", self.path):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.server.repos[match[1]][line["value"]["path"]] = content
            self._send(200, {"commitUrl": f"{self.server.address}/{match[1]}/commit/{SHA}", "commitOid": SHA})
        else:
            self._send(200, {"errors": [], "warnings": []})

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        match = re.fullmatch(r"/(\w+/[\w-]+)/resolve/\w+/([\w.]+)", self.path)
        files = self.server.repos.get(match[1], {}) if match else {}
        if match is None or match[2] not in files:
            self._send(404, {"error": "not found"}, {"X-Error-Code": "EntryNotFound" if files else "RepoNotFound"})
            return
        content = files[match[2]]
        etag = hashlib.sha1(content).hexdigest()
        self._send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": SHA})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def _send(self, status: int, content: Any, headers: Any = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass
