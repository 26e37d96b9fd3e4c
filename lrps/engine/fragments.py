"""The state in a checkpoint: fp32 weights and states of the optimizer, each rank the pieces that it owns.

There is one safetensors file per rank, `fragments-00000-of-00002.safetensors`, with 1-D fp32 tensors keyed
`state|name|start`, where start is an offset into the flattened parameter. A loader of any world size, ZeRO stage and
precision reads the ranges of elements that it needs, exactly. bf16 weights are rounded fp32 ones and are not stored.

Learning rate, betas, eps and weight decay are not state: they come from the config. Must not import deepspeed.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lrps.base.errors import CheckpointError
from lrps.base.files import apply_umask, sha256_file
from lrps.engine.flat_pieces import WEIGHTS, FlatPiece, check_piece_names, refresh_weights, shapes_of
from lrps.engine.optimizers.kinds import optimizer_of
from lrps.engine.ranks import failing_together, rank, world_size
from lrps.paths.optimizer_states import OptimizerState
from lrps.store.file_errors import unreadable

FORMAT = "lrps-fragments/1"
FACTS = "lrps"


def file_name(index: int, count: int) -> str:
    """Return the name of the file of rank `index` of `count`."""
    return f"fragments-{index:05d}-of-{count:05d}.safetensors"


@dataclass(frozen=True)
class Fragments:
    """The content of one rank's file."""

    file: str
    tensors: Mapping[str, Tensor]
    """Mapping from `state|name|start` to 1-D fp32 values."""
    facts: Mapping[str, Any]

    def write(self, directory: Path) -> list[Path]:
        """Write the file into `directory` and return it. Not collective; not yet durable.

        Raises CheckpointError if it cannot be written.
        """
        tensors = {key: tensor.cpu() for key, tensor in self.tensors.items()}
        # One entry, since safetensors writes several in random order, and equal states must have equal files.
        metadata = {FACTS: json.dumps(self.facts)}
        path = directory / self.file
        try:
            save_file(tensors, path, metadata)
            apply_umask(path)  # safetensors makes files that only their owner may read.
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"cannot write {path}: {error}. Free disk space or fix permissions, then rerun"
            ) from error
        return [path]


def own_fragments(engine: Any) -> Fragments:
    """Return this rank's part of the state as views of the live memory, which the next step changes. Not collective."""
    optimizer = optimizer_of(engine)
    tensors = {
        f"{piece.state}|{piece.name}|{piece.start}": piece.values.detach()
        for piece in optimizer.pieces()
        if piece.written
    }
    facts = {"format": FORMAT, "adam_step": optimizer.step, "shapes": shapes_of(engine)}
    return Fragments(file_name(rank(), world_size()), tensors, facts)


def read_fragments(
    engine: Any, directory: Path, optimizer: str = "carry", hashed: Collection[str] = ()
) -> dict[str, str]:
    """Set weights, states of the optimizer and its step count from fragments of any topology. Collective.

    optimizer: `carry`, or `reset` for states as before the first step, and step 0. If the engine has an average of the
    weights, it is read in both cases; it begins as a copy of the weights if the fragments have none. hashed: names of
    files in the directory that this rank reads as a whole; what it needs of them is taken from the same read, and their
    SHA-256 is returned by name. Raises CheckpointError on all ranks: before anything is changed if the fragments lack a
    range or are of another model, later if a file cannot be read.
    """
    if optimizer not in ("carry", "reset"):
        raise ValueError(f"optimizer must be 'carry' or 'reset', not {optimizer!r}")
    with ExitStack() as stack:
        with failing_together():
            own = optimizer_of(engine)
            states, pieces = own.states(), own.pieces()  # States that do not exist yet are allocated.
            source = _FragmentFiles(directory, stack)
            source.check_model(shapes_of(engine))
            read = {WEIGHTS, *(state.name for state in states if _is_read(state, optimizer, source))}
            copies = [copy for piece in pieces if piece.state in read for copy in source.copies(piece)]
        with failing_together(), torch.no_grad():
            digests = _read(directory, copies, hashed)
            for state in states:
                if state.name not in read:
                    own.begin(state)
            own.step = source.adam_step if optimizer == "carry" else 0.0
    refresh_weights(engine)
    check_piece_names(engine)  # At the start equal norms and biases show nothing: any of their names would fit.
    return digests


def _is_read(state: OptimizerState, optimizer: str, source: _FragmentFiles) -> bool:
    """Return True if a state is read from fragments, False if it restarts from its first value."""
    return source.has(state.name) if state.averages_weights else optimizer == "carry"


# Reading


@dataclass(frozen=True)
class _Copy:
    """Elements of one stored tensor, from `start` on, and the live memory that they are read into: 1-D, fp32."""

    path: Path
    file: Any
    key: str
    start: int
    target: Tensor

    def read(self) -> None:
        """Read these elements alone. Raises CheckpointError if the file cannot be read."""
        with _readable(self.path):
            self.target.copy_(self.file.get_slice(self.key)[self.start : self.start + self.target.numel()])


def _read(directory: Path, copies: Iterable[_Copy], hashed: Collection[str]) -> dict[str, str]:
    """Read what `copies` say; return the SHA-256 of the files `hashed`, which are read once, as a whole."""
    of_whole: dict[str, list[_Copy]] = {name: [] for name in hashed}
    for copy in copies:
        if copy.path.name in of_whole:
            of_whole[copy.path.name].append(copy)
        else:
            copy.read()
    return {name: _read_whole(directory / name, wanted) for name, wanted in of_whole.items()}


def _read_whole(path: Path, copies: Sequence[_Copy]) -> str:
    """Read a file once, copy values out of it, and return its SHA-256. Raises CheckpointError if it cannot be read."""
    with _readable(path):
        offsets = _data_offsets(path) if copies else {}
        begins = ((offsets[copy.key] + 4 * copy.start, copy.target.view(torch.uint8)) for copy in copies)
        places = deque(sorted(begins, key=lambda place: place[0]))

        def receive(offset: int, piece: memoryview) -> None:
            stop = offset + len(piece)
            while places and places[0][0] < stop:
                begin, target = places.popleft()
                some = target[: stop - begin]
                some.copy_(torch.frombuffer(piece, dtype=torch.uint8, offset=begin - offset, count=len(some)))
                if len(some) < len(target):  # The next piece of the file has the rest.
                    places.appendleft((stop, target[len(some) :]))

        return sha256_file(path, receive)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn the errors of reading a safetensors file, whose bytes may be any, into a CheckpointError that names it."""
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error
    except torch.OutOfMemoryError:
        raise
    except (SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error!r}); use an older checkpoint") from error


def _data_offsets(path: Path) -> dict[str, int]:
    """Return where the values of each tensor of a safetensors file begin, in bytes."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return {key: 8 + length + entry["data_offsets"][0] for key, entry in header.items() if key != "__metadata__"}


class _FragmentFiles:
    """The open fragment files of a directory, with an index of their tensors."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self._index: dict[tuple[str, str], list[tuple[int, int, Path, Any, str]]] = {}
        self.shapes: dict[str, list[int]] = {}
        self.adam_step = 0.0
        for path in self._files():
            with _readable(path):
                file = stack.enter_context(safe_open(path, framework="pt"))
                self._add(path, file)
        for entries in self._index.values():
            entries.sort(key=lambda entry: entry[:2])

    def _files(self) -> list[Path]:
        paths = sorted(self.directory.glob("fragments-*.safetensors"))
        count = len(paths)
        if not paths or [path.name for path in paths] != [file_name(index, count) for index in range(count)]:
            names = ", ".join(path.name for path in paths[:8]) or "no fragments"
            raise CheckpointError(
                f"{self.directory} has {names}: not one complete set of files; use an older checkpoint"
            )
        return paths

    def _add(self, path: Path, file: Any) -> None:
        facts = json.loads((file.metadata() or {}).get(FACTS, "{}"))
        if facts.get("format") != FORMAT:
            raise CheckpointError(
                f"{path} has format {facts.get('format')!r}, not {FORMAT!r}: use the lrps that wrote it"
            )
        self.shapes = facts["shapes"]
        self.adam_step = float(facts["adam_step"])
        for key in file.keys():  # noqa: SIM118 - a safetensors file is no dict
            state, name, start = key.split("|")
            stored = file.get_slice(key)
            if stored.get_dtype() != "F32":
                raise CheckpointError(f"{path}: {key} is {stored.get_dtype()}, not F32; use an older checkpoint")
            entries = self._index.setdefault((state, name), [])
            entries.append((int(start), int(start) + stored.get_shape()[0], path, file, key))

    def check_model(self, shapes: Mapping[str, list[int]]) -> None:
        """Raise CheckpointError if names or shapes are those of another model."""
        how_to_fix = "it is a checkpoint of another model: give the `model` section that it was trained with"
        for name in (*shapes, *self.shapes):
            here, there = shapes.get(name), self.shapes.get(name)
            if here != there:
                raise CheckpointError(
                    f"{self.directory}: parameter {name} is {there or 'absent'} there and {here or 'absent'} in the "
                    f"model; {how_to_fix}"
                )

    def has(self, state: str) -> bool:
        """Return True if there are values of this state."""
        return any(state == stored for stored, _ in self._index)

    def copies(self, piece: FlatPiece) -> Iterator[_Copy]:
        """Yield copies that together fill a piece. Raises CheckpointError for a gap."""
        position = piece.start
        for start, stop, path, file, key in self._index.get((piece.state, piece.name), []):
            if start <= position < min(stop, piece.stop):
                until = min(stop, piece.stop)
                part = piece.values[position - piece.start : until - piece.start]
                yield _Copy(path, file, key, position - start, part)
                position = until
        if position < piece.stop:
            raise CheckpointError(
                f"{self.directory}: parameter {piece.name} lacks elements {position} to {piece.stop} of {piece.state}; "
                "the checkpoint is not complete, use an older one"
            )


class StateReader:
    """A reader of a checkpoint's state, one tensor at a time, without an engine."""

    def __init__(self, source: _FragmentFiles, weights: str = WEIGHTS) -> None:
        self._source, self._weights = source, weights

    @property
    def shapes(self) -> Mapping[str, Sequence[int]]:
        """Shapes of all parameters by name, in the model's order."""
        return self._source.shapes

    @property
    def adam_step(self) -> float:
        """Number of steps that Adam has taken."""
        return self._source.adam_step

    def read(self, name: str, state: str | None = None) -> Tensor:
        """Return a whole parameter, or its values in a state of the optimizer, in fp32.

        Raises CheckpointError for a gap.
        """
        whole = torch.empty(tuple(self.shapes[name]), dtype=torch.float32)
        for copy in self._source.copies(FlatPiece(state or self._weights, name, 0, whole.view(-1))):
            copy.read()
        return whole


@contextmanager
def open_state(
    directory: Path, shapes: Mapping[str, list[int]] | None = None, weights: str = WEIGHTS
) -> Iterator[StateReader]:
    """Open the state in fragments of any topology. Raises CheckpointError if the shapes are given and differ.

    weights: name of the state that is read as the weights, such as their average.
    """
    with ExitStack() as stack:
        source = _FragmentFiles(directory, stack)
        if shapes is not None:
            source.check_model(shapes)
        yield StateReader(source, weights)
