"""Rows of tokens by position: sources, and the stages of a path that mix them.

Everything read here is a pure function of (manifests, seed, step): no worker, no iterator, no state to save. Must not
import torch or webdataset; shards are mapped, not parsed.
"""

from __future__ import annotations

import mmap
import zlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from lrps.data.manifest import Manifest, Member, Shard
from lrps.data.mixture import Mixture
from lrps.data.order import Order
from lrps.errors import ConfigError, DataError
from lrps.paths.graph import Segment

DRAW_ROWS = 8192
"""Rows whose place is worked out in one go; a memo of a pure function, never part of a state."""


class Source:
    """A manifest cut into rows of `sequence_length` tokens, each row within one block, in the source's own order.

    directory: where the shards lie. rows: use only the first so many rows of the files (all by default); an epoch is
    that long then, and the order another one. Files are opened and blocks checked (size, crc32) when they are first
    needed, once in a process: a damaged token stops training before it is used.
    """

    def __init__(
        self,
        manifest: Manifest,
        directory: Path,
        *,
        sequence_length: int,
        seed: int,
        order: str = "full",
        rows: int | None = None,
    ) -> None:
        self.manifest = manifest
        self.sequence_length = sequence_length
        available = manifest.rows(sequence_length)
        self.rows = available if rows is None else rows
        if not 0 < self.rows <= available:
            raise DataError(
                f"{manifest.version} ({manifest.split}) has {available} rows of {sequence_length} tokens, "
                f"{max(self.rows, 1)} are needed: shorten the sequence length or add data"
            )
        self._directory = Path(directory)
        self._dtype = np.dtype(manifest.dtype)
        self._read_ahead = order == "window"
        self._members = [(number, member) for number, shard in enumerate(manifest.shards) for member in shard.members]
        block_rows = [member.tokens // sequence_length for _, member in self._members]
        self._first_row = np.cumsum([0, *block_rows])
        whole = [sum(m.tokens // sequence_length for m in shard.members) for shard in manifest.shards]
        marks = [min(mark, self.rows) for mark in accumulate(whole, initial=0)]
        shard_rows = [b - a for a, b in pairwise(marks) if b > a]
        self._order = Order(shard_rows, seed=seed, name=manifest.version, mode=order)
        self._maps: dict[int, mmap.mmap] = {}
        self._blocks: list[np.ndarray | None] = [None] * len(self._members)

    def order(self, positions: np.ndarray) -> np.ndarray:
        """The rows of the source at these positions (1-D, >= 0) of its stream."""
        return self._order(positions)

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(block, row within the block) at these positions of the stream."""
        rows = self._order(positions)
        blocks = np.searchsorted(self._first_row, rows, "right") - 1
        return blocks, rows - self._first_row[blocks]

    def block(self, number: int) -> np.ndarray:
        """The rows of one block, (rows, sequence_length), mapped; checked against the manifest at first touch."""
        block = self._blocks[number]
        if block is None:
            block = self._blocks[number] = self._open_block(*self._members[number])
        return block

    def read(self, positions: np.ndarray) -> np.ndarray:
        """The rows at these positions, (len(positions), sequence_length), in the dtype of the manifest."""
        blocks, rows = self.locate(positions)
        batch = np.empty((len(rows), self.sequence_length), self._dtype)
        for line, (block, row) in enumerate(zip(blocks.tolist(), rows.tolist(), strict=True)):
            batch[line] = self.block(block)[row]
        return batch

    def _open_block(self, number: int, member: Member) -> np.ndarray:
        shard = self.manifest.shards[number]
        if number not in self._maps:
            self._maps[number] = self._map_shard(shard)
        tokens = np.frombuffer(self._maps[number], self._dtype, member.tokens, member.offset)
        if (found := zlib.crc32(tokens.data)) != member.crc32:
            raise DataError(
                f"{self._directory / shard.name}: block {member.key} is damaged (crc32 {found:08x}, the manifest says "
                f"{member.crc32:08x}). Restore the file; `lrps data verify` names every damaged one."
            )
        rows = member.tokens // self.sequence_length
        return tokens[: rows * self.sequence_length].reshape(rows, self.sequence_length)

    def _map_shard(self, shard: Shard) -> mmap.mmap:
        path = self._directory / shard.name
        try:
            with open(path, "rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (FileNotFoundError, ValueError):  # ValueError: an empty file cannot be mapped
            found = "is empty" if path.exists() else "is missing"
            raise DataError(f"{path} {found}: {shard.bytes} bytes expected. {_RESTORE}") from None
        if len(mapped) != shard.bytes:
            raise DataError(f"{path} has {len(mapped)} bytes, {shard.bytes} expected. {_RESTORE}")
        if self._read_ahead:
            mapped.madvise(mmap.MADV_WILLNEED)
        return mapped


_RESTORE = "Copy it again from where the version was built, or build the version again: `lrps data build CONFIG`."


class Stage:
    """The rows of one path: `batch_rows` rows a step, segment after segment, each segment's parts mixed evenly.

    Steps count from the stage's start. DataError if a segment names a source that is not there, or sources do not fit
    together.
    """

    def __init__(self, segments: Sequence[Segment], sources: Mapping[str, Source], batch_rows: int) -> None:
        _check_sources(segments, sources, batch_rows)
        self.batch_rows = batch_rows
        self._segments = [_Segment(segment, sources, batch_rows) for segment in segments]
        self._starts = [0, *accumulate(segment.steps for segment in segments)]
        self.steps = self._starts[-1]

    def batch(self, step: int, rank: int = 0, world: int = 1) -> np.ndarray:
        """This rank's slice of the global batch of `step`: int64, (batch_rows / world, sequence_length).

        The ranks' slices, in the order of ranks, are the global batch whatever the world size, which may change
        between any two steps.
        """
        if not 0 <= rank < world:
            raise IndexError(f"there is no rank {rank} among {world}")
        rows, uneven = divmod(self.batch_rows, world)
        if uneven:
            raise ConfigError(
                f"a batch of {self.batch_rows} rows cannot be dealt to {world} ranks: change batch.sequences or the "
                "number of processes so that one divides the other"
            )
        segment, step = self._at(step)
        return segment.read(step * self.batch_rows + rank * rows, rows)

    def positions(self, step: int) -> dict[str, int]:
        """Source -> the position of its stream that comes next after `step` steps: what a fork inherits.

        A source that is still to come in a later segment is at the start of its first part.
        """
        if not 0 <= step <= self.steps:
            raise IndexError(f"step {step} is not in a stage of {self.steps} steps")
        positions: dict[str, int] = {}
        for start, segment in zip(self._starts, self._segments, strict=False):
            reached = segment.positions(min(max(step - start, 0), segment.steps) * self.batch_rows)
            positions = positions | reached if start < step else reached | positions
        return positions

    def rows_of(self, step: int) -> list[tuple[str, int, int]]:
        """(source, epoch, row) of every row of the global batch of `step`, in order; for audits and tests."""
        segment, step = self._at(step)
        return segment.rows_of(np.arange(step * self.batch_rows, (step + 1) * self.batch_rows))

    def _at(self, step: int) -> tuple[_Segment, int]:
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} is not in a stage of {self.steps} steps")
        number = bisect_right(self._starts, step) - 1
        return self._segments[number], step - self._starts[number]


class _Segment:
    """A segment over open sources; its rows are counted from its own start."""

    def __init__(self, segment: Segment, sources: Mapping[str, Source], batch_rows: int) -> None:
        self.steps = segment.steps
        self._parts = segment.parts
        self._sources = [sources[part.source] for part in segment.parts]
        self._from_rows = np.array([part.from_row for part in segment.parts], np.int64)
        self._mixture = Mixture([part.rows for part in segment.parts])
        # Whole batches, so that no batch needs two draws.
        self._draw_rows = max(1, DRAW_ROWS // batch_rows) * batch_rows
        self._drawn: tuple[int, list[tuple[int, int, int]]] = (-1, [])

    def read(self, first: int, rows: int) -> np.ndarray:
        number, first = divmod(first, self._draw_rows)
        if self._drawn[0] != number:
            self._drawn = (number, self._draw(number))
        batch = np.empty((rows, self._sources[0].sequence_length), np.int64)
        sources = self._sources
        for line, (part, block, row) in enumerate(self._drawn[1][first : first + rows]):
            batch[line] = sources[part].block(block)[row]
        return batch

    def positions(self, rows: int) -> dict[str, int]:
        reached: dict[str, int] = {}
        for part, taken in zip(self._parts, self._mixture.taken(rows), strict=True):
            reached[part.source] = max(part.from_row + taken, reached.get(part.source, 0))
        return reached

    def rows_of(self, t: np.ndarray) -> list[tuple[str, int, int]]:
        parts, positions = self._assign(t)
        found = []
        for part, position in zip(parts.tolist(), positions.tolist(), strict=True):
            source = self._sources[part]
            row = int(source.order(np.array([position]))[0])
            found.append((self._parts[part].source, position // source.rows, row))
        return found

    def _assign(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(part, position in its source's stream) of the rows t."""
        parts, index = self._mixture.assign(t)
        return parts, self._from_rows[parts] + index

    def _draw(self, number: int) -> list[tuple[int, int, int]]:
        """(part, block, row within the block) of one run of `_draw_rows` rows."""
        start = number * self._draw_rows
        parts, positions = self._assign(np.arange(start, min(start + self._draw_rows, self._mixture.rows)))
        blocks, rows = np.empty_like(positions), np.empty_like(positions)
        for part, source in enumerate(self._sources):
            chosen = parts == part
            blocks[chosen], rows[chosen] = source.locate(positions[chosen])
        return list(zip(parts.tolist(), blocks.tolist(), rows.tolist(), strict=True))


def _check_sources(segments: Sequence[Segment], sources: Mapping[str, Source], batch_rows: int) -> None:
    used = {part.source: None for segment in segments for part in segment.parts}
    if missing := [name for name in used if name not in sources]:
        raise DataError(
            f"no data for {', '.join(missing)}: there is {', '.join(sources) or 'none'}. Add it to the config."
        )
    for segment in segments:
        if segment.rows != segment.steps * batch_rows:
            raise DataError(
                f"a segment of {segment.steps} steps has {segment.rows} rows, which is not {batch_rows} a step: "
                "plan again with this batch size"
            )
    if len({sources[name].sequence_length for name in used}) > 1:
        raise DataError(f"{', '.join(used)} are cut into rows of different lengths: use one sequence length")
    if len({sources[name].manifest.tokenizer.sha256 for name in used}) > 1:
        raise DataError(f"{', '.join(used)} were made with different tokenizers: build them with the same one")
