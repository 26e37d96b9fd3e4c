"""Importing a state in DeepSpeed's universal format as a checkpoint that `model.initial_state` can name.

The files are those of DeepSpeed's ds_to_universal and of `write_universal`: Adam's step, and
`zero/<parameter>/{fp32,exp_avg,exp_avg_sq}.pt`. They are loaded with weights_only, so no code in a file is run, and
mapped, so that about one tensor is in memory. Needs no process group and no engine. Must not import deepspeed; follows
what deepspeed 0.19 writes.
"""

from __future__ import annotations

import hashlib
import math
import re
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lrps.base.errors import CheckpointError
from lrps.base.files import located, sha256_file
from lrps.base.foreign_json import read_bounded
from lrps.base.torch_version import SAFE_TORCH, unpickles_safely
from lrps.config.models import ModelConfig
from lrps.engine.flat_pieces import WEIGHTS
from lrps.engine.fragments import FragmentKey, Fragments
from lrps.engine.model import build_skeleton
from lrps.engine.state_files.agreement import index_alone
from lrps.engine.universal import LATEST
from lrps.paths.optimizer_states import MOMENTS
from lrps.store.checkpoints import Checkpoint, begin, directory_name, publish, write_small
from lrps.store.fragments.index import INDEX
from lrps.store.fragments.ranges import STEP, StoredState
from lrps.store.segments import merged_entries

_STATES = (WEIGHTS, *(moment.name for moment in MOMENTS))
_PREFIX = "module."
_LARGEST_NAME = 2**12
_HOW_TO_FIX = "give the `model` section of the run that wrote it, or convert its checkpoint again"
_CONVERT = (
    "python -m deepspeed.checkpoint.ds_to_universal --inject_missing_state --input_folder {0} "
    "--output_folder {0}_universal"
)


class _Ignored:
    """A substitute for classes of DeepSpeed in `optimizer_state.pt`, from which only Adam's step is read."""

    def __init__(self, *_: Any) -> None:
        """Ignore the arguments."""

    def __setstate__(self, _: Any) -> None:
        """Ignore the state."""


_OF_DEEPSPEED: list[Any] = [
    (_Ignored, "builtins.getattr"),  # Python 3.11.0 to 3.11.3 saves the member of an enumeration as a call of it.
    *(
        (_Ignored, f"deepspeed.runtime.{name}")
        for name in ("zero.config.ZeroStageEnum", "fp16.loss_scaler.LossScaler", "fp16.loss_scaler.DynamicLossScaler")
    ),
]
"""Names in DeepSpeed's files that are read without being imported or called: their values are not used."""


@dataclass(frozen=True)
class Imported:
    """The result of an import."""

    checkpoint: Checkpoint
    left_out: tuple[str, ...]
    """Names of values that were not imported, because they are not trained."""


def import_universal(model: ModelConfig, universal: Path, out: Path) -> Imported:
    """Write the state in `universal` (the directory of its tag, or of `latest_universal`) as a checkpoint in `out`.

    Its step is that of the tag: `out/step-00000480`. Raises CheckpointError if that exists already, or if the state is
    incomplete, not finite or of another model; then nothing is left. Raises ConfigError as `build_skeleton` does.
    """
    source = _UniversalFiles(_tag_directory(universal), build_skeleton(model))
    values, adam_step = source.tensors(), source.adam_step()
    facts = _facts(source.tag)
    step = facts["global_step"] or int(adam_step)
    if (out / directory_name(step)).exists():
        raise CheckpointError(f"{out / directory_name(step)} exists already; give another directory")
    states = {name: StoredState("elementwise", "F32") for name in _STATES}
    fragments = Fragments(values, source.shapes, states, {STEP: adam_step})
    tag = {"format": "deepspeed-universal", "tag": source.tag.resolve().name, **facts}
    temporary = begin(out, step)
    try:
        index = index_alone(fragments)
        files = merged_entries([fragments.write(temporary, index, 0)])
        files[INDEX] = write_small(temporary / INDEX, index.text())
        origin = {**tag, "adam_step": adam_step, "sha256": _sha256(source.tag, source.read)}
        if source.left_out:
            origin["left_out"] = source.left_out
        return Imported(publish(temporary, step, files, {"origin": origin}), source.left_out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


class _UniversalFiles:
    """The files of one tag, checked against the model that they should belong to."""

    def __init__(self, tag: Path, skeleton: nn.Module) -> None:
        self.tag = tag
        self.shapes = {name: list(values.shape) for name, values in skeleton.named_parameters()}
        self.read: list[Path] = []
        """Files that were read."""
        there = sorted(path.name for path in (tag / "zero").iterdir() if path.is_dir())
        wrapped = bool(there) and all(name.startswith(_PREFIX) for name in there) and not self.shapes.keys() & {*there}
        self._prefix = _PREFIX if wrapped else ""
        names = {name.removeprefix(self._prefix) for name in there}
        # ds_to_universal also writes the other names of tied weights, and buffers.
        tied = {name for name, _ in skeleton.named_parameters(remove_duplicate=False)}
        untrained = skeleton.state_dict().keys() - tied
        self.left_out = tuple(sorted(names & untrained))
        faults = [f"{name} is missing" for name in self.shapes if name not in names]
        faults += [f"{name} is no parameter of the model" for name in sorted(names - tied - untrained)]
        self._refuse(faults)

    def tensors(self) -> dict[FragmentKey, Tensor]:
        """Return the flat fp32 values of whole parameters, mapped, after checking all of them."""
        kinds = _STATES
        missing = [
            f"{name} lacks {', '.join(lacking)}"
            for name in self.shapes
            if (lacking := [kind for kind in kinds if not self._file(name, kind).is_file()])
        ]
        self._refuse(missing)
        loaded = {(name, kind): self._load(name, kind) for name in self.shapes for kind in kinds}
        self._refuse(fault for (name, kind), values in loaded.items() for fault in self._misshapen(name, kind, values))
        flat = {
            FragmentKey(kind, name, 0): values.detach().reshape(-1).float() for (name, kind), values in loaded.items()
        }
        self._refuse(
            f"{name} has values that are not finite in {kind}"
            for name, kind in loaded
            if not torch.isfinite(flat[FragmentKey(kind, name, 0)]).all()
        )
        return flat

    def adam_step(self) -> float:
        """Return Adam's step count, which ZeRO 3 writes once and the other stages for every parameter."""
        counted = {name: self._file(name, "step") for name in self.shapes if self._file(name, "step").is_file()}
        if counted:
            steps = {_number(self._loaded(file), file) for file in counted.values()}
            if len(steps) > 1 or len(counted) < len(self.shapes):
                raise CheckpointError(
                    f"{self.tag}: Adam has taken different numbers of steps for different parameters "
                    f"({', '.join(map(str, sorted(steps)))}); lrps has one count for all, so it cannot continue from it"
                )
            return steps.pop()
        file = self.tag / "zero" / "optimizer_state.pt"
        try:
            with torch.serialization.safe_globals(_OF_DEEPSPEED):
                return _number(self._loaded(file)["optimizer_state_dict"]["state"][0]["step"], file)
        except (LookupError, TypeError):
            raise CheckpointError(f"{file} does not say how many steps Adam has taken; {_HOW_TO_FIX}") from None

    def _file(self, name: str, kind: str) -> Path:
        return self.tag / "zero" / f"{self._prefix}{name}" / f"{kind}.pt"

    def _load(self, name: str, kind: str) -> Tensor:
        """Return the tensor in a file, which ZeRO 3 writes by itself and the other stages within a dictionary."""
        file = self._file(name, kind)
        found = self._loaded(file)
        values = found.get("param") if isinstance(found, dict) else found
        if not isinstance(values, Tensor) or values.layout != torch.strided:
            raise CheckpointError(f"{file} contains no tensor; {_HOW_TO_FIX}")
        return values

    def _loaded(self, file: Path) -> Any:
        self.read.append(file)
        return _load(file)

    def _misshapen(self, name: str, kind: str, values: Tensor) -> Iterator[str]:
        shape, found = self.shapes[name], list(values.shape)
        if found not in (shape, [math.prod(shape)]):
            yield f"{name} is {found} in {kind}, {shape} in the model"
        elif values.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            yield f"{name} is {values.dtype} in {kind}, which fp32 does not hold exactly"

    def _refuse(self, faults: Iterable[str]) -> None:
        """Raise CheckpointError that names the first faults, if there are any."""
        listed = list(faults)
        if listed:
            more = f"\n  and {len(listed) - 5} more" if len(listed) > 5 else ""
            raise CheckpointError(
                f"{self.tag} is not a complete state of the config's model:\n  "
                + "\n  ".join(islice(listed, 5))
                + f"{more}\n  {_HOW_TO_FIX}"
            )


def _tag_directory(universal: Path) -> Path:
    """Return the directory that contains `zero`: this one, or the one that `latest_universal` or `latest` names."""
    if (universal / "zero").is_dir():
        return universal
    for pointer in (universal / LATEST, universal / "latest"):
        if not pointer.is_file():
            continue
        tag = read_bounded(pointer, _LARGEST_NAME).decode(errors="replace").strip()
        if tag != Path(tag).name or tag in ("", ".."):
            raise CheckpointError(f"{pointer} names {tag!r}, which is not beside it; give the directory of a tag")
        if not (universal / tag / "zero").is_dir():
            convert = _CONVERT.format(universal / tag)
            raise CheckpointError(f"{universal / tag} is not in the universal format; convert it first: {convert}")
        return universal / tag
    what = "has neither zero/ nor latest_universal" if universal.is_dir() else "is no directory"
    raise CheckpointError(
        f"{located(universal)} {what}; give the directory that ds_to_universal or `lrps convert to-universal` wrote"
    )


def _load(file: Path) -> Any:
    """Load a file of tensors, mapped if possible. Raises CheckpointError if it is damaged or has anything else."""
    try:
        mapped = zipfile.is_zipfile(file)
        if mapped:  # A mapped file is read without checking its checksums.
            with zipfile.ZipFile(file) as archive:
                if (damaged := archive.testzip()) is not None:
                    raise CheckpointError(f"{file} is damaged: the checksum of {damaged} is wrong; copy it again")
        if not unpickles_safely(torch.__version__):
            raise CheckpointError(
                f"{file} is a pickle, in which torch {torch.__version__} would run code that somebody has put there "
                f"(CVE-2026-24747); install torch {SAFE_TORCH} or newer to read it"
            )
        return torch.load(file, map_location="cpu", mmap=mapped, weights_only=True)
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{file} is missing; {_HOW_TO_FIX}") from None
    except Exception as error:  # torch raises many classes of errors for a torn pickle.
        message = str(error)
        unknown = re.search(r"GLOBAL (\S+)", message)
        if unknown:
            raise CheckpointError(
                f"{file} contains {unknown[1]}, not only tensors; none of it was run. Save tensors only, or take "
                "another checkpoint"
            ) from None
        raise CheckpointError(
            f"{file} cannot be read ({message.splitlines()[0] if message else type(error).__name__}); it is damaged or "
            "no file of tensors: copy it again"
        ) from None


def _number(value: Any, file: Path) -> float:
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 else None
    number = float(value) if isinstance(value, int | float) else -1.0
    if not 0 <= number < 2**53 or number != int(number):
        raise CheckpointError(f"{file} contains no number of steps; {_HOW_TO_FIX}")
    return number


def _facts(tag: Path) -> dict[str, Any]:
    """Return the step and DeepSpeed's version of a tag; None if they cannot be read without running code."""
    found: Any = {}
    for file in sorted(tag.glob("*model_states.pt"))[:1]:
        try:
            found = _load(file)
        except CheckpointError:  # A script may have saved any object with the state; none of it is needed.
            continue
    found = found if isinstance(found, dict) else {}
    step, version = found.get("global_steps"), found.get("ds_version")
    if type(step) is not int or step < 0:
        named = re.search(r"global_step(\d{1,15})", tag.name)
        step = int(named[1]) if named else None
    return {"global_step": step, "deepspeed": version if isinstance(version, str) else None}


def _sha256(tag: Path, files: Iterable[Path]) -> str:
    """Return the SHA-256 over the names and contents of the files that were read."""
    listed = "".join(f"{file.relative_to(tag)} {sha256_file(file)}\n" for file in sorted(files))
    return hashlib.sha256(listed.encode()).hexdigest()
