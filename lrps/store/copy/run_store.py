"""Stores of runs: a directory, or an object store that fsspec can reach, with one interface.

Errors are TransferErrors without secrets. fsspec is imported on first use. Must not import torch.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from lrps.base.addresses import conceal, redact, scheme_of
from lrps.base.errors import ConfigError, LrpsError, TransferError
from lrps.base.files import fsync_directory, fsync_file, regular_file
from lrps.data.remote import EXTRAS, scrub

COPY_BYTES = 2**24
CONTINUE_HINT = "then run the same command again to continue"

ReportBytes = Callable[[int], None]
"""Callback that gets the number of bytes copied since the last call."""


class RunStore(Protocol):
    """A store of files whose names are relative paths. Every file is written atomically."""

    label: str
    """Name of the store in messages."""

    def sizes(self) -> dict[str, int]:
        """Return the size in bytes of every file; {} if the store does not exist yet."""

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file; None if it does not exist."""

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""

    def put(self, file: Path, name: str, advance: ReportBytes) -> None:
        """Copy a local file into the store."""

    def get(self, name: str, file: Path, advance: ReportBytes) -> None:
        """Copy a file of the store to a local one."""

    def copy(self, origin: str, name: str) -> None:
        """Copy a file within the store, without moving its bytes through this machine."""

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""


def open_run_store(address: str) -> RunStore:
    """Return the store at an address: a path, `file://`, `s3://` or another scheme of fsspec.

    Raises ConfigError for an address with a secret, or one that cannot be written to.
    """
    if conceal(address) != address:
        raise ConfigError(
            f"{redact(address)}: other users can see command lines, so an address must not have a user, password or "
            "query; give credentials in the environment"
        )
    scheme = scheme_of(address)
    if scheme == "file":
        return DirectoryStore(Path(unquote(urlsplit(address).path)))
    if "://" not in address:
        return DirectoryStore(Path(address).expanduser())
    if scheme in ("http", "https"):
        raise ConfigError(f"{address}: cannot be written over http; give an object store or a directory")
    return ObjectStore(address)


class DirectoryStore:
    """A store in a directory of this machine or of a mounted file system."""

    def __init__(self, root: Path, *, follow_links: bool = False) -> None:
        """Name the directory. follow_links: include targets of symbolic links, for checkpoints on another disk."""
        self.root, self.label, self._follow = root.absolute(), str(root), follow_links

    def sizes(self) -> dict[str, int]:
        """Return the size of every file. Raises TransferError for a symbolic link unless links are followed."""
        found = {}
        with as_transfer_error(f"cannot list {self.label}"):
            for folder, folders, files in os.walk(self.root, onerror=_unless_missing, followlinks=self._follow):
                # The tracker's directory is not part of the run, and is full of links.
                folders[:] = [name for name in folders if not name.startswith(".") and name != "wandb"]
                for name in (*folders, *files):
                    path = Path(folder, name)
                    if path.is_symlink() and not self._follow:
                        raise TransferError(f"{path} is a symbolic link: replace it by its target")
                    with suppress(FileNotFoundError):  # A training process may remove files meanwhile.
                        # Nothing that a run has is a pipe or a device.
                        if name in files and stat.S_ISREG(path.stat().st_mode):
                            found[path.relative_to(self.root).as_posix()] = path.stat().st_size
        return found

    def read(self, name: str) -> bytes | None:
        with as_transfer_error(f"cannot read {self.root / name}"):
            try:
                with open(self.root / name, "rb", opener=regular_file) as file:
                    return file.read()
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        with self._new(name) as temporary:
            temporary.write_bytes(content)

    def put(self, file: Path, name: str, advance: ReportBytes) -> None:
        with self._new(name) as temporary:
            _copy(file, temporary, advance)

    def get(self, name: str, file: Path, advance: ReportBytes) -> None:
        with as_transfer_error(f"cannot copy {self.root / name} to {file}"):
            _copy(self.root / name, file, advance)

    def copy(self, origin: str, name: str) -> None:
        with self._new(name) as temporary:
            link_or_copy(self.root / origin, temporary)

    def remove(self, name: str) -> None:
        with as_transfer_error(f"cannot remove {self.root / name}"):
            (self.root / name).unlink(missing_ok=True)

    @contextmanager
    def _new(self, name: str) -> Iterator[Path]:
        """Yield a temporary path, and rename it to the final name after the block."""
        final = self.root / name
        temporary = final.with_name(f".tmp-{final.name}")
        with as_transfer_error(f"cannot write {final}"):
            final.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            try:
                yield temporary
                fsync_file(temporary)
                os.replace(temporary, final)
                # If both names are links to one file, os.replace does nothing and leaves both.
                temporary.unlink(missing_ok=True)
            except OSError:
                with suppress(OSError):  # Frees space on a full disk.
                    temporary.unlink(missing_ok=True)
                raise
            fsync_directory(final.parent)


class ObjectStore:
    """A store that fsspec can reach; credentials come from the environment."""

    def __init__(self, address: str) -> None:
        self.label = self._address = address.rstrip("/")
        with self._explained("cannot be opened"):
            from fsspec.core import url_to_fs

            self._fs, root = url_to_fs(self._address)
            self._root = root.rstrip("/")

    def sizes(self) -> dict[str, int]:
        with self._explained("cannot be listed"):
            self._fs.invalidate_cache()
            try:
                found = self._fs.find(self._root, detail=True)
            except FileNotFoundError:
                return {}
        start = len(self._root) + 1
        return {name[start:]: int(info["size"]) for name, info in found.items() if name.startswith(f"{self._root}/")}

    def read(self, name: str) -> bytes | None:
        with self._explained(f"{name} cannot be read"):
            try:
                content: bytes = self._fs.cat_file(self._key(name))
            except FileNotFoundError:
                return None
        return content

    def write(self, name: str, content: bytes) -> None:
        with self._explained(f"{name} cannot be written"):
            self._prepare(name)
            self._fs.pipe_file(self._key(name), content)

    def put(self, file: Path, name: str, advance: ReportBytes) -> None:
        with self._explained(f"{name} cannot be written"):
            self._prepare(name)
            self._fs.put_file(str(file), self._key(name), callback=_callback(advance))

    def get(self, name: str, file: Path, advance: ReportBytes) -> None:
        with self._explained(f"{name} cannot be copied to {file}"):
            self._fs.get_file(self._key(name), str(file), callback=_callback(advance))

    def copy(self, origin: str, name: str) -> None:
        with self._explained(f"{name} cannot be copied from {origin}"):
            self._prepare(name)
            self._fs.cp_file(self._key(origin), self._key(name))

    def remove(self, name: str) -> None:
        with self._explained(f"{name} cannot be removed"), suppress(FileNotFoundError):
            self._fs.rm_file(self._key(name))

    def _key(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _prepare(self, name: str) -> None:
        """Create the folder, except in object stores, which have none and would look for the bucket."""
        if scheme_of(self._address) not in ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"):
            self._fs.makedirs(self._key(name).rpartition("/")[0], exist_ok=True)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        with as_transfer_error(f"{self.label}: {what}", self._address):
            yield


def link_or_copy(source: Path, target: Path) -> None:
    """Make a hard link to a file, or a copy if the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
            raise
        shutil.copyfile(source, target)


@contextmanager
def as_transfer_error(what: str, address: str = "") -> Iterator[None]:
    """Raise errors of file systems and libraries as TransferError, with a hint and without secrets."""
    try:
        yield
    except LrpsError:
        raise
    except Exception as error:
        text = f"{what}: {scrub(str(error), address) or type(error).__name__}"
        raise TransferError(f"{text}; {_hint(error, address)}") from None


def _hint(error: Exception, address: str) -> str:
    code = getattr(error, "errno", None)
    if isinstance(error, ImportError):
        extra = EXTRAS.get(scheme_of(address))
        return f"run `pip install 'lrps[{extra}]'`" if extra else "install the package that fsspec names"
    if code in (errno.ENOSPC, errno.EDQUOT):
        return f"free disk space; {CONTINUE_HINT}"
    if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
        return f"give this user the permission, or credentials in the environment; {CONTINUE_HINT}"
    if isinstance(error, FileNotFoundError):
        return f"check that the bucket or the file exists; {CONTINUE_HINT}"
    if isinstance(error, (ValueError, TypeError)):
        return "correct the address"
    return f"correct that; {CONTINUE_HINT}"


def _callback(advance: ReportBytes) -> Any:
    from fsspec.callbacks import Callback

    class Advancing(Callback):
        def relative_update(self, inc: int = 1) -> None:
            advance(inc)

    return Advancing()


def _copy(source: Path, target: Path, advance: ReportBytes) -> None:
    with open(source, "rb", opener=regular_file) as reader, open(target, "wb") as writer:
        while piece := reader.read(COPY_BYTES):
            writer.write(piece)
            advance(len(piece))


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
