"""Concealment of secrets in what is printed while wandb keeps it as the console log of a run."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|AUTH", re.IGNORECASE)
"""Parts of the names of variables in which people keep secrets."""
_SHORTEST = 8
"""Length below which a value is taken for a switch or a number, which must stay readable."""


def secrets_in(environment: Mapping[str, str]) -> list[str]:
    """Return the values of the variables that are called secrets by their names, longest first."""
    found = {value for name, value in environment.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST}
    return sorted(found, key=len, reverse=True)


class ConcealedStreams:
    """Standard output and error, in whose text every secret is replaced by `...` until `restore`.

    Create it after wandb has wrapped the streams, so that it is the first to see a text, and restore them before wandb
    unwraps them. A text that is written in several pieces is not recognized across these.
    """

    def __init__(self, secrets: list[str]) -> None:
        self._originals: list[tuple[Any, Callable[[str], int]]] = []
        if not secrets:
            return
        pattern = re.compile("|".join(map(re.escape, secrets)))
        for stream in (sys.stdout, sys.stderr):
            self._originals.append((stream, stream.write))
            stream.write = _concealing(stream.write, pattern)  # type: ignore[method-assign]

    def restore(self) -> None:
        """Let the streams write everything unchanged."""
        for stream, write in self._originals:
            stream.write = write
        self._originals = []


def _concealing(write: Callable[[str], int], pattern: re.Pattern[str]) -> Callable[[str], int]:
    return lambda text: write(pattern.sub("...", text))
