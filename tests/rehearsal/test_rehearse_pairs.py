"""Pairs from end to end: a model that has learned to spell words in capitals rehearses that; and a server writes."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lrps.config.loader import load_config
from lrps.config.models import ModelConfig
from lrps.data.build.build import build_data
from lrps.data.tokenizer import train_tokenizer
from lrps.engine.model import build_model
from lrps.plan.plan import Plan, make_plan
from lrps.rehearsal.rehearse import rehearse_set
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
    for version in ("v1", "v2"):
        texts = [f"{pair}{' ' * (k % 3)}" for k, pair in enumerate(sorted(PAIRS) * 25)] + ["no pair at all"] * 10
        lines = (json.dumps({"text": text}) for text in texts)
        (root / f"{version}.jsonl").write_text("\n".join(lines) + "\n")
    values = tiny_values(root, 2)
    made = {"of": "v1", "kind": "pairs", "max_tokens": 40, "demonstration_tokens": 40, "max_pair_tokens": 40}
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
        word = "abcdefghij"[request["seed"] % 10] * 3
        text = f" {word}\nOutput: {word.upper()}\n\nInput: and no output"
        content = json.dumps({"choices": [{"text": text, "finish_reason": "stop"}], "usage": {"completion_tokens": 9}})
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
