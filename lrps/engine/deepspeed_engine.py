"""The door to DeepSpeed: a process group, and an engine that trains, evaluates and has a state.

It does not know paths or schedules: the caller gives the learning rate of every step. Must not import anything above
lrps.engine. Depends on internals of deepspeed 0.19.8 (see the comments).
"""

from __future__ import annotations

import gc
import inspect
import logging
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.constants import default_pg_timeout

from lrps.base.errors import ConfigError
from lrps.config.deepspeed.settings import PASSED
from lrps.config.models import SEQUENCE_PARALLEL, Config
from lrps.data.outputs import targets_of
from lrps.engine import flat_pieces, fragments, ranks
from lrps.engine.averages.averaged_weights import AveragedWeights
from lrps.engine.averages.moving_average import MovingAverage
from lrps.engine.build.placement import Placement, placement_for
from lrps.engine.losses.heldout_losses import HeldoutLosses
from lrps.engine.losses.loss_head import NOT_FINITE, disable_fused_loss, enable_fused_loss
from lrps.engine.machine import retain_host_memory, used_joules
from lrps.engine.meeting import join_group
from lrps.engine.metrics_sync import MetricsSync, UnsyncedStep, sync_metrics
from lrps.engine.model import compile_layers
from lrps.engine.optimizers.engine_optimizer import set_learning_rate
from lrps.engine.optimizers.kinds import optimizer_kind, optimizer_of
from lrps.engine.rows import packing
from lrps.engine.rows.token_rows import TokenRows
from lrps.engine.seeds import derived_seed
from lrps.engine.sequence.attention import Attention, SequenceAttention, Shape, install, uninstall
from lrps.engine.sequence.cut_rows import CutRows
from lrps.engine.sequence.grid import RankGrid
from lrps.engine.sequence.whole_rows import WholeRows
from lrps.engine.setup.gradient_sum import GradientSum
from lrps.engine.setup.settings import deepspeed_settings, division, merged, sums_gradients
from lrps.engine.setup.surroundings import surroundings_of_deepspeed
from lrps.engine.state_files.reading import SavedState
from lrps.engine.update_gate import Judge
from lrps.paths.buckets import changed_sums
from lrps.paths.optimizer_states import optimizer_fact
from lrps.store.segments import FileSegment

with surroundings_of_deepspeed():
    import deepspeed
    import deepspeed.comm.comm
    import deepspeed.ops
    from deepspeed.runtime.zero import parameter_offload


@contextmanager
def process_group(
    timeout: timedelta = default_pg_timeout,
    *,
    retain_memory: bool = True,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Iterator[None]:
    """Create a process group from the launcher's environment, or of this process alone; destroy it at the end.

    timeout: how long a rank waits for another one in a collective. Raises TrainingError if one is stuck or gone.
    retain_memory: call `retain_host_memory` where there is no GPU; it applies until the process ends.
    """
    defaults = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    added = {key: value for key, value in defaults.items() if key not in os.environ}
    os.environ.update(added)
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    else:
        if retain_memory:
            retain_host_memory()
        # Otherwise init compiles an unnecessary op for a minute, and hangs on a stale lock of its cache.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    try:
        with surroundings_of_deepspeed(), ranks.translate_lost_rank_errors():
            backend = "nccl" if on_gpu else "gloo"
            join_group(backend, timeout, is_stopped)
            deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, verbose=False, timeout=timeout)
            yield
    finally:
        # Without this, one run in four aborts at exit. DeepSpeed's wrapper does not notice it, so it is removed, too.
        if dist.is_initialized():
            deepspeed.comm.comm.destroy_process_group()
        deepspeed.comm.comm.cdb = None
        for key in added:
            os.environ.pop(key, None)


def placement(config: Config) -> Placement:
    """Return where this rank keeps the parameters of a model that is built for an engine of this config."""
    zero_init = partial(deepspeed.zero.Init, config_dict_or_path=_settings(config, 1))
    return placement_for(config.engine, ranks.rank(), zero_init)


def _settings(config: Config, parameters: int, own_sums: bool = False) -> dict[str, Any]:
    processes, on_gpu = ranks.world_size(), torch.cuda.is_available()
    divided = division(config, processes)
    own = deepspeed_settings(config, divided, parameters, processes=processes, on_gpu=on_gpu, own_sums=own_sums)
    return merged(own, optimizer_kind(config.optimizer.kind).deepspeed_settings(config.engine.zero_stage))


class Engine:
    """A model under DeepSpeed ZeRO with an optimizer. Methods are collective unless they say otherwise."""

    def __init__(
        self,
        config: Config,
        model: nn.Module,
        document_end: int | None = None,
        average: MovingAverage | None = None,
        *,
        conventions: Mapping[str, str],
    ) -> None:
        """Take over `model`: placed as `placement` says, or in fp32 on the CPU.

        document_end: EOS token, given if attention is to be limited to documents. average: rule of an average of the
        weights, if one is kept beside them. conventions: those that the run follows. Raises ConfigError if the model
        does not support documents, or if the batch cannot be divided among the processes.
        """
        self._division = divided = division(config, ranks.world_size())
        self.grid = RankGrid(ranks.rank(), ranks.world_size(), config.engine.sequence_parallel)
        """Ranks that share rows: rows are dealt by its data_rank, among its data_ranks."""
        own_sums = sums_gradients(config, divided.micro_batches, conventions)
        self._eval_rows = config.evaluation.batch_sequences
        self._stage = config.engine.zero_stage
        self._optimizer = optimizer_fact(config.optimizer.kind)
        optimizer = optimizer_kind(config.optimizer.kind).make(model, config.optimizer)
        # Parameters that are divided among the ranks are empty.
        self.parameters = sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in model.parameters())
        settings = _settings(config, self.parameters, own_sums)
        groups = _divide_rows(model, self.grid.parts, document_end is not None) if self.grid.parts > 1 else None
        self._engine, *_ = deepspeed.initialize(
            model=model, optimizer=optimizer, config=settings, dist_init_required=False, mpu=groups
        )
        if groups is None:
            filled = config.evaluation.batch_sequences if config.engine.compile else None
            self._rows: WholeRows | CutRows = WholeRows(self._engine, document_end, filled)
        else:
            self._rows = CutRows(self._engine, document_end, self.grid, groups.get_sequence_parallel_group())
        sums = changed_sums(config.engine, self.parameters, ranks.world_size(), torch.cuda.is_available())
        self._changing_digits = sums | config.engine.passed.changing_digits()
        self._sum = GradientSum(self._engine, divided.micro_batches) if own_sums else None
        self.average = AveragedWeights(self._engine, average)
        self._gate = optimizer_of(self._engine).gate(self.grid.parts)
        ranks.set_collective_timeout(timedelta(minutes=config.launch.collective_timeout_minutes))
        self._check_start(model, document_end)
        self._enable_fused_loss(model, config.engine.cross_entropy)
        if config.engine.compile and not compile_layers(model):
            self._engine.compile()
        self._unsynced: list[UnsyncedStep] = []

    def _check_start(self, model: nn.Module, document_end: int | None) -> None:
        """Check what DeepSpeed has made of the model, and let it train. Raises ConfigError, with the engine closed."""
        try:
            flat_pieces.check_piece_names(self._engine)
        except ConfigError:
            self.close()
            raise
        if document_end is not None:
            self._check_documents(model, document_end)
        self._engine.train()

    @torch.no_grad()
    def _check_documents(self, model: nn.Module, end: int) -> None:
        """Raise ConfigError if the model cannot limit attention to documents. The model is left in eval mode."""
        self._engine.eval()
        fault = packing.documents_fault(model, self._rows.logits, end)
        if fault is not None:
            self.close()
            raise ConfigError(fault)

    def _enable_fused_loss(self, model: nn.Module, wanted: str | None) -> None:
        """Let the model compute its loss without logits if possible.

        Raises ConfigError if the config asks for it and the model cannot, and if the loss is not finite: the next start
        could decide otherwise.
        """
        if wanted == "full":
            return
        own = enable_fused_loss(model, self._trial_loss)
        # All ranks follow the first that cannot, for lack of memory or on another kind of GPU, so that they stay alike.
        reasons = [found for found in ranks.gather(own) if found is not None]
        why = NOT_FINITE if NOT_FINITE in reasons else next(iter(reasons), None)
        if own is None and why is not None:
            disable_fused_loss(model)
        if why == NOT_FINITE:
            self.close()
            raise ConfigError(
                f"model: a {model.config.model_type} model {why}; use sound weights, or another `initializer_range`"
            )
        if why is not None and wanted == "chunked":
            self.close()
            raise ConfigError(
                f"engine.cross_entropy: a {model.config.model_type} model {why}; leave the key out, or take full"
            )

    @torch.no_grad()
    def _trial_loss(self) -> Tensor:
        """Return the model's loss on a few tokens, with dropout. The global random state is not changed."""
        device = torch.device(self._engine.device)
        rows = np.tile(np.array([[0, 1], [1, 0], [0, 0], [1, 1]]), self.grid.parts)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            self._seed(0)
            return self._rows.loss(TokenRows(rows, device))

    @property
    def module(self) -> nn.Module:
        """Model that is trained; ZeRO-3 divides its parameters among the ranks."""
        return self._engine.module

    @property
    def rank(self) -> int:
        """Number of this rank."""
        return ranks.rank()

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return self.grid.ranks

    @property
    def device_name(self) -> str:
        """Name of the device: `cpu`, or the product name of this rank's GPU."""
        device = self._engine.device
        return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else "cpu"

    def used_joules(self) -> float | None:
        """Return the sum of the energy counters of all ranks' GPUs in joules; None if one of them has none.

        Collective on GPUs.
        """
        device = torch.device(self._engine.device)
        if device.type != "cuda":
            return None
        each = ranks.gather(used_joules(device))
        return None if None in each else sum(joules for joules in each if joules is not None)

    @property
    def rows_per_rank(self) -> int:
        """Number of rows of each rank in a step; with sequence parallelism of each group of ranks."""
        return self._division.rows

    @property
    def facts(self) -> dict[str, Any]:
        """Description of the engine in the identity of a checkpoint: ranks, ZeRO stage, precision, versions, optimizer.

        With the number of ranks that share rows, if several do, and settings of DeepSpeed that change the last digits:
        those that the config gives, and the defaults that differ from those of earlier versions of lrps.
        """
        import transformers

        versions = {module.__name__: module.__version__ for module in (torch, deepspeed, transformers)}
        precision = "bf16" if self._engine.bfloat16_enabled() else "fp32"
        facts = {"world_size": self.grid.ranks, "zero_stage": self._stage, "precision": precision, "versions": versions}
        if self.grid.parts > 1:
            facts[SEQUENCE_PARALLEL] = self.grid.parts
        return {**facts, **self._optimizer, **({PASSED: self._changing_digits} if self._changing_digits else {})}

    def train_step(
        self, rows: np.ndarray, *, lr: float, seed: int, step: int, judge: Judge | None = None, clip: float = 0.0
    ) -> bool:
        """Take one optimizer step at learning rate `lr` on this rank's `rows`: token ids (rows_per_rank, length).

        Ranks that share rows are given the same ones. The global random state becomes a function of (seed, step, rank);
        only dropout uses it. Every token of a row except the first is a target, including the first token of a
        document, and all rows have the same weight; of masked rows (lrps/data/outputs.py) only the marked ones are
        targets. The loss is the mean over the targets of all ranks, for any number of micro-batches.
        judge: called before anything is changed; True lets the step pass without an update, even if it is not finite.
        clip: largest gradient norm; 0 for the config's. `sync_metrics` gives the results later. False, on all ranks, if
        the gradients are not finite: no weight was changed, and the next call must be `sync_metrics`, which says why.
        """
        if len(rows) != self.rows_per_rank:
            raise ValueError(f"{len(rows)} rows for a step of {self.rows_per_rank} rows a rank")
        self.average.refresh()
        of_part = (self.grid.part,) if self.grid.parts > 1 else ()  # Other tokens have other masks of dropout.
        self._seed(derived_seed(seed, step, self.grid.data_rank, *of_part))
        micro_batches = TokenRows(rows, self._engine.device).split(self._division.micro_rows)
        mean_of = packing.targets_each(rows, self.sum_over_ranks, len(micro_batches) * self.grid.data_ranks)
        with self._sum.of_step() if self._sum is not None else nullcontext():
            losses = [self._accumulate(micro, mean_of) for micro in micro_batches]
        loss = torch.stack(losses).double().mean()
        self._gate.begin(judge, loss, clip)
        norm, taken = self._update(lr)
        self.average.after_step(step + 1)
        self._unsynced.append(UnsyncedStep(step, loss, norm, taken, self._gate.passed))
        return taken or self._gate.passed

    def sync_metrics(
        self, *, stop: bool = False, written: bool = False, save_due: bool = False, steps_until_sync: int = 1
    ) -> MetricsSync:
        """Return the metrics of the steps since the previous sync; waits for the device.

        The flags are this rank's; the result combines those of all ranks, see `MetricsSync`. If a step was not finite,
        the result contains the failure, and the engine can only be closed: its state must not be saved.
        """
        steps, self._unsynced = self._unsynced, []
        return sync_metrics(
            steps,
            torch.device(self._engine.device),
            stop=stop,
            written=written,
            save_due=save_due,
            steps_until_sync=steps_until_sync,
            parts=self.grid.parts,
        )

    def _seed(self, seed: int) -> None:
        # torch.manual_seed seeds every kind of device, which takes 0.1 ms per step.
        torch.default_generator.manual_seed(seed)
        if torch.device(self._engine.device).type == "cuda":
            torch.cuda.manual_seed(seed)

    def _accumulate(self, micro: TokenRows, mean_of: float | None) -> Tensor:
        loss = self._rows.loss(micro, mean_of)
        self._engine.backward(loss)
        # Ends a micro-batch in DeepSpeed; the last one ends with the optimizer step, which `_update` takes. Where lrps
        # sums the gradients, each is the last one for DeepSpeed.
        if not self._engine.is_gradient_accumulation_boundary():
            self._engine.step()
        return loss.detach()

    def _update(self, lr: float) -> tuple[Tensor | float, bool]:
        """Update the weights; return the global gradient norm, and whether they were updated."""
        norm = self._reduced_norm() if self._stage == 0 else None
        if norm is not None and (self._gate.drops(norm) or not math.isfinite(norm)):
            return norm, False
        set_learning_rate(self._engine, lr)
        skipped = self._engine.skipped_steps
        self._engine.step()
        taken = self._engine.skipped_steps == skipped
        if norm is None:  # DeepSpeed says infinity for every step that it leaves out.
            norm = self._gate.norm if self._gate.passed else self._engine.get_global_grad_norm()
        return norm, taken

    def _reduced_norm(self) -> float:
        """Return the norm of the reduced gradients, equal on all ranks. Stage 0 itself does not skip NaN gradients."""
        gradients = [p.grad for p in self._engine.module.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    @torch.no_grad()
    def evaluate(self, rows: np.ndarray) -> HeldoutLosses:
        """Return the losses of this rank's rows: token ids (rows, length), equal on ranks that share them.

        Attention is as in training. Ranks may have different numbers of rows, including none. The random state is not
        changed.
        """
        length = rows.shape[1]
        batches = TokenRows(rows, self._engine.device).split(self._eval_rows)
        # ZeRO-3 gathers weights in every forward pass, so all ranks must run equally many.
        passes = max(ranks.gather(len(batches)))
        self.average.refresh()
        padding = TokenRows(np.zeros((1, length), rows.dtype), self._engine.device)
        total = torch.zeros((), dtype=torch.float64, device=self._engine.device)
        means = [total.new_empty(0)]
        self._engine.eval()
        try:
            for index in range(passes):
                loss, of_rows = self._rows.heldout_losses(batches[index] if index < len(batches) else padding)
                if index < len(batches):
                    total += loss
                    means.append(of_rows)
        finally:
            self._engine.train()
        return HeldoutLosses(float(total), int(targets_of(rows).sum()), torch.cat(means).tolist())

    def sum_over_ranks(self, values: list[float]) -> list[float]:
        """Return the sums of `values` over all ranks, in fp64; ranks that share rows count once."""
        counted = values if self.grid.part == 0 else [0.0] * len(values)
        summed = torch.tensor(counted, dtype=torch.float64, device=self._engine.device)
        dist.all_reduce(summed)
        return summed.tolist()

    def own_fragments(self) -> fragments.Fragments:
        """Return this rank's part of the state, see lrps.engine.fragments; the next step changes it. Not collective."""
        return self.average.own_fragments()

    def hold_update(self, until: Callable[[], None]) -> None:
        """Call `until` once before the state changes for the next time. Not collective."""
        self._gate.hold = until

    def read_fragments(
        self, saved: SavedState, optimizer: str = "carry", hashed: Collection[FileSegment] = ()
    ) -> dict[FileSegment, str]:
        """Set the state from a saved one, see lrps.engine.fragments; return the SHA-256 of the segments `hashed`."""
        self._gate.release()
        return fragments.read_fragments(self._engine, saved, optimizer, hashed)

    def close(self) -> None:
        """Release hooks and memory, so that the process can run another engine. Not collective; idempotent."""
        if self._engine is None:
            return
        self._engine.destroy()
        self._sum = None
        self.average.release()
        _forget(self._engine.module)
        self._engine = None
        del self._rows
        if self.grid.parts > 1:
            uninstall()
            deepspeed.utils.groups.mpu = None  # Global: it would apply to the next engine, too.
        gc.collect()  # The engine contains reference cycles.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _divide_rows(model: Any, parts: int, within_documents: bool) -> Any:
    """Let `parts` neighbouring ranks share rows in the attention of a model; return DeepSpeed's groups. Collective.

    Raises ConfigError if the model's attention is fixed.
    """
    from deepspeed.runtime.sequence_parallel import parallel_state_sp as groups
    from deepspeed.runtime.sequence_parallel.ulysses_sp import UlyssesSPAttentionHF

    if groups._SEQUENCE_PARALLEL_GROUP is None or groups.get_sequence_parallel_world_size() != parts:
        groups._release_sequence_parallel_groups()
        groups.initialize_sequence_parallel(parts)

    layers = model.config.get_text_config().num_hidden_layers

    def exchange(attend: Attention, shape: Shape) -> Attention:
        sizes = (shape.rows, shape.heads, shape.head_size, shape.key_value_heads, layers)
        return UlyssesSPAttentionHF(attend, *sizes, groups.get_sequence_parallel_group(), seq_length_is_variable=True)

    install(model, SequenceAttention(exchange, within_documents))
    return groups


def _forget(module: nn.Module) -> None:
    """Release the memory of a ZeRO-3 model, which two globals of DeepSpeed would keep."""
    own = set(module.modules())
    stack = parameter_offload.FWD_MODULE_STACK
    stack[:] = [module for module in stack if module not in own]
    # A method under functools.lru_cache, inside a wrapper that hides it.
    cached = parameter_offload.PartitionedParameterCoordinator._PartitionedParameterCoordinator__params_to_release
    inspect.getclosurevars(cached).nonlocals["func"].cache_clear()
