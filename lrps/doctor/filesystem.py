"""Checks of the run directory's file system: the operations that checkpoints and pins need, speed, free space.

Everything is tried in a directory that is removed afterwards. The large file of the speed test has no name where the
file system allows that, so that not even a killed doctor leaves it behind.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, TemporaryFile

from lrps.base.numbers import size
from lrps.costs.planned.checkpoint_disk import checkpoint_bytes, rewind_bytes
from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding
from lrps.plan.plan import Plan
from lrps.store.layout import RunLayout

AREA = "file system"
SPEED_BYTES = 512 * 2**20
SLOW_FSYNC_SECONDS = 0.1
SMALL_SHM = 2**30
"""Bytes of /dev/shm below which it is reported; a container has 64 MB by default."""
_PIECE = 16 * 2**20
_LINKS_FIX = "put `runs` on a POSIX file system (ext4, xfs, Lustre, NFSv4), or leave space for copies"


def check_semantics(subject: Subject) -> Iterator[Finding]:
    """Check hard links, renaming over a file, locks and fsync."""
    try:
        with TemporaryDirectory(prefix=".lrps-doctor-", dir=subject.directory) as scratch:
            yield Finding(AREA, "directory", "ok", f"{subject.directory} can be written to")
            for check in (hard_links, rename, locks, fsync):
                yield check(Path(scratch))
    except OSError as error:
        fix = "make it writable for this user, free space, or set `runs` elsewhere"
        yield Finding(AREA, "directory", "fail", str(error), fix)


def hard_links(scratch: Path) -> Finding:
    """Check hard links, which pins are."""
    (scratch / "one").write_bytes(b"1")
    try:
        os.link(scratch / "one", scratch / "two")
        linked = (scratch / "one").samefile(scratch / "two")
    except OSError as error:
        what = f"not supported ({error.strerror}): every branch point is a copy and takes as much space again"
        return Finding(AREA, "hard links", "warn", what, _LINKS_FIX)
    if not linked:
        return Finding(AREA, "hard links", "warn", "a link became a copy, which takes as much space again", _LINKS_FIX)
    return Finding(AREA, "hard links", "ok", "a branch point takes no space of its own")


def rename(scratch: Path) -> Finding:
    """Check renaming over an existing file, as state files do, and of a directory, as checkpoints do."""
    try:
        (scratch / "new").write_bytes(b"new")
        (scratch / "old").write_bytes(b"old")
        os.replace(scratch / "new", scratch / "old")
        (scratch / ".tmp-step").mkdir()
        os.rename(scratch / ".tmp-step", scratch / "step")
        good = (scratch / "old").read_bytes() == b"new" and (scratch / "step").is_dir()
    except OSError as error:
        good, why = False, f" ({error.strerror})"
    else:
        why = ""
    if good:
        return Finding(AREA, "rename", "ok", "works over an existing file, and for directories")
    fix = "set `runs` to a POSIX file system: mounted object stores cannot rename; keep copies with `lrps push`"
    return Finding(AREA, "rename", "fail", f"does not replace files, or not directories{why}", fix)


def locks(scratch: Path) -> Finding:
    """Check flock, which ensures that only one trainer works on a path."""
    fix = "mount it with locks (NFS: without nolock; Lustre: -o flock), and never train a path twice at a time"
    with open(scratch / "lock", "w") as first, open(scratch / "lock", "w") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return Finding(AREA, "flock", "fail", f"not supported ({error.strerror}), and training needs it", fix)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return Finding(AREA, "flock", "ok", "a second lock of the same file is refused")
    return Finding(AREA, "flock", "warn", "a file can be locked twice: two trainers of a path would not notice", fix)


def fsync(scratch: Path, repeats: int = 8) -> Finding:
    """Measure the seconds that an fsync of 4 kB takes."""
    taken = []
    with open(scratch / "synced", "wb") as file:
        for _ in range(repeats):
            file.write(b"0" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    what = f"{median(taken) * 1000:.2f} ms for 4 kB (median of {repeats})"
    if median(taken) > SLOW_FSYNC_SECONDS:
        fix = "set `runs` to a faster file system; every checkpoint and branch point syncs several files"
        return Finding(AREA, "fsync", "warn", what, fix)
    return Finding(AREA, "fsync", "ok", what)


def check_free_space(subject: Subject) -> Iterator[Finding]:
    """Check the free space against what the checkpoints of the plan still need, and /dev/shm."""
    free = shutil.disk_usage(subject.directory).free
    needed = None if subject.plan is None else still_needed(subject.plan)
    if needed is None:
        yield Finding(AREA, "free space", "ok", f"{size(free)} in {subject.directory}")
    elif needed > free:
        what = f"{size(free)} free, checkpoints still need {size(needed)}"
        fix = (
            "free or add space, lower checkpoint.keep_last, set keep_for_rewind: false, leave keep_every_steps out, or "
            "set `runs` elsewhere"
        )
        yield Finding(AREA, "free space", "fail", what, fix)
    else:
        yield Finding(AREA, "free space", "ok", f"{size(free)} free, checkpoints still need {size(needed)}")
    shared = shutil.disk_usage("/dev/shm") if os.path.isdir("/dev/shm") else None
    if shared is None or shared.total < SMALL_SHM:
        there = "missing" if shared is None else size(shared.total)
        fix = "start the container with `--shm-size 8g` or `--ipc host`: NCCL and torch pass data there"
        yield Finding(AREA, "/dev/shm", "warn", there, fix)
    else:
        yield Finding(AREA, "/dev/shm", "ok", f"{size(shared.free)} free of {size(shared.total)}")


def still_needed(plan: Plan) -> int | None:
    """Return the bytes that the plan's checkpoints will need beyond the existing ones; None if the size is unknown.

    Counts one checkpoint more than are kept, because the newest is written before the oldest is removed.
    """
    kept, each = checkpoint_bytes(plan, plan.graph), plan.costs.checkpoint_bytes
    to_rewind_to = rewind_bytes(plan, plan.graph) or 0
    if kept is None or each is None:
        return None
    return max(0, kept + to_rewind_to + each - _used(plan.layout))


def _used(layout: RunLayout) -> int:
    """Return the bytes of the checkpoints in a run directory; a file with several names counts once."""
    sizes = {}
    for pattern in ("*/checkpoints/*/*", "*/branch_points/*/*"):
        for file in layout.run_dir.glob(pattern):
            status = file.stat()
            sizes[status.st_ino] = status.st_size
    return sum(sizes.values())


def check_speed(subject: Subject) -> Iterator[Finding]:
    """Check the speed at which one process writes durably and reads; the reads may be served from memory."""
    free = shutil.disk_usage(subject.directory).free
    if free < 4 * SPEED_BYTES:
        what = f"not tried: only {size(free)} free"
        yield Finding(AREA, "speed", "warn", what, "free some space, then run it again")
        return
    written, read = speed(subject.directory, SPEED_BYTES)
    what = f"writes {written / 1e9:.2f} GB/s, reads {read / 1e9:.2f} GB/s ({size(SPEED_BYTES)}, one process)"
    each = None if subject.plan is None else subject.plan.costs.checkpoint_bytes
    if each is not None:
        what += f": {each / written:.3g} s to write a checkpoint of {size(each)}"
    yield Finding(AREA, "speed", "ok", what)


def speed(directory: Path, total: int) -> tuple[float, float]:
    """Return the bytes per second of durable writing and of reading, with a temporary file of `total` bytes."""
    piece = os.urandom(_PIECE)
    with TemporaryFile(prefix=".lrps-doctor-", dir=directory, buffering=0) as file:
        began = time.perf_counter()
        for _ in range(total // _PIECE):
            file.write(piece)
        os.fsync(file.fileno())
        written = time.perf_counter() - began
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        began = time.perf_counter()
        while file.read(_PIECE):
            pass
        return total / written, total / (time.perf_counter() - began)
