"""Which tokens are targets under `loss: outputs`: recorded when shards are built, and marked when rows are read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lrps.base.errors import DataError
from lrps.config.models import Config
from lrps.config.pair_template import PairText, fill
from lrps.data.build.build import build_data
from lrps.data.open_source import open_source
from lrps.data.outputs import MASKED, Outputs, targets_of
from lrps.data.sources import DataSource
from lrps.data.stream import PathData
from lrps.paths.graph import Segment, SourceRange
from lrps.plan.plan import make_plan
from support.values import tiny_values

TEMPLATE = "{task}\n\nQ: {input}\nA: {output}"
PAIRS = [PairText(f"number {i} é", f"{i * i} 漢", "Square it." if i % 2 else "") for i in range(120)]
PLAIN = [f"just a text {i}" for i in range(20)]


def config(root: Path, template: str | None = TEMPLATE, loss: str = "outputs") -> Config:
    records: list[dict[str, Any]] = [pair._asdict() for pair in PAIRS]
    records[10:10] = [{"text": text} for text in PLAIN]
    (root / "v1.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (root / "v2.jsonl").write_text("".join(json.dumps({"text": text * 9}) + "\n" for text in PLAIN))
    values = tiny_values(root, 2)
    data = {**values["data"], "heldout_share": 0.2} | ({"template": template} if template else {})
    data["versions"][0]["loss"] = loss
    return Config.model_validate({**values, "data": data})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Config:
    made = config(tmp_path_factory.mktemp("outputs"))
    build_data(made)
    return made


def test_the_targets_of_every_document_are_its_output(built: Config) -> None:
    manifest = make_plan(built).manifests["v1"]
    whole = built.data.model_copy(update={"sequence_length": manifest.tokens})
    (tokens,) = open_source(DataSource.plain(manifest, 1, "outputs"), whole, seed=0).parts[0].read(np.array([0]))
    tokenizer = Tokenizer.from_file(str(built.data.tokenizer_path))
    ends = np.flatnonzero(tokens == manifest.tokenizer.eos)
    assert not np.any(tokens == ~manifest.tokenizer.eos), "the end of every output is learned"
    prompts = {pair.output: fill(TEMPLATE.removesuffix("{output}"), pair) for pair in PAIRS} | dict.fromkeys(PLAIN, "")
    found = [(~piece[piece < 0], piece[piece >= 0][:-1]) for piece in np.split(tokens, ends + 1)[:-1]]
    texts = [[tokenizer.decode(part.tolist()) for part in parts] for parts in found]
    assert len(texts) == manifest.documents > 100
    # The blank before an output is a token of its own here.
    assert [(prompts[output], output) for _, output in texts] == [(before, output) for before, output in texts]
    outputs = manifest.provenance["outputs"]
    assert outputs["tokens"] == np.count_nonzero(tokens >= 0)
    assert outputs["text_bytes"] == sum(len(output.encode()) for _, output in texts)


def test_rows_of_a_path_are_those_without_the_key_with_targets_marked(built: Config) -> None:
    plan = make_plan(built)
    parts = (SourceRange("v1", 3, 24), SourceRange("v2", 0, 12))
    sources = {name: open_source(plan.sources[name], built.data, seed=1) for name in ("v1", "v2")}
    plain = {name: open_source(replace(plan.sources[name], loss="all"), built.data, seed=1) for name in sources}
    masked, whole = (PathData([Segment(9, parts)], each, 4) for each in (sources, plain))
    assert whole.batch(0).dtype != MASKED
    for step in range(9):
        rows = masked.batch(step)
        assert rows.dtype == MASKED
        assert np.array_equal(np.where(rows < 0, ~rows, rows), whole.batch(step))
        assert np.array_equal(np.concatenate([masked.batch(step, rank, 2) for rank in range(2)]), rows)
        of_v2 = [source == "v2" for source, _, _ in masked.rows_of(step)]
        assert (targets_of(rows)[of_v2] == rows.shape[1] - 1).all(), "all tokens of another source count"
        assert not any(of_v2) or all(of_v2) or targets_of(rows)[~np.array(of_v2)].mean() < rows.shape[1] - 1


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda t: (max(t), 1, min(t), 1)), min_size=1))
def test_outputs_come_back_from_a_manifest(sizes: list[tuple[int, int, int, int]]) -> None:
    made = Outputs.of([np.array(sizes[:1]), np.array(sizes[1:]).reshape(-1, 4)])
    values = json.loads(json.dumps(made.provenance))["outputs"]
    flags = np.concatenate([np.repeat([False, True], (total - last, last)) for total, _, last, _ in sizes])
    rows = made.mask(np.arange(len(flags), dtype=np.uint16)[None], np.array([0]))
    assert np.array_equal(rows[0] >= 0, flags)
    assert values["tokens"] == flags.sum()


def test_shards_that_do_not_know_their_outputs_are_refused(tmp_path: Path) -> None:
    made = config(tmp_path, None)
    (tmp_path / "v1.jsonl").write_text("".join(json.dumps({"text": text * 9}) + "\n" for text in PLAIN))
    build_data(made)
    plan = make_plan(made)
    assert "outputs" not in plan.manifests["v1"].provenance
    with pytest.raises(DataError, match="do not say where outputs are"):
        open_source(plan.sources["v1"], made.data, seed=1)


def test_the_loss_is_part_of_the_identity_only_where_it_is_not_all(built: Config) -> None:
    sources = make_plan(built).sources
    assert sources["v1"].identity["loss"] == "outputs"
    assert sources["v2"].identity.keys() == {"manifest_sha256", "rows"}


@pytest.mark.parametrize(
    "record", [{"input": "Q: a", "output": "b"}, {"input": "a", "output": " "}, {"input": 1, "output": "b"}]
)
def test_a_pair_that_cannot_be_read_again_is_a_bad_document(record: dict[str, Any], tmp_path: Path) -> None:
    made = config(tmp_path)
    (tmp_path / "v1.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(DataError, match=r"v1.jsonl, line 1: is no pair"):
        build_data(made)
