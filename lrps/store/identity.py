"""What a path is, as `path.json` holds it: enough to tell whether a directory belongs to a plan.

A path may grow (the main path does with every version) or be seen by a shorter plan; on the steps that both know it
must be the same path. Whatever only changes how fast a step runs (world size, ZeRO stage, micro-batch) is no part
of its identity.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lrps.base.errors import LineageError
from lrps.base.files import sha256_file
from lrps.config.models import Config
from lrps.data.manifest import MIXTURE, ORDER
from lrps.paths.graph import Fork, Segment, SourceRange, TrainingPath
from lrps.paths.schedule import Schedule, SchedulePiece

FORMAT = "lrps-path/1"
_UNLESS_SAID = {"training.attention_across_documents": True, "training.initial_state": False}
"""What a key means that an identity does not have: it holds what departs from the default."""
_MAY_BE_UNKNOWN = ("training.tokenizer_sha256", "training.initial_weights")
"""A run that was copied without its data, and a digest that only training needs, do not make a path another one."""


def path_identity(
    path: TrainingPath, config: Config, tokenizer_sha256: str | None, sources: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The identity of a path as JSON values.

    sources: version -> {manifest_sha256, rows}, of versions with shards. What the model starts from, if not from the
    seed, is named by what it holds (initial_weights), wherever it lies. What is not known (None) is not compared.
    """
    training: dict[str, Any] = {
        "seed": config.seed,
        "architecture": config.model.architecture,
        "optimizer": config.optimizer.model_dump(mode="json"),
        "batch_sequences": config.batch.sequences,
        "sequence_length": config.data.sequence_length,
        "order": config.data.order,
        "row_order": [ORDER, MIXTURE],
        "precision": config.engine.precision,
        "tokenizer_sha256": tokenizer_sha256,
        "initial_weights": None,
    }
    if not config.data.attention_across_documents:
        # Only where it departs from the default: directories from before the key stay what they were.
        training["attention_across_documents"] = False
    if config.model.initial_state is not None:
        # Which one says its digest; this, that the seed does not.
        training["initial_state"] = True
    return {
        "format": FORMAT,
        "path": path_to_json(path),
        "training": training,
        "sources": {name: dict(sources[name]) for name in sorted(path.sources) if name in sources},
    }


def training_digest(identity: Mapping[str, Any]) -> str:
    """Fingerprint of what all paths of a plan share (model, optimizer, batch, seed ...): checkpoints carry it.

    Without the digest of the initial weights, which only path.json knows.
    """
    shared = {**identity["training"], "initial_weights": None}
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()


def path_to_json(path: TrainingPath) -> dict[str, Any]:
    """Return a path as path.json holds it: the keys of format lrps-path/1, whatever the attributes are called."""
    return {
        "name": path.name,
        "job": path.kind,
        "parent": None if path.parent is None else asdict(path.parent),
        "start": path.start,
        "stop": path.stop,
        "schedule": {"pieces": [asdict(piece) for piece in path.schedule.pieces]},
        "segments": [
            {
                "steps": segment.steps,
                "parts": [
                    {"source": part.source, "from_row": part.from_row, "rows": part.rows} for part in segment.parts
                ],
                "rows": segment.rows,
            }
            for segment in path.segments
        ],
    }


def path_from_json(values: Mapping[str, Any]) -> TrainingPath:
    """Return the path that `path_to_json` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    segments = tuple(
        Segment(
            segment["steps"],
            tuple(SourceRange(part["source"], part["from_row"], part["rows"]) for part in segment["parts"]),
        )
        for segment in values["segments"]
    )
    schedule = Schedule(tuple(SchedulePiece(**piece) for piece in values["schedule"]["pieces"]))
    parent = None if values["parent"] is None else Fork(**values["parent"])
    return TrainingPath(values["name"], values["job"], parent, values["start"], values["stop"], schedule, segments)


def read_path(path_json: Path) -> TrainingPath | None:
    """The path that a directory holds; None if its path.json cannot be read (check_identity says why)."""
    try:
        return path_from_json(json.loads(path_json.read_text(encoding="utf-8"))["path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_identity(path_json: Path, identity: Mapping[str, Any]) -> TrainingPath:
    """Compare a path of the plan with the directory that is there; the path as it is there, which may be longer.

    Raises LineageError that names every difference: a directory is never trained on with another meaning.
    """
    try:
        there = json.loads(path_json.read_text(encoding="utf-8"))
        old = path_from_json(there["path"])
        differences = identity_differences(there, identity)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LineageError(
            f"{path_json}: cannot be read as a path's identity ({error}); restore it from a copy"
        ) from None
    if differences:
        raise LineageError(
            f"{path_json.parent}: was made by another plan:\n  "
            + "\n  ".join(f"{each} in the config" for each in differences)
            + "\n  change the config back, give the plan another `name`, or delete this directory"
        )
    return old


def identity_differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What tells two identities apart, each as `key: VALUE there, VALUE`, the latter being what is here.

    None if one path is the other or goes on from it. ValueError, KeyError or TypeError for what is no identity.
    """
    old, new = path_from_json(there["path"]), path_from_json(json.loads(json.dumps(here["path"])))
    differences = _differences("training", there["training"], here["training"])
    for name in sorted(there["sources"].keys() & here["sources"].keys()):
        differences += _differences(f"sources.{name}", there["sources"][name], here["sources"][name])
    if not (new.extends(old) or old.extends(new)):
        differences += _differences("path", _comparable(old), _comparable(new)) or ["path: other rows or rates than"]
    return differences


def _comparable(path: TrainingPath) -> Any:
    values = path_to_json(path)
    return {key: value for key, value in values.items() if key not in ("name", "job", "stop")}


def _differences(where: str, there: Any, here: Any) -> list[str]:
    if there == here or (where in _MAY_BE_UNKNOWN and None in (there, here)):
        return []
    if isinstance(there, dict) and isinstance(here, dict):
        keys = sorted(there.keys() | here.keys())
        pairs = {key: [each.get(key, _UNLESS_SAID.get(f"{where}.{key}")) for each in (there, here)] for key in keys}
        return [line for key, pair in pairs.items() for line in _differences(f"{where}.{key}", *pair)]
    return [f"{where}: {_short(there)} there, {_short(here)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def weights_digest(checkpoint: Path) -> str:
    """Identity of a Hugging Face checkpoint: SHA-256 over the names and contents of its config and weights."""
    files = [checkpoint / "config.json", *sorted(checkpoint.glob("*.safetensors"))]
    listed = "".join(f"{file.name} {sha256_file(file)}\n" for file in files if file.exists())
    return hashlib.sha256(listed.encode()).hexdigest()
