"""Repair of the records of paths that earlier versions of lrps kept under a changed model.architecture.

transformers writes into nested mappings of a config, such as rope_parameters, and earlier versions recorded the result:
in the checkpoints of every path, and in path.json of every path after the first of a process. What was trained is the
model of the config all the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrps.base.errors import ConfigError
from lrps.base.files import atomic_write_json
from lrps.base.foreign_json import through_json
from lrps.base.locks import path_lock
from lrps.engine.model import filled_architecture
from lrps.plan.plan import Plan
from lrps.store.checkpoints import complete_checkpoints
from lrps.store.identity import EQUAL_DIGESTS, read_identity, training_digest
from lrps.store.layout import PathLayout


def repair_run(plan: Plan) -> list[str]:
    """Mend every path.json of a run with the architecture that transformers made of the config's; return their names.

    Only a record that is exactly what the installed transformers makes of the config is changed. Raises ConfigError if
    no model can be built from the config, LineageError if a path is being trained or its path.json cannot be read.
    """
    architecture = plan.config.model.architecture or {}
    if not any(isinstance(value, dict | list) for value in architecture.values()):
        return []
    try:
        filled = through_json(filled_architecture(architecture))
    except Exception as error:  # transformers raises classes of many kinds.
        raise ConfigError(f"model.architecture: no model can be built from it: {error}") from error
    files = sorted(plan.config.run_dir.glob("*/path.json")) if filled != architecture else []
    return [file.parent.name for file in files if _mend(file, architecture, filled)]


def _mend(path_json: Path, architecture: dict[str, Any], filled: dict[str, Any]) -> bool:
    """Let a path.json have the architecture of the config, and declare the other digest equal; False if it has."""
    with path_lock(path_json.parent, "repaired"):
        there = read_identity(path_json)
        if there["training"]["architecture"] not in (architecture, filled):
            return False
        digest = training_digest({**there, "training": {**there["training"], "architecture": filled}})
        mended = {**there, "training": {**there["training"], "architecture": architecture}, EQUAL_DIGESTS: [digest]}
        layout = PathLayout(path_json.parent)
        saved = [*complete_checkpoints(layout.checkpoints), *complete_checkpoints(layout.branch_points)]
        needed = any(each.identity.get("training_sha256") == digest for each in saved)
        if mended == there or not (needed or there["training"]["architecture"] == filled):
            return False
        atomic_write_json(path_json, mended)
        return True
