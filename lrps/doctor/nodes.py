"""The findings of `lrps doctor --nodes` from the reports of all ranks. lrps.doctor.rollcall starts the ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lrps.doctor.communication import all_reduce_finding
from lrps.doctor.finding import Finding
from lrps.doctor.worker import RankReport

AREA = "nodes"
CLOCK_SECONDS = 1.0
"""Largest difference of clocks that does not make the times in ledgers and logs of several hosts hard to compare."""


@dataclass(frozen=True)
class NodesReport:
    """Findings about the nodes, with the reports of the ranks and the all-reduce; both empty if the ranks failed."""

    findings: tuple[Finding, ...]
    ranks: tuple[RankReport, ...] = ()
    all_reduce: dict[str, Any] = field(default_factory=dict)
    """Measurement of lrps.doctor.all_reduce as JSON values."""


def nodes_report(ranks: Sequence[RankReport], all_reduce: dict[str, Any], expected: int) -> NodesReport:
    """Return the findings about ranks. all_reduce: what they measured. expected: number of ranks in the config."""
    findings = (_number(ranks, expected), *_versions(ranks), _clocks(ranks), _run(ranks), *_devices(ranks))
    findings = (*findings, all_reduce_finding(all_reduce, AREA, f"{len(ranks)} ranks"))
    return NodesReport(findings, tuple(ranks), all_reduce)


def by_host(ranks: Sequence[RankReport]) -> dict[str, list[RankReport]]:
    """Return host -> its ranks; hosts are in the order of their first ranks."""
    hosts: dict[str, list[RankReport]] = {}
    for rank in ranks:
        hosts.setdefault(rank.host, []).append(rank)
    return hosts


def nodes_document(report: NodesReport) -> dict[str, Any]:
    """Return the ranks and the all-reduce as JSON values; `findings_document` returns the findings."""
    return {"ranks": [asdict(rank) for rank in report.ranks], "all_reduce": report.all_reduce or None}


def _number(ranks: Sequence[RankReport], expected: int) -> Finding:
    hosts = by_host(ranks)
    what = f"{len(ranks)} on {len(hosts)} hosts"
    if len(ranks) == expected:
        return Finding(AREA, "ranks", "ok", what)
    fix = "compare launch.processes and launch.resources with the hostfile, and WORLD_SIZE with the launcher"
    return Finding(AREA, "ranks", "fail", f"{what}, the config starts {expected}", fix)


def _versions(ranks: Sequence[RankReport]) -> Iterator[Finding]:
    names = dict.fromkeys(name for rank in ranks for name in rank.versions)
    for name in names:
        found: dict[str | None, str] = {}
        for rank in ranks:
            found.setdefault(rank.versions.get(name), rank.host)
        if len(found) > 1:
            what = ", ".join(f"{version or 'none'} on {host}" for version, host in found.items())
            fix = "give all hosts the same environment: one on a shared file system, or one image"
            yield Finding(AREA, f"{name} version", "fail", what, fix)
    if all(rank.versions == ranks[0].versions for rank in ranks):
        what = ", ".join(f"{name} {version}" for name, version in ranks[0].versions.items())
        yield Finding(AREA, "versions", "ok", f"equal on all: {what}")


def _clocks(ranks: Sequence[RankReport]) -> Finding:
    apart = max(rank.clock_seconds for rank in ranks) - min(rank.clock_seconds for rank in ranks)
    what = f"at most {apart * 1000:.1f} ms apart"
    if apart <= CLOCK_SECONDS:
        return Finding(AREA, "clocks", "ok", what)
    worst = max(ranks, key=lambda rank: abs(rank.clock_seconds))
    what += f", {worst.host} most"
    return Finding(AREA, "clocks", "warn", what, "run a time service (chrony) on every host")


def _run(ranks: Sequence[RankReport]) -> Finding:
    blind = [host for host, here in by_host(ranks).items() if not all(rank.sees_the_run for rank in here)]
    if not blind:
        return Finding(AREA, "run directory", "ok", "all ranks read what rank 0 writes, and rank 0 what they write")
    fix = "put `runs` on a file system that all hosts mount, under the same path"
    return Finding(AREA, "run directory", "fail", f"not shared with {', '.join(blind)}", fix)


def _devices(ranks: Sequence[RankReport]) -> Iterator[Finding]:
    kinds = sorted({rank.device for rank in ranks})
    if len(kinds) > 1:
        fix = "leave the other hosts out of the hostfile or the partition: the slowest device sets the pace"
        yield Finding(AREA, "devices", "warn", f"not all of one kind: {', '.join(kinds)}", fix)
    else:
        yield Finding(AREA, "devices", "ok", kinds[0])
    gpus = [(rank.host, rank.device_id) for rank in ranks if rank.device_id != "cpu"]
    if doubled := {host for host, gpu in gpus if gpus.count((host, gpu)) > 1}:
        what = f"two ranks have the same GPU on {', '.join(sorted(doubled))}"
        fix = "lower launch.processes to the GPUs of a host, and leave CUDA_VISIBLE_DEVICES to the launcher"
        yield Finding(AREA, "GPU of a rank", "fail", what, fix)
