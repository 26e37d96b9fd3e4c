"""The config of a model before the model is built: of an architecture or of a checkpoint directory.

Only config classes of transformers are used, so that mistakes are found before anything is started. Imports
transformers when called, because that takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrps.base.errors import ConfigError
from lrps.config.model_directory import read_model_config
from lrps.config.models import ModelConfig
from lrps.data.manifest import Manifest
from lrps.engine.architecture import architecture_config, check_architecture, refuse_other_types
from lrps.store.model_files import check_model_files


def model_config(model: ModelConfig, begun: bool = False) -> Any:
    """Return transformers' config of a model, after a check of its keys or of the headers of its files.

    begun: whether the run was begun before models were examined (`Plan.begun`). Then only a model that cannot be built
    is refused. Raises ConfigError.
    """
    if model.checkpoint is None:
        config = architecture_config(model.architecture or {})
        if not begun:
            check_architecture(model.architecture or {}, config)
        return config
    if not begun:
        check_model_files(model.checkpoint)
    return _checkpoint_config(model.checkpoint)


def _checkpoint_config(directory: Path) -> Any:
    from transformers import AutoConfig

    refuse_other_types(read_model_config(directory)["model_type"], f"model.checkpoint: {directory}/config.json")
    try:
        return AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise ConfigError(f"model.checkpoint: {directory}/config.json cannot be loaded: {error}") from error


def check_model_config(
    model: ModelConfig, manifests: Mapping[str, Manifest], sequence_length: int, begun: bool = False
) -> Any:
    """Return the config of `model_config` after a check that the model has layers and is large enough for the data.

    manifests: version -> manifest of its shards, for those that exist. begun: as for `model_config`. Raises
    ConfigError.
    """
    config = model_config(model, begun)
    layers = getattr(config.get_text_config(), "num_hidden_layers", None)
    if not begun and isinstance(layers, int) and layers < 1:
        raise ConfigError(f"the model has {layers} layers; give num_hidden_layers 1 or more")
    _check_capacity(config, manifests, sequence_length)
    return config


def _check_capacity(config: Any, manifests: Mapping[str, Manifest], sequence_length: int) -> None:
    """Raise ConfigError if a config has too small a vocabulary or number of positions for the data."""
    text = config.get_text_config()
    vocabulary = max((manifest.tokenizer.vocabulary for manifest in manifests.values()), default=0)
    if text.vocab_size < vocabulary:
        raise ConfigError(
            f"the model has a vocabulary of {text.vocab_size}, the shards' tokenizer has {vocabulary} tokens; "
            f"give model.architecture.vocab_size {vocabulary} or more, or a checkpoint of this tokenizer"
        )
    positions = getattr(text, "max_position_embeddings", None)
    if positions is not None and positions < sequence_length:
        raise ConfigError(
            f"data.sequence_length {sequence_length} is beyond the model's {positions} positions; shorten it, or take "
            "another model"
        )
