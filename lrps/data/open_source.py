"""Opening of a source for reading: its shards, local or remote, and the mixture of its parts."""

from __future__ import annotations

from lrps.config.data import DataConfig
from lrps.data.cache import open_files
from lrps.data.outputs import Outputs
from lrps.data.sources import ALL_TOKENS, DataSource
from lrps.data.stream import MixedSource, Source, TokenSource


def open_source(source: DataSource, data: DataConfig, *, seed: int, order: str = "full") -> Source:
    """Open a source; its shards are fetched when they are first needed. data: says where they are."""
    parts = [
        TokenSource(
            part.manifest,
            open_files(data, part.name),
            sequence_length=data.sequence_length,
            seed=seed,
            order=order,
            rows=part.rows,
            outputs=None if source.loss == ALL_TOKENS else Outputs.of_manifest(part.manifest),
        )
        for part in source.parts
    ]
    return MixedSource(parts, [part.count for part in source.parts]) if source.mixed else parts[0]
