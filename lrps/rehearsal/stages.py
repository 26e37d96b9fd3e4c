"""The stages of a rehearsal set, from demonstrations to candidates.

Each stage is a function of its settings and of the stage before, and has a file whose key covers both. Existing files
are read, missing ones are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import Any

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
from lrps.rehearsal.candidates import Candidate, CandidateRules, RefinedOutput
from lrps.rehearsal.demonstrations import MAKER, Prompts, drawing_order, pool_size
from lrps.rehearsal.endpoint import OpenAiGenerator
from lrps.rehearsal.generation_stage import GenerationStage, Progress, Requests
from lrps.rehearsal.generator import (
    Completion,
    Generator,
    HfGenerator,
    chat_template_sha256,
    default_device,
    document_end,
)
from lrps.rehearsal.instances import (
    BLANK_LINES,
    Instance,
    InstanceFormat,
    instance_format,
    normalized,
    parsed,
    remove_duplicates,
)
from lrps.rehearsal.model_ref import ModelRef, base_model, ensure_exported, latest_model
from lrps.rehearsal.outline import generations_of, longest_demonstration, rehearsed
from lrps.rehearsal.rules import CURRENT, FORMER, RULES, begun_rules, former_penalty
from lrps.rehearsal.sampling import PenaltyScope, Sampling
from lrps.rehearsal.screening import PairShape, Screen, screened
from lrps.rehearsal.shard_documents import ShardDocuments
from lrps.rehearsal.share import GenerationShare
from lrps.rehearsal.stage_file import StageCosts, StageFile, key_of
from lrps.rehearsal.tokenizer_files import as_begun

Watch = Callable[[str, int], AbstractContextManager[Progress]]
"""Context manager that shows the progress of a stage, from its name and its total."""


class MissingSharesError(Exception):
    """A stage of which files have not all shares yet; its argument is the stage's name."""


@dataclass
class Stages:
    """The stages of one set, each computed on first access. counts, files: those of the stages accessed so far."""

    plan: Plan
    rehearsal: Rehearsal
    data_tokenizer: DataTokenizer
    watch: Watch
    share: GenerationShare | None = None
    """Share of the generations that this process makes, of all others those that files have; None makes all."""
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
        return StageCosts(self.directory)

    @cached_property
    def rules(self) -> int:
        """The rules of the set (`lrps.rehearsal.rules`)."""
        return begun_rules(self.directory, self.synthesis)

    def _now(self, **settings: Any) -> dict[str, Any]:
        """Return settings that the former rules did not have, with the name of the current ones."""
        return {} if self.rules == FORMER else {**settings, RULES: CURRENT}

    @cached_property
    def form(self) -> InstanceFormat:
        keeps_closed = self.rules != FORMER
        return instance_format(self.synthesis, self.tokenizer, self.plan.config.data, keeps_closed=keeps_closed)

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
        """Model that writes outputs, and that embeds if a server has the base model; None if a server has it."""
        return self._exported(latest_model(self.plan, self.rehearsal))

    def _exported(self, model: ModelRef | None) -> ModelRef | None:
        if model is not None:
            ensure_exported(self.plan, model, self.rehearsal.name)
        return model

    @cached_property
    def base_identity(self) -> dict[str, Any]:
        if self.base is None:
            return _served(self.synthesis.generator)
        return as_begun(self.base.identity, "base", self.directory)

    @cached_property
    def latest_identity(self) -> dict[str, Any] | None:
        if not self.synthesis.refine:
            return None
        if self.latest is None:
            return _served(self.synthesis.latest) | ({"chat": True} if self.synthesis.chat else {})
        identity = as_begun(self.latest.identity, "latest", self.directory)
        return identity | ({"chat": chat_template_sha256(self.latest.directory)} if self.synthesis.chat else {})

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
            **self._now(fewest=self.synthesis.min_demonstrations),
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
        manifests, sources = rehearsed(self.plan, self.synthesis), self._sources()
        edges = list(accumulate((len(source) for source in sources), initial=0))
        fewest = 0 if self.rules == FORMER else self.synthesis.min_demonstrations
        size = pool_size(edges[-1], self.synthesis.demonstration_share, self.synthesis.demonstrations, fewest)
        longest = longest_demonstration(self.plan, self.synthesis)
        records: list[dict[str, Any]] = []
        for number in drawing_order(edges[-1], self.seed):
            if len(records) == size:
                break
            k = next(k for k in range(len(sources)) if number < edges[k + 1])
            document = number - edges[k]
            text = self.form.demonstration(self._text(sources[k], document), longest)
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

    def _sources(self) -> list[ShardDocuments]:
        """Return the documents of the rehearsed versions."""
        manifests, begin = rehearsed(self.plan, self.synthesis), self.data_tokenizer.begin_id
        return [ShardDocuments(m, open_files(self.plan.config.data, m.version), begin) for m in manifests]

    def _text(self, source: ShardDocuments, document: int) -> str:
        text: str = self.tokenizer.decode(source.read(document).tolist(), skip_special_tokens=False)
        return text

    def _looks_like_two(self, text: str) -> bool:
        """Return whether a demonstration contains the separator; False for pairs with a blank one: they have marks."""
        blank = self.synthesis.kind == "pairs" and not self.separator.strip()
        return bool(self.separator) and not blank and self.separator in text

    @cached_property
    def prompts(self) -> Prompts:
        """Prompts of the base model, by the number of the generation."""
        chosen, texts = self.synthesis, [record["text"] for record in self.demonstrations]
        return Prompts(texts, chosen.demonstrations, chosen.samples, self.seed, self.form, self.separator)

    def synthesis_request(self, position: int) -> tuple[str, int]:
        """Return prompt and seed of a generation, by its place in the seeded order."""
        (number,) = self.prompts.numbers(position, position + 1)
        return self.prompts.prompt(number), self.prompts.seed_of(number)

    @cached_property
    def synthesis_stage(self) -> tuple[GenerationStage, Requests]:
        """Stage in which the base model writes, and its requests."""
        chosen = self.synthesis
        total, available = generations_of(self.plan, self.rehearsal, len(self.demonstrations))
        former = self.rules == FORMER
        penalty = former_penalty(chosen) if former else chosen.penalty
        scope: PenaltyScope = "completion" if not former and self.base is not None else "all"
        sampling = Sampling(chosen.max_tokens, chosen.temperature, chosen.top_p, penalty, scope)
        file = self.file(
            "synthesis",
            demonstrations=self.files["demonstrations"].key,
            base=self.base_identity,
            task=chosen.task,
            input_mark=chosen.input_mark,
            output_mark=chosen.output_mark,
            samples=chosen.samples,
            sampling=sampling.identity,
            batch_size=chosen.batch_size,
            device=default_device() if self.base is not None else None,
            **self._now(),
        )
        stage = GenerationStage(self.open_base, sampling, chosen.batch_size, file, self.costs)
        return stage, Requests(self.synthesis_request, total, available)

    @cached_property
    def completions(self) -> list[Completion]:
        """Completions that the base model wrote."""
        completions = self._run("synthesis", *self.synthesis_stage)
        self.counts["generated"] = len(completions)
        self.counts["generated_tokens"] = sum(one.tokens for one in completions)
        return completions

    def _run(self, name: str, stage: GenerationStage, requests: Requests) -> list[Completion]:
        if self.share is None:
            with self.watch(name, requests.total) as progress:
                return stage.run(requests, progress)
        with self.watch(f"{name}, share {self.share.name}", -(-requests.total // self.share.of)) as progress:
            stage.run_share(requests, self.share, progress)
        if (completions := stage.collect(requests)) is None:
            raise MissingSharesError(name)
        return completions

    def open_base(self) -> Generator:
        """Return the base model."""
        if self.base is not None:
            return HfGenerator(self.base.directory, self.synthesis.batch_size)
        return _connect(self.synthesis.generator)

    def open_latest(self) -> Generator:
        """Return the latest model."""
        if self.latest is not None:
            return HfGenerator(self.latest.directory, self.synthesis.batch_size, chat=self.synthesis.chat)
        return _connect(self.synthesis.latest, chat=self.synthesis.chat)

    @cached_property
    def screen(self) -> Screen:
        """Rules by which instances are dropped: by the training pairs of the rehearsed versions, none for documents."""
        chosen = self.synthesis
        if self.rules == FORMER:
            return Screen()
        pairs = list(self._training_pairs()) if chosen.copies == "drop" or chosen.shape == "task" else []
        return Screen(
            frozenset(normalized(pair.input) for pair in pairs) if chosen.copies == "drop" else frozenset(),
            PairShape.of(pairs) if chosen.shape == "task" else PairShape(),
            chosen.near_duplicates,
            self.form.shingles,
        )

    def _training_pairs(self) -> Iterator[Instance]:
        for source in self._sources() if self.synthesis.kind == "pairs" else ():
            for document in range(len(source)):
                pair = self.form.training_pair(self._text(source, document))
                if pair is not None:
                    yield pair

    @property
    def _reading(self) -> dict[str, Any]:
        """Settings by which completions are read as instances, whatever their number."""
        chosen = self.synthesis
        return {
            "synthesis": self.files["synthesis"].key,
            "prefix_tokens": chosen.prefix_tokens,
            "max_pair_tokens": chosen.max_pair_tokens or self.plan.config.data.sequence_length,
            "tokenizer": self.identity.sha256,
            **self._now(near_duplicates=chosen.near_duplicates, copies=chosen.copies, shape=chosen.shape),
        }

    @cached_property
    def instances(self) -> list[Instance]:
        """Distinct instances that were parsed from the completions and pass the screen."""
        completions = self.completions
        file = self.file("instances", generations=len(completions), **self._reading)
        records = file.read()
        if records is None:
            pieces = [self.form.pieces(one.text, one.ended, self.separator) for one in completions]
            read = parsed([piece for some in pieces for piece in some])
            distinct, doubled = remove_duplicates(read.instances)
            kept, screened_out = screened(distinct, self.screen)
            dropped = dict(sorted((read.dropped + screened_out).items()))
            records = [{"dropped": dropped, "duplicates": doubled, "instances": len(kept)}, *kept]
            file.write(records)
        self.counts["parsed"] = records[0]
        return [Instance(*record) for record in records[1:]]

    @cached_property
    def refinement_stage(self) -> tuple[GenerationStage, Requests]:
        """Stage in which the latest model writes outputs, and its requests.

        More generations continue it: their instances follow those of fewer.
        """
        instances, chosen, sampling = self.instances, self.synthesis, self.refinement_sampling
        upstream = self.files["instances"].key if self.rules == FORMER else key_of(self._reading)
        file = self.file(
            "refinement",
            instances=upstream,
            latest=self.latest_identity,
            sampling=sampling.identity,
            batch_size=chosen.batch_size,
            device=default_device() if self.latest is not None else None,
            **self._now(),
        )
        stage = GenerationStage(self.open_latest, sampling, chosen.batch_size, file, self.costs)
        return stage, Requests(lambda number: (self.question(instances[number]), 0), len(instances), len(instances))

    @property
    def refinement_sampling(self) -> Sampling:
        """Sampling of the latest model, greedy; the mark of a next pair ends an output."""
        stop = () if self.rules == FORMER or self.synthesis.chat else self.form.stop
        return Sampling(self.synthesis.max_tokens, stop=stop)

    def question(self, instance: Instance) -> str:
        """Return what the latest model is asked for an instance."""
        return self.form.message(instance) if self.synthesis.chat else self.form.question(instance)

    @cached_property
    def answers(self) -> list[Completion] | None:
        """Output of the latest model for the input of each instance; None if outputs are not refined."""
        return self._run("refinement", *self.refinement_stage) if self.synthesis.refine else None

    @property
    def candidate_rules(self) -> CandidateRules:
        """Rules by which instances become candidates."""
        heldout = partial(is_heldout, share=self.plan.config.data.heldout_share, salt="lrps")
        return CandidateRules(self.form, self.screen, self.synthesis.agree, heldout)

    @cached_property
    def candidates(self) -> list[Candidate]:
        """Distinct instances with their final outputs, without those whose text is held out."""
        instances, answers = self.instances, self.answers
        upstream = self.files["instances" if answers is None else "refinement"].key
        file = self.file(
            "candidates",
            outputs=upstream,
            heldout_share=self.plan.config.data.heldout_share,
            **self._now(instances=self.files["instances"].key, agree=self.synthesis.agree),
        )
        records = file.read()
        if records is None:
            given = None if answers is None else [RefinedOutput(one.text, one.ended) for one in answers]
            counts, kept = self.candidate_rules.candidates(instances, given)
            if self.rules == FORMER:
                counts.pop("agreed", None)
            texts = map(self.form.text, kept)
            encoded = (len(self.encoder.encode([text])[0]) for text in texts)
            records = [counts, *(Candidate(*one, tokens) for one, tokens in zip(kept, encoded, strict=True))]
            file.write(records)
        self.counts["refined"] = records[0]
        return [Candidate(*record) for record in records[1:]]


def _served(server: Any) -> dict[str, Any]:
    assert isinstance(server, Endpoint)
    return {"url": redact(server.url), "model": server.model}


def _connect(server: Any, *, chat: bool = False) -> Generator:
    assert isinstance(server, Endpoint)
    return OpenAiGenerator(
        server.url,
        server.model,
        key_variable=server.key_variable,
        requests_at_once=server.requests_at_once,
        chat=chat,
    )
