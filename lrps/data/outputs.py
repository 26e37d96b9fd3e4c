"""Places of the outputs of instruction pairs among the tokens of a split, and rows whose other tokens are no targets.

A token that is no target is written as its complement, ~token, in rows of the dtype MASKED, which shards never have.
Must not import torch.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lrps.base.errors import DataError
from lrps.data.manifest import Manifest
from lrps.data.sources import OUTPUTS

MASKED = np.dtype(np.int32)


@dataclass(frozen=True)
class Outputs:
    """The tokens of a split that are targets under `loss: outputs`."""

    runs: np.ndarray
    """Lengths of runs of tokens in turns, uint32: no targets, targets, ...; two for each document."""
    text_bytes: int
    """UTF-8 bytes of the text of the targets."""

    @classmethod
    def of(cls, sizes: Sequence[np.ndarray]) -> Outputs:
        """Return those of documents, in their order.

        sizes: arrays of [tokens, text bytes, targets, text bytes of the targets] per document; the targets come last.
        """
        documents = np.concatenate([np.empty((0, 4), np.int64), *sizes])
        tokens, targets = documents[:, 0], documents[:, 2]
        runs = np.stack([tokens - targets, targets], 1).ravel().astype(np.uint32)
        return cls(runs, int(documents[:, 3].sum()))

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> Outputs:
        """Return those that a manifest records. Raises DataError if it records none, or damaged ones."""
        values = manifest.provenance.get(OUTPUTS)
        if values is None:
            raise DataError(
                f"the shards of {manifest.version} do not say where outputs are, which `loss: outputs` needs; set "
                "data.template and build the text under another name, or leave `loss` out"
            )
        try:
            runs = np.frombuffer(zlib.decompress(base64.b64decode(values["runs"], validate=True)), "<u4")
            found = cls(runs.astype(np.uint32), int(values["text_bytes"]))
            if int(runs.sum(dtype=np.int64)) != manifest.tokens:
                raise ValueError("its outputs and other tokens are not all of its tokens")
        except (binascii.Error, zlib.error, ValueError, KeyError, TypeError) as error:
            raise DataError(f"the manifest of {manifest.version}: {error}; restore it from a copy") from None
        return found

    @property
    def provenance(self) -> dict[str, Any]:
        """Entry of a manifest, as JSON values."""
        runs = base64.b64encode(zlib.compress(self.runs.astype("<u4").tobytes(), 9)).decode()
        return {OUTPUTS: {"runs": runs, "tokens": self.targets, "text_bytes": self.text_bytes}}

    @property
    def targets(self) -> int:
        """Number of tokens that are targets."""
        return int(self.runs[1::2].sum(dtype=np.int64))

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum(self.runs, dtype=np.int64)

    def mask(self, rows: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Return rows in which tokens that are no targets are complements: (rows, length), in the dtype MASKED.

        starts: (rows,), the place of each row's first token among the tokens of the split.
        """
        places = starts[:, None] + np.arange(rows.shape[1])
        target = np.searchsorted(self._ends, places.ravel(), "right").reshape(rows.shape) % 2 == 1
        tokens = rows.astype(MASKED)
        return np.where(target, tokens, ~tokens)


def targets_of(rows: np.ndarray) -> np.ndarray:
    """Return the number of targets of each row: (rows,). The first token of a row is never one."""
    return np.count_nonzero(rows[:, 1:] >= 0, axis=1)
