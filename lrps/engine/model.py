"""Hugging Face causal language models from the config.

Here a model is built whole, in fp32 and without DeepSpeed's zero.Init, which initialises transformers 5 models wrongly
without an error; lrps.engine.build builds it in parts. Must not import deepspeed. Imports transformers when a model is
built, because that takes seconds.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lrps.base.errors import ConfigError
from lrps.config.models import ModelConfig
from lrps.engine.loaded import check_names, value_faults
from lrps.engine.losses.loss_head import LossHead
from lrps.engine.model_config import model_config
from lrps.engine.padding import NO_TOKEN, drop_padding, needs_padding_token, train_padding_rows
from lrps.store.model_files import weight_shapes

_LOADING: Mapping[str, Any] = {
    "local_files_only": True,
    "dtype": torch.float32,
    "output_loading_info": True,
    "ignore_mismatched_sizes": True,  # check_names refuses them.
}
"""Arguments with which transformers loads weights."""


def build_model(
    model: ModelConfig,
    seed: int,
    activation_checkpointing: bool = False,
    attention: str | None = None,
    *,
    begun: bool = False,
    config: Any = None,
) -> nn.Module:
    """Build a PreTrainedModel in fp32 on the CPU, initialised from `seed` or from a local checkpoint directory.

    attention: transformers' name of the kernel; None leaves the choice to transformers. begun: whether the run was
    begun before models were examined (`Plan.begun`). Then the model keeps the padding rows of transformers, and weights
    are accepted that new runs are refused for. config: what `model_config` returned for the model, if that is known; it
    is not changed. The global random state is not changed. Raises ConfigError that names a wrong key, or what the
    directory lacks.
    """
    config = model_config(model, begun) if config is None else copy.deepcopy(config)
    if model.checkpoint:
        built = _from_checkpoint(model.checkpoint, config, begun)
        if not begun:
            train_padding_rows(built, redraw=False)
    else:
        built = _from_architecture(config, seed, begun)
    configure(built, activation_checkpointing, attention)
    return built


def configure(model: Any, activation_checkpointing: bool, attention: str | None) -> None:
    """Prepare a new model for training with these settings, see `build_model`. Raises ConfigError."""
    if attention is not None:
        set_attention(model, attention)
    prepare_training(model)
    if activation_checkpointing:
        enable_checkpointing(model)


def build_skeleton(model: ModelConfig, begun: bool = False) -> nn.Module:
    """Build the model of `build_model` without values: config, names and shapes, which take no memory.

    Raises ConfigError as `build_model` does.
    """
    config = model_config(model, begun)
    if model.checkpoint:
        return _skeleton(model.checkpoint, config)
    with torch.device("meta"):
        return _from_architecture(config, 0, begun)


def initialised(config: Any, seed: int, own_padding: bool = False) -> Any:
    """Return a new model of a transformers config in fp32, drawn from `seed`. Raises whatever transformers raises."""
    from transformers import AutoModelForCausalLM

    def drawn() -> Any:
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)

    with torch.random.fork_rng(devices=[]):
        if own_padding:
            return drawn()
        drop_padding(config)
        with torch.device("meta"):
            without_values = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=torch.float32)
        if needs_padding_token(without_values):
            drop_padding(config, NO_TOKEN)
        model = drawn()
        train_padding_rows(model, redraw=True)
        return model


def prepare_training(model: Any) -> None:
    """Switch off the cache of a new model, and name the loss of transformers if its class names none."""
    model.config.use_cache = False
    if getattr(model, "loss_type", None) is None:
        model.loss_type = "ForCausalLM"  # The default of transformers, but without its warning.


def enable_checkpointing(model: Any) -> None:
    """Let a model compute its activations again in the backward pass. Raises ConfigError if it cannot."""
    try:
        # Re-entrant checkpointing drops gradients of frozen inputs and does not work with compile.
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    except ValueError as error:
        raise ConfigError(
            f"engine.activation_checkpointing: a {model.config.model_type} model does not support it; leave the key out"
        ) from error


def compile_layers(model: Any) -> bool:
    """Let torch compile each layer of the model at its first call; False if the model does not name its layers.

    Layers are compiled instead of the model because torch compiles equal layers once. If the whole model is compiled,
    transformers gives attention an explicit mask, with which SDPA cannot use its flash kernel.
    """
    layers = [module for module in model.modules() if type(module).__name__ in (model._no_split_modules or ())]
    for layer in layers:
        layer.compile()
    head = model.get_output_embeddings()
    if layers and isinstance(head, LossHead):
        head.fused = True
    return bool(layers)


def set_attention(model: Any, attention: str) -> None:
    """Let a model use an attention kernel. Raises ConfigError if it cannot."""
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation(attention)
    # The package is missing, the device is too old, or the kernel does not support the model.
    except Exception as error:
        raise ConfigError(f"engine.attention: {error}; take another one, or leave the key out") from error
    # Some models have a fixed attention, and transformers only warns.
    if attention != before == model.config._attn_implementation:
        raise ConfigError(f"engine.attention: a {model.config.model_type} model has {before} only; leave the key out")


def _from_architecture(config: Any, seed: int, own_padding: bool) -> Any:
    try:
        return initialised(config, seed, own_padding)
    # Depending on the model type, transformers raises its own classes, ValueError, TypeError or KeyError.
    except Exception as error:
        raise ConfigError(f"model.architecture: no {config.model_type} model can be built from it: {error}") from error


def filled_architecture(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Return an architecture with what transformers adds to its nested mappings when a model is built from it.

    Earlier versions of lrps recorded this as the architecture of every path after the first of a process. Raises
    whatever transformers raises for an architecture that is none.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    filled = copy.deepcopy(dict(architecture))
    config = AutoConfig.for_model(**filled)  # The nested mappings are shared with `filled`.
    with torch.device("meta"):
        AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return filled


def _skeleton(directory: Path, config: Any) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except Exception as error:
        raise ConfigError(f"model.checkpoint: {directory} cannot be loaded: {error}") from error


class _Valueless(Tensor):
    """A tensor without values, on the meta device, that stays there when it is moved to another device."""

    def to(self, device: object = None, dtype: torch.dtype | None = None, **_: object) -> Tensor:
        del device
        return self.as_subclass(Tensor).to(dtype=dtype or self.dtype)


def check_checkpoint(directory: Path, config: Any) -> None:
    """Raise ConfigError if the names or shapes of the weights in a checkpoint directory are not those of its model.

    config: what `model_config` returned for it. Reads the headers of the files. Takes memory only for weights that the
    files lack, which transformers draws.
    """
    shapes, model_class = weight_shapes(directory), type(_skeleton(directory, copy.deepcopy(config)))
    try:
        weights = {name: torch.empty(shape, device="meta").as_subclass(_Valueless) for name, shape in shapes.items()}
        # device_map="meta" would do the same with the files, but needs the package accelerate.
        _, loading = model_class.from_pretrained(
            None, config=config, state_dict=weights, trust_remote_code=False, **_LOADING
        )
    except Exception as error:
        raise ConfigError(f"model.checkpoint: {directory} cannot be loaded: {error}") from error
    check_names(loading, f"model.checkpoint: {directory}")


def _from_checkpoint(directory: Path, config: Any, begun: bool) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            directory,
            config=config,
            trust_remote_code=False,
            use_safetensors=True,  # Other files are pickles, and the identity of a run does not cover them.
            **_LOADING,
        )
    except Exception as error:
        raise ConfigError(f"model.checkpoint: {directory} cannot be loaded: {error}") from error
    where = f"model.checkpoint: {directory}"
    check_names(loading, where, surplus=begun)
    if not begun and (fault := next(value_faults(model, where), None)):
        raise ConfigError(fault)
    return model
