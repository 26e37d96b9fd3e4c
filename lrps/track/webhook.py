"""Webhook: JSON messages about events of a run, sent by a thread of its own, so that training neither waits nor fails.

A message that cannot be delivered is dropped with a warning. The address may be a secret, so only its host is shown.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from http.client import HTTPException
from queue import Queue
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from lrps.base.addresses import basic_login, host_of, is_http
from lrps.base.errors import ConfigError
from lrps.config.tracking import TrackConfig

TIMEOUT_SECONDS = 5.0
"""Longest silence of the server during one attempt to send a message."""
ATTEMPTS = 3
"""Number of attempts to send a message, with pauses that double from PAUSE_SECONDS."""
PAUSE_SECONDS = 1.0
CLOSING_SECONDS = 5.0
"""Longest time that a process waits at its end for messages to be sent."""
WAITING_MESSAGES = 100
"""Number of messages that may wait to be sent; later ones are dropped."""
RETRIED = (408, 425, 429)
"""HTTP codes below 500 after which a message is sent again."""


def message(plan: str, kind: str, facts: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """Return the JSON object that is sent for an event.

    facts: path, version, step, loss and others of the event; numbers that are not finite become null, as JSON has none.
    `text` says the same as a sentence, which chat services such as Slack show.
    """
    said = {key: _finite(value) for key, value in facts.items()}
    text = f"{plan}: {_sentence(kind, said)}"
    return {"event": kind, "plan": plan, **said, "text": text, "time": at.isoformat(timespec="seconds")}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sentence(kind: str, facts: Mapping[str, Any]) -> str:
    headline = {
        "failure": "training failed",
        "version": f"version {facts.get('version')} is finished",
        "spike": "spike",
        "forecast": "a branch has left its forecast",
        "skips": f"{facts.get('skipped_steps')} of the last 1,000 steps passed without an update, more than 1 %",
        "budget": "the budget is spent, and everything is saved",
    }.get(kind, kind)
    path, step, loss = facts.get("path"), facts.get("step"), facts.get("loss")
    details = [
        *([str(path) if step is None else f"{path} at step {step}"] if path is not None else []),
        *([f"loss {loss:.4f}"] if isinstance(loss, float) else []),
        *([str(facts["error"])] if facts.get("error") else []),
    ]
    return headline if not details else f"{headline}: {', '.join(details)}"


def check_webhook(track: TrackConfig) -> None:
    """Raise ConfigError if the config wants notices but nothing usable says where they go."""
    notify = track.notify
    if notify is None or (notify.address is not None and is_http(notify.address)):
        return
    fault = "is not set" if notify.address is None else "has no http:// or https:// address"
    raise ConfigError(
        f"track.notify: the environment variable {notify.url_variable} {fault}; set it, give track.notify.url, or "
        "remove track.notify"
    )


class Webhook:
    """Sender of the messages of one process about one plan, inside a `with` block. No method waits or raises."""

    def __init__(
        self,
        plan: str,
        address: str | None,
        say: Callable[[str], None] = print,
        reported_elsewhere: Collection[str] = (),
    ) -> None:
        """plan: name of the plan. address: where messages go; None sends none. say: shows a warning.

        reported_elsewhere: kinds of events that another process reports, and this one does not.
        """
        self._plan, self._address, self._say = plan, address, say
        self._reported_elsewhere = frozenset(reported_elsewhere)
        self._messages: Queue[bytes | None] = Queue()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._warned = False

    def notify(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Send a message about an event, as `message` describes, without waiting for it."""
        if self._address is None or kind in self._reported_elsewhere:
            return
        if self._messages.qsize() >= WAITING_MESSAGES:
            self._warn(f"{WAITING_MESSAGES} messages wait to be sent")
            return
        self._messages.put(json.dumps(message(self._plan, kind, facts, datetime.now(UTC))).encode())
        if self._thread is None:
            # A daemon: a server that never answers must not keep the process alive.
            self._thread = threading.Thread(target=self._send_all, name="webhook", daemon=True)
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Wait up to CLOSING_SECONDS for the messages to be sent."""
        self._closing.set()
        self._messages.put(None)
        if self._thread is not None:
            self._thread.join(CLOSING_SECONDS)
            if self._thread.is_alive():
                self._warn("no answer in time")

    def _send_all(self) -> None:
        while (body := self._messages.get()) is not None:
            fault = self._send(body)
            if fault is None:
                self._warned = False
            else:
                self._warn(fault)

    def _send(self, body: bytes) -> str | None:
        """Send one message; return why it was not delivered, None if it was."""
        assert self._address is not None, "there is no thread without an address"
        pause, fault = PAUSE_SECONDS, ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                plain, login = basic_login(self._address)
                request = Request(plain, body, {"Content-Type": "application/json", "User-Agent": "lrps"})
                if login:  # Unredirected: a host that the server redirects to must not get the password.
                    request.add_unredirected_header("Authorization", login)
                with urlopen(request, timeout=TIMEOUT_SECONDS):
                    return None
            except HTTPError as error:
                fault = f"HTTP {error.code}"
                if error.code < 500 and error.code not in RETRIED:
                    return fault
            except (OSError, HTTPException, ValueError) as error:
                # Its name only: messages of these libraries contain addresses.
                fault = type(getattr(error, "reason", None) or error).__name__
            if attempt < ATTEMPTS and not self._closing.wait(pause):
                pause *= 2
        return fault

    def _warn(self, fault: str) -> None:
        """Show the first fault, and no other one until a message was delivered again."""
        if not self._warned and self._address is not None:
            self._warned = True
            self._say(f"track.notify: {host_of(self._address)} got no message ({fault}); training continues without it")
