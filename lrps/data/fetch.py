"""Download of the manifests, and on request the shards, of versions that were built elsewhere: `lrps data fetch`.

Must not import torch.
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

from rich.console import Console

from lrps.base.addresses import redact
from lrps.base.errors import ConfigError, DataError
from lrps.base.files import atomic_write_bytes
from lrps.base.progress import byte_progress
from lrps.config.data import DataConfig
from lrps.config.models import Config
from lrps.config.versions import ShardSet
from lrps.data.cache import PREFETCH_SHARDS, CachedFiles
from lrps.data.manifest import LARGEST_MANIFEST, SPLITS, Manifest, Shard, load_manifest, manifest_path
from lrps.data.remote import MissingError, TransientError, read_pieces, resolve, with_retries


def fetch_data(config: Config, *, shards: bool = False) -> None:
    """Copy the manifests, and with `shards` the shards, of every version with a `url`, and print what was copied.

    Raises ConfigError if no version has a `url`, DataError for a file that cannot be read or is not the expected one.
    """
    console = Console(highlight=False)
    for manifest in fetch_manifests(config):
        total = sum(shard.bytes for shard in manifest.shards)
        console.print(
            f"{manifest.version} ({manifest.split}): {manifest.tokens:,} tokens in {len(manifest.shards):,} shards of "
            f"{total:,} bytes, sha256 {manifest.sha256[:12]}",
            markup=False,
            soft_wrap=True,
        )
    if shards:
        fetch_shards(config, console)


def fetch_manifests(config: Config) -> list[Manifest]:
    """Copy both manifests of every version with a `url` to data.root, byte for byte, and return them.

    Each is checked before it is written. A version without a held-out set has one manifest. Raises DataError if
    data.root has a different manifest of that name: a version never changes.
    """
    sources = _sources(config)
    found = [_fetch_manifest(config.data, source, split) for source in sources for split in SPLITS]
    return [manifest for manifest in found if manifest is not None]


def fetch_shards(config: Config, console: Console) -> None:
    """Download the shards of the fetched manifests that are not on this machine into data.cache.

    Raises DataError if together they do not fit into data.cache_limit.
    """
    data = config.data
    bar = byte_progress(console)
    task = bar.add_task("shards", total=None)
    todo: list[tuple[CachedFiles, list[Shard]]] = []
    for source in _sources(config):
        files = CachedFiles(
            data.root / source.name,
            str(source.url),
            data.cache_path,
            data.cache_limit,
            lambda done: bar.advance(task, done),
            data.shard_origins,
        )
        manifests = (manifest_path(data.root, source.name, split) for split in SPLITS)
        known = (shard for path in manifests if path.exists() for shard in load_manifest(path).shards)
        todo.append((files, [shard for shard in known if files.find(shard) is None]))
    total = sum(shard.bytes for _, shards in todo for shard in shards)
    if data.cache_limit is not None and total > data.cache_limit:
        raise DataError(
            f"the missing shards have {total:,} bytes, data.cache_limit is {data.cache_limit:,}; raise it, or omit "
            "--shards: training downloads what it needs"
        )
    bar.update(task, total=total)
    with bar:
        for files, shards in todo:
            _download(files, shards)
    count = sum(len(shards) for _, shards in todo)
    console.print(f"{count:,} shards ({total:,} bytes) copied to {data.cache_path}", markup=False, soft_wrap=True)


def _download(files: CachedFiles, shards: list[Shard]) -> None:
    for number, shard in enumerate(shards):
        if number % PREFETCH_SHARDS == 0:  # Several are downloaded at a time, in the order of this loop.
            files.prefetch(shards[number : number + PREFETCH_SHARDS])
        files.path(shard)
        files.release(shard)


def _sources(config: Config) -> list[ShardSet]:
    if not (sources := [shards for shards in config.data.shard_sets if shards.url is not None]):
        raise ConfigError("no version has a `url:`; set it to the address of the folder of its manifests and shards")
    return sources


def _fetch_manifest(data: DataConfig, source: ShardSet, split: str) -> Manifest | None:
    """Copy one manifest to data.root and return it; None if it is a held-out manifest that does not exist."""
    url, place = str(source.url), manifest_path(data.root, source.name, split)
    address = resolve(url, place.name)
    where = f"{place.name} at {redact(address)}"
    try:
        content = with_retries(lambda: _whole(address))
    except (MissingError, TransientError) as error:
        # A command cannot report that there is no such file; it only fails.
        absent = isinstance(error, MissingError) or url.startswith("pipe:")
        if split != "train" and absent:
            return None
        raise DataError(f"{error}. Correct the url of {source.name} in the config, or put the manifest there") from None
    manifest = _checked(content, place.name, where)
    if (manifest.version, manifest.split) != (source.name, split):
        raise DataError(
            f"{where} is the manifest of version {manifest.version} ({manifest.split}); give the version that name in "
            "the config, or correct its url"
        )
    for shard in manifest.shards:
        resolve(url, shard.url, data.shard_origins)
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(place, content)
    elif place.read_bytes() != content:
        raise DataError(
            f"{where} differs from {place}, and a version never changes: give the new data another name; or, if "
            "nothing was trained on the old data, move the local manifest away"
        )
    return manifest


def _whole(address: str) -> bytes:
    """Return the manifest at an address. Raises DataError if it is larger than any manifest."""
    content = bytearray()
    with closing(read_pieces(address)) as pieces:
        for piece in pieces:
            content += piece
            if len(content) > LARGEST_MANIFEST:
                raise DataError(
                    f"{redact(address)} has more than {LARGEST_MANIFEST:,} bytes, so it is no manifest. Correct the "
                    "url in the config"
                )
    return bytes(content)


def _checked(content: bytes, name: str, where: str) -> Manifest:
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / name
        copy.write_bytes(content)
        try:
            return load_manifest(copy)
        except DataError as error:
            raise DataError(str(error).replace(str(copy), where)) from None
