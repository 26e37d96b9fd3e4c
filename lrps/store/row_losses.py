"""Losses of single sequences of a held-out set: one file for each evaluation, beside the sums in the ledger.

Two states that were evaluated on the same sequences can be compared sequence by sequence, which has a fraction of the
noise of the difference of their means. The ledger has the SHA-256 of each file; a file of another evaluation does not
count.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Iterable
from pathlib import Path

from lrps.base.files import atomic_write_bytes
from lrps.base.foreign_json import JsonError, read_bounded


def write_row_losses(file: Path, losses: Iterable[float]) -> str:
    """Write losses as little-endian fp32 and return the SHA-256 of the file, which is replaced as a whole.

    losses: mean loss of each sequence in nats per predicted token, in the order of the held-out set.
    """
    values = array("f", losses)
    if sys.byteorder == "big":
        values.byteswap()
    content = values.tobytes()
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(file, content)
    return hashlib.sha256(content).hexdigest()


def read_row_losses(file: Path, sha256: str | None) -> array[float] | None:
    """Return the losses of a file; None if it is missing or is not the one with this SHA-256."""
    try:
        content = read_bounded(file, 2**30)
    except (OSError, JsonError):
        return None
    if hashlib.sha256(content).hexdigest() != sha256:
        return None
    values = array("f")
    values.frombytes(content)
    if sys.byteorder == "big":
        values.byteswap()
    return values
