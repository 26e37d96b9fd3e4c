"""Pairs from end to end: a model that has learned to spell words in capitals rehearses that; and a server writes."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lrps.base.errors import DataError, GenerationError
from lrps.config.loader import load_config
from lrps.config.models import ModelConfig
from lrps.data.build.build import build_data
from lrps.data.tokenizer import train_tokenizer
from lrps.engine.model import build_model
from lrps.plan.plan import Plan, make_plan
from lrps.rehearsal.preview import preview_set, print_preview
from lrps.rehearsal.rehearse import rehearse_set, rehearse_share
from lrps.rehearsal.share import GenerationShare
from lrps.rehearsal.show import print_shown, show_set
from support.rehearsal_models import save_model
from support.tokenizers import load_tokenizer
from support.values import config_values, tiny_values

WORDS = ("cat", "dog", "owl", "fox")
PAIRS = {f"Input: {word}\nOutput: {word.upper()}" for word in WORDS}


@pytest.fixture(scope="module")
def speller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that goes on in pairs of the four words, and ends after some."""
    root = tmp_path_factory.mktemp("speller")
    train_tokenizer(["a"], 257, root / "bytes.json")
    tokenizer, identity = load_tokenizer(root / "bytes.json")
    shape = {**config_values()["model"]["architecture"], "hidden_size": 48, "intermediate_size": 96}
    model: Any = build_model(ModelConfig(architecture={**shape, "max_position_embeddings": 128}), 1)
    optimizer, choose = torch.optim.AdamW(model.parameters(), lr=1e-2), random.Random(0)
    for _ in range(150):
        rows = []
        for _ in range(8):
            texts = choose.choices(sorted(PAIRS), k=choose.randint(1, 4))
            ids = [*tokenizer.encode("\n\n".join(texts)).ids, identity.eos]
            rows.append((ids * 96)[:96])
        tokens = torch.tensor(rows)
        loss = model(input_ids=tokens, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return save_model(root / "model", model.eval())


def plan_of(root: Path, tokens: int, **synthesis: Any) -> Plan:
    """Version 1 are pairs, some of its documents none."""
    root.mkdir(exist_ok=True)
    for version in ("v1", "v2"):
        texts = [f"{pair}{' ' * (k % 3)}" for k, pair in enumerate(sorted(PAIRS) * 25)] + ["no pair at all"] * 10
        lines = (json.dumps({"text": text}) for text in texts)
        (root / f"{version}.jsonl").write_text("\n".join(lines) + "\n")
    values = tiny_values(root, 2)
    made: dict[str, Any] = {
        "of": "v1",
        "kind": "pairs",
        "max_tokens": 40,
        "demonstration_tokens": 40,
        "max_pair_tokens": 40,
    }
    made |= {"copies": "keep", "min_demonstrations": 1}
    settings = {**made, "demonstration_share": 0.05, "batch_size": 16, "clusters": 2, "seed": 1, **synthesis}
    values["data"]["rehearsal"] = [{"name": "r", "since": "v2", "tokens": tokens, "synthesis": settings}]
    file = root / "config.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    build_data(load_config(file))
    return make_plan(load_config(file))


def read(plan: Plan, stage: str) -> list[Any]:
    (file,) = plan.layout.rehearsal("r").glob(f"{stage}-*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()[1:]]


def test_what_a_model_has_learned_is_kept(speller: Path, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, 32, base=str(speller), latest=str(speller), generations=36)
    manifest, _ = rehearse_set(plan, "r", quiet=True)
    assert all(each["text"].strip() in PAIRS for each in read(plan, "demonstrations"))
    counts = manifest.provenance["counts"]
    assert counts["parsed"]["duplicates"] > 0, "there are but four pairs"
    kept = {f"Input: {question}\nOutput: {answer}" for question, answer, _ in read(plan, "candidates")[1:]}
    assert len(kept & PAIRS) >= 2, kept
    assert manifest.documents == counts["selected"] <= len(kept)


class _Answers(BaseHTTPRequestHandler):
    """A server whose model writes pairs of words that no demonstration has, a broken one after each."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert request["prompt"].endswith("\n\nInput:"), request["prompt"]
        assert request["prompt"].startswith("Spell it.\n\nInput: ")
        words = ["abcdefghij"[(request["seed"] + k) % 10] * 3 for k in range(request.get("n", 1))]
        texts = [f" {word}\nOutput: {word.upper()}\n\nInput: and no output" for word in words]
        choices = [{"text": text, "finish_reason": "stop"} for text in texts]
        content = json.dumps({"choices": choices, "usage": {"completion_tokens": 9 * len(texts)}})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: Any) -> None:
        """Nothing: the output belongs to the tests."""


@pytest.fixture
def server() -> Iterator[str]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}/v1"
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_server_may_have_the_base_model(server: str, tmp_path: Path) -> None:
    endpoint = {"url": server, "model": "theta", "key_variable": "NO_SUCH_VARIABLE"}
    plan = plan_of(
        tmp_path,
        96,
        generator=endpoint,
        refine=False,
        selection="random",
        shape="any",
        task="Spell it.",
        generations=40,
        clusters=20,
    )
    manifest, _ = rehearse_set(plan, "r", quiet=True)
    assert manifest.provenance["base"] == {"url": server, "model": "theta"}
    assert manifest.provenance["generator"]["kind"] == "server"
    parsed = manifest.provenance["counts"]["parsed"]
    assert parsed["dropped"] == {"no pair": 36}
    assert parsed["instances"] + parsed["duplicates"] == 36
    assert {question.upper() for question, _, _ in read(plan, "candidates")[1:]} == {
        answer for _, answer, _ in read(plan, "candidates")[1:]
    }


def test_pairs_are_screened_and_counted(speller: Path, tmp_path: Path) -> None:
    """Every input that the model can write is one of training; if that is allowed, the models agree on some outputs."""
    changes: dict[str, Any] = {"base": str(speller), "latest": str(speller), "generations": 36}
    with pytest.raises(GenerationError, match="instances of 36 generations remain.*copies of training inputs: [1-9]"):
        rehearse_set(plan_of(tmp_path / "a", 32, **changes, copies="drop", shape="any"), "r", quiet=True)
    plan = plan_of(tmp_path / "b", 32, **changes, agree=True)
    manifest, _ = rehearse_set(plan, "r", quiet=True)
    refined = manifest.provenance["counts"]["refined"]
    assert refined["agreed"] >= refined["candidates"] > 0
    outputs = dict(read(plan, "instances")[1:])
    assert all(outputs[question].upper() == answer.upper() for question, answer, _ in read(plan, "candidates")[1:])


def test_a_preview_shows_what_becomes_of_generations(
    speller: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(tmp_path, 32, base=str(speller), latest=str(speller), generations=36)
    found = preview_set(plan, "r", 12)
    assert not list(plan.layout.rehearsal("r").glob("synthesis-*"))
    pieces = [piece for one in found.generations for piece in one.pieces]
    assert found.kept == sum(piece.dropped is None for piece in pieces)
    assert found.dropped.keys() == {piece.dropped for piece in pieces} - {None}
    assert "duplicate" in found.dropped
    rehearse_set(plan, "r", quiet=True)
    kept = {(piece.input, piece.refined) for piece in pieces if piece.dropped is None}
    assert kept <= {(question, answer) for question, answer, _ in read(plan, "candidates")[1:]}
    print_preview(found)
    text = capsys.readouterr().out
    assert "--- generation 12 of 12" in text
    assert re.search(r"  kept: (cat|dog|owl|fox)\n      base model:   \w+\n      latest model: \w+", text)
    assert re.search(r"r: about \d+ generations fill its 32 tokens at this rate, in \S+ hours of one process", text)


def test_a_set_that_was_made_is_shown(speller: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(tmp_path, 32, base=str(speller), latest=str(speller), generations=36)
    with pytest.raises(DataError, match="r is not made yet; run `lrps rehearse CONFIG r`"):
        show_set(plan, "r", 3)
    manifest, _ = rehearse_set(plan, "r", quiet=True)
    found = show_set(make_plan(plan.config), "r", 2)
    assert found.documents == manifest.documents
    assert len(found.shown) == 2
    outputs = {answer for _, answer in read(plan, "instances")[1:]}
    assert all(one.text.startswith("Input: ") and one.base_output in outputs for one in found.shown)
    print_shown(found)
    text = capsys.readouterr().out
    assert "r: both models wrote the same output for " in text
    assert re.search(r"r: dropped: \d+ duplicates when read", text)


@pytest.mark.slow
def test_processes_write_what_one_writes(speller: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"base": str(speller), "latest": str(speller), "generations": 36, "batch_size": 2}
    one, several = plan_of(tmp_path / "one", 32, **changes), plan_of(tmp_path / "several", 32, **changes)
    manifest, _ = rehearse_set(one, "r", quiet=True)
    assert "without --share" not in rehearse_share(several, "r", GenerationShare(0, 2), quiet=True)
    assert "without --share" not in rehearse_share(several, "r", GenerationShare(1, 2), quiet=True, processes=2)
    assert "without --share" in rehearse_share(several, "r", GenerationShare(0, 2), quiet=True), (
        "now its answers are asked for"
    )
    assert rehearse_set(several, "r", quiet=True, processes=1)[0] == manifest
