"""The entry point: run a verb, and turn its outcome into a message and an exit code."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from contextlib import suppress
from typing import NoReturn

import typer

from lrps.base.errors import INTERRUPTED, OUR_FAULT, LrpsError
from lrps.base.printable import printable
from lrps.cli.app import app
from lrps.cli.streams import adapt_streams

CLICK_INTERRUPTED = 130
"""Exit code that click gives to Ctrl-C."""


def _fail(message: str, code: int) -> NoReturn:
    # All ranks of a process group may fail alike: rank 0 reports first, and its exit ends the others.
    number = os.environ.get("RANK", "0")
    rank = int(number) if number.isdecimal() else 0
    if rank:
        time.sleep(1)
    message = printable(message)
    typer.echo(f"lrps: {message}" if rank == 0 else f"lrps (rank {rank}): {message}", err=True)
    sys.stderr.flush()
    sys.exit(code)


def main() -> None:
    """Run the command line. Exit code 0 done, 1 our fault, 2 the user's mistake (no traceback), 75 interrupted,
    76 stopped until a person decides.
    """
    adapt_streams()
    try:
        _main()
    except SystemExit as end:
        if "torch" in sys.modules and isinstance(end.code, int):
            _leave(end.code)
        raise


def _leave(code: int) -> NoReturn:
    """End this process as multiprocessing ends its workers: without tearing torch and deepspeed down.

    The tear-down takes two seconds of a core, and a thread of theirs that still runs then aborts a process that has
    finished its work.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the terminal may be gone
            stream.flush()
    os._exit(code)


def _main() -> None:
    try:
        app(standalone_mode=True)
    except LrpsError as error:
        _fail(str(error), error.exit_code)
    except SystemExit as end:
        if end.code == CLICK_INTERRUPTED:
            _fail("interrupted; the same command continues", INTERRUPTED)
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(OUR_FAULT)
