"""How processes talk: gloo and NCCL, the name of this host, and a real all-reduce of two processes on it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding

AREA = "communication"
PAIR_SECONDS = 120.0
"""Two processes that load torch on a busy machine."""
_INTERFACE = "set GLOO_SOCKET_IFNAME (and NCCL_SOCKET_IFNAME) to the interface of this host's address: `ip -br address`"


def check_backends(_subject: Subject) -> Iterator[Finding]:
    """What this torch was built with. Loads it."""
    import torch
    import torch.distributed as dist

    way_out = "install a torch with torch.distributed; the builds of pytorch.org have it"
    if not dist.is_available() or not dist.is_gloo_available():
        yield Finding(AREA, "gloo", "fail", "this torch has none", way_out)
    else:
        yield Finding(AREA, "gloo", "ok", "built in")
    if torch.cuda.is_available():
        if dist.is_nccl_available():
            version = ".".join(map(str, torch.cuda.nccl.version()))
            yield Finding(AREA, "NCCL", "ok", version)
        else:
            yield Finding(AREA, "NCCL", "fail", "this torch has none, and GPUs need it", way_out)


def check_host(subject: Subject) -> Iterator[Finding]:
    """Whether other processes can find this host by its name, and the port of the group is free."""
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
        yield Finding(AREA, "host name", "ok", f"{name} is {address}")
    except OSError:
        way_out = f"add `127.0.1.1 {name}` to /etc/hosts, or its real address for several hosts; else {_INTERFACE}"
        yield Finding(AREA, "host name", "warn", f"{name} has no address: gloo may find no interface", way_out)
    port = None if subject.config is None else subject.config.launch.master_port
    if port is not None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
                yield Finding(AREA, "port", "ok", f"launch.master_port {port} is free")
            except OSError as error:
                way_out = "wait for the run that has it, or leave launch.master_port out"
                yield Finding(AREA, "port", "fail", f"launch.master_port {port}: {error.strerror}", way_out)


def check_pair(_subject: Subject) -> Iterator[Finding]:
    """Two processes of this machine add up 64 MB with gloo; they are gone when this ends, however it ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "lrps.doctor.exchange"]
    both = [
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
        told, said = both[0].communicate(timeout=PAIR_SECONDS)
        _, other = both[1].communicate(timeout=PAIR_SECONDS)
    except subprocess.TimeoutExpired:
        what = f"two processes did not finish within {PAIR_SECONDS:g} s"
        yield Finding(AREA, "all-reduce", "fail", what, f"a firewall on loopback? else {_INTERFACE}")
        return
    finally:
        for process in both:
            process.kill()
            process.wait()
    if any(process.returncode for process in both):
        last = ((said if both[0].returncode else other).strip().splitlines() or ["no message"])[-1]
        yield Finding(AREA, "all-reduce", "fail", f"two processes on this machine: {last}", _INTERFACE)
        return
    yield judged(json.loads(told), AREA, "two gloo processes")


def judged(found: dict[str, Any], area: str, who: str) -> Finding:
    """What processes found that measured together: the values of exchange.as_json."""
    large = found["speeds"][-1]
    if not found["right"]:
        way_out = "do not train there: try another torch and NCCL_P2P_DISABLE=1, then test memory and network"
        return Finding(area, "all-reduce", "fail", f"{who}: wrong sums", way_out)
    what = f"{who}: right, latency {found['latency_seconds'] * 1e6:.0f} us"
    if (bandwidth := large["bus_bytes_per_second"]) is not None:
        what += f", bus bandwidth {bandwidth / 1e6:,.0f} MB/s for {large['bytes'] / 1e6:.0f} MB"
    return Finding(area, "all-reduce", "ok", what)
