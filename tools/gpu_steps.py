"""Steps of tools/gpu_proof.py in the order of their importance: what each proves, its time limit and its commands.

Must not import torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).parent
ENGINE_TESTS = ("test_deepspeed_engine", "test_cross_entropy", "test_loss_head", "test_packing")


@dataclass(frozen=True)
class Place:
    """Where and how a step runs."""

    folder: Path
    """Folder for the files of the step."""
    devices: int
    """Number of GPUs, or of the CPU processes of a rehearsal."""
    rehearsal: bool
    """Whether tiny models on the CPU take the place of real ones on a GPU."""
    limit_seconds: float
    """Time for all commands of the step."""

    @property
    def found(self) -> Path:
        """File of the step's findings."""
        return self.folder / "found.json"

    def tool(self, name: str, *words: object) -> list[str]:
        """Return the command of one of the tools, with the file of findings as its first option."""
        return [sys.executable, str(TOOLS / name), "--found", str(self.found), *map(str, words)]

    def ranks(self, number: int, name: str, *words: object) -> list[str]:
        """Return the command of one of the tools on several processes."""
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(number)]
        return [*launcher, *self.tool(name, *words)[1:]]


@dataclass(frozen=True)
class Step:
    """A step of the proof."""

    name: str
    proves: str
    """What it proves, for the help."""
    seconds: int
    """Time limit on a GPU."""
    commands: Callable[[Place], Sequence[Sequence[str]]]
    """Commands that are run one after another; the first that fails ends the step."""
    devices: int = 1
    """Number of devices that it needs; with fewer it is no part of the proof."""


def _engine(place: Place) -> list[list[str]]:
    few = ["--topologies", 2] if place.rehearsal else []
    return [place.tool("gpu_engine.py", *few)]


def _ranks(place: Place) -> list[list[str]]:
    few = ["--topologies", 2, "--laws", "steps", "states"] if place.rehearsal else []
    return [place.ranks(2, "gpu_engine.py", *few)]


def _training(place: Place) -> list[list[str]]:
    trace = ["--trace", place.folder / "trace.json.gz"]
    tiny = ["--size", "200k", "--rows", 4, "--length", 64, "--steps", 12] if place.rehearsal else []
    return [place.tool("gpu_training.py", *trace, *tiny)]


def _speed(place: Place) -> list[list[str]]:
    # What it writes at its end takes a few seconds as well.
    words = ["--seconds", max(10.0, place.limit_seconds - 10), *(["--rehearsal"] if place.rehearsal else [])]
    return [place.tool("gpu_speed.py", *words)]


def _checkpoints(place: Place) -> list[list[str]]:
    size = ["--size", "1M" if place.rehearsal else "350M"]
    tiny = ["--length", 32] if place.rehearsal else ["--length", 2048]
    laws = ["--laws", "states", "--topologies", 1]
    return [place.tool("gpu_checkpoints.py", *size), place.tool("gpu_engine.py", *size, *tiny, *laws)]


def _tests(place: Place) -> list[list[str]]:
    some = ["-m", "not slow and not long", "-k", "cross_entropy"] if place.rehearsal else ["-m", "not long"]
    return [place.tool("gpu_tests.py", *(f"tests/engine/{name}.py" for name in ENGINE_TESTS), "--", *some)]


def _forecast(place: Place) -> list[list[str]]:
    tiny = ["--size", "tiny", "--steps", 12, "--rows", 4, "--length", 32, "--every", 2, "--epochs", 1]
    return [place.tool("gpu_forecast.py", *(tiny if place.rehearsal else []))]


STEPS = (
    Step("engine", "steps, resume, fork and saves of the engine, fp32 and bf16, ZeRO 1 and 3", 60, _engine),
    Step("ranks", "the same on two devices", 90, _ranks, devices=2),
    Step(
        "training", "125M in bf16: loss beside bare PyTorch, memory forecast, profile, attention kernels", 60, _training
    ),
    Step("speed", "1.2B: lrps, bare DeepSpeed tuned alike, bare PyTorch, with and without compile", 240, _speed),
    Step("checkpoints", "350M: stall, pinned copy, resume and fork bitwise", 75, _checkpoints),
    Step("tests", "the tests of the engine", 150, _tests),
    Step("forecast", "path switching with 26M parameters, forecasts beside measured losses, audit", 300, _forecast),
)


def steps_for(devices: int) -> tuple[Step, ...]:
    """Return the steps that so many devices allow."""
    return tuple(step for step in STEPS if step.devices <= devices)
