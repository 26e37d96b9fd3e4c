"""Checks of communication: gloo and NCCL, the name of this host, and an all-reduce of two processes on it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from lrps.base.foreign_json import parse_json
from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding

AREA = "communication"
PAIR_SECONDS = 120.0
"""Time limit of an all-reduce of two processes, which load torch first, on a busy machine."""
_INTERFACE = "set GLOO_SOCKET_IFNAME (and NCCL_SOCKET_IFNAME) to the interface of this host's address: `ip -br address`"


def check_backends(_subject: Subject) -> Iterator[Finding]:
    """Check whether this torch was built with gloo and NCCL. Loads torch."""
    import torch
    import torch.distributed as dist

    fix = "install a torch with torch.distributed; the builds of pytorch.org have it"
    if not dist.is_available() or not dist.is_gloo_available():
        yield Finding(AREA, "gloo", "fail", "this torch has none", fix)
    else:
        yield Finding(AREA, "gloo", "ok", "built in")
    if torch.cuda.is_available():
        if dist.is_nccl_available():
            version = ".".join(map(str, torch.cuda.nccl.version()))
            yield Finding(AREA, "NCCL", "ok", version)
        else:
            yield Finding(AREA, "NCCL", "fail", "this torch has none, and GPUs need it", fix)


def check_host(subject: Subject) -> Iterator[Finding]:
    """Check whether this host has an address under its name, and whether launch.master_port is free."""
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
        yield Finding(AREA, "host name", "ok", f"{name} is {address}")
    except OSError:
        fix = f"add `127.0.1.1 {name}` to /etc/hosts, or its real address for several hosts; otherwise {_INTERFACE}"
        yield Finding(AREA, "host name", "warn", f"{name} has no address: gloo may find no interface", fix)
    port = None if subject.config is None else subject.config.launch.master_port
    if port is not None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
                yield Finding(AREA, "port", "ok", f"launch.master_port {port} is free")
            except OSError as error:
                fix = "wait until the run that uses it has ended, or leave launch.master_port out"
                yield Finding(AREA, "port", "fail", f"launch.master_port {port}: {error.strerror}", fix)


def check_two_processes(_subject: Subject) -> Iterator[Finding]:
    """Check an all-reduce of 64 MB by two gloo processes on this machine, which are ended in any case."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "lrps.doctor.all_reduce"]
    processes = [
        subprocess.Popen(
            [*words, str(rank), "2", str(port)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        output, first_errors = processes[0].communicate(timeout=PAIR_SECONDS)
        _, second_errors = processes[1].communicate(timeout=PAIR_SECONDS)
    except subprocess.TimeoutExpired:
        what = f"two processes did not finish within {PAIR_SECONDS:g} s"
        yield Finding(AREA, "all-reduce", "fail", what, f"look for a firewall on loopback; otherwise {_INTERFACE}")
        return
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if any(process.returncode for process in processes):
        errors = first_errors if processes[0].returncode else second_errors
        last = (errors.strip().splitlines() or ["no message"])[-1]
        yield Finding(AREA, "all-reduce", "fail", f"two processes on this machine: {last}", _INTERFACE)
        return
    yield all_reduce_finding(parse_json(output, "the processes"), AREA, "two gloo processes")


def all_reduce_finding(measured: dict[str, Any], area: str, who: str) -> Finding:
    """Return the finding about all-reduces. measured: a `lrps.doctor.all_reduce.Measurement` as JSON values."""
    large = measured["speeds"][-1]
    if not measured["right"]:
        fix = "do not train here: try another torch and NCCL_P2P_DISABLE=1, then test memory and network"
        return Finding(area, "all-reduce", "fail", f"{who}: wrong sums", fix)
    what = f"{who}: right, latency {measured['latency_seconds'] * 1e6:.0f} us"
    if (bandwidth := large["bus_bytes_per_second"]) is not None:
        what += f", bus bandwidth {bandwidth / 1e6:,.0f} MB/s for {large['bytes'] / 1e6:.0f} MB"
    return Finding(area, "all-reduce", "ok", what)
