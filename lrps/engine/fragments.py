"""The payload of a checkpoint: the fp32 weights and Adam moments, each rank the pieces that it owns.

One safetensors file a rank, `fragments-00000-of-00002.safetensors`, with 1-D fp32 tensors keyed `state|name|start`,
start being an offset into the flattened parameter. Elementwise, so a loader of any world size, ZeRO stage and
precision reads just the ranges that it needs and is exact. bf16 weights are the rounded fp32 ones and need no copy.

This module knows where DeepSpeed 0.19 keeps its optimizer state, but is handed the engine and must not import
deepspeed. Learning rate, betas, eps and weight decay are not state: they come from the config.
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
from lrps.engine.ranks import failing_together, rank, world_size

FORMAT = "lrps-fragments/1"
FACTS = "lrps"
WEIGHTS = "fp32"
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class FlatPiece:
    """A range of one flattened parameter that this rank holds; `states` are 1-D views of the live memory."""

    name: str
    start: int
    states: Mapping[str, Tensor]

    @property
    def stop(self) -> int:
        return self.start + self.states[WEIGHTS].numel()


def file_name(index: int, count: int) -> str:
    return f"fragments-{index:05d}-of-{count:05d}.safetensors"


@dataclass(frozen=True)
class Fragments:
    """What one rank saves: the content of its file."""

    file: str
    tensors: Mapping[str, Tensor]
    """`state|name|start` -> 1-D fp32 values."""
    facts: Mapping[str, Any]

    def write(self, directory: Path) -> list[Path]:
        """Write the file into `directory` and return it. Not collective; not yet durable.

        CheckpointError if it cannot be written.
        """
        tensors = {key: tensor.cpu() for key, tensor in self.tensors.items()}
        # One entry: safetensors writes several in random order, and equal states shall be equal files.
        metadata = {FACTS: json.dumps(self.facts)}
        path = directory / self.file
        try:
            save_file(tensors, path, metadata)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"cannot write {path}: {error}. Free disk space or mend permissions, then rerun"
            ) from error
        return [path]


def own_fragments(engine: Any) -> Fragments:
    """This rank's share of the state, in views of the live memory: the next step changes them. Not collective."""
    pieces = _pieces(engine)
    if engine.zero_optimization_stage() == 0:  # Every rank holds everything: deal the parameters round.
        pieces = pieces[rank() :: world_size()]
    tensors = {
        f"{state}|{piece.name}|{piece.start}": tensor.detach()
        for piece in pieces
        for state, tensor in piece.states.items()
    }
    facts = {"format": FORMAT, "adam_step": _adam_step(engine), "shapes": _shapes(engine)}
    return Fragments(file_name(rank(), world_size()), tensors, facts)


def read_fragments(engine: Any, directory: Path, optimizer: str = "carry") -> None:
    """Set weights, Adam moments and step count from fragments of any topology. Collective.

    optimizer: `carry`, or `reset` for weights only, zero moments and step 0. CheckpointError on all ranks, before
    anything was changed, if the fragments lack a range or are of another model; after it, if a file cannot be read.
    """
    if optimizer not in ("carry", "reset"):
        raise ValueError(f"optimizer must be 'carry' or 'reset', not {optimizer!r}")
    pieces = _pieces(engine)
    wanted = (WEIGHTS, *MOMENTS) if optimizer == "carry" else (WEIGHTS,)
    with ExitStack() as stack:
        with failing_together():
            source = _Source(directory, stack)
            source.check_model(_shapes(engine))
            plan = [(piece, state, list(source.ranges(state, piece))) for piece in pieces for state in wanted]
        with failing_together(), torch.no_grad():
            for piece, state, ranges in plan:
                for start, values in ranges:
                    offset = start - piece.start
                    piece.states[state][offset : offset + values.stop - values.start].copy_(values.read())
            if optimizer == "reset":
                for piece in pieces:
                    for state in MOMENTS:
                        piece.states[state].zero_()
            _set_adam_step(engine, source.adam_step if optimizer == "carry" else 0.0)
    _refresh_weights(engine)


# Reading


@dataclass(frozen=True)
class _Values:
    """Elements [start, stop) of one stored tensor, read when asked."""

    file: Any
    key: str
    start: int
    stop: int

    def read(self) -> Tensor:
        return self.file.get_slice(self.key)[self.start : self.stop]


class _Source:
    """All fragment files of a directory, open, with an index of what they hold."""

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
        for held in self._index.values():
            held.sort(key=lambda entry: entry[:2])

    def _files(self) -> list[Path]:
        paths = sorted(self.directory.glob("fragments-*.safetensors"))
        count = len(paths)
        if not paths or [path.name for path in paths] != [file_name(index, count) for index in range(count)]:
            names = ", ".join(path.name for path in paths[:8]) or "no fragments"
            raise CheckpointError(
                f"{self.directory} holds {names}: not one whole set of files; use an older checkpoint"
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
            held = self._index.setdefault((state, name), [])
            held.append((int(start), int(start) + stored.get_shape()[0], file, key))

    def check_model(self, shapes: Mapping[str, list[int]]) -> None:
        """CheckpointError if names or shapes are another model's."""
        way_out = "it is a checkpoint of another model: give the `model` section that it was trained with"
        for name in (*shapes, *self.shapes):
            here, there = shapes.get(name), self.shapes.get(name)
            if here != there:
                raise CheckpointError(
                    f"{self.directory}: parameter {name} is {there or 'absent'} there and {here or 'absent'} in the "
                    f"model; {way_out}"
                )

    def ranges(self, state: str, piece: FlatPiece) -> Iterator[tuple[int, _Values]]:
        """(offset into the parameter, values) that together cover the piece. CheckpointError for a gap."""
        position = piece.start
        for start, stop, file, key in self._index.get((state, piece.name), []):
            if start <= position < min(stop, piece.stop):
                until = min(stop, piece.stop)
                yield position, _Values(file, key, position - start, until - start)
                position = until
        if position < piece.stop:
            raise CheckpointError(
                f"{self.directory}: parameter {piece.name} lacks elements {position} to {piece.stop} of {state}; "
                "the checkpoint is not whole, use an older one"
            )


class StateReader:
    """The state of a checkpoint, one tensor at a time, without an engine."""

    def __init__(self, source: _Source) -> None:
        self._source = source

    @property
    def shapes(self) -> Mapping[str, Sequence[int]]:
        """Every parameter's, by name, in the model's order."""
        return self._source.shapes

    @property
    def adam_step(self) -> float:
        return self._source.adam_step

    def read(self, name: str, state: str = WEIGHTS) -> Tensor:
        """A whole parameter, or one of its MOMENTS. CheckpointError for a gap."""
        whole = torch.empty(tuple(self.shapes[name]), dtype=torch.float32)
        piece = FlatPiece(name, 0, {WEIGHTS: whole.view(-1)})
        for start, values in self._source.ranges(state, piece):
            piece.states[WEIGHTS][start : start + values.stop - values.start].copy_(values.read())
        return whole


@contextmanager
def open_state(directory: Path, shapes: Mapping[str, list[int]] | None = None) -> Iterator[StateReader]:
    """The state in fragments of any topology. CheckpointError if they are not of a model of these shapes."""
    with ExitStack() as stack:
        source = _Source(directory, stack)
        if shapes is not None:
            source.check_model(shapes)
        yield StateReader(source)


# Where DeepSpeed keeps its state


def _pieces(engine: Any) -> list[FlatPiece]:
    """What this rank holds, in the order of parameters, with Adam moments that exist even before the first step."""
    stage = engine.zero_optimization_stage()
    moments = {id(flat): _adam_state(engine, flat) for flat in _flats(engine)}
    if stage == 0:
        return [_piece(name, 0, p, moments[id(p)], 0, p.numel()) for name, p in engine.module.named_parameters()]
    find = _find_partitioned if stage == 3 else _find_replicated
    pieces = []
    for name, parameter in engine.module.named_parameters():
        found = find(engine.optimizer, parameter)
        if found is not None:
            start, flat, offset, numel = found
            pieces.append(_piece(name, start, flat, moments[id(flat)], offset, numel))
    return pieces


def _find_replicated(optimizer: Any, parameter: Any) -> tuple[int, Tensor, int, int] | None:
    """Stages 1 and 2: (start in the parameter, flat fp32 tensor, offset in it, numel) of this rank's share."""
    mapping = parameter._hp_mapping
    if mapping is None:
        return None
    here, there = mapping.lp_fragment_address, mapping.hp_fragment_address
    return here.start, optimizer.single_partition_of_fp32_groups[mapping.param_group_index], there.start, here.numel


def _find_partitioned(optimizer: Any, parameter: Any) -> tuple[int, Tensor, int, int] | None:
    """Stage 3: the same. Every parameter is cut into equal shares; the last ones may be short or empty."""
    group, offset, _ = optimizer.grad_position[optimizer.get_param_id(parameter)]
    share = math.ceil(parameter.ds_numel / world_size())
    start = rank() * share
    numel = min(share, parameter.ds_numel - start)
    return (start, optimizer.fp32_partitioned_groups_flat[group], offset, numel) if numel > 0 else None


def _piece(name: str, start: int, flat: Tensor, moments: Mapping[str, Tensor], offset: int, numel: int) -> FlatPiece:
    states = {WEIGHTS: flat.data, **{state: moments[state] for state in MOMENTS}}
    return FlatPiece(name, start, {state: tensor.view(-1).narrow(0, offset, numel) for state, tensor in states.items()})


def _flats(engine: Any) -> list[Tensor]:
    """The fp32 tensors that this rank's Adam steps."""
    stage = engine.zero_optimization_stage()
    if stage == 0:
        return list(engine.module.parameters())
    if stage == 3:
        return list(engine.optimizer.fp32_partitioned_groups_flat)
    return list(engine.optimizer.single_partition_of_fp32_groups)


def _adam_state(engine: Any, flat: Tensor) -> dict[str, Tensor]:
    """Adam's state of a flat tensor, made as AdamW would make it at its first step if there is none yet."""
    adam = engine.optimizer if engine.zero_optimization_stage() == 0 else engine.optimizer.optimizer
    state = adam.state[flat]
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=flat.device)
        for moment in MOMENTS:
            state[moment] = torch.zeros_like(flat.data)
    return state


def _adam_step(engine: Any) -> float:
    return float(_adam_state(engine, _flats(engine)[0])["step"])


def _set_adam_step(engine: Any, step: float) -> None:
    # A tensor of its own for every state: AdamW counts each one up in place.
    for flat in _flats(engine):
        state = _adam_state(engine, flat)
        state["step"] = torch.full_like(state["step"], step)


def _shapes(engine: Any) -> dict[str, list[int]]:
    return {name: list(getattr(p, "ds_shape", p.shape)) for name, p in engine.module.named_parameters()}


def _refresh_weights(engine: Any) -> None:
    """Make the weights that forward passes use from the fp32 ones. Collective."""
    stage, optimizer = engine.zero_optimization_stage(), engine.optimizer
    if stage in (1, 2):
        optimizer.update_lp_params()
    if stage == 3:
        # The prologue gives back gathered parameters, the epilogue gathers the small, persistent ones anew.
        optimizer.checkpoint_event_prologue()
        for index, flat in enumerate(optimizer.fp32_partitioned_groups_flat):
            low = optimizer.fp16_partitioned_groups_flat[index]
            low.data.copy_(flat.data)
            group = optimizer.fp16_partitioned_groups[index]
            for partition, view in zip(group, optimizer.unflatten(low, group), strict=True):
                partition.data = view.data
        optimizer.checkpoint_event_epilogue()
