"""metrics.jsonl: one line a logged step. The local truth that every figure is drawn from; imports no torch."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Metrics:
    """One logged step of a path."""

    step: int
    """Steps of the lineage that are done."""
    tokens: int
    """Tokens of the lineage that are done."""
    loss: float
    """Mean training loss, in nats a token, over the steps since the line before."""
    lr: float
    """Learning rate of the last of these steps."""
    grad_norm: float | None
    """Gradient norm of the last of these steps, before clipping."""
    tokens_per_second: float


class MetricsWriter:
    """Appends to a path's metrics.jsonl; a resumed path writes the steps that it repeats again."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        self._file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - held while training
        if torn:
            self._file.write("\n")

    def write(self, metrics: Metrics) -> None:
        self._file.write(json.dumps(asdict(metrics)) + "\n")

    def close(self) -> None:
        self._file.close()


def read_metrics(path: Path) -> list[Metrics]:
    """The metrics of a path in the order of steps; of a repeated step the last line counts, a torn line does not."""
    if not path.exists():
        return []
    newest: dict[int, Metrics] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # a line that a crash tore
            metrics = Metrics(**json.loads(line))
            newest[metrics.step] = metrics
    return [newest[step] for step in sorted(newest)]
