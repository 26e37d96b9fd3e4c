"""The stages of a rehearsal set, from demonstrations to candidates.

Each stage is a function of its settings and of the stage before, and has a file whose key covers both. Existing files
are read, missing ones are made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from lrps.base.addresses import redact
from lrps.base.errors import GenerationError
from lrps.config.rehearsing import Endpoint, Synthesis
from lrps.config.versions import Rehearsal
from lrps.data.build.encode import Encoder
from lrps.data.cache import open_files
from lrps.data.data_tokenizer import DataTokenizer
from lrps.data.heldout import is_heldout
from lrps.data.manifest import TokenizerIdentity
from lrps.plan.plan import Plan
from lrps.rehearsal.demonstrations import MAKER, Prompts, drawing_order, pool_size
from lrps.rehearsal.endpoint import OpenAiGenerator
from lrps.rehearsal.generation_stage import GenerationStage, Progress
from lrps.rehearsal.generator import Completion, Generator, HfGenerator, default_device, document_end
from lrps.rehearsal.instances import BLANK_LINES, Instance, InstanceFormat, instance_format, remove_duplicates
from lrps.rehearsal.model_ref import ModelRef, base_model, ensure_exported, latest_model
from lrps.rehearsal.outline import generations_of, longest_demonstration, rehearsed
from lrps.rehearsal.sampling import Sampling
from lrps.rehearsal.shard_documents import ShardDocuments
from lrps.rehearsal.stage_file import StageCosts, StageFile
from lrps.rehearsal.tokenizer_files import as_begun

Watch = Callable[[str, int], AbstractContextManager[Progress]]
"""Context manager that shows the progress of a stage, from its name and its total."""


class Candidate(NamedTuple):
    """An instance that may be selected. tokens: number of its document's tokens, including the EOS token."""

    input: str
    output: str
    tokens: int

    @property
    def instance(self) -> Instance:
        return Instance(self.input, self.output)


@dataclass
class Stages:
    """The stages of one set, each computed on first access. counts, files: those of the stages accessed so far."""

    plan: Plan
    rehearsal: Rehearsal
    data_tokenizer: DataTokenizer
    watch: Watch
    counts: dict[str, Any] = field(default_factory=dict)
    files: dict[str, StageFile] = field(default_factory=dict)

    @property
    def identity(self) -> TokenizerIdentity:
        return self.data_tokenizer.identity

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The library's tokenizer, to which text that spells an EOS token is text."""
        library = self.data_tokenizer.file.library()
        library.encode_special_tokens = True
        return library

    @cached_property
    def encoder(self) -> Encoder:
        """Encoder of documents, with their EOS and BOS tokens."""
        return Encoder(self.data_tokenizer.file, self.identity.eos, self.data_tokenizer.begin_id)

    @property
    def synthesis(self) -> Synthesis:
        assert self.rehearsal.synthesis is not None
        return self.rehearsal.synthesis

    @property
    def seed(self) -> int:
        return self.plan.config.seed if self.synthesis.seed is None else self.synthesis.seed

    @property
    def directory(self) -> Path:
        return self.plan.layout.rehearsal(self.rehearsal.name)

    @property
    def costs(self) -> StageCosts:
        return StageCosts(self.directory / "costs.jsonl")

    @cached_property
    def form(self) -> InstanceFormat:
        return instance_format(self.synthesis, self.tokenizer, self.plan.config.data)

    @property
    def template(self) -> dict[str, str]:
        """The template of pairs and its task, as settings of a stage; empty where the marks of the synthesis say it."""
        template = self.plan.config.data.template
        if template is None or self.synthesis.kind != "pairs":
            return {}
        return {"template": template, "task": self.synthesis.task}

    @cached_property
    def base(self) -> ModelRef | None:
        return self._exported(base_model(self.plan, self.rehearsal))

    @cached_property
    def latest(self) -> ModelRef | None:
        """Model that writes outputs, and that embeds if a server has the base model."""
        return self._exported(latest_model(self.plan, self.rehearsal))

    def _exported(self, model: ModelRef | None) -> ModelRef | None:
        if model is not None:
            ensure_exported(self.plan, model, self.rehearsal.name)
        return model

    @cached_property
    def base_identity(self) -> dict[str, Any]:
        if self.base is not None:
            return as_begun(self.base.identity, "base", self.directory)
        assert isinstance(self.synthesis.generator, Endpoint)
        return {"url": redact(self.synthesis.generator.url), "model": self.synthesis.generator.model}

    @cached_property
    def latest_identity(self) -> dict[str, Any] | None:
        if not self.synthesis.refine or self.latest is None:
            return None
        return as_begun(self.latest.identity, "latest", self.directory)

    @cached_property
    def separator(self) -> str:
        if self.synthesis.separator is not None:
            return self.synthesis.separator
        own = (
            document_end(self.base.directory, self.data_tokenizer.begin)
            if self.base is not None and self.synthesis.kind == "documents"
            else None
        )
        return own or BLANK_LINES[self.synthesis.kind]

    def file(self, stage: str, **settings: Any) -> StageFile:
        """Return the file of a stage with these settings, and record it in `files`."""
        self.files[stage] = StageFile(self.directory, stage, {"maker": MAKER, **settings})
        return self.files[stage]

    @cached_property
    def demonstrations(self) -> list[dict[str, Any]]:
        """Records with version, document (its number in the version) and text of each demonstration."""
        manifests = rehearsed(self.plan, self.synthesis)
        file = self.file(
            "demonstrations",
            of={manifest.version: manifest.sha256 for manifest in manifests},
            kind=self.synthesis.kind,
            marks=list(self.synthesis.marks) if self.synthesis.kind == "pairs" else None,
            **self.template,
            share=self.synthesis.demonstration_share,
            longest_tokens=longest_demonstration(self.plan, self.synthesis),
            separator=self.separator,
            in_a_prompt=self.synthesis.demonstrations,
            seed=self.seed,
        )
        records = file.read()
        if records is None:
            records = self._draw()
            file.write(records)
        self.counts["demonstrations"] = len(records)
        return records

    def _draw(self) -> list[dict[str, Any]]:
        manifests = rehearsed(self.plan, self.synthesis)
        begin = self.data_tokenizer.begin_id
        sources = [ShardDocuments(m, open_files(self.plan.config.data, m.version), begin) for m in manifests]
        edges = list(accumulate((len(source) for source in sources), initial=0))
        size = pool_size(edges[-1], self.synthesis.demonstration_share, self.synthesis.demonstrations)
        longest = longest_demonstration(self.plan, self.synthesis)
        records: list[dict[str, Any]] = []
        for number in drawing_order(edges[-1], self.seed):
            if len(records) == size:
                break
            k = next(k for k in range(len(sources)) if number < edges[k + 1])
            document = number - edges[k]
            whole = self.tokenizer.decode(sources[k].read(document).tolist(), skip_special_tokens=False)
            text = self.form.demonstration(whole, longest)
            if text is not None and not self._looks_like_two(text):
                records.append({"version": manifests[k].version, "document": document, "text": text})
        if len(records) < self.synthesis.demonstrations:
            raise GenerationError(
                f"{len(records)} of {edges[-1]} documents of {', '.join(self.synthesis.of)} can be demonstrations as "
                f"{self.synthesis.kind} of up to {longest} tokens, a prompt needs {self.synthesis.demonstrations}; "
                + (
                    "check the marks in their text, or raise synthesis.demonstration_tokens"
                    if self.synthesis.kind == "pairs"
                    else f"set synthesis.separator to a text that occurs in none of them, unlike {self.separator!r}"
                )
            )
        return records

    def _looks_like_two(self, text: str) -> bool:
        """Return whether a demonstration contains the separator; False for pairs with a blank one: they have marks."""
        blank = self.synthesis.kind == "pairs" and not self.separator.strip()
        return bool(self.separator) and not blank and self.separator in text

    @cached_property
    def completions(self) -> list[Completion]:
        """Completions that the base model wrote."""
        chosen = self.synthesis
        texts = [record["text"] for record in self.demonstrations]
        prompts = Prompts(texts, chosen.demonstrations, chosen.samples, self.seed, self.form, self.separator)
        total, available = generations_of(self.plan, self.rehearsal, len(texts))
        sampling = Sampling(chosen.max_tokens, chosen.temperature, chosen.top_p, chosen.repetition_penalty)
        file = self.file(
            "synthesis",
            demonstrations=self.files["demonstrations"].key,
            base=self.base_identity,
            task=chosen.task,
            input_mark=chosen.input_mark,
            output_mark=chosen.output_mark,
            samples=chosen.samples,
            sampling=asdict(sampling),
            batch_size=chosen.batch_size,
            device=default_device() if self.base is not None else None,
        )

        def request(position: int) -> tuple[str, int]:
            (number,) = prompts.numbers(position, position + 1)
            return prompts.prompt(number), prompts.seed_of(number)

        stage = GenerationStage(self._open_base, sampling, chosen.batch_size, file, self.costs)
        with self.watch("synthesis", total) as progress:
            completions = stage.run(request, total, available, progress)
        self.counts["generated"] = total
        self.counts["generated_tokens"] = sum(one.tokens for one in completions)
        return completions

    def _open_base(self) -> Generator:
        if self.base is not None:
            return HfGenerator(self.base.directory, self.synthesis.batch_size)
        server = self.synthesis.generator
        assert isinstance(server, Endpoint)
        return OpenAiGenerator(
            server.url, server.model, key_variable=server.key_variable, requests_at_once=server.requests_at_once
        )

    @cached_property
    def instances(self) -> list[Instance]:
        """Distinct instances that were parsed from the completions."""
        completions = self.completions
        file = self.file(
            "instances",
            synthesis=self.files["synthesis"].key,
            generations=len(completions),
            prefix_tokens=self.synthesis.prefix_tokens,
            max_pair_tokens=self.synthesis.max_pair_tokens or self.plan.config.data.sequence_length,
            tokenizer=self.identity.sha256,
        )
        records = file.read()
        if records is None:
            read = [self.form.read(one.text, one.ended, self.separator) for one in completions]
            dropped = sum((found.dropped for found in read), Counter())
            distinct, doubled = remove_duplicates([one for found in read for one in found.instances])
            parsed = {"dropped": dict(sorted(dropped.items())), "duplicates": doubled, "instances": len(distinct)}
            records = [parsed, *distinct]
            file.write(records)
        self.counts["parsed"] = records[0]
        return [Instance(*record) for record in records[1:]]

    @cached_property
    def answers(self) -> list[Completion] | None:
        """Output of the latest model for the input of each instance; None if outputs are not refined."""
        if not self.synthesis.refine:
            return None
        instances = self.instances
        sampling = Sampling(self.synthesis.max_tokens)
        file = self.file(
            "refinement",
            instances=self.files["instances"].key,
            latest=self.latest_identity,
            sampling=asdict(sampling),
            batch_size=self.synthesis.batch_size,
            device=default_device(),
        )
        stage = GenerationStage(self._open_latest, sampling, self.synthesis.batch_size, file, self.costs)
        with self.watch("refinement", len(instances)) as progress:
            return stage.run(
                lambda number: (self.form.question(instances[number]), 0), len(instances), len(instances), progress
            )

    def _open_latest(self) -> Generator:
        assert self.latest is not None
        return HfGenerator(self.latest.directory, self.synthesis.batch_size)

    @cached_property
    def candidates(self) -> list[Candidate]:
        """Distinct instances with their final outputs, without those whose text is held out."""
        instances, answers = self.instances, self.answers
        share = self.plan.config.data.heldout_share
        upstream = self.files["instances" if answers is None else "refinement"].key
        file = self.file("candidates", outputs=upstream, heldout_share=share)
        records = file.read()
        if records is None:
            records = list(self._candidates(instances, answers, share))
            file.write(records)
        self.counts["refined"] = records[0]
        return [Candidate(*record) for record in records[1:]]

    def _candidates(
        self, instances: Sequence[Instance], answers: Sequence[Completion] | None, share: float
    ) -> Iterator[Any]:
        dropped = Counter[str]()
        kept = list(instances)
        if answers is not None:
            pairs = zip(instances, answers, strict=True)
            found = [self.form.answered(instance, one.text, one.ended) for instance, one in pairs]
            dropped = sum((one.dropped for one in found), Counter())
            kept = [instance for one in found for instance in one.instances]
        distinct, doubled = remove_duplicates(kept)
        texts = [(instance, self.form.text(instance)) for instance in distinct]
        trained = [(instance, text) for instance, text in texts if not is_heldout(text, share, "lrps")]
        yield {
            "dropped": dict(sorted(dropped.items())),
            "duplicates": doubled,
            "held_out": len(texts) - len(trained),
            "candidates": len(trained),
        }
        for instance, text in trained:
            yield Candidate(*instance, len(self.encoder.encode([text])[0]))
