"""Train one tiny model with every kind of optimizer at some rates: losses after equally many steps, on one process.

The text is Python's own sources, byte by byte. One seed and one size: it shows that the optimizers train, and no more.
"""

from __future__ import annotations

import argparse
import statistics
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from lrps.config.optimizing import BUILTIN
from lrps.engine.optimizers.engine_optimizer import set_learning_rate
from lrps.engine.optimizers.kinds import optimizer_kind

RATES = {"adamw": (1e-3, 4e-3), "muon": (1e-3, 4e-3), "lion": (1e-4, 4e-4)}
LENGTH = 128


def text(files: int = 60) -> torch.Tensor:
    """Return the bytes of some modules of the standard library."""
    folder = Path(sysconfig.get_path("stdlib"))
    content = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py"))[:files])
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).long()


def tiny_model() -> Any:
    """Return a llama of 0.13M parameters for bytes, drawn from one seed."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, max_position_embeddings=LENGTH))


def train(kind: str, peak: float, steps: int, data: torch.Tensor) -> float:
    """Return the mean loss of the last tenth of the steps: warm-up over a tenth, then linear to 0."""
    model = tiny_model()
    settings = BUILTIN[kind].model_validate({"kind": kind})
    engine = SimpleNamespace(module=model, optimizer=optimizer_kind(kind).make(model, settings))
    generator, losses = torch.Generator().manual_seed(1), []
    for step in range(steps):
        starts = torch.randint(len(data) - LENGTH, (8,), generator=generator)
        rows = torch.stack([data[start : start + LENGTH] for start in starts.tolist()])
        loss = model(input_ids=rows, labels=rows).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        set_learning_rate(engine, peak * min(10 * (step + 1) / steps, (steps - step) / (0.9 * steps), 1.0))
        engine.optimizer.step()
        engine.optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return statistics.mean(losses[-(steps // 10) :])


def main() -> None:
    """Print a line for each kind and rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    steps, data = parser.parse_args().steps, text()
    for kind, rates in RATES.items():
        for peak in rates:
            print(f"{kind:6} peak {peak:g}: loss {train(kind, peak, steps, data):.3f} after {steps} steps", flush=True)


if __name__ == "__main__":
    main()
