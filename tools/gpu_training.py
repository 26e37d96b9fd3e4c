"""Some steps of lrps beside a bare PyTorch loop, and a profile of where a step spends its time.

Started by tools/gpu_proof.py, on a GPU or else on the CPU. The loss has to follow that of the bare loop and to fall;
the peak memory has to be that of the forecast of `lrps plan`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.attention
from bench_train import gpu, peak_tflops
from gpu_findings import Findings
from gpu_models import BareLoop, device, make_config, rows_of, running
from measure_memory_worker import Peak

from lrps.config.models import Config
from lrps.engine.deepspeed_engine import Engine, process_group
from lrps.paths.decoder import Decoder, decoder_of
from lrps.paths.memory import Setting, memory_need

LR = 3e-4
TOLERANCE = 2e-2
"""Relative distance of losses in bf16: DeepSpeed's weights are rounded to bf16, those of the bare loop are not."""
FORECAST = 0.10
"""Relative distance of the forecast of the peak memory to the measured one."""
PROFILED_STEPS, TOP = 3, 15


def forecast(config: Config, decoder: Decoder, rows: int) -> int:
    """Return the forecast of the peak memory of a step, in bytes."""
    setting = Setting(
        zero_stage=config.engine.zero_stage,
        precision="bf16" if config.engine.precision == "bf16" else "fp32",
        devices=1,
        rows=rows,
        micro_batches=1,
        length=config.data.sequence_length,
        gloo=device().type == "cpu",
    )
    return memory_need(decoder, setting).peak.total


def lrps_steps(
    config: Config, arguments: argparse.Namespace, findings: Findings, trace: Path
) -> tuple[list[float], float, int]:
    """Return the losses of lrps' steps, the seconds of one, and the peak bytes of tensors; write the profile."""
    peak = Peak()
    with peak.scope, running(config) as engine:

        def take(first: int, steps: int) -> list[float]:
            for step in range(first, first + steps):
                engine.train_step(_batch(arguments, step), lr=LR, seed=0, step=step)
            return [result.loss for result in engine.sync_metrics().steps]

        losses = take(0, 3)
        peak.reset()
        losses += take(3, 1)
        found = peak.read()
        began = time.perf_counter()
        losses += take(4, arguments.steps - 4)
        seconds = (time.perf_counter() - began) / (arguments.steps - 4)
        profile(engine, lambda: take(arguments.steps, PROFILED_STEPS), findings, trace)
    return losses, seconds, found


def _batch(arguments: argparse.Namespace, step: int) -> Any:
    return rows_of(step, arguments.rows, arguments.length)


def profile(engine: Engine, steps: Callable[[], object], findings: Findings, trace: Path) -> None:
    """Profile some steps: write a trace for https://ui.perfetto.dev, and the kernels that take most time."""
    on_gpu = torch.device(engine._engine.device).type == "cuda"
    kinds = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if on_gpu else [])]
    began = time.perf_counter()
    with torch.profiler.profile(activities=kinds) as profiled:
        steps()
    wall = time.perf_counter() - began
    trace.parent.mkdir(parents=True, exist_ok=True)
    profiled.export_chrome_trace(str(trace))
    averages = profiled.key_averages()

    def own_seconds(event: Any) -> float:
        return float(event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e6

    # On a GPU operators carry the time of the kernels that they start, which would count twice.
    events = [event for event in averages if not on_gpu or str(event.device_type).endswith("CUDA")]
    whole = sum(own_seconds(event) for event in events) or 1.0
    top = sorted(events, key=own_seconds, reverse=True)[:TOP]
    findings.figure("trace", str(trace))
    findings.figure("profile", {event.key[:80]: round(own_seconds(event) / whole, 4) for event in top})
    findings.figure("share of the profiled time in which the device works", round(whole / wall, 3))


def attention_kernels(findings: Findings, rows: int, length: int, heads: int = 16, head_size: int = 128) -> None:
    """Time the kernels of torch's attention, forward and backward, in the shape of a 1.2B llama's layer."""
    shape = (rows, heads, length, head_size)
    tensors = [torch.randn(shape, device=device(), dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
    seconds: dict[str, float | str] = {}
    for name, backend in torch.nn.attention.SDPBackend.__members__.items():
        if name in ("ERROR", "OVERRIDEABLE"):
            continue
        try:
            with torch.nn.attention.sdpa_kernel(backend):
                for repeat in range(4):
                    if repeat == 1:
                        began = _now()
                    torch.nn.functional.scaled_dot_product_attention(*tensors, is_causal=True).sum().backward()
            seconds[name] = (_now() - began) / 3
        except RuntimeError as error:  # This device or this build of torch has no such kernel.
            seconds[name] = str(error).splitlines()[0][:120]
    findings.figure(f"seconds of attention {shape}, forward and backward", seconds)


def _now() -> float:
    """Return the time in seconds once the device has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def bare_steps(config: Config, arguments: argparse.Namespace) -> list[float]:
    """Return the losses of the bare loop."""
    bare, found = BareLoop(config, LR), []
    for step in range(arguments.steps):
        found.append(bare.step(lambda step=step: bare.loss(_batch(arguments, step)))[0])  # type: ignore[misc]
    return [float(loss) for loss in found]


def main() -> None:
    """Take the steps, and write down what they show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--found", type=Path, required=True, help="file of findings")
    parser.add_argument("--trace", type=Path, required=True, help="file of the profiler's trace, .json.gz")
    parser.add_argument("--size", default="125M", help="of the model, see tools/bench_train_setup.py")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    findings = Findings(arguments.found)
    config = make_config(arguments.size, 1, "bf16", arguments.rows, arguments.length)
    decoder = decoder_of(config.model)
    assert decoder is not None
    with process_group():
        ours, seconds, peak = lrps_steps(config, arguments, findings, arguments.trace)
        theirs = bare_steps(config, arguments)
    attention_kernels(findings, arguments.rows, arguments.length)
    judge(findings, ours, theirs)
    ratio = forecast(config, decoder, arguments.rows) / peak
    findings.claim("peak memory is that of the forecast", abs(ratio - 1) < FORECAST, f"forecast / measured {ratio:.3f}")
    per_second = arguments.rows * arguments.length / seconds
    findings.figure("tokens/s", round(per_second))
    findings.figure("peak bytes", peak)
    found = gpu() if torch.cuda.is_available() else None
    if found is not None and (tera := peak_tflops(found[0])) is not None:
        findings.figure("MFU", round(per_second * decoder.flops_per_token(arguments.length) / (tera * 1e12), 4))


def judge(findings: Findings, ours: list[float], theirs: list[float]) -> None:
    """Compare the losses of lrps with those of the bare loop."""
    apart = max(abs(mine / its - 1) for mine, its in zip(ours, theirs, strict=True))
    findings.claim("losses follow a bare PyTorch loop", apart < TOLERANCE, f"within {apart:.1e} over {len(ours)} steps")
    findings.claim("the loss falls", ours[-1] < ours[0], f"from {ours[0]:.3f} to {ours[-1]:.3f}")
    findings.figure("losses", {"lrps": ours, "bare PyTorch": theirs})


if __name__ == "__main__":
    main()
