"""Measure how fast rehearsal data is sampled, beside `generate` of transformers with the same settings.

    python tools/bench_sampling.py MODEL [--batch 16] [--tokens 64] [--rounds 5] [--penalty 1.2]

Both complete the same prompts with the same loaded model, in turns, so that a busy machine slows both; no completion
ends early. Prints the tokens per second of each, the ratio of every pair of turns, and their median.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from lrps.rehearsal.generator import HfGenerator
from lrps.rehearsal.sampling import Sampling

PROMPT = "Input: What is the capital of France?\nOutput: Paris\n\nInput: What do bees make?\nOutput: honey\n\nInput:"


def ours(generator: HfGenerator, sampling: Sampling, batch: int) -> int:
    """Return the number of tokens that lrps samples for a batch of prompts."""
    completions = generator.generate([PROMPT] * batch, sampling, list(range(batch)))
    return sum(one.tokens for one in completions)


def theirs(generator: HfGenerator, sampling: Sampling, batch: int) -> int:
    """Return the number of tokens that transformers samples for the same prompts; it penalizes their tokens too."""
    ids = torch.tensor([generator._encode(PROMPT)] * batch, device=generator.device)
    with torch.inference_mode():
        output = generator.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=0,
            repetition_penalty=sampling.repetition_penalty,
            max_new_tokens=sampling.max_new_tokens,
            min_new_tokens=sampling.max_new_tokens,
            pad_token_id=0,
        )
    return int(output[:, ids.shape[1] :].numel())


def rate(write: Callable[[HfGenerator, Sampling, int], int], *given: HfGenerator | Sampling | int) -> float:
    """Return the tokens per second of one call."""
    began = time.perf_counter()
    tokens = write(*given)  # type: ignore[arg-type]
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return tokens / (time.perf_counter() - began)


def main() -> None:
    """Measure, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--penalty", type=float, default=1.2)
    chosen = parser.parse_args()
    generator = HfGenerator(chosen.model, chosen.batch)
    generator._ends = ()  # Every completion has all its tokens.
    generator.model.generation_config.eos_token_id = None
    sampling = Sampling(chosen.tokens, temperature=0.9, top_p=0.6, repetition_penalty=chosen.penalty)
    warm = Sampling(4, temperature=0.9, top_p=0.6, repetition_penalty=chosen.penalty)
    rates = []
    for write in (ours, theirs):
        rate(write, generator, warm, chosen.batch)
    for number in range(chosen.rounds):
        turns = (ours, theirs) if number % 2 == 0 else (theirs, ours)
        found = {write.__name__: rate(write, generator, sampling, chosen.batch) for write in turns}
        rates.append((found["ours"], found["theirs"]))
    result = {
        "model": chosen.model.name,
        "device": generator.device.type,
        "batch": chosen.batch,
        "tokens": chosen.tokens,
        "penalty": chosen.penalty,
        "tokens_per_second": median(one for one, _ in rates),
        "transformers_tokens_per_second": median(other for _, other in rates),
        "ratios": [round(one / other, 3) for one, other in rates],
        "ratio": round(median(one / other for one, other in rates), 3),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
