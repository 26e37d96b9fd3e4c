"""A released model as a directory: there as a whole or not at all, and able to say which state it holds."""

from __future__ import annotations

import errno
import glob
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from safetensors import SafetensorError

from lrps.base.errors import CheckpointError
from lrps.base.files import atomic_write_json, fsync_directory, sha256_file
from lrps.store.checkpoints import fsync_and_hash

FORMAT = "lrps-export/1"
FACTS = "lrps.json"
"""What the model card says, for machines, and the size and SHA-256 of every other file."""


def holds(directory: Path, state: Mapping[str, Any], *, force: bool = False) -> bool:
    """True if `directory` is a whole export of this state; False if there is nothing, or an export to replace (force).

    Reads every byte of it. CheckpointError if anything else is there: what `lrps export` did not write is never
    replaced.
    """
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return False
    facts = _facts(directory)
    if not facts:
        raise CheckpointError(f"{directory} holds what `lrps export` did not write: give another --out, or remove it")
    if force:
        return False
    sizes = {name: entry["bytes"] for name, entry in facts["files"].items()}
    if facts["state"] != dict(state) or sizes != _sizes(directory):
        raise CheckpointError(
            f"{directory} holds another state, or the same in another form; give another --out, or --force to "
            "replace it"
        )
    for name, entry in facts["files"].items():
        if sha256_file(directory / name) != entry["sha256"]:
            raise CheckpointError(
                f"{directory / name} is not as it was exported: its SHA-256 differs; give another --out, or --force to "
                "replace it"
            )
    return True


def _sizes(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in directory.iterdir() if path.name != FACTS}


def _facts(directory: Path) -> dict[str, Any]:
    try:
        facts = json.loads((directory / FACTS).read_text(encoding="utf-8"))
        return facts if facts["format"] == FORMAT and {"state", "files"} <= facts.keys() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


@contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """An empty directory beside `final` that takes its name, and its place, when the block ends well.

    Whatever goes wrong in the block, `final` stays as it was and nothing is left over; what a process of this host left
    that was killed is cleared away. Several processes may do this at once: the last one's stays. CheckpointError for
    files that cannot be written.
    """
    final = final.absolute()
    temporary, replaced = (final.with_name(f"{_mark(kind, final)}{os.getpid()}") for kind in ("tmp", "replaced"))
    try:
        _clear(final)
        temporary.mkdir(parents=True)
        yield temporary
        _exchange(temporary, final, replaced)
        fsync_directory(final.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        way_out = "free disk space" if full else "make the place writable, or give another --out"
        raise CheckpointError(f"cannot export to {final}: {error}; {way_out}, then run again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _mark(kind: str, final: Path) -> str:
    """How the names of this host's temporary directories begin; the process follows."""
    return f".{kind}-{final.name}.{socket.gethostname()}."


def _clear(final: Path) -> None:
    """Remove what dead processes left beside `final`; one that died between two renames gets the old model back."""
    for kind in ("replaced", "tmp"):
        mark = _mark(kind, final)
        for left in final.parent.glob(f"{glob.escape(mark)}*"):
            process = left.name.removeprefix(mark)
            if process.isdecimal() and (int(process) == os.getpid() or not psutil.pid_exists(int(process))):
                if kind == "replaced" and not final.exists():
                    os.rename(left, final)
                else:
                    shutil.rmtree(left, ignore_errors=True)


def _exchange(new: Path, final: Path, replaced: Path) -> None:
    """Give `new` the name `final`; what has it now is `replaced` then, or keeps it if that goes wrong."""
    if not final.exists():
        os.rename(new, final)
        return
    os.rename(final, replaced)
    try:
        os.rename(new, final)
    except BaseException:
        os.rename(replaced, final)
        raise


def seal_directory(directory: Path, facts: Mapping[str, Any]) -> int:
    """Make every file durable and write FACTS last; the bytes of all files."""
    files = {path.name: fsync_and_hash(path) for path in sorted(directory.iterdir())}
    atomic_write_json(directory / FACTS, {"format": FORMAT, **facts, "files": files})
    return sum(path.stat().st_size for path in directory.iterdir())
