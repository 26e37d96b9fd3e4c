"""The identity of a path in `path.json`, by which the directory of one plan is distinguished from another's.

A path may grow, as the main path does with every version, or a shorter plan may contain only its beginning; on common
steps it must be the same path. Settings that only change the speed of a step (world size, ZeRO stage, micro-batch) are
not part of the identity. An average of the weights changes nothing that is trained: a path may begin one later, or be
continued without it, but two averages of one path must have the same rule.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lrps.base.errors import LineageError
from lrps.base.files import sha256_file
from lrps.base.foreign_json import read_json, through_json
from lrps.config.models import Config
from lrps.data.manifest import MIXTURE, ORDER
from lrps.paths.amendments import amendments_from_json
from lrps.paths.graph import Fork, Segment, SourceRange, TrainingPath
from lrps.paths.optimizer_states import averages
from lrps.paths.schedule import Schedule, SchedulePiece
from lrps.store.conventions import GRADIENT_SUM
from lrps.store.difference import (
    TRAINING_KEYS,
    IdentityDifference,
    by_config_values,
    source_differences,
    training_differences,
    value_differences,
)
from lrps.store.layout import RunLayout
from lrps.store.path_difference import PathPair, path_differences
from lrps.store.plugin_identity import path_plugins, plugin_differences

FORMAT = "lrps-path/1"
_HISTORY = "parent_generation"
"""Key of a path for the history of its parent that it forked from, see paths/amendments.py; left out if it is 0."""
EQUAL_DIGESTS = "equal_training_sha256"
"""Key of a path.json with other training digests that checkpoints of the same training carry, see `lrps repair`."""
ORDER_SEED = "order_seed"
"""Key of `training` for the seed of the order of sequences; left out where it is the seed of everything."""
AVERAGE_KEY = "average"
"""Key of a path.json, and of the identity of a checkpoint, about averages of the path's weights; absent without one."""
SKIPPED = "skipped"
"""Key of a checkpoint's identity with the steps of its lineage that passed without an update, as ranges
[first, last]; left out where there are none."""
GUARD = "guard"
"""Key of a checkpoint's identity with what the spike guard remembers, and of a path's training with what it skips."""


def path_identity(
    path: TrainingPath,
    config: Config,
    tokenizer_sha256: str | None,
    sources: Mapping[str, Mapping[str, Any]],
    conventions: Mapping[str, str],
) -> dict[str, Any]:
    """Return the identity of a path as JSON values.

    sources: version -> {manifest_sha256, rows}, of versions with shards. conventions: those that the run follows.
    Initial weights that do not come from the seed are identified by their content (`initial_weights`), not by their
    location. Unknown values (None) are not compared.
    """
    training: dict[str, Any] = {
        "seed": config.seed,
        "architecture": config.model.architecture,
        "optimizer": config.optimizer.identity(),
        "batch_sequences": config.batch.sequences,
        "sequence_length": config.data.sequence_length,
        "order": config.data.order,
        "row_order": [ORDER, MIXTURE],
        "precision": config.engine.precision,
        "tokenizer_sha256": tokenizer_sha256,
        "initial_weights": None,
    }
    if not config.data.attention_across_documents:
        # Only if it is not the default, so that identities from before the key existed stay equal.
        training["attention_across_documents"] = False
    if config.model.initial_state is not None:
        # `initial_weights` says which state; this key says that the seed is not used.
        training["initial_state"] = True
    if config.order_seed != config.seed:
        training[ORDER_SEED] = config.order_seed
    if config.guard is not None and config.guard.action == "skip":
        training[GUARD] = config.guard.model_dump(mode="json")
    sums = config.engine.precision == "bf16"  # In fp32 there is no other way to sum.
    training |= {key: value for key, value in conventions.items() if sums or key != GRADIENT_SUM}
    assert training.keys() <= TRAINING_KEYS.keys(), "every key needs words for users: lrps/store/difference.py"
    return {
        "format": FORMAT,
        "path": path_to_json(path),
        "training": training,
        "sources": {name: dict(sources[name]) for name in sorted(path.sources) if name in sources},
        **_averages(path, config),
        **path_plugins(path, config),
    }


def _averages(path: TrainingPath, config: Config) -> dict[str, Any]:
    """Return what the identity of a path says about averages of its weights."""
    average = averages(config, path.kind)
    return {} if average is None else {AVERAGE_KEY: average.model_dump(mode="json")}


def training_digest(identity: Mapping[str, Any]) -> str:
    """Return the training digest: a hash of what all paths of a plan share (model, optimizer, batch, seed ...).

    It does not include the digest of the initial weights, which only path.json contains.
    """
    shared = {**identity["training"], "initial_weights": None}
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()


def equal_digests(run_dir: Path, training_sha256: str) -> frozenset[str]:
    """Return the training digests that paths of a run with this one declare equal to it; see `lrps repair`."""
    found: set[str] = set()
    for file in run_dir.glob("*/path.json"):
        try:
            values = read_json(file)
            if training_digest(values) == training_sha256:
                found.update(values.get(EQUAL_DIGESTS, ()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # Whoever needs this path reports it.
    return frozenset(found)


def path_to_json(path: TrainingPath) -> dict[str, Any]:
    """Return a path with the keys of format lrps-path/1, which differ from the names of attributes.

    Amendments and the history that the path forked from have keys only where there are any, within the path: earlier
    versions of lrps refuse such a path and do not train it without its amendments.
    """
    fork = path.parent
    history = {} if fork is None or not fork.generation else {_HISTORY: fork.generation}
    amendments = {"amendments": [each.to_json() for each in path.amendments]} if path.amendments else {}
    return {
        "name": path.name,
        "job": path.kind,
        "parent": None if fork is None else {"path": fork.path, "step": fork.step, "optimizer": fork.optimizer},
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
        **history,
        **amendments,
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
    parent = None if values["parent"] is None else Fork(**values["parent"], generation=int(values.get(_HISTORY, 0)))
    amendments = amendments_from_json(values.get("amendments", ()))
    return TrainingPath(
        values["name"], values["job"], parent, values["start"], values["stop"], schedule, segments, amendments
    )


def read_path(path_json: Path) -> TrainingPath | None:
    """Return the path in a path.json; None if it cannot be read (`check_identity` gives the reason)."""
    try:
        return path_from_json(read_json(path_json)["path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_identity(path_json: Path) -> dict[str, Any]:
    """Return the content of a path.json. Raises LineageError if it cannot be read as one."""
    try:
        values: dict[str, Any] = read_json(path_json)
        path_from_json(values["path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LineageError(
            f"{path_json}: cannot be read as a path's identity ({error}); restore it from a copy"
        ) from None
    return values


def check_identity(path_json: Path, identity: Mapping[str, Any], config: Config | None = None) -> TrainingPath:
    """Compare the identity of a path with its path.json, and return the stored path, which may be longer.

    config: the one that the identity is of; with it, differences have the values of its keys and of those in plan.json.
    Raises LineageError that names every difference by its key.
    """
    there = read_identity(path_json)
    old = path_from_json(there["path"])
    try:
        differences = identity_differences(
            there, identity, [each.name for each in config.data.rehearsal] if config else ()
        )
    except (ValueError, KeyError, TypeError) as error:
        raise LineageError(
            f"{path_json}: cannot be read as a path's identity ({error}); restore it from a copy"
        ) from None
    if differences:
        if config is not None:
            differences = _in_config_values(differences, path_json, config)
        raise LineageError(
            f"{path_json.parent}: was made by another plan:\n  "
            + "\n  ".join(map(str, differences))
            + "\n  change the config back, or give the plan another `name`; a changed paradigm can also be added "
            "beside the old one under a name of its own, and shares the main path where it is equal"
            + (_REPAIR if _may_be_filled(there, identity) else "")
        )
    return old


_REPAIR = (
    ".\n  Earlier versions of lrps recorded what transformers adds to nested keys of model.architecture; if one of "
    "them trained it, `lrps repair CONFIG` compares the two and mends the record"
)


def _may_be_filled(there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Return True if a recorded architecture is the one of `here` with more keys in its nested mappings."""
    old, new = there["training"].get("architecture"), here["training"]["architecture"]
    if not (isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys()) or old == new:
        return False
    return all(
        value == new[key] or (isinstance(value, dict) and isinstance(new[key], dict) and new[key].keys() < value.keys())
        for key, value in old.items()
    )


def identity_differences(
    there: Mapping[str, Any], here: Mapping[str, Any], sets: Iterable[str] = ()
) -> list[IdentityDifference]:
    """Return the differences of two identities in words; `there` is the one that was begun.

    There are none if the paths are equal or one extends the other. sets: names of the config's rehearsal sets. Raises
    ValueError, KeyError or TypeError for values that are no identity.
    """
    old, new = path_from_json(there["path"]), path_from_json(through_json(here["path"]))
    trained, asked = there["training"], through_json(here["training"])
    differences = list(training_differences(trained, asked))
    if AVERAGE_KEY in there and AVERAGE_KEY in here:
        average = through_json(here[AVERAGE_KEY])
        differences += value_differences((AVERAGE_KEY,), there[AVERAGE_KEY], average)
    differences += plugin_differences(there, here)
    for name in sorted(there["sources"].keys() & here["sources"].keys()):
        key = ("data", "rehearsal" if name in sets else "versions", name)
        differences += source_differences(key, there["sources"][name], here["sources"][name])
    if not (new.extends(old) or old.extends(new)):
        batch = ("batch_sequences", "sequence_length")
        same_batch = all(trained[key] == asked[key] for key in batch)
        pair = PathPair(old, new, math.prod(asked[key] for key in batch), same_batch, frozenset(sets))
        differences += path_differences(pair)
    return differences


def _in_config_values(
    differences: list[IdentityDifference], path_json: Path, config: Config
) -> list[IdentityDifference]:
    """Return the differences with the values of both configs; as they are if plan.json has none that can be read.

    plan.json has the config that the run accepted last: one that is refused for its differences is never written.
    """
    try:
        recorded = read_json(RunLayout(path_json.parent.parent).plan_json)["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return differences
    return by_config_values(differences, recorded, config.model_dump(mode="json"))


def weights_digest(checkpoint: Path) -> str:
    """Return the SHA-256 over the names and contents of a Hugging Face checkpoint's config and weights."""
    files = [checkpoint / "config.json", *sorted(checkpoint.glob("*.safetensors"))]
    listed = "".join(f"{file.name} {sha256_file(file)}\n" for file in files if file.is_file())
    return hashlib.sha256(listed.encode()).hexdigest()
