"""Values of checkpoints as they were written in the first format: a file for each rank, a tensor for each piece."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lrps.engine.state_files.reading import OpenFiles, SavedState, read_values
from lrps.engine.state_files.writing import DTYPES
from lrps.store.checkpoints import Checkpoint
from lrps.store.fragments.index import INDEX, FragmentIndex
from lrps.store.fragments.opening import index_of
from support.first_format import with_first_manifest

Fragments = Mapping[tuple[str, str, int], Tensor]
"""State, name of a parameter and start -> 1-D values."""


def write_first_fragments(
    directory: Path, ranks: list[Fragments], shapes: Mapping[str, list[int]], adam_step: float
) -> None:
    """Write the fragments of every rank into a file of its own."""
    facts = {"format": "lrps-fragments/1", "adam_step": adam_step, "shapes": shapes}
    for rank, fragments in enumerate(ranks):
        tensors = {f"{state}|{name}|{start}": values for (state, name, start), values in fragments.items()}
        file = directory / f"fragments-{rank:05d}-of-{len(ranks):05d}.safetensors"
        save_file(tensors, file, {"lrps": json.dumps(facts)})


def in_first_format(checkpoint: Checkpoint) -> Checkpoint:
    """Rewrite a checkpoint in the first format, with the pieces that each rank has written."""
    index = index_of(checkpoint)
    assert isinstance(index, FragmentIndex)
    saved, ranks = SavedState(checkpoint.directory, index), list[Fragments]()
    for segment in range(sum(index.files)):
        found = {
            (state, index.names[number], start): torch.empty(stop - start, dtype=DTYPES[stored.dtype])
            for state, stored in index.states.items()
            for number, start, stop in index.pieces(state, segment)
        }
        with OpenFiles(checkpoint.directory) as files:
            read_values(files, [copy for key, values in found.items() for copy in saved.copies(*key, values)])
        ranks.append(found)
    for path in (*checkpoint.directory.glob("*.safetensors"), checkpoint.directory / INDEX):
        path.unlink()
    write_first_fragments(checkpoint.directory, ranks, index.shapes, index.steps["adam_step"])
    return with_first_manifest(checkpoint)
