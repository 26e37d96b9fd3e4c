"""What jobs at work at the same time share: no two of them get the same device or port."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.launch.allocation import Allocator, DevicePool, _is_free
from lrps.launch.jobs import ProcessGroupJob, plan_jobs
from lrps.plan.plan import Plan, make_plan

MakeConfig = Callable[..., Config]
HOSTS = {"a": ("0", "1", "2", "3"), "b": ("0", "1")}


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a tool that lists four."""
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nfor i in 0 1 2 3; do echo GPU $i: H100; done\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def planned(config: Config) -> tuple[Plan, tuple[ProcessGroupJob, ...]]:
    plan = make_plan(config)
    return plan, plan_jobs(plan, ["main", "branch-v1", "ptfs-v1"], Path("c.yaml"), [])


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 4), st.booleans()), max_size=12))
def test_a_device_is_held_once(wanted: list[tuple[int, int, bool]]) -> None:
    pool, held = DevicePool(HOSTS), []
    for nodes, processes, give_back in wanted:
        if (taken := pool.take(nodes, processes)) is not None:
            assert len(taken) == nodes
            assert all(len(ids) == processes and {*ids} <= {*HOSTS[host]} for host, ids in taken.items())
            held.append(taken)
        if give_back and held:
            pool.give_back(held.pop(0))
        every = [(host, each) for devices in held for host, ids in devices.items() for each in ids]
        assert len({*every}) == len(every)
        assert pool.has_room(nodes, processes) or taken is None
    for devices in held:
        pool.give_back(devices)
    assert pool.take(2, 2) == {"a": ("0", "1"), "b": ("0", "1")}, "all is free again, in order"


@pytest.mark.usefixtures("gpus")
def test_jobs_share_out_the_gpus(make_config: MakeConfig) -> None:
    launch = {"at_once": 3, "processes": 2, "resources": {"branch": {"processes": 1}}}
    plan, (main, branch, ptfs) = planned(make_config(launch=launch))
    room = Allocator(plan, (main, branch, ptfs), {})
    first, second = room.take(main), room.take(branch)
    assert first is not None
    assert second is not None
    assert (first.devices, second.devices) == ({"localhost": ("0", "1")}, {"localhost": ("2",)})
    assert room.take(ptfs) is None, "one is free, it needs two"
    room.give_back(first)
    third = room.take(ptfs)
    assert third is not None
    assert third.devices == {"localhost": ("0", "1")}
    assert third.on_gpus
    assert "OMP_NUM_THREADS" not in room.environment()


@pytest.mark.usefixtures("gpus")
def test_a_job_that_never_fits_is_refused(make_config: MakeConfig) -> None:
    plan, jobs = planned(make_config(batch={"sequences": 8}, launch={"processes": 8}))
    with pytest.raises(ConfigError, match="main needs 8 devices on each of 1 hosts, and there are 4 on localhost"):
        Allocator(plan, jobs, {})
    with pytest.raises(ConfigError, match="there are 2 on localhost"):
        Allocator(plan, jobs, {"CUDA_VISIBLE_DEVICES": "4,5"})


def test_a_host_with_too_few_slots_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("a slots=2\nb slots=1\n")
    launch = {"launcher": "deepspeed", "hostfile": str(tmp_path / "hosts"), "processes": 2}
    plan, jobs = planned(make_config(batch={"sequences": 8}, launch=launch))
    with pytest.raises(ConfigError, match="needs 2 devices on each of 2 hosts, and there are 2 on a, 1 on b; lower"):
        Allocator(plan, jobs, {})


def test_processes_on_the_cpu_share_it(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setenv("PATH", "")
    plan, jobs = planned(make_config(launch={"at_once": 2, "processes": 2}))
    room = Allocator(plan, jobs, {})
    assert room.environment() == {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "4", "TOKENIZERS_PARALLELISM": "false"}
    places = [room.take(job) for job in jobs[:2]]
    assert all(place is not None and not place.on_gpus and len(place.devices["localhost"]) == 2 for place in places)
    chosen = Allocator(plan, jobs, {"OMP_NUM_THREADS": "7", "DS_ACCELERATOR": "xpu"})
    assert chosen.environment() == {"TOKENIZERS_PARALLELISM": "false"}, "what the user has set stands"
    alone, (one,) = planned(make_config(launch={"processes": 2}))
    assert Allocator(alone, (one,), {}).environment()["OMP_NUM_THREADS"] == "8"


def test_groups_meet_at_ports_of_their_own(make_config: MakeConfig) -> None:
    plan, jobs = planned(make_config(launch={"at_once": 3, "master_port": 4000}))
    room = Allocator(plan, jobs, {})
    places = [room.take(job) for job in jobs]
    assert [place.port for place in places if place] == [4000, 4001, 4002]
    assert places[1] is not None
    room.give_back(places[1])
    again = room.take(jobs[1])
    assert again is not None
    assert again.port == 4001
    free, jobs = planned(make_config(launch={"at_once": 3}))
    room = Allocator(free, jobs, {})
    ports = {place.port for job in jobs if (place := room.take(job))}
    assert len(ports) == 3
    assert all(10_000 <= port < 30_000 for port in ports), "below those that systems hand out"
    with socket.socket() as holder:
        holder.bind(("", 0))
        assert not _is_free(holder.getsockname()[1])


def test_hosts_get_what_the_user_wrote_down_for_them(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "hosts").write_text("a slots=2\nb slots=2\n")
    (tmp_path / "home" / ".deepspeed_env").write_text("NCCL_SOCKET_IFNAME=eth1\nOMP_NUM_THREADS=3\n\n")
    (tmp_path / ".deepspeed_env").write_text("OMP_NUM_THREADS=5\n")
    (tmp_path / "other").write_text("A=b=c\n")
    launch = {"launcher": "deepspeed", "hostfile": "hosts", "processes": 1}
    plan, jobs = planned(make_config(launch=launch))
    mine = {"OMP_NUM_THREADS": "2", "DS_ACCELERATOR": "cpu", "SECRET": "s"}
    room = Allocator(plan, jobs, mine)
    place = room.take(jobs[0])
    assert place is not None
    assert (place.port, place.environment_file) == (29500, Path("runs/small/launch/main.env"))
    assert room.environment() == {
        "DS_ACCELERATOR": "cpu",
        "NCCL_SOCKET_IFNAME": "eth1",
        "OMP_NUM_THREADS": "5",
        "TOKENIZERS_PARALLELISM": "false",
    }
    named = Allocator(plan, jobs, {"DS_ENV_FILE": "other"})
    assert named.environment() == {"A": "b=c", "TOKENIZERS_PARALLELISM": "false"}
