"""Addresses of data without their secrets: an address can contain a password or a signature."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import PlainSerializer

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


def scheme_of(address: str) -> str:
    """Return the scheme of an address in lower case; empty for a path."""
    match = _SCHEME.match(address)
    return match[1].lower() if match else ""


def redact(address: str) -> str:
    """Return an address that may be shown: without user, password and query, and without the command of a pipe."""
    scheme = scheme_of(address)
    if scheme in ("", "pipe"):
        return address if not scheme else "pipe:..."
    user = r"(?<=//).*@" if scheme in ("http", "https") else r"(?<=//)[^/]*@"
    return re.sub(user, "", re.sub(r"[?#].*", "?...", address, flags=re.DOTALL))


def conceal(text: str) -> str:
    """Return text without the secrets of addresses in it; the rest of a line after an address may be removed too."""
    text = re.sub(r"\bpipe:.*", "pipe:...", text)
    return re.sub(r"(://[^?#\n]*)[?#].*", r"\1?...", re.sub(r"(?<=://).*@", "", text))


Address = Annotated[str, PlainSerializer(redact, when_used="json-unless-none")]
"""Address that is redacted wherever a config is written: in plan.json and in trackers."""
