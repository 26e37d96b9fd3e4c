"""The files of a Hugging Face model: which hold its weights, and a check of them before any library loads them.

transformers loads adapters that are beside the weights, casts packed numbers of quantized weights as if they were
values, and follows an index to files outside the directory, each without an error. Headers of safetensors files are
read here, weights are not. Imports no torch and no transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrps.base.errors import ConfigError
from lrps.base.files import regular_file
from lrps.base.foreign_json import JsonError, parse_json, read_json
from lrps.config.model_directory import MERGE, MODEL_CONFIG, read_model_config, refuse_lfs_pointer

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
_HEADER_LENGTH = 8
"""Number of bytes at the start of a safetensors file that hold the length of its header."""
_LARGEST_HEADER = 10**8
"""Largest length of a header that the safetensors library accepts."""
_FAR = 16
"""Factor by which a size in config.json may exceed what the weights have, before it is refused unseen."""
_PACKED = ("U8", "I8", "U16", "I16", "U32", "I32")
"""Integers that quantized weights are packed in. Buffers of published models are BOOL, I64 or have four dimensions."""
_PLAIN = ("F64", "F32", "F16", "BF16", "BOOL", "I64", *_PACKED)
_UNQUANTIZED = "give the unquantized model: packed weights cannot be trained"

Header = Mapping[str, tuple[str, tuple[int, ...]]]
"""Name of a tensor -> its type, as safetensors names it, and its shape."""


def check_model_files(directory: Path, where: str = "model.checkpoint", *, trained: bool = True) -> None:
    """Raise ConfigError unless the directory has the config and the whole weights of a Hugging Face model.

    trained: whether the model is to be trained, for which quantized weights and code of the model's own are refused as
    well. where: the key of the config that names the directory, for messages. Reads config.json, the index and the
    headers of the weights. All files are in the directory itself, or links to the `blobs` of its repository in the
    cache of the Hub; `weights_digest` reads what they point to.
    """
    _refuse_links_outside(directory, where)
    config = read_model_config(directory, where)
    for file in sorted(directory.glob("*.json")):
        refuse_lfs_pointer(file, where)
    _refuse_adapter(directory, where)
    _refuse_tokenizer_outside(directory, where)
    if "transformers_weights" in config:
        raise ConfigError(
            f"{where}: transformers_weights in {directory / MODEL_CONFIG} names other weights than {WEIGHTS}, which "
            f"lrps does not follow; rename the file to {WEIGHTS} and remove the key"
        )
    if trained:
        _refuse_quantized(directory, config, where)
        _refuse_own_code(directory, config, where)
    headers = {name: _header(directory / name, where) for name in weight_files(directory, where)}
    if (directory / INDEX).is_file():
        _check_index(directory, headers, where)
    _check_sizes(directory, config, headers, where)
    if trained:
        for name, header in headers.items():
            _refuse_packed(directory / name, header, where)


def weight_files(directory: Path, where: str = "model.checkpoint") -> tuple[str, ...]:
    """Return the names of the files whose weights transformers loads, sorted; all are in the directory itself.

    Raises ConfigError if there are none, if it is not clear which are meant, or if one is missing.
    """
    single, index = directory / WEIGHTS, directory / INDEX
    if single.is_file() and index.is_file():
        raise ConfigError(
            f"{where}: {directory} has both {WEIGHTS} and {INDEX}, two sets of weights of which transformers loads the "
            "former; remove the one that is not meant"
        )
    if single.is_file():
        return (WEIGHTS,)
    if not index.is_file():
        raise ConfigError(f"{where}: {directory} has no {WEIGHTS}; {_other_weights(directory)}")
    names = sorted(set(_weight_map(index, where).values()))
    for name in names:
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise ConfigError(
                f"{where}: {index} names {name}, which is no .safetensors file of {directory} itself; put the file "
                "there and correct the index"
            )
        if not (directory / name).is_file():
            raise ConfigError(f"{where}: {index} names {name}, which is not there; copy or download it again")
    return tuple(names)


def weight_shapes(directory: Path, where: str = "model.checkpoint") -> dict[str, tuple[int, ...]]:
    """Return name -> shape of every tensor in the files of weights, from their headers. Raises as `weight_files`."""
    headers = (_header(directory / name, where) for name in weight_files(directory, where))
    return {name: shape for header in headers for name, (_, shape) in header.items()}


def _refuse_links_outside(directory: Path, where: str) -> None:
    """Raise ConfigError if a name in the directory leads out of it, or to what is no file."""
    home = directory.resolve()
    allowed = [home, home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [home]
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        target = path.resolve()
        if path.is_symlink() and not any(place in target.parents for place in allowed):
            raise ConfigError(
                f"{where}: {path} is a link out of its directory, to {target}; copy the file there in place of the link"
            )
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ConfigError(f"{where}: {path} is a device or a pipe and no file; remove it")


def _refuse_tokenizer_outside(directory: Path, where: str) -> None:
    """Raise ConfigError if the settings of the tokenizer name a file outside the directory that exists.

    Models are published with paths of their authors' machines, which are harmless where there is no such file.
    """
    file = directory / TOKENIZER_CONFIG
    if not file.is_file():
        return
    try:
        values = read_json(file)
    except (OSError, JsonError) as error:
        raise ConfigError(f"{where}: {error}") from None
    for key, name in values.items():
        if key.endswith("_file") and isinstance(name, str) and _is_outside(directory, name):
            raise ConfigError(
                f"{where}: {key} in {file} names {name}, a file outside the directory; copy the file there, and "
                f"remove the key from {TOKENIZER_CONFIG}"
            )


def _is_outside(directory: Path, name: str) -> bool:
    """Return True if a name in a model's settings leads to a file that exists outside its directory."""
    try:
        inside = directory.resolve()
        return any(
            path.is_file() and inside not in path.resolve().parents
            for path in (directory / name, Path(name))
            if Path(name).name != name
        )
    except (OSError, ValueError):  # Too long, or with a null byte: it names no file.
        return False


def _refuse_adapter(directory: Path, where: str) -> None:
    found = sorted(
        path.name for path in directory.glob("adapter_*") if path.suffix in (".json", ".safetensors", ".bin")
    )
    if found:
        raise ConfigError(
            f"{where}: {directory} has an adapter (LoRA, PEFT) beside the weights: {found[0]}; transformers adds it if "
            f"peft is installed and leaves it out if not. Remove the adapter_* files to use the model without it, or "
            f"{MERGE}"
        )


def _refuse_quantized(directory: Path, config: Mapping[str, Any], where: str) -> None:
    sections = [config, *(value for value in config.values() if isinstance(value, dict))]
    for section in sections:
        for key in ("quantization_config", "compression_config"):
            if section.get(key):
                method = section[key].get("quant_method") if isinstance(section[key], dict) else None
                how = f"{method or key} in {MODEL_CONFIG}"
                raise ConfigError(f"{where}: the weights in {directory} are quantized ({how}); {_UNQUANTIZED}")


def _refuse_own_code(directory: Path, config: Mapping[str, Any], where: str) -> None:
    if config.get("auto_map"):
        raise ConfigError(
            f"{where}: the model in {directory} has code of its own (auto_map in {MODEL_CONFIG}), which lrps does not "
            f"run; if transformers itself has the model type {config['model_type']!r}, remove auto_map from "
            f"{MODEL_CONFIG} to train its class, otherwise take another model"
        )


def _refuse_packed(file: Path, header: Header, where: str) -> None:
    for name, (kind, shape) in header.items():
        if kind not in _PLAIN or (kind in _PACKED and len(shape) in (2, 3)):
            raise ConfigError(f"{where}: {name} in {file} is quantized (numbers of type {kind}); {_UNQUANTIZED}")


def _check_sizes(directory: Path, config: Mapping[str, Any], headers: Mapping[str, Header], where: str) -> None:
    """Raise ConfigError for a model that its weights cannot be of: it could be too large to be made at all."""
    shapes = [shape for header in headers.values() for _, shape in header.values()]
    largest = max((size for shape in shapes for size in shape), default=0)
    limits = {"num_hidden_layers": len(shapes), **dict.fromkeys(("vocab_size", "hidden_size"), largest)}
    for key, most in limits.items():
        # Smaller differences are named by tensor when the model is loaded.
        if isinstance(stated := config.get(key), int) and stated > _FAR * most:
            raise ConfigError(
                f"{where}: {key} in {directory / MODEL_CONFIG} is {stated!r:.40}, but the weights beside it have "
                f"{len(shapes)} tensors with at most {largest} rows or columns; copy or download the model again"
            )


def _other_weights(directory: Path) -> str:
    """Return how to get weights that can be loaded, by the files that are there instead."""
    others = sorted(
        path.name
        for path in directory.iterdir()
        if path.suffix in (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".incomplete")
    )
    if not others:
        return "it has a config and no weights; download or copy the whole model"
    if all(name.endswith((".bin", ".pt", ".pth", ".ckpt")) for name in others):
        return (
            f"its weights are pickles ({', '.join(others[:3])}), which can run code when they are loaded. If you trust "
            'them, convert them: python -c "from transformers import AutoModelForCausalLM as M; '
            f"M.from_pretrained('{directory}').save_pretrained('DIR')\", and give DIR"
        )
    return f"it has {', '.join(others[:3])} instead; give a model that `save_pretrained` or `lrps export` wrote"


def _weight_map(index: Path, where: str) -> dict[str, str]:
    """Return tensor name -> file name of an index."""
    refuse_lfs_pointer(index, where)
    try:
        names = read_json(index)["weight_map"]
        if names and all(isinstance(name, str) for name in names.values()):
            return dict(names)
    except (OSError, JsonError, KeyError, TypeError, AttributeError):
        pass
    raise ConfigError(f"{where}: {index} is no index of weights; copy or download it again")


def _header(file: Path, where: str) -> Header:
    """Return the header of a safetensors file, after a check that the file is as long as its header says."""
    refuse_lfs_pointer(file, where)
    try:
        with open(file, "rb", opener=regular_file) as opened:
            length = int.from_bytes(opened.read(_HEADER_LENGTH), "little")
            if length > _LARGEST_HEADER:
                raise ValueError("its header is too long")
            header = parse_json(opened.read(length), "its header", largest=_LARGEST_HEADER)
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        tensors = {name: (str(entry["dtype"]), tuple(map(int, entry["shape"]))) for name, entry in header.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{where}: {file} is no safetensors file ({error}); copy or download it again") from None
    expected, found = _HEADER_LENGTH + length + end, file.stat().st_size
    if found != expected:
        raise ConfigError(
            f"{where}: {file} has {found:,} bytes and should have {expected:,}; copy or download it again"
        )
    return tensors


def _check_index(directory: Path, headers: Mapping[str, Header], where: str) -> None:
    """Raise ConfigError unless every tensor of the files is in exactly the file that the index names."""
    index = directory / INDEX
    indexed = _weight_map(index, where)
    stored = [(name, file) for file, header in headers.items() for name in header]
    differing = sorted(set(stored) ^ set(indexed.items()))
    if differing:
        name, file = differing[0]
        which = "is not in that file" if (name, file) in indexed.items() else "is there and not in the index"
        raise ConfigError(
            f"{where}: {index} and the files differ: {name} of {file} {which}; copy or download the whole model again"
        )
