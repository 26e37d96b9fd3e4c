"""Addresses of data without their secrets: an address can contain a password or a signature."""

from __future__ import annotations

import base64
import html
import json
import re
from typing import Annotated
from urllib.parse import quote, unquote, urlsplit, urlunsplit

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


def is_http(address: str) -> bool:
    """Return True for an address with the scheme http or https and a host."""
    try:
        parts = urlsplit(redact(address))
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # An incomplete IPv6 address, or a port that is no number.
        return False


def host_of(address: str) -> str:
    """Return scheme, host and port of an http address: all that is shown of one whose path is a secret.

    `...` for what is no http address.
    """
    if not is_http(address):
        return "..."
    scheme, _, rest = redact(address).partition("://")
    return f"{scheme}://{re.split('[/?#]', rest, maxsplit=1)[0]}"


def conceal_paths(text: str) -> str:
    """Return text without what follows the host in http addresses: webhooks have their secret in the path."""
    return re.sub(r"(https?://[^/\s'\"]*)/[^\s'\"]*", r"\1/...", conceal(text), flags=re.IGNORECASE)


def conceal_key(text: str, key: str | None) -> str:
    """Return a server's text without the key that it may repeat, however it has encoded it."""
    if not key:
        return text
    forms = {key, quote(key, safe=""), json.dumps(key)[1:-1], html.escape(key)}
    forms |= {base64.b64encode(form.encode()).decode().rstrip("=") for form in (key, f"Bearer {key}")}
    for form in sorted(forms, key=len, reverse=True):
        text = re.sub(re.escape(form), "...", text, flags=re.IGNORECASE)
    return text


def basic_login(address: str) -> tuple[str, str | None]:
    """Return an http address without its user and password, and the Authorization header that they make, or None."""
    parts = urlsplit(address)
    user, _, host = parts.netloc.rpartition("@")
    login = f"Basic {base64.b64encode(unquote(user).encode()).decode()}" if user else None
    return urlunsplit(parts._replace(netloc=host)), login


Address = Annotated[str, PlainSerializer(redact, when_used="json-unless-none")]
"""Address that is redacted wherever a config is written: in plan.json and in trackers."""
SecretAddress = Annotated[str, PlainSerializer(lambda address: f"{host_of(address)}/...", when_used="json-unless-none")]
"""Address whose path is a secret too, as that of a webhook is: only its host is written."""
