"""A run with failures, checkpoints and a branch, on paper: what the formulas say, and what simulating it says.

Process groups train, save in flight over one shared storage, fail at random and start again from their last durable
checkpoint. A branch takes the main path's devices (`--branch after`) or trains on devices of its own (`--branch
beside`). Nothing here is measured: every input is yours, and perfect scaling over devices is assumed.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean

from rich.console import Console
from rich.table import Table

from lrps.config.values import parse_quantity
from lrps.paths.interval import daly_interval, waste_share, young_interval
from lrps.paths.optimizer_states import MOMENTS, WEIGHT_BYTES

EXAMPLE = "example: python tools/simulate_scale.py --parameters 70B --tokens 1T --devices 1024 --branch beside"
NEVER = math.inf


@dataclass(frozen=True)
class Segment:
    """Steps of a path that a group trains in a row; all in seconds of training on the group's devices."""

    path: str
    seconds: float
    pinned_after: float | None = None
    """A branch point inside it."""
    needs: tuple[str, float] | None = None
    """(path, seconds of it) that must be durable before it can start."""


@dataclass(frozen=True)
class Setting:
    """What is the same for all groups. Seconds and bytes."""

    save_bytes: float
    storage_bytes_per_second: float
    """Shared equally by whoever writes."""
    stall_seconds: float
    restart_seconds: float
    """To start the processes and load; also before the first step of every segment."""


@dataclass
class Tally:
    """Where a group's wall time went, in seconds, and what it wrote."""

    useful: float = 0.0
    repeated: float = 0.0
    stalled: float = 0.0
    blocked: float = 0.0
    """Waiting for a save: at the end of a segment, or because the storage is slower than the interval."""
    starting: float = 0.0
    waiting: float = 0.0
    failures: int = 0
    saves: int = 0
    written_bytes: float = 0.0

    @property
    def held(self) -> float:
        return self.useful + self.repeated + self.stalled + self.blocked + self.starting


@dataclass
class Group:
    """One process group and where it stands."""

    segments: Sequence[Segment]
    mtbf: float
    interval: float
    tally: Tally = field(default_factory=Tally)
    index: int = 0
    phase: str = "waiting"
    left: float = NEVER
    """Seconds to the end of the phase, where that is known."""
    done: float = 0.0
    """Seconds of the segment that are trained."""
    reached: float = 0.0
    saved: float = 0.0
    writing: float | None = None
    """Bytes of the save in flight that are still to be written."""
    written_to: float = 0.0
    fails_in: float = NEVER

    @property
    def segment(self) -> Segment:
        return self.segments[self.index]

    @property
    def next_save(self) -> float:
        """Where the segment stops for a save next."""
        pinned = self.segment.pinned_after
        pins = [pinned] if pinned is not None and pinned > self.done else []
        return min(self.segment.seconds, self.saved_or_written + self.interval, *pins)

    @property
    def saved_or_written(self) -> float:
        return self.saved if self.writing is None else self.written_to


class Run:
    """Groups at work together until all segments are trained and saved."""

    def __init__(self, groups: Sequence[Group], setting: Setting, seed: int) -> None:
        self.groups, self.setting, self._random = groups, setting, random.Random(seed)
        self.now = 0.0
        self.durable: dict[str, float] = {}
        self.released: dict[str, float] = {}
        """path -> when the last of its segments was saved."""

    def run(self) -> None:
        while any(group.phase != "over" for group in self.groups):
            for group in self.groups:
                self._start_if_possible(group)
            self._advance(min(self._next_event(group) for group in self.groups))
            for group in self.groups:
                self._act(group)

    def _start_if_possible(self, group: Group) -> None:
        if group.phase == "waiting":
            path, seconds = group.segment.needs or ("", 0.0)
            if self.durable.get(path, 0.0) >= seconds:
                self._restart(group)

    def _restart(self, group: Group) -> None:
        group.phase, group.left, group.writing = "starting", self.setting.restart_seconds, None
        group.done, group.fails_in = group.saved, self._random.expovariate(1 / group.mtbf)

    def _rate(self) -> float:
        """Bytes a second of each writer."""
        writers = sum(group.writing is not None for group in self.groups)
        return self.setting.storage_bytes_per_second / max(1, writers)

    def _next_event(self, group: Group) -> float:
        if group.phase in ("over", "waiting"):
            return NEVER
        written = NEVER if group.writing is None else group.writing / self._rate()
        return min(group.left, written, group.fails_in)

    def _advance(self, seconds: float) -> None:
        rate, self.now = self._rate(), self.now + seconds
        for group in self.groups:
            if group.writing is not None:
                group.writing = max(0.0, group.writing - rate * seconds)
                group.tally.written_bytes += rate * seconds
            if group.phase not in ("over", "waiting"):
                group.left -= seconds
                group.fails_in -= seconds
            self._book(group, seconds)

    def _book(self, group: Group, seconds: float) -> None:
        tally = group.tally
        if group.phase == "training":
            again = min(seconds, max(0.0, group.reached - group.done))
            tally.repeated += again
            tally.useful += seconds - again
            group.done += seconds
            group.reached = max(group.reached, group.done)
        elif group.phase == "stalled":
            tally.stalled += seconds
        elif group.phase == "blocked":
            tally.blocked += seconds
        elif group.phase == "starting":
            tally.starting += seconds
        elif group.phase == "waiting":
            tally.waiting += seconds

    def _act(self, group: Group) -> None:
        if group.phase in ("over", "waiting"):
            return
        if group.fails_in <= 0:
            group.tally.failures += 1
            self._restart(group)
            return
        if group.writing is not None and group.writing <= 1e-6 * self.setting.save_bytes:
            self._published(group)
        if group.left <= 1e-9:
            self._end_phase(group)

    def _published(self, group: Group) -> None:
        group.writing, group.saved = None, group.written_to
        group.tally.saves += 1
        path = group.segment.path
        before = sum(each.seconds for each in group.segments[: group.index] if each.path == path)
        self.durable[path] = before + group.saved
        if group.phase == "blocked":
            if group.saved >= group.segment.seconds:
                self._end_segment(group)
            else:
                self._begin_save(group)

    def _end_phase(self, group: Group) -> None:
        if group.phase == "starting":
            self._train(group)
        elif group.phase == "training":
            if group.writing is None:
                self._begin_save(group)
            else:
                group.phase, group.left = "blocked", NEVER
        elif group.phase == "stalled":
            group.writing, group.written_to = self.setting.save_bytes, group.done
            if group.done >= group.segment.seconds:
                group.phase, group.left = "blocked", NEVER
            else:
                self._train(group)

    def _train(self, group: Group) -> None:
        group.phase, group.left = "training", group.next_save - group.done

    def _begin_save(self, group: Group) -> None:
        group.phase, group.left = "stalled", self.setting.stall_seconds

    def _end_segment(self, group: Group) -> None:
        self.released[group.segment.path] = self.now
        group.index += 1
        group.done = group.saved = group.reached = 0.0
        group.fails_in, group.left = NEVER, NEVER
        group.phase = "over" if group.index == len(group.segments) else "waiting"


def simulate(groups: Sequence[Group], setting: Setting, seed: int) -> Run:
    """Run the groups to their end; the same seed gives the same failures."""
    made = Run(groups, setting, seed)
    made.run()
    return made


@dataclass(frozen=True)
class Scenario:
    """What the command line says, in seconds and bytes."""

    setting: Setting
    main_seconds: float
    """Of training on its devices, without failures and saves."""
    fork_seconds: float
    branch_seconds: float
    """The branch's, on the devices that it has."""
    devices: int
    branch_devices: int
    mtbf_device: float
    interval: float
    branch: str

    def groups(self) -> list[Group]:
        mtbf, of_branch = self.mtbf_device / self.devices, self.mtbf_device / self.branch_devices
        if self.branch == "none":
            return [Group([Segment("main", self.main_seconds)], mtbf, self.interval)]
        branch = Segment("branch", self.branch_seconds, needs=("main", self.fork_seconds))
        if self.branch == "after":
            first, rest = Segment("main", self.fork_seconds), Segment("main", self.main_seconds - self.fork_seconds)
            return [Group([first, branch, *([rest] if rest.seconds > 0 else [])], mtbf, self.interval)]
        main = Segment("main", self.main_seconds, pinned_after=self.fork_seconds)
        return [Group([main], mtbf, self.interval), Group([branch], of_branch, self.interval)]


def scenario(a: argparse.Namespace) -> Scenario:
    """The inputs as seconds. Step time: 6 N FLOPs a token at the stated utilisation, or --step-seconds."""
    step = a.step_seconds or 6 * a.parameters * a.batch_tokens / (a.peak_tflops * 1e12 * a.mfu * a.devices)
    size = (WEIGHT_BYTES + sum(state.bytes for state in MOMENTS)) * a.parameters
    steps = a.tokens / a.batch_tokens
    storage = a.storage_gb_per_second * 1e9
    stall = size / a.devices / (a.copy_gb_per_second * 1e9) + a.publish_seconds
    restart = a.start_seconds + size / storage
    mtbf_device = a.mtbf_hours_per_device * 3600
    interval = a.every_steps * step if a.every_steps else daly_interval(stall, mtbf_device / a.devices)
    interval = max(step, round(interval / step) * step)
    main, of_branch = steps * step, a.branch_share * steps * step
    devices = a.devices if a.branch == "after" else a.branch_devices or a.devices
    setting = Setting(size, storage, stall, restart)
    fork = main - of_branch if a.fork_share is None else main * a.fork_share
    slower = of_branch * a.devices / devices
    return Scenario(setting, main, fork, slower, a.devices, devices, mtbf_device, interval, a.branch)


def summary(case: Scenario, runs: Sequence[Run]) -> dict[str, float]:
    """Means over the simulated runs, beside the formulas."""
    setting, mtbf = case.setting, case.mtbf_device / case.devices
    tallies = [group.tally for run in runs for group in run.groups]
    mains = [run.groups[0].tally for run in runs]
    hours = mean(run.now for run in runs) / 3600
    device_hours = mean(
        sum(group.tally.held * devices for group, devices in zip(run.groups, _devices(case), strict=False)) / 3600
        for run in runs
    )
    found = {
        "save_gb": setting.save_bytes / 1e9,
        "save_gb_per_device": setting.save_bytes / case.devices / 1e9,
        "write_seconds": setting.save_bytes / setting.storage_bytes_per_second,
        "stall_seconds": setting.stall_seconds,
        "restart_seconds": setting.restart_seconds,
        "mtbf_hours": mtbf / 3600,
        "young_minutes": young_interval(setting.stall_seconds, mtbf) / 60,
        "daly_minutes": daly_interval(setting.stall_seconds, mtbf) / 60,
        "interval_minutes": case.interval / 60,
        "traffic_tb_per_hour": 3600 / (case.interval + setting.stall_seconds) * setting.save_bytes / 1e12,
        "least_gb_per_second": setting.save_bytes / case.interval / 1e9,
        "expected_waste": waste_share(case.interval, setting.stall_seconds, setting.restart_seconds, mtbf),
        "training_hours": case.main_seconds / 3600,
        "simulated_hours": hours,
        "simulated_waste_of_main": mean(1 - tally.useful / tally.held for tally in mains),
        "simulated_failures": sum(tally.failures for tally in tallies) / len(runs),
        "simulated_traffic_tb": sum(tally.written_bytes for tally in tallies) / len(runs) / 1e12,
        "blocked_hours_of_main": mean(tally.blocked for tally in mains) / 3600,
        "device_hours": device_hours,
        "main_done_hours": mean(run.released["main"] for run in runs) / 3600,
    }
    if case.branch != "none":
        found["branch_alone_hours"] = case.branch_seconds / 3600
        found["branch_released_hours"] = mean(run.released["branch"] for run in runs) / 3600
    return found


def _devices(case: Scenario) -> tuple[int, ...]:
    return case.devices, case.branch_devices


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parameters", type=parse_quantity, default=70e9)
    parser.add_argument("--tokens", type=parse_quantity, default=1e12, help="of the main path")
    parser.add_argument("--batch-tokens", type=parse_quantity, default=4e6, help="of an optimizer step")
    parser.add_argument("--devices", type=int, default=1024)
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="of a device (H100, dense bf16)")
    parser.add_argument("--mfu", type=float, default=0.4)
    parser.add_argument("--step-seconds", type=float, help="instead of the FLOPs")
    parser.add_argument("--mtbf-hours-per-device", type=float, default=50675.0, help="Llama 3: 54 d x 16,384 / 419")
    parser.add_argument("--storage-gb-per-second", type=float, default=50.0, help="of all hosts together")
    parser.add_argument("--copy-gb-per-second", type=float, default=10.0, help="device to host memory, each device")
    parser.add_argument("--publish-seconds", type=float, default=1.0, help="what rank 0 does alone at every save")
    parser.add_argument("--start-seconds", type=float, default=300.0, help="from a failure to loading")
    parser.add_argument("--every-steps", type=int, help="steps between saves; by default Daly's interval")
    parser.add_argument("--branch", choices=("none", "after", "beside"), default="none")
    parser.add_argument("--branch-share", type=float, default=0.15, help="steps of the branch over the main path's")
    parser.add_argument("--branch-devices", type=int, help="beside: its own; by default as many as the main path's")
    parser.add_argument("--fork-share", type=float, help="where it forks; by default so that both are as far in data")
    parser.add_argument("--runs", type=int, default=100, help="simulated, each with failures of its own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser


def main() -> None:
    given = arguments().parse_args()
    case = scenario(given)
    found = summary(case, [simulate(case.groups(), case.setting, given.seed + n) for n in range(given.runs)])
    if given.json:
        print(json.dumps({"scenario": asdict(case), "found": found}, indent=1))
        return
    table = Table("", "value")
    for name, value in found.items():
        table.add_row(name.replace("_", " "), f"{value:,.4g}" if value < 1e5 else f"{value:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
