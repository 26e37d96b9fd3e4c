"""The manifest of a data version: its shards and blocks, with the hashes that identify them.

Format `lrps-tokens/1`. `lrps plan` reads manifests and must start fast, so this module must not import numpy, torch or
webdataset.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from lrps.base.errors import DataError
from lrps.base.files import atomic_write_bytes, located, regular_file
from lrps.base.foreign_json import JsonError, bounded_lines, parse_json

FORMAT = "lrps-tokens/1"
ORDER = "feistel-splitmix64/1"
MIXTURE = "balanced-bresenham/1"
"""Names of the functions that shuffle rows (order.py) and interleave sources (mixture.py).

A change of either function needs a new name here and new golden vectors in its tests. A path's identity contains both
names, so that no run resumes with other rows.
"""

SPLITS = ("train", "heldout")
ITEM_BYTES = {"uint16": 2, "uint32": 4}
_HINT = "Restore it from where it was copied, or move it away and run `lrps data build CONFIG`."

_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
_VERSION_NAME = re.compile(rf"{_NAME}(\.{_NAME})?")
"""Name of a version, or of a part of its mixture: <version>.<part>."""
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]{0,199}")
"""Name of a shard's file, which is printed and becomes part of paths."""
_SHARDS_FOLLOW = b' "shards": [\n'
_HEADER_BYTES, _SLACK_BYTES = 2**11, 2**20
"""Bytes that a member of a shard may take beside its tokens, and a shard beside its members."""
LARGEST_MANIFEST = 2**30
"""Largest number of bytes of a manifest: 10 million blocks take 0.5 GB."""
_KINDS = {"str": str, "int": int, "dict[str, Any]": dict}
_T = TypeVar("_T")


class Block(NamedTuple):
    """`tokens` items from byte `offset` of a shard, with the crc32 of these bytes. key: name of the tar member."""

    key: str
    offset: int
    tokens: int
    crc32: int


class Blocks:
    """All blocks of a manifest in order, stored as columns: a million take 16 MB, where objects would take 300 MB."""

    def __init__(self, version: str, split: str) -> None:
        # webdataset ends a key at the first dot, so the one in the name of a part becomes a dash.
        self._prefix = f"{version.replace('.', '-')}-{split}-"
        self.offsets = array("Q")
        self.tokens = array("I")
        self.crc32s = array("I")

    def append(self, offset: int, tokens: int, crc32: int) -> None:
        self.offsets.append(offset)
        self.tokens.append(tokens)
        self.crc32s.append(crc32)

    def key(self, number: int) -> str:
        """Return webdataset's key of a block, which is unique over all versions."""
        return f"{self._prefix}{number:09d}"

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, number: int) -> Block:
        return Block(self.key(number), self.offsets[number], self.tokens[number], self.crc32s[number])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Blocks) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar file. url: its address, relative to the manifest unless it has a scheme.

    blocks: numbers of its blocks in the manifest; the manifest's file lists the blocks themselves as `members`.
    """

    name: str
    url: str
    bytes: int
    sha256: str
    tokens: int
    blocks: range


@dataclass(frozen=True)
class TokenizerIdentity:
    """The identity of a tokenizer: the hash of its file. vocabulary: largest id + 1. eos: id of the EOS token."""

    name: str
    sha256: str
    vocabulary: int
    eos: int


@dataclass(frozen=True)
class Manifest:
    """One split of one version. It never changes: more data are a new version.

    text_bytes: UTF-8 bytes of the text of the tokens (for bits per byte). provenance: any JSON values.
    """

    format: str
    version: str
    split: str
    dtype: str
    tokens: int
    documents: int
    text_bytes: int
    tokenizer: TokenizerIdentity
    provenance: dict[str, Any]
    shards: tuple[Shard, ...]
    blocks: Blocks

    def rows(self, sequence_length: int) -> int:
        """Return the number of whole rows of `sequence_length` tokens; a row never spans two blocks."""
        return sum(tokens // sequence_length for tokens in self.blocks.tokens)

    def remainder_tokens(self, sequence_length: int) -> int:
        """Return the number of tokens at the ends of blocks that are in no row of `sequence_length` tokens."""
        return self.tokens - self.rows(sequence_length) * sequence_length

    def canonical(self) -> Iterator[bytes]:
        """Yield the bytes of the manifest's file; equal values give equal bytes."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("shards", "blocks")}
        head = json.dumps(values | {"tokenizer": asdict(self.tokenizer)}, indent=1, sort_keys=True, ensure_ascii=False)
        yield head.removesuffix("\n}").encode() + b",\n" + _SHARDS_FOLLOW
        # One shard per line, so that a reader can parse one shard at a time.
        for number, shard in enumerate(self.shards):
            yield (",\n" if number else "").encode() + self._shard_line(shard)
        yield b"\n ]\n}\n"

    def _shard_line(self, shard: Shard) -> bytes:
        values = {f.name: getattr(shard, f.name) for f in fields(shard) if f.name != "blocks"}
        values["members"] = [self.blocks[number] for number in shard.blocks]
        return json.dumps(values, sort_keys=True, ensure_ascii=False).encode()

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file: the identity of the version in plans, checkpoints and ledgers."""
        digest = hashlib.sha256()
        for piece in self.canonical():
            digest.update(piece)
        return digest.hexdigest()


def manifest_path(root: Path, version: str, split: str) -> Path:
    """Return the path of a version's manifest.

    Raises DataError for an unknown split, or a version name that cannot be part of a file name and a webdataset key.
    """
    if not _VERSION_NAME.fullmatch(version):
        raise DataError(f"{version!r} cannot name a version: use letters, digits, '-' and '_' only")
    if split not in SPLITS:
        raise DataError(f"{split!r} is not a split of a version: use one of {', '.join(SPLITS)}")
    return Path(root) / version / f"{version}-{split}.manifest.json"


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest. Raises DataError for missing or unknown keys, wrong types and contradictions."""
    try:
        with open(path, "rb", opener=regular_file) as file:
            return _parse_manifest(*_values(file))
    except FileNotFoundError:
        raise DataError(f"{located(path)}: no such manifest. Run `lrps data build CONFIG` to make it.") from None
    except ValueError as error:
        raise DataError(f"{path}: {error}. {_HINT}") from None


def made_with_another(tokenizer_sha256: str, manifests: Iterable[Manifest]) -> list[str]:
    """Return the names of the shards that another tokenizer made, in order."""
    return [manifest.version for manifest in manifests if manifest.tokenizer.sha256 != tokenizer_sha256]


def existing_manifests(root: Path, versions: Iterable[str]) -> list[Manifest]:
    """Return the training manifests of the named versions that exist, in order. Raises DataError as `load_manifest`."""
    paths = [manifest_path(root, version, SPLITS[0]) for version in versions]
    return [load_manifest(path) for path in paths if path.exists()]


def save_manifest(manifest: Manifest, path: Path) -> None:
    """Write the manifest atomically."""
    atomic_write_bytes(path, b"".join(manifest.canonical()))


def _values(file: BinaryIO) -> tuple[Any, Iterable[Any]]:
    """Return the JSON value of a manifest without its shards, and an iterable of the shards' values.

    The shards are parsed one at a time if the file has one per line.
    """
    head: list[bytes] = []
    for line in bounded_lines(file, "the manifest", LARGEST_MANIFEST):
        if line == _SHARDS_FOLLOW:
            return parse_json(b"".join([*head, _SHARDS_FOLLOW, b"]}"]), "the manifest"), _shard_lines(file)
        head.append(line)
        if file.tell() > LARGEST_MANIFEST:
            raise JsonError(f"the manifest: more than {LARGEST_MANIFEST:,} bytes before its shards")
    values = parse_json(b"".join(head), "the manifest", largest=LARGEST_MANIFEST)
    shards = values.get("shards")
    return values, shards if isinstance(shards, list) else ()


def _shard_lines(file: BinaryIO) -> Iterator[Any]:
    for line in bounded_lines(file, "the shards"):
        if line == b" ]\n" and file.read(3) == b"}\n":
            return
        if line != b"\n":
            yield parse_json(line.removesuffix(b"\n").removesuffix(b","), "a shard")
    raise JsonError("not JSON (it does not end with its shards)")


def _parse_manifest(values: object, shards: Iterable[object]) -> Manifest:
    # The format is checked first: a later format may have other keys, and its name is the better message.
    if isinstance(values, dict) and values.get("format", FORMAT) != FORMAT:
        raise ValueError(f"format {values['format']!r} is not {FORMAT!r}, which this lrps reads")
    named = _named(values, Manifest, "the manifest")
    if not isinstance(named["shards"], list):
        raise ValueError("'shards' of the manifest is not a list")
    named["tokenizer"] = TokenizerIdentity(**_named(named["tokenizer"], TokenizerIdentity, "the tokenizer"))
    if named["split"] not in SPLITS or named["dtype"] not in ITEM_BYTES:
        raise ValueError(f"split {named['split']!r} or dtype {named['dtype']!r} is not defined in {FORMAT}")
    if not _VERSION_NAME.fullmatch(named["version"]):
        raise ValueError(f"{named['version'][:80]!r} cannot name a version")
    blocks = named["blocks"] = Blocks(named["version"], named["split"])
    named["shards"] = tuple(_parse_shard(shard, number, blocks) for number, shard in enumerate(shards))
    manifest = Manifest(**named)
    _check_sums(manifest)
    return manifest


def _parse_shard(values: object, number: int, blocks: Blocks) -> Shard:
    named = _named(values, Shard, f"shard {number}")
    members, first = named.pop("members"), len(blocks)
    if not isinstance(members, list):
        raise ValueError(f"shard {number}: 'members' is {members!r}, which is not [[key, offset, tokens, crc32], ...]")
    for member in members:
        try:
            key, offset, tokens, crc32 = member
            good = type(offset) is type(tokens) is type(crc32) is int and tokens > 0 and key == blocks.key(len(blocks))
            if not good:
                raise ValueError
            blocks.append(offset, tokens, crc32)
        except (TypeError, ValueError, OverflowError):
            wanted = blocks.key(len(blocks))
            raise ValueError(f"shard {number}: {member!r} is not [key, offset, tokens, crc32] of {wanted}") from None
    if named["url"] == named["name"]:
        named["url"] = named["name"]  # Share one string in memory.
    return Shard(**named, blocks=range(first, len(blocks)))


def _named(values: object, kind: type[_T], where: str) -> dict[str, Any]:
    """Return `values` as keyword arguments of the dataclass `kind`.

    Raises ValueError for missing or unknown keys, plain fields of another type, and negative integers.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where} is not an object")
    wanted = {f.name: _KINDS.get(str(f.type)) for f in fields(kind) if f.name != "blocks"}  # type: ignore[arg-type]
    if kind is Shard:
        wanted["members"] = None  # The file has these in place of `blocks`.
    if missing := wanted.keys() - values.keys():
        raise ValueError(f"{where} has no {', '.join(sorted(missing))}")
    if unknown := values.keys() - wanted.keys():
        raise ValueError(f"{where} has keys that are not in {FORMAT}: {', '.join(sorted(unknown))}")
    for name, wanted_type in wanted.items():
        if wanted_type is not None and type(values[name]) is not wanted_type:
            raise ValueError(f"{name!r} of {where} is {values[name]!r}, not of type {wanted_type.__name__}")
        if wanted_type is int and values[name] < 0:
            raise ValueError(f"{name!r} of {where} is negative")
    return dict(values)


def _check_sums(manifest: Manifest) -> None:
    item, blocks = ITEM_BYTES[manifest.dtype], manifest.blocks
    if len({shard.name for shard in manifest.shards}) < len(manifest.shards):
        raise ValueError("two shards have the same name")
    for shard in manifest.shards:
        if not _FILE_NAME.fullmatch(shard.name):
            raise ValueError(f"{shard.name[:80]!r} is not a plain file name")
        if (found := sum(blocks.tokens[number] for number in shard.blocks)) != shard.tokens:
            raise ValueError(f"{shard.name} has {shard.tokens} tokens in the manifest, its members add up to {found}")
        if any(blocks.offsets[number] % item for number in shard.blocks):
            raise ValueError(f"a member of {shard.name} is not aligned to {manifest.dtype}")
        end = 0
        for number in shard.blocks:
            if blocks.offsets[number] < end:
                raise ValueError(f"the members of {shard.name} overlap, or are not in the order of their offsets")
            end = blocks.offsets[number] + blocks.tokens[number] * item
        if end > shard.bytes:
            raise ValueError(f"a member of {shard.name} ends beyond its {shard.bytes} bytes")
        if shard.bytes > 2 * (shard.tokens * item + len(shard.blocks) * _HEADER_BYTES) + _SLACK_BYTES:
            raise ValueError(f"{shard.name} has {shard.bytes} bytes, far more than its {shard.tokens} tokens take")
    if (found := sum(shard.tokens for shard in manifest.shards)) != manifest.tokens:
        raise ValueError(f"it has {manifest.tokens} tokens, its shards add up to {found}")
