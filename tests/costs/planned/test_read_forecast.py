"""How often data is read from storage: the formula beside real draws, and the plans that warn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrps.config.models import Config
from lrps.costs.planned.read_forecast import read_factors, read_forecasts
from lrps.plan.plan import Plan, make_plan
from lrps.report.plan_text import reading_line

MB = 2**20


@pytest.mark.parametrize(
    ("terabytes", "row_bytes", "processes", "hosts", "host_terabytes", "full", "window"),
    [
        (2, 4096, 512, 64, 0.0, 324, 64),  # 1T tokens in rows of 2,048: 650 TB.
        (2, 4096, 512, 64, 0.25, 291, 64),
        (2, 4096, 512, 64, 1.999, 64, 64),
        (2, 4096, 512, 64, 4.0, 64, 64),
        (2, 8192, 512, 64, 0.0, 202, 63),
        (2, 2 * MB, 512, 64, 0.0, 1, 1),  # A row is a block.
        (2, 4096, 1, 1, 0.0, 2, 1),  # Checked once, and read a second time.
        (2, 4096, 10**6, 10**6, 0.0, 512, 512),  # Every row costs a block.
    ],
)
def test_the_factors(
    terabytes: float,
    row_bytes: int,
    processes: int,
    hosts: int,
    host_terabytes: float,
    full: float,
    window: float,
) -> None:
    found = read_factors(terabytes * 1e12, 2 * MB, row_bytes, processes, hosts, host_terabytes * 1e12)
    assert found == (pytest.approx(full, rel=5e-3), pytest.approx(window, rel=5e-3))


@pytest.mark.parametrize(("processes", "rows_of_block"), [(1, 8), (4, 8), (16, 16), (64, 8)])
def test_without_memory_they_are_those_of_rows_dealt_at_random(processes: int, rows_of_block: int) -> None:
    blocks = 2000
    dealt = np.random.default_rng(0).permutation(blocks * rows_of_block).reshape(processes, -1)
    checked = sum(len(np.unique(rows // rows_of_block)) for rows in dealt)
    single = blocks * rows_of_block - checked
    read = checked * rows_of_block + single  # In rows; each block is read whole, and its other rows one by one.
    found, _ = read_factors(1e9 * rows_of_block, rows_of_block, 1, processes, 1, 0)
    assert found == pytest.approx(read / (blocks * rows_of_block), rel=0.02)


@pytest.fixture
def plan(make_config: Callable[..., Config], tmp_path: Path) -> Callable[..., Plan]:
    """A function that makes a plan of one version of 1T tokens on 512 processes of 64 hosts, or with changes."""

    def made(*, data: dict[str, Any] | None = None, host_memory_gb: float | None = 256, **changes: Any) -> Plan:
        versions = [{"name": "v1", "tokens": "1T"}]
        values = {
            "runs": str(tmp_path),
            "data": {"root": "nowhere", "sequence_length": 2048, "versions": versions, **(data or {})},
            "model": {"architecture": {"model_type": "unheard-of", "vocab_size": 32000}},
            "batch": {"sequences": 4096},
            "hardware": {"device": "H100", "devices": 512, "host_memory_gb": host_memory_gb},
            "launch": {"launcher": "slurm", "processes": 8, "resources": {"main": {"nodes": 64}}},
            "paradigms": {"path-switching": {}},
        }
        return make_plan(make_config(**{**values, **changes}))

    return made


def test_a_trillion_tokens_on_512_processes(plan: Callable[..., Plan]) -> None:
    (found,) = read_forecasts(plan())
    assert (found.source, found.processes, found.hosts, found.block_bytes) == ("v1", 512, 64, 2 * MB)
    assert found.data_bytes == pytest.approx(2e12, rel=1e-6)
    assert found.factor == pytest.approx(291, rel=5e-3)
    said = reading_line(found)
    assert "v1: its 2 TB are more than the memory of a host, 256 GB" in said
    assert "582 TB" in said
    assert "291 times" in said
    assert "data.order: window reads the data 64 times" in said


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({}, ["v1"]),
        ({"host_memory_gb": 1999}, ["v1"]),
        ({"host_memory_gb": 2001}, []),
        ({"data": {"order": "window"}}, []),
        ({"data": {"versions": [{"name": "v1", "tokens": "100B"}]}}, []),
        ({"data": {"versions": [{"name": "v1", "tokens": "100B"}, {"name": "v2", "tokens": "1T"}]}}, ["v2"]),
        # Tokens of a larger vocabulary take four bytes.
        ({"host_memory_gb": 3000, "model": {"architecture": {"model_type": "x", "vocab_size": 130_000}}}, ["v1"]),
        ({"host_memory_gb": 5000, "model": {"architecture": {"model_type": "x", "vocab_size": 130_000}}}, []),
    ],
)
def test_plans_warn_only_where_the_data_does_not_fit(
    plan: Callable[..., Plan], changes: dict[str, Any], warned: list[str]
) -> None:
    assert [each.source for each in read_forecasts(plan(**changes))] == warned


def test_processes_that_share_sequences_count_once(plan: Callable[..., Plan]) -> None:
    (found,) = read_forecasts(plan(engine={"sequence_parallel": 8}))
    assert found.processes == 64


def test_built_shards_say_how_large_they_are(tiny_config: Path) -> None:
    from lrps.config.loader import load_config

    made = make_plan(load_config(tiny_config))
    assert read_forecasts(made) == ()
    found = read_forecasts(made, host_bytes=100)
    assert {each.source for each in found} == {"v1", "v2"}
    manifest = made.manifests["v1"]
    assert found[0].block_bytes == 2 * max(manifest.blocks.tokens)
    assert found[0].data_bytes == 2 * 16 * made.rows["v1"]
