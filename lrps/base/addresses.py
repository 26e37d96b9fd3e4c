"""Addresses of data, and how they may be shown: they can hold passwords and signatures."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import PlainSerializer

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


def scheme_of(address: str) -> str:
    """The scheme in lower case; empty for a path."""
    match = _SCHEME.match(address)
    return match[1].lower() if match else ""


def redact(address: str) -> str:
    """The address as it may be shown: without user, password and query, and nothing of a command."""
    scheme = scheme_of(address)
    if scheme in ("", "pipe"):
        return address if not scheme else "pipe:..."
    user = r"(?<=//).*@" if scheme in ("http", "https") else r"(?<=//)[^/]*@"
    return re.sub(user, "", re.sub(r"[?#].*", "?...", address, flags=re.DOTALL))


def conceal(text: str) -> str:
    """Lines that may quote addresses, each address without its secrets; what follows one on its line may go too."""
    text = re.sub(r"\bpipe:.*", "pipe:...", text)
    return re.sub(r"(://[^?#\n]*)[?#].*", r"\1?...", re.sub(r"(?<=://).*@", "", text))


Address = Annotated[str, PlainSerializer(redact, when_used="json-unless-none")]
"""Redacted wherever a config is written down: plan.json, the tracker."""
