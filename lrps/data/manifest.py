"""The manifest of one data version: which shards hold it, and what proves that they are the right ones.

Format `lrps-tokens/1`. `lrps plan` reads manifests and must start fast, so nothing here may import numpy, torch or
webdataset.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from lrps.errors import DataError
from lrps.store.files import atomic_write_bytes

FORMAT = "lrps-tokens/1"
SPLITS = ("train", "heldout")
ITEM_BYTES = {"uint16": 2, "uint32": 4}
WAY_OUT = "Restore it from where it was copied, or delete it and run `lrps data build CONFIG`."

_VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_KINDS = {"str": str, "int": int, "dict[str, Any]": dict}
_T = TypeVar("_T")


class Member(NamedTuple):
    """One block of tokens: `tokens` items from byte `offset` of the shard; crc32 of exactly those bytes."""

    key: str
    offset: int
    tokens: int
    crc32: int


@dataclass(frozen=True)
class Shard:
    """One tar file. url: where it can be fetched, relative to the manifest unless it names a scheme."""

    name: str
    url: str
    bytes: int
    sha256: str
    tokens: int
    members: tuple[Member, ...]


@dataclass(frozen=True)
class TokenizerIdentity:
    """What makes two tokenizers the same one: the hash of the file. vocabulary: one more than the largest id."""

    name: str
    sha256: str
    vocabulary: int
    eos: int


@dataclass(frozen=True)
class Manifest:
    """One split of one version, frozen for ever: growth is a new version.

    text_bytes: UTF-8 bytes of the text behind the tokens (for bits per byte). provenance: any JSON values.
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

    def rows(self, sequence_length: int) -> int:
        """Whole rows of `sequence_length` tokens; a row never spans two blocks."""
        return sum(member.tokens // sequence_length for shard in self.shards for member in shard.members)

    def remainder_tokens(self, sequence_length: int) -> int:
        """Tokens at the ends of blocks that no row of `sequence_length` holds."""
        return self.tokens - self.rows(sequence_length) * sequence_length

    @cached_property
    def canonical(self) -> bytes:
        """The manifest's file: the same values always give the same bytes."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "shards"}
        head = json.dumps(values | {"tokenizer": asdict(self.tokenizer)}, indent=1, sort_keys=True, ensure_ascii=False)
        shards = ",\n".join(json.dumps(vars(shard), sort_keys=True, ensure_ascii=False) for shard in self.shards)
        head = head.removesuffix("\n}")
        return f'{head},\n "shards": [\n{shards}\n ]\n}}\n'.encode()

    @cached_property
    def sha256(self) -> str:
        """The identity of the version: plans, checkpoints and ledgers carry it."""
        return hashlib.sha256(self.canonical).hexdigest()


def manifest_path(root: Path, version: str, split: str) -> Path:
    """Where a version's manifest lies; DataError for a name that cannot be a file or a webdataset key."""
    if not _VERSION_NAME.fullmatch(version):
        raise DataError(f"{version!r} cannot name a version: use letters, digits, '-' and '_' only")
    if split not in SPLITS:
        raise DataError(f"{split!r} is no split of a version: use one of {', '.join(SPLITS)}")
    return Path(root) / version / f"{version}-{split}.manifest.json"


def load_manifest(path: Path) -> Manifest:
    """Read and check a manifest; anything missing, unknown or contradictory in it is a DataError."""
    try:
        values = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such manifest. Run `lrps data build CONFIG` to make it.") from None
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}). {WAY_OUT}") from None
    try:
        return _parse_manifest(values)
    except ValueError as error:
        raise DataError(f"{path}: {error}. {WAY_OUT}") from None


def save_manifest(manifest: Manifest, path: Path) -> None:
    """Write the manifest: afterwards all of it is there, or nothing is."""
    atomic_write_bytes(path, manifest.canonical)


def _parse_manifest(values: object) -> Manifest:
    # The format is looked at first: a later format may well have other keys, and that is the better message.
    if isinstance(values, dict) and values.get("format", FORMAT) != FORMAT:
        raise ValueError(f"format {values['format']!r} is not {FORMAT!r}, the one that this lrps reads")
    named = _named(values, Manifest, "the manifest")
    if not isinstance(named["shards"], list):
        raise ValueError("'shards' of the manifest is not a list")
    named["tokenizer"] = TokenizerIdentity(**_named(named["tokenizer"], TokenizerIdentity, "the tokenizer"))
    named["shards"] = tuple(_parse_shard(shard, number) for number, shard in enumerate(named["shards"]))
    manifest = Manifest(**named)
    _check_sums(manifest)
    return manifest


def _parse_shard(values: object, number: int) -> Shard:
    named = _named(values, Shard, f"shard {number}")
    try:
        members = tuple(Member(*member) for member in named["members"])
    except TypeError:
        raise ValueError(f"shard {number}: a member is not [key, offset, tokens, crc32]") from None
    for member in members:
        if [type(value) for value in member] != [str, int, int, int] or member.offset < 0 or member.tokens < 1:
            raise ValueError(f"shard {number}: {list(member)} is not [key, offset, tokens, crc32]")
    return Shard(**named | {"members": members})


def _named(values: object, kind: type[_T], where: str) -> dict[str, Any]:
    """`values` as keyword arguments of the dataclass `kind`: all keys, no others, plain fields of the right type."""
    if not isinstance(values, dict):
        raise ValueError(f"{where} is not an object")
    wanted = {f.name: _KINDS.get(str(f.type)) for f in fields(kind)}  # type: ignore[arg-type]
    if missing := wanted.keys() - values.keys():
        raise ValueError(f"{where} has no {', '.join(sorted(missing))}")
    if unknown := values.keys() - wanted.keys():
        raise ValueError(f"{where} has keys that {FORMAT} does not know: {', '.join(sorted(unknown))}")
    for name, wanted_type in wanted.items():
        if wanted_type is not None and type(values[name]) is not wanted_type:
            raise ValueError(f"{name!r} of {where} is {values[name]!r}, not of type {wanted_type.__name__}")
        if wanted_type is int and values[name] < 0:
            raise ValueError(f"{name!r} of {where} is negative")
    return dict(values)


def _check_sums(manifest: Manifest) -> None:
    if manifest.split not in SPLITS or manifest.dtype not in ITEM_BYTES:
        raise ValueError(f"split {manifest.split!r} or dtype {manifest.dtype!r} is not of {FORMAT}")
    for shard in manifest.shards:
        if Path(shard.name).name != shard.name:
            raise ValueError(f"{shard.name!r} is not a plain file name")
        if (found := sum(member.tokens for member in shard.members)) != shard.tokens:
            raise ValueError(f"{shard.name} says {shard.tokens} tokens, its members add up to {found}")
        ends = (member.offset + member.tokens * ITEM_BYTES[manifest.dtype] for member in shard.members)
        if max(ends, default=0) > shard.bytes:
            raise ValueError(f"a member of {shard.name} ends beyond its {shard.bytes} bytes")
    if (found := sum(shard.tokens for shard in manifest.shards)) != manifest.tokens:
        raise ValueError(f"it says {manifest.tokens} tokens, its shards add up to {found}")
