"""A private Slurm cluster on this machine: munged, slurmctld, slurmd for three nodes with fake GPUs, and slurmdbd.

slurmdbd is only started if it is installed. All files are in one directory, and `stop` ends all processes.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

NODES = ("n1", "n2", "n3")
GPUS = 2
"""Number of GPUs of each node; they are plain files."""
_PATH = os.pathsep.join((os.environ["PATH"], "/usr/sbin"))

_SLURM_CONF = """\
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
AuthType=auth/munge
# A requeued job waits as long as a credential holds, 120 s by default, before it starts again.
AuthInfo=socket={root}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SchedulerParameters=batch_sched_delay=1,sched_interval=1,sched_min_interval=0,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
EnforcePartLimits=ALL
KillWait=30
UnkillableStepTimeout=300
MinJobAge=300
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
{accounting}
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=abrupt Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2 PreemptMode=OFF
"""
_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={root}/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
JobAcctGatherType=jobacct_gather/none
"""
_SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={dbd_port}
SlurmUser={user}
LogFile={root}/slurmdbd.log
PidFile={root}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
"""
_SQL = """\
CREATE DATABASE IF NOT EXISTS slurm;
CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm';
GRANT ALL ON slurm.* TO 'slurm'@'127.0.0.1';
"""


def missing() -> str | None:
    """Return why no private Slurm can be started here; None if it can."""
    absent = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name, path=_PATH) is None]
    if absent:
        return f"no {', '.join(absent)} here (Debian: slurm-wlm and munge)"
    return None if os.geteuid() == 0 else "slurmd wants root"


def can_account() -> bool:
    """Return whether slurmdbd and its database are installed (Debian: slurmdbd and mariadb-server)."""
    return all(shutil.which(name, path=_PATH) for name in ("slurmdbd", "mariadbd", "mariadb-install-db"))


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait until a condition is true. Raise TimeoutError with `what` in its message after 10 minutes."""
    until = time.monotonic() + 600
    while not true():
        if time.monotonic() > until:
            raise TimeoutError(f"{what} did not come")
        time.sleep(0.1)


class PrivateSlurm:
    """A Slurm cluster. With `environment` Slurm's commands use it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {**os.environ, "SLURM_CONF": str(root / "slurm.conf"), "PATH": _PATH}
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        for folder in ("state", "database"):
            (self.root / folder).mkdir()
        ports = _free_ports(3 + len(NODES))
        self._write_configuration(ports)
        try:
            self._start_munge()
            if can_account():
                self._start_accounting(ports)
            self._start("slurmctld", "-D")
            for node in NODES:
                self._start("slurmd", "-D", "-N", node)
            wait_until(lambda: self.command("sinfo", "-h", "-o", "%T %D").strip() == f"idle {len(NODES)}", "nodes")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every daemon that was started, the last one first."""
        for process in reversed(self._running):
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def command(self, *words: str) -> str:
        """Return the output of one of Slurm's commands; empty if it fails."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else ""

    def state(self, job_id: str) -> str:
        """Return the state of a job, also after its end."""
        return self.command("squeue", "-h", "--states=all", "-o", "%T", "-j", job_id).strip()

    def wait_for(self, job_id: str, state: str) -> None:
        """Wait until a job is in a state. Raise TimeoutError if it is not, AssertionError if it ends in another."""
        ended = ("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT")
        wait_until(lambda: self.state(job_id) in (state, *ended), f"the end of job {job_id}")
        assert self.state(job_id) == state, self.command("scontrol", "show", "job", job_id)

    def clear(self) -> None:
        """Kill every job and wait until the nodes are free."""
        self.command("scancel", "--signal=KILL", "--full", "--me")
        self.command("scancel", "--me")
        wait_until(lambda: not self.command("squeue", "-h", "-o", "%i"), "an empty queue")

    def _write_configuration(self, ports: Sequence[int]) -> None:
        values = {"root": self.root, "host": socket.gethostname(), "user": getpass.getuser(), "ports": ports}
        accounting = _ACCOUNTING.format(port=ports[1], root=self.root) if can_account() else ""
        nodes = [
            f"NodeName={node} NodeHostname={values['host']} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=1000 "
            f"Gres=gpu:{GPUS} State=UNKNOWN\n"
            for node, port in zip(NODES, ports[3:], strict=True)
        ]
        head, tail = _SLURM_CONF.format(**values, accounting=accounting).split("PartitionName", 1)
        self._write("slurm.conf", head + "".join(nodes) + "PartitionName" + tail)
        gpus = [self.root / f"gpu{i}" for i in range(GPUS)]
        for gpu in gpus:
            gpu.touch()
        self._write("gres.conf", "".join(f"Name=gpu File={gpu}\n" for gpu in gpus))
        dbd = self._write("slurmdbd.conf", _SLURMDBD_CONF.format(**values, dbd_port=ports[1], sql_port=ports[2]))
        dbd.chmod(0o600)

    def _write(self, name: str, text: str) -> Path:
        file = self.root / name
        file.write_text(text)
        return file

    def _start_munge(self) -> None:
        key = self.root / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        places = {"key-file": key, "socket": self.root / "munge.socket", "log-file": self.root / "munged.log"}
        places |= {"pid-file": self.root / "munged.pid", "seed-file": self.root / "munge.seed"}
        self._start("munged", "--foreground", "--force", *(f"--{name}={file}" for name, file in places.items()))
        wait_until(lambda: places["socket"].exists(), "munge")

    def _start_accounting(self, ports: Sequence[int]) -> None:
        data, sql = self.root / "database", self._write("users.sql", _SQL)
        common = ("--no-defaults", f"--datadir={data}", f"--user={getpass.getuser()}")
        install = ("mariadb-install-db", *common, "--skip-test-db", "--auth-root-authentication-method=normal")
        subprocess.run(install, check=True, capture_output=True)
        self._start(
            *("mariadbd", *common, f"--socket={self.root}/sql.socket", "--bind-address=127.0.0.1"),
            *(f"--port={ports[2]}", f"--pid-file={self.root}/sql.pid", f"--init-file={sql}"),
            *("--innodb-flush-log-at-trx-commit=0", "--innodb-lock-wait-timeout=900", "--skip-log-bin"),
        )
        wait_until(lambda: _listens(ports[2]), "the database")
        self._start("slurmdbd", "-D")
        wait_until(lambda: _listens(ports[1]), "slurmdbd")
        subprocess.run(
            ("sacctmgr", "-i", "add", "cluster", "private"), env=self.environment, capture_output=True, timeout=60
        )

    def _start(self, name: str, *arguments: str) -> None:
        log = open(self.root / f"{name}.out", "ab")  # noqa: SIM115
        with contextlib.closing(log):
            program = shutil.which(name, path=_PATH)
            assert program is not None
            process = subprocess.Popen((program, *arguments), env=self.environment, stdout=log, stderr=log, cwd="/")
        self._running.append(process)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
