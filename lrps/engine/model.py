"""Hugging Face causal language models from the config, and which of their parameters weight decay reaches.

Models are built plainly in fp32: DeepSpeed's zero.Init initialises transformers 5 models wrongly and without a
word. Must not import deepspeed. Imports transformers when a model is built, because that takes seconds.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lrps.base.errors import ConfigError
from lrps.config.models import ModelConfig, OptimizerConfig

# Accepted by transformers 5 in place of rope_parameters, though no config class lists them.
_ROPE_ALIASES = ("rope_theta", "rope_scaling")


def build_model(
    model: ModelConfig, seed: int, activation_checkpointing: bool = False, attention: str | None = None
) -> nn.Module:
    """A PreTrainedModel in fp32 on the CPU: initialised from `seed`, or from the local checkpoint directory.

    attention: the kernel, by transformers' name; None leaves the choice to transformers. The global random state is
    left as it was. ConfigError names a wrong key, or what the directory lacks.
    """
    built = (
        _from_checkpoint(model.checkpoint) if model.checkpoint else _from_architecture(model.architecture or {}, seed)
    )
    if attention is not None:
        _set_attention(built, attention)
    built.config.use_cache = False
    if getattr(built, "loss_type", None) is None:
        built.loss_type = "ForCausalLM"  # What transformers takes anyway where a class has no entry, with a warning.
    if activation_checkpointing:
        # Re-entrant checkpointing would drop gradients of frozen inputs and does not go with compile.
        built.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return built


def build_skeleton(model: ModelConfig) -> nn.Module:
    """The model that `build_model` makes, but for its values: config, names and shapes, which take no memory.

    ConfigError as `build_model`.
    """
    with torch.device("meta"):
        return (
            _from_checkpoint_config(model.checkpoint)
            if model.checkpoint
            else _from_architecture(model.architecture or {}, seed=0)
        )


def compile_layers(model: Any) -> bool:
    """Let torch compile each of the model's layers when it is first called; False if it does not say what they are.

    Layers, and not the model: torch compiles one for all that are alike, and where the whole model is compiled
    transformers gives attention an explicit mask, with which SDPA cannot take its flash kernel.
    """
    layers = [module for module in model.modules() if type(module).__name__ in (model._no_split_modules or ())]
    for layer in layers:
        layer.compile()
    return bool(layers)


def _set_attention(model: Any, attention: str) -> None:
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation(attention)
    # A package that is missing, a device that is too old, a model that the kernel does not fit.
    except Exception as error:
        raise ConfigError(f"engine.attention: {error}; take another one, or leave the key out") from error
    # Some models have their attention built in, and transformers only warns.
    if attention != before == model.config._attn_implementation:
        raise ConfigError(f"engine.attention: a {model.config.model_type} model has {before} only; leave the key out")


def parameter_groups(model: nn.Module, optimizer: OptimizerConfig) -> list[dict[str, Any]]:
    """Parameter groups for AdamW: those that decay, then those that `no_weight_decay` spares; no empty group.

    Within a group the order is that of `model.named_parameters()`. An output head counts as an embedding only where
    it is tied to one.
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
    """What a module's own parameter is, in the words of `no_weight_decay`."""
    kinds = set()
    if "norm" in type(module).__name__.lower():
        kinds.add("norms")
    if name.endswith("bias"):
        kinds.add("biases")
    if isinstance(module, nn.Embedding):
        kinds.add("embeddings")
    return kinds


def _from_architecture(architecture: dict[str, Any], seed: int) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = dict(architecture)
    model_type = fields.pop("model_type")
    _refuse_unknown(model_type, fields)
    try:
        config = AutoConfig.for_model(model_type, **fields)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    # transformers raises its own validation classes, ValueError, TypeError or KeyError, as the model type likes.
    except Exception as error:
        raise ConfigError(f"model.architecture: no {model_type} model can be built from it: {error}") from error


def _refuse_unknown(model_type: str, fields: dict[str, Any]) -> None:
    """transformers keeps any misspelt key as an attribute and trains another model than the one that was meant."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ConfigError(
            f"model.architecture.model_type: transformers knows no causal language model {model_type!r}"
            f"{_nearest(model_type, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)}"
        )
    config_class = CONFIG_MAPPING[model_type]
    known = {*config_class().to_dict(), *config_class.attribute_map} - {"dtype"}
    if "rope_parameters" in known:
        known.update(_ROPE_ALIASES)
    for key in fields:
        if key in ("dtype", "torch_dtype"):
            raise ConfigError(f"model.architecture.{key}: the precision is engine.precision; remove this key")
        if key not in known:
            raise ConfigError(f"model.architecture.{key}: a {model_type} model has no such key{_nearest(key, known)}")


def _nearest(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; it has {', '.join(sorted(known)[:40])}"


def check_checkpoint_directory(directory: Path) -> None:
    """ConfigError if no Hugging Face model lies there."""
    if not (directory / "config.json").is_file():
        raise ConfigError(
            f"model.checkpoint: {directory} {'has no config.json' if directory.is_dir() else 'is no directory'}; "
            "give the local directory of a Hugging Face model (lrps downloads nothing)"
        )


def _from_checkpoint_config(directory: Path) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    check_checkpoint_directory(directory)
    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except Exception as error:
        raise ConfigError(f"model.checkpoint: {directory} cannot be loaded: {error}") from error


def _from_checkpoint(directory: Path) -> Any:
    from transformers import AutoModelForCausalLM

    check_checkpoint_directory(directory)
    try:
        model, told = AutoModelForCausalLM.from_pretrained(
            directory,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,  # Weights in other files are pickles, and the identity of a run does not see them.
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:
        raise ConfigError(f"model.checkpoint: {directory} cannot be loaded: {error}") from error
    # A weight that the files lack would be drawn at random, without an error.
    if absent := sorted(told["missing_keys"]):
        raise ConfigError(f"model.checkpoint: {directory} lacks weights: {', '.join(absent[:5])}; use a whole model")
    return model
