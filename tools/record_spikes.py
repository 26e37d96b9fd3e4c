"""Record the losses and gradient norms of a small real run with planted spikes, for the tests of the spike guard.

A llama of one layer learns a Markov chain at a constant rate. Two kinds of spikes are planted: steps whose sequences
are noise (as of damaged text), and updates at a multiple of the rate, after which the next losses are high until the
model has recovered. The series is what training really gave at that time; tests read the file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

EXAMPLE = "example: python tools/record_spikes.py tests/train/watches/recorded_spikes.json"
VOCABULARY, LENGTH, ROWS, RATE, WARMUP = 32, 16, 4, 3e-3, 50
NOISE = (200, 420, 421, 640)
"""Steps that read noise."""
LEAPS = {310: 60.0, 530: 150.0}
"""Step -> factor of the rate of its update: the steps after it are spikes."""


def chain(rng: np.random.Generator) -> np.ndarray:
    """Return the transition probabilities of a Markov chain: (vocabulary, vocabulary)."""
    weights = rng.gamma(0.1, size=(VOCABULARY, VOCABULARY)) + 1e-3
    return np.asarray(weights / weights.sum(1, keepdims=True))


def sequences(rng: np.random.Generator, chances: np.ndarray) -> np.ndarray:
    """Draw the sequences of a step: (rows, length)."""
    bounds = chances.cumsum(1)
    rows = np.empty((ROWS, LENGTH), dtype=np.int64)
    rows[:, 0] = rng.integers(VOCABULARY, size=ROWS)
    for place in range(1, LENGTH):
        drawn = rng.random(ROWS)[:, None] < bounds[rows[:, place - 1]]
        rows[:, place] = np.where(drawn.any(1), drawn.argmax(1), VOCABULARY - 1)
    return rows


def record(steps: int) -> dict[str, object]:
    """Train, and return the settings, the planted steps and the series."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    chances = chain(rng)
    sizes = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=LENGTH, **sizes))
    adam = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
    losses, norms = list[float](), list[float]()
    for step in range(steps):
        rows = sequences(rng, chances)
        if step in NOISE:
            rows = rng.integers(VOCABULARY, size=rows.shape)
        ids = torch.from_numpy(rows)
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in adam.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARMUP) * LEAPS.get(step, 1.0)
        adam.step()
        adam.zero_grad()
        losses.append(round(float(loss.detach()), 5))
        norms.append(round(float(norm), 5))
    made = f"python tools/record_spikes.py FILE --steps {steps}"
    return {"made": made, "noise": NOISE, "leaps": sorted(LEAPS), "losses": losses, "norms": norms}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0], epilog=EXAMPLE)
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", type=int, default=750, help="steps to train (default 750)")
    arguments = parser.parse_args()
    arguments.file.write_text(json.dumps(record(arguments.steps), separators=(",", ":")) + "\n")
