"""One process of one program that tools/bench_train.py measures; not to be started by hand.

The programs train the same model on the same tokens: a bare PyTorch loop, bare DeepSpeed loops, Hugging Face's Trainer
with DeepSpeed and without, and lrps's own job. Each one stops before its first step and after every block of steps, and
waits until it is told how many steps to take: so programs that are alive at the same time take turns, and what else the
machine does hits all of them.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import psutil
import torch
from bench_train_setup import Case, rows_of
from torch import nn

from lrps.config.models import Config
from lrps.engine.model import build_model
from lrps.engine.optimizers.parameter_groups import parameter_groups

UNTIL_TOLD = 10**9
LOG_EVERY = 10
Spent = dict[str, float]


class Gate:
    """Lets a program take so many steps as it is told, and tells how long they took.

    spent: seconds of a block by what they were spent on; a program adds to it, and every block begins with none.
    """

    def __init__(self, orders: BinaryIO, answers: BinaryIO) -> None:
        self._orders, self._answers = orders, answers
        self._left, self._open = 0, False
        self._wall = self._cpu = 0.0
        self.spent: Spent = {}

    def __call__(self) -> bool:
        """Called before every step; False once there is nothing more to do."""
        if self._left == 0:
            self._end_block()
            self._left = int(self._orders.readline() or b"0")
            self._begin_block()
        self._left -= 1
        return self._left >= 0

    def tell(self, **facts: Any) -> None:
        self._answers.write(json.dumps(facts).encode() + b"\n")
        self._answers.flush()

    def _begin_block(self) -> None:
        if not self._open:
            _reset_peak_memory()
        self._open = True
        self.spent.clear()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def _end_block(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        if not self._open:
            self.tell(ready=True)
            return
        self.tell(wall=wall, cpu=cpu, spent=self.spent, peak_bytes=_peak_memory())
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # The others need the room.


def _reset_peak_memory() -> None:
    """What building the model took does not count."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory() -> int:
    """Bytes since the first block: of tensors on a GPU, else all of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next((line for line in lines if line.startswith("VmHWM")), None)
    return int(peak.split()[1]) * 1024 if peak else psutil.Process().memory_info().rss


def _model(config: Config) -> nn.Module:
    model = build_model(config.model, config.seed)
    model.train()
    return model


def _adamw(config: Config, model: nn.Module) -> torch.optim.AdamW:
    settings = config.optimizer
    groups = parameter_groups(model, settings)
    return torch.optim.AdamW(groups, lr=config.schedule.peak_lr, betas=settings.betas, eps=settings.eps, fused=True)


def _batches(case: Case, root: Path) -> Callable[[int], torch.Tensor]:
    """step -> this rank's rows, read at random from one mapped file."""
    rows = rows_of(root, case)
    picks = (
        np.random.default_rng(0).permutation(len(rows)).reshape(case.steps, case.ranks, -1)[:, int(os.environ["RANK"])]
    )
    return lambda step: torch.from_numpy(rows[picks[step % case.steps]])


def bare_pytorch(case: Case, config: Config, root: Path, gate: Gate) -> None:
    """DistributedDataParallel where there are several ranks; bf16 is autocast over fp32 weights."""
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    model: nn.Module = _model(config).to(device)
    parameters = list(model.parameters())
    optimizer = _adamw(config, model)
    if case.ranks > 1:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        model = nn.parallel.DistributedDataParallel(model)
    batch, step = _batches(case, root), 0
    while gate():
        rows = batch(step).to(device).long()
        with torch.autocast(device.type, torch.bfloat16, enabled=case.precision == "bf16"):
            loss = model(input_ids=rows, labels=rows).loss
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
    if case.ranks > 1:
        torch.distributed.destroy_process_group()


def _deepspeed_settings(case: Case) -> dict[str, Any]:
    """What somebody writes who takes DeepSpeed's defaults."""
    return {
        "train_micro_batch_size_per_gpu": case.rows // case.ranks,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 1.0,
        "zero_optimization": {"stage": case.zero},
        "bf16": {"enabled": case.precision == "bf16"},
        "steps_per_print": 10**9,
    }


@contextmanager
def _process_group() -> Iterator[Any]:
    """DeepSpeed and its group without lrps: importing lrps's door to it would tune the process as lrps likes it."""
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed
    import deepspeed.comm.comm

    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    else:
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # Else it is compiled, for a minute.
    backend = "nccl" if on_gpu else "gloo"
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False)
    try:
        yield deepspeed
    finally:
        deepspeed.comm.comm.destroy_process_group()


def bare_deepspeed(case: Case, config: Config, root: Path, gate: Gate) -> None:
    model = _model(config)
    with _process_group() as deepspeed:
        engine, *_ = deepspeed.initialize(
            model=model, optimizer=_adamw(config, model), config=_deepspeed_settings(case), dist_init_required=False
        )
        _train_bare(engine, case, root, gate)


def _train_bare(engine: Any, case: Case, root: Path, gate: Gate) -> None:
    """Train with DeepSpeed's own calls while the gate is open, then release the engine."""
    batch, step = _batches(case, root), 0
    while gate():
        rows = batch(step).to(engine.device).long()
        engine.backward(engine(input_ids=rows, labels=rows).loss)
        engine.step()
        step += 1
    engine.destroy()


def tuned_deepspeed(case: Case, config: Config, root: Path, gate: Gate) -> None:
    """With the settings, the kept memory and the loss of lrps: the difference to lrps is its own loop."""
    from lrps.engine.deepspeed_engine import deepspeed, process_group
    from lrps.engine.losses.loss_head import enable_fused_loss
    from lrps.engine.setup.settings import deepspeed_settings, division

    with process_group():
        model = _model(config)
        settings = deepspeed_settings(
            config,
            division(config, case.ranks),
            sum(parameter.numel() for parameter in model.parameters()),
            processes=case.ranks,
            on_gpu=torch.cuda.is_available(),
            own_sums=False,
        )
        engine, *_ = deepspeed.initialize(
            model=model, optimizer=_adamw(config, model), config=settings, dist_init_required=False
        )
        trial = torch.tensor([[0, 1], [1, 0]], device=engine.device)
        with torch.no_grad():
            enable_fused_loss(model, lambda: engine(input_ids=trial, labels=trial).loss)
        engine.train()
        _train_bare(engine, case, root, gate)


class _Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Rows of `tokens.bin` as Hugging Face's Trainer wants them."""

    def __init__(self, case: Case, root: Path) -> None:
        self._rows = rows_of(root, case)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = torch.from_numpy(self._rows[index].astype(np.int64))
        return {"input_ids": row, "labels": row}


def hf_trainer(case: Case, config: Config, root: Path, gate: Gate) -> None:
    """With the DeepSpeed settings of the bare loop: buckets of `auto` make two ranks of a small model far slower."""
    settings = _deepspeed_settings(case) | {"gradient_clipping": "auto", "bf16": {"enabled": "auto"}}
    with _process_group():
        _hf_train(case, config, root, gate, deepspeed=settings)


def hf_trainer_plain(case: Case, config: Config, root: Path, gate: Gate) -> None:
    """DistributedDataParallel where there are several ranks; bf16 is autocast over fp32 weights."""
    if case.ranks == 1:
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
            os.environ.pop(name)  # Without a launcher's variables the Trainer wraps nothing.
    backend = {} if torch.cuda.is_available() or case.ranks == 1 else {"ddp_backend": "gloo"}
    _hf_train(case, config, root, gate, **backend)


def _hf_train(case: Case, config: Config, root: Path, gate: Gate, **settings: Any) -> None:
    """Let Hugging Face's Trainer take the steps. settings: further ones of its arguments."""
    if find_spec("accelerate") is None:
        raise SystemExit("Hugging Face's Trainer needs accelerate, which lrps does not: pip install accelerate")
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Gated(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            control.should_training_stop = not gate()

    model = _model(config)
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            output_dir=out,
            max_steps=UNTIL_TOLD,
            per_device_train_batch_size=case.rows // case.ranks,
            learning_rate=config.schedule.peak_lr,
            weight_decay=config.optimizer.weight_decay,
            max_grad_norm=config.optimizer.clip_grad_norm,
            adam_beta1=config.optimizer.betas[0],
            adam_beta2=config.optimizer.betas[1],
            optim="adamw_torch_fused",
            bf16=case.precision == "bf16",
            use_cpu=not torch.cuda.is_available(),
            logging_steps=LOG_EVERY,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **settings,
        )
        Trainer(model=model, args=arguments, train_dataset=_Rows(case, root), callbacks=[Gated()]).train()


def lrps_job(config: Config, gate: Gate) -> None:
    """`lrps train`'s own job, stopped between two steps: data, engine, ledger, metrics, checkpoint, all of it."""
    from lrps.engine.deepspeed_engine import process_group
    from lrps.ledger.reader import read_ledger
    from lrps.ledger.totals import total
    from lrps.plan.plan import make_plan
    from lrps.train import job
    from lrps.train.signals import StopRequest
    from lrps.train.trainer import Trainer

    class Gated(Trainer):
        def run(self) -> bool:
            _time(self.data, "batch", gate.spent, "data")
            for method in ("train_step", "sync_metrics"):
                _time(self.engine, method, gate.spent, "step")
            if self.recorder is not None:
                _time(self.recorder, "step", gate.spent, "logging")
            return super().run()

        def _train_step(self) -> bool:
            began = time.monotonic()
            self.stop_request.seen = not gate()  # Told to end it trains until the ranks agree on that, and saves.
            self.pending.began += time.monotonic() - began  # The pause is no step's.
            return super()._train_step()

    job.Trainer = Gated  # type: ignore[misc, attr-defined]
    plan = make_plan(config)
    (path,) = plan.graph.paths
    with process_group():
        job.run_paths(plan, [path.name], StopRequest())
    if os.environ["RANK"] == "0":
        spent = total(read_ledger(plan.layout.path(path.name).ledger)).spent
        gate.tell(ledger={name: getattr(spent, f"{name}_seconds") for name in ("training", "saving", "other")})


def _time(owner: Any, method: str, spent: Spent, what: str) -> None:
    """Add the seconds of every call of this object's method to what was spent."""
    act = getattr(owner, method)

    def timed(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return act(*arguments, **named)
        finally:
            spent[what] = spent.get(what, 0.0) + time.perf_counter() - began

    setattr(owner, method, timed)


LOOPS: dict[str, Callable[[Case, Config, Path, Gate], None]] = {
    "pytorch": bare_pytorch,
    "deepspeed": bare_deepspeed,
    "deepspeed-tuned": tuned_deepspeed,
    "hf": hf_trainer,
    "hf-plain": hf_trainer_plain,
}


def main() -> None:
    """Arguments: program, directory of the data, run directory, descriptor to answer on, case as JSON."""
    program, root, runs, descriptor, case_json = sys.argv[1:]
    case = Case(**json.loads(case_json))
    with os.fdopen(int(descriptor), "wb") as answers:
        gate = Gate(sys.stdin.buffer, answers)
        if not torch.cuda.is_available():
            torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        config = case.config(Path(root), Path(runs))
        if program == "lrps":
            lrps_job(config, gate)
        else:
            LOOPS[program](case, config, Path(root), gate)
        gate.tell(done=True)


if __name__ == "__main__":
    main()
