"""A server that receives webhooks, and answers as a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent. codes: those of its first answers; every later one is 200."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *codes: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.codes, self.received = list(codes), list[dict[str, Any]]()
        self.paths, self.logins = list[str](), list[str | None]()
        self.answering = threading.Event()
        """Until it is set, the server accepts connections and does not answer."""
        self.answering.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def events(self) -> list[tuple[Any, ...]]:
        """Event, path, version and step of every message."""
        return [tuple(body.get(key) for key in ("event", "path", "version", "step")) for body in self.received]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append(body)
        self.server.paths.append(self.path)
        self.server.logins.append(self.headers["Authorization"])
        self.server.answering.wait()
        self.send_response(self.server.codes.pop(0) if self.server.codes else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Write nothing to standard error."""


@contextmanager
def receiver(*codes: int) -> Iterator[Receiver]:
    """A running server. codes: those of its first answers."""
    with Receiver(*codes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.answering.set()
            server.shutdown()
