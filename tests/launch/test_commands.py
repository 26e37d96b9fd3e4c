"""The exact commands, and that every word of them arrives."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.base.errors import ConfigError
from lrps.config.launching import LaunchConfig, Resources
from lrps.launch.commands import Allocation, Start, as_sent_by_pdsh, start
from lrps.launch.jobs import ProcessGroupJob
from lrps.launch.supervise import GROUP

ARGUMENTS = ("train", "c.yaml", "--set", "seed=3", "main", "branch-v1")
TAIL = "lrps.cli train c.yaml --set seed=3 main branch-v1"
JOB = ProcessGroupJob(("main", "branch-v1"), ARGUMENTS, Resources(nodes=1, processes=2))
DEEPSPEED = str(Path(sys.executable).with_name("deepspeed"))
TWO = {"localhost": ("0", "1")}


def test_on_the_cpu_deepspeed_is_told_how_many() -> None:
    found = start(JOB, LaunchConfig(), Allocation(TWO, 4321, on_gpus=False), {"OMP_NUM_THREADS": "1"})
    assert str(found) == (
        f"OMP_NUM_THREADS=1 {DEEPSPEED} -q --num_gpus 2 --master_port 4321 --no_local_rank --module {TAIL}"
    )
    assert (found.files, found.signal_command) == ({}, None)


def test_on_gpus_deepspeed_is_told_which() -> None:
    found = start(JOB, LaunchConfig(), Allocation({"localhost": ("2", "5")}, 4321), {})
    assert str(found) == (f"CUDA_VISIBLE_DEVICES=2,5 {DEEPSPEED} -q --master_port 4321 --no_local_rank --module {TAIL}")
    with pytest.raises(ConfigError, match="names GPU-1, GPU-2, and deepspeed takes numbers only"):
        start(JOB, LaunchConfig(), Allocation({"localhost": ("GPU-1", "GPU-2")}, 4321), {})


def test_torchrun_takes_a_free_port_or_the_given_one() -> None:
    launch, place = LaunchConfig(launcher="torchrun"), Allocation({"localhost": ("GPU-1", "GPU-2")}, 4321)
    torchrun = f"CUDA_VISIBLE_DEVICES=GPU-1,GPU-2 {sys.executable} -m torch.distributed.run"
    assert str(start(JOB, launch, place, {})) == f"{torchrun} --standalone --nproc_per_node 2 -m {TAIL}"
    meet = "--master_addr 127.0.0.1 --master_port 4321"
    given_port = launch.model_copy(update={"master_port": 4321})
    assert str(start(JOB, given_port, place, {})) == f"{torchrun} {meet} --nproc_per_node 2 -m {TAIL}"
    assert "CUDA" not in str(start(JOB, launch, Allocation(TWO, 4321, on_gpus=False), {}))


def test_hosts_are_named_with_their_devices(tmp_path: Path) -> None:
    launch = LaunchConfig(launcher="deepspeed", hostfile=Path("hosts"), master_addr="10.0.0.1")
    devices = {"a": ("0", "1"), "b": ("2", "3")}
    place = Allocation(devices, 29501, environment_file=tmp_path / "main.env")
    found = start(JOB, launch, place, {"B": "2", "A": "1", GROUP: "g"})
    where = "--hostfile hosts --include a:0,1@b:2,3 --force_multi --master_addr 10.0.0.1 --master_port 29501"
    assert " ".join(found.command) == f"{DEEPSPEED} -q {where} --no_local_rank --module {TAIL}"
    assert found.environment["DS_ENV_FILE"] == str(tmp_path / "main.env")
    assert found.files == {tmp_path / "main.env": f"A=1\nB=2\n{GROUP}=g\n"}
    signalling = found.signalling("KILL")
    assert signalling[:8] == ("pdsh", "-R", "ssh", "-S", "-f", "1024", "-w", "a,b")
    assert signalling[-1].endswith("| xargs -r -n 1 pkill -KILL -P")


def test_slurm_is_not_started_here() -> None:
    with pytest.raises(ConfigError, match="launcher slurm starts nothing on this machine"):
        start(JOB, LaunchConfig(launcher="slurm"), Allocation(TWO, 1), {})


def test_deepspeed_and_torchrun_take_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their own parsers read the commands; torch's would take an abbreviation of its options for itself."""
    from deepspeed.launcher.runner import parse_args
    from torch.distributed.run import get_args_parser

    launch = LaunchConfig(launcher="deepspeed", hostfile=Path("hosts"), master_addr="10.0.0.1")
    place = Allocation({"a": ("0",)}, 29501, environment_file=Path("main.env"))
    read: argparse.Namespace = parse_args(list(start(JOB, launch, place, {}).command[1:]))
    assert (read.include, read.force_multi, read.master_port, read.module) == ("a:0", True, 29501, True)
    assert (read.user_script, *read.user_args) == ("lrps.cli", *ARGUMENTS)
    torch = get_args_parser().parse_args(
        start(JOB, LaunchConfig(launcher="torchrun"), Allocation(TWO, 1), {}).command[3:]
    )
    assert (torch.nproc_per_node, torch.standalone, torch.module) == ("2", True, True)
    assert (torch.training_script, *torch.training_script_args) == ("lrps.cli", *ARGUMENTS)


def test_it_is_a_shell_script(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import os, sys; print(os.environ['A'], sys.argv[1:])", "x y", "$HOME", "{a,b}")
    told = str(Start(command, {"A": "two words"}, {tmp_path / "new folder" / "a file": "K=$V\n"}))
    done = subprocess.run(["sh", "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout == "two words ['x y', '$HOME', '{a,b}']\n"
    assert (tmp_path / "new folder" / "a file").read_text() == "K=$V\n"


WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=5))
@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_every_argument_reaches_another_host_unchanged(shell: str, words: list[str]) -> None:
    from deepspeed.launcher.multinode_runner import PDSHRunner

    sent = argparse.Namespace(user_args=[as_sent_by_pdsh(word) for word in words], user_script="")
    there = " ".join(PDSHRunner(sent, "").user_arguments).replace("%%", "%")
    done = subprocess.run([shell, "-c", f"printf '%s\\n' {there}"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == words


def test_the_workers_of_one_group_are_signalled_and_nobody_else(tmp_path: Path) -> None:
    """The command as a host runs it, against processes that look like deepspeed's launcher and its workers.

    Two runs on the same hosts take the same port; one of them fails for it, and must not take the other one along.
    """
    package = tmp_path / "deepspeed" / "launcher"
    package.mkdir(parents=True)
    launcher = (
        "import subprocess, sys\n"
        "worker = [sys.executable, '-c', 'import sys; sys.stdin.read()']\n"
        "workers = [subprocess.Popen(worker, stdin=0) for _ in range(2)]\n"
        "sys.exit(-sum(worker.wait() for worker in workers))"
    )
    (package / "launch.py").write_text(launcher)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()

    def launched(group: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), GROUP: group}
        words = ("--world_info=e30=", "--node_rank=0", "--master_port=29500", "--module", "lrps.cli", "train")
        command = [sys.executable, "-u", "-m", "deepspeed.launcher.launch", *words]
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, cwd=tmp_path)

    launch = LaunchConfig(launcher="deepspeed", hostfile=Path("hosts"))
    found = start(JOB, launch, Allocation({"a": ("0",)}, 29500, environment_file=tmp_path / "e"), {GROUP: "our-1"})
    with launched("our-1") as ours, launched("our-11") as theirs:
        for process in (ours, theirs):
            while len(psutil.Process(process.pid).children()) < 2:
                assert process.poll() is None
        subprocess.run(["sh", "-c", found.signalling("TERM")[-1]], check=True)
        assert ours.wait() == 2 * 15
        assert theirs.poll() is None
        theirs.communicate()
        assert theirs.returncode == 0
