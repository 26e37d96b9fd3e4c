"""Where runs are copied to and from: a plain directory, or whatever fsspec reaches, behind the same few verbs.

Errors are TransferErrors that hold no secret. fsspec is imported late. Floor 1: imports no torch.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from lrps.base.addresses import conceal, redact, scheme_of
from lrps.base.errors import ConfigError, LrpsError, TransferError
from lrps.base.files import fsync_directory, fsync_file
from lrps.data.remote import EXTRAS, scrub

PIECE_BYTES = 2**24
GO_ON = "the same command goes on where it stopped"

Advance = Callable[[int], None]
"""Is told of bytes as they are done."""


class RunStore(Protocol):
    """Holds files under names with slashes. What is written is there as a whole or not at all."""

    shown: str
    """How it may be called."""

    def sizes(self) -> dict[str, int]:
        """Every file, and its bytes; none if the place does not exist yet."""

    def read(self, name: str) -> bytes | None:
        """The content of a small file; None if there is none."""

    def write(self, name: str, content: bytes) -> None: ...

    def put(self, file: Path, name: str, advance: Advance) -> None: ...

    def get(self, name: str, file: Path, advance: Advance) -> None: ...

    def copy(self, origin: str, name: str) -> None:
        """Give the bytes of a file a second name, without moving them through this machine."""

    def remove(self, name: str) -> None:
        """Removing what is not there is fine."""


def open_run_store(address: str) -> RunStore:
    """The place at an address: a path, `file://`, `s3://` or another address that fsspec knows.

    ConfigError for an address that holds a secret, or is none that files can be written to.
    """
    if conceal(address) != address:
        raise ConfigError(
            f"{redact(address)}: command lines are seen by others, so an address has no user, password or query there; "
            "credentials come from the environment"
        )
    scheme = scheme_of(address)
    if scheme == "file":
        return Directory(Path(unquote(urlsplit(address).path)))
    if "://" not in address:
        return Directory(Path(address).expanduser())
    if scheme in ("http", "https"):
        raise ConfigError(f"{address}: give an object store or a directory; nothing can be written over http")
    return ObjectStore(address)


class Directory:
    """A directory of this machine or of a file system that it has mounted."""

    def __init__(self, root: Path, *, follow_links: bool = False) -> None:
        """follow_links: what symbolic links point to counts, as in a run directory whose checkpoints lie elsewhere."""
        self.root, self.shown, self._follow = root.absolute(), str(root), follow_links

    def sizes(self) -> dict[str, int]:
        """Without follow_links TransferError for a symbolic link: what it points to may be anything."""
        found = {}
        with explained(f"cannot list {self.shown}"):
            for folder, folders, files in os.walk(self.root, onerror=_unless_missing, followlinks=self._follow):
                # What the tracker keeps is no part of the run, and full of links.
                folders[:] = [name for name in folders if not name.startswith(".") and name != "wandb"]
                for name in (*folders, *files):
                    path = Path(folder, name)
                    if path.is_symlink() and not self._follow:
                        raise TransferError(f"{path} is a symbolic link: put what it points to in its place")
                    with suppress(FileNotFoundError):  # A trainer may be at work here.
                        if name in files:
                            found[path.relative_to(self.root).as_posix()] = path.stat().st_size
        return found

    def read(self, name: str) -> bytes | None:
        with explained(f"cannot read {self.root / name}"):
            try:
                return (self.root / name).read_bytes()
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        with self._new(name) as temporary:
            temporary.write_bytes(content)

    def put(self, file: Path, name: str, advance: Advance) -> None:
        with self._new(name) as temporary:
            _copy(file, temporary, advance)

    def get(self, name: str, file: Path, advance: Advance) -> None:
        with explained(f"cannot copy {self.root / name} to {file}"):
            _copy(self.root / name, file, advance)

    def copy(self, origin: str, name: str) -> None:
        with self._new(name) as temporary:
            link_or_copy(self.root / origin, temporary)

    def remove(self, name: str) -> None:
        with explained(f"cannot remove {self.root / name}"):
            (self.root / name).unlink(missing_ok=True)

    @contextmanager
    def _new(self, name: str) -> Iterator[Path]:
        """A name beside the final one, which it gets when the block ends well."""
        final = self.root / name
        temporary = final.with_name(f".tmp-{final.name}")
        with explained(f"cannot write {final}"):
            final.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            try:
                yield temporary
                fsync_file(temporary)
                os.replace(temporary, final)
                # Two names of one file: replacing does nothing, and leaves both.
                temporary.unlink(missing_ok=True)
            except OSError:
                with suppress(OSError):  # A full disk needs the room.
                    temporary.unlink(missing_ok=True)
                raise
            fsync_directory(final.parent)


class ObjectStore:
    """What fsspec reaches; credentials come from the environment."""

    def __init__(self, address: str) -> None:
        self.shown = self._address = address.rstrip("/")
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

    def put(self, file: Path, name: str, advance: Advance) -> None:
        with self._explained(f"{name} cannot be written"):
            self._prepare(name)
            self._fs.put_file(str(file), self._key(name), callback=_callback(advance))

    def get(self, name: str, file: Path, advance: Advance) -> None:
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
        """Make the folder, where the store has folders: object stores have none, and would look for the bucket."""
        if scheme_of(self._address) not in ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"):
            self._fs.makedirs(self._key(name).rpartition("/")[0], exist_ok=True)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        with explained(f"{self.shown}: {what}", self._address):
            yield


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
            raise
        shutil.copyfile(source, target)


@contextmanager
def explained(what: str, address: str = "") -> Iterator[None]:
    """Turn whatever a file system or a library raises into a TransferError with the way out, and without secrets."""
    try:
        yield
    except LrpsError:
        raise
    except Exception as error:
        text = f"{what}: {scrub(str(error), address) or type(error).__name__}"
        raise TransferError(f"{text}; {_way_out(error, address)}") from None


def _way_out(error: Exception, address: str) -> str:
    code = getattr(error, "errno", None)
    if isinstance(error, ImportError):
        extra = EXTRAS.get(scheme_of(address))
        return f"run `pip install 'lrps[{extra}]'`" if extra else "install the package that fsspec names"
    if code in (errno.ENOSPC, errno.EDQUOT):
        return f"free disk space; {GO_ON}"
    if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
        return f"give this user the right to, or credentials in the environment; {GO_ON}"
    if isinstance(error, FileNotFoundError):
        return f"see that the bucket or the file is there; {GO_ON}"
    if isinstance(error, (ValueError, TypeError)):
        return "correct the address"
    return f"mend that; {GO_ON}"


def _callback(advance: Advance) -> Any:
    from fsspec.callbacks import Callback

    class Advancing(Callback):
        def relative_update(self, inc: int = 1) -> None:
            advance(inc)

    return Advancing()


def _copy(source: Path, target: Path, advance: Advance) -> None:
    with open(source, "rb") as reader, open(target, "wb") as writer:
        while piece := reader.read(PIECE_BYTES):
            writer.write(piece)
            advance(len(piece))


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
