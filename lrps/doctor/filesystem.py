"""The file system of the run directory: does it do what checkpoints and pins rest on, how fast, and is there room?

Everything is tried in a directory that is removed again. The large file of the speed test has no name at all where the
file system allows that, so that not even a killed doctor leaves it.
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
from lrps.costs.plan_document import checkpoint_bytes
from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding
from lrps.plan.plan import Plan
from lrps.store.layout import RunLayout

AREA = "file system"
SPEED_BYTES = 512 * 2**20
SLOW_FSYNC_SECONDS = 0.1
SMALL_SHM = 2**30
"""A container's 64 MB are the usual case of too little."""
_PIECE = 16 * 2**20
_LINKS_WAY_OUT = "put `runs` on a POSIX file system (ext4, xfs, Lustre, NFSv4), or leave room for copies"


def check_semantics(subject: Subject) -> Iterator[Finding]:
    """Hard links, rename over a file, locks, fsync."""
    try:
        with TemporaryDirectory(prefix=".lrps-doctor-", dir=subject.directory) as scratch:
            yield Finding(AREA, "directory", "ok", f"{subject.directory} can be written to")
            for check in (hard_links, rename, locks, fsync):
                yield check(Path(scratch))
    except OSError as error:
        way_out = "make it writable for this user, free space, or set `runs` elsewhere"
        yield Finding(AREA, "directory", "fail", str(error), way_out)


def hard_links(scratch: Path) -> Finding:
    """Pins are hard links."""
    (scratch / "one").write_bytes(b"1")
    try:
        os.link(scratch / "one", scratch / "two")
        linked = (scratch / "one").samefile(scratch / "two")
    except OSError as error:
        what = f"none here ({error.strerror}): every branch point is a copy and takes its room again"
        return Finding(AREA, "hard links", "warn", what, _LINKS_WAY_OUT)
    if not linked:
        return Finding(AREA, "hard links", "warn", "a link became a copy, which takes room again", _LINKS_WAY_OUT)
    return Finding(AREA, "hard links", "ok", "a branch point takes no room of its own")


def rename(scratch: Path) -> Finding:
    """Every durable file is renamed over the one before; a checkpoint's directory gets its name at the end."""
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
        return Finding(AREA, "rename", "ok", "over a file that is there, and of directories")
    way_out = (
        "set `runs` to a POSIX file system: object stores behind a mount cannot rename; keep copies with `lrps push`"
    )
    return Finding(AREA, "rename", "fail", f"does not replace files, or not directories{why}", way_out)


def locks(scratch: Path) -> Finding:
    """One trainer a path: flock."""
    way_out = "mount it with locks (NFS: without nolock; Lustre: -o flock), and never train a path twice at a time"
    with open(scratch / "lock", "w") as first, open(scratch / "lock", "w") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return Finding(AREA, "flock", "fail", f"not here ({error.strerror}), and training needs it", way_out)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return Finding(AREA, "flock", "ok", "a second lock of one file is refused")
    return Finding(
        AREA, "flock", "warn", "a file can be locked twice: two trainers of a path would not notice", way_out
    )


def fsync(scratch: Path, repeats: int = 8) -> Finding:
    """Seconds that making 4 kB durable takes."""
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
        way_out = "set `runs` to a faster file system; every checkpoint and branch point syncs several files"
        return Finding(AREA, "fsync", "warn", what, way_out)
    return Finding(AREA, "fsync", "ok", what)


def check_room(subject: Subject) -> Iterator[Finding]:
    """Free space against what the checkpoints of the plan still need, and /dev/shm."""
    free = shutil.disk_usage(subject.directory).free
    needed = None if subject.plan is None else still_needed(subject.plan)
    if needed is None:
        yield Finding(AREA, "free space", "ok", f"{size(free)} in {subject.directory}")
    elif needed > free:
        what = f"{size(free)} free, checkpoints still need {size(needed)}"
        way_out = "free or add space, lower checkpoint.keep_last, leave keep_every_steps out, or set `runs` elsewhere"
        yield Finding(AREA, "free space", "fail", what, way_out)
    else:
        yield Finding(AREA, "free space", "ok", f"{size(free)} free, checkpoints still need {size(needed)}")
    shared = shutil.disk_usage("/dev/shm") if os.path.isdir("/dev/shm") else None
    if shared is None or shared.total < SMALL_SHM:
        there = "there is none" if shared is None else size(shared.total)
        way_out = "start the container with `--shm-size 8g` or `--ipc host`: NCCL and torch pass data there"
        yield Finding(AREA, "/dev/shm", "warn", there, way_out)
    else:
        yield Finding(AREA, "/dev/shm", "ok", f"{size(shared.free)} free of {size(shared.total)}")


def still_needed(plan: Plan) -> int | None:
    """Return the bytes that the plan's checkpoints will take beyond those that exist; None if their size is not known.

    One more than are kept: the newest is written before the oldest is removed.
    """
    kept, each = checkpoint_bytes(plan, plan.graph), plan.costs.checkpoint_bytes
    if kept is None or each is None:
        return None
    return max(0, kept + each - _used(plan.layout))


def _used(layout: RunLayout) -> int:
    """Bytes of the checkpoints in a run directory, every file once, however many names it has."""
    sizes = {}
    for pattern in ("*/checkpoints/*/*", "*/branch_points/*/*"):
        for file in layout.run_dir.glob(pattern):
            status = file.stat()
            sizes[status.st_ino] = status.st_size
    return sum(sizes.values())


def check_speed(subject: Subject) -> Iterator[Finding]:
    """Writing durably and reading back as one process does it; what is read may come from memory all the same."""
    free = shutil.disk_usage(subject.directory).free
    if free < 4 * SPEED_BYTES:
        what = f"not tried: only {size(free)} free"
        yield Finding(AREA, "speed", "warn", what, "free some space, then look again")
        return
    written, read = speed(subject.directory, SPEED_BYTES)
    what = f"writes {written / 1e9:.2f} GB/s, reads {read / 1e9:.2f} GB/s ({size(SPEED_BYTES)}, one process)"
    each = None if subject.plan is None else subject.plan.costs.checkpoint_bytes
    if each is not None:
        what += f": {each / written:.3g} s to write a checkpoint of {size(each)}"
    yield Finding(AREA, "speed", "ok", what)


def speed(directory: Path, total: int) -> tuple[float, float]:
    """(written and made durable, read) in bytes a second, of a file of `total` bytes that is gone afterwards."""
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
