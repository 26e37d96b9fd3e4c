"""Path switching with a small model, its forecasts, and the losses that were measured then; for tools/gpu_proof.py.

Text comes from the Python files that are installed here, so that nothing is downloaded; the main path is evaluated
every few steps. The audit has to find every row used once; the forecasts of the branches are figures.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from gpu_findings import Findings

CORPUS = Path(__file__).with_name("python_corpus.py")
SHAPES = {
    "26M": {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8},
    "tiny": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2},
}
HELDOUT_SHARES = {"26M": 0.02, "tiny": 0.2}
"""Share of the text that is held out; of little text more, so that it is a document at least."""
FEWEST_BYTES = 200_000
"""Smallest size of the text of a version. A shorter run reads the first part of it."""
VERSIONS = ("v1", "v2", "v3")


def make_text(folder: Path, tokens: int, epochs: int) -> tuple[Path, int]:
    """Make text for so many tokens of a version; return its directory, and how often each version is read.

    That is `epochs`, or more where fewer Python files are installed. Raises CalledProcessError if they are too few.
    """
    for passes in (epochs, 2 * epochs, 4 * epochs):
        text = folder / f"text-{passes}"
        words = ["--split", "iid", "--versions", str(len(VERSIONS)), "--out", str(text)]
        size = max(FEWEST_BYTES, tokens // passes * 11 // 10)  # A part of it is held out.
        words += ["--bytes-per-version", str(size)]
        made = subprocess.run([sys.executable, str(CORPUS), *words])
        if made.returncode == 0:
            return text, passes
    raise subprocess.CalledProcessError(made.returncode, made.args)


def make_config(folder: Path, text: Path, tokens: int, epochs: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the config of the run: versions of equal size, `steps` steps each, from bytes of text."""
    return {
        "name": "gpu-proof",
        "runs": str(folder / "runs"),
        "model": {
            "architecture": {
                "model_type": "llama",
                "vocab_size": 257,
                "max_position_embeddings": arguments.length,
                "tie_word_embeddings": True,
                **SHAPES[arguments.size],
            }
        },
        "data": {
            "root": str(folder / "data"),
            "train_vocabulary": 257,
            "sequence_length": arguments.length,
            "heldout_share": HELDOUT_SHARES[arguments.size],
            "versions": [
                {"name": name, "text": [str(text / f"{name}.jsonl")], "tokens": tokens // epochs, "epochs": epochs}
                for name in VERSIONS
            ],
        },
        "batch": {"sequences": arguments.rows},
        "schedule": {"peak_lr": 1e-3, "final_lr": 0, "warmup_steps": arguments.steps // 6},
        "paradigms": {"path-switching": {"alpha": 0.6, "decay": "linear"}},
        "engine": {"zero_stage": 1, "precision": "bf16"},
        "evaluation": {"main_every_steps": arguments.every, "main_max_rows": 256, "batch_sequences": 64},
        "launch": {"launcher": "local", "processes": 1, "threads": 1},
    }


def lrps(*words: str) -> str:
    """Run a verb of lrps, and return what it prints. Raises RuntimeError with its message if it fails."""
    ended = subprocess.run([sys.executable, "-m", "lrps", *words], capture_output=True, text=True)
    sys.stderr.write(ended.stderr)
    if ended.returncode:
        raise RuntimeError(f"lrps {words[0]} ended with {ended.returncode}: {ended.stderr.strip()[-300:]}")
    return ended.stdout


def forecasts(config: Path, version: str) -> Any:
    """Return the track record of a trained version: forecasts beside measured losses; or why there is none."""
    command = [sys.executable, "-m", "lrps", "forecast", str(config), "--version", version, "--json"]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        return ended.stderr.strip()[-300:]
    return json.loads(ended.stdout)["track_record"]


def main() -> None:
    """Make the text, train, forecast, audit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--found", type=Path, required=True, help="file of findings")
    parser.add_argument("--size", choices=SHAPES, default="26M")
    parser.add_argument("--steps", type=int, default=600, help="of a version")
    parser.add_argument("--rows", type=int, default=128, help="of a step")
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--every", type=int, default=50, help="steps between evaluations of the main path")
    parser.add_argument("--epochs", type=int, default=4, help="of the text of a version, at least")
    arguments = parser.parse_args()
    folder, findings = arguments.found.parent.resolve(), Findings(arguments.found)
    tokens = arguments.steps * arguments.rows * arguments.length
    text, epochs = make_text(folder, tokens, arguments.epochs)
    config = folder / "config.json"
    config.write_text(json.dumps(make_config(folder, text, tokens, epochs, arguments)))
    lrps("data", "build", str(config))
    lrps("run", str(config))
    audit = json.loads(lrps("data", "audit", str(config), "--json"))
    wrong = audit["differences"]
    findings.claim("the audit finds every row used once", not wrong, str(wrong) if wrong else f"{audit['rows']:,} rows")
    for version in VERSIONS[1:]:
        findings.figure(f"forecasts of {version}", forecasts(config, version))


if __name__ == "__main__":
    main()
