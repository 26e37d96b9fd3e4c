"""Laws of the engine on the device that there is, a GPU or else the CPU; started by tools/gpu_proof.py, or by torchrun.

Steps equal a bare loop, in fp32 and bf16 at ZeRO 1 and 3; a state resumes and forks bitwise; a save beside training
has the bytes of an awaited one; documents of packed rows stay apart; the loss in chunks is that of all logits at once;
nothing is compiled in DeepSpeed's folder of extensions.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # Without it cuBLAS is not deterministic.

import numpy as np
import torch
from gpu_findings import Findings
from gpu_models import BareLoop, device, make_config, own_share, rows_of, running
from torch import Tensor, nn

from lrps.config.models import Config
from lrps.engine.checkpointing import Saver, load_checkpoint, save_checkpoint
from lrps.engine.deepspeed_engine import Engine, process_group
from lrps.engine.flat_pieces import WEIGHTS
from lrps.engine.losses.cross_entropy import chunked_cross_entropy
from lrps.engine.ranks import ask_rank_zero, gather, rank, world_size
from lrps.store.checkpoints import Checkpoint
from lrps.store.layout import PathLayout

TOPOLOGIES = ((1, "fp32"), (3, "bf16"), (1, "bf16"), (3, "fp32"))
"""ZeRO stage and precision of each case, the most different ones first."""
LR, STEPS, END = 1e-3, 3, 5
LOSS_TOLERANCE = {"fp32": 1e-5, "bf16": 2e-2}
"""Relative distance of a loss to that of the bare loop, which adds in another order."""


@dataclass(frozen=True)
class Law:
    """A case in which the laws are tried, and where the findings go: on rank 0."""

    size: str
    rows: int
    length: int
    zero: int
    precision: str
    findings: Findings | None

    @property
    def title(self) -> str:
        """Name of the case in claims."""
        ranks = f"{world_size()} rank{'s' if world_size() > 1 else ''}"
        return f"{self.size}, ZeRO {self.zero}, {self.precision}, {ranks}"

    def config(self, **engine: Any) -> Config:
        """Return the config of the case."""
        return make_config(self.size, self.zero, self.precision, self.rows * world_size(), self.length, **engine)

    def batch(self, step: int) -> np.ndarray:
        """Return the rows of all ranks in a step."""
        return rows_of(step, self.rows * world_size(), self.length)

    def claim(self, name: str, holds: bool, said: str) -> None:
        """Record a claim about the case, on rank 0."""
        if self.findings is not None:
            self.findings.claim(f"{name} ({self.title})", holds, said)


def train(engine: Engine, law: Law, first: int, steps: int) -> list[tuple[float, float]]:
    """Take steps with one metrics sync at the end; return losses and gradient norms."""
    for step in range(first, first + steps):
        engine.train_step(own_share(law.batch(step)), lr=LR, seed=5, step=step)
    return [(result.loss, result.grad_norm) for result in engine.sync_metrics().steps]


def steps_equal_a_bare_loop(law: Law) -> None:
    """Compare five steps, and the held-out losses before them, with plain torch on the whole batch."""
    config = law.config()
    bare = BareLoop(config, LR)
    with torch.no_grad():
        expected = float(bare.loss(law.batch(99)))
    with running(config) as engine:
        found = engine.evaluate(own_share(law.batch(99)))
        total, tokens = engine.sum_over_ranks([found.total, float(found.tokens)])
        ours = train(engine, law, 0, 5)
    steps = [bare.step(lambda step=step: bare.loss(law.batch(step))) for step in range(5)]  # type: ignore[misc]
    theirs = [(float(loss), float(norm)) for loss, norm in steps]
    apart = max(abs(mine[0] / its[0] - 1) for mine, its in zip(ours, theirs, strict=True))
    norms = max(abs(mine[1] / its[1] - 1) for mine, its in zip(ours, theirs, strict=True))
    tolerance = LOSS_TOLERANCE[law.precision]
    said = f"losses within {apart:.1e}, norms within {norms:.1e} of a bare loop"
    law.claim("steps equal a bare loop", apart < tolerance and norms < 100 * tolerance, said)
    off = abs(total / tokens / expected - 1)
    law.claim("held-out loss equals that of a bare model", off < tolerance, f"within {off:.1e}")


def states_resume_and_fork_bitwise(law: Law, folder: Path) -> None:
    """Save, continue and load again: the same bytes, and the same steps."""
    config = law.config()
    awaited, beside, end = (PathLayout(folder / name) for name in ("awaited", "beside", "end"))
    with running(config) as engine, closing(Saver(engine, beside)) as saver:
        train(engine, law, 0, STEPS)
        saved = save_checkpoint(engine, awaited, STEPS, {})
        saver.begin(STEPS, {})
        straight = train(engine, law, STEPS, STEPS)
        same = _same_bytes(saved, saver.finish())
        law.claim("a save beside training has the bytes of an awaited one", same, _said(same))
        last = save_checkpoint(engine, end, 2 * STEPS, {})
    with running(config, seed=7, loaded=True) as engine:
        load_checkpoint(engine, saved)
        same = _same_bytes(saved, save_checkpoint(engine, PathLayout(folder / "loaded"), STEPS, {}))
        law.claim("a loaded state is saved byte for byte", same, _said(same))
        resumed = train(engine, law, STEPS, STEPS)
        same = _same_bytes(last, save_checkpoint(engine, PathLayout(folder / "resumed"), 2 * STEPS, {}))
        law.claim("a resumed state continues bitwise", same and resumed == straight, _said(same))
        load_checkpoint(engine, saved, optimizer="reset")
        law.claim("a fork with fresh states has the weights and no moments", *_is_reset(engine, saved))
        repeated = _repeats_by_default(engine, law, saved)
    if law.findings is not None:
        law.findings.figure(f"bitwise by default ({law.title})", repeated)


def _said(same: bool) -> str:
    return "equal" if same else "they differ"


def _same_bytes(one: Checkpoint, other: Checkpoint | None) -> bool:
    """Return whether the values of two states have the same SHA-256."""

    def values(checkpoint: Checkpoint) -> dict[str, Any]:
        files: Mapping[str, Any] = checkpoint.manifest["files"]
        return {name: entry for name, entry in files.items() if name.endswith(".safetensors")}

    return other is not None and values(one) == values(other)


def _is_reset(engine: Engine, saved: Checkpoint) -> tuple[bool, str]:
    """Return whether the weights are those of the loaded state and all moments are zero, on all ranks."""
    tensors = {key: value.clone() for key, value in engine.own_fragments().tensors.items()}
    load_checkpoint(engine, saved)
    carried = engine.own_fragments().tensors
    weights = all(torch.equal(tensors[key], carried[key]) for key in tensors if key.state == WEIGHTS)
    moments = any(bool(value.any()) for key, value in tensors.items() if key.state != WEIGHTS)
    there = any(bool(value.any()) for key, value in carried.items() if key.state != WEIGHTS)
    holds = all(gather(weights and there and not moments))
    return holds, f"weights {'equal' if weights else 'differ'}, moments {'left' if moments else 'zero'} on rank 0"


def _repeats_by_default(engine: Engine, law: Law, saved: Checkpoint) -> bool:
    """Return whether the same steps are the same bits twice without torch's deterministic algorithms."""
    torch.use_deterministic_algorithms(False)
    try:
        runs = []
        for _ in range(2):
            load_checkpoint(engine, saved)
            runs.append(train(engine, law, STEPS, STEPS))
        return runs[0] == runs[1]
    finally:
        torch.use_deterministic_algorithms(True, warn_only=True)


def documents_stay_apart(law: Law) -> None:
    """Compare a step on packed rows with each document by itself, in fp32: bf16 rounds more than documents matter."""
    if law.precision != "fp32":
        return
    config = law.config()
    rows = law.batch(0).copy()
    rows[rows == END] = END + 1
    rows[:, 4::7] = END
    bare = BareLoop(config, LR)
    with torch.no_grad():
        expected, across = float(_loss_alone(bare.model, rows)), float(bare.loss(rows))
    with running(config, document_end=END) as engine:
        engine.train_step(own_share(rows), lr=LR, seed=5, step=0)
        found = engine.sync_metrics().steps[0].loss
    apart, meeting = abs(found / expected - 1), abs(across / expected - 1)
    said = f"loss within {apart:.1e} of single documents; {meeting:.1e} where they meet"
    law.claim("documents of packed rows stay apart", apart < 0.1 * meeting, said)


def _loss_alone(model: nn.Module, rows: np.ndarray) -> Tensor:
    """Return the mean loss of all tokens but the first of each row, each predicted within its document."""
    losses: list[Tensor] = []
    for row in torch.from_numpy(rows.astype(np.int64)).to(device()):
        begin = 0
        for place, token in enumerate(row.tolist()):
            if token == END or place == len(row) - 1:
                logits = model(input_ids=row[None, begin : place + 1]).logits[0].float()
                targets = row[begin + 1 : place + 2]  # The EOS token predicts the first token of the next document.
                losses.append(nn.functional.cross_entropy(logits[: len(targets)], targets, reduction="none"))
                begin = place + 1
    return torch.cat(losses).mean()


def chunks_change_rounding_only(findings: Findings) -> None:
    """Compare the loss in chunks, and its gradients, with all logits at once."""
    draw = torch.Generator().manual_seed(0)
    for name, dtype, rtol in (("fp32", torch.float32, 1e-5), ("bf16", torch.bfloat16, 2e-2)):
        shapes = ((512, 64), (1031, 64))
        hidden, weight = (torch.randn(each, generator=draw).to(device(), dtype).requires_grad_() for each in shapes)
        targets = torch.randint(0, 1031, (512,), generator=draw).to(device())
        whole = nn.functional.cross_entropy(nn.functional.linear(hidden, weight).float(), targets)
        parts = chunked_cross_entropy(hidden, weight, None, targets, 1031 * 100)
        apart = abs(float(parts.detach()) / float(whole.detach()) - 1)
        pairs = zip(*(torch.autograd.grad(loss, (hidden, weight)) for loss in (parts, whole)), strict=True)
        gradients = max(float((mine - its).float().norm() / its.float().norm()) for mine, its in pairs)
        said = f"loss within {apart:.1e}, gradients within {gradients:.1e}"
        findings.claim(f"the loss in chunks is that of all logits ({name})", apart < 1e-6 and gradients < rtol, said)


def _states_in_a_folder(law: Law) -> None:
    root = Path(ask_rank_zero(lambda: tempfile.mkdtemp(prefix="gpu-engine-")))
    try:
        states_resume_and_fork_bitwise(law, root)
    finally:
        gather(None)  # No rank is still reading or writing.
        ask_rank_zero(lambda: shutil.rmtree(root, ignore_errors=True))


LAWS: Mapping[str, Callable[[Law], None]] = {
    "steps": steps_equal_a_bare_loop,
    "states": _states_in_a_folder,
    "documents": documents_stay_apart,
}


def _try_laws(arguments: argparse.Namespace, findings: Findings | None) -> None:
    for zero, precision in TOPOLOGIES[: arguments.topologies]:
        law = Law(arguments.size, arguments.rows, arguments.length, zero, precision, findings)
        for name in arguments.laws:
            LAWS[name](law)


def main() -> None:
    """Try the laws that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--found", type=Path, required=True, help="file of findings")
    parser.add_argument("--size", default="100k", help="of the model, see tools/bench_train_setup.py")
    parser.add_argument("--rows", type=int, default=2, help="of a rank in a step")
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--laws", nargs="+", choices=LAWS, default=list(LAWS))
    parser.add_argument("--topologies", type=int, default=len(TOPOLOGIES), help="how many of them, in their order")
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(1 if not torch.cuda.is_available() else torch.get_num_threads())
    with process_group():
        findings = Findings(arguments.found) if rank() == 0 else None
        _try_laws(arguments, findings)
        if findings is not None:
            chunks_change_rounding_only(findings)
            extensions = Path(os.environ.get("TORCH_EXTENSIONS_DIR", "/nonexistent"))
            built = sorted(each.name for each in extensions.glob("*"))
            findings.claim(f"no DeepSpeed op is built ({world_size()} ranks)", not built, ", ".join(built) or "none")


if __name__ == "__main__":
    main()
