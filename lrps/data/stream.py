"""The rows of tokens of a path: sources, and segments that mix them.

What is read is a pure function of (manifests, seed, row of the path): there are no workers, no iterators and no state
to save. Files that will be needed are fetched, and their blocks checked, in the background; rows are never read ahead.
Not thread-safe. Must not import torch or webdataset; shards are mapped, not parsed.
"""

from __future__ import annotations

import weakref
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from lrps.base.errors import ConfigError, DataError
from lrps.base.files import regular_file
from lrps.data.checks import BlockChecks, file_identity
from lrps.data.composition import Composition
from lrps.data.files import ShardFiles
from lrps.data.manifest import Manifest
from lrps.data.mixture import Mixture
from lrps.data.order import WINDOW_SHARDS, Order
from lrps.data.outputs import MASKED, Outputs
from lrps.data.span import Span, rows_between
from lrps.paths.graph import Segment, SourceRange

DRAW_ROWS = 8192
"""Number of rows whose addresses are computed together. They are a cache of a pure function, never saved state."""


class TokenSource:
    """The tokens of a manifest as rows of `sequence_length` tokens, each within one block, in the source's own order.

    files: returns the shards. rows: number of rows to use, from the first row of the files; all by default. It is the
    length of an epoch, so another number gives another order. outputs: targets, if not all tokens are.
    Files are mapped and their blocks checked (size, crc32) on first use, once per process: training stops with an error
    before it reads a damaged token.
    """

    def __init__(
        self,
        manifest: Manifest,
        files: ShardFiles,
        *,
        sequence_length: int,
        seed: int,
        order: str = "full",
        rows: int | None = None,
        outputs: Outputs | None = None,
    ) -> None:
        self.manifest = manifest
        self.outputs = outputs
        """Places of the targets if not all tokens are targets; rows are masked then (lrps/data/outputs.py)."""
        self.sequence_length = sequence_length
        self.dtype = np.dtype(manifest.dtype)
        block_rows = np.asarray(manifest.blocks.tokens) // np.uint32(sequence_length)
        self._first_row = np.zeros(len(block_rows) + 1, np.int64)
        np.cumsum(block_rows, out=self._first_row[1:])
        available = int(self._first_row[-1])
        self.rows = available if rows is None else rows
        if not 0 < self.rows <= available:
            raise DataError(
                f"{manifest.version} ({manifest.split}) has {available} sequences of {sequence_length} tokens, "
                f"{max(self.rows, 1)} are needed: lower data.sequence_length or add data"
            )
        ends = [min(int(self._first_row[shard.blocks.stop]), self.rows) for shard in manifest.shards]
        shard_rows = [b - a for a, b in pairwise([0, *ends]) if b > a]
        self._order = Order(shard_rows, seed=seed, name=manifest.version, mode=order)
        self._windowed = order == "window"
        self._files = files
        weakref.finalize(self, files.close)
        self._first_block = np.array([shard.blocks.start for shard in manifest.shards])
        self._offsets = np.asarray(manifest.blocks.offsets)
        self.span = Span([shard.bytes for shard in manifest.shards])
        self._mapped: dict[int, None] = {}  # an ordered set: the first shard was mapped first
        self._checks = BlockChecks(manifest, files)
        self._announced: deque[set[int]] = deque(maxlen=2)
        self._ready = np.zeros(len(block_rows), bool)
        self.all_ready = False
        """True once every block is prepared and stays so."""

    @property
    def parts(self) -> tuple[TokenSource, ...]:
        """Sources with shards that it consists of: itself."""
        return (self,)

    def deal(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (part, position in the part's stream) of these positions, as a mixed source does."""
        return np.zeros(len(positions), np.int64), positions

    def order(self, positions: np.ndarray) -> np.ndarray:
        """Return the rows of the source at these positions (1-D, >= 0) of its stream."""
        return self._order(positions)

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the blocks and the addresses of the rows at these positions.

        An address may be read once its block has been prepared.
        """
        rows = self._order(positions)
        blocks = np.searchsorted(self._first_row, rows, "right") - 1
        row_bytes = self.sequence_length * self.dtype.itemsize
        addresses = self.span.starts[self._shards_of(blocks)] + self._offsets[blocks].astype(np.int64)
        return blocks, addresses + (rows - self._first_row[blocks]) * row_bytes

    def announce(self, blocks: np.ndarray) -> None:
        """Start to fetch and check these blocks in the background, in this order.

        Files that were announced two calls ago and have not been mapped since are released.
        """
        if not self._windowed and self._checks.whole[blocks].all():
            return
        fresh, first = np.unique(blocks, return_index=True)
        blocks = fresh[np.argsort(first)]
        shards = self._shards_of(blocks).tolist()
        past = set().union(*self._announced)
        self._announced.append(set(shards))
        for shard in past.difference(*self._announced, self._mapped):
            self._files.release(self.manifest.shards[shard])
        self._files.prefetch([self.manifest.shards[shard] for shard in dict.fromkeys(shards)])
        self._checks.announce(zip(shards, blocks.tolist(), strict=True))

    def prepare(self, blocks: np.ndarray) -> None:
        """Map and check those of these blocks that are not yet; their rows may be read until the next call.

        Raises DataError for a damaged or missing file.
        """
        ready = self._ready[blocks]
        if ready.all():
            return
        needed = np.unique(self._shards_of(blocks)).tolist()
        missing = [shard for shard in needed if shard not in self._mapped]
        if self._windowed:
            # Two windows stay mapped; a cache may remove the files of earlier ones.
            spare = [shard for shard in self._mapped if shard not in needed]
            for shard in spare[: max(0, len(self._mapped) + len(missing) - 2 * WINDOW_SHARDS)]:
                self._unmap(shard)
        for shard in missing:
            self._map(shard)
        for number in np.unique(blocks[~ready]).tolist():
            shard = int(self._shards_of(np.array(number)))
            block = self.manifest.blocks[number]
            address = int(self.span.starts[shard]) + block.offset
            self._checks.require(shard, number, self.span.bytes_at(address, block.tokens * self.dtype.itemsize))
            self._ready[number] = True
        self.all_ready = not self._windowed and bool(self._ready.all())

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Return the rows at these positions: (len(positions), sequence_length), in the dtype of the manifest."""
        blocks, addresses = self.locate(positions)
        self.prepare(blocks)
        rows = rows_between(self.span.start, self.span.stop, self.dtype, self.sequence_length)
        found = rows[(addresses - self.span.start) // self.dtype.itemsize]
        return found if self.outputs is None else self.masked(found, positions)

    def masked(self, rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return rows that were read at these positions with their targets marked, as `Outputs.mask` does."""
        if self.outputs is None:
            return rows.astype(MASKED)
        numbers = self._order(positions)
        blocks = np.searchsorted(self._first_row, numbers, "right") - 1
        begins = np.cumsum(self.manifest.blocks.tokens, dtype=np.int64) - np.asarray(self.manifest.blocks.tokens)
        return self.outputs.mask(rows, begins[blocks] + (numbers - self._first_row[blocks]) * self.sequence_length)

    def _shards_of(self, blocks: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._first_block, blocks, "right") - 1

    def _map(self, number: int) -> None:
        shard = self.manifest.shards[number]
        path = self._files.path(shard)
        try:
            with open(path, "rb", opener=regular_file) as file:
                self.span.map(number, file, read_ahead=self._windowed)
                self._checks.opened(number, file_identity(file.fileno()))
        except FileNotFoundError:
            raise DataError(f"{path} is missing: {shard.bytes} bytes expected. {self._files.restore_hint}") from None
        except ValueError as error:
            raise DataError(f"{error}. {self._files.restore_hint}") from None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}; make it a file that you may read") from None
        self._mapped[number] = None

    def _unmap(self, number: int) -> None:
        shard = self.manifest.shards[number]
        self._ready[shard.blocks.start : shard.blocks.stop] = False
        self.span.unmap(number)
        del self._mapped[number]
        self._files.release(shard)


class MixedSource:
    """A source that mixes several others exactly: the version of a config that has a `mixture`.

    parts: its parts, in the order of their names. counts: number of rows of each in an epoch of the mixture.
    """

    def __init__(self, parts: Sequence[TokenSource], counts: Sequence[int]) -> None:
        self.parts = tuple(parts)
        self._composition = Composition(counts)
        self.rows = self._composition.rows
        """Number of rows of an epoch."""

    def deal(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (part, position in the part's stream) of these positions (1-D, >= 0)."""
        return self._composition.deal(positions)


Source = TokenSource | MixedSource


class PathData:
    """The rows of one path: its segments one after another, the parts of each mixed evenly.

    The stream of rows is independent of batches; a position in it is one integer. `batch` cuts it into steps of
    `batch_rows` rows, counted from the path's first step. Raises DataError if a segment names a source that is missing,
    or if the sources differ in sequence length, tokenizer or dtype.
    """

    def __init__(self, segments: Sequence[Segment], sources: Mapping[str, Source], batch_rows: int) -> None:
        _check_sources(segments, sources, batch_rows)
        self.batch_rows = batch_rows
        self._segments = [_Segment(segment, sources) for segment in segments]
        self._starts = [0, *accumulate(segment.rows for segment in segments)]
        self.rows = self._starts[-1]
        self.steps = sum(segment.steps for segment in segments)
        leaves = (leaf for segment in segments for part in segment.parts for leaf in sources[part.source].parts)
        self._masked = any(leaf.outputs is not None for leaf in leaves)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> np.ndarray:
        """Return this rank's slice of the global batch of `step`: (batch_rows / world, sequence_length).

        The slices in the order of ranks are the global batch for every world size, which may change between steps.
        The dtype is that of the shards; MASKED if the path reads a source whose tokens are not all targets. Raises
        IndexError for a step or rank out of range, ConfigError if the world
        size does not divide the batch.
        """
        if not 0 <= rank < world:
            raise IndexError(f"there is no rank {rank} among {world}")
        rows, uneven = divmod(self.batch_rows, world)
        if uneven:
            raise ConfigError(
                f"a batch of {self.batch_rows} sequences cannot be divided among {world} ranks: change batch.sequences "
                "or the number of processes so that one divides the other"
            )
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} is outside the path's {self.steps} steps")
        return self.read(step * self.batch_rows + rank * rows, rows)

    def read(self, first: int, rows: int, sequence_length: int | None = None) -> np.ndarray:
        """Return rows [first, first + rows) of the path: (rows, sequence_length), in the shards' dtype.

        The rows do not depend on earlier reads. sequence_length: a divisor of the sources' own; each row is then cut
        into several shorter sequences, in order. Raises IndexError for rows outside the path.
        """
        if not (first >= 0 and rows >= 0 and first + rows <= self.rows):
            raise IndexError(f"rows {first} to {first + rows} are outside the path's {self.rows} rows")
        parts: list[np.ndarray] = []
        done = 0
        while done < rows or not parts:
            number = min(bisect_right(self._starts, first + done), len(self._segments)) - 1
            parts.append(self._segments[number].read(first + done - self._starts[number], rows - done, self._masked))
            done += len(parts[-1])
        batch = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return batch if sequence_length is None else _cut(batch, sequence_length)

    def positions(self, step: int) -> dict[str, int]:
        """Return source -> next position of its stream after `step` steps, where a fork continues.

        A source that is used only in later segments is at the start of its first part. Raises IndexError for a step
        outside the path.
        """
        if not 0 <= step <= self.steps:
            raise IndexError(f"step {step} is outside the path's {self.steps} steps")
        rows = step * self.batch_rows
        positions: dict[str, int] = {}
        for start, segment in zip(self._starts, self._segments, strict=False):
            reached = segment.positions(min(max(rows - start, 0), segment.rows))
            positions = positions | reached if start < rows else reached | positions
        return positions

    def taken(self, step: int) -> list[tuple[SourceRange, int]]:
        """Return (part, number of its rows) that the first `step` steps read, for every part in order."""
        rows = step * self.batch_rows
        pairs = zip(self._starts, self._segments, strict=False)
        return [one for start, segment in pairs for one in segment.taken(min(max(rows - start, 0), segment.rows))]

    def rows_of(self, step: int) -> list[tuple[str, int, int]]:
        """Return (source, epoch, row) of every row of the global batch of `step`, in order; for tests.

        A row of a mixed source is given as one of its part.
        """
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} is outside the path's {self.steps} steps")
        first = step * self.batch_rows
        number = bisect_right(self._starts, first) - 1
        first -= self._starts[number]
        return self._segments[number].rows_of(np.arange(first, first + self.batch_rows))


class _Segment:
    """A segment with its open sources; rows are counted from the segment's start."""

    def __init__(self, segment: Segment, sources: Mapping[str, Source]) -> None:
        self.rows = segment.rows
        self._parts = segment.parts
        names = list(dict.fromkeys(part.source for part in segment.parts))
        self._sources = [leaf for name in names for leaf in sources[name].parts]
        first_leaf = dict(zip(names, accumulate((len(sources[name].parts) for name in names), initial=0), strict=False))
        self._first_leaf = np.array([first_leaf[part.source] for part in segment.parts])
        opened = {number: sources[part.source] for number, part in enumerate(segment.parts)}
        self._mixed = {number: source for number, source in opened.items() if len(source.parts) > 1}
        self._from_rows = np.array([part.from_row for part in segment.parts], np.int64)
        self._mixture = Mixture([part.rows for part in segment.parts])
        # One view over all sources, so that a batch is one gather; addresses between them are never read.
        self._start = min(source.span.start for source in self._sources)
        stop = max(source.span.stop for source in self._sources)
        self._dtype = self._sources[0].dtype
        self._tokens = rows_between(self._start, stop, self._dtype, self._sources[0].sequence_length)
        self._draws: dict[int, _Draw] = {}

    def read(self, first: int, rows: int, masked: bool) -> np.ndarray:
        """Return up to `rows` rows from `first` on; fewer where a draw of DRAW_ROWS rows ends.

        masked: mark their targets (lrps/data/outputs.py).
        """
        begin = first
        number, first = divmod(first, DRAW_ROWS)
        draw = self._draw(number, first)
        wanted = slice(first, first + rows)
        sources, blocks = draw.sources[wanted], draw.blocks[wanted]
        for index, source in enumerate(self._sources):
            if not source.all_ready:
                source.prepare(blocks[sources == index])
        found = self._tokens[draw.items[wanted]]
        return self._mask(found, begin) if masked else found

    def _mask(self, rows: np.ndarray, first: int) -> np.ndarray:
        """Return the rows from `first` on with their targets marked."""
        leaves, positions = self._assign(np.arange(first, first + len(rows)))
        found = np.empty(rows.shape, MASKED)
        for leaf in np.unique(leaves).tolist():
            chosen = leaves == leaf
            found[chosen] = self._sources[leaf].masked(rows[chosen], positions[chosen])
        return found

    def taken(self, rows: int) -> list[tuple[SourceRange, int]]:
        return [(part, int(taken)) for part, taken in zip(self._parts, self._mixture.taken(rows), strict=True)]

    def positions(self, rows: int) -> dict[str, int]:
        reached: dict[str, int] = {}
        for part, taken in self.taken(rows):
            reached[part.source] = max(part.from_row + taken, reached.get(part.source, 0))
        return reached

    def rows_of(self, t: np.ndarray) -> list[tuple[str, int, int]]:
        leaves, positions = self._assign(t)
        found = []
        for leaf, position in zip(leaves.tolist(), positions.tolist(), strict=True):
            source = self._sources[leaf]
            row = int(source.order(np.array([position]))[0])
            found.append((source.manifest.version, position // source.rows, row))
        return found

    def _assign(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (number of the source with shards, position in its stream) of the rows t."""
        parts, index = self._mixture.assign(t)
        leaves, positions = self._first_leaf[parts], self._from_rows[parts] + index
        for number, source in self._mixed.items():
            chosen = parts == number
            leaf, positions[chosen] = source.deal(positions[chosen])
            leaves[chosen] += leaf
        return leaves, positions

    def _draw(self, number: int, first: int) -> _Draw:
        """Return a draw whose rows are needed from `first` on, and start to fetch the files of the next one."""
        if number not in self._draws:
            needed = {number: first, number + 1: 0}
            self._draws = {n: self._draws.get(n) or self._place(n, since) for n, since in needed.items()}
        return self._draws[number]

    def _place(self, number: int, needed: int) -> _Draw:
        start = min(number * DRAW_ROWS, self.rows)
        sources, positions = self._assign(np.arange(start, min(start + DRAW_ROWS, self.rows)))
        blocks, addresses = np.empty_like(positions), np.empty_like(positions)
        for index in np.unique(sources).tolist():
            chosen = sources == index
            blocks[chosen], addresses[chosen] = self._sources[index].locate(positions[chosen])
            self._sources[index].announce(blocks[needed:][chosen[needed:]])
        return _Draw(sources, blocks, (addresses - self._start) // self._dtype.itemsize)


@dataclass(frozen=True)
class _Draw:
    """Locations of consecutive rows: index of the source, block of the source, first item in the segment's view."""

    sources: np.ndarray
    blocks: np.ndarray
    items: np.ndarray


def _cut(rows: np.ndarray, sequence_length: int) -> np.ndarray:
    if sequence_length < 1 or rows.shape[1] % sequence_length:
        raise ConfigError(
            f"sequences of {rows.shape[1]} tokens cannot be cut into sequences of {sequence_length}: use a divisor"
        )
    return rows.reshape(-1, sequence_length)


def _check_sources(segments: Sequence[Segment], sources: Mapping[str, Source], batch_rows: int) -> None:
    used = {part.source: None for segment in segments for part in segment.parts}
    if missing := [name for name in used if name not in sources]:
        raise DataError(
            f"no data for {', '.join(missing)}; the config has {', '.join(sources) or 'none'}. Add it to the config."
        )
    for segment in segments:
        if segment.rows != segment.steps * batch_rows:
            raise DataError(
                f"a segment of {segment.steps} steps has {segment.rows} sequences, which is not {batch_rows} per step: "
                "plan again with this batch size"
            )
    leaves = [leaf for name in used for leaf in sources[name].parts]
    if len({leaf.sequence_length for leaf in leaves}) > 1:
        raise DataError(f"{', '.join(used)} have different sequence lengths: use one sequence length")
    if len({leaf.manifest.tokenizer.sha256 for leaf in leaves}) > 1:
        raise DataError(f"{', '.join(used)} were made with different tokenizers: build them with the same one")
    if len({leaf.dtype for leaf in leaves}) > 1:
        raise DataError(f"{', '.join(used)} store tokens in different dtypes: build them with the same lrps")
