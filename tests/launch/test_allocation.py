"""No two jobs that run at the same time get the same device or port."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.launch.allocation import Allocator, DevicePool, _is_free
from lrps.launch.jobs import plan_jobs
from lrps.launch.launchers.registry import launcher_of
from lrps.launch.launchers.slurm import SlurmLauncher
from lrps.launch.process_group import ProcessGroupJob
from lrps.plan.plan import make_plan

MakeConfig = Callable[..., Config]
HOSTS = {"a": ("0", "1", "2", "3"), "b": ("0", "1")}


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose nvidia-smi lists four GPUs."""
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nfor i in 0 1 2 3; do echo GPU $i: H100; done\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def jobs_of(config: Config) -> tuple[ProcessGroupJob, ...]:
    return plan_jobs(make_plan(config), ["main", "branch-v1", "ptfs-v1"], Path("c.yaml"), [])


def allocator(config: Config, environment: Mapping[str, str]) -> Allocator:
    launcher = launcher_of(config.launch)
    assert not isinstance(launcher, SlurmLauncher)
    return Allocator(launcher, jobs_of(config), environment, Path("files"))


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 4), st.booleans()), max_size=12))
def test_a_device_is_allocated_once(wanted: list[tuple[int, int, bool]]) -> None:
    pool, allocated = DevicePool(HOSTS), []
    for nodes, processes, release in wanted:
        if (devices := pool.allocate(nodes, processes)) is not None:
            assert len(devices) == nodes
            assert all(len(ids) == processes and {*ids} <= {*HOSTS[host]} for host, ids in devices.items())
            allocated.append(devices)
        if release and allocated:
            pool.release(allocated.pop(0))
        every = [(host, each) for group in allocated for host, ids in group.items() for each in ids]
        assert len({*every}) == len(every)
        assert pool.fits(nodes, processes) or devices is None
    for group in allocated:
        pool.release(group)
    assert pool.allocate(2, 2) == {"a": ("0", "1"), "b": ("0", "1")}, "all is free again, in order"


@pytest.mark.usefixtures("gpus")
def test_jobs_share_out_the_gpus(make_config: MakeConfig) -> None:
    launch = {"at_once": 3, "processes": 2, "resources": {"branch": {"processes": 1}}}
    config = make_config(launch=launch)
    jobs, pool = {job.name: job for job in jobs_of(config)}, allocator(config, {})
    main, branch, ptfs = jobs["main"], jobs["branch-v1"], jobs["ptfs-v1"]
    first, second = pool.allocate(main), pool.allocate(branch)
    assert first is not None
    assert second is not None
    assert (first.devices, second.devices) == ({"localhost": ("0", "1")}, {"localhost": ("2",)})
    assert pool.allocate(ptfs) is None, "one is free, it needs two"
    pool.release(first)
    third = pool.allocate(ptfs)
    assert third is not None
    assert third.devices == {"localhost": ("0", "1")}
    assert third.on_gpus
    assert "OMP_NUM_THREADS" not in pool.worker_environment


@pytest.mark.usefixtures("gpus")
def test_a_job_that_never_fits_is_refused(make_config: MakeConfig) -> None:
    config = make_config(batch={"sequences": 8}, launch={"processes": 8})
    with pytest.raises(ConfigError, match="main needs 8 devices on each of 1 hosts, and there are 4 on localhost"):
        allocator(config, {})
    with pytest.raises(ConfigError, match="there are 2 on localhost"):
        allocator(config, {"CUDA_VISIBLE_DEVICES": "4,5"})


def test_a_host_with_too_few_slots_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("a slots=2\nb slots=1\n")
    launch = {"launcher": "deepspeed", "hostfile": str(tmp_path / "hosts"), "processes": 2}
    config = make_config(batch={"sequences": 8}, launch=launch)
    with pytest.raises(ConfigError, match="needs 2 devices on each of 2 hosts, and there are 2 on a, 1 on b; lower"):
        allocator(config, {})


def test_processes_on_the_cpu_share_it(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setenv("PATH", "")
    config = make_config(launch={"at_once": 2, "processes": 2})
    cpus = allocator(config, {})
    assert cpus.worker_environment == {
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "4",
        "TOKENIZERS_PARALLELISM": "false",
    }
    for job in jobs_of(config)[:2]:
        allocation = cpus.allocate(job)
        assert allocation is not None
        assert (allocation.on_gpus, len(allocation.devices["localhost"])) == (False, 2)
    chosen = allocator(config, {"OMP_NUM_THREADS": "7", "DS_ACCELERATOR": "xpu"})
    assert chosen.worker_environment == {"TOKENIZERS_PARALLELISM": "false"}, "the user's settings take precedence"
    alone = allocator(make_config(launch={"processes": 2}), {})
    assert alone.worker_environment["OMP_NUM_THREADS"] == "8"
    config = make_config(launch={"processes": 2, "threads": 3})
    assert allocator(config, {"OMP_NUM_THREADS": "7"}).worker_environment["OMP_NUM_THREADS"] == "3", "the config's are"


def test_groups_meet_at_ports_of_their_own(make_config: MakeConfig) -> None:
    config = make_config(launch={"at_once": 3, "master_port": 4000})
    jobs, given_port = jobs_of(config), allocator(config, {})
    allocations = [given_port.allocate(job) for job in jobs]
    assert [allocation.port for allocation in allocations if allocation] == [4000, 4001, 4002]
    assert allocations[1] is not None
    given_port.release(allocations[1])
    again = given_port.allocate(jobs[1])
    assert again is not None
    assert again.port == 4001
    free_port = allocator(make_config(launch={"at_once": 3}), {})
    ports = {allocation.port for job in jobs if (allocation := free_port.allocate(job))}
    assert len(ports) == 3
    assert all(10_000 <= port < 30_000 for port in ports), "below those of outgoing connections"
    with socket.socket() as holder:
        holder.bind(("", 0))
        assert not _is_free(holder.getsockname()[1])


def test_a_group_on_other_hosts_gets_a_port_and_a_file_for_its_environment(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    (tmp_path / "hosts").write_text("a slots=2\nb slots=2\n")
    config = make_config(launch={"launcher": "deepspeed", "hostfile": str(tmp_path / "hosts"), "processes": 1})
    allocation = allocator(config, {}).allocate(jobs_of(config)[0])
    assert allocation is not None
    assert (allocation.port, allocation.environment_file) == (29500, Path("files/main.env"))
    assert allocation.devices == {"a": ("0",), "b": ("0",)}
