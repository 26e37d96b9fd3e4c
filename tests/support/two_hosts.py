"""Two hosts on one machine: an sshd on 127.0.0.2 and 127.0.0.3 with keys of its own, and an ssh configured for it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOSTS = ("127.0.0.2", "127.0.0.3")
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PROGRAMS = {
    "openssh-server": SSHD,
    "openssh-client": shutil.which("ssh"),
    "pdsh": shutil.which("pdsh"),
    "procps": shutil.which("pgrep"),
}


def what_is_missing() -> str:
    """Return why the hosts cannot be started, as the reason of a skipped test; empty if they can."""
    if sys.platform != "linux":
        return "needs Linux, where all of 127.0.0.0/8 is loopback"
    missing = [name for name, program in PROGRAMS.items() if program is None]
    return f"needs {', '.join(missing)}" if missing else ""


@contextmanager
def two_hosts(folder: Path) -> Iterator[dict[str, str]]:
    """Start the hosts, and yield the environment in which ssh and pdsh reach them without a password."""
    port = free_port()
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    if os.getuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)  # sshd drops its privileges there.
    server = _server(folder, port)
    try:
        _wait_for(port)
        yield {"PATH": f"{_client(folder, port)}:{os.environ['PATH']}"}
    finally:
        server.terminate()
        server.wait()


def _server(folder: Path, port: int) -> subprocess.Popen[bytes]:
    settings = [
        *(f"ListenAddress {host}:{port}" for host in HOSTS),
        f"HostKey {folder}/host_key",
        f"AuthorizedKeysFile {folder}/authorized_keys",
        f"PidFile {folder}/sshd.pid",
        "StrictModes no",  # The folder of a test belongs to whoever runs it, below /tmp.
        "UsePAM no",
        "PasswordAuthentication no",
        "PermitRootLogin prohibit-password",
    ]
    (folder / "sshd_config").write_text("\n".join(settings) + "\n")
    command = [str(SSHD), "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "sshd.log")]
    return subprocess.Popen(command)


def _client(folder: Path, port: int) -> Path:
    """Return a directory with an `ssh` that reads this configuration only, and not that of the user."""
    settings = [
        "Host 127.0.0.*",
        f"  Port {port}",
        f"  IdentityFile {folder}/user_key",
        "  IdentitiesOnly yes",
        "  StrictHostKeyChecking no",
        f"  UserKnownHostsFile {folder}/known_hosts",
        "  LogLevel ERROR",
    ]
    (folder / "ssh_config").write_text("\n".join(settings) + "\n")
    programs = folder / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(f'#!/bin/sh\nexec {PROGRAMS["openssh-client"]} -F {folder}/ssh_config "$@"\n')
    (programs / "ssh").chmod(0o755)
    return programs


def free_port() -> int:
    """Return a free port of the first host."""
    with socket.socket() as probe:
        probe.bind((HOSTS[0], 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    end = time.monotonic() + 600
    while True:
        try:
            for host in HOSTS:
                socket.create_connection((host, port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
