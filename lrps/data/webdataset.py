"""The only module that imports webdataset: its tar writer, and its gopen with the openers of lrps.

gopen dispatches on the scheme of an address. The openers registered here distinguish kinds of errors, time out, and
show no secret in a process list: http(s) without curl, everything else through fsspec; `pipe:` keeps gopen's own.
webdataset takes over a second to load, so it is imported inside the functions. Must not import torch.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from typing import Any
from urllib.request import Request, urlopen

from lrps.base.addresses import basic_login, redact

PIECE_BYTES = 2**20
"""Number of bytes per read."""
STALL_SECONDS = 60.0
"""Timeout of a connection that sends nothing."""
PIPE_STALL_SECONDS = 600.0
"""Timeout of a `pipe:` command that sends nothing; long, because it may have to fetch a tape first."""


def tar_writer(file: Any) -> Any:
    """Return a webdataset.TarWriter that writes reproducible bytes: USTAR with a fixed owner, time and mode."""
    import webdataset

    return webdataset.TarWriter(file, mtime=0, user="lrps", group="lrps", encoder=False)


def register_openers() -> None:
    """Register openers for the addresses that lrps reads, so that a plain WebDataset(url) of this process uses them."""
    from webdataset.gopen import gopen_schemes

    gopen_schemes.update(http=_open_http, https=_open_http, gs=_open_fsspec, hf=_open_fsspec, __default__=_open_fsspec)


@contextmanager
def opened(url: str) -> Iterator[Any]:
    """Open an address for reading.

    Raises OSError if a `pipe:` command exits with a non-zero status; errors of the scheme's library pass through.
    """
    from webdataset.gopen import Pipe, gopen, set_options

    register_openers()
    file = gopen(url)
    # A Pipe ignores some exit statuses, and its errors show the command, which may contain secrets.
    set_options(file, ignore_errors=True, timeout=STALL_SECONDS)
    try:
        yield file
    except BaseException:
        if isinstance(file, Pipe):
            file.proc.kill()  # Closing waits until the command exits.
        with suppress(Exception):
            file.close()
        raise
    file.close()
    if isinstance(file, Pipe) and file.proc.returncode:
        raise OSError(f"the command ended with status {file.proc.returncode}")


def announced_bytes(file: Any) -> int | None:
    """Return the number of bytes that an opened address says it has; None for a command or a server that does not."""
    length = file.length if isinstance(file, HTTPResponse) else getattr(file, "size", None)
    return length if isinstance(length, int) else None


def read_piece(file: Any) -> bytes:
    """Return the next bytes of an opened address, b"" at its end.

    Raises OSError if the connection or command stalls, or ends before the announced length.
    """
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
    plain, login = basic_login(url)
    request = Request(plain, headers={"User-Agent": "lrps"})
    if login:  # Unredirected: a host that the server redirects to must not get the password.
        request.add_unredirected_header("Authorization", login)
    response: HTTPResponse = urlopen(request, timeout=STALL_SECONDS)
    return response


def _open_fsspec(url: str, mode: str = "rb", *_: Any, **__: Any) -> Any:
    import fsspec

    return fsspec.open(url, mode).open()
