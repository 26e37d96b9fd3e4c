"""What `srun` says becomes what torch asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import ConfigError
from lrps.launch.rendezvous import first_host, rendezvous

# As `srun env` of Slurm 22.05 shows them on the second of two nodes.
TASK = {
    "SLURM_JOB_ID": "1200",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NTASKS": "8",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "node[01-02]",
    "SLURM_JOB_NODELIST": "node[01-04]",
}


def test_a_task_of_srun_knows_its_rank_and_where_rank_0_is() -> None:
    port = str(10_000 + 1200 * 31 % 20_000)
    assert rendezvous(TASK) == {
        "RANK": "5",
        "WORLD_SIZE": "8",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "node01",
        "MASTER_PORT": port,
    }


def test_steps_of_a_job_meet_at_ports_of_their_own() -> None:
    ports = {rendezvous({**TASK, "SLURM_STEP_ID": str(step)})["MASTER_PORT"] for step in range(30)}
    assert len(ports) == 30
    assert rendezvous({**TASK, "SLURM_JOB_ID": "1201"})["MASTER_PORT"] not in ports


def test_tasks_of_one_node_meet_on_loopback() -> None:
    assert rendezvous({**TASK, "SLURM_STEP_NUM_NODES": "1"})["MASTER_ADDR"] == "127.0.0.1"


def test_what_the_user_sets_stands() -> None:
    chosen = {"MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "4711"}
    found = rendezvous({**TASK, **chosen, "SLURM_STEP_NODELIST": ""})
    assert not found.keys() & chosen
    assert found["RANK"] == "5"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {**TASK, "RANK": "0", "WORLD_SIZE": "1"},
        {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "node-1", "MASTER_PORT": "29500"},
        {key: value for key, value in TASK.items() if key != "SLURM_STEP_ID"},
    ],
    ids=["alone", "a launcher's worker inside a job", "a launcher's worker", "a batch script"],
)
def test_other_processes_are_left_alone(environment: dict[str, str]) -> None:
    assert rendezvous(environment) == {}


GROUP = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": ""}, "RANK='', no WORLD_SIZE"),
        ({**TASK, "RANK": ""}, "RANK='', no WORLD_SIZE"),
        ({"WORLD_SIZE": "4"}, "no RANK"),
        ({"RANK": "0"}, "no WORLD_SIZE"),
        ({**GROUP, "RANK": "-1"}, "RANK='-1'"),
        ({**GROUP, "RANK": "2"}, "RANK='2', WORLD_SIZE='2'"),
        ({**GROUP, "WORLD_SIZE": "two"}, "WORLD_SIZE='two'"),
        ({**GROUP, "LOCAL_RANK": ""}, "LOCAL_RANK=''"),
        ({**GROUP, "MASTER_PORT": ""}, "MASTER_PORT=''"),
        ({key: value for key, value in GROUP.items() if key != "MASTER_ADDR"}, "no MASTER_ADDR"),
    ],
)
def test_half_a_group_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=f"the environment has {message}: .*Unset RANK and WORLD_SIZE"):
        rendezvous(environment)


@pytest.mark.parametrize(("visible", "local"), [("0", "0"), ("0,1", "1"), ("", "0")])
def test_a_task_that_sees_one_device_uses_that(visible: str, local: str) -> None:
    assert rendezvous({**TASK, "CUDA_VISIBLE_DEVICES": visible})["LOCAL_RANK"] == local


def test_without_a_list_of_the_step_the_jobs_counts() -> None:
    without = {key: value for key, value in TASK.items() if key != "SLURM_STEP_NODELIST"}
    assert rendezvous(without)["MASTER_ADDR"] == "node01"


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("node01", "node01"),
        ("node[01-04,07]", "node01"),
        ("node[007,010-012]", "node007"),
        ("login,node[1-2]", "login"),
        ("gpu-a-[3-9]", "gpu-a-3"),
        ("rack[2-3]n[08-11]", "rack2n08"),
        ("n[1-2]-ib,n7", "n1-ib"),
        ("10.0.0.[4-5]", "10.0.0.4"),
        ("node.example.org,other", "node.example.org"),
    ],
)
def test_the_first_host_of_a_list(nodes: str, host: str) -> None:
    assert first_host(nodes) == host


@pytest.mark.parametrize("nodes", ["", ",", "[]", " "])
def test_a_list_without_a_host_is_refused(nodes: str) -> None:
    with pytest.raises(ConfigError, match="names no host; set MASTER_ADDR"):
        first_host(nodes)


@given(
    prefix=st.from_regex(r"[a-z][a-z0-9-]{0,6}", fullmatch=True),
    numbers=st.lists(st.integers(0, 999), min_size=1, max_size=4),
    more=st.booleans(),
)
def test_any_bracketed_list_begins_with_its_first_number(prefix: str, numbers: list[int], more: bool) -> None:
    ranges = ",".join(f"{n:03}-{n + 2:03}" if n % 2 else f"{n:03}" for n in numbers)
    assert first_host(f"{prefix}[{ranges}]" + (",zz[1-2]" if more else "")) == f"{prefix}{numbers[0]:03}"
