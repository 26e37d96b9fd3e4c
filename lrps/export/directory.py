"""The directory of a released model: written atomically, with a file of facts that identifies its state."""

from __future__ import annotations

import errno
import glob
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
from lrps.base.foreign_json import read_json
from lrps.store.checkpoints import fsync_and_hash
from lrps.store.layout import RELEASE_FACTS

FORMAT = "lrps-export/1"


def holds(directory: Path, state: Mapping[str, Any], *, force: bool = False) -> bool:
    """Return True if `directory` is an intact export of this state, False if it is empty or may be replaced (force).

    Reads every byte. Raises CheckpointError for another export without `force`, and for files that `lrps export` did
    not write, which are never replaced.
    """
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return False
    facts = _facts(directory)
    if not facts:
        raise CheckpointError(f"{directory} has files that `lrps export` did not write: give another --out")
    if force:
        return False
    sizes = {name: entry["bytes"] for name, entry in facts["files"].items()}
    if facts["state"] != dict(state) or sizes != _sizes(directory):
        raise CheckpointError(
            f"{directory} has another state, or the same in another form; give another --out, or --force to replace it"
        )
    for name, entry in facts["files"].items():
        if sha256_file(directory / name) != entry["sha256"]:
            raise CheckpointError(
                f"{directory / name} is not as it was exported: its SHA-256 differs; give another --out, or --force to "
                "replace it"
            )
    return True


def _sizes(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in directory.iterdir() if path.name != RELEASE_FACTS}


def _facts(directory: Path) -> dict[str, Any]:
    try:
        facts = read_json(directory / RELEASE_FACTS)
        return facts if facts["format"] == FORMAT and {"state", "files"} <= facts.keys() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


@contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """Yield an empty directory beside `final`, and rename it to `final` after the block.

    If the block fails, `final` is unchanged and nothing is left over. Directories of killed processes of this host are
    removed. Of several processes at the same time the last one wins. Raises CheckpointError for files that cannot be
    written.
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
        hint = "free disk space" if full else "make the directory writable, or give another --out"
        raise CheckpointError(f"cannot export to {final}: {error}; {hint}, then run again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _mark(kind: str, final: Path) -> str:
    """Return the prefix of this host's temporary directories, which the process id follows."""
    return f".{kind}-{final.name}.{socket.gethostname()}."


def _clear(final: Path) -> None:
    """Remove temporary directories of dead processes; restore the old model if one died between its two renames."""
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
    """Rename `new` to `final`, and an existing `final` to `replaced`, which is undone if the former fails."""
    if not final.exists():
        os.rename(new, final)
        return
    os.rename(final, replaced)
    try:
        os.rename(new, final)
    except BaseException:
        os.rename(replaced, final)
        raise


def finalize_directory(directory: Path, facts: Mapping[str, Any]) -> int:
    """Flush every file to disk (fsync) and write RELEASE_FACTS last; return the bytes of all files."""
    files = {path.name: fsync_and_hash(path) for path in sorted(directory.iterdir())}
    atomic_write_json(directory / RELEASE_FACTS, {"format": FORMAT, **facts, "files": files})
    return sum(path.stat().st_size for path in directory.iterdir())
