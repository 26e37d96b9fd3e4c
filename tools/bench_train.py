"""How fast lrps trains beside bare PyTorch and DeepSpeed loops and Hugging Face's Trainer, with DeepSpeed and without.

One run measures all of them on the same model, tokens, batch and precision, in turns: each is a process (or one a rank)
that stays alive, takes some steps, and waits for the others. Figures are medians over rounds, ratios are taken round by
round, so that a machine that is shared says something all the same; `spread` says how noisy it was (distance between
the quartiles of a step's time). lrps is `lrps train`'s own job, with data, ledger and metrics. Where there is a GPU the
sizes are 1.2B, 350M and 125M in bf16 with rows of 2,048 tokens, ZeRO 1 and 3, and every switch of `engine:` is tried by
itself on the largest. There are two bare DeepSpeed loops: one with that library's defaults, and one tuned alike, with
the settings, the loss and the memory of lrps, beside which the difference is lrps' own loop. Hugging Face's Trainer
needs `pip install accelerate`, which nothing else here does; without it its rows say so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench_train_setup import Case, switches, write_data
from bench_train_turns import Contestant, Found, in_waves, take_turns
from rich.console import Console
from rich.table import Table

from lrps.paths.cost import PEAK_TFLOPS

EXAMPLE = """examples:
  python tools/bench_train.py --sizes 1M,10M --ranks 1,2 --out data/bench-train.json
  python tools/bench_train.py --preset gpu             everything on a GPU, within 8 minutes
  python tools/bench_train.py --preset gpu --dry-run   the same with tiny models on a CPU: does it run?"""
PROGRAMS = {
    "lrps": "lrps",
    "deepspeed-tuned": "bare DeepSpeed, tuned alike",
    "deepspeed": "bare DeepSpeed",
    "hf": "HF Trainer + DeepSpeed",
    "hf-plain": "HF Trainer",
    "pytorch": "bare PyTorch",
}
GPU_ROWS = {"125M": 16, "350M": 16, "1.2B": 16}
"""With fewer rows of 1.2B the optimizer alone is a large part of a step."""
GPU_SIZES = "1.2B,350M,125M"  # The largest first: what a limit cuts off is the least.
STATE_BYTES, USABLE = 16, 0.95
"""Bytes a parameter of a program that waits on a GPU, and the share of the memory that programs can have together."""
LEAST_SECONDS = 45.0
"""Of the limit, for a comparison to be begun on a GPU."""


def gpu() -> tuple[str, int] | None:
    """Name and bytes of the first GPU; found without torch, which would take memory of it."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    name, mebibytes = told.splitlines()[0].rsplit(",", 1)
    return name.strip(), int(mebibytes) * 2**20


def peak_tflops(device: str) -> float | None:
    """Dense bf16 peak by the product's name; None for one that lrps does not know."""
    words = re.split(r"[ -]", device)
    name = next((word for word in words if word in PEAK_TFLOPS), "")
    return PEAK_TFLOPS.get(f"{name}-PCIe" if "PCIe" in words else name, PEAK_TFLOPS.get(name))


def cases(arguments: argparse.Namespace) -> list[Case]:
    """What is compared, in the order of interest."""
    found = []
    for zero in arguments.zero:
        for size in arguments.sizes:
            for ranks in arguments.ranks:
                rows = arguments.rows or (GPU_ROWS.get(size, 4) * ranks)
                steps = max(64, min(20_000, 2**23 // (rows * arguments.length)))
                found.append(Case(size, ranks, zero, arguments.precision, rows, arguments.length, steps))
    return found


class Bench:
    """All comparisons of one run; the file is written after every round, so that a run cut short leaves its part."""

    def __init__(self, arguments: argparse.Namespace, device: tuple[str, int] | None) -> None:
        self.arguments, self.device = arguments, device
        self.console = Console(width=130, highlight=False)
        self.progress = self.console.status("starting")
        self.scratch = Path(tempfile.mkdtemp(prefix="bench-train-"))
        self.deadline = time.monotonic() + 60 * arguments.limit_minutes
        self.results: list[dict[str, Any]] = []
        self.left_out: list[str] = []
        self._waves = 0

    def run(self) -> None:
        programs = {name: label for name, label in PROGRAMS.items() if name in self.arguments.programs}
        with self.progress:
            for number, case in enumerate(cases(self.arguments)):
                self.compare("programs", [Contestant(label, name, case) for name, label in programs.items()])
                if number == 0 and self.arguments.sweep:
                    self.sweep(case)

    def sweep(self, case: Case) -> None:
        """Every engine switch by itself, beside lrps as it comes."""
        variants = [Contestant("lrps", "lrps", case)]
        for switch in switches(self.arguments.switches):
            ((name, value),) = switch.items()
            variants.append(Contestant(f"{name} {value}", "lrps", replace(case, engine=switch)))
        self.compare("switches", variants)

    def compare(self, kind: str, contestants: Sequence[Contestant]) -> None:
        """In as many waves as the GPU's memory asks for; what there is no time for is named."""
        case = contestants[0].case
        root = self.scratch / f"data-{case.rows}x{case.length}x{case.steps}"
        if not root.exists():
            write_data(root, case)
        result: dict[str, Any] = {"kind": kind, "title": case.title, "case": case.to_json(), "programs": {}}
        self.results.append(result)
        for wave in in_waves(contestants, self._together(case, root)):
            self._waves += 1
            if self.device and self.deadline - time.monotonic() < LEAST_SECONDS:
                self.left_out += [f"{case.title}: {each.label}" for each in wave]
                continue

            def told(what: str, found: list[Found], result: dict[str, Any] = result) -> None:
                self._note(result, found, root)
                left = max(0.0, self.deadline - time.monotonic())
                until = f", {left:.0f} s left" if left < 3600 else ""
                self.progress.update(f"{case.title}: {what}{until}")

            found = take_turns(
                wave,
                root,
                self.scratch / f"wave-{self._waves}",
                blocks=self.arguments.blocks,
                seconds=self.arguments.seconds,
                threads=self.arguments.threads,
                deadline=self.deadline,
                told=told,
            )
            self._note(result, found, root)
            shutil.rmtree(self.scratch / f"wave-{self._waves}", ignore_errors=True)
        self._print(result)

    def _together(self, case: Case, root: Path) -> int:
        if self.device is None or self.arguments.dry_run:
            return 8
        peak = case.forecast_bytes(root, chunked=False)
        state = STATE_BYTES * case.decoder(root).parameters
        return max(2, 1 + int((self.device[1] * USABLE - peak) / state))

    def _note(self, result: dict[str, Any], found: list[Found], root: Path) -> None:
        """Add to the result what is known now, and write the file."""
        base = found[0]
        for each in found:
            case = each.contestant.case
            facts: dict[str, Any] = {"failure": each.failure} if each.failure else {}
            if each.blocks:
                facts |= _facts(each, base)
                facts["mfu"] = self._mfu(each, case.decoder(root).flops_per_token(case.length))
                if each.contestant.program == "lrps":
                    facts["forecast_bytes"] = case.forecast_bytes(root, gloo=self.device is None)
            result["programs"][each.contestant.label] = facts
        self.write()

    def _mfu(self, found: Found, flops_per_token: int) -> float | None:
        peak = peak_tflops(self.device[0]) if self.device and not self.arguments.dry_run else None
        if peak is None:
            return None
        return found.tokens_per_second * flops_per_token / (peak * 1e12 * found.contestant.case.ranks)

    def write(self) -> None:
        out: Path = self.arguments.out
        out.parent.mkdir(parents=True, exist_ok=True)
        settings = {
            key: str(value) if isinstance(value, Path) else value for key, value in vars(self.arguments).items()
        }
        told = {"settings": settings, "machine": machine(self.device), "results": self.results}
        out.write_text(json.dumps(told | {"left_out": self.left_out}, indent=1) + "\n")

    def _print(self, result: dict[str, Any]) -> None:
        self.console.print(table(result))
        for line in sentences(result):
            self.console.print(line, markup=False)


def _facts(found: Found, base: Found) -> dict[str, Any]:
    """Of a program, and of its ratio to the first one of its wave."""
    lines = found.blocks
    spent = {what: sum(block.spent.get(what, 0.0) for block in lines) / len(lines) for what in lines[0].spent}
    return {
        "tokens_per_second": found.tokens_per_second,
        "step_seconds": found.step_seconds,
        "spread": found.spread,
        "cpu_seconds_per_step": sorted(block.cpu for block in lines)[len(lines) // 2],
        "step_ratio": found.ratio(base),
        "cpu_ratio": found.ratio(base, "cpu"),
        "peak_bytes": max(block.peak_bytes for block in lines),
        "steps_a_round": lines[0].steps,
        "rounds_wall_seconds": [block.wall for block in lines],
        "rounds_cpu_seconds": [block.cpu for block in lines],
        "spent_seconds_per_step": spent,
        "rest_of_step_seconds": sum(b.wall for b in lines) / len(lines) - sum(spent.values()) if spent else None,
        "ledger_device_seconds": found.ledger,
    }


def table(result: dict[str, Any]) -> Table:
    shown = Table(title=result["title"])
    shown.add_column("program")
    for heading in ("tokens/s", "step, ms", "spread", "CPU ms/step", "x lrps", "x lrps, CPU", "peak MB", "MFU"):
        shown.add_column(heading, justify="right")
    for name, facts in result["programs"].items():
        if "step_seconds" not in facts:
            shown.add_row(name, "failed" if "failure" in facts else "no time", *[""] * 7)
            continue
        mfu = "n/a" if facts["mfu"] is None else f"{facts['mfu']:.3f}"
        ratios = (f"{facts[key]:.3f}" if facts[key] is not None else "?" for key in ("step_ratio", "cpu_ratio"))
        times = (
            f"{facts['step_seconds'] * 1e3:.1f}",
            f"{facts['spread']:.1%}",
            f"{facts['cpu_seconds_per_step'] * 1e3:.1f}",
        )
        shown.add_row(
            name, f"{facts['tokens_per_second']:,.0f}", *times, *ratios, f"{facts['peak_bytes'] / 1e6:,.0f}", mfu
        )
    return shown


def sentences(result: dict[str, Any]) -> list[str]:
    """The ratios that lrps is held to, and what its step is spent on."""
    facts = result["programs"]
    known = {name: facts.get(label, {}) for name, label in PROGRAMS.items()}
    said = [f"{name} failed: {each['failure']}" for name, each in facts.items() if "failure" in each]
    if result["kind"] == "programs":
        for clock in ("step_ratio", "cpu_ratio"):
            x = {name: each.get(clock) for name, each in known.items()}
            parts = [
                f"lrps / {PROGRAMS[name]}, step {1 / x[name]:.3f}" if x[name] else ""
                for name in ("deepspeed-tuned", "deepspeed", "hf", "hf-plain", "pytorch")
            ]
            parts += [
                f"bare DeepSpeed / bare PyTorch, step {x['deepspeed'] / x['pytorch']:.3f}"
                if x["deepspeed"] and x["pytorch"]
                else "",
            ]
            said.append(f"{'wall' if clock == 'step_ratio' else 'CPU '}: " + "   ".join(filter(None, parts)))
    if spent := known["lrps"].get("spent_seconds_per_step"):
        whole = sum(spent.values()) + known["lrps"]["rest_of_step_seconds"]
        each = spent | {"rest of the loop": known["lrps"]["rest_of_step_seconds"]}
        said.append("lrps: " + "   ".join(f"{k} {v * 1e3:.3f} ms ({v / whole:.2%})" for k, v in each.items()))
    if ledger := known["lrps"].get("ledger_device_seconds"):
        said.append("ledger, device-seconds: " + "   ".join(f"{k} {v:.2f}" for k, v in ledger.items()))
    return said


def machine(device: tuple[str, int] | None) -> dict[str, Any]:
    packages = {}
    for name in ("torch", "deepspeed", "transformers", "accelerate"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    processor = next((s for s in Path("/proc/cpuinfo").read_text().splitlines() if s.startswith("model name")), "")
    facts = {"cpu": processor.partition(":")[2].strip(), "cores": os.cpu_count(), "load": os.getloadavg()}
    return {"device": device and device[0], "python": platform.python_version(), **facts, **packages}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words, numbers = (lambda text: text.split(",")), (lambda text: [int(word) for word in text.split(",")])
    parser.add_argument("--preset", choices=["cpu", "gpu"], help="by default what the machine has")
    parser.add_argument("--dry-run", action="store_true", help="the same cases with tiny models on the CPU")
    parser.add_argument("--sizes", type=words, help=f"(default 1M,10M,50M; on a GPU {GPU_SIZES})")
    parser.add_argument("--ranks", type=numbers, help="processes that train together (default 1,2; on a GPU 1)")
    parser.add_argument("--zero", type=numbers, help="ZeRO stages (default 1; on a GPU 1,3)")
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="(default fp32; on a GPU bf16)")
    parser.add_argument("--rows", type=int, help="in a step, over all ranks (default 4 a rank; on a GPU by size)")
    parser.add_argument("--length", type=int, help="tokens in a row, a power of 2 (default 64; on a GPU 2048)")
    parser.add_argument("--programs", type=words, default=list(PROGRAMS), help=f"(default {','.join(PROGRAMS)})")
    parser.add_argument("--sweep", action=argparse.BooleanOptionalAction, help="try the engine's switches (on a GPU)")
    parser.add_argument("--switches", type=words, help="of the engine that are tried (default all)")
    parser.add_argument("--seconds", type=float, help="of measuring, a program and case (default 20; on a GPU 5)")
    parser.add_argument("--blocks", type=int, default=10, help="rounds that these seconds are cut into (default 10)")
    parser.add_argument("--threads", type=int, help="of a process (default 1; with a GPU a quarter of the cores)")
    parser.add_argument("--limit-minutes", type=float, help="leave out what does not fit (default none; on a GPU 7.5)")
    parser.add_argument(
        "--out", type=Path, default=Path("data/bench-train.json"), help="(default data/bench-train.json)"
    )
    return parser.parse_args()


def settle(arguments: argparse.Namespace, device: tuple[str, int] | None) -> None:
    """Fill in what the preset says."""
    if arguments.preset is None:
        arguments.preset = "gpu" if device else "cpu"
    if arguments.preset == "gpu" and device is None and not arguments.dry_run:
        raise SystemExit("--preset gpu needs a GPU, and nvidia-smi shows none; --dry-run tries the same on the CPU")
    if unknown := set(arguments.programs) - set(PROGRAMS):
        raise SystemExit(f"--programs: no {', '.join(sorted(unknown))}; there is {', '.join(PROGRAMS)}")
    on_gpu = arguments.preset == "gpu"
    defaults: dict[str, Any] = {
        "sizes": GPU_SIZES.split(",") if on_gpu else ["1M", "10M", "50M"],
        "ranks": [1] if on_gpu else [1, 2],
        "zero": [1, 3] if on_gpu else [1],
        "precision": "bf16" if on_gpu else "fp32",
        "length": 2048 if on_gpu else 64,
        "sweep": on_gpu,
        "seconds": 5.0 if on_gpu else 20.0,
        "threads": max(1, (os.cpu_count() or 1) // 4) if on_gpu and not arguments.dry_run else 1,
        "limit_minutes": 7.5 if on_gpu and not arguments.dry_run else 24 * 60.0,
    }
    for name, value in defaults.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    if arguments.dry_run:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        arguments.sizes = [f"{100 + 50 * number}k" for number in range(len(arguments.sizes))]
        arguments.length, arguments.rows, arguments.seconds = 32, 2 * max(arguments.ranks), 0.1


def main() -> None:
    arguments = parse()
    device = gpu()
    settle(arguments, device)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to stop"))
    bench = Bench(arguments, None if arguments.preset == "cpu" or arguments.dry_run else device)
    try:
        bench.run()
    finally:
        bench.write()
        shutil.rmtree(bench.scratch, ignore_errors=True)
        bench.console.print(f"figures: {arguments.out}", markup=False)
        for line in bench.left_out:
            bench.console.print(f"left out, for want of time: {line}", markup=False)


if __name__ == "__main__":
    main()
