"""Versions, rehearsal and candidate sets of the data, the parts of their mixtures, and the shards of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lrps.base.addresses import Address
from lrps.config.rehearsing import Synthesis
from lrps.config.text import Texts
from lrps.config.values import Count, Epochs, Float, Name, Section


class MixturePart(Section):
    """One part of a version's mixture, with shards of its own in <data.root>/<version>.<part>."""

    text: Texts = ()
    """Text of the part, as `text` of a version."""
    url: Address | None = None
    """Address of the part's shards that were built elsewhere, as `url` of a version."""
    weight: Annotated[Float, Field(gt=0)]
    """Weight of the part in the mixture. The weights need not add up to 1: 3 and 1 are the same as 0.75 and 0.25."""
    epochs: Epochs = 1.0
    """Number of passes over the part that one epoch of the mixture may take (`4`, `2.5`). By default no sequence of
    the part is read twice."""


@dataclass(frozen=True)
class ShardSet:
    """Shards in one folder of data.root: those of a version or another set, or of one part of its mixture."""

    name: str
    """Name of the folder: <version>, or <version>.<part>."""
    version: str
    """Name of the version, rehearsal set or candidate set."""
    text: tuple[str, ...]
    """Text that the shards are made of: files, globs, directories and addresses."""
    url: str | None
    """Address of shards that were built elsewhere."""
    synthesized: bool = False
    """Whether models write the text (`lrps rehearse`)."""

    @property
    def command(self) -> str:
        """Command that makes or fetches the shards."""
        if self.synthesized:
            return f"lrps rehearse CONFIG {self.name}"
        return f"lrps data {'fetch' if self.url else 'build'} CONFIG"


class Version(Section):
    """One increment of data and the model version that is released for it."""

    name: Name
    """Name of the version and of its folder below data.root."""
    text: Texts = ()
    """Text that `lrps data build` tokenizes into this version's shards: a file, a glob, a directory (with everything
    below it) or an address that fsspec opens (hf://datasets/.., s3://.., https://..), or a list of these. Files are
    .txt, .md, .jsonl, .ndjson or .json, also compressed (.gz, .bz2, .xz, .zst, .zstd), or .parquet; each text is
    sorted."""
    url: Address | None = None
    """Address of shards that were built elsewhere: a folder, https://, s3://, gs://, hf:// or any other address that
    fsspec opens, or a command as `pipe:ssh store cat /data/v2/{name}`. `lrps data fetch` copies the manifests; each
    shard is copied to data.cache when it is first needed."""
    tokens: Count | None = None
    """Number of tokens of one epoch of the increment (`10.5B`); by default all. Required while the shards do not
    exist."""
    mixture: Annotated[dict[Name, MixturePart], Field(min_length=2)] | None = None
    """Parts that the version mixes, by name, in place of `text` or `url`: `{web: {text: [..], weight: 3}, code: {text:
    [..], weight: 1}}`. At every position each part is within 1.5 sequences of its share. `tokens` is the length of the
    mixture; by default it is the largest for which no part is read beyond its own `epochs`."""
    loss: Literal["all", "outputs"] = "all"
    """Tokens whose loss is counted, in training, in readings of the loss and in evaluation: `all`, or the `outputs` of
    instruction pairs with the EOS tokens after them, for shards that were built with data.template. All tokens are read
    and cost the same. Documents that are no pairs count whole."""
    epochs: Epochs = 1.0
    """Number of passes over these tokens (`2`, `1.5`), each in an order of its own; later passes count as replayed
    tokens. Of a rehearsal set, which is always read on from where the lineage stopped: what it counts for when several
    sets divide a share."""

    @model_validator(mode="after")
    def _parts_have_the_text(self) -> Self:
        if self.mixture and (self.text or self.url):
            raise ValueError("the parts of a mixture have the text: leave out 'text' and 'url' beside 'mixture'")
        return self

    @property
    def synthesized(self) -> bool:
        """Whether models write its text."""
        return False

    @property
    def shard_sets(self) -> tuple[ShardSet, ...]:
        """Its shards: one set, or one for each part of its mixture, in the order of their names."""
        if not self.mixture:
            return (ShardSet(self.name, self.name, self.text, self.url, self.synthesized),)
        return tuple(
            ShardSet(f"{self.name}.{name}", self.name, part.text, part.url) for name, part in self.parts.items()
        )

    @property
    def parts(self) -> dict[str, MixturePart]:
        """Parts of its mixture in the order of their names, so that their order in the config does not matter."""
        return dict(sorted((self.mixture or {}).items()))


class Rehearsal(Version):
    """A rehearsal set: data that is no increment, read by the paradigms whose `mix` has a share for it."""

    since: Name
    """First version whose mix may read the set; later versions continue where the lineage stopped reading. A set
    that is added to a trained plan must start with a version that is not trained yet."""
    synthesis: Synthesis | None = None
    """Options of self-synthesized rehearsal, in place of text or url: `lrps rehearse CONFIG SET` lets models write
    it."""

    @model_validator(mode="after")
    def _one_maker(self) -> Self:
        if self.synthesis is not None and (self.text or self.url or self.mixture):
            raise ValueError("synthesis makes the set: leave out 'text', 'url' and 'mixture', or leave out 'synthesis'")
        return self

    @property
    def synthesized(self) -> bool:
        """Whether models write its text."""
        return self.synthesis is not None


class CandidateData(Version):
    """A candidate set: data that no version and no mix reads, so that a probe can show what it is worth."""

    @model_validator(mode="after")
    def _has_no_epochs(self) -> Self:
        if self.epochs != 1:
            raise ValueError("leave out epochs: a probe reads as many sequences as its steps and its share take")
        return self
