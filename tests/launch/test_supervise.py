"""Process groups that are asked to stop, that do not exit, or that lose their launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

import lrps.launch.supervise
from lrps.launch.process_group import LaunchCommand
from lrps.launch.supervise import GroupExit, Supervisor

AT_THE_START = """
import os, signal, subprocess, sys
start = subprocess.Popen
def starting(*arguments, **settings):
    os.kill(os.getpid(), signal.SIGTERM)
    return start(*arguments, **settings)
subprocess.Popen = starting
from lrps.launch.process_group import LaunchCommand
from lrps.launch.supervise import Supervisor
with Supervisor(30) as supervisor:
    supervisor.start("main", LaunchCommand((sys.executable, "-c", "import time; time.sleep(3600)"), {}))
    while supervisor.running:
        for group_exit in supervisor.poll():
            print(group_exit.name, group_exit.code, group_exit.stop_requested)
"""
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(3600)"
)
OBEDIENT = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); print('up', flush=True); "
    "time.sleep(3600)"
)
WAITING = "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.05)"
# Exits when its worker has, as launchers do, or dies. torchrun's workers have sessions of their own.
LAUNCHER = """
import subprocess, sys, time
alone = 'torch.distributed.run' in sys.argv
worker = subprocess.Popen([sys.executable, '-c', sys.argv[1], 'lrps.cli'], start_new_session=alone)
if sys.argv[2] == 'dies':
    time.sleep(0.5)
    sys.exit(9)
sys.exit(worker.wait())
"""

Ends = dict[str, tuple[int, bool]]


def python(script: str, *arguments: str, signal_template: tuple[str, ...] | None = None) -> LaunchCommand:
    return LaunchCommand((sys.executable, "-c", script, *arguments), {}, signal_template=signal_template)


def watch(supervisor: Supervisor, until: int = 99) -> Ends:
    """Return name -> (exit code, whether it was asked to stop) of the first `until` groups that exit."""
    ends: Ends = {}
    while supervisor.running and len(ends) < until:
        ends |= {each.name: (each.code, each.stop_requested) for each in supervisor.poll()}
    return ends


def test_files_of_a_command_are_private_and_removed(tmp_path: Path) -> None:
    file = tmp_path / "launch" / "main.env"
    look = "import os, sys; print(oct(os.stat(sys.argv[1]).st_mode & 0o777), open(sys.argv[1]).read())"
    command = LaunchCommand((sys.executable, "-c", look, str(file)), {}, {file: "HF_TOKEN=planted"})
    with Supervisor(30) as supervisor:
        supervisor.start("main", command, output=tmp_path / "log")
        assert watch(supervisor) == {"main": (0, False)}
    assert (tmp_path / "log").read_text() == "0o600 HF_TOKEN=planted\n"
    assert not file.exists()


def test_a_group_inherits_no_other_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PET_NNODES", "RANK", "WORLD_SIZE", "SLURM_PROCID"):
        monkeypatch.setenv(name, "7")
    look = "import os; print(sorted({'PET_NNODES', 'RANK', 'WORLD_SIZE', 'SLURM_PROCID'} & os.environ.keys()))"
    with Supervisor(30) as supervisor:
        supervisor.start("main", LaunchCommand((sys.executable, "-c", look), {}), output=tmp_path / "log")
        watch(supervisor)
    assert (tmp_path / "log").read_text() == "[]\n"


def supervise(commands: dict[str, LaunchCommand], grace_seconds: float, folder: Path, *ask: signal.Signals) -> Ends:
    """Run groups until they exit. ask: signals for this process, half a second apart, once all groups are up."""
    logs = {name: folder / f"{name}.log" for name in commands}

    def when_all_are_up() -> None:
        while not all(log.exists() and b"up" in log.read_bytes() for log in logs.values()):
            time.sleep(0.05)
        for number in ask:
            os.kill(os.getpid(), number)
            time.sleep(0.5)

    with Supervisor(grace_seconds) as supervisor:
        for name, command in commands.items():
            supervisor.start(name, command, output=logs[name])
        if ask:
            threading.Thread(target=when_all_are_up, daemon=True).start()
        return watch(supervisor)


def test_the_end_of_the_grace_period_kills(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ends = supervise({"main": python(STUBBORN), "branch": python(OBEDIENT)}, 5, tmp_path, signal.SIGTERM)
    assert ends == {"main": (-signal.SIGKILL, True), "branch": (75, True)}
    printed = capfd.readouterr().err
    assert printed.count("launch.grace_seconds, 5") == 1
    assert printed.count("saving at the next step") == 1


def test_a_signal_while_the_group_is_started_reaches_it() -> None:
    done = subprocess.run([sys.executable, "-c", AT_THE_START], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["main", str(-signal.SIGTERM), "True"]), done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT])
def test_whatever_asks_is_passed_on_as_a_request_to_save(number: signal.Signals, tmp_path: Path) -> None:
    ends = supervise({name: python(OBEDIENT) for name in ("main", "branch")}, 30, tmp_path, number)
    assert ends == {"main": (75, True), "branch": (75, True)}


def test_a_second_ctrl_c_ends_all_at_once(tmp_path: Path) -> None:
    commands = {name: python(STUBBORN) for name in ("main", "branch")}
    ends = supervise(commands, 30, tmp_path, signal.SIGINT, signal.SIGINT)
    assert ends == {"main": (-signal.SIGKILL, True), "branch": (-signal.SIGKILL, True)}


def test_a_group_that_ends_leaves_the_others_alone(tmp_path: Path) -> None:
    brief = python("print('up', flush=True); raise SystemExit(3)")
    with Supervisor(30) as supervisor:
        supervisor.start("short", brief, output=tmp_path / "short.log")
        supervisor.start("long", python(WAITING, str(tmp_path / "go on")))
        first = []
        while not first:
            first = supervisor.poll()
        assert first == [GroupExit("short", 3, stop_requested=False)]
        assert supervisor.running == ("long",)
        (tmp_path / "go on").touch()
        assert watch(supervisor) == {"long": (0, False)}
    assert (tmp_path / "short.log").read_text() == "up\n"


@pytest.mark.parametrize("launcher", ["torch.distributed.run", "deepspeed.launcher.launch", "/usr/bin/deepspeed"])
def test_the_worker_is_asked_and_its_launcher_returns_its_exit_code(launcher: str, tmp_path: Path) -> None:
    command = python(LAUNCHER, OBEDIENT, "waits", launcher, "lrps.cli", "train")
    assert supervise({"main": command}, 30, tmp_path, signal.SIGTERM) == {"main": (75, True)}


@pytest.mark.parametrize("launcher", ["torch.distributed.run", "deepspeed.launcher.launch"])
def test_workers_that_outlive_their_launcher_are_asked(
    launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lrps.launch.supervise, "ORPHAN_SECONDS", 0.3)
    assert supervise({"main": python(LAUNCHER, OBEDIENT, "dies", launcher)}, 30, tmp_path) == {"main": (9, True)}
    assert supervise({"main": python(LAUNCHER, STUBBORN, "dies", launcher)}, 0.5, tmp_path) == {"main": (9, True)}
    assert not [p for p in psutil.process_iter(["cmdline"]) if STUBBORN in (p.info["cmdline"] or ())]


def test_groups_side_by_side_are_distinguished(tmp_path: Path) -> None:
    """Also where their workers are in sessions of their own."""
    command = python(LAUNCHER, OBEDIENT, "waits", "torch.distributed.run")
    with Supervisor(5) as supervisor:
        for name in ("one", "other"):
            supervisor.start(name, command, output=tmp_path / name)
        while not all("up" in (tmp_path / name).read_text() for name in ("one", "other")):
            time.sleep(0.05)
        supervisor._groups["one"].kill()
        assert watch(supervisor, until=1) == {"one": (-signal.SIGKILL, True)}
        assert len([p for p in psutil.process_iter(["cmdline"]) if OBEDIENT in (p.info["cmdline"] or ())]) == 2


def test_leaving_early_leaves_no_process_running(tmp_path: Path) -> None:
    mark = f"left-{os.getpid()}"

    def fail_beside_it() -> None:
        with Supervisor(5) as supervisor:
            supervisor.start("main", python("import time; time.sleep(3600)", mark))
            raise RuntimeError("out of the blue")

    with pytest.raises(RuntimeError, match="out of the blue"):
        fail_beside_it()
    assert not [p for p in psutil.process_iter(["cmdline"]) if mark in (p.info["cmdline"] or ())]


def test_workers_on_other_hosts_are_signalled_by_a_command(tmp_path: Path) -> None:
    signals = tmp_path / "signals"
    # It exits when the workers there have, as pdsh does.
    wait = f"import time, pathlib\nwhile not pathlib.Path({str(signals)!r}).exists(): time.sleep(0.1)"
    write = python(f"open({str(signals)!r}, 'a').write('{{signal}}')").command
    with Supervisor(30) as supervisor:
        supervisor.start("main", python(wait, signal_template=write))
        os.kill(os.getpid(), signal.SIGTERM)
        assert watch(supervisor) == {"main": (0, True)}
    assert signals.read_text() == "TERM"


def test_workers_that_were_starting_elsewhere_are_signalled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lrps.launch.supervise, "_RESEND_SECONDS", 0.2)
    signals = tmp_path / "signals"
    signals.touch()
    # The first request finds no workers.
    wait = f"import time\nwhile len(open({str(signals)!r}).read()) < 8: time.sleep(0.05)"
    with Supervisor(30) as supervisor:
        supervisor.start("main", python(wait, signal_template=("sh", "-c", f"printf {{signal}} >>{signals}")))
        os.kill(os.getpid(), signal.SIGTERM)
        assert watch(supervisor) == {"main": (0, True)}
    assert signals.read_text().replace("TERM", "") == ""


def test_the_signals_mean_again_what_they_meant_before() -> None:
    before = [signal.getsignal(number) for number in lrps.launch.supervise.SIGNALS]
    with Supervisor(1):
        assert [signal.getsignal(number) for number in lrps.launch.supervise.SIGNALS] != before
    assert [signal.getsignal(number) for number in lrps.launch.supervise.SIGNALS] == before
