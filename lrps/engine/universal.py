"""Writing a checkpoint in DeepSpeed's universal format, to continue training with another script.

The files are `DIR/global_step480_universal/zero/<parameter>/{fp32,exp_avg,exp_avg_sq,step}.pt`, others that DeepSpeed
expects, and `DIR/latest_universal`. One directory fits ZeRO 1, 2 and 3 with any number of processes. Needs no process
group and no engine; one tensor is in memory at a time. Must not import deepspeed; follows what deepspeed 0.19 reads.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lrps.base.errors import CheckpointError
from lrps.base.files import atomic_write_text, fsync_directory, fsync_file
from lrps.engine.flat_pieces import WEIGHTS
from lrps.engine.state_files.reading import StateReader, open_state
from lrps.paths.optimizer_states import AVERAGE, MOMENTS

LATEST = "latest_universal"
_INFO = {"universal_checkpoint_version": 0.4}


def write_universal(fragments: Path, out: Path, step: int, samples: int, client_state: Mapping[str, Any]) -> Path:
    """Write the state in the directory `fragments`, of any topology, into `out`; return the directory of its tag.

    samples: rows trained so far. client_state: JSON values that DeepSpeed returns from load_checkpoint. Raises
    CheckpointError if `out` has that step already, or if something cannot be read or written; then nothing is left.
    """
    final = out / f"global_step{step}_universal"
    temporary = out / f".{final.name}.tmp"
    if final.exists():
        raise CheckpointError(f"{final} exists already; give another directory")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        with open_state(fragments) as state:
            _check_states(state, fragments)
            _write_parameters(state, temporary / "zero")
            _write_rest(state, temporary, {**client_state, "global_steps": step, "global_samples": samples})
        os.rename(temporary, final)
        fsync_directory(out)
        atomic_write_text(out / LATEST, final.name)
    except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError for a full disk.
        message = str(error).splitlines()[0]
        raise CheckpointError(f"cannot write {final}: {message}. Free disk space or fix permissions") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def _check_states(state: StateReader, directory: Path) -> None:
    """Raise CheckpointError if a state is not that of AdamW, the only optimizer that scripts read from the format."""
    own = {*state.states} - {WEIGHTS, AVERAGE.name}
    if own != {moment.name for moment in MOMENTS}:
        raise CheckpointError(
            f"{directory} has the states {', '.join(sorted(own)) or 'of no optimizer'}, and DeepSpeed's universal "
            "format those of AdamW only; `lrps export` writes the weights of any state"
        )


def _write_parameters(state: StateReader, zero: Path) -> None:
    step = torch.tensor(state.adam_step, dtype=torch.float32)
    for name in state.shapes:
        directory = zero / name
        directory.mkdir(parents=True)
        for kind in (WEIGHTS, *(moment.name for moment in MOMENTS)):
            _save({"param": state.read(name, kind)}, directory / f"{kind}.pt")
        _save(step, directory / "step.pt")
        fsync_directory(directory)


def _write_rest(state: StateReader, directory: Path, client_state: Mapping[str, Any]) -> None:
    # ZeRO 1 and 2 load at most as many groups as there are here, so there is one per parameter: no script has more.
    # They are empty, so that learning rate, betas, eps and weight decay stay those of the script; ZeRO 3 would use the
    # weight decay of the first group for all.
    groups: list[dict[str, Any]] = [{} for _ in state.shapes]
    adam = {"state": {0: {"step": torch.tensor(state.adam_step, dtype=torch.float32)}}, "param_groups": groups}
    deepspeed = version("deepspeed")
    shared = {"ds_version": deepspeed, "param_groups": groups, "optimizer_state_dict": adam}
    _save(shared, directory / "zero" / "optimizer_state.pt")
    model_states = {
        **client_state,
        "module": {},
        "ds_version": deepspeed,
        "dp_world_size": 1,
        "mp_world_size": 1,
        "skipped_steps": 0,
        "universal_checkpoint_info": _INFO,
    }
    for name in ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_model_states.pt"):  # ZeRO 1 and 2; ZeRO 3.
        _save(model_states, directory / name)
    fsync_directory(directory / "zero")
    fsync_directory(directory)


def _save(value: Any, path: Path) -> None:
    torch.save(value, path)
    fsync_file(path)
