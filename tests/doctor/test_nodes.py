"""The findings from the reports of all ranks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lrps.doctor.nodes import NodesReport, by_host, nodes_document, nodes_report
from lrps.doctor.worker import RankReport

VERSIONS = {"python": "3.11.7", "torch": "2.13.0"}
RANKS = tuple(
    RankReport(number, number % 2, f"node-{number // 2}", "H100", f"uuid-{number}", VERSIONS, 0.001 * number, True)
    for number in range(4)
)
ALL_REDUCE = {
    "right": True,
    "latency_seconds": 1e-5,
    "speeds": [{"bytes": 64_000_000, "seconds": 0.1, "bus_bytes_per_second": 9e8}],
}


def bad(*ranks: RankReport, expected: int = 4) -> dict[str, str]:
    return {f.name: f.what for f in nodes_report(ranks, ALL_REDUCE, expected).findings if f.state != "ok"}


def test_equal_nodes_are_sound() -> None:
    found = nodes_report(RANKS, ALL_REDUCE, 4)
    assert {finding.state for finding in found.findings} == {"ok"}
    assert {host: [rank.rank for rank in ranks] for host, ranks in by_host(RANKS).items()} == {
        "node-0": [0, 1],
        "node-1": [2, 3],
    }
    document = nodes_document(found)
    assert [rank["host"] for rank in document["ranks"]] == ["node-0", "node-0", "node-1", "node-1"]
    assert document["all_reduce"] == ALL_REDUCE
    assert nodes_document(NodesReport(())) == {"ranks": [], "all_reduce": None}


@pytest.mark.parametrize(
    ("changes", "name", "what"),
    [
        ({"versions": {**VERSIONS, "torch": "2.6.0"}}, "torch version", "2.13.0 on node-0, 2.6.0 on node-1"),
        ({"versions": {"python": "3.11.7"}}, "torch version", "none on node-1"),
        ({"clock_seconds": -30.0}, "clocks", "30001.0 ms apart, node-1 most".replace("30001.0", "30002.0")),
        ({"sees_the_run": False}, "run directory", "not shared with node-1"),
        ({"device": "A100"}, "devices", "A100, H100"),
        ({"device_id": "uuid-2"}, "GPU of a rank", "the same GPU on node-1"),
    ],
)
def test_one_rank_that_is_not_like_the_others(changes: dict[str, object], name: str, what: str) -> None:
    found = bad(*RANKS[:3], replace(RANKS[3], **changes))  # type: ignore[arg-type]
    assert list(found) == [name]
    assert what in found[name]


def test_two_hosts_may_have_a_gpu_of_the_same_number() -> None:
    ranks = [replace(rank, device_id=f"gpu-{rank.local_rank}") for rank in RANKS]
    assert bad(*ranks) == {}
    assert bad(*(replace(rank, device_id="cpu") for rank in RANKS)) == {}


def test_ranks_that_did_not_come() -> None:
    assert bad(*RANKS[:2])["ranks"] == "2 on 1 hosts, the config starts 4"
