"""Remote files: the address of a shard below a version's `url`, and reading an address from start to end.

Must not import torch.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import time
from collections.abc import Callable, Collection, Generator
from typing import TypeVar
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit, urlunsplit

from lrps.base.addresses import redact, scheme_of
from lrps.base.errors import ConfigError, DataError
from lrps.data.webdataset import announced_bytes, opened, read_piece

RETRY_SECONDS = (1.0, 4.0, 15.0)
"""Pauses before the second, third and last attempt."""

_LOCAL_SCHEMES = {"pipe", "file", "local"}
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9._:\[\]-]+(/[!-\[\]-~]*)?")
"""An address without a user, spaces and backslashes, so that all libraries read the same host in it."""
# No character that is special in any shell: a name also reaches shells inside the command (`ssh store cat ...`), which
# quoting here would not protect. No part begins with a dot or a dash, which excludes `..` and options.
_RELATIVE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]*(/[A-Za-z0-9_][A-Za-z0-9._=+-]*)*")
_SECRET_NAME = re.compile(r"SECRET|TOKEN(?!IZER)|PASSW|CREDENTIAL|SIGNATURE|_KEY\b|SAS\b", re.IGNORECASE)
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class TransientError(DataError):
    """The address could not be read, but another attempt may succeed."""


class MissingError(DataError):
    """There is no file at the address."""


def resolve(base: str, url: str, origins: Collection[str] = ()) -> str:
    """Return the address of the file `url`, a relative path or an address from a manifest, below a version's `base`.

    The user writes the base, but a manifest may come from outside: it must not make this machine ask other machines. So
    DataError is raised if `url` names a command or a local file, an address of another scheme and host than those of
    the base and of `origins`, or is a path that leaves the base or has other than plain characters. Raises ConfigError
    if a `pipe:` base lacks {name}.
    """
    if scheme := scheme_of(url):
        if scheme in _LOCAL_SCHEMES or "::" in url or not _ADDRESS.fullmatch(url):
            raise DataError(
                f"the manifest names the address {redact(url)!r}: a manifest may name neither commands nor local "
                "files. Ask the builder of the version for a manifest with file names"
            )
        if web_origin(url) not in {web_origin(each) for each in (base, *origins)}:
            raise DataError(
                f"the manifest names the address {redact(url)!r}, which has another scheme or host than the `url` of "
                f"the version. If you trust that host, add it in the config: `data.shard_origins: [{web_origin(url)}]`"
            )
        return url
    if not _RELATIVE.fullmatch(url):
        raise DataError(
            f"the manifest names the file {url!r}: a path may have letters, digits and . _ = + - only, and must stay "
            "below its folder. Ask the builder of the version for a manifest with plain file names"
        )
    if scheme_of(base) == "pipe":
        if "{name}" not in base:
            raise ConfigError("a `url: pipe:...` needs {name} in place of the file's name")
        return base.replace("{name}", url)
    if scheme_of(base) in ("http", "https"):  # Keep the query at the end: a folder's signature is valid for its files.
        parts = urlsplit(base)
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{url}"))
    return f"{base.rstrip('/')}/{url}"


def web_origin(address: str) -> str | None:
    """Return scheme and host of an address, in lower case; None for a path, a command or a local file."""
    scheme = scheme_of(address)
    if not scheme or scheme in _LOCAL_SCHEMES:
        return None
    return f"{scheme}://{urlsplit(address).netloc.rpartition('@')[2].lower()}"


def read_pieces(url: str, length: int | None = None) -> Generator[bytes, None, None]:
    """Yield the bytes at the address piece by piece; close the generator to stop early.

    length: number of bytes that are expected; then the first piece is empty, and comes once the address is open and has
    announced no other length.
    Raises TransientError, MissingError or another DataError; none of them shows a secret. The caller must check the
    length: a command that exits early with status 0, or a server that announces no length, raises no error.
    """
    try:
        with opened(url) as file:
            if length is not None:
                _check_length(announced_bytes(file), length, url)
                yield b""
            while piece := read_piece(file):
                yield piece
    except Exception as error:
        raise transfer_fault(error, url) from None


def _check_length(announced: int | None, expected: int, url: str) -> None:
    if announced is not None and announced != expected:
        which = "more" if announced > expected else "fewer"
        raise DataError(
            f"{redact(url)} has {announced} bytes, {which} than the {expected} bytes of the manifest. Copy the file "
            "there again; if it is correct there, fetch the manifest again"
        )


def with_retries(action: Callable[[], _T]) -> _T:
    """Return what `action` returns; retry it after each of RETRY_SECONDS while it raises TransientError."""
    for pause in RETRY_SECONDS:
        try:
            return action()
        except TransientError as error:
            _log.warning("%s; retrying in %g s", error, pause)
            time.sleep(pause)
    return action()


def transfer_fault(error: Exception, url: str) -> DataError:
    """Return the error as a DataError whose message shows no secret."""
    where = redact(url)
    if isinstance(error, DataError):
        return error
    if isinstance(error, HTTPError):
        return _http_error(error.code, f"{where}: HTTP {error.code} {scrub(str(error.reason), url)}")
    text = f"{where}: {scrub(str(error), url) or type(error).__name__}"
    if isinstance(error, ImportError):
        extra = EXTRAS.get(scheme_of(url))
        return DataError(f"{text}; run `pip install 'lrps[{extra}]'`" if extra else text)
    if isinstance(error, FileNotFoundError):
        return MissingError(f"{where}: no such file")
    if isinstance(error, PermissionError):
        return DataError(f"{text}; give credentials in the environment")
    if isinstance(error, (ValueError, TypeError, AssertionError, IsADirectoryError, NotADirectoryError)):
        return DataError(f"{text}; correct the address in the config")
    return TransientError(text)


def _http_error(status: int, text: str) -> DataError:
    if status in (404, 410):
        return MissingError(text)
    if status in (401, 403):
        return DataError(f"{text}; give other credentials, or a new signature if it has expired")
    return TransientError(text) if status in (408, 425, 429) or status >= 500 else DataError(text)


def scrub(text: str, url: str) -> str:
    """Return a library's message `text` without the secrets of the address and of the environment."""
    query, user = url.partition("?")[2], re.search(r"//(.*)@", url)
    values = [part.partition("=")[2] for part in query.split("&")]
    secrets = [query, *values, *map(unquote, values)]
    if user:
        parts = user[1].split(":", 1)
        secrets += [user[1], *parts, *map(unquote, parts), base64.b64encode(unquote(user[1]).encode()).decode()]
    secrets += [value for name, value in os.environ.items() if _SECRET_NAME.search(name) and len(value) >= 8]
    text = text.replace(url, redact(url)).replace(url.partition(":")[2], redact(url))
    for secret in sorted({secret for secret in secrets if len(secret) >= 4}, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
