"""The config file as frozen pydantic models: every key, its meaning, its unit and its default.

configs/schema.json shows the attribute docstrings in an editor. Files are read by loader.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from lrps.config.averaging import AverageConfig, check_average, check_released
from lrps.config.checkpointing import CheckpointConfig
from lrps.config.data import DataConfig, no_version
from lrps.config.deepspeed.settings import DeepSpeedSettings, stage_fault
from lrps.config.evaluating import EvaluationConfig
from lrps.config.extensions import CALLBACKS, PARADIGMS, check_options
from lrps.config.guarding import GuardConfig
from lrps.config.hardware import BudgetConfig, HardwareConfig
from lrps.config.launching import LaunchConfig
from lrps.config.mixes import check_mix_names
from lrps.config.optimizing import AdamWConfig, OptimizerConfig, optimizer_fault
from lrps.config.probing import ProbeConfig, check_probes
from lrps.config.strategies import KINDS, Mixing, PathSwitching, Ptfs, Strategy
from lrps.config.tracking import TrackConfig
from lrps.config.values import Count, Float, Int, Name, Section, choice_of

CallbackName = Annotated[str, *choice_of(CALLBACKS)]


class ModelConfig(Section):
    """A Hugging Face causal language model: newly initialised, from a local checkpoint, or from a complete state."""

    architecture: dict[str, Any] | None = None
    """Fields of the Hugging Face config, including `model_type` and `vocab_size`. Weights are drawn from `seed`. A
    padding token has no effect, because sequences are never padded (docs/models.md)."""
    checkpoint: Path | None = None
    """Local directory of a Hugging Face model to start from, in place of `architecture`: config.json and whole,
    unquantized weights in safetensors files, of a model type that transformers itself has. `hf download OWNER/NAME
    --local-dir DIR` fetches one of the Hub."""
    initial_state: Path | None = None
    """Directory of a checkpoint (`.../step-00000480`) whose weights, states of the optimizer and its step count every
    path without a parent starts from, including PTFS paths, in place of weights drawn from `seed`. From a state of
    another kind of optimizer only the weights are taken. `lrps convert
    from-universal` writes one from DeepSpeed's universal format; a checkpoint of another run serves too. Only with
    `architecture`, which must be that of the state. Steps, tokens and costs count from 0, without what was trained
    elsewhere. Keep the directory until every path is trained."""
    parameters: Count | None = None
    """Number of parameters, for the FLOPs of model types that `lrps plan` cannot count by itself."""

    @property
    def is_given(self) -> bool:
        """True if paths without a parent start from a model that was trained before, False if from drawn weights."""
        return self.checkpoint is not None or self.initial_state is not None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.architecture is None) == (self.checkpoint is None):
            raise ValueError("give exactly one of 'architecture' and 'checkpoint'")
        if self.checkpoint is not None and self.initial_state is not None:
            raise ValueError("initial_state has all the weights: give its model as 'architecture', not as 'checkpoint'")
        if self.architecture is not None:
            # Models of several inputs have it in the config of their text.
            sections = [self.architecture, *(each for each in self.architecture.values() if isinstance(each, dict))]
            missing = [] if "model_type" in self.architecture else ["model_type"]
            if not any("vocab_size" in section for section in sections):
                missing.append("vocab_size")
            if missing:
                raise ValueError(f"architecture needs {' and '.join(missing)}")
        return self


class BatchConfig(Section):
    """One optimizer step. The number of processes is not part of it."""

    sequences: Annotated[Int, Field(ge=1)]
    """Number of sequences in an optimizer step, over all processes and accumulation steps."""
    micro_sequences: Annotated[Int, Field(ge=1)] | None = None
    """Number of sequences of one process in one forward pass; by default its whole share of the batch."""


class ScheduleConfig(Section):
    """Learning-rate schedule that all paradigms share; each may have its own decay."""

    peak_lr: Annotated[Float, Field(gt=0)]
    """Maximal learning rate: that of the main path, from which every decay starts."""
    final_lr: Annotated[Float, Field(ge=0)] = 0.0
    """Learning rate at the end of a decay."""
    warmup_steps: Annotated[Int, Field(ge=0)] = 0
    """Number of steps of the linear warm-up of every path that starts from scratch."""
    power_coefficient: Annotated[Float, Field(gt=0)] | None = None
    """Coefficient of the power law min(peak_lr, power_coefficient * (tokens so far) ** -0.51) in the stable phase of
    main paths (Shen et al. 2024). The other paradigms keep their own shape."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.final_lr > self.peak_lr:
            raise ValueError(f"final_lr {self.final_lr} is above peak_lr {self.peak_lr}")
        return self


SEQUENCE_PARALLEL = "sequence_parallel"
"""Key of a checkpoint's identity with the number of processes that shared rows; absent where each had its own."""


class EngineConfig(Section):
    """Execution of a step by DeepSpeed. Nothing here changes what is trained beyond rounding."""

    zero_stage: Annotated[Int, Field(ge=0, le=3)] = 1
    """Stage of ZeRO: 0 keeps every state on every process; 1 divides the optimizer states among the processes, 2
    also the gradients, 3 also the weights."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of weights and activations; bf16 keeps fp32 master weights and needs zero_stage 1 or higher."""
    attention: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3"] | None = None
    """Attention kernel; by default the one that transformers chooses. The flash kernels need their package, a GPU and
    bf16; they skip other documents where others mask them (data.attention_across_documents: false)."""
    activation_checkpointing: bool = False
    """Whether the activations of a layer are computed again in the backward pass, instead of being kept: less
    memory for about a third more FLOPs."""
    compile: bool = False
    """Whether torch.compile compiles the model's layers at the first step; needs a C++ compiler on CPUs, Triton on
    GPUs."""
    cross_entropy: Literal["full", "chunked"] | None = None
    """Computation of the loss. `chunked` computes the loss and its gradient for some tokens at a time (at most 2**25
    logits) and never holds the logits of all tokens. Only for models whose loss is the cross-entropy of a plain output
    layer, which is tested before training; by default chunked for these and full for the others."""
    keep_host_memory: bool = True
    """Whether a process on a CPU (with glibc) keeps freed memory, instead of returning it to the system and faulting it
    in again in the next step: faster steps for a higher peak (docs/performance.md)."""
    read_every: Annotated[Int, Field(ge=1)] | None = None
    """Number of steps between two reads of losses and gradient norms and agreements on stopping; between them nothing
    waits for a GPU. By default as many steps as take a second. Values are also read before a log, save or evaluation,
    so metrics and ledger do not depend on it."""
    sequence_parallel: Annotated[Int, Field(ge=1)] = 1
    """Number of processes that share each sequence (Ulysses): each takes a part of the tokens, so that activations and
    logits take that much less memory, and ZeRO still divides the state among all processes. A divisor of the number of
    processes, of `data.sequence_length` and of the model's attention heads; only for models with full causal attention
    (docs/scaling.md). Changes nothing but last digits."""
    deepspeed: DeepSpeedSettings | None = None
    """Settings that are passed to DeepSpeed, by DeepSpeed's names; by default none (docs/performance.md)."""

    @property
    def passed(self) -> DeepSpeedSettings:
        """Settings that are passed to DeepSpeed."""
        return self.deepspeed or DeepSpeedSettings()

    @model_validator(mode="after")
    def _passed_fit(self) -> Self:
        if (fault := stage_fault(self.passed, self.zero_stage)) is not None:
            raise ValueError(f"deepspeed.{fault}")
        if self.compile and self.passed.compile is not None and self.passed.compile.deepcompile:
            raise ValueError("deepspeed.compile.deepcompile replaces parts of ZeRO: give only one of it and `compile`")
        return self

    @model_validator(mode="after")
    def _rows_can_be_shared(self) -> Self:
        if self.sequence_parallel == 1:
            return self
        if self.attention not in (None, "sdpa"):
            raise ValueError(f"sequence_parallel attends with sdpa only, not {self.attention}: leave `attention` out")
        if self.compile:
            raise ValueError("sequence_parallel and compile were not tried together: give one of them")
        if self.zero_stage == 3 and self.passed.zero.reduce_scatter:
            raise ValueError(
                "deepspeed.zero_optimization.reduce_scatter: with sequence_parallel at zero_stage 3, DeepSpeed 0.19.8 "
                "would divide gradients by too many processes: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.precision == "bf16" and self.zero_stage == 0:
            raise ValueError("bf16 with zero_stage 0 trains wrongly in DeepSpeed 0.19: use zero_stage 1")
        if self.attention in ("flash_attention_2", "flash_attention_3") and self.precision != "bf16":
            raise ValueError(f"attention {self.attention} computes in bf16 only: use precision bf16, or sdpa")
        return self


def _as_people_write_it(schema: dict[str, Any]) -> None:
    """Describe for editors a strategy whose name is its kind, and hardware given by the name of a file."""
    hardware, paradigms = schema["properties"]["hardware"], schema["properties"]["paradigms"]
    hardware["anyOf"].append({"type": "string"})
    ((_, strategies),) = paradigms.pop("patternProperties").items()
    paradigms["properties"] = {
        kind: {"anyOf": [dict(strategy), {"type": "null"}]}
        for kind, strategy in zip(KINDS, strategies["oneOf"], strict=True)
    }
    # The keys of a plug-in's paradigm are known once its file is executed.
    other = {"properties": {"kind": {"type": "string", "not": {"enum": list(KINDS)}}}, "required": ["kind"]}
    paradigms["additionalProperties"] = {"anyOf": [{**strategies, "required": ["kind"]}, other]}


class Config(Section):
    """A whole config file."""

    model_config = ConfigDict(json_schema_extra=_as_people_write_it)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
    """Name of the plan: its run directory is <runs>/<name>."""
    runs: Path = Path("runs")
    """Folder of the run directories, relative to the working directory."""
    seed: Annotated[Int, Field(ge=0, lt=2**32)] = 0
    """Seed of all randomness, which is a function of it, the step and the sequence."""
    model: ModelConfig
    """Model that is trained."""
    data: DataConfig
    """Versions of the data, the tokenizer, and how text becomes sequences."""
    batch: BatchConfig
    """Size of an optimizer step."""
    schedule: ScheduleConfig
    """Learning rate of all paradigms."""
    optimizer: OptimizerConfig = AdamWConfig()
    """Optimizer of all paths, by its `kind`: adamw, muon or lion."""
    engine: EngineConfig = EngineConfig()
    """Execution of a step."""
    average: AverageConfig | None = None
    """Averages of the main path's weights; by default none."""
    paradigms: Annotated[dict[Name, Strategy], Field(min_length=1)]
    """Strategies by name. A name that is a kind (path-switching, ptfs, cpt, wsd-s) needs no `kind`."""
    probes: dict[Name, ProbeConfig] = Field(default_factory=dict)
    """Short decays from the main path that show what data is worth, by name."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Held-out losses while training, and the tasks of `lrps score`."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """Schedule and retention of checkpoints."""
    guard: GuardConfig | None = None
    """Guard against spikes of the loss; by default none."""
    launch: LaunchConfig = LaunchConfig()
    """Launcher, processes and resources."""
    hardware: HardwareConfig | None = None
    """Devices, as a mapping or as the path of a YAML file with it, relative to this file; `hardware/h100-8.yaml` comes
    with lrps."""
    budget: BudgetConfig | None = None
    """Most that the run may spend. `lrps run` does not start what would exceed it; when it is reached, training saves
    and ends with exit code 76, and continues once the budget is raised."""
    track: TrackConfig = TrackConfig()
    """Logging, trackers and notices."""
    plugins: tuple[Path, ...] = ()
    """Python files that register plug-ins, relative to this file (docs/extending.md). Every process that loads the
    config executes them; those of an installed distribution are found by their names alone."""
    callbacks: dict[CallbackName, dict[str, Any] | None] = Field(default_factory=dict)
    """Callbacks of the training loop with their options, by the names that plug-ins register (docs/extending.md). They
    are called in this order."""

    @property
    def run_dir(self) -> Path:
        return self.runs / self.name

    @property
    def tokens_per_step(self) -> int:
        return self.batch.sequences * self.data.sequence_length

    @property
    def order_seed(self) -> int:
        """Seed of the order of sequences."""
        return self.seed if self.data.order_seed is None else self.data.order_seed

    def peak_lr_of(self, strategy: Strategy) -> float:
        """Return the maximal learning rate of a paradigm."""
        return self.schedule.peak_lr if strategy.peak_lr is None else strategy.peak_lr

    @field_validator("paradigms", mode="before")
    @classmethod
    def _kind_from_name(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            name: {"kind": name, **(strategy or {})}
            if isinstance(strategy, dict | None) and "kind" not in (strategy or {}) and PARADIGMS.is_known(name)
            else strategy
            for name, strategy in value.items()
        }

    @field_validator("callbacks")
    @classmethod
    def _options_of_callbacks(cls, callbacks: dict[str, dict[str, Any] | None]) -> dict[str, dict[str, Any] | None]:
        for name, options in callbacks.items():
            check_options(CALLBACKS.get(name), options or {})
        return callbacks

    @model_validator(mode="after")
    def _versions_known(self) -> Self:
        names = [version.name for version in self.data.versions]
        keys = ("alpha_per_version", "mix_per_version", "release_per_version", "peak_lr_per_version")
        paradigms = self.paradigms.items()
        named = ((f"{name}.{key}", getattr(strategy, key, {})) for name, strategy in paradigms for key in keys)
        for where, of_versions in named:
            for unknown in of_versions.keys() - set(names):
                raise ValueError(f"paradigms.{where}.{no_version(unknown, names)}")
        for task in self.evaluation.tasks:
            if task.version not in names:
                raise ValueError(f"evaluation.tasks.{task.name}: {no_version(task.version, names)}")
        check_probes(self.probes, names, [source.name for source in self.data.sources])
        if self.probes and not any(strategy.kind == "path-switching" for strategy in self.paradigms.values()):
            raise ValueError("probes fork from a main path: add a path-switching paradigm")
        return self

    @field_validator("evaluation")
    @classmethod
    def _prompts_by_the_template(cls, evaluation: EvaluationConfig, found: ValidationInfo) -> EvaluationConfig:
        """Give pair tasks without a template of their own the one of data.template."""
        template = data.pair_template() if (data := found.data.get("data")) is not None else None
        if template is None:
            return evaluation
        prompt = {"template": template.question}
        tasks = (
            each.model_copy(update={} if "template" in each.model_fields_set else prompt) for each in evaluation.tasks
        )
        return evaluation.model_copy(update={"tasks": tuple(tasks)})

    @model_validator(mode="after")
    def _matched_paradigms_known(self) -> Self:
        for name, strategy in self.paradigms.items():
            if not isinstance(strategy, Ptfs) or strategy.steps_of is None:
                continue
            others = {other: each for other, each in self.paradigms.items() if other != name}
            where, wanted = f"paradigms.{name}.steps_of", strategy.steps_of
            if wanted not in others:
                raise ValueError(f"{where}: {wanted!r} is not another paradigm of this config: {', '.join(others)}")
            if getattr(others[wanted], "steps_of", None) is not None:
                raise ValueError(f"{where}: {wanted} has steps_of itself; name the paradigm whose steps it has")
        return self

    @model_validator(mode="after")
    def _there_is_something_to_rehearse(self) -> Self:
        for name, strategy in self.paradigms.items():
            mixes = (strategy.mix, *strategy.mix_per_version.values()) if isinstance(strategy, Mixing) else ()
            self._check_names_of_mixes(name, strategy)
            if any(mix.rehearsal for mix in mixes) and not self.data.rehearsal:
                raise ValueError(
                    f"paradigms.{name}: its mix has a share of rehearsal, but there is no rehearsal data; add a set "
                    "to data.rehearsal, or give the share to new or replay"
                )
            self._check_sets_of_versions(name, strategy)
        return self

    def _check_names_of_mixes(self, name: str, strategy: Strategy) -> None:
        """Reject shares of names that are no set or version, or that a version cannot read."""
        if not isinstance(strategy, Mixing):
            return
        versions, since = [each.name for each in self.data.versions], {r.name: r.since for r in self.data.rehearsal}
        check_mix_names(f"paradigms.{name}.mix", strategy.mix, versions, since)
        for version, mix in strategy.mix_per_version.items():
            check_mix_names(f"paradigms.{name}.mix_per_version.{version}", mix, versions, since, version)
        if isinstance(strategy, PathSwitching):
            check_mix_names(f"paradigms.{name}.main_mix", strategy.main_mix, versions, since)

    def _check_sets_of_versions(self, name: str, strategy: Strategy) -> None:
        """Reject a per-version rehearsal share that no rehearsal set can fill."""
        names = [version.name for version in self.data.versions]
        first = min((names.index(rehearsal.since) for rehearsal in self.data.rehearsal), default=0)
        for version, mix in strategy.mix_per_version.items() if isinstance(strategy, Mixing) else ():
            if mix.rehearsal and names.index(version) < first:
                raise ValueError(
                    f"paradigms.{name}.mix_per_version.{version}: there is no rehearsal data before version "
                    f"{names[first]}; lower the `since` of a set, or give the share to new or replay"
                )

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        kinds = {"path-switching": ("main", "branch")}
        trained = [job for each in self.paradigms.values() for job in kinds.get(each.kind, (each.kind,))]
        for kind in dict.fromkeys([*trained, *(["probe"] if self.probes else [])]):
            processes = self.launch.processes_of(kind)
            if processes is not None and (fault := self.batch_fault(processes)):
                key = f"launch.resources.{kind}" if kind in {*self.launch.resources} else "launch.processes"
                raise ValueError(f"{key}: {fault}")
        return self

    def batch_fault(self, processes: int) -> str | None:
        """Return why this number of processes cannot share a batch; None if it can."""
        if (fault := self.share_fault(processes)) is not None:
            return fault
        share, micro = self.rows_each(processes), self.batch.micro_sequences
        if micro is not None and share % micro:
            of = "process" if self.engine.sequence_parallel == 1 else "group of processes"
            return f"batch.micro_sequences {micro} does not divide the {share} sequences of a {of}"
        return None

    def share_fault(self, processes: int) -> str | None:
        """Return why a batch does not divide over this number of processes; None if it does."""
        parts, sequences = self.engine.sequence_parallel, self.batch.sequences
        if processes % parts:
            return f"engine.sequence_parallel {parts} does not divide {processes} processes; start a multiple of it"
        if self.rows_each(processes) and sequences % (processes // parts) == 0:
            return None
        over = f"{processes} processes" if parts == 1 else f"{processes // parts} groups of {parts} processes"
        return f"batch.sequences {sequences} does not divide over {over}; make it a multiple of them or start fewer"

    def rows_each(self, processes: int) -> int:
        """Return the number of sequences of a batch for each process, or for each group that shares its sequences."""
        return self.batch.sequences // max(1, processes // self.engine.sequence_parallel)

    @model_validator(mode="after")
    def _optimizer_fits_engine(self) -> Self:
        if (fault := optimizer_fault(self.optimizer, self.engine.passed)) is not None:
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _something_is_averaged(self) -> Self:
        if self.average is not None:
            check_average([strategy.kind for strategy in self.paradigms.values()])
        check_released(self.average, self.paradigms)
        return self

    @model_validator(mode="after")
    def _money_has_a_price(self) -> Self:
        price = self.hardware.price_per_device_hour if self.hardware else None
        if self.budget is not None and self.budget.money is not None and price is None:
            raise ValueError(
                "budget.money needs the price of a device-hour: add hardware.price_per_device_hour: {amount, currency, "
                "source, date}, or give budget.device_hours instead"
            )
        return self

    @model_validator(mode="after")
    def _rows_can_be_cut(self) -> Self:
        length, parts = self.data.sequence_length, self.engine.sequence_parallel
        if length % parts:
            raise ValueError(f"engine.sequence_parallel {parts} does not divide data.sequence_length {length}")
        if parts > 1 and self.optimizer.kind == "muon":
            raise ValueError("engine.sequence_parallel and optimizer.kind muon were not tried together: give one")
        return self

    @model_validator(mode="after")
    def _positions_reach(self) -> Self:
        architecture = self.model.architecture or {}
        reach = architecture.get("max_position_embeddings", architecture.get("n_positions"))
        if isinstance(reach, int) and reach < self.data.sequence_length:
            raise ValueError(
                f"data.sequence_length {self.data.sequence_length} is beyond the model's {reach} positions; "
                "shorten it, or raise max_position_embeddings"
            )
        return self
