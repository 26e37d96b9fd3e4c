"""A released model as a directory: there as a whole or not at all, and able to say which state it holds."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from lrps.errors import CheckpointError
from lrps.store.checkpoints import seal
from lrps.store.files import atomic_write_json, fsync_directory

FORMAT = "lrps-export/1"
FACTS = "lrps.json"
"""What the model card says, for machines, and the size and SHA-256 of every other file."""


def holds(directory: Path, state: Mapping[str, Any], *, force: bool = False) -> bool:
    """True if `directory` is a whole export of this state; False if there is nothing, or an export to replace (force).

    CheckpointError if anything else is there. What `lrps export` did not write is never replaced.
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

    Whatever goes wrong in the block, `final` stays as it was and nothing is left over. CheckpointError for files that
    cannot be written.
    """
    final = final.absolute()
    temporary, replaced = (final.with_name(f".{kind}-{final.name}") for kind in ("tmp", "replaced"))
    try:
        for leftover in (temporary, replaced):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        if final.exists():
            os.rename(final, replaced)
        os.rename(temporary, final)
        fsync_directory(final.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        way_out = "free disk space" if full else "make the place writable, or give another --out"
        raise CheckpointError(f"cannot export to {final}: {error}; {way_out}, then run again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def seal_directory(directory: Path, facts: Mapping[str, Any]) -> int:
    """Make every file durable and write FACTS last; the bytes of all files."""
    files = {path.name: seal(path) for path in sorted(directory.iterdir())}
    atomic_write_json(directory / FACTS, {"format": FORMAT, **facts, "files": files})
    return sum(path.stat().st_size for path in directory.iterdir())
