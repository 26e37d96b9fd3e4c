from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from lrps.base.errors import DataError
from lrps.config.data import DataConfig
from lrps.data import cache as cache_module
from lrps.data.cache import CachedFiles, open_files
from lrps.data.files import LocalFiles
from lrps.data.manifest import Shard
from lrps.data.stream import TokenSource

KILOBYTE = 1000
CHILD = """
import json, sys
from pathlib import Path
from typing import IO
from lrps.data.cache import CachedFiles
from lrps.data.manifest import Shard
shard, url, cache, limit = json.loads(sys.argv[1])
files = CachedFiles(Path("nowhere"), url, Path(cache), limit)
shard = Shard(*shard, range(0))
"""


@pytest.fixture(autouse=True)
def _quick(quick_retries) -> None:
    """No test waits between tries."""


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def make_shard(web) -> Callable[..., Shard]:
    def make(name: str = "a.tar", size: int = 100 * KILOBYTE, seed: int = 0) -> Shard:
        """A shard behind the web server: any bytes will do for a cache."""
        content = np.random.default_rng([seed, *name.encode()]).bytes(size)
        (web.root / name).write_bytes(content)
        return Shard(name, name, size, hashlib.sha256(content).hexdigest(), 0, range(0))

    return make


@pytest.fixture
def files(web, cache, tmp_path) -> CachedFiles:
    return CachedFiles(tmp_path / "v1", web.url, cache)


def child(
    script: str, shard: Shard, url: str, cache: Path, limit: int | None = None, stderr: int | IO[str] = subprocess.PIPE
) -> subprocess.Popen:
    fields = [shard.name, shard.url, shard.bytes, shard.sha256, shard.tokens]
    arguments = json.dumps([fields, url, str(cache), limit])
    return subprocess.Popen(
        [sys.executable, "-c", CHILD + script, arguments], stdin=-1, stdout=-1, stderr=stderr, text=True
    )


def in_cache(cache: Path) -> set[str]:
    return {path.name for path in cache.glob("??/*") if path.suffix != ".lock"}


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def test_a_shard_is_downloaded_once_and_lies_there_by_its_content(files, web, cache, make_shard):
    shard = make_shard()
    path = files.path(shard)
    assert path == cache / shard.sha256[:2] / f"{shard.sha256}.tar"
    assert path.read_bytes() == (web.root / "a.tar").read_bytes()
    assert files.path(shard) == CachedFiles(Path("nowhere"), web.url, cache).path(shard) == path
    assert web.requests == ["/a.tar"]
    assert in_cache(cache) == {path.name}


def test_a_shard_in_the_folder_of_the_version_is_used_there(files, web, tmp_path, make_shard):
    shard = make_shard()
    (tmp_path / "v1").mkdir()
    shutil.copy(web.root / "a.tar", tmp_path / "v1")
    assert files.find(shard)
    assert files.path(shard) == tmp_path / "v1" / "a.tar"
    files.prefetch([shard])
    files.release(shard)
    assert web.requests == []


def test_shards_of_one_name_are_never_mistaken_for_each_other(web, cache, tmp_path, make_shard):
    """webdataset/webdataset #471: its own cache goes by the base name."""
    paths = {}
    for version, seed in (("v1", 1), ("v2", 2)):
        shard = make_shard("000000.tar", seed=seed)
        (web.root / version).mkdir()
        (web.root / "000000.tar").rename(web.root / version / "000000.tar")
        paths[version] = CachedFiles(tmp_path / version, f"{web.url}/{version}", cache).path(shard)
    for version, path in paths.items():
        assert path.read_bytes() == (web.root / version / "000000.tar").read_bytes()


@pytest.mark.parametrize("steps", [[500], ["cut"], [503, "cut", 500]])
def test_what_fails_for_a_moment_is_tried_again(steps, files, web, cache, make_shard, caplog):
    shard = make_shard(size=3_000_000)
    web.script["/a.tar"].extend(steps)
    assert files.path(shard).read_bytes() == (web.root / "a.tar").read_bytes()
    assert len(web.requests) == 1 + len(steps)
    assert caplog.text.count("retrying") == len(steps)
    assert len(in_cache(cache)) == 1


@pytest.mark.parametrize(
    ("steps", "message", "requests"),
    [
        (["wrong"], "differs from the manifest", 1),
        (["long"], "more than the 100000 bytes", 1),
        ([404], "HTTP 404", 1),
        (["cut"] * 4, r"was cut 50000 bytes before the end", 4),
        ([500] * 4, "HTTP 500", 4),
    ],
)
def test_a_download_that_fails_leaves_nothing(steps, message, requests, files, web, cache, make_shard):
    shard = make_shard()
    counted: list[int] = []
    files._progress = counted.append
    web.script["/a.tar"].extend(steps)
    with pytest.raises(DataError, match=message) as caught:
        files.path(shard)
    assert f"{web.url}/a.tar" in str(caught.value)
    assert len(web.requests) == requests
    assert in_cache(cache) == set()
    assert sum(counted) == 0
    assert files.path(shard).exists()  # the server is well again
    assert sum(counted) == shard.bytes


def test_wrong_bytes_are_named_by_both_hashes(files, web, make_shard):
    shard = make_shard()
    web.script["/a.tar"].append("wrong")
    content = (web.root / "a.tar").read_bytes()
    found = hashlib.sha256(content[:-1] + bytes([content[-1] ^ 1])).hexdigest()
    with pytest.raises(DataError, match=f"a.tar.*sha256 {found} found, {shard.sha256} expected"):
        files.path(shard)


def test_a_command_that_ends_too_soon_without_a_word_is_noticed(cache, web, make_shard):
    shard = make_shard()
    with pytest.raises(DataError, match="a.tar at pipe:... ended after 10 of 100000 bytes"):
        CachedFiles(Path("nowhere"), f"pipe:head -c 10 {web.root}/{{name}}", cache).path(shard)
    assert in_cache(cache) == set()
    assert CachedFiles(Path("nowhere"), f"pipe:cat {web.root}/{{name}}", cache).path(shard).exists()


def test_an_endless_answer_is_cut_off(cache, make_shard):
    with pytest.raises(DataError, match="more than the 100000 bytes"):
        CachedFiles(Path("nowhere"), "pipe:: {name}; exec yes", cache).path(make_shard())


def test_a_hash_from_outside_cannot_name_a_path(files, make_shard):
    with pytest.raises(DataError, match="sha256"):
        files.path(replace(make_shard(), sha256="../../etc/passwd"))


def test_no_secret_is_shown(web, cache, make_shard, caplog):
    shard = make_shard()
    web.script["/a.tar"].extend([500, "wrong"])
    url = f"http://me:pl4nted@{web.host}?signature=s3cret"
    with pytest.raises(DataError) as caught:
        CachedFiles(Path("nowhere"), url, cache).path(shard)
    assert f"{web.url}/a.tar" in str(caught.value)
    assert "retrying" in caplog.text
    assert not {word for word in ("pl4nted", "s3cret") if word in str(caught.value) + caplog.text}


def test_s3(s3, cache, build_version, tmp_path):
    manifest = build_version(tmp_path, "v1")
    for shard in manifest.shards:
        s3(f"v1/{shard.name}", (tmp_path / "v1" / shard.name).read_bytes())
    remote = CachedFiles(Path("nowhere"), "s3://lake/v1", cache)
    here = TokenSource(manifest, LocalFiles(tmp_path / "v1"), sequence_length=20, seed=0)
    there = TokenSource(manifest, remote, sequence_length=20, seed=0)
    positions = np.arange(here.rows)
    assert np.array_equal(there.read(positions), here.read(positions))
    assert len(in_cache(cache)) == len(manifest.shards)


def test_a_killed_download_leaves_nothing_that_counts(files, web, cache, make_shard):
    shard = make_shard()
    web.script["/a.tar"].append("hold")
    process = child("files.path(shard)", shard, web.url, cache)
    eventually(lambda: in_cache(cache) == {f"{shard.sha256}.part"})
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert in_cache(cache) == {f"{shard.sha256}.part"}
    assert files.path(shard).read_bytes() == (web.root / "a.tar").read_bytes()
    assert in_cache(cache) == {f"{shard.sha256}.tar"}


def test_processes_of_a_node_download_a_shard_once(web, cache, make_shard, tmp_path):
    shard = make_shard()
    web.script["/a.tar"].append("hold")
    script = "import lrps.data.cache as c; c.NOTE_SECONDS = 0.2; print(files.path(shard))"
    said = tmp_path / "said"
    with open(said, "w") as file:
        processes = [child(script, shard, web.url, cache, stderr=file) for _ in range(4)]
    eventually(lambda: said.read_text().count("waiting for a.tar") == 3)
    web.go_on.set()
    paths = {process.communicate()[0].strip() for process in processes}
    assert paths == {str(cache / shard.sha256[:2] / f"{shard.sha256}.tar")}
    assert said.read_text().count("waiting for a.tar") == 3
    assert web.requests == ["/a.tar"]


def test_who_waited_for_a_killed_process_goes_on(web, cache, make_shard):
    shard = make_shard()
    web.script["/a.tar"].append("hold")
    first = child("files.path(shard)", shard, web.url, cache)
    eventually(lambda: len(web.requests) == 1)
    second = child("print(files.path(shard))", shard, web.url, cache)
    time.sleep(1)
    assert len(web.requests) == 1
    first.kill()
    out, error = second.communicate()
    assert out.strip().endswith(f"{shard.sha256}.tar"), error
    first.communicate()
    assert len(web.requests) == 2


def test_the_least_recently_used_goes_first(web, cache, make_shard):
    shards = [make_shard(f"{name}.tar") for name in "abcd"]

    def use(shard: Shard) -> None:
        CachedFiles(Path("nowhere"), web.url, cache, 3 * 100 * KILOBYTE).path(shard)
        time.sleep(0.02)

    for k in (0, 1, 2, 0, 3):
        use(shards[k])
    assert in_cache(cache) == {f"{shards[k].sha256}.tar" for k in (0, 2, 3)}
    use(shards[1])
    assert in_cache(cache) == {f"{shards[k].sha256}.tar" for k in (0, 1, 3)}


def test_a_use_counts_from_its_end(web, cache, make_shard):
    shards = [make_shard(f"{name}.tar") for name in "abc"]
    files = CachedFiles(Path("nowhere"), web.url, cache, 2 * 100 * KILOBYTE)
    for step, k in ((files.path, 0), (files.path, 1), (files.release, 1), (files.release, 0)):
        step(shards[k])
        time.sleep(0.02)
    files.path(shards[2])
    assert in_cache(cache) == {f"{shards[k].sha256}.tar" for k in (0, 2)}


def test_a_shard_that_another_process_uses_stays(web, cache, make_shard, caplog):
    shards = [make_shard(f"{name}.tar") for name in "abc"]
    user = child("print(files.path(shard), flush=True); sys.stdin.read()", shards[0], web.url, cache)
    assert user.stdout is not None
    user.stdout.readline()
    files = CachedFiles(Path("nowhere"), web.url, cache, 2 * 100 * KILOBYTE)
    for shard in shards[1:]:
        files.path(shard)
        files.release(shard)
    assert in_cache(cache) == {f"{shards[k].sha256}.tar" for k in (0, 2)}
    assert caplog.text == ""
    user.kill()
    user.communicate()
    files.path(shards[1])
    assert in_cache(cache) == {f"{shards[k].sha256}.tar" for k in (1, 2)}


def test_a_limit_that_is_all_in_use_is_exceeded_with_a_warning(web, cache, make_shard, caplog):
    shards = [make_shard(f"{name}.tar") for name in "ab"]
    files = CachedFiles(Path("nowhere"), web.url, cache, 150 * KILOBYTE)
    assert all(files.path(shard).exists() for shard in shards)
    assert "data.cache_limit is 150,000; the limit is exceeded" in caplog.text
    files.release(shards[0])
    files.path(make_shard("c.tar", size=KILOBYTE))
    assert f"{shards[0].sha256}.tar" not in in_cache(cache)


@pytest.mark.parametrize(
    ("url", "bytes_named"),
    [("{web.url}", 140 * KILOBYTE), ("{web.url}", 10**30), ("pipe:cat {web.root}/{{name}}", 10**15)],
)
def test_a_wrong_size_in_a_manifest_does_not_empty_the_cache(url, bytes_named, web, cache, make_shard):
    good = [make_shard(f"{name}.tar", size=60 * KILOBYTE) for name in "ab"]
    files = CachedFiles(Path("nowhere"), url.format(web=web), cache, 150 * KILOBYTE)
    for shard in good:
        files.path(shard)
        files.release(shard)
    with pytest.raises(DataError, match="fewer than the|No space left"):
        files.path(replace(make_shard("c.tar", size=60 * KILOBYTE), bytes=bytes_named))
    assert in_cache(cache) == {f"{shard.sha256}.tar" for shard in good}


@pytest.mark.parametrize("place", ["file", "folder", "cache"])
def test_a_file_that_others_can_write_to_is_verified(place, files, web, cache, make_shard, caplog):
    shard = make_shard()
    path = files.path(shard)
    files.release(shard)
    {"file": path, "folder": path.parent, "cache": cache}[place].chmod(0o777)
    assert files.path(shard) == path
    files.release(shard)
    assert len(web.requests) == 1, "an intact file is used"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert files.path(shard).read_bytes() == good
    assert "was changed by another user" in caplog.text


def test_what_killed_downloads_left_counts_and_is_evicted(web, cache, make_shard):
    shards = [make_shard(f"{name}.tar") for name in "ab"]
    web.script["/a.tar"].append("hold")
    process = child("files.path(shard)", shards[0], web.url, cache)
    eventually(lambda: in_cache(cache) == {f"{shards[0].sha256}.part"})
    limit = 150 * KILOBYTE
    CachedFiles(Path("nowhere"), web.url, cache, limit).path(shards[1])
    assert len(in_cache(cache)) == 2  # one is in use, one is being downloaded
    process.kill()
    process.communicate()
    CachedFiles(Path("nowhere"), web.url, cache, limit).path(make_shard("c.tar", size=KILOBYTE))
    assert f"{shards[0].sha256}.part" not in in_cache(cache)


def test_a_file_that_was_evicted_while_it_was_opened_is_not_used(cache, files, web, make_shard, monkeypatch):
    shard = make_shard()
    files.path(shard)
    files.release(shard)
    taken = []

    def evict_first(path: str, flags: int, *mode: int) -> int:
        descriptor = os_open(path, flags, *mode)
        if str(path).endswith(".tar") and not taken:
            taken.append(path)
            assert cache_module._evict(path)
        return descriptor

    os_open = os.open
    monkeypatch.setattr("lrps.data.cache.os.open", evict_first)
    assert files.path(shard).exists()
    assert web.requests == ["/a.tar"] * 2


def test_prefetch_brings_shards_in_order_in_the_background(files, web, cache, make_shard):
    shards = [make_shard(f"{k:02d}.tar") for k in range(20)]
    files.prefetch(iter(shards))
    files.prefetch(shards)
    eventually(lambda: len(in_cache(cache)) == 20 and files._working == 0)
    assert sorted(web.requests) == [f"/{shard.name}" for shard in shards]
    assert all(abs(int(request[1:3]) - k) <= 2 for k, request in enumerate(web.requests))
    assert all(files.path(shard).exists() for shard in shards)
    assert len(web.requests) == 20


def test_path_waits_for_what_is_being_prefetched(files, web, make_shard):
    shard = make_shard()
    web.script["/a.tar"].append("hold")
    files.prefetch([shard])
    eventually(lambda: len(web.requests) == 1)
    threading.Timer(0.5, web.go_on.set).start()
    path = files.path(shard)
    assert path.exists()
    assert web.requests == ["/a.tar"]
    eventually(lambda: files._working == 0)
    files.release(shard)
    assert cache_module._evict(path), "only one hold of it was kept"


def test_what_fails_in_the_background_is_raised_by_path(files, web, make_shard):
    shard = make_shard()
    web.script["/a.tar"].extend([404, 404])
    files.prefetch([shard])
    eventually(lambda: files._working == 0)
    with pytest.raises(DataError, match="HTTP 404"):
        files.path(shard)
    files.prefetch([shard])
    eventually(lambda: files.find(shard))


def test_prefetch_stops_at_the_limit_and_evicts_nothing_that_it_brought(web, cache, make_shard, caplog):
    shards = [make_shard(f"{k}.tar") for k in range(4)]
    files = CachedFiles(Path("nowhere"), web.url, cache, 250 * KILOBYTE)
    files.prefetch(shards)
    eventually(lambda: files._working == 0)
    (used, kept), others = ([s for s in shards if (files.find(s) is not None) == local] for local in (True, False))
    assert len(others) == 2
    files.path(used)
    files.release(used)
    files.prefetch(others)
    eventually(lambda: files._working == 0)
    assert [files.find(shard) is not None for shard in (used, kept)] == [False, True]
    assert sum(files.find(shard) is not None for shard in others) == 1
    assert caplog.text == ""


def held_prefetch(web, cache, make_shard):
    """Files of which 40 shards were asked for; the server has been asked for two and answers none yet."""
    shards = [make_shard(f"{k:02d}.tar") for k in range(40)]
    files = CachedFiles(Path("nowhere"), web.url, cache)
    web.script["/00.tar"].append("hold")
    web.script["/01.tar"].append("hold")
    files.prefetch(shards)
    eventually(lambda: len(web.requests) == 2)
    return files, shards


def test_nothing_is_prefetched_for_nobody(web, cache, make_shard):
    files, shards = held_prefetch(web, cache, make_shard)
    for shard in shards[:20]:
        files.release(shard)
    web.go_on.set()
    eventually(lambda: files._working == 0)
    assert sorted(web.requests) == ["/00.tar", "/01.tar"] + [f"/{k}.tar" for k in range(20, 40)]
    assert files._in_use.keys() == {shard.sha256 for shard in shards[20:]}


def test_after_closing_nothing_more_comes_and_nothing_is_kept(web, cache, make_shard):
    files, _ = held_prefetch(web, cache, make_shard)
    files.close()
    web.go_on.set()
    eventually(lambda: files._working == 0)
    assert len(web.requests) == 2
    assert not files._in_use


def test_the_interpreter_ends_while_something_is_prefetched(web, cache, make_shard):
    shard = make_shard()
    web.script["/a.tar"].append("hold")
    process = child("files.prefetch([shard]); sys.stdin.read()", shard, web.url, cache)
    eventually(lambda: len(web.requests) == 1)
    _, error = process.communicate()
    assert (process.returncode, error) == (0, "")


def test_shards_are_let_go_of_with_the_object(web, cache, make_shard):
    shard = make_shard()
    files = CachedFiles(Path("nowhere"), web.url, cache)
    before = len(os.listdir("/proc/self/fd"))
    path = files.path(shard)
    assert not cache_module._evict(path)
    del files
    assert cache_module._evict(path)
    assert len(os.listdir("/proc/self/fd")) < before + 1


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="needs a file system that can be full at once")
def test_a_full_disk_says_so(web, make_shard):
    too_much = shutil.disk_usage("/dev/shm").total + 2**20
    cache = Path("/dev/shm") / f"lrps-{os.getpid()}"
    try:
        with pytest.raises(DataError, match=r"No space left on device; free disk space there, lower data.cache_limit"):
            CachedFiles(Path("nowhere"), f"pipe:cat {web.root}/{{name}}", cache).path(
                replace(make_shard(), bytes=too_much)
            )
        assert in_cache(cache) == set()
    finally:
        shutil.rmtree(cache)


def test_a_cache_that_cannot_be_written_says_so(web, tmp_path, make_shard):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="set data.cache to a writable folder"):
        CachedFiles(Path("nowhere"), web.url, tmp_path / "file").path(make_shard())


def test_the_config_says_where_the_files_come_from(web, cache, tmp_path, make_shard):
    versions = [{"name": "v1"}, {"name": "v2", "url": web.url}]
    rehearsal = [{"name": "extra", "since": "v1", "url": web.url}]
    data = DataConfig.model_validate(
        {"root": tmp_path, "sequence_length": 8, "cache_limit": "1MB", "versions": versions, "rehearsal": rehearsal}
    )
    shard = make_shard()
    assert isinstance(open_files(data, "v1"), LocalFiles)
    assert open_files(data, "v1").path(shard) == tmp_path / "v1" / "a.tar"
    for name in ("v2", "extra"):
        assert open_files(data, name).path(shard).is_relative_to(tmp_path / "cache")
