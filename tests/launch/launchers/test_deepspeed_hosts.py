"""The command of deepspeed's launcher on several hosts, and the command that signals the workers there."""

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

from lrps.config.launching import LaunchConfig, Resources
from lrps.launch.launchers.deepspeed_hosts import DeepSpeedHostsLauncher, quoted_for_pdsh
from lrps.launch.process_group import GROUP, Allocation, ProcessGroupJob

ARGUMENTS = ("train", "c.yaml", "--set", "seed=3", "main", "branch-v1")
JOB = ProcessGroupJob(("main", "branch-v1"), ARGUMENTS, Resources(nodes=1, processes=2))
DEEPSPEED = str(Path(sys.executable).with_name("deepspeed"))
LAUNCHER = DeepSpeedHostsLauncher(LaunchConfig(launcher="deepspeed", hostfile=Path("hosts"), master_addr="10.0.0.1"))
WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12)


def test_hosts_are_named_with_their_devices(tmp_path: Path) -> None:
    file = tmp_path / "main.env"
    allocation = Allocation({"a": ("0", "1"), "b": ("2", "3")}, 29501, environment_file=file)
    found = LAUNCHER.command(JOB, allocation, {"B": "2", "A": "1", GROUP: "g"})
    where = "--hostfile hosts --include a:0,1@b:2,3 --force_multi --master_addr 10.0.0.1 --master_port 29501"
    tail = "--no_local_rank --module lrps.cli train c.yaml --set seed=3 main branch-v1"
    assert " ".join(found.command) == f"{DEEPSPEED} -q {where} {tail}"
    assert found.environment["DS_ENV_FILE"] == str(file)
    assert found.files == {file: f"A=1\nB=2\n{GROUP}=g\n"}
    signal_command = found.signal_command("KILL")
    assert signal_command is not None
    assert signal_command[:8] == ("pdsh", "-R", "ssh", "-S", "-f", "1024", "-w", "a,b")
    assert signal_command[-1].endswith("| xargs -r -n 1 pkill -KILL -P")


def test_deepspeed_itself_reads_the_options() -> None:
    from deepspeed.launcher.runner import parse_args

    command = LAUNCHER.command(JOB, Allocation({"a": ("0",)}, 29501, environment_file=Path("main.env")), {}).command
    read: argparse.Namespace = parse_args(list(command[1:]))
    assert (read.include, read.force_multi, read.master_port, read.module) == ("a:0", True, 29501, True)
    assert (read.user_script, *read.user_args) == ("lrps.cli", *ARGUMENTS)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=5))
@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_every_argument_reaches_another_host_unchanged(shell: str, words: list[str]) -> None:
    from deepspeed.launcher.multinode_runner import PDSHRunner

    sent = argparse.Namespace(user_args=[quoted_for_pdsh(word) for word in words], user_script="")
    there = " ".join(PDSHRunner(sent, "").user_arguments).replace("%%", "%")
    done = subprocess.run([shell, "-c", f"printf '%s\\n' {there}"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == words


def test_the_workers_of_one_group_are_signalled_and_no_others(tmp_path: Path) -> None:
    """The command as a host runs it, against processes that look like deepspeed's launcher and its workers.

    Two runs on the same hosts may take the same port; when one of them fails for that, the other must not be signalled.
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

    allocation = Allocation({"a": ("0",)}, 29500, environment_file=tmp_path / "e")
    command = LAUNCHER.command(JOB, allocation, {GROUP: "our-1"}).signal_command("TERM")
    assert command is not None
    with launched("our-1") as ours, launched("our-11") as theirs:
        for process in (ours, theirs):
            while len(psutil.Process(process.pid).children()) < 2:
                assert process.poll() is None
        subprocess.run(["sh", "-c", command[-1]], check=True)
        assert ours.wait() == 2 * 15
        assert theirs.poll() is None
        theirs.communicate()
        assert theirs.returncode == 0


def test_variables_for_all_hosts_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".deepspeed_env").write_text("NCCL_SOCKET_IFNAME=eth1\nOMP_NUM_THREADS=3\n\n")
    (tmp_path / ".deepspeed_env").write_text("OMP_NUM_THREADS=5\n")
    (tmp_path / "other").write_text("A=b=c\n")
    mine = {"OMP_NUM_THREADS": "2", "DS_ACCELERATOR": "cpu", "SECRET": "s"}
    assert LAUNCHER.worker_environment(mine, None) == {
        "DS_ACCELERATOR": "cpu",
        "NCCL_SOCKET_IFNAME": "eth1",
        "OMP_NUM_THREADS": "5",
        "TOKENIZERS_PARALLELISM": "false",
    }
    named = LAUNCHER.worker_environment({"DS_ENV_FILE": "other"}, None)
    assert named == {"A": "b=c", "TOKENIZERS_PARALLELISM": "false"}
