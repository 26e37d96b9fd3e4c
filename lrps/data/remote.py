"""Bytes from elsewhere: which address a shard has, and that address read from its start to its end.

Must not import torch.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import time
from collections.abc import Callable, Generator
from typing import TypeVar
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit, urlunsplit

from lrps.base.addresses import redact, scheme_of
from lrps.base.errors import ConfigError, DataError
from lrps.data.webdataset import opened, read_piece

RETRY_SECONDS = (1.0, 4.0, 15.0)
"""The pauses before the second, third and last try."""

_FOREIGN_SCHEMES = {"http", "https", "s3", "s3a", "gs", "gcs", "hf", "az", "abfs", "abfss"}
# No character that any shell gives a meaning to: a name also reaches shells inside the command (`ssh store cat ...`),
# which quoting here would not protect. No part begins with a dot or a dash: no `..`, no option.
_RELATIVE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]*(/[A-Za-z0-9_][A-Za-z0-9._=+-]*)*")
_SECRET_NAME = re.compile(r"SECRET|TOKEN(?!IZER)|PASSW|CREDENTIAL|SIGNATURE|_KEY\b|SAS\b", re.IGNORECASE)
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class TransientError(DataError):
    """The address could not be read this time: worth another try."""


class MissingError(DataError):
    """There is nothing at the address."""


def resolve(base: str, url: str) -> str:
    """The address of a file below `base`, the `url` of a version; url: what a manifest says, a path or an address.

    The base is the user's own words, a manifest comes from outside: DataError if it names a command or a local file,
    or a path that leaves the base or holds any but plain characters.
    """
    if scheme := scheme_of(url):
        allowed = _FOREIGN_SCHEMES | ({scheme_of(base)} - {"", "pipe", "file", "local"})
        if scheme not in allowed or "::" in url:
            raise DataError(
                f"the manifest names the address {redact(url)!r}: a manifest may name {', '.join(sorted(allowed))} "
                "only, neither commands nor local files. Ask whoever built the version for a manifest with file names"
            )
        return url
    if not _RELATIVE.fullmatch(url):
        raise DataError(
            f"the manifest names the file {url!r}: a path may have letters, digits and . _ = + - only, and stay below "
            "its folder. Ask whoever built the version for a manifest with plain file names"
        )
    if scheme_of(base) == "pipe":
        if "{name}" not in base:
            raise ConfigError("a `url: pipe:...` needs {name} where the name of the file belongs")
        return base.replace("{name}", url)
    if scheme_of(base) in ("http", "https"):  # A signature of the folder is valid for its files, and stays at the end.
        parts = urlsplit(base)
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{url}"))
    return f"{base.rstrip('/')}/{url}"


def read_pieces(url: str) -> Generator[bytes, None, None]:
    """The bytes at the address, piece by piece; close the generator to stop early.

    Raises TransientError, MissingError or another DataError; none of them shows a secret. What ends early without a
    word (a command that succeeds too soon, a server that gives no length) is for the caller to notice.
    """
    try:
        with opened(url) as file:
            while piece := read_piece(file):
                yield piece
    except Exception as error:
        raise _explained(error, url) from None


def with_retries(action: Callable[[], _T]) -> _T:
    """What `action` returns; tried again after each of RETRY_SECONDS while it raises TransientError."""
    for pause in RETRY_SECONDS:
        try:
            return action()
        except TransientError as error:
            _log.warning("%s; trying again in %g s", error, pause)
            time.sleep(pause)
    return action()


def _explained(error: Exception, url: str) -> DataError:
    """The error as one of ours, fit to be shown."""
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
        return MissingError(f"{where}: there is no such file")
    if isinstance(error, PermissionError):
        return DataError(f"{text}; give credentials in the environment")
    if isinstance(error, (ValueError, TypeError, AssertionError, IsADirectoryError, NotADirectoryError)):
        return DataError(f"{text}; correct the `url` of the version")
    return TransientError(text)


def _http_error(status: int, text: str) -> DataError:
    if status in (404, 410):
        return MissingError(text)
    if status in (401, 403):
        return DataError(f"{text}; the address needs other credentials, or its signature is out of date")
    return TransientError(text) if status in (408, 425, 429) or status >= 500 else DataError(text)


def scrub(text: str, url: str) -> str:
    """`text`, which some library wrote, without the secrets of the address and of the environment."""
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
