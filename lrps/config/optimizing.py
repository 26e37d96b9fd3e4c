"""The `optimizer` section of a config file: AdamW, Muon or Lion, each with its own keys (docs/optimizers.md)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, SerializeAsAny, Tag, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticKnownError

from lrps.config.deepspeed.settings import DeepSpeedSettings
from lrps.config.extensions import OPTIMIZERS
from lrps.config.values import Float, Section

DEFAULT_KIND = "adamw"
"""Kind of optimizer of a config that names none, and of runs made before there was a choice."""
Beta = Annotated[Float, Field(ge=0, lt=1)]


class Regularized(Section):
    """Keys of every optimizer: weight decay, and clipping of gradients."""

    weight_decay: Annotated[Float, Field(ge=0)] = 0.1
    """Decoupled weight decay: a step multiplies a weight by 1 - (its learning rate) x `weight_decay`."""
    no_weight_decay: tuple[Literal["norms", "biases", "embeddings"], ...] = ()
    """Kinds of parameters without weight decay; by default it is applied to all."""
    clip_grad_norm: Annotated[Float, Field(gt=0)] | None = 1.0
    """Global gradient norm to which gradients are clipped; null switches clipping off. Muon's matrices are never
    clipped: with `kind: muon` it is the norm of the other parameters alone, to which only they are clipped."""

    def identity(self) -> dict[str, Any]:
        """Return the settings as the identity of a path has them. AdamW is not named, as before there was a choice."""
        values = self.model_dump(mode="json")
        return {key: value for key, value in values.items() if (key, value) != ("kind", DEFAULT_KIND)}


class AdaptiveMoments(Section):
    """Keys of AdamW."""

    betas: tuple[Beta, Beta] = (0.9, 0.95)
    """Decay rates of AdamW's first and second moments."""
    eps: Annotated[Float, Field(gt=0)] = 1e-8
    """Number added to the root of AdamW's second moment."""


class AdamWConfig(Regularized, AdaptiveMoments):
    """Settings of AdamW (Loshchilov and Hutter 2019), which updates all parameters."""

    kind: Literal["adamw"] = "adamw"
    """Optimizer of all paths of the plan."""


class MuonConfig(Regularized, AdaptiveMoments):
    """Settings of Muon (Jordan et al. 2024): matrices of hidden layers are moved along the orthogonalised momentum of
    their gradients. Embeddings, the output head, norms, biases and everything that is no weight matrix of a linear
    layer are updated by AdamW, with `betas` and `eps`."""

    kind: Literal["muon"]
    """Optimizer of all paths of the plan."""
    lr_ratio: Annotated[Float, Field(gt=0)] = 20.0
    """Learning rate of the matrices over that of the schedule, which is AdamW's: 0.02 for 0.001 by default."""
    momentum: Beta = 0.95
    """Decay rate of Muon's momentum, which is Nesterov's."""
    matrix_weight_decay: Annotated[Float, Field(ge=0)] | None = None
    """Weight decay of the matrices, by default `weight_decay`. A step multiplies a matrix by
    1 - (schedule's rate) x `lr_ratio` x `matrix_weight_decay`."""

    @property
    def decay_of_matrices(self) -> float:
        """Weight decay of the matrices."""
        return self.weight_decay if self.matrix_weight_decay is None else self.matrix_weight_decay


class LionConfig(Regularized):
    """Settings of Lion (Chen et al. 2023), which moves every weight by the sign of its momentum. Its authors take a
    learning rate 3 to 10 times smaller than AdamW's, and a weight decay as many times larger."""

    kind: Literal["lion"]
    """Optimizer of all paths of the plan."""
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    """Weights of the momentum in the direction of a step, and in the next momentum."""


_MUON_NEEDS_DEFAULT = ("offload_optimizer", "offload_param", "zero_hpz_partition_size", "reduce_scatter")
"""Settings of DeepSpeed's zero_optimization that lrps does not support with Muon."""


def optimizer_fault(optimizer: Regularized, passed: DeepSpeedSettings) -> str | None:
    """Return why an optimizer cannot train with settings that are passed to DeepSpeed; None if it can."""
    if not isinstance(optimizer, MuonConfig):
        return None
    given = passed.zero.model_fields_set & set(_MUON_NEEDS_DEFAULT)
    names = [f"zero_optimization.{name}" for name in _MUON_NEEDS_DEFAULT if name in given]
    if passed.communication_data_type is not None:
        names.append("communication_data_type")
    if not names:
        return None
    return f"engine.deepspeed.{names[0]} is not supported with optimizer.kind muon; leave it out"


class PluginOptimizerConfig(Regularized):
    """Settings of an optimizer that a plug-in adds. A plug-in with keys of its own has a subclass."""

    kind: str
    """Name of the plug-in."""


BUILTIN: dict[str, type[Regularized]] = {"adamw": AdamWConfig, "muon": MuonConfig, "lion": LionConfig}
"""Section of a config by the kind of optimizer, for those of lrps."""


def optimizer_section(kind: str) -> type[Regularized]:
    """Return the section of a kind of optimizer, of which there is one."""
    plugin = OPTIMIZERS.find(kind)
    return BUILTIN[kind] if plugin is None else plugin.value.section or PluginOptimizerConfig


def _kind_of(value: Any) -> str:
    """Return the kind that a section names, or that of one that names none."""
    return str(value.get("kind", DEFAULT_KIND) if isinstance(value, dict) else getattr(value, "kind", DEFAULT_KIND))


def _of_kind(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Return the settings of a plug-in as its own section, and any other ones as pydantic finds them by their kind."""
    kind = _kind_of(value)
    if kind in BUILTIN or not isinstance(value, dict):
        return validate(value)
    plugin = OPTIMIZERS.find(kind)
    if plugin is None:
        expected = ", ".join(f"'{name}'" for name in OPTIMIZERS.names)
        context = {"discriminator": "'kind'", "tag": kind, "expected_tags": expected}
        raise PydanticKnownError("union_tag_invalid", context)
    return (plugin.value.section or PluginOptimizerConfig).model_validate(value)


OptimizerConfig = Annotated[
    SerializeAsAny[
        Annotated[AdamWConfig, Tag("adamw")] | Annotated[MuonConfig, Tag("muon")] | Annotated[LionConfig, Tag("lion")]
    ],
    Discriminator(_kind_of),
    WrapValidator(_of_kind),
]
"""Settings of an optimizer; those of a plug-in are a PluginOptimizerConfig, which validation finds by its kind."""
