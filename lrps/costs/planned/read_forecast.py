"""Bytes that process groups read from storage for data that is larger than the memory of a host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from lrps.config.models import Config
from lrps.data.manifest import ITEM_BYTES, Manifest
from lrps.paths.known_architectures import architecture_of
from lrps.plan.plan import Plan

_BLOCK_TOKENS = 2**20
"""Number of tokens of a block, unless a manifest says otherwise: that of lrps.data.build.writer."""


@dataclass(frozen=True)
class ReadForecast:
    """Reading of one source from storage in the order `full`, once, by the largest process group of the plan."""

    source: str
    """Name of the version or set."""
    data_bytes: int
    """Bytes of its rows."""
    host_bytes: int
    """Memory of a host, in which it keeps what it has read."""
    processes: int
    """Processes that have different rows."""
    hosts: int
    """Hosts of these processes."""
    block_bytes: int
    """Bytes of a block, which a process reads and checks as a whole before its first row."""
    factor: float
    """Bytes read from storage over `data_bytes`."""
    window_factor: float
    """The same with the order `window`, which reads the data a few shards at a time."""


def read_factors(
    data_bytes: float, block_bytes: float, row_bytes: float, processes: int, hosts: int, host_bytes: float
) -> tuple[float, float]:
    """Return how often data is read from storage in one epoch, in the orders `full` and `window`.

    With r = block_bytes / row_bytes rows in a block and P processes that have different rows, in random order, a
    process has at least one row of a block with probability 1 - (1 - 1 / P)^r. It reads the whole block then, to check
    it, and later the other rows of it one by one. So a block is read c = P (1 - (1 - 1 / P)^r) times, and 1 - c / r of
    all rows are read again: c + 1 - c / r times the data, about r where P is much larger than r.

    A host keeps the M bytes that its processes have read last. Where it keeps all, each of H hosts reads the blocks of
    which it has a row once: w = H (1 - (1 - 1 / H)^r) times the data. So does `window`, which needs a few shards at a
    time. In `full`, data of D > M bytes is found in memory with probability M / D, so that it is read
    w + (1 - M / D) (c + 1 - c / r - w) times.
    """
    rows = block_bytes / row_bytes
    checks, kept = (number * (1 - (1 - 1 / number) ** rows) for number in (processes, hosts))
    missed = max(0.0, 1 - host_bytes / data_bytes)
    return kept + missed * max(0.0, checks + 1 - checks / rows - kept), kept


def read_forecasts(plan: Plan, host_bytes: int | None = None) -> tuple[ReadForecast, ...]:
    """Return the sources that are read in the order `full` and are larger than the memory of a host.

    host_bytes: memory of a host; by default that of the config, else that of this machine.
    """
    config = plan.config
    if config.data.order != "full":
        return ()
    memory = host_bytes or _host_bytes(config)
    return tuple(each for each in _forecasts(plan, memory) if each.data_bytes > memory)


def _forecasts(plan: Plan, memory: int) -> Iterator[ReadForecast]:
    config = plan.config
    kinds = {path.kind for path in plan.graph.paths}
    processes, hosts = max(_group(config, kind) for kind in kinds)
    readers = max(1, processes // config.engine.sequence_parallel)
    of_sets = {source.name: [shards.name for shards in source.shard_sets] for source in config.data.sources}
    read = {name for path in plan.graph.paths for name in path.sources}
    for name, rows in plan.rows.items():
        if name not in read:
            continue
        manifests = [plan.manifests[shards] for shards in of_sets[name] if shards in plan.manifests]
        item = _item_bytes(config, manifests)
        row, block = config.data.sequence_length * item, _block_tokens(manifests) * item
        factors = read_factors(rows * row, block, row, readers, hosts, memory)
        yield ReadForecast(name, rows * row, memory, readers, hosts, block, *factors)


def _group(config: Config, kind: str) -> tuple[int, int]:
    """Return the processes and hosts of a kind of path; with a hostfile, as many processes as there are devices."""
    processes = config.launch.processes_of(kind)
    if processes is None:
        processes = config.hardware.devices if config.hardware else config.launch.processes
        return processes, -(-processes // config.launch.processes)
    return processes, config.launch.resources_of(kind).nodes or 1


def _item_bytes(config: Config, manifests: list[Manifest]) -> int:
    """Return the bytes of a token; before there are shards, by the vocabulary that the config gives."""
    if manifests:
        return max(ITEM_BYTES[manifest.dtype] for manifest in manifests)
    vocabulary = config.data.train_vocabulary or architecture_of(config.model).get("vocab_size")
    return 4 if isinstance(vocabulary, int) and vocabulary > 2**16 else 2


def _block_tokens(manifests: list[Manifest]) -> int:
    return max((max(manifest.blocks.tokens, default=1) for manifest in manifests), default=_BLOCK_TOKENS)


def _host_bytes(config: Config) -> int:
    """Return the memory of a host by the config, else that of this machine."""
    if config.hardware is not None and config.hardware.host_memory_gb is not None:
        return int(config.hardware.host_memory_gb * 1e9)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
