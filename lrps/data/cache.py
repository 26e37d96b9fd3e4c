"""Remote shards on this node: a cache by content that all processes of the node share.

<cache>/<sha[:2]>/<sha>.tar is a whole, proven shard; .part one that is being downloaded; .lock is held by whoever
downloads it. Whoever uses a .tar, or writes a .part, holds a shared flock on that very file; only a file on which
nobody holds one is evicted. The kernel lets go of the locks of a killed process, so nothing has to be mended.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import resource
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from lrps.base.addresses import redact
from lrps.base.errors import DataError
from lrps.base.files import fsync_directory
from lrps.config.models import DataConfig
from lrps.data.files import LocalFiles, ShardFiles
from lrps.data.manifest import Shard
from lrps.data.remote import TransientError, read_pieces, resolve, with_retries

PREFETCH_THREADS = 2
PREFETCH_SHARDS = 1000
"""Shards that wait to be prefetched; what is beyond is forgotten, and comes when it is needed."""
NOTE_SECONDS = 5.0
"""Waiting longer than this for another process is worth a note."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_log = logging.getLogger(__name__)


def open_files(data: DataConfig, version: str) -> ShardFiles:
    """The files of the shards of a version of the config: local ones, or those behind its `url`."""
    source = next(source for source in data.sources if source.name == version)
    if source.url is None:
        return LocalFiles(data.root / version)
    return CachedFiles(data.root / version, source.url, data.cache_path, data.cache_limit)


class CachedFiles:
    """The shards of a version that lie in `directory`, else in `cache`, else behind `url`: downloaded once per node.

    limit: bytes that the cache may hold; beyond, the least recently used shards that no process of the node uses are
    removed. If everything is in use the limit is exceeded, with a warning, rather than training stopped. progress is
    called with every number of bytes that came in, from any thread; negative if they are dropped.
    """

    restore = "Delete it: it is downloaded again when it is needed."

    def __init__(
        self,
        directory: Path,
        url: str,
        cache: Path,
        limit: int | None = None,
        progress: Callable[[int], None] = lambda _bytes: None,
    ) -> None:
        self._directory, self._url = directory, url
        self._cache, self._limit, self._progress = cache, limit, progress
        self._mutex = threading.Lock()
        self._in_use: dict[str, int] = {}
        weakref.finalize(self, _close_all, self._in_use)
        self._pending: deque[Shard] = deque()
        self._asked: set[str] = set()
        self._working = 0
        self._told = False
        _allow_many_files()

    def find(self, shard: Shard) -> Path | None:
        """Where the shard is on this machine now; it may be gone the moment after, unless it is kept."""
        places = (self._directory / shard.name, self._cached(shard))
        return next((place for place in places if place.exists()), None)

    def path(self, shard: Shard) -> Path:
        """The local file of the shard, downloaded if need be; it stays in use until `release` or the object's end."""
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
        """Let the shard be evicted from now on."""
        with self._mutex:
            self._asked.discard(shard.sha256)
            held = self._in_use.pop(shard.sha256, None)
        if held is not None:
            _touch(held)
            os.close(held)

    def prefetch(self, shards: Iterable[Shard]) -> None:
        """Start to make these shards local, in this order and in the background; returns at once, never raises.

        What fails here fails again, aloud, in `path`. Stops short of the limit of the cache. Daemon threads: they end
        with the last shard, and never keep the interpreter from ending.
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
        """Nothing is fetched any more, and every shard may be evicted."""
        with self._mutex:
            self._pending.clear()
            self._asked.clear()
            held = [self._in_use.pop(sha256) for sha256 in list(self._in_use)]
        for descriptor in held:
            _touch(descriptor)
            os.close(descriptor)

    def _work(self) -> None:
        while self._prefetch_next():
            pass

    def _prefetch_next(self) -> bool:
        """Make the next pending shard local; False if there is none."""
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
                self._asked.discard(shard.sha256)  # There may be room, or a network, when it is asked for again.
        if shard.sha256 not in self._asked:
            self.release(shard)  # While it came.
        return True

    def _cached(self, shard: Shard) -> Path:
        if not _SHA256.fullmatch(shard.sha256):  # It becomes a path, and comes from outside.
            raise DataError(f"{shard.name}: its sha256 in the manifest is {shard.sha256!r}. Fetch the manifest again")
        return self._cache / shard.sha256[:2] / f"{shard.sha256}.tar"

    def _use(self, shard: Shard, within_limit: bool = False) -> Path:
        cached = self._cached(shard)
        if shard.sha256 in self._in_use:
            return cached
        try:
            held = _hold(cached)
            if held is None:
                held = self._download(shard, cached, within_limit)
        except OSError as error:  # Of this node only: what goes wrong elsewhere is a DataError already.
            raise _local_error(self._cache, error, shard) from None
        with self._mutex:
            other = self._in_use.setdefault(shard.sha256, held)
        if other != held:  # The other thread of this process was faster.
            os.close(held)
        return cached

    def _download(self, shard: Shard, cached: Path, within_limit: bool) -> int:
        """The shard in its place in the cache, in use; one process of the node downloads, the others wait for it."""
        url = resolve(self._url, shard.url)
        note = f"waiting for {shard.name}, which is being downloaded by another process or in the background"
        with _locked(cached.with_suffix(".lock"), note):
            if (held := _hold(cached)) is not None:
                return held
            return with_retries(lambda: self._try_download(shard, url, cached, within_limit))

    def _try_download(self, shard: Shard, url: str, cached: Path, within_limit: bool) -> int:
        part, held = cached.with_suffix(".part"), -1
        try:
            with _locked(self._cache / "lock"):  # Nobody evicts before the part is locked and has its size.
                part.unlink(missing_ok=True)  # What a killed download left.
                self._make_room(shard, within_limit)
                held = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
                fcntl.flock(held, fcntl.LOCK_SH)
                if shard.bytes:
                    os.posix_fallocate(held, 0, shard.bytes)
            self._fill(held, shard, url)
            os.fsync(held)
            os.replace(part, cached)
            fsync_directory(cached.parent)
        except BaseException:
            part.unlink(missing_ok=True)
            if held >= 0:
                os.close(held)
            raise
        return held

    def _fill(self, descriptor: int, shard: Shard, url: str) -> None:
        """Write what is at `url` to the file if it is the shard, to the last byte."""
        digest, count, where = hashlib.sha256(), 0, f"{shard.name} at {redact(url)}"
        try:
            with open(descriptor, "wb", closefd=False) as file, closing(read_pieces(url)) as pieces:
                for piece in pieces:
                    count += len(piece)
                    self._progress(len(piece))
                    if count > shard.bytes:
                        raise DataError(f"{where} has more than the {shard.bytes} bytes of the manifest. {_NOT_OURS}")
                    digest.update(piece)
                    file.write(piece)
            if count < shard.bytes:
                raise TransientError(f"{where} ended after {count} of {shard.bytes} bytes. {_NOT_OURS}")
            if digest.hexdigest() != shard.sha256:
                raise DataError(
                    f"{where} has other bytes than the manifest says: sha256 {digest.hexdigest()} found, "
                    f"{shard.sha256} expected. {_NOT_OURS}"
                )
        except BaseException:
            self._progress(-count)
            raise

    def _make_room(self, shard: Shard, within_limit: bool) -> None:
        """Evict until the shard fits into the limit. If it never will: DataError, or a warning, as `within_limit`."""
        if self._limit is None:
            return
        files = sorted(_files(self._cache))
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
            if not self._told:
                self._told = True
                _log.warning("%s; the limit is exceeded", text)


_NOT_OURS = "Copy the shard there again; if it is right there, fetch the manifest again."


def _hold(path: Path) -> int | None:
    """A descriptor that keeps the file in use until it is closed; None if there is no such file."""
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


def _touch(descriptor: int) -> None:
    """Note that the file was used. By mtime: many file systems do not keep atime."""
    with suppress(PermissionError):  # Another user's file.
        os.utime(descriptor)


def _files(cache: Path) -> Iterator[tuple[int, int, Path]]:
    """(mtime, bytes, path) of whole and of begun shards."""
    for path in cache.glob("??/*"):
        if path.suffix in (".tar", ".part"):
            with suppress(FileNotFoundError):
                status = path.stat()
                yield status.st_mtime_ns, status.st_size, path


def _evict(path: Path) -> bool:
    """Remove the file unless it is in use."""
    try:
        descriptor = os.open(path, os.O_RDWR)  # Network file systems want to write what they lock.
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
    """Hold the file's lock alone; say the note if that takes long."""
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
    """Return as soon as the lock was free, or, with the note, when patience is at an end."""
    patience = time.monotonic() + NOTE_SECONDS
    while time.monotonic() < patience:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.05)
    _log.warning("%s", note)


def _local_error(cache: Path, error: OSError, shard: Shard) -> DataError:
    way_out = "make data.cache a folder that can be written to"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        way_out = "make room there, lower data.cache_limit, or let data.cache name a larger disk"
    return DataError(f"{cache}: no place for {shard.name} ({shard.bytes:,} bytes): {error.strerror}; {way_out}")


def _close_all(descriptors: dict[str, int]) -> None:
    for descriptor in descriptors.values():
        os.close(descriptor)


def _allow_many_files() -> None:
    """A shard in use takes a descriptor here and one for its map; the usual soft limit of 1,024 ends at 60 GB."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
