"""The state in a checkpoint: fp32 weights and states of the optimizer, each rank the pieces that it owns.

There is one safetensors file per rank, `fragments-00000-of-00002.safetensors`, with 1-D fp32 tensors keyed
`state|name|start`, where start is an offset into the flattened parameter. A loader of any world size, ZeRO stage and
precision reads the ranges of elements that it needs, exactly. bf16 weights are rounded fp32 ones and are not stored.

This module depends on where DeepSpeed 0.19 stores its optimizer state, but gets the engine as an argument and must not
import deepspeed. Learning rate, betas, eps and weight decay are not state: they come from the config.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lrps.base.errors import CheckpointError
from lrps.base.files import apply_umask
from lrps.engine.ranks import failing_together, rank, world_size
from lrps.paths import optimizer_states
from lrps.paths.optimizer_states import AVERAGE, OptimizerState

FORMAT = "lrps-fragments/1"
FACTS = "lrps"
WEIGHTS = "fp32"
MOMENTS = tuple(state.name for state in optimizer_states.MOMENTS)


@dataclass(frozen=True)
class FlatPiece:
    """A range of one flattened parameter that this rank owns. states: 1-D views of the live memory, by state."""

    name: str
    start: int
    states: Mapping[str, Tensor]

    @property
    def stop(self) -> int:
        """End of the range."""
        return self.start + self.states[WEIGHTS].numel()


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
    pieces = _pieces(engine)
    if engine.zero_optimization_stage() == 0:  # Every rank has the whole state: distribute the parameters.
        pieces = pieces[rank() :: world_size()]
    tensors = {
        f"{state}|{piece.name}|{piece.start}": tensor.detach()
        for piece in pieces
        for state, tensor in piece.states.items()
    }
    facts = {"format": FORMAT, "adam_step": _adam_step(engine), "shapes": _shapes(engine)}
    return Fragments(file_name(rank(), world_size()), tensors, facts)


def read_fragments(engine: Any, directory: Path, optimizer: str = "carry") -> None:
    """Set weights, states of the optimizer and Adam's step count from fragments of any topology. Collective.

    optimizer: `carry`, or `reset` for zero moments and step 0. If the engine has an average of the weights, it is read
    in both cases; it begins as a copy of the weights if the fragments have none. Raises CheckpointError on all ranks:
    before anything is changed if the fragments lack a range or are of another model, later if a file cannot be read.
    """
    if optimizer not in ("carry", "reset"):
        raise ValueError(f"optimizer must be 'carry' or 'reset', not {optimizer!r}")
    pieces = _pieces(engine)
    states = _states(engine)
    with ExitStack() as stack:
        with failing_together():
            source = _FragmentFiles(directory, stack)
            source.check_model(_shapes(engine))
            read = [state for state in states if _is_read(state, optimizer, source)]
            wanted = (WEIGHTS, *(state.name for state in read))
            plan = [(piece, state, list(source.ranges(state, piece))) for piece in pieces for state in wanted]
        with failing_together(), torch.no_grad():
            for piece, state, ranges in plan:
                for start, values in ranges:
                    offset = start - piece.start
                    piece.states[state][offset : offset + values.stop - values.start].copy_(values.read())
            for new in (state for state in states if state not in read):
                for piece in pieces:
                    _begin(new, piece.states[WEIGHTS], piece.states[new.name])
            _set_adam_step(engine, source.adam_step if optimizer == "carry" else 0.0)
    refresh_weights(engine)


def begin_average(engine: Any) -> None:
    """Let the average of the weights begin as a copy of them; the optimizer has one from now on. Not collective."""
    for flat in _flats(engine):
        state = _adam_state(engine, flat)
        state.setdefault(AVERAGE.name, torch.empty_like(flat.data)).copy_(flat.data)


def weights_and_averages(engine: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the live fp32 tensors that Adam updates on this rank, each with its average."""
    return ((flat.data, _adam_state(engine, flat)[AVERAGE.name]) for flat in _flats(engine))


def _is_read(state: OptimizerState, optimizer: str, source: _FragmentFiles) -> bool:
    """Return True if a state is read from fragments, False if it restarts from its first value."""
    return source.has(state.name) if state.averages_weights else optimizer == "carry"


def _begin(state: OptimizerState, weights: Tensor, values: Tensor) -> None:
    """Set the values with which a state begins."""
    if state.averages_weights:
        values.copy_(weights)
    else:
        values.zero_()


# Reading


@dataclass(frozen=True)
class _Values:
    """Elements [start, stop) of one stored tensor, which `read` loads."""

    file: Any
    key: str
    start: int
    stop: int

    def read(self) -> Tensor:
        """Load the elements."""
        return self.file.get_slice(self.key)[self.start : self.stop]


class _FragmentFiles:
    """The open fragment files of a directory, with an index of their tensors."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self._index: dict[tuple[str, str], list[tuple[int, int, Any, str]]] = {}
        self.shapes: dict[str, list[int]] = {}
        self.adam_step = 0.0
        for path in self._files():
            try:
                file = stack.enter_context(safe_open(path, framework="pt"))
                self._add(path, file)
            except (OSError, SafetensorError, ValueError, KeyError) as error:
                raise CheckpointError(f"{path} cannot be read ({error}); use an older checkpoint") from error
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
            entries.append((int(start), int(start) + stored.get_shape()[0], file, key))

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

    def ranges(self, state: str, piece: FlatPiece) -> Iterator[tuple[int, _Values]]:
        """Yield (offset into the parameter, values) that together cover the piece. Raises CheckpointError for a gap."""
        position = piece.start
        for start, stop, file, key in self._index.get((state, piece.name), []):
            if start <= position < min(stop, piece.stop):
                until = min(stop, piece.stop)
                yield position, _Values(file, key, position - start, until - start)
                position = until
        if position < piece.stop:
            raise CheckpointError(
                f"{self.directory}: parameter {piece.name} lacks elements {position} to {piece.stop} of {state}; "
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
        state = state or self._weights
        whole = torch.empty(tuple(self.shapes[name]), dtype=torch.float32)
        piece = FlatPiece(name, 0, {WEIGHTS: whole.view(-1)})
        for start, values in self._source.ranges(state, piece):
            piece.states[WEIGHTS][start : start + values.stop - values.start].copy_(values.read())
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


# Where DeepSpeed stores its state


def _pieces(engine: Any) -> list[FlatPiece]:
    """Return the pieces of this rank in the order of parameters; Adam moments are created if they do not exist yet."""
    stage = engine.zero_optimization_stage()
    names = [state.name for state in _states(engine)]
    of_flat = {id(flat): _adam_state(engine, flat) for flat in _flats(engine)}
    states = {key: {name: of_flat[key][name] for name in names} for key in of_flat}
    if stage == 0:
        return [_piece(name, 0, p, states[id(p)], 0, p.numel()) for name, p in engine.module.named_parameters()]
    find = _find_partitioned if stage == 3 else _find_replicated
    pieces = []
    for name, parameter in engine.module.named_parameters():
        found = find(engine.optimizer, parameter)
        if found is not None:
            start, flat, offset, numel = found
            pieces.append(_piece(name, start, flat, states[id(flat)], offset, numel))
    return pieces


def _find_replicated(optimizer: Any, parameter: Any) -> tuple[int, Tensor, int, int] | None:
    """Return (start in the parameter, flat fp32 tensor, offset in it, numel) of this rank's part: stages 1 and 2."""
    mapping = parameter._hp_mapping
    if mapping is None:
        return None
    here, there = mapping.lp_fragment_address, mapping.hp_fragment_address
    return here.start, optimizer.single_partition_of_fp32_groups[mapping.param_group_index], there.start, here.numel


def _find_partitioned(optimizer: Any, parameter: Any) -> tuple[int, Tensor, int, int] | None:
    """Return the same for stage 3, which divides every parameter equally; the last parts may be short or empty."""
    group, offset, _ = optimizer.grad_position[optimizer.get_param_id(parameter)]
    share = math.ceil(parameter.ds_numel / world_size())
    start = rank() * share
    numel = min(share, parameter.ds_numel - start)
    return (start, optimizer.fp32_partitioned_groups_flat[group], offset, numel) if numel > 0 else None


def _piece(name: str, start: int, flat: Tensor, states: Mapping[str, Tensor], offset: int, numel: int) -> FlatPiece:
    whole = {WEIGHTS: flat.data, **states}
    return FlatPiece(name, start, {state: tensor.view(-1).narrow(0, offset, numel) for state, tensor in whole.items()})


def _flats(engine: Any) -> list[Tensor]:
    """Return the fp32 tensors that Adam updates on this rank."""
    stage = engine.zero_optimization_stage()
    if stage == 0:
        return list(engine.module.parameters())
    if stage == 3:
        return list(engine.optimizer.fp32_partitioned_groups_flat)
    return list(engine.optimizer.single_partition_of_fp32_groups)


def _adam_state(engine: Any, flat: Tensor) -> dict[str, Tensor]:
    """Return Adam's state of a flat tensor; if there is none yet, create it as AdamW does at its first step."""
    adam = engine.optimizer if engine.zero_optimization_stage() == 0 else engine.optimizer.optimizer
    state = adam.state[flat]
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=flat.device)
        for moment in MOMENTS:
            state[moment] = torch.zeros_like(flat.data)
    return state


def _states(engine: Any) -> tuple[OptimizerState, ...]:
    """Return the states that the optimizer has beside the weights."""
    averaged = any(AVERAGE.name in _adam_state(engine, flat) for flat in _flats(engine))
    return (*optimizer_states.MOMENTS, AVERAGE) if averaged else optimizer_states.MOMENTS


def _adam_step(engine: Any) -> float:
    return float(_adam_state(engine, _flats(engine)[0])["step"])


def _set_adam_step(engine: Any, step: float) -> None:
    # A separate tensor for every state, since AdamW increments each one in place.
    for flat in _flats(engine):
        state = _adam_state(engine, flat)
        state["step"] = torch.full_like(state["step"], step)


def _shapes(engine: Any) -> dict[str, list[int]]:
    return {name: list(getattr(p, "ds_shape", p.shape)) for name, p in engine.module.named_parameters()}


def refresh_weights(engine: Any) -> None:
    """Derive the weights of forward passes from the fp32 ones. Collective."""
    stage, optimizer = engine.zero_optimization_stage(), engine.optimizer
    if stage in (1, 2):
        optimizer.update_lp_params()
    if stage == 3:
        # The prologue releases gathered parameters; the epilogue gathers the small, persistent ones again.
        optimizer.checkpoint_event_prologue()
        for index, flat in enumerate(optimizer.fp32_partitioned_groups_flat):
            low = optimizer.fp16_partitioned_groups_flat[index]
            low.data.copy_(flat.data)
            group = optimizer.fp16_partitioned_groups[index]
            for partition, view in zip(group, optimizer.unflatten(low, group), strict=True):
                partition.data = view.data
        optimizer.checkpoint_event_epilogue()
