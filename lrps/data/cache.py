"""A cache of remote shards, addressed by content and shared by all processes of a node.

<cache>/<sha[:2]>/<sha>.tar is a complete, verified shard; .part one that is being downloaded; .lock is locked by the
process that downloads it. A process that uses a .tar, or writes a .part, has a shared flock on that file; only files
without one are evicted. The kernel releases the locks of a killed process, so nothing has to be repaired.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import resource
import shutil
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from lrps.base.addresses import redact
from lrps.base.errors import DataError
from lrps.base.files import fsync_directory, sha256_file
from lrps.config.data import DataConfig
from lrps.data.files import LocalFiles, ShardFiles
from lrps.data.manifest import Shard
from lrps.data.remote import TransientError, read_pieces, resolve, with_retries

PREFETCH_THREADS = 2
PREFETCH_SHARDS = 1000
"""Maximum number of shards that wait to be prefetched; further ones are downloaded when they are needed."""
NOTE_SECONDS = 5.0
"""Seconds of waiting for another process after which a warning is logged."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_log = logging.getLogger(__name__)


def open_files(data: DataConfig, version: str) -> ShardFiles:
    """Return a set of shards of the config: local files, or cached ones if they have a `url`.

    version: name of a version without a mixture, or <version>.<part>.
    """
    source = next(shards for shards in data.shard_sets if shards.name == version)
    if source.url is None:
        return LocalFiles(data.root / version)
    return CachedFiles(data.root / version, source.url, data.cache_path, data.cache_limit, origins=data.shard_origins)


class CachedFiles:
    """The shards of a version, from `directory`, else from `cache`, else downloaded from `url`, once per node.

    limit: maximal bytes of the cache; beyond it the least recently used shards that no process of the node uses are
    removed. If all are in use, the limit is exceeded with a warning, so that training continues. progress: called from
    any thread with the number of bytes received, negative if they are discarded. origins: `data.shard_origins`. A file
    that other users can write to is compared with its SHA-256 before it is used, and replaced if it differs.
    """

    restore_hint = "Delete it: it is downloaded again when it is needed."

    def __init__(
        self,
        directory: Path,
        url: str,
        cache: Path,
        limit: int | None = None,
        progress: Callable[[int], None] = lambda _bytes: None,
        origins: Collection[str] = (),
    ) -> None:
        self._directory, self._url, self._origins = directory, url, origins
        self._cache, self._limit, self._progress = cache, limit, progress
        self._mutex = threading.Lock()
        self._in_use: dict[str, int] = {}
        weakref.finalize(self, _close_all, self._in_use)
        self._pending: deque[Shard] = deque()
        self._asked: set[str] = set()
        self._working = 0
        self._warned = False
        _allow_many_files()

    def find(self, shard: Shard) -> Path | None:
        """Return the path of the shard on this machine, or None. The file may be evicted unless it is in use."""
        places = (self._directory / shard.name, self._cached(shard))
        return next((place for place in places if place.exists()), None)

    def path(self, shard: Shard) -> Path:
        """Return the local file of the shard, downloaded if necessary.

        It stays in use until `release`, `close` or the end of this object. Raises DataError if the download fails.
        """
        local = self._directory / shard.name
        if local.exists():
            return local
        with self._mutex:
            self._asked.add(shard.sha256)
        try:
            return self._use(shard)
        except BaseException:
            with self._mutex:
                self._asked.discard(shard.sha256)
            raise

    def release(self, shard: Shard) -> None:
        """Allow the shard to be evicted."""
        with self._mutex:
            self._asked.discard(shard.sha256)
            descriptor = self._in_use.pop(shard.sha256, None)
        if descriptor is not None:
            _touch(descriptor)
            os.close(descriptor)

    def prefetch(self, shards: Iterable[Shard]) -> None:
        """Start to download these shards in the background, in this order. Returns at once and never raises.

        An error is raised later by `path`. Downloads stop before the cache's limit. The threads are daemons: they end
        after the last shard and do not delay the exit of the interpreter.
        """
        with self._mutex:
            for shard in shards:
                if len(self._pending) >= PREFETCH_SHARDS:
                    break
                if shard.sha256 not in self._asked:
                    self._asked.add(shard.sha256)
                    self._pending.append(shard)
            while self._working < min(PREFETCH_THREADS, len(self._pending)):
                self._working += 1
                threading.Thread(target=self._work, daemon=True, name="lrps-prefetch").start()

    def close(self) -> None:
        """Stop prefetching, and allow every shard to be evicted."""
        with self._mutex:
            self._pending.clear()
            self._asked.clear()
            descriptors = [self._in_use.pop(sha256) for sha256 in list(self._in_use)]
        for descriptor in descriptors:
            _touch(descriptor)
            os.close(descriptor)

    def _work(self) -> None:
        while self._prefetch_next():
            pass

    def _prefetch_next(self) -> bool:
        """Download the next pending shard. Return False if there is none."""
        with self._mutex:
            if not self._pending:
                self._working -= 1
                return False
            shard = self._pending.popleft()
            if shard.sha256 not in self._asked:
                return True  # Released before its turn came.
        try:
            if not (self._directory / shard.name).exists():
                self._use(shard, within_limit=True)
        except Exception:
            with self._mutex:
                self._asked.discard(shard.sha256)  # A later request may find space, or a working network.
        if shard.sha256 not in self._asked:
            self.release(shard)  # Released during the download.
        return True

    def _cached(self, shard: Shard) -> Path:
        if not _SHA256.fullmatch(shard.sha256):  # It becomes part of a path, and manifests may come from outside.
            raise DataError(f"{shard.name}: its sha256 in the manifest is {shard.sha256!r}. Fetch the manifest again")
        return self._cache / shard.sha256[:2] / f"{shard.sha256}.tar"

    def _use(self, shard: Shard, within_limit: bool = False) -> Path:
        cached = self._cached(shard)
        if shard.sha256 in self._in_use:
            return cached
        try:
            descriptor = self._open_verified(shard, cached)
            if descriptor is None:
                descriptor = self._download(shard, cached, within_limit)
        except OSError as error:  # Errors of this node only: those of the remote end are DataErrors already.
            raise _local_error(self._cache, error, shard) from None
        with self._mutex:
            other = self._in_use.setdefault(shard.sha256, descriptor)
        if other != descriptor:  # The other thread of this process was faster.
            os.close(descriptor)
        return cached

    def _download(self, shard: Shard, cached: Path, within_limit: bool) -> int:
        """Put the shard into the cache and return a descriptor that keeps it in use.

        One process of the node downloads it, the others wait.
        """
        url = resolve(self._url, shard.url, self._origins)
        note = f"waiting for {shard.name}, which is being downloaded by another process or in the background"
        with _locked(cached.with_suffix(".lock"), note):
            if (descriptor := self._open_verified(shard, cached)) is not None:
                return descriptor
            return with_retries(lambda: self._try_download(shard, url, cached, within_limit))

    def _try_download(self, shard: Shard, url: str, cached: Path, within_limit: bool) -> int:
        part, descriptor = cached.with_suffix(".part"), -1
        try:
            with closing(read_pieces(url, shard.bytes)) as pieces:
                next(pieces)  # The address is open, and announces the shard's length: only now may others be evicted.
                with _locked(self._cache / "lock"):  # No process evicts before the part is locked and has its size.
                    part.unlink(missing_ok=True)  # Left by a killed download.
                    self._make_room(shard, within_limit)
                    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
                    fcntl.flock(descriptor, fcntl.LOCK_SH)
                    if shard.bytes:
                        os.posix_fallocate(descriptor, 0, shard.bytes)
                self._fill(descriptor, shard, pieces, f"{shard.name} at {redact(url)}")
            os.fsync(descriptor)
            os.replace(part, cached)
            fsync_directory(cached.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            if descriptor >= 0:
                os.close(descriptor)
            raise
        return descriptor

    def _open_verified(self, shard: Shard, cached: Path) -> int | None:
        """Return `_open_in_use` of the cached shard; None also if somebody else has changed the file."""
        descriptor = _open_in_use(cached)
        if descriptor is None or not _writable_by_others(descriptor, cached):
            return descriptor
        if os.fstat(descriptor).st_size == shard.bytes and sha256_file(cached) == shard.sha256:
            return descriptor
        os.close(descriptor)
        _log.warning("%s was changed by another user; it is downloaded again", cached)
        cached.unlink(missing_ok=True)
        return None

    def _fill(self, descriptor: int, shard: Shard, pieces: Iterator[bytes], where: str) -> None:
        """Write the pieces to the file. Raises DataError if they are not exactly the shard's bytes."""
        digest, count = hashlib.sha256(), 0
        try:
            with open(descriptor, "wb", closefd=False) as file:
                for piece in pieces:
                    count += len(piece)
                    self._progress(len(piece))
                    if count > shard.bytes:
                        raise DataError(f"{where} has more than the {shard.bytes} bytes of the manifest. {_WRONG_HINT}")
                    digest.update(piece)
                    file.write(piece)
            if count < shard.bytes:
                raise TransientError(f"{where} ended after {count} of {shard.bytes} bytes. {_WRONG_HINT}")
            if digest.hexdigest() != shard.sha256:
                raise DataError(
                    f"{where} differs from the manifest: sha256 {digest.hexdigest()} found, {shard.sha256} expected. "
                    f"{_WRONG_HINT}"
                )
        except BaseException:
            self._progress(-count)
            raise

    def _make_room(self, shard: Shard, within_limit: bool) -> None:
        """Evict shards until this one fits into the limit.

        If it cannot fit, raise DataError with `within_limit`, and otherwise log a warning.
        """
        files = sorted(_files(self._cache))
        if shard.bytes > shutil.disk_usage(self._cache).free + sum(size for _, size, _ in files):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # Evicting them all would be of no use.
        if self._limit is None:
            return
        total = sum(size for _, size, _ in files) + shard.bytes
        for _, size, path in files:
            if total <= self._limit:
                return
            if _evict(path):
                total -= size
        if total > self._limit:
            text = f"{self._cache}: {total:,} bytes are in use at once, data.cache_limit is {self._limit:,}"
            if within_limit:
                raise DataError(text)
            if not self._warned:
                self._warned = True
                _log.warning("%s; the limit is exceeded", text)


_WRONG_HINT = "Copy the shard there again; if it is correct there, fetch the manifest again."


def _open_in_use(path: Path) -> int | None:
    """Return a descriptor that keeps the file in use until it is closed, or None if there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if not os.fstat(descriptor).st_nlink:  # Evicted between the two lines above.
        os.close(descriptor)
        return None
    _touch(descriptor)
    return descriptor


def _writable_by_others(descriptor: int, path: Path) -> bool:
    """Return True if another user than this one and root can change an open file of the cache, or replace it."""
    statuses = (os.fstat(descriptor), path.parent.stat(), path.parent.parent.stat())
    return any(each.st_uid not in (os.geteuid(), 0) or each.st_mode & 0o022 for each in statuses)


def _touch(descriptor: int) -> None:
    """Record the time of use as mtime, because many file systems do not keep atime."""
    with suppress(PermissionError):  # Another user's file.
        os.utime(descriptor)


def _files(cache: Path) -> Iterator[tuple[int, int, Path]]:
    """Yield (mtime, bytes, path) of complete shards and of those being downloaded."""
    for path in cache.glob("??/*"):
        if path.suffix in (".tar", ".part"):
            with suppress(FileNotFoundError):
                status = path.stat()
                yield status.st_mtime_ns, status.st_size, path


def _evict(path: Path) -> bool:
    """Remove the file unless it is in use; return whether it was removed."""
    try:
        descriptor = os.open(path, os.O_RDWR)  # Network file systems require write access for an exclusive lock.
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


@contextmanager
def _locked(path: Path, note: str | None = None) -> Iterator[None]:
    """Lock the file exclusively; log `note` if that takes longer than NOTE_SECONDS."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if note is not None:
            _wait(descriptor, note)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, note: str) -> None:
    """Lock the file, or log the note after NOTE_SECONDS; then the caller waits without a limit."""
    deadline = time.monotonic() + NOTE_SECONDS
    while time.monotonic() < deadline:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.05)
    _log.warning("%s", note)


def _local_error(cache: Path, error: OSError, shard: Shard) -> DataError:
    hint = "set data.cache to a writable folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "free disk space there, lower data.cache_limit, or set data.cache to a larger disk"
    return DataError(f"{cache}: cannot store {shard.name} ({shard.bytes:,} bytes): {error.strerror}; {hint}")


def _close_all(descriptors: dict[str, int]) -> None:
    for descriptor in descriptors.values():
        os.close(descriptor)


def _allow_many_files() -> None:
    """Raise the soft limit of open files to the hard limit.

    A shard in use takes a descriptor here and one for its map, so the usual limit of 1,024 is reached at about 60 GB.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
