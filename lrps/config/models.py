"""The config file as frozen pydantic models: every key, its meaning, its unit and its default.

The descriptions below are what `configs/schema.json` shows in an editor. Nothing here reads a file (loader.py does)
and nothing here knows how training works.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from lrps.base.addresses import Address
from lrps.config.evaluating import EvaluationConfig
from lrps.config.hardware import HardwareConfig
from lrps.config.launching import LaunchConfig
from lrps.config.rehearsing import Synthesis
from lrps.config.strategies import KINDS, Mixing, Strategy
from lrps.config.tracking import TrackConfig
from lrps.config.values import Bytes, Count, Float, Int, Name, Section


class ModelConfig(Section):
    """A Hugging Face causal language model: freshly initialised, from a local checkpoint, or from a whole state."""

    architecture: dict[str, Any] | None = None
    """Fields of the Hugging Face config, `model_type` and `vocab_size` among them. Initialised from `seed`."""
    checkpoint: Path | None = None
    """A local Hugging Face checkpoint directory to start from, instead of `architecture`."""
    initial_state: Path | None = None
    """Directory of a checkpoint (`.../step-00000480`) whose weights, Adam moments and Adam step count every path
    without a parent starts from, PTFS paths among them, instead of weights drawn from `seed`. `lrps convert
    from-universal` writes one from DeepSpeed's universal format; one of another run serves too. Only with
    `architecture`, which must be that of the state. Steps, tokens and costs count from 0: what was trained elsewhere is
    not in the plan. Keep it until every path is trained."""
    parameters: Count | None = None
    """Number of parameters, for the FLOPs of model types that `lrps plan` cannot count by itself."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.architecture is None) == (self.checkpoint is None):
            raise ValueError("give exactly one of 'architecture' and 'checkpoint'")
        if self.checkpoint is not None and self.initial_state is not None:
            raise ValueError("initial_state has all the weights: give its model as 'architecture', not as 'checkpoint'")
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
    """Text files (.txt, .jsonl, .jsonl.gz, .jsonl.zst, .parquet) that `lrps data build` tokenizes into this version's
    shards."""
    url: Address | None = None
    """Where shards that were built elsewhere lie: a folder, https://, s3://, gs://, hf:// or any other address that
    fsspec opens, or a command as `pipe:ssh store cat /data/v2/{name}`. `lrps data fetch` copies the manifests; each
    shard comes into data.cache when it is first needed."""
    tokens: Count | None = None
    """Train on this many tokens of the increment (`10.5B`). Needed while the shards do not exist; all by default."""


class Rehearsal(Version):
    """A version that is no increment: rows made for rehearsal, read by the paradigms whose `mix` asks for them."""

    since: Name
    """The first version whose mix may read it; later ones go on where the lineage stopped reading. A set that is added
    to a trained plan begins with a version that is still to come: trained paths stay what they are."""
    synthesis: Synthesis | None = None
    """Let models write the set, with `lrps rehearse CONFIG SET`: self-synthesized rehearsal, instead of text or url."""

    @model_validator(mode="after")
    def _one_maker(self) -> Self:
        if self.synthesis is not None and (self.text or self.url):
            raise ValueError("synthesis makes the set: leave out 'text' and 'url', or leave out 'synthesis'")
        return self


def _no_version(unknown: str, names: Sequence[str]) -> str:
    near = get_close_matches(unknown, names, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"the versions are {', '.join(names)}"
    return f"{unknown} is no version; {hint}"


class DataConfig(Section):
    """The versions of the data, in the order in which they arrive."""

    root: Path
    """Folder of the shards: <root>/<version>/<version>-train.manifest.json and -heldout.manifest.json."""
    tokenizer: Path | None = None
    """tokenizer.json; by default <root>/tokenizer.json."""
    train_vocabulary: Annotated[Int, Field(ge=257)] | None = None
    """Let `lrps data build` train a byte-level BPE of this size on the first version if there is no tokenizer.
    257 means plain bytes and the end-of-text token."""
    sequence_length: Annotated[Int, Field(ge=2)]
    """Tokens in a row."""
    order: Literal["full", "window"] = "full"
    """`full` shuffles an increment as a whole; `window` some shards at a time, for data larger than memory."""
    heldout_share: Annotated[Float, Field(gt=0, lt=0.5)] = 0.01
    """Share of documents held out for evaluation, chosen by a hash of the text."""
    text_key: Annotated[str, Field(min_length=1)] = "text"
    """The key (.jsonl) or column (.parquet) of the text."""
    attention_across_documents: bool = True
    """true: a token sees all tokens before it in its row. false: only those of its own document, and positions begin
    anew with each document and each row; for models that can (llama, mistral, qwen2, qwen3, gpt2 and most with
    rotary positions), which is tried out before training."""
    cache: Path | None = None
    """Folder of the shards that come from a version's `url`, by content, best on a disk of the node; by default
    <root>/cache."""
    cache_limit: Bytes | None = None
    """Remove the shards that were not used for the longest time beyond this (`500GB`); nothing by default."""
    versions: tuple[Version, ...]
    """The increments: at least one."""
    rehearsal: tuple[Rehearsal, ...] = ()
    """Rows for rehearsal, each set a version of its own that `mix: {rehearsal: 0.1}` reads."""

    @property
    def cache_path(self) -> Path:
        return self.cache or self.root / "cache"

    @property
    def sources(self) -> tuple[Version, ...]:
        """Everything that has shards: the increments, then the rehearsal sets."""
        return (*self.versions, *self.rehearsal)

    @property
    def tokenizer_path(self) -> Path:
        return self.tokenizer or self.root / "tokenizer.json"

    @field_validator("versions")
    @classmethod
    def _at_least_one(cls, versions: tuple[Version, ...]) -> tuple[Version, ...]:
        if not versions:
            raise ValueError("name at least one version")
        return versions

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [version.name for version in self.sources]
        if doubled := {n for n in names if names.count(n) > 1}:
            raise ValueError(f"version names must differ: {', '.join(sorted(doubled))} stands more than once")
        return self

    @model_validator(mode="after")
    def _rehearsal_begins_somewhere(self) -> Self:
        names = [version.name for version in self.versions]
        for rehearsal in self.rehearsal:
            if rehearsal.since not in names:
                raise ValueError(f"rehearsal.{rehearsal.name}.since: {_no_version(rehearsal.since, names)}")
            for version in rehearsal.synthesis.of if rehearsal.synthesis else ():
                if version not in names:
                    raise ValueError(f"rehearsal.{rehearsal.name}.synthesis.of: {_no_version(version, names)}")
                if names.index(version) >= names.index(rehearsal.since):
                    raise ValueError(
                        f"rehearsal.{rehearsal.name}.synthesis.of: {version} is no version before "
                        f"{rehearsal.since}, since which the set is read; rehearse an earlier one, or raise `since`"
                    )
        return self


class BatchConfig(Section):
    """One optimizer step. The number of processes is not part of it."""

    sequences: Annotated[Int, Field(ge=1)]
    """Rows in an optimizer step, over all processes and accumulation steps."""
    micro_sequences: Annotated[Int, Field(ge=1)] | None = None
    """Rows that one process takes in one forward pass; by default its whole share of the batch."""


class ScheduleConfig(Section):
    """The learning-rate path that all paradigms share; each may decay in its own way."""

    peak_lr: Annotated[Float, Field(gt=0)]
    """The maximal learning rate: the main path's, and the one every decay starts from."""
    final_lr: Annotated[Float, Field(ge=0)] = 0.0
    """Where a decay ends."""
    warmup_steps: Annotated[Int, Field(ge=0)] = 0
    """Linear warm-up of every path that starts from scratch."""
    power_coefficient: Annotated[Float, Field(gt=0)] | None = None
    """Makes the stable phase of main paths min(peak_lr, power_coefficient * (tokens so far) ** -0.51) (Shen et al.
    2024). The other paradigms keep their own shape."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.final_lr > self.peak_lr:
            raise ValueError(f"final_lr {self.final_lr} lies above peak_lr {self.peak_lr}")
        return self


class OptimizerConfig(Section):
    """AdamW."""

    betas: tuple[Annotated[Float, Field(ge=0, lt=1)], Annotated[Float, Field(ge=0, lt=1)]] = (0.9, 0.95)
    eps: Annotated[Float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[Float, Field(ge=0)] = 0.1
    no_weight_decay: tuple[Literal["norms", "biases", "embeddings"], ...] = ()
    """Parameters that weight decay leaves alone; by default it is applied to all."""
    clip_grad_norm: Annotated[Float, Field(gt=0)] | None = 1.0
    """Global gradient norm; null switches clipping off."""


class EngineConfig(Section):
    """How DeepSpeed executes a step. Nothing here changes what is trained beyond rounding."""

    zero_stage: Annotated[Int, Field(ge=0, le=3)] = 1
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 keeps fp32 master weights and needs zero_stage 1 or higher."""
    attention: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3"] | None = None
    """The attention kernel; by default the one that transformers takes. The flash kernels need their package, a GPU
    and bf16; they skip other documents instead of masking them (data.attention_across_documents: false)."""
    activation_checkpointing: bool = False
    compile: bool = False
    """torch.compile the model's layers, at the first step; needs a C++ compiler on CPUs, Triton on GPUs."""
    cross_entropy: Literal["full", "chunked"] | None = None
    """`chunked` never holds the logits of all tokens at once: the loss and its gradient are worked out some tokens at
    a time, and few logits (2**25) all at once. For models whose loss is the cross-entropy of a plain output layer,
    which is tried out before training; by default chunked for these and full for the others."""
    keep_host_memory: bool = True
    """On CPUs (with glibc): keep memory that is freed, instead of giving it back and faulting it in again in the next
    step. Faster steps for a higher peak (docs/performance.md)."""
    read_every: Annotated[Int, Field(ge=1)] | None = None
    """Read losses and gradient norms, and agree on stopping, every so many steps; in between nothing waits for a GPU
    to tell them. By default as many as take a second. What is logged, saved or evaluated is read before, so metrics
    and ledger are the same whatever it is."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.precision == "bf16" and self.zero_stage == 0:
            raise ValueError("bf16 with zero_stage 0 trains wrongly in DeepSpeed 0.19: use zero_stage 1")
        if self.attention in ("flash_attention_2", "flash_attention_3") and self.precision != "bf16":
            raise ValueError(f"attention {self.attention} computes in bf16 only: use precision bf16, or sdpa")
        return self


class CheckpointConfig(Section):
    """When the state is saved. Branch points, releases and the end of a path are always saved and never pruned."""

    every_steps: Annotated[Int, Field(ge=1)] | None = None
    """Save each time the step is a multiple of this; null: at the end and at branch points only."""
    every_minutes: Annotated[Float, Field(gt=0)] | None = None
    """Save as well when the last save is so long ago, by the clock of the first process."""
    keep_last: Annotated[Int, Field(ge=1)] = 2
    """Of these periodic checkpoints, keep the newest."""
    keep_every_steps: Annotated[Int, Field(ge=1)] | None = None
    """Keep those whose step is a multiple of this, too; itself a multiple of every_steps."""
    keep_hours: Annotated[Float, Field(gt=0)] | None = None
    """Keep those that are younger than this, too: of which the manifest was written less than so many hours ago. What
    has grown older goes with the next save, or with `lrps prune`; what a pull brings is as young as the pull."""
    asynchronous: bool = True
    """Train on while a copy of the state is written. Steps stand still for the copy and the publication only: about a
    tenth of an awaited save, whatever the size. The copy costs host memory for as long as a path is trained, 12 bytes
    (fp32 weights and two moments) for each parameter that a process owns; from a GPU it is pinned. Writing and hashing
    take a core of each process; where training uses them all, steps are slower meanwhile. At a path's end, before an
    evaluation and when asked to stop, saves are awaited all the same; so is the one before, where the disk is slower
    than `every_steps`."""

    @model_validator(mode="after")
    def _kept_are_saved(self) -> Self:
        kept, saved = self.keep_every_steps, self.every_steps
        if kept is not None and (saved is None or kept % saved):
            raise ValueError(
                f"keep_every_steps {kept} keeps what every_steps saves, which is {saved}; make it a multiple of that"
            )
        return self


def _as_people_write_it(schema: dict[str, Any]) -> None:
    """For editors: a strategy whose name is its kind, and hardware by the name of a file."""
    hardware, paradigms = schema["properties"]["hardware"], schema["properties"]["paradigms"]
    hardware["anyOf"].append({"type": "string"})
    ((_, strategies),) = paradigms.pop("patternProperties").items()
    paradigms["properties"] = {
        kind: {"anyOf": [dict(strategy), {"type": "null"}]}
        for kind, strategy in zip(KINDS, strategies["oneOf"], strict=True)
    }
    paradigms["additionalProperties"] = {**strategies, "required": ["kind"]}


class Config(Section):
    """A whole config file."""

    model_config = ConfigDict(json_schema_extra=_as_people_write_it)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
    """Name of the plan: its run directory is <runs>/<name>."""
    runs: Path = Path("runs")
    seed: Annotated[Int, Field(ge=0, lt=2**32)] = 0
    """All randomness is a function of this, the step and the row."""
    model: ModelConfig
    data: DataConfig
    batch: BatchConfig
    schedule: ScheduleConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    engine: EngineConfig = EngineConfig()
    paradigms: Annotated[dict[Name, Strategy], Field(min_length=1)]
    """name -> strategy. A name that is a kind (path-switching, ptfs, cpt, wsd-s) needs no `kind`."""
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    launch: LaunchConfig = LaunchConfig()
    hardware: HardwareConfig | None = None
    """A mapping, or the path of a YAML file that holds it, relative to this file."""
    track: TrackConfig = TrackConfig()

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
    def _versions_known(self) -> Self:
        names = [version.name for version in self.data.versions]
        keys = ("alpha_per_version", "mix_per_version")
        paradigms = self.paradigms.items()
        named = ((f"{name}.{key}", getattr(strategy, key, {})) for name, strategy in paradigms for key in keys)
        for where, of_versions in named:
            for unknown in of_versions.keys() - set(names):
                raise ValueError(f"paradigms.{where}.{_no_version(unknown, names)}")
        for task in self.evaluation.tasks:
            if task.version not in names:
                raise ValueError(f"evaluation.tasks.{task.name}: {_no_version(task.version, names)}")
        return self

    @model_validator(mode="after")
    def _there_is_something_to_rehearse(self) -> Self:
        for name, strategy in self.paradigms.items():
            mixes = (strategy.mix, *strategy.mix_per_version.values()) if isinstance(strategy, Mixing) else ()
            if any(mix.rehearsal for mix in mixes) and not self.data.rehearsal:
                raise ValueError(
                    f"paradigms.{name}: its mix has a share of rehearsal, but there is no rehearsal data; add a set "
                    "to data.rehearsal, or give the share to new or replay"
                )
            self._check_sets_of_versions(name, strategy)
        return self

    def _check_sets_of_versions(self, name: str, strategy: Strategy) -> None:
        """Who gives a version a share of rehearsal by name shall not get none of it in silence."""
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
        for kind in dict.fromkeys(
            job for each in self.paradigms.values() for job in kinds.get(each.kind, (each.kind,))
        ):
            given = next((resources for known, resources in self.launch.resources.items() if known == kind), None)
            if self.launch.launcher == "deepspeed" and (given is None or given.nodes is None):
                continue  # The hostfile says how many; it is read when something is started.
            resources = self.launch.resources_of(kind)
            if fault := self.batch_fault((resources.nodes or 1) * (resources.processes or 1)):
                raise ValueError(f"{'launch.processes' if given is None else f'launch.resources.{kind}'}: {fault}")
        return self

    def batch_fault(self, processes: int) -> str | None:
        """Why so many processes cannot share a batch, if they cannot."""
        share, rest = divmod(self.batch.sequences, processes)
        if rest or not share:
            return (
                f"batch.sequences {self.batch.sequences} does not divide over {processes} processes; "
                "make it a multiple of them or start fewer"
            )
        micro = self.batch.micro_sequences
        if micro is not None and share % micro:
            return f"batch.micro_sequences {micro} does not divide the {share} rows of a process"
        return None

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
