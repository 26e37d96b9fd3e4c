"""The `data` section of a config file: versions, rehearsal sets, tokenizer, and how text becomes sequences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from lrps.config.pair_template import PairTemplate
from lrps.config.rehearsing import Synthesis
from lrps.config.text import BadDocuments, Documents
from lrps.config.values import Bytes, Float, Int, Section, Share
from lrps.config.versions import CandidateData, Rehearsal, ShardSet, Version

LONGEST_DOCUMENT = 10**9
UNKNOWN_SHARE = 0.05
"""Defaults of the limits of a document: bytes of its text, and share of unk tokens."""

_MARKS = ("input_mark", "output_mark")
"""Keys of a synthesis that data.template replaces."""


def no_version(unknown: str, names: Sequence[str]) -> str:
    """Return the sentence about a name that is no version, with the nearest one."""
    near = get_close_matches(unknown, names, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"the versions are {', '.join(names)}"
    return f"{unknown} is no version; {hint}"


class DataConfig(Section):
    """The versions of the data, in the order in which they arrive."""

    root: Path
    """Folder of the shards and manifests: <root>/<version>/<version>-train.manifest.json and -heldout.manifest.json."""
    tokenizer: Path | None = None
    """Path of a tokenizer.json; by default <root>/tokenizer.json."""
    train_vocabulary: Annotated[Int, Field(ge=257)] | None = None
    """Size of the byte-level BPE that `lrps data build` trains on the first version if there is no tokenizer. 257 means
    plain bytes and the end-of-text token. Until a version is built, a tokenizer that was trained with another size, or
    on other text, is refused; afterwards one of another size is."""
    end_token: Annotated[str, Field(min_length=1)] | None = None
    """EOS token that ends every document, in its spelling in the vocabulary. By default that of the versions that are
    built, or else `eos_token` of the tokenizer_config.json beside the tokenizer, or else `eos_token_id` of
    model.checkpoint, or else the only usual spelling in the vocabulary."""
    begin_token: Annotated[str, Field(min_length=1)] | None = None
    """BOS token that is put before every document, in its spelling in the vocabulary. By default that of the versions
    that are built, or else none: `lrps data build` and `lrps doctor` say so if the tokenizer would add one."""
    sequence_length: Annotated[Int, Field(ge=2)]
    """Number of tokens in a sequence."""
    order: Literal["full", "window"] = "full"
    """Extent of the shuffle: `full`, the whole increment; `window`, some shards at a time, for data larger than
    memory."""
    order_seed: Annotated[Int, Field(ge=0)] | None = None
    """Seed of the order of sequences, by default `seed`. Runs that differ in it alone have the same initial weights.
    The order of held-out sequences does not follow it."""
    shard_origins: tuple[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*://[^/@\s]+$")], ...] = ()
    """Schemes and hosts (`https://mirror.example.org`, `s3://bucket`) that manifests may name for their shards, beside
    that of their version's `url`. A manifest is not trusted: it must not make this machine ask other hosts."""
    heldout_share: Annotated[Float, Field(ge=0, lt=0.5)] = 0.01
    """Share of documents held out for evaluation, chosen by a hash of the text. 0: none, and every held-out loss is
    n/a. It cannot change once a version is built."""
    allow_empty_heldout: bool = False
    """Whether `lrps data build` may build a version that holds out no whole sequence; losses on it are n/a."""
    text_key: Annotated[str, Field(min_length=1)] = "text"
    """Key (JSON) or column (.parquet) of the text."""
    template: str | None = None
    """Text of instruction pairs, one for documents, demonstrations, prompts and evaluation: `"{task}\\n\\nInput:
    {input}\\nOutput: {output}"`, in which {task} may be left out. A line of a .jsonl file without `text_key` that has
    `input` and `output`, and perhaps `task`, becomes a document by it, and shards know where outputs are (`loss:
    outputs`). By default only sets of `kind: pairs` know pairs, by their marks. Shards that are built keep theirs."""
    documents: Documents = "file"
    """Extent of a document in a .txt file: the whole `file`, a paragraph that ends at a `blank-line`, or a `line`."""
    bad_documents: BadDocuments = BadDocuments()
    """Treatment of documents that cannot be read (broken JSON, no text under the key, invalid UTF-8, half surrogate
    pairs): `refuse`, or `skip`, with the limit as `{action: skip, limit: 0.001}`."""
    longest_document: Bytes = LONGEST_DOCUMENT
    """Size of the text of one document (UTF-8) beyond which `lrps data build` refuses it."""
    unknown_share: Share = UNKNOWN_SHARE
    """Largest ratio of unk tokens and of bytes that the tokenizer dropped to all tokens, in each part of the text of
    about 64 MB. The build prints both numbers, because this text is lost."""
    attention_across_documents: bool = True
    """Whether a token attends to all tokens before it in its sequence. false: only to those of its own document, and
    positions restart with each document and sequence. Only for models that support it (llama, mistral, qwen2, qwen3,
    gpt2 and most with rotary positions), which is tested before training."""
    cache: Path | None = None
    """Folder for copies of shards from a version's `url`, named by content, preferably on a local disk; by default
    <root>/cache."""
    cache_limit: Bytes | None = None
    """Size (`500GB`) beyond which the least recently used shards are removed from the cache; by default unlimited."""
    versions: tuple[Version, ...]
    """Increments, oldest first: at least one."""
    rehearsal: tuple[Rehearsal, ...] = ()
    """Rehearsal sets, which `mix: {rehearsal: 0.1}` reads."""
    candidates: tuple[CandidateData, ...] = ()
    """Candidate sets, which no version reads; `probes` name them."""

    @property
    def cache_path(self) -> Path:
        return self.cache or self.root / "cache"

    @property
    def sources(self) -> tuple[Version, ...]:
        """Everything that a path can read: the increments, then the rehearsal sets, then the candidate sets."""
        return (*self.versions, *self.rehearsal, *self.candidates)

    @property
    def shard_sets(self) -> tuple[ShardSet, ...]:
        """All sets of shards, in the order of the sources."""
        return tuple(shards for source in self.sources for shards in source.shard_sets)

    @property
    def tokenizer_path(self) -> Path:
        return self.tokenizer or self.root / "tokenizer.json"

    def pair_template(self, synthesis: Synthesis | None = None) -> PairTemplate | None:
        """Return the template of pairs: `template`, or else that of the marks of a synthesis; None without either."""
        if self.template is not None:
            return PairTemplate.parse(self.template)
        return None if synthesis is None else synthesis.marked_template

    @field_validator("template")
    @classmethod
    def _has_its_places(cls, template: str | None) -> str | None:
        if template is not None:
            PairTemplate.parse(template)
        return template

    @field_validator("versions")
    @classmethod
    def _at_least_one(cls, versions: tuple[Version, ...]) -> tuple[Version, ...]:
        if not versions:
            raise ValueError("name at least one version")
        return versions

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [version.name for version in self.sources]
        if doubled := {name for name, number in Counter(names).items() if number > 1}:
            raise ValueError(f"version names must differ: {', '.join(sorted(doubled))} appears more than once")
        # Keys in the tar files have a dash in place of the dot, and keys must be unique over all versions.
        sets = [shards.name for shards in self.shard_sets]
        keys = [name.replace(".", "-") for name in sets]
        numbers = Counter(keys)
        if alike := [name for name, key in zip(sets, keys, strict=True) if numbers[key] > 1]:
            raise ValueError(f"the shards of {' and '.join(alike)} would have the same names; rename one of them")
        return self

    @model_validator(mode="after")
    def _marks_are_those_of_the_template(self) -> Self:
        if (template := self.pair_template()) is None:
            return self
        for each in self.rehearsal:
            synthesis = each.synthesis
            if synthesis is None or synthesis.kind != "pairs" or not {*_MARKS} & synthesis.model_fields_set:
                continue
            if synthesis.marked_template.marks != template.marks:
                raise ValueError(
                    f"rehearsal.{each.name}.synthesis: input_mark and output_mark are not the marks of data.template "
                    f"({' and '.join(map(repr, template.marks))}); leave them out"
                )
        return self

    @model_validator(mode="after")
    def _rehearsal_begins_somewhere(self) -> Self:
        names = [version.name for version in self.versions]
        for rehearsal in self.rehearsal:
            if rehearsal.since not in names:
                raise ValueError(f"rehearsal.{rehearsal.name}.since: {no_version(rehearsal.since, names)}")
            for version in rehearsal.synthesis.of if rehearsal.synthesis else ():
                if version not in names:
                    raise ValueError(f"rehearsal.{rehearsal.name}.synthesis.of: {no_version(version, names)}")
                if names.index(version) >= names.index(rehearsal.since):
                    raise ValueError(
                        f"rehearsal.{rehearsal.name}.synthesis.of: {version} is no version before "
                        f"{rehearsal.since}, since which the set is read; rehearse an earlier one, or raise `since`"
                    )
        return self
