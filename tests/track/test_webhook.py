"""Which messages a webhook gets, and that no server can delay or fail the sender; against a real HTTP server."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime

import pytest

from lrps.base.errors import ConfigError
from lrps.config.tracking import NotifyConfig, TrackConfig
from lrps.track import webhook
from lrps.track.webhook import Webhook, check_webhook, message
from support.webhooks import receiver

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "PAUSE_SECONDS", 0.01)


@pytest.mark.parametrize(
    ("kind", "facts", "text"),
    [
        ("failure", {"path": "main", "step": 40, "error": "NonFiniteLoss"}, "training failed: main at step 40, Non"),
        ("version", {"path": "b", "version": "v2", "step": 9, "loss": 2.0}, "version v2 is finished: b at step 9, lo"),
        ("spike", {"path": "main", "step": 7, "loss": float("nan"), "z": 9.5}, "spike: main at step 7"),
        ("budget", {"path": "main, branch-v1"}, "the budget is spent, and everything is saved: main, branch-v1"),
    ],
)
def test_a_message_says_the_event_as_facts_and_as_a_sentence(kind, facts, text):
    body = message("demo", kind, facts, AT)
    json.dumps(body, allow_nan=False)
    assert body["text"].startswith(f"demo: {text}")
    assert (body["event"], body["plan"], body["time"]) == (kind, "demo", "2026-01-02T03:04:05+00:00")
    assert {key: value for key, value in facts.items() if value == value} == {
        key: body[key] for key in facts if body[key] is not None
    }


def test_messages_arrive_in_order_at_the_whole_address():
    with receiver() as server:
        address = f"{server.url.replace('//', '//me:se%2Fcret@')}/services/T0/B0"
        with Webhook("demo", address) as sender:
            for step in range(5):
                sender.notify("spike", {"path": "main", "step": step})
        assert server.events == [("spike", "main", None, step) for step in range(5)]
        assert set(server.paths) == {"/services/T0/B0"}
        assert set(server.logins) == {"Basic bWU6c2UvY3JldA=="}


@pytest.mark.parametrize("code", [500, 503, 429])
def test_a_server_that_fails_for_a_moment_gets_the_message_again(code):
    said: list[str] = []
    with receiver(code, code) as server:
        with Webhook("demo", server.url, said.append) as sender:
            sender.notify("spike", {"step": 1})
        assert len(server.received) == 3
    assert said == []


def test_a_message_that_is_refused_is_dropped_with_one_warning():
    said: list[str] = []
    with receiver(*[500] * 3, 404, 200, 403) as server:
        with Webhook("demo", f"{server.url}/s3cret", said.append) as sender:
            for step in range(4):
                sender.notify("spike", {"step": step})
        assert [body["step"] for body in server.received] == [0, 0, 0, 1, 2, 3]
    host = f"track.notify: {server.url} got no message"
    assert said == [f"{host} (HTTP {code}); training continues without it" for code in (500, 403)]


def test_a_server_that_hangs_delays_nobody(monkeypatch):
    monkeypatch.setattr(webhook, "CLOSING_SECONDS", 0.05)
    monkeypatch.setattr(webhook, "WAITING_MESSAGES", 3)
    said: list[str] = []
    with receiver() as server:
        server.answering.clear()
        with Webhook("demo", server.url, said.append) as sender:  # A call that waited would wait for good.
            for step in range(10):
                sender.notify("spike", {"step": step})
        (only,) = said
    assert only == (
        f"track.notify: {server.url} got no message (3 messages wait to be sent); training continues without it"
    )


def test_silence_ends_an_attempt(monkeypatch):
    monkeypatch.setattr(webhook, "TIMEOUT_SECONDS", 0.05)
    said: list[str] = []
    with receiver() as server:
        server.answering.clear()
        with Webhook("demo", server.url, said.append) as sender:
            sender.notify("spike", {})
        assert len(server.received) == 3
    assert said == [f"track.notify: {server.url} got no message (TimeoutError); training continues without it"]


def test_where_nobody_listens_nothing_fails_and_no_secret_is_shown():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for address in (f"http://me:s3cret@127.0.0.1:{port}/s3cret", "http://127.0.0.1:s3cret/s3cret", "s3cret"):
        said: list[str] = []
        with Webhook("demo", address, said.append) as sender:
            sender.notify("failure", {"path": "main"})
        assert len(said) == 1
        assert "got no message" in said[0]
        assert "cret" not in said[0], said


def test_what_another_process_reports_is_not_sent_twice():
    with receiver() as server:
        with Webhook("demo", server.url, reported_elsewhere=("failure",)) as sender:
            sender.notify("failure", {})
            sender.notify("version", {})
        assert [body["event"] for body in server.received] == ["version"]
    with Webhook("demo", None) as silent:
        silent.notify("version", {})


def test_the_address_may_come_from_the_environment(monkeypatch):
    monkeypatch.delenv("LRPS_NOTIFY_URL", raising=False)
    check_webhook(TrackConfig())
    with pytest.raises(ConfigError, match="LRPS_NOTIFY_URL is not set; set it, give track.notify.url, or remove"):
        check_webhook(TrackConfig(notify=NotifyConfig()))
    monkeypatch.setenv("MY_HOOK", "ftp://s3cret")
    with pytest.raises(ConfigError, match="MY_HOOK has no http:// or https:// address") as wrong:
        check_webhook(TrackConfig(notify=NotifyConfig(url_variable="MY_HOOK")))
    assert "s3cret" not in str(wrong.value)
    monkeypatch.setenv("MY_HOOK", "https://host/a")
    check_webhook(TrackConfig(notify=NotifyConfig(url_variable="MY_HOOK")))
    assert TrackConfig(notify=NotifyConfig(url_variable="MY_HOOK")).notify_address == "https://host/a"
    assert TrackConfig(notify=NotifyConfig(url="https://other/b", url_variable="MY_HOOK")).notify_address == (
        "https://other/b"
    )
    assert TrackConfig().notify_address is None
