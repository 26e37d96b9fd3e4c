"""Time of an optimizer step on many GPUs, computed from FLOPs, bytes that are sent, and what overlaps.

Bytes by ZeRO stage: Rajbhandari et al., ZeRO: Memory Optimizations Toward Training Trillion Parameter Models, SC 2020,
section 7, for weights and gradients in bf16 (N parameters). Stages 1 and 2 of DeepSpeed 0.19.8 average gradients by
all-reduce (use_multi_rank_bucket_allreduce), 4 N bytes, at stage 2 in every micro-batch, and gather updated weights,
2 N; stage 3 gathers weights for the forward and the backward pass, 2 N each, and scatters gradients, 2 N, in every
micro-batch. A ring sends (w - 1) / w of that from each of w GPUs (Patarasuk and Yuan, 2009). Latency, stragglers and
congestion are left out.

python tools/step_time.py --parameters 7B --devices 1024 --batch-tokens 8M
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from lrps.config.values import parse_quantity


@dataclass(frozen=True)
class Cluster:
    """What the estimate assumes of the GPUs and of the network between them."""

    devices: int
    peak_flops: float
    """Dense bf16 peak of one GPU in FLOP/s."""
    efficiency: float
    """Share of the peak that a step reaches without communication."""
    bytes_per_second: float
    """Bandwidth at which each GPU sends and receives in collectives of all GPUs."""


@dataclass(frozen=True)
class Step:
    """Parts of a step in seconds."""

    compute: float
    exposed: float
    """Communication that nothing hides."""
    flops_share: float
    """Model FLOPs utilisation (MFU): FLOPs of the model over those of the peak in the whole step."""

    @property
    def seconds(self) -> float:
        """Duration of the step."""
        return self.compute + self.exposed


def step_time(parameters: float, batch_tokens: float, micro_batches: int, stage: int, cluster: Cluster) -> Step:
    """Return the time of a step.

    The forward pass is a third of the FLOPs. Gradients are reduced while a backward pass continues; at stage 1 with
    several micro-batches, at the end of the step, because lrps sums them before.
    """
    flops = 6 * parameters * batch_tokens / cluster.devices
    compute = flops / (cluster.peak_flops * cluster.efficiency)
    of_weights = 2 * parameters * (cluster.devices - 1) / cluster.devices / cluster.bytes_per_second
    forward, backward = compute / 3, compute * 2 / 3
    if stage == 3:
        exposed = max(0.0, micro_batches * of_weights - forward) + max(0.0, 2 * micro_batches * of_weights - backward)
    else:
        times = micro_batches if stage == 2 else 1
        hidden = backward if stage == 2 or micro_batches == 1 else 0.0
        exposed = max(0.0, 2 * times * of_weights - hidden) + of_weights
    return Step(compute, exposed, flops / cluster.peak_flops / (compute + exposed))


def main() -> None:
    """Print the step of every stage for some numbers of micro-batches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=parse_quantity, default=7e9)
    parser.add_argument("--devices", type=int, default=1024)
    parser.add_argument("--batch-tokens", type=parse_quantity, default=8e6, help="of an optimizer step")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="of a device (H100, dense bf16)")
    parser.add_argument("--efficiency", type=float, default=0.5, help="share of it without communication")
    parser.add_argument("--gb-per-second", type=float, default=40.0, help="sent by each device in collectives of all")
    a = parser.parse_args()
    cluster = Cluster(a.devices, a.peak_tflops * 1e12, a.efficiency, a.gb_per_second * 1e9)
    print(f"{'ZeRO':>4} {'micro-batches':>13} {'compute s':>10} {'exposed s':>10} {'step s':>8} {'MFU':>5}")
    for stage in (1, 2, 3):
        for micro in (1, 2, 4):
            step = step_time(a.parameters, a.batch_tokens, micro, stage, cluster)
            parts = f"{step.compute:>10.3f} {step.exposed:>10.3f} {step.seconds:>8.3f} {step.flops_share:>5.2f}"
            print(f"{stage:>4} {micro:>13} {parts}")


if __name__ == "__main__":
    main()
