"""The one module that imports webdataset: its tar writer, and its gopen with the openers of lrps.

gopen dispatches on the scheme of an address. Its table gets openers that keep kinds of errors apart, never hang and
show no secret in a process list: http(s) without curl, everything else through fsspec; `pipe:` stays gopen's.
webdataset takes over a second to load, so it is imported inside the functions. Must not import torch.
"""

from __future__ import annotations

import base64
import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from lrps.base.addresses import redact

PIECE_BYTES = 2**20
"""Bytes of one read."""
STALL_SECONDS = 60.0
"""Seconds after which a silent connection is given up."""
PIPE_STALL_SECONDS = 600.0
"""Seconds after which a silent `pipe:` command is given up: it may have to fetch a tape first."""


def tar_writer(file: Any) -> Any:
    """Return a webdataset.TarWriter of byte-reproducible shards: a fixed owner, time and mode, in USTAR format."""
    import webdataset

    return webdataset.TarWriter(file, mtime=0, user="lrps", group="lrps", encoder=False)


def register_openers() -> None:
    """Teach webdataset every kind of address that lrps reads, for this process: also for a plain WebDataset(url)."""
    from webdataset.gopen import gopen_schemes

    gopen_schemes.update(http=_open_http, https=_open_http, gs=_open_fsspec, hf=_open_fsspec, __default__=_open_fsspec)


@contextmanager
def opened(url: str) -> Iterator[Any]:
    """Open an address for reading. Raises OSError if a `pipe:` command fails, and whatever its library raises."""
    from webdataset.gopen import Pipe, gopen, set_options

    register_openers()
    file = gopen(url)
    # A Pipe forgives some exit statuses and shows its command when it complains: both are done better here.
    set_options(file, ignore_errors=True, timeout=STALL_SECONDS)
    try:
        yield file
    except BaseException:
        if isinstance(file, Pipe):
            file.proc.kill()  # Closing waits for the command's end.
        with suppress(Exception):
            file.close()
        raise
    file.close()
    if isinstance(file, Pipe) and file.proc.returncode:
        raise OSError(f"the command ended with status {file.proc.returncode}")


def read_piece(file: Any) -> bytes:
    """Return the next bytes of an opened address, none at its end. Raises OSError if it stalls or is cut short."""
    if isinstance(file, HTTPResponse):
        piece = file.read(PIECE_BYTES)
        if not piece and file.length:
            raise ConnectionError(f"the connection was cut {file.length} bytes before the end")
        return piece
    if (pipe := getattr(file, "proc", None)) is None:
        return file.read(PIECE_BYTES)
    poll = select.poll()
    poll.register(pipe.stdout, select.POLLIN)
    if not poll.poll(PIPE_STALL_SECONDS * 1000):
        raise TimeoutError(f"the command gave nothing for {PIPE_STALL_SECONDS:g} s")
    return pipe.stdout.read1(PIECE_BYTES)


def _open_http(url: str, mode: str = "rb", *_: Any, **__: Any) -> HTTPResponse:
    if mode != "rb":
        raise ValueError(f"{redact(url)}: http addresses are only read")
    parts = urlsplit(url)
    user, _at, host = parts.netloc.rpartition("@")
    request = Request(urlunsplit(parts._replace(netloc=host)), headers={"User-Agent": "lrps"})
    if user:  # Unredirected: the host that a server sends us on to has no business with the password.
        token = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    response: HTTPResponse = urlopen(request, timeout=STALL_SECONDS)
    return response


def _open_fsspec(url: str, mode: str = "rb", *_: Any, **__: Any) -> Any:
    import fsspec

    return fsspec.open(url, mode).open()
