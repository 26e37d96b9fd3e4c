"""`lrps doctor --nodes`: what ranks on every node say about each other, judged. Starts nothing (doctor/rollcall.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lrps.doctor.communication import judged
from lrps.doctor.finding import Finding
from lrps.doctor.worker import Rank

AREA = "nodes"
CLOCK_SECONDS = 1.0
"""Clocks further apart than this make times in ledgers and logs of several hosts hard to compare."""


@dataclass(frozen=True)
class Nodes:
    """What was found; no ranks and no exchange where they did not get so far."""

    findings: tuple[Finding, ...]
    ranks: tuple[Rank, ...] = ()
    exchange: dict[str, Any] = field(default_factory=dict)
    """The values of exchange.as_json."""


def nodes_findings(ranks: Sequence[Rank], exchange: dict[str, Any], expected: int) -> Nodes:
    """expected: how many ranks the config starts."""
    findings = (_number(ranks, expected), *_versions(ranks), _clocks(ranks), _run(ranks), *_devices(ranks))
    return Nodes((*findings, judged(exchange, AREA, f"{len(ranks)} ranks")), tuple(ranks), exchange)


def by_host(ranks: Sequence[Rank]) -> dict[str, list[Rank]]:
    """host -> its ranks, in the order of the first rank of each."""
    hosts: dict[str, list[Rank]] = {}
    for rank in ranks:
        hosts.setdefault(rank.host, []).append(rank)
    return hosts


def nodes_document(nodes: Nodes) -> dict[str, Any]:
    """As JSON values; the findings stand elsewhere."""
    return {"ranks": [asdict(rank) for rank in nodes.ranks], "all_reduce": nodes.exchange or None}


def _number(ranks: Sequence[Rank], expected: int) -> Finding:
    hosts = by_host(ranks)
    what = f"{len(ranks)} on {len(hosts)} hosts"
    if len(ranks) == expected:
        return Finding(AREA, "ranks", "ok", what)
    way_out = "compare launch.processes and launch.resources with the hostfile, and WORLD_SIZE with the launcher"
    return Finding(AREA, "ranks", "fail", f"{what}, the config starts {expected}", way_out)


def _versions(ranks: Sequence[Rank]) -> Iterator[Finding]:
    names = dict.fromkeys(name for rank in ranks for name in rank.versions)
    for name in names:
        found: dict[str | None, str] = {}
        for rank in ranks:
            found.setdefault(rank.versions.get(name), rank.host)
        if len(found) > 1:
            what = ", ".join(f"{version or 'none'} on {host}" for version, host in found.items())
            way_out = "give all hosts the same environment: one on a shared file system, or one image"
            yield Finding(AREA, f"{name} version", "fail", what, way_out)
    if all(rank.versions == ranks[0].versions for rank in ranks):
        what = ", ".join(f"{name} {version}" for name, version in ranks[0].versions.items())
        yield Finding(AREA, "versions", "ok", f"equal on all: {what}")


def _clocks(ranks: Sequence[Rank]) -> Finding:
    apart = max(rank.clock_seconds for rank in ranks) - min(rank.clock_seconds for rank in ranks)
    what = f"at most {apart * 1000:.1f} ms apart"
    if apart <= CLOCK_SECONDS:
        return Finding(AREA, "clocks", "ok", what)
    worst = max(ranks, key=lambda rank: abs(rank.clock_seconds))
    what += f", {worst.host} most"
    return Finding(AREA, "clocks", "warn", what, "run a time service (chrony) on every host")


def _run(ranks: Sequence[Rank]) -> Finding:
    blind = [host for host, here in by_host(ranks).items() if not all(rank.sees_the_run for rank in here)]
    if not blind:
        return Finding(AREA, "run directory", "ok", "what rank 0 writes is seen by all, and the other way round")
    way_out = "put `runs` on a file system that all hosts mount, under the same path"
    return Finding(AREA, "run directory", "fail", f"not shared with {', '.join(blind)}", way_out)


def _devices(ranks: Sequence[Rank]) -> Iterator[Finding]:
    kinds = sorted({rank.device for rank in ranks})
    if len(kinds) > 1:
        way_out = "leave the other hosts out of the hostfile or the partition: the slowest device sets the pace"
        yield Finding(AREA, "devices", "warn", f"not all of one kind: {', '.join(kinds)}", way_out)
    else:
        yield Finding(AREA, "devices", "ok", kinds[0])
    gpus = [(rank.host, rank.device_id) for rank in ranks if rank.device_id != "cpu"]
    if doubled := {host for host, gpu in gpus if gpus.count((host, gpu)) > 1}:
        what = f"two ranks have the same GPU on {', '.join(sorted(doubled))}"
        way_out = "lower launch.processes to the GPUs of a host, and leave CUDA_VISIBLE_DEVICES to the launcher"
        yield Finding(AREA, "GPU of a rank", "fail", what, way_out)
