"""Saved states written by one process, and read independently of the program: from safetensors and JSON alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from lrps.engine.fragments import Fragments
from lrps.engine.state_files.agreement import index_alone


def write_alone(fragments: Fragments, directory: Path) -> Path:
    """Write a whole state, and return its file with values."""
    index = index_alone(fragments)
    (directory / "index.json").write_text(index.text())
    return directory / fragments.write(directory, index, 0).file


def assembled(directory: Path) -> dict[str, Tensor]:
    """`state|name` -> its flat values, in a checkpoint of any format. A value that is missing or there twice fails."""
    stored = {
        key: values for file in sorted(directory.glob("*.safetensors")) for key, values in load_file(file).items()
    }
    pieces = list(_listed(directory, stored) if (directory / "index.json").exists() else _named(stored))
    sizes: dict[str, int] = {}
    for key, _, stop, _ in pieces:
        sizes[key] = max(sizes.get(key, 0), stop)
    found = {key: torch.full((size,), float("nan")) for key, size in sizes.items()}
    for key, start, stop, values in pieces:
        assert found[key][start:stop].isnan().all(), f"{key} is stored twice"
        found[key][start:stop] = values
    return found


def adam_step(directory: Path) -> float:
    """The number of steps that the optimizer had taken, in a checkpoint of the second format."""
    return json.loads((directory / "index.json").read_text())["steps"]["adam_step"]


def _named(stored: dict[str, Tensor]) -> Iterator[tuple[str, int, int, Tensor]]:
    """Yield (state|name, start, stop, values) of the first format, whose tensors are named so."""
    for key, values in stored.items():
        whole, _, start = key.rpartition("|")
        yield whole, int(start), int(start) + len(values), values


def _listed(directory: Path, stored: dict[str, Tensor]) -> Iterator[tuple[str, int, int, Tensor]]:
    """Yield the same of the second format, whose index says in which order a rank has its pieces."""
    index = json.loads((directory / "index.json").read_text())
    assert index["format"] == "lrps-fragments/2"
    for division in index["layout"]:
        pieces = division["pieces"] if "pieces" in division else list(_shares(index["parameters"], division))
        for state in division["states"]:
            taken: dict[int, int] = {}
            for parameter, start, stop, rank in pieces:
                begin = taken.get(rank, 0)
                taken[rank] = begin + stop - start
                values = stored[f"{state}|{rank}"][begin : taken[rank]]
                yield f"{state}|{index['parameters'][parameter][0]}", start, stop, values


def _shares(parameters: list[Any], division: dict[str, Any]) -> Iterator[tuple[int, int, int, int]]:
    for rank in range(division["of"]):
        for number in division.get("parameters", range(len(parameters))):
            size = prod(parameters[number][1])
            share = -(-size // division["of"])
            if rank * share < size:
                yield number, rank * share, min(size, (rank + 1) * share), rank
