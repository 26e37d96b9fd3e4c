"""The config file as frozen pydantic models: every key, its meaning, its unit and its default.

The descriptions below are what `configs/schema.json` shows in an editor. Nothing here reads a file (loader.py does)
and nothing here knows how training works.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

_MULTIPLES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9, "T": 10**12}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMBGT]?)", re.IGNORECASE)


def parse_quantity(value: Any) -> Any:
    """Read `10.5B` as 10500000000; leave everything that is not such a string to pydantic."""
    if isinstance(value, str) and (match := _QUANTITY.fullmatch(value.strip())):
        number, unit = match.groups()
        scaled = float(number) * _MULTIPLES[unit.upper()]
        return int(scaled) if scaled == int(scaled) else scaled
    return value


Count = Annotated[int, BeforeValidator(parse_quantity), Field(gt=0)]
Quantity = Annotated[float, BeforeValidator(parse_quantity), Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
DecayShape = Literal["linear", "cosine", "1-sqrt", "exponential", "inverse", "multi-step"]
OptimizerStart = Literal["carry", "reset"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]


class Section(BaseModel):
    """A mapping in the file: unknown keys are refused, values cannot change, numbers are not made from strings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class Model(Section):
    """A Hugging Face causal language model: freshly initialised, or from a local checkpoint."""

    architecture: dict[str, Any] | None = None
    """Fields of the Hugging Face config, `model_type` and `vocab_size` among them. Initialised from `seed`."""
    checkpoint: Path | None = None
    """A local Hugging Face checkpoint directory to start from, instead of `architecture`."""
    parameters: Count | None = None
    """Number of parameters, for the FLOPs of model types that `lrps plan` cannot count by itself."""

    @model_validator(mode="after")
    def _one_origin(self) -> Model:
        if (self.architecture is None) == (self.checkpoint is None):
            raise ValueError("give exactly one of 'architecture' and 'checkpoint'")
        if self.architecture is not None:
            missing = [key for key in ("model_type", "vocab_size") if key not in self.architecture]
            if missing:
                raise ValueError(f"architecture needs {' and '.join(missing)}")
        return self


class Version(Section):
    """One increment of data and the model version that is released for it."""

    name: Name
    """Name of the version and of its folder below data.root."""
    text: tuple[Path, ...] = ()
    """Text files (.txt, .jsonl) that `lrps data build` tokenizes into this version's shards."""
    tokens: Count | None = None
    """Train on this many tokens of the increment (`10.5B`). Needed while the shards do not exist; all by default."""


class Data(Section):
    """The versions of the data, in the order in which they arrive."""

    root: Path
    """Folder of the shards: <root>/<version>/<version>-train.manifest.json and -heldout.manifest.json."""
    tokenizer: Path | None = None
    """tokenizer.json; by default <root>/tokenizer.json."""
    train_vocabulary: Annotated[int, Field(ge=257)] | None = None
    """Let `lrps data build` train a byte-level BPE of this size on the first version if there is no tokenizer.
    257 means plain bytes and the end-of-text token."""
    sequence_length: Annotated[int, Field(ge=2)]
    """Tokens in a row."""
    order: Literal["full", "window"] = "full"
    """`full` shuffles an increment as a whole; `window` some shards at a time, for data larger than memory."""
    heldout_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    """Share of documents held out for evaluation, chosen by a hash of the text."""
    versions: tuple[Version, ...]
    """The increments: at least one."""

    @property
    def tokenizer_path(self) -> Path:
        return self.tokenizer or self.root / "tokenizer.json"

    @field_validator("versions")
    @classmethod
    def _unique(cls, versions: tuple[Version, ...]) -> tuple[Version, ...]:
        if not versions:
            raise ValueError("name at least one version")
        names = [v.name for v in versions]
        if doubled := {n for n in names if names.count(n) > 1}:
            raise ValueError(f"version names must differ: {', '.join(sorted(doubled))} stands more than once")
        return versions


class Batch(Section):
    """One optimizer step. The number of processes is not part of it."""

    sequences: Annotated[int, Field(ge=1)]
    """Rows in an optimizer step, over all processes and accumulation steps."""
    micro_sequences: Annotated[int, Field(ge=1)] | None = None
    """Rows that one process takes in one forward pass; by default its whole share of the batch."""


class Schedule(Section):
    """The learning-rate path that all paradigms share; each may decay in its own way."""

    peak_lr: Annotated[float, Field(gt=0)]
    """The maximal learning rate: the main path's, and the one every decay starts from."""
    final_lr: Annotated[float, Field(ge=0)] = 0.0
    """Where a decay ends."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Linear warm-up of every path that starts from scratch."""
    power_coefficient: Annotated[float, Field(gt=0)] | None = None
    """Makes the stable phase of the main path min(peak_lr, power_coefficient * step ** -0.51) (Shen et al. 2024)."""

    @model_validator(mode="after")
    def _ordered(self) -> Schedule:
        if self.final_lr > self.peak_lr:
            raise ValueError(f"final_lr {self.final_lr} lies above peak_lr {self.peak_lr}")
        return self


class Optimizer(Section):
    """AdamW."""

    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    no_weight_decay: tuple[Literal["norms", "biases", "embeddings"], ...] = ()
    """Parameters that weight decay leaves alone; by default it is applied to all."""
    clip_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Global gradient norm; null switches clipping off."""


class Engine(Section):
    """How DeepSpeed executes a step. Nothing here changes what is trained beyond rounding."""

    zero_stage: Literal[0, 1, 2, 3] = 1
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 keeps fp32 master weights and needs zero_stage 1 or higher."""
    activation_checkpointing: bool = False
    compile: bool = False
    """torch.compile the model through DeepSpeed."""

    @model_validator(mode="after")
    def _sound(self) -> Engine:
        if self.precision == "bf16" and self.zero_stage == 0:
            raise ValueError("bf16 with zero_stage 0 trains wrongly in DeepSpeed 0.19: use zero_stage 1")
        return self


class Decaying(Section):
    """What every paradigm says about its decay."""

    alpha: Quantity = 0.6
    """Length of the decay, in the unit of `alpha_of`."""
    alpha_of: Literal["increment", "steps-so-far", "steps", "tokens"] = "increment"
    """A share of the version's increment, a share of all steps so far, or an absolute number of steps or tokens."""
    alpha_per_version: dict[str, Quantity] = {}
    """`alpha` of single versions, by name."""
    decay: DecayShape = "linear"
    final_lr: Annotated[float, Field(ge=0)] | None = None
    """Where this paradigm's decays end; by default schedule.final_lr."""


class Mix(Section):
    """Shares of the rows of a path; they add up to 1."""

    new: Share = 1.0
    replay: Share = 0.0
    """Rows of older increments, each going on at its own next position, in proportion to their size."""

    @model_validator(mode="after")
    def _whole(self) -> Mix:
        if abs(self.new + self.replay - 1) > 1e-9:
            raise ValueError(f"new + replay must be 1, not {self.new + self.replay:g}")
        if self.new == 0:
            raise ValueError("new must be above 0: a version is trained on its own increment")
        return self


class PathSwitching(Decaying):
    """One main path at the maximal learning rate; a branch with a complete decay for every version."""

    kind: Literal["path-switching"]
    release_first: bool = True
    """false: version 1 is the main path itself after increment 1, without a decay."""
    branch_data: Literal["rest", "whole"] = "rest"
    """The rows a branch reads: those the main path would have read next (`rest`), or as many rows of a reshuffled
    pass over the whole increment (`whole`)."""
    mix: Mix = Mix()
    """Replay of older increments in the branches. The main path always reads each new row once."""
    optimizer: OptimizerStart = "carry"


class Ptfs(Decaying):
    """Every version from scratch on all data so far. By default a decay over the whole run."""

    kind: Literal["ptfs"]
    alpha: Quantity = 1.0
    alpha_of: Literal["increment", "steps-so-far", "steps", "tokens"] = "steps-so-far"
    decay: DecayShape = "cosine"


class Cpt(Decaying):
    """Every version from the last one's final state, on its own increment."""

    kind: Literal["cpt"]
    restart: Literal["rewarm", "continue", "constant"] = "rewarm"
    """`rewarm`: back to peak_lr, then decay. `continue`: go on at the last version's final rate. `constant`: all
    versions at peak_lr, none decayed."""
    rewarm_steps: Annotated[int, Field(ge=0)] | None = None
    """Steps of the re-warm-up; by default schedule.warmup_steps."""
    alpha: Quantity = 1.0
    decay: DecayShape = "cosine"
    mix: Mix = Mix()
    optimizer: OptimizerStart = "reset"


class WsdS(Decaying):
    """WSD-S (Wen et al. 2025): the main path goes on from the decayed checkpoint, at peak_lr, without a re-warm."""

    kind: Literal["wsd-s"]
    decay: DecayShape = "inverse"
    optimizer: OptimizerStart = "carry"


Strategy = Annotated[PathSwitching | Ptfs | Cpt | WsdS, Field(discriminator="kind")]
KINDS = ("path-switching", "ptfs", "cpt", "wsd-s")


class Evaluation(Section):
    """Loss and bits per byte of every version on the held-out sets of all increments so far and of the next one."""

    max_rows: Annotated[int, Field(ge=1)] | None = None
    """Rows of each held-out set, from its start; all by default."""
    batch_sequences: Annotated[int, Field(ge=1)] = 16
    """Rows in one forward pass of one process."""


class Checkpoint(Section):
    """When the state is saved. Branch points, releases and the end of a path are always saved and never pruned."""

    every_steps: Annotated[int, Field(ge=1)] | None = None
    """Save each time the step is a multiple of this; null saves at the end and at branch points only."""
    keep_last: Annotated[int, Field(ge=1)] = 2
    """Of these periodic checkpoints, keep the newest."""


class Launch(Section):
    """Where the training processes start."""

    launcher: Literal["local", "deepspeed"] = "local"
    """`local`: the deepspeed launcher on this machine; `deepspeed`: over the hosts of `hostfile`."""
    processes: Annotated[int, Field(ge=1)] = 1
    """Processes on this machine (`local`), or on each host."""
    hostfile: Path | None = None
    master_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """By default a free port of this machine, or 29500 with a hostfile."""
    paths_per_job: Annotated[int, Field(ge=1)] | None = None
    """Paths that one process group trains in a row; null means all. Starting a group costs seconds."""

    @model_validator(mode="after")
    def _hosts(self) -> Launch:
        if self.launcher == "deepspeed" and self.hostfile is None:
            raise ValueError("launcher deepspeed needs 'hostfile'; launcher local starts on this machine")
        return self


class Price(Section):
    """What one device costs for one hour; without it no money is shown."""

    amount: Annotated[float, Field(gt=0)]
    currency: Annotated[str, Field(min_length=1, max_length=8)] = "USD"
    source: str
    """Who says so, so that a reader of the report can check it."""
    date: str
    """The day of the price, as YYYY-MM-DD."""


class Hardware(Section):
    """What the plan computes GPU-hours and money with."""

    device: str
    """`A100`, `H100`, `H200`, `B200` ..., or `cpu`."""
    devices: Annotated[int, Field(ge=1)] = 1
    peak_tflops: Annotated[float, Field(gt=0)] | None = None
    """Dense bf16 peak of one device, for devices whose peak lrps does not know."""
    mfu: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Model FLOPs utilisation that the plan assumes."""
    price_per_device_hour: Price | None = None


class Track(Section):
    """Where metrics go. The local metrics.jsonl is always written."""

    log_every_steps: Annotated[int, Field(ge=1)] = 10
    wandb: Literal["off", "offline", "online"] = "off"
    wandb_project: str = "lrps"


class Config(Section):
    """A whole config file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
    """Name of the plan: its run directory is <runs>/<name>."""
    runs: Path = Path("runs")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """All randomness is a function of this, the step and the row."""
    model: Model
    data: Data
    batch: Batch
    schedule: Schedule
    optimizer: Optimizer = Optimizer()
    engine: Engine = Engine()
    paradigms: Annotated[dict[Name, Strategy], Field(min_length=1)]
    """name -> strategy. A name that is a kind (path-switching, ptfs, cpt, wsd-s) needs no `kind`."""
    evaluation: Evaluation = Evaluation()
    checkpoint: Checkpoint = Checkpoint()
    launch: Launch = Launch()
    hardware: Hardware | None = None
    """A mapping, or the path of a YAML file that holds it, relative to this file."""
    track: Track = Track()

    @property
    def run_dir(self) -> Path:
        return self.runs / self.name

    @property
    def tokens_per_step(self) -> int:
        return self.batch.sequences * self.data.sequence_length

    @field_validator("paradigms", mode="before")
    @classmethod
    def _kind_from_name(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            name: {"kind": name, **(strategy or {})}
            if name in KINDS and isinstance(strategy, dict | None)
            else strategy
            for name, strategy in value.items()
        }

    @model_validator(mode="after")
    def _versions_known(self) -> Config:
        names = {version.name for version in self.data.versions}
        for name, strategy in self.paradigms.items():
            if unknown := sorted(set(strategy.alpha_per_version) - names):
                raise ValueError(f"paradigms.{name}.alpha_per_version names {', '.join(unknown)}, which is no version")
        return self
