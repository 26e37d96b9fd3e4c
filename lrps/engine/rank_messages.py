"""JSON values that ranks send each other, as tensors of bytes: torch's own functions for objects send pickles.

A pickle runs code of whoever reaches the socket. Every function is collective. Must not import deepspeed.
"""

from __future__ import annotations

import json
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lrps.base.foreign_json import parse_json

LARGEST_BYTES = 2**30
"""Largest size of a message."""


def gather_json(value: Any) -> list[Any]:
    """Return the JSON values of all ranks, in the order of ranks. Raises JsonError, with the rank, for other bytes."""
    device, content = _device(), _bytes(value)
    own = torch.tensor([len(content)], device=device)
    sizes = [torch.zeros_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, own)
    counts = [_checked(int(size), rank) for rank, size in enumerate(sizes)]
    sent = torch.zeros(max(counts), dtype=torch.uint8, device=device)
    sent[: len(content)] = _tensor(content).to(device)
    received = [torch.zeros_like(sent) for _ in counts]
    dist.all_gather(received, sent)
    return [_value(tensor[:count], rank) for rank, (tensor, count) in enumerate(zip(received, counts, strict=True))]


def broadcast_json(value: Any) -> Any:
    """Return the JSON value of rank 0. value: not used on other ranks. Raises JsonError for other bytes."""
    device, content = _device(), _bytes(value) if dist.get_rank() == 0 else b""
    size = torch.tensor([len(content)], device=device)
    dist.broadcast(size, src=0)
    sent = torch.zeros(_checked(int(size), 0), dtype=torch.uint8, device=device)
    if content:
        sent.copy_(_tensor(content))
    dist.broadcast(sent, src=0)
    return _value(sent, 0)


def _device() -> torch.device:
    """Return the device whose tensors the backend sends."""
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _bytes(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _tensor(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _checked(size: int, rank: int) -> int:
    if not 0 < size <= LARGEST_BYTES:
        raise ValueError(f"rank {rank} announced a message of {size:,} bytes")
    return size


def _value(content: Tensor, rank: int) -> Any:
    where = f"what rank {rank} has sent"
    return parse_json(content.cpu().numpy().tobytes(), where, expected=object, largest=LARGEST_BYTES, file_names=True)
