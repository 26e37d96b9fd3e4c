"""Completions from a real HTTP server on this machine: what is asked, what is tried again, what is never told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lrps.base.errors import GenerationError
from lrps.rehearsal.endpoint import OpenAiGenerator
from lrps.rehearsal.generator import Completion
from lrps.rehearsal.sampling import Sampling

SECRET = "planted-secret-key"
WARM = Sampling(7, temperature=0.9, top_p=0.6, repetition_penalty=1.2)


class Server:
    """Answers with `answer`, a function of the request's JSON and of how often it came; keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.at_once = self.most_at_once = 0
        self.answer: Callable[[dict[str, Any], int], tuple[int, Any]] = lambda request, _: (200, said(request))
        self.together: threading.Barrier | None = None
        self.redirect: str | None = None
        outer, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.requests.append({"path": self.path, **request})
                    outer.headers.append(dict(self.headers))
                    times = sum(each.get("prompt") == request.get("prompt") for each in outer.requests)
                if outer.together is not None:
                    outer.together.wait()
                status, body = outer.answer(request, times)
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(302 if outer.redirect else status)
                if outer.redirect:
                    self.send_header("Location", outer.redirect)
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                outer.headers.append(dict(self.headers))
                self.send_error(404)

            def log_message(self, *_: Any) -> None:
                """Nothing: the output belongs to the tests."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


def said(request: dict[str, Any]) -> dict[str, Any]:
    choice = {"text": f"{request['prompt']}!", "finish_reason": "stop", "index": 0}
    return {"choices": [choice], "usage": {"completion_tokens": 3}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("RUNNER_KEY", SECRET)
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def generator(server: Server, **changes: Any) -> OpenAiGenerator:
    settings = {"key_variable": "RUNNER_KEY", "pause_seconds": 0.001, "timeout_seconds": 30.0, "attempts": 3}
    return OpenAiGenerator(server.url, "theta-0", **{**settings, **changes})


def test_a_prompt_is_asked_as_the_protocol_says(server: Server) -> None:
    assert generator(server).generate(["hello"], WARM, [2**40 + 5]) == [Completion("hello!", 3, True)]
    assert server.requests == [
        {
            "path": "/v1/completions",
            "model": "theta-0",
            "prompt": "hello",
            "max_tokens": 7,
            "temperature": 0.9,
            "top_p": 0.6,
            "repetition_penalty": 1.2,
            "seed": (2**40 + 5) % 2**31,
        }
    ]
    assert server.headers[0]["Authorization"] == f"Bearer {SECRET}"
    generator(server).generate(["hi"], Sampling(2), [1])
    assert "repetition_penalty" not in server.requests[1]


def test_without_a_key_none_is_sent(server: Server) -> None:
    generator(server, key_variable="NO_SUCH_VARIABLE").generate(["a"], WARM, [1])
    assert "Authorization" not in server.headers[0]


def test_a_redirect_does_not_take_the_key_along(server: Server) -> None:
    server.redirect = f"{server.url}/elsewhere"
    with pytest.raises(GenerationError):
        generator(server, attempts=1).generate(["a"], WARM, [1])
    first, second = server.headers
    assert first["Authorization"] == f"Bearer {SECRET}"
    assert "Authorization" not in second


def test_several_are_asked_at_once_and_come_in_order(server: Server) -> None:
    server.together = threading.Barrier(4)  # Breaks, unless four requests are there at the same time.
    prompts = [f"p{number}" for number in range(8)]
    found = generator(server, requests_at_once=4).generate(prompts, WARM, range(8))
    assert [one.text for one in found] == [f"{prompt}!" for prompt in prompts]


def test_what_was_cut_off_says_so(server: Server) -> None:
    server.answer = lambda request, _: (
        200, {**said(request), "choices": [{"text": "cut", "finish_reason": "length"}]}
    )  # fmt: skip
    assert generator(server).generate(["a"], WARM, [1]) == [Completion("cut", 3, False)]


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: Server, code: int) -> None:
    server.answer = lambda request, times: (200, said(request)) if times == 3 else (code, {"error": "busy"})
    assert [one.text for one in generator(server).generate(["a", "b"], WARM, [1, 2])] == ["a!", "b!"]
    assert len(server.requests) == 6


def test_a_server_that_stays_busy_is_told(server: Server) -> None:
    server.answer = lambda *_: (503, {"error": "loading the model"})
    with pytest.raises(GenerationError, match="HTTP 503 .*loading the model.*, 3 times; check that") as failed:
        generator(server).generate(["a"], WARM, [1])
    assert SECRET not in str(failed.value)


@pytest.mark.parametrize(
    ("code", "way_out"),
    [(401, "variable RUNNER_KEY"), (403, "variable RUNNER_KEY"), (404, "model's name"), (400, "prompt")],
)
def test_what_would_fail_again_is_not_tried_again(server: Server, code: int, way_out: str) -> None:
    server.answer = lambda *_: (code, {"error": {"message": "no such thing"}})
    with pytest.raises(GenerationError, match=rf"HTTP {code} .*no such thing.*{way_out}") as failed:
        generator(server).generate(["a"], WARM, [1])
    assert len(server.requests) == 1
    assert SECRET not in str(failed.value)


@pytest.mark.parametrize(
    "answer",
    [b"<html>", [], {}, {"choices": []}, {"choices": [{"text": None}], "usage": {"completion_tokens": 1}},
     {"choices": [{"text": "a"}]}, {"choices": [{"text": "a"}], "usage": {"completion_tokens": "3"}}],
)  # fmt: skip
def test_another_protocol_is_told(server: Server, answer: Any) -> None:
    server.answer = lambda *_: (200, answer)
    with pytest.raises(GenerationError, match="not a completion with its usage"):
        generator(server).generate(["a"], WARM, [1])


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(GenerationError, match=r"127.0.0.1:9/v1/completions: .*refused.*, 2 times"):
        OpenAiGenerator("http://127.0.0.1:9/v1/", "m", attempts=2, pause_seconds=0.001).generate(["a"], WARM, [1])


ECHO_KEY = "sk-Secret+/0123456789"


@pytest.mark.parametrize(
    "echo",
    [
        ECHO_KEY,
        f"Bearer {ECHO_KEY}",
        json.dumps({"error": {"headers": ECHO_KEY}}),
        f"<b>{ECHO_KEY.upper()}</b>",
        "sk-Secret%2B%2F0123456789",
        "x" * 290 + ECHO_KEY,
        "x" * 3990 + ECHO_KEY,
        ECHO_KEY * 200,
    ],
)
def test_a_key_that_a_server_repeats_is_not_shown(server: Server, monkeypatch: pytest.MonkeyPatch, echo: str) -> None:
    monkeypatch.setenv("RUNNER_KEY", ECHO_KEY)
    server.answer = lambda *_: (400, echo.encode() + b"\x1b]0;TITLE\x07")
    with pytest.raises(GenerationError) as caught:
        generator(server).generate(["a"], WARM, [1])
    shown = str(caught.value)
    assert not any(part in shown.lower() for part in ("secret", "sk-se", "0123456789"))
    assert shown.isprintable()


@pytest.mark.parametrize("tokens", [-1, 9, 10**30])
def test_a_count_of_tokens_that_cannot_be_is_refused(server: Server, tokens: int) -> None:
    server.answer = lambda request, _: (200, {**said(request), "usage": {"completion_tokens": tokens}})
    with pytest.raises(GenerationError, match="not a completion with its usage"):
        generator(server).generate(["a"], WARM, [1])


def test_an_endless_answer_is_not_read_to_its_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrps.rehearsal.endpoint.LARGEST_ANSWER", 1000)
    server.answer = lambda request, _: (200, json.dumps(said(request)).encode() + b" " * 2000)
    with pytest.raises(GenerationError, match="not a completion with its usage"):
        generator(server).generate(["a"], WARM, [1])


def test_equal_prompts_are_one_request(server: Server) -> None:
    def several(request: dict[str, Any], _: int) -> tuple[int, Any]:
        choices = [{"text": f"{request['prompt']}{k}", "finish_reason": "stop"} for k in range(request.get("n", 1))]
        return 200, {"choices": choices, "usage": {"completion_tokens": 5}}

    server.answer = several
    found = generator(server).generate(["a", "b", "a"], WARM, [1, 2, 3])
    assert [(one.text, one.tokens) for one in found] == [("a0", 3), ("b0", 5), ("a1", 2)]
    assert sorted((each["prompt"], each["seed"], each.get("n")) for each in server.requests) == [
        ("a", 1, 2),
        ("b", 2, None),
    ]
    server.requests.clear()
    found = generator(server).generate(["a", "a"], Sampling(8), [1, 2])
    assert [one.text for one in found] == ["a0", "a0"]
    assert [each.get("n") for each in server.requests] == [None], "greedy completions are equal, and servers refuse n"
    server.answer = lambda request, _: (200, said(request))
    with pytest.raises(GenerationError, match="has not the 2 completions asked for by `n`"):
        generator(server).generate(["a", "a"], WARM, [1, 2])


def test_a_chat_gets_messages_and_what_stops_it(server: Server) -> None:
    message = {"message": {"content": "four"}, "finish_reason": "stop"}
    server.answer = lambda *_: (200, {"choices": [message], "usage": {"completion_tokens": 2}})
    found = generator(server, chat=True).generate(["2 + 2?"], Sampling(9, stop=("Input:",)), [0])
    assert found == [Completion("four", 2, True)]
    (request,) = server.requests
    assert request["path"] == "/v1/chat/completions"
    assert request["messages"] == [{"role": "user", "content": "2 + 2?"}]
    assert request["stop"] == ["Input:"]
    assert "prompt" not in request
