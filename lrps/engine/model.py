"""Hugging Face causal language models from the config, and their parameter groups for weight decay.

Models are built in fp32 without DeepSpeed's zero.Init, which initialises transformers 5 models wrongly without an
error. Must not import deepspeed. Imports transformers when a model is built, because that takes seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from lrps.base.errors import ConfigError
from lrps.config.models import ModelConfig, OptimizerConfig
from lrps.engine.architecture import architecture_config
from lrps.engine.loaded import check_names, check_values
from lrps.engine.model_config import checkpoint_config
from lrps.store.model_files import check_model_files


def build_model(
    model: ModelConfig, seed: int, activation_checkpointing: bool = False, attention: str | None = None
) -> nn.Module:
    """Build a PreTrainedModel in fp32 on the CPU, initialised from `seed` or from a local checkpoint directory.

    attention: transformers' name of the kernel; None leaves the choice to transformers. The global random state is not
    changed. Raises ConfigError that names a wrong key, or what the directory lacks.
    """
    built = (
        _from_checkpoint(model.checkpoint) if model.checkpoint else _from_architecture(model.architecture or {}, seed)
    )
    if attention is not None:
        _set_attention(built, attention)
    built.config.use_cache = False
    if getattr(built, "loss_type", None) is None:
        built.loss_type = (
            "ForCausalLM"  # The default of transformers for a class without an entry, but without its warning.
        )
    if activation_checkpointing:
        # Re-entrant checkpointing drops gradients of frozen inputs and does not work with compile.
        built.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return built


def build_skeleton(model: ModelConfig) -> nn.Module:
    """Build the model of `build_model` without values: config, names and shapes, which take no memory.

    Raises ConfigError as `build_model` does.
    """
    with torch.device("meta"):
        return (
            _from_checkpoint_config(model.checkpoint)
            if model.checkpoint
            else _from_architecture(model.architecture or {}, seed=0)
        )


def compile_layers(model: Any) -> bool:
    """Let torch compile each layer of the model at its first call; False if the model does not name its layers.

    Layers are compiled instead of the model because torch compiles equal layers once. If the whole model is compiled,
    transformers gives attention an explicit mask, with which SDPA cannot use its flash kernel.
    """
    layers = [module for module in model.modules() if type(module).__name__ in (model._no_split_modules or ())]
    for layer in layers:
        layer.compile()
    return bool(layers)


def _set_attention(model: Any, attention: str) -> None:
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation(attention)
    # The package is missing, the device is too old, or the kernel does not support the model.
    except Exception as error:
        raise ConfigError(f"engine.attention: {error}; take another one, or leave the key out") from error
    # Some models have a fixed attention, and transformers only warns.
    if attention != before == model.config._attn_implementation:
        raise ConfigError(f"engine.attention: a {model.config.model_type} model has {before} only; leave the key out")


def parameter_groups(model: nn.Module, optimizer: OptimizerConfig) -> list[dict[str, Any]]:
    """Return the parameter groups for AdamW: with weight decay, then without (`no_weight_decay`); none is empty.

    Within a group the order is that of `model.named_parameters()`. An output head counts as an embedding only if it is
    tied to one.
    """
    spared = {
        id(parameter)
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if _kinds(module, name) & set(optimizer.no_weight_decay)
    }
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if id(p) not in spared], "weight_decay": optimizer.weight_decay},
        {"params": [p for p in model.parameters() if id(p) in spared], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _kinds(module: nn.Module, name: str) -> set[str]:
    """Return the kinds of a module's own parameter, as `no_weight_decay` names them."""
    kinds = set()
    if "norm" in type(module).__name__.lower():
        kinds.add("norms")
    if name.endswith("bias"):
        kinds.add("biases")
    if isinstance(module, nn.Embedding):
        kinds.add("embeddings")
    return kinds


def _from_architecture(architecture: dict[str, Any], seed: int) -> Any:
    from transformers import AutoModelForCausalLM

    config = architecture_config(architecture)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    # Depending on the model type, transformers raises its own classes, ValueError, TypeError or KeyError.
    except Exception as error:
        model_type = architecture["model_type"]
        raise ConfigError(f"model.architecture: no {model_type} model can be built from it: {error}") from error


def _from_checkpoint_config(directory: Path) -> Any:
    from transformers import AutoModelForCausalLM

    config = checkpoint_config(directory)
    try:
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except Exception as error:
        raise ConfigError(f"model.checkpoint: {directory} cannot be loaded: {error}") from error


def check_checkpoint(directory: Path) -> None:
    """Raise ConfigError if the names or shapes of the weights in a checkpoint directory are not those of its model.

    Reads no weights, and takes no memory for them.
    """
    _from_checkpoint(directory, device_map="meta")


def _from_checkpoint(directory: Path, device_map: str | None = None) -> Any:
    from transformers import AutoModelForCausalLM

    check_model_files(directory)
    checkpoint_config(directory)
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            directory,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,  # Other files are pickles, and the identity of a run does not cover them.
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # check_names refuses them.
            device_map=device_map,
        )
    except Exception as error:
        raise ConfigError(f"model.checkpoint: {directory} cannot be loaded: {error}") from error
    where = f"model.checkpoint: {directory}"
    check_names(loading, where)
    if device_map != "meta":
        check_values(model, where)
    return model
