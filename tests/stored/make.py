"""Make the stored runs anew, in this folder: texts, shards, both runs and the documents about them.

    cd tests/stored && python make.py

Needs the real engine and about five minutes. The stored files are there to be kept: make them anew only if a format
changes on purpose. Everything is addressed relative to this folder, so that no file names a place of the machine.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

LRPS = [sys.executable, "-m", "lrps.cli"]
TEXTS = ("v1", "v2", "v3", "v4", "older")
DOCUMENTS = json.loads(Path("documents.json").read_text(encoding="utf-8"))


def write_text(name: str, documents: int = 16) -> None:
    """Write documents of words that follow each other with some regularity, so that there is something to learn."""
    rng, words = random.Random(name), ["path", "switch", "rate", "decay", "branch", "token", "main", "step"]
    texts = (
        " ".join(words[(rng.randrange(8) + i * i) % 8] for i in range(rng.randrange(20, 40))) for _ in range(documents)
    )
    file = Path("text", f"{name}.jsonl")
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def lrps(*arguments: str, code: int = 0) -> str:
    """Run a verb and return its standard output. It must exit with `code`."""
    done = subprocess.run([*LRPS, *arguments], capture_output=True, text=True)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return done.stdout


def run_until(path: str, lines: int, stop: signal.Signals, code: int) -> None:
    """Run the small plan until `path` has logged `lines` lines, then send SIGINT to it or SIGKILL to its worker."""
    metrics = Path("runs", "small", path, "metrics.jsonl")
    with subprocess.Popen([*LRPS, "run", "small.yaml"]) as process:
        while not metrics.exists() or metrics.read_text().count("\n") < lines:
            assert process.poll() is None, f"it ended before {path} was at work"
            time.sleep(0.001)
        if stop is signal.SIGKILL:
            workers = psutil.Process(process.pid).children(recursive=True)
            next(worker for worker in workers if "deepspeed" not in " ".join(worker.cmdline())).kill()
        else:
            process.send_signal(stop)
    assert process.returncode == code, process.returncode


def write_inputs() -> None:
    """Write the texts, the pairs that models are scored on, and the shards."""
    for name in TEXTS:
        write_text(name)
    pairs = [{"input": "path switch", "output": " rate"}, {"input": "main step", "output": " token"}]
    Path("text", "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    lrps("data", "build", "small.yaml")


def train() -> None:
    """Run both plans: the small one in three attempts, of which one is interrupted and one killed."""
    run_until("main", lines=4, stop=signal.SIGINT, code=75)
    run_until("cpt-v2", lines=4, stop=signal.SIGKILL, code=1)
    lrps("run", "small.yaml")
    lrps("score", "small.yaml")
    lrps("run", "bf16.yaml")


def thin() -> None:
    """Remove what would be stored twice or can be made again, and what names the host."""
    for pinned in Path("runs").glob("*/*/branch_points/step-*"):
        if pinned.parts[2] != "main":
            shutil.rmtree(Path(*pinned.parts[:3], "checkpoints", pinned.name))
    for model in Path("runs").glob("*/*/model"):
        if model.parent.name != "branch-v3":
            shutil.rmtree(model)
    for report in Path("runs").glob("*/report"):
        shutil.rmtree(report)
    for lock in Path("runs").rglob("lock"):
        lock.unlink()
    linked = Path("runs").rename("linked")  # git keeps no hard links, and `lrps prune` shows what they save.
    shutil.copytree(linked, "runs")
    shutil.rmtree(linked)


def write_documents() -> None:
    for plan, documents in DOCUMENTS.items():
        for name, arguments in documents.items():
            file = Path("documents", plan, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(lrps(*arguments), encoding="utf-8")


if __name__ == "__main__":
    for folder in ("text", "shards", "runs", "documents"):
        shutil.rmtree(folder, ignore_errors=True)
    write_inputs()
    train()
    thin()
    write_documents()
