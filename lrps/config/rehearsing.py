"""The `synthesis` section of a rehearsal set: self-synthesized rehearsal (SSR), run by `lrps rehearse`.

Huang et al., ACL 2024. The defaults are those of the paper, where it has one (docs/rehearsal.md).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lrps.base.addresses import Address
from lrps.config.pair_template import PairTemplate
from lrps.config.values import Count, Float, Int, Name, Section

Positive = Annotated[Float, Field(gt=0)]
PositiveShare = Annotated[Float, Field(gt=0, le=1)]
PAPER_PENALTY = 1.2
"""Repetition penalty of the paper."""


class Endpoint(Section):
    """A server that speaks the OpenAI completions protocol, such as vLLM or SGLang."""

    url: Address
    """Address of the server, up to and including `/v1`."""
    model: Annotated[str, Field(min_length=1)]
    """Name under which the server offers the model."""
    key_variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "OPENAI_API_KEY"
    """Name of the environment variable with the API key; without it no key is sent. Never write a key into a config."""
    requests_at_once: Annotated[Int, Field(ge=1)] = 16
    """Number of requests that wait for the server at the same time."""


class Synthesis(Section):
    """Rehearsal data written by models: the base model continues demonstrations from an earlier version, the latest
    model generates the outputs again, and a selection of the results is the set."""

    of: tuple[Name, ...]
    """Name of the version whose data is rehearsed, or several names: `of: v1`."""
    kind: Literal["documents", "pairs"] = "documents"
    """Kind of the data. `documents`: text for pre-training; its first tokens are the input, the rest the output.
    `pairs`: documents of one input and one output each, as in instruction tuning, separated by the two marks."""
    base: Annotated[str, Field(min_length=1)] | None = None
    """Base model (theta(0) in the paper), which writes instances: the directory of a Hugging Face model, or a
    release of this plan as PARADIGM/VERSION. By default model.checkpoint; if the plan trains from scratch, the
    latest model."""
    latest: Annotated[str, Field(min_length=1)] | Endpoint | None = None
    """Latest model, which generates the outputs again; a directory or a release as for `base`, or the server that
    serves it. By default the release of the version before `since` in the first path-switching paradigm, or in the
    first paradigm if there is none."""
    chat: bool = False
    """Whether the latest model is asked through its chat template (of a server: by its chat protocol), with the task
    and the input as one message. For models that were tuned on conversations; a model that was trained on the pairs of
    the version expects their marks instead."""
    generator: Literal["hf"] | Endpoint = "hf"
    """Generator of the base model: `hf` runs it on this machine, on a GPU if there is one; otherwise the server that
    serves it."""
    ratio: Positive = 0.1
    """Size of the set as a share of the sequences of `of`; the set's `tokens` takes precedence."""
    demonstrations: Annotated[Int, Field(ge=1, le=16)] = 2
    """Number of demonstrations in a prompt (the paper's K)."""
    demonstration_share: PositiveShare = 0.01
    """Share of the documents of `of` from which demonstrations are drawn."""
    min_demonstrations: Count = 20
    """Smallest number of documents from which demonstrations are drawn, if `of` has as many: 1 % of a small version
    would allow only a few different prompts."""
    demonstration_tokens: Count | None = None
    """Largest number of tokens of a demonstration: longer documents are cut, longer pairs are left out. By default the
    length at which a prompt and one more document fill data.sequence_length."""
    samples: Annotated[Int, Field(ge=1)] = 3
    """Number of generations for each ordered choice of demonstrations."""
    generations: Count | None = None
    """Total number of generations, in a seeded order of all choices and samples. By default as many as would hold three
    times the wanted tokens if they were as long as the documents of `of`. A larger number continues a smaller one."""
    temperature: Positive = 0.9
    """Temperature of the generation; higher is more varied."""
    top_p: PositiveShare = 0.6
    """Probability mass of the tokens that are sampled from."""
    repetition_penalty: Positive | None = None
    """Penalty on tokens that the completion has already, 1.2 by default. Tokens of the prompt are not penalized, since
    its marks have to be repeated. A server penalizes them too, so its default is 1, no penalty. This, `temperature` and
    `top_p` apply to the base model; the latest model is greedy."""
    max_tokens: Count = 2048
    """Largest number of tokens of one generation of either model, which also ends at the model's last position."""
    task: str = ""
    """Definition of the task, at the start of the prompts of `pairs`, and in the text of every pair if data.template
    has a place for it. Only pairs with this task are demonstrations then."""
    input_mark: str = "Input: "
    """Text before the input of a pair, as in the text of the version; data.template replaces both marks."""
    output_mark: str = "\nOutput: "
    """Text between the input and the output of a pair."""
    separator: str | None = None
    """Text between the demonstrations of a prompt. By default a blank line for pairs; for documents the EOS token of
    the base model's tokenizer, or two blank lines if a server generates."""
    prefix_tokens: Count = 32
    """Number of tokens of a document, by the tokenizer of the data, that are its input."""
    max_pair_tokens: Count | None = None
    """Largest number of tokens of a pair: longer ones are dropped. By default data.sequence_length."""
    refine: bool = True
    """Whether the latest model generates the outputs again, greedily. Without it forgetting is much worse in the
    paper."""
    agree: bool = False
    """Whether only pairs are kept whose output the latest model wrote as the base model did, but for case and blanks.
    They are fewer, and more of them are right."""
    near_duplicates: PositiveShare | None = 0.9
    """Similarity from which an instance is dropped as a near-duplicate of an earlier one: the Jaccard index of the
    sequences of five characters in their inputs, or of five words in their documents. Null keeps all but exact
    duplicates."""
    copies: Literal["drop", "keep"] = "drop"
    """Whether pairs whose input is one of the training pairs of `of` are kept. Keep them if a task has only a few
    different inputs."""
    shape: Literal["task", "any"] = "task"
    """Shape of the pairs to keep. `task`: what all training pairs of `of` have in common, which is the beginning and
    the end of inputs and of outputs, their largest length and number of lines, and the set of outputs if there are only
    a few. `any`: every pair."""
    selection: Literal["kmeans", "random"] = "kmeans"
    """Method of selection. `kmeans`: from every cluster of the embeddings its share, nearest to the centroid first.
    `random` is nearly as good in the paper and needs no embedding."""
    clusters: Annotated[Int, Field(ge=1)] = 20
    """Number of clusters of the embeddings for `selection: kmeans`, at most a fifth of the number of candidates."""
    embedding: Path | None = None
    """Directory of a Hugging Face encoder, whose last hidden states are averaged over the tokens; by default the base
    model, or the latest one if a server has that."""
    batch_size: Annotated[Int, Field(ge=1)] = 16
    """Number of prompts in one batch of a model that runs on this machine."""
    seed: Annotated[Int, Field(ge=0, lt=2**32)] | None = None
    """Seed of demonstrations and generations; by default that of the config."""

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
        self._answered()
        return self

    def _answered(self) -> None:
        """Raise ValueError for options of the latest model that have no effect, or no model to run."""
        if not self.refine and (ignored := self._changed(_OF_ANSWERS)):
            raise ValueError(f"without refine there is no {', '.join(ignored)}; leave it out, or take refine: true")
        served = self.generator != "hf" and isinstance(self.latest, Endpoint)
        if served and self.selection == "kmeans" and self.embedding is None:
            raise ValueError("embedding: servers have both models; give an encoder here, or take selection random")

    def _changed(self, keys: Collection[str]) -> list[str]:
        """Return the keys whose values differ from their defaults. (A config that was written and read again sets
        them all.)"""
        fields = type(self).model_fields
        return sorted(key for key in keys if getattr(self, key) != fields[key].default)

    @property
    def penalty(self) -> float:
        """Repetition penalty of the base model, with its default."""
        if self.repetition_penalty is not None:
            return self.repetition_penalty
        return PAPER_PENALTY if self.generator == "hf" else 1.0

    @property
    def marks(self) -> tuple[str, str]:
        """The two marks without surrounding blanks, which separate input and output in generated text."""
        return self.marked_template.marks

    @property
    def marked_template(self) -> PairTemplate:
        """The template of pairs by the two marks, where data.template is not given."""
        return PairTemplate(self.input_mark, self.output_mark)


_OF_PAIRS = {"task", "input_mark", "output_mark", "max_pair_tokens", "agree", "copies", "shape", "chat"}
_OF_DOCUMENTS = {"prefix_tokens"}
_OF_ANSWERS = {"agree", "chat"}
_OF_KMEANS = {"clusters", "embedding"}
