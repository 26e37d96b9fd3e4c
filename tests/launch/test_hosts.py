"""Which hosts and devices there are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lrps.launch.hosts
from lrps.base.errors import ConfigError
from lrps.launch.hosts import count_devices, devices_here, read_hostfile

TWO_GPUS = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)
  MIG 3g.40gb Device 0: (UUID: MIG-1)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-2)
"""


def program(folder: Path, name: str, output: str = "") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\ncat <<'END'\n{output}END\n")
    (folder / name).chmod(0o755)


def test_a_hostfile_is_read_as_deepspeed_reads_it(tmp_path: Path, repository: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("# two hosts\n\nnode-2 slots=4\n10.0.0.1   slots=8  # the big one\n")
    assert list(read_hostfile(file).items()) == [("node-2", 4), ("10.0.0.1", 8)]
    assert read_hostfile(repository / "launch" / "hostfile.example") == {"node-1": 8, "node-2": 8}


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9]{1,8}([.-][a-z0-9]{1,8}){0,3}", fullmatch=True), st.integers(1, 99), min_size=1
    )
)
def test_what_deepspeed_makes_of_it_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, hosts: dict[str, int]
) -> None:
    from deepspeed.launcher.runner import fetch_hostfile

    file = tmp_path_factory.mktemp("hosts") / "hosts"
    file.write_text("".join(f"{host} slots={slots}\n" for host, slots in hosts.items()))
    assert list(read_hostfile(file).items()) == list(fetch_hostfile(str(file)).items()) == list(hosts.items())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no host"),
        ("# node-1 slots=8\n", "names no host"),
        ("node-1\n", ":1: 'node-1'; give every host once, as `node-1 slots=8`"),
        ("node-1 slots=0\n", ":1: 'node-1 slots=0'"),
        ("node-1 slots=8\nnode-1 slots=8\n", ":2: 'node-1 slots=8'"),
        ("node-1 slots=8 max=9\n", ":1: "),
        ("node-1 slots=8\nme@node-2 slots=8\n", ":2: 'me@node-2' has a user; .*ssh/config"),
        ("fe80::1 slots=8\n", ":1: 'fe80::1' is an IPv6 address"),
        ("-oProxyCommand=x slots=8\n", ":1: '-oProxyCommand=x' is no name of a host"),
        ("a;id slots=8\n", ":1: 'a;id' is no name of a host"),
    ],
)
def test_what_is_no_hostfile_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "hosts"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_hostfile(file)


def test_a_hostfile_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_bytes(b"\xff\xfe slots=8\n")
    with pytest.raises(ConfigError, match="hosts is no text"):
        read_hostfile(file)


def test_a_missing_hostfile_is_not_this_machine(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="launch.hostfile: cannot read .*hosts .No such file"):
        read_hostfile(tmp_path / "hosts")


def test_devices_are_those_that_are_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin", "nvidia-smi", TWO_GPUS)
    assert devices_here({}, 4) == ("0", "1")
    assert devices_here({"CUDA_VISIBLE_DEVICES": "3, 5,7"}, 1) == ("3", "5", "7")
    assert devices_here({"CUDA_VISIBLE_DEVICES": ""}, 1) is None, "how a user keeps training off the GPUs"


def test_without_a_gpu_there_are_no_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices_here({}, 4) is None
    assert devices_here({"CUDA_VISIBLE_DEVICES": "0"}, 4) is None
    program(tmp_path, "rocm-smi")
    assert devices_here({}, 4) == ("0", "1", "2", "3"), "as many as the config names"


def test_what_hides_all_gpus_is_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    program(tmp_path / "bin", "nvidia-smi", TWO_GPUS)
    for hidden in ("-1", "NoDevFiles", " "):
        assert devices_here({"CUDA_VISIBLE_DEVICES": hidden}, 4) is None
    assert devices_here({"CUDA_VISIBLE_DEVICES": "1,-1,0"}, 4) == ("1",), "CUDA stops there"
    assert devices_here({"CUDA_VISIBLE_DEVICES": "GPU-1,MIG-2"}, 4) == ("GPU-1", "MIG-2")


def test_gpus_without_a_tool_that_lists_them_are_not_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that was given the devices without NVIDIA's utilities."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(lrps.launch.hosts, "_DEVICE_FILES", tmp_path)
    for name in ("nvidia2", "nvidia5", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert devices_here({}, 4) == ("0", "1")
    assert devices_here({"CUDA_VISIBLE_DEVICES": "1"}, 4) == ("1",)


def test_a_driver_that_fails_is_not_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    program(tmp_path / "bin", "nvidia-smi", "NVIDIA-SMI has failed because it\ncouldn't communicate\n")
    with pytest.raises(
        ConfigError, match="lists no GPU: NVIDIA-SMI has failed because it couldn't communicate. Repair"
    ):
        devices_here({}, 4)
    assert devices_here({"CUDA_VISIBLE_DEVICES": ""}, 4) is None


def test_slices_of_a_gpu_are_not_gpus() -> None:
    assert count_devices(TWO_GPUS) == 2
    assert count_devices("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n") == 0
