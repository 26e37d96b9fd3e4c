"""Prove lrps on a GPU, the most important first, within some minutes.

Every step is a process that is ended at its time limit, with all that it started. Its results are added to a JSON file
as soon as it has ended, and a second call continues there: what is proven on this device with these versions is not
repeated, unless --again asks for it. Nothing is downloaded. Steps for two devices are left out where there is one.

exit codes: 0 if every step is proven; 1 if a claim does not hold or a step failed; 2 for a wrong call; 3 if nothing
failed but some step is not proven, for want of time. Targets, such as a speed, are reported and change no exit code.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench_train import gpu
from gpu_findings import read_findings
from gpu_process import Ended, run
from gpu_results import WRONG_CALL, Attempt, Results, ResultsError, machine, source_digest, status_of, table
from gpu_steps import STEPS, Place, Step, steps_for
from rich.console import Console

ROOT = Path(__file__).parent.parent
LEAST_SECONDS = 15.0
"""Time without which a step is not begun."""
REHEARSAL_SECONDS = 1200
"""Time limit of a step of a rehearsal: CPUs may be shared and busy."""


class Proof:
    """One call: the steps, the time for all of them, and the results so far."""

    def __init__(self, results: Results, device: str, devices: int, folder: Path, minutes: float) -> None:
        """folder: for the files of the steps. devices: number of GPUs, or of processes of a rehearsal."""
        self.results, self.devices, self.folder = results, devices, folder
        self.machine, self.source = machine(device), source_digest(ROOT)
        self._deadline = time.monotonic() + 60 * minutes

    def take(self, step: Step) -> Attempt:
        """Take one step and add its attempt to the results."""
        left = self._deadline - time.monotonic()
        limit = min(left, REHEARSAL_SECONDS if self.results.rehearsal else step.seconds)
        if left < LEAST_SECONDS:
            attempt = Attempt(step.name, "left out", 0.0, max(0.0, left), self.machine, self.source)
        else:
            attempt = self._attempt(step, limit)
        self.results.add(attempt)
        return attempt

    def _attempt(self, step: Step, limit: float) -> Attempt:
        place = Place(self.folder / step.name, self.devices, self.results.rehearsal, limit)
        place.folder.mkdir(parents=True, exist_ok=True)
        place.found.unlink(missing_ok=True)
        commands = [list(command) for command in step.commands(place)]
        ended = self._run(commands, place)
        found = read_findings(place.found)
        status = status_of(ended.code, found["claims"], self.results.rehearsal)
        tail = "" if status in ("proven", "rehearsed") else ended.tail
        return Attempt(
            step.name, status, ended.seconds, limit, self.machine, self.source, commands=commands, tail=tail, **found
        )

    def _run(self, commands: Sequence[Sequence[str]], place: Place) -> Ended:
        """Run the commands of a step until one fails or the time is up; return the end of the last one."""
        extensions = place.folder / "extensions"
        extensions.mkdir(exist_ok=True)
        environment = {"TORCH_EXTENSIONS_DIR": str(extensions), "PYTHONUNBUFFERED": "1"}
        paths = [str(ROOT), str(ROOT / "tools"), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        if place.rehearsal:
            environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1"}
        spent, ended = 0.0, Ended(0, 0.0, "")
        for command in commands:
            ended = run(command, place.folder / "output.log", max(1.0, place.limit_seconds - spent), environment)
            spent += ended.seconds
            if ended.code != 0:
                break
        return Ended(ended.code, spent, ended.tail)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    steps = "\n".join(f"  {step.name:12} {step.seconds:4} s  {step.proves}" for step in STEPS)
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=f"steps:\n{steps}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, required=True, help="for all steps together")
    parser.add_argument(
        "--cpu-rehearsal", action="store_true", help="take every step with tiny models on CPUs; proves nothing of a GPU"
    )
    parser.add_argument("--only", action="append", metavar="STEP", help="take this step alone; may be repeated")
    parser.add_argument("--again", action="store_true", help="repeat what is proven")
    parser.add_argument("--out", type=Path, help="results (default data/gpu-proof.json, data/gpu-rehearsal.json)")
    arguments = parser.parse_args(words)
    if unknown := set(arguments.only or ()) - {step.name for step in STEPS}:
        parser.error(f"--only: there is no step {', '.join(sorted(unknown))}; see --help")
    if arguments.minutes <= 0:
        parser.error("--minutes: give a number above 0")
    if arguments.out is None:
        arguments.out = ROOT / "data" / ("gpu-rehearsal.json" if arguments.cpu_rehearsal else "gpu-proof.json")
    return arguments


def _number_of_gpus() -> int:
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60).stdout
    return sum(line.startswith("GPU ") for line in listed.splitlines())


def main(words: Sequence[str] | None = None) -> int:
    """Take the steps, print the table, and return the exit code."""
    arguments = parse(words)
    console = Console(width=160, highlight=False, markup=False, soft_wrap=False)
    device = ("CPU", 0) if arguments.cpu_rehearsal else gpu()
    if device is None:
        console.print("nvidia-smi shows no GPU; --cpu-rehearsal takes every step with tiny models on CPUs")
        return WRONG_CALL
    devices = 2 if arguments.cpu_rehearsal else _number_of_gpus()
    chosen = [step for step in steps_for(devices) if step.name in (arguments.only or [step.name])]
    if not chosen:
        console.print(f"--only {', '.join(arguments.only)}: takes more devices than the {devices} here")
        return WRONG_CALL
    try:
        results = Results(arguments.out, arguments.cpu_rehearsal)
    except ResultsError as error:
        console.print(str(error))
        return WRONG_CALL
    proof = Proof(results, device[0], devices, arguments.out.resolve().with_suffix(""), arguments.minutes)
    for step in chosen:
        last = results.last(step.name)
        if last is not None and last.counts_on(proof.machine) and not arguments.again:
            console.print(f"{step.name}: {last.status} before")
            continue
        attempt: Any = proof.take(step)
        console.print(f"{step.name}: {attempt.status}, {attempt.seconds:.0f} s")
    names = [step.name for step in chosen]
    console.print(table(results, names, proof.source))
    return results.exit_code(names, proof.machine)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that a running step is ended, too.
    sys.exit(main())
