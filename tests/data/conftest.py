"""Small versions whose tokens count 0, 1, 2, ...: a row's first token says where the row comes from."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from lrps.data.build.writer import TokenWriter
from lrps.data.manifest import Manifest, TokenizerIdentity

BuildVersion = Callable[..., Manifest]


@pytest.fixture(scope="session")
def identity() -> TokenizerIdentity:
    return TokenizerIdentity("counting", "0" * 64, 2**16, 0)


@pytest.fixture(scope="session")
def build_version(identity: TokenizerIdentity) -> BuildVersion:
    def build(root: Path, version: str = "v1", tokens: int = 5000, **options: int) -> Manifest:
        """Documents of 1, 38, 75, ... tokens in blocks of 256, 4 blocks a shard."""
        sizes = {"block_tokens": 256, "blocks_per_shard": 4} | options
        with TokenWriter(root, version, "train", identity, **sizes) as writer:
            start, length = 0, 1
            while start < tokens:
                document = np.arange(start, min(start + length, tokens))
                writer.add_document(document, 3 * len(document))
                start, length = start + length, length % 300 + 37
            return writer.close({"made_by": "the tests"})

    return build


class WebServer:
    """A folder on loopback. script[path]: how the next requests go wrong: a status, `cut`, `hold`, `wrong`, `long`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.script: dict[str, deque] = defaultdict(deque)
        self.go_on = threading.Event()
        """Lets the answers that `hold` after their first half go on."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(web) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                web.requests.append(path)
                web.headers.append(dict(self.headers))
                step = web.script[path].popleft() if web.script[path] else "good"
                if isinstance(step, str) and step.startswith("http"):
                    self.send_response(302)
                    self.send_header("Location", step)
                    self.end_headers()
                elif isinstance(step, int) or not (web.root / path[1:]).is_file():
                    self.send_error(step if isinstance(step, int) else 404)
                else:
                    self.answer((web.root / path[1:]).read_bytes(), step)

            def answer(self, content: bytes, step: str) -> None:
                if step == "wrong":
                    content = content[:-1] + bytes([content[-1] ^ 1])
                if step == "long":
                    content *= 1000
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                half = len(content) // 2
                self.wfile.write(content[:half])
                self.wfile.flush()
                if step == "hold":
                    web.go_on.wait()
                if step != "cut":
                    self.wfile.write(content[half:])

            def log_message(self, *_: object) -> None:
                """Nothing: the tests look at `requests`."""

            def handle(self) -> None:
                with suppress(ConnectionError):  # A reader may go away.
                    super().handle()

        return Handler


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    """A web server over an empty folder."""
    root = tmp_path / "web"
    root.mkdir()
    server = WebServer(root)
    yield server
    server.close()


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """No patience between the tries."""
    monkeypatch.setattr("lrps.data.remote.RETRY_SECONDS", (0.01, 0.01, 0.01))
