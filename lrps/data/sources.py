"""The data of a source: its shards, or those of the parts that it mixes.

`lrps plan` uses this and must start fast, so this module must not import numpy, torch or webdataset.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from lrps.data.manifest import MIXTURE, Manifest

ALL_TOKENS = "all"
OUTPUTS = "outputs"
"""Values of `loss` of a source. The second is also the key in the provenance of a manifest that says where they are."""


@dataclass(frozen=True)
class SourcePart:
    """One set of shards of a source."""

    manifest: Manifest
    rows: int
    """Number of rows of an epoch of the part."""
    count: int
    """Number of its rows in an epoch of the source; with one part `rows`."""

    @property
    def name(self) -> str:
        """Name of the shards: <version>, or <version>.<part>."""
        return self.manifest.version


@dataclass(frozen=True)
class DataSource:
    """One split of a version or rehearsal set: one set of shards, or several that are mixed exactly."""

    name: str
    """Name of the version or rehearsal set."""
    parts: tuple[SourcePart, ...]
    """Its shards; several for a mixture, in the order of their names."""
    loss: str = ALL_TOKENS
    """Tokens whose loss is counted: `all`, or `outputs`."""

    @classmethod
    def plain(cls, manifest: Manifest, rows: int, loss: str = ALL_TOKENS) -> DataSource:
        """Return a source without a mixture. rows: number of rows of an epoch."""
        return cls(manifest.version, (SourcePart(manifest, rows, rows),), loss)

    @property
    def rows(self) -> int:
        """Number of rows of an epoch."""
        return sum(part.count for part in self.parts)

    @property
    def mixed(self) -> bool:
        """True for a mixture of several parts."""
        return len(self.parts) > 1

    @cached_property
    def sha256(self) -> str:
        """Identity in plans, checkpoints and ledgers: the hash of the manifest, or of a mixture's description."""
        return mixture_sha256(self._described) if self.mixed else self.parts[0].manifest.sha256

    @property
    def identity(self) -> dict[str, Any]:
        """Entry of the source in path.json, as JSON values; `parts` only for a mixture, `loss` only if not `all`."""
        entry: dict[str, Any] = {"manifest_sha256": self.sha256, "rows": self.rows}
        if self.loss != ALL_TOKENS:
            entry["loss"] = self.loss
        return entry | {"parts": self._described} if self.mixed else entry

    @property
    def _described(self) -> list[dict[str, Any]]:
        return [
            {"name": part.name, "manifest_sha256": part.manifest.sha256, "rows": part.rows, "count": part.count}
            for part in self.parts
        ]

    def text_of(self, counts: Sequence[int]) -> tuple[int, Fraction]:
        """Return tokens, and the bytes of text that they encode, in the ratio of rows of each part; not their numbers.

        counts: number of rows of every part. Under `loss: outputs` both are those of the targets.
        """
        read = [(part.manifest, count) for part, count in zip(self.parts, counts, strict=True) if count]
        sizes = [self._counted(manifest) for manifest, _ in read]
        if len(read) == 1:
            return sizes[0][0], Fraction(sizes[0][1])
        if self.loss == ALL_TOKENS:
            return sum(counts), sum((Fraction(count * m.text_bytes, m.tokens) for m, count in read), Fraction())
        shares = [Fraction(count, manifest.tokens) for manifest, count in read]
        tokens, text = (
            sum((share * size[kind] for share, size in zip(shares, sizes, strict=True)), Fraction()) for kind in (0, 1)
        )
        return round(tokens), text * round(tokens) / tokens

    def _counted(self, manifest: Manifest) -> tuple[int, int]:
        """Return the number of tokens of a part that count, and of the bytes of their text."""
        if self.loss == ALL_TOKENS:
            return manifest.tokens, manifest.text_bytes
        outputs = manifest.provenance[OUTPUTS]
        return int(outputs["tokens"]), int(outputs["text_bytes"])


def mixture_sha256(parts: Sequence[dict[str, Any]]) -> str:
    """Return the identity of a mixture: a hash of its parts as path.json has them, and of the mixing function's name.

    parts: name, manifest_sha256, rows and count of each.
    """
    return hashlib.sha256(json.dumps([MIXTURE, parts], sort_keys=True).encode()).hexdigest()
