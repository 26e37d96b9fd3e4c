"""The state in a checkpoint: fp32 weights and states of the optimizer, each rank the pieces that it owns.

What each rank owns goes into one segment of a file, and an index says where. A loader of any world size, ZeRO stage and
precision reads the ranges of elements that it needs, exactly. bf16 weights are rounded fp32 ones and are not stored.

Learning rate, betas, eps and weight decay are not state: they come from the config. Must not import deepspeed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrps.engine.flat_pieces import WEIGHTS, check_piece_names, refresh_weights, shapes_of
from lrps.engine.optimizers.kinds import optimizer_of
from lrps.engine.ranks import failing_together
from lrps.engine.state_files.reading import OpenFiles, SavedState, read_values
from lrps.engine.state_files.writing import write_segment
from lrps.paths.optimizer_states import OptimizerState
from lrps.store.fragments.index import FragmentIndex
from lrps.store.fragments.layouts import ElementRange
from lrps.store.fragments.ranges import STEP, StoredState
from lrps.store.segments import FileSegment


class FragmentKey(NamedTuple):
    """The name of a fragment: consecutive elements of a parameter in one state, from `start` on."""

    state: str
    name: str
    start: int


@dataclass(frozen=True)
class Fragments:
    """The part of a state that one rank writes."""

    tensors: Mapping[FragmentKey, Tensor]
    """Values of the fragments, 1-D, in the type of their state."""
    shapes: Mapping[str, list[int]]
    """Shapes of whole parameters by name, in the model's order: those of the model, also without a fragment here."""
    states: Mapping[str, StoredState]
    """All states of the model, in the order in which they are written."""
    steps: Mapping[str, float]
    """Counters, such as the number of steps that the optimizer has taken."""

    def pieces(self, state: str) -> tuple[ElementRange, ...]:
        """Return the elements that there are of a state, with parameters by number, in the order of the fragments."""
        numbers = {name: number for number, name in enumerate(self.shapes)}
        return tuple(
            ElementRange(numbers[key.name], key.start, key.start + tensor.numel())
            for key, tensor in self.tensors.items()
            if key.state == state
        )

    def write(self, directory: Path, index: FragmentIndex, segment: int) -> FileSegment:
        """Write the fragments as a segment, durably; see `write_segment`. Not collective."""
        return write_segment(
            directory,
            index,
            segment,
            lambda state, piece: self.tensors[FragmentKey(state, index.names[piece.parameter], piece.start)],
        )


def own_fragments(engine: Any) -> Fragments:
    """Return this rank's part of the state as views of the live memory, which the next step changes. Not collective."""
    optimizer = optimizer_of(engine)
    tensors = {
        FragmentKey(piece.state, piece.name, piece.start): piece.values.detach()
        for piece in optimizer.pieces()
        if piece.written
    }
    states = {WEIGHTS: StoredState("elementwise", "F32")}
    states |= {state.name: StoredState(state.kind, state.dtype) for state in optimizer.states()}
    return Fragments(tensors, shapes_of(engine), states, {STEP: optimizer.step})


def read_fragments(
    engine: Any, saved: SavedState, optimizer: str = "carry", hashed: Collection[FileSegment] = ()
) -> dict[FileSegment, str]:
    """Set weights, states of the optimizer and its step count from a saved state of any topology. Collective.

    optimizer: `carry`, or `reset` for states as before the first step, and step 0. If the engine has an average of the
    weights, it is read in both cases; it begins as a copy of the weights if the saved state has none. hashed: segments
    of its files that this rank reads as a whole; what it needs of them is taken from the same read, and their SHA-256
    is returned. Raises CheckpointError on all ranks: before anything is changed if the saved state lacks a range or is
    of another model, later if a file cannot be read.
    """
    if optimizer not in ("carry", "reset"):
        raise ValueError(f"optimizer must be 'carry' or 'reset', not {optimizer!r}")
    with failing_together():
        own = optimizer_of(engine)
        states, pieces = own.states(), own.pieces()  # States that do not exist yet are allocated.
        saved.check_model(shapes_of(engine))
        read = {WEIGHTS, *(state.name for state in states if _is_read(state, optimizer, saved))}
        wanted = [piece for piece in pieces if piece.state in read]
        copies = [copy for each in wanted for copy in saved.copies(each.state, each.name, each.start, each.values)]
    with failing_together(), torch.no_grad(), OpenFiles(saved.directory) as files:
        digests = read_values(files, copies, hashed)
        for state in states:
            if state.name not in read:
                own.begin(state)
        own.step = saved.index.steps[STEP] if optimizer == "carry" else 0.0
    refresh_weights(engine)
    check_piece_names(engine)  # At the start equal norms and biases show nothing: any of their names would fit.
    return digests


def _is_read(state: OptimizerState, optimizer: str, saved: SavedState) -> bool:
    """Return True if a state is read from the saved one, False if it restarts from its first value."""
    return state.name in saved.index.states if state.averages_weights else optimizer == "carry"
