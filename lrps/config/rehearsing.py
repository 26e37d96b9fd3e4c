"""The `synthesis` of a rehearsal set: how `lrps rehearse` writes it, by self-synthesized rehearsal (SSR).

Huang et al., ACL 2024. The defaults are the paper's where it has one (docs/rehearsal.md).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lrps.base.addresses import Address
from lrps.config.values import Count, Float, Int, Name, Section

Positive = Annotated[Float, Field(gt=0)]
Part = Annotated[Float, Field(gt=0, le=1)]


class Endpoint(Section):
    """A server that speaks the OpenAI completions protocol, such as vLLM or SGLang, and serves the base model."""

    url: Address
    """Up to and with `/v1`."""
    model: Annotated[str, Field(min_length=1)]
    """The name under which it serves the base model."""
    key_variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "OPENAI_API_KEY"
    """The environment variable that holds the key; nothing is sent where it is not set. Keys stand in no config."""
    requests_at_once: Annotated[Int, Field(ge=1)] = 16


class Synthesis(Section):
    """Rehearsal data that models write: the base model goes on after demonstrations from an earlier version, the latest
    model writes the outputs again, and a selection of that is the set."""

    of: tuple[Name, ...]
    """The version whose data is rehearsed, or several: `of: v1`."""
    kind: Literal["documents", "pairs"] = "documents"
    """`documents`: text for pre-training; its first tokens are the input, what follows the output. `pairs`: documents
    that are one input and one output each, as in instruction tuning, told apart by the two marks."""
    base: Annotated[str, Field(min_length=1)] | None = None
    """theta(0), which writes: the directory of a Hugging Face model, or a release of this plan as PARADIGM/VERSION. By
    default model.checkpoint; where the plan trains from scratch, the latest model."""
    latest: Annotated[str, Field(min_length=1)] | None = None
    """The model that writes the outputs again: likewise. By default the release of the version before `since` in the
    first path-switching paradigm, or in the first paradigm where there is none."""
    generator: Literal["hf"] | Endpoint = "hf"
    """`hf` runs the base model in this process, on a GPU if there is one; or the address of a server. The latest model
    always runs here."""
    ratio: Positive = 0.1
    """How much is wanted, as a share of the rows of `of`; `tokens` of the set goes before it."""
    demonstrations: Annotated[Int, Field(ge=1, le=16)] = 2
    """In a prompt (the paper's K)."""
    demonstration_share: Part = 0.01
    """Share of the documents of `of` that demonstrations are drawn from; at least as many as a prompt has."""
    demonstration_tokens: Count | None = None
    """Longer documents are cut to this in prompts, longer pairs are left out; by default what lets a prompt of them and
    one more fill a row of data.sequence_length."""
    samples: Annotated[Int, Field(ge=1)] = 3
    """Generations for each ordered choice of demonstrations."""
    generations: Count | None = None
    """How many in all, in a seeded order of all choices and samples; by default as many as would hold three times the
    tokens wanted if they were as long as the documents of `of`. More of them go on where fewer ended."""
    temperature: Positive = 0.9
    top_p: Part = 0.6
    repetition_penalty: Positive = 1.2
    """These three are for the base model; the latest one is greedy."""
    max_tokens: Count = 2048
    """That one generation may have, of either model; it also ends at the model's last position."""
    task: str = ""
    """Definition of the task, which begins the prompts of `pairs`."""
    input_mark: str = "Input: "
    """What stands before the input of a pair, as it is in the text of the version."""
    output_mark: str = "\nOutput: "
    """What stands between its input and its output."""
    separator: str | None = None
    """Between the demonstrations of a prompt. By default a blank line for pairs; for documents the end mark of the base
    model's tokenizer, or two blank lines where a server generates."""
    prefix_tokens: Count = 32
    """Of a document: so many tokens, by the tokenizer of the data, are its input."""
    max_pair_tokens: Count | None = None
    """Longer pairs are dropped; by default data.sequence_length."""
    refine: bool = True
    """Let the latest model write the outputs again, greedily. Without it the paper's forgetting is much worse."""
    selection: Literal["kmeans", "random"] = "kmeans"
    """`kmeans`: from every cluster of the embeddings its share, nearest to the centroid first. `random` is nearly as
    good in the paper, and costs no embedding."""
    clusters: Annotated[Int, Field(ge=1)] = 20
    embedding: Path | None = None
    """Directory of a Hugging Face encoder; by default the base model. Its last hidden states are averaged over the
    tokens."""
    batch_size: Annotated[Int, Field(ge=1)] = 16
    """Prompts at once, where a model runs in this process."""
    seed: Annotated[Int, Field(ge=0, lt=2**32)] | None = None
    """By default that of the config."""

    @field_validator("of", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.of or len(set(self.of)) < len(self.of):
            raise ValueError("of: name a version, or several, each once")
        if not self.input_mark.strip() or not self.output_mark.strip() or self.marks[0] == self.marks[1]:
            raise ValueError("input_mark and output_mark need a visible character, and must differ")
        if self.kind == "documents" and (ignored := self._changed(_OF_PAIRS)):
            raise ValueError(f"kind documents has no {', '.join(ignored)}; leave it out, or take kind pairs")
        if self.kind == "pairs" and (ignored := self._changed(_OF_DOCUMENTS)):
            raise ValueError(f"kind pairs has no {', '.join(ignored)}; leave it out, or take kind documents")
        if self.selection == "random" and (ignored := self._changed(_OF_KMEANS)):
            raise ValueError(f"selection random has no {', '.join(ignored)}; leave it out, or take kmeans")
        if self.generator != "hf" and self.base is not None:
            raise ValueError("base: the server has the base model; leave it out, or take generator hf")
        return self

    def _changed(self, keys: Collection[str]) -> list[str]:
        """Those that are not as by default. A config that is written down and read again has them all."""
        fields = type(self).model_fields
        return sorted(key for key in keys if getattr(self, key) != fields[key].default)

    @property
    def marks(self) -> tuple[str, str]:
        """What input and output are told apart by, whatever blanks a model writes around them."""
        return self.input_mark.strip(), self.output_mark.strip()


_OF_PAIRS = {"task", "input_mark", "output_mark", "max_pair_tokens"}
_OF_DOCUMENTS = {"prefix_tokens"}
_OF_KMEANS = {"clusters", "embedding"}
