"""A set from its first demonstration to its shards: exact, reproducible, never made twice, never mixed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrps.base.errors import DataError, GenerationError, LineageError
from lrps.base.locks import path_lock
from lrps.data.cache import open_files
from lrps.data.heldout import is_heldout
from lrps.data.manifest import Manifest
from lrps.ledger.reader import read_ledger
from lrps.plan.plan import Plan, make_plan
from lrps.rehearsal import rehearse as module
from lrps.rehearsal.generator import HfGenerator
from lrps.rehearsal.outline import outline
from lrps.rehearsal.rehearse import made_document, print_made, rehearse_set
from lrps.rehearsal.rules import ADDED, RULES
from lrps.rehearsal.sampling import Sampling
from lrps.rehearsal.shard_documents import ShardDocuments
from support.tokenizers import load_tokenizer

SetPlan = Callable[..., Plan]


def made(plan: Plan) -> tuple[Manifest, bytes]:
    """The set, and all bytes of its files."""
    manifest, new = rehearse_set(plan, "r", quiet=True)
    assert new
    folder = plan.config.data.root / "r"
    return manifest, b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


def again(plan: Plan) -> Plan:
    """The same config on a machine that has nothing of the set yet."""
    shutil.rmtree(plan.config.data.root / "r", ignore_errors=True)
    shutil.rmtree(plan.layout.run_dir, ignore_errors=True)
    return make_plan(plan.config)


def documents(plan: Plan) -> list[str]:
    plan = make_plan(plan.config)
    tokenizer, _ = load_tokenizer(plan.config.data.tokenizer_path)
    source = ShardDocuments(plan.manifests["r"], open_files(plan.config.data, "r"))
    return [tokenizer.decode(source.read(number).tolist()) for number in range(len(source))]


def stage(plan: Plan, name: str) -> list[Any]:
    (file,) = plan.layout.rehearsal("r").glob(f"{name}-*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()[1:]]


def test_documents_become_shards(set_plan: SetPlan, base_model: Path, latest_model: Path) -> None:
    plan = set_plan()
    manifest, _ = made(plan)
    assert make_plan(plan.config).rows["r"] == 20
    assert manifest.rows(16) >= 20
    counts = manifest.provenance["counts"]
    texts = documents(plan)
    assert len(texts) == counts["selected"] == len(set(texts))
    assert (
        counts["generated"]
        == counts["parsed"]["instances"] + sum(counts["parsed"]["dropped"].values()) + (counts["parsed"]["duplicates"])
    )
    candidates = stage(plan, "candidates")[1:]
    assert set(texts) <= {question + answer for question, answer, _ in candidates}
    assert not any(is_heldout(text, plan.config.data.heldout_share, "lrps") for text in texts)
    assert all(tokens == len((question + answer).encode()) + 1 for question, answer, tokens in candidates)
    # The outputs are the latest model's, greedy; the inputs the base model's.
    latest = HfGenerator(latest_model, 1)
    for question, answer, _ in candidates[:3]:
        (alone,) = latest.generate([question], Sampling(24), [0])
        assert alone.text.rstrip("�") == answer
    assert manifest.provenance["base"]["name"] == "base"
    assert manifest.provenance["base"] != manifest.provenance["latest"]


def test_demonstrations_come_from_the_version_alone(set_plan: SetPlan, tiny_config: Path) -> None:
    plan = set_plan(demonstration_tokens=10)
    made(plan)
    lines = (tiny_config.parent / "v1.jsonl").read_text().splitlines()
    texts = {json.loads(line)["text"] for line in lines}
    trained = [text for text in texts if not is_heldout(text, plan.config.data.heldout_share, "lrps")]
    drawn = stage(plan, "demonstrations")
    assert len(drawn) == len({each["document"] for each in drawn}) == round(0.1 * plan.manifests["v1"].documents)
    for each in drawn:
        assert any(text.startswith(each["text"]) for text in trained)
        assert len(each["text"].encode()) == 10


def test_the_base_model_samples_and_the_latest_is_greedy(set_plan: SetPlan) -> None:
    plan = set_plan(temperature=0.8, top_p=0.7, repetition_penalty=1.3)
    made(plan)

    def sampling(name: str) -> dict[str, Any]:
        (file,) = plan.layout.rehearsal("r").glob(f"{name}-*.jsonl")
        found: dict[str, Any] = json.loads(file.read_text().splitlines()[0])["made_by"]["sampling"]
        return found

    warm = {"max_new_tokens": 24, "temperature": 0.8, "top_p": 0.7, "repetition_penalty": 1.3}
    assert sampling("synthesis") == {**warm, "penalty_on": "completion"}
    assert sampling("refinement") == {**warm, "temperature": 0.0, "top_p": 1.0, "repetition_penalty": 1.0}


def test_the_same_settings_give_the_same_bytes(set_plan: SetPlan) -> None:
    plan = set_plan()
    manifest, content = made(plan)
    assert made(again(plan)) == (manifest, content)
    other = set_plan(seed=8)
    assert made(again(other))[0].shards[0].sha256 != manifest.shards[0].sha256


def test_whatever_stage_is_lost_comes_again(set_plan: SetPlan) -> None:
    """A machine that died somewhere: only what is missing is made, and to the same bytes."""
    plan = set_plan()
    _, content = made(plan)
    directory = plan.layout.rehearsal("r")
    files = sorted(file for file in directory.glob("*.jsonl") if file.name != "costs.jsonl")
    assert len(files) == 6
    for file in files:
        shutil.rmtree(plan.config.data.root / "r")
        whole = file.read_bytes()
        cut = file.name.startswith(("synthesis", "refinement"))
        if cut:
            file.write_bytes(whole[: len(whole) * 2 // 3])
        else:
            file.unlink()
        assert made(make_plan(plan.config))[1] == content, file.name
        assert file.read_bytes() == whole


def test_a_set_that_is_made_is_left_alone(set_plan: SetPlan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = set_plan()
    manifest, _ = made(plan)
    monkeypatch.setattr(module, "select_candidates", None)
    assert rehearse_set(make_plan(plan.config), "r", quiet=True) == (manifest, False)
    moved = set_plan(latest=str(tmp_path), base=str(tmp_path), batch_size=2)
    assert rehearse_set(moved, "r", quiet=True) == (manifest, False), "models and batches may be gone"
    with pytest.raises(DataError, match="r was made with other seed, top_p, and a version never changes"):
        rehearse_set(set_plan(top_p=0.5, seed=9), "r", quiet=True)


def test_other_models_are_other_settings(set_plan: SetPlan, base_model: Path, latest_model: Path) -> None:
    made(set_plan())
    with pytest.raises(DataError, match="r was made with other base, latest, and a version never changes"):
        rehearse_set(set_plan(base=str(latest_model), latest=str(base_model)), "r", quiet=True)
    server = {"url": "http://nowhere:8000/v1", "model": "theta-0"}
    with pytest.raises(DataError, match="r was made with other repetition_penalty, base, and"):
        rehearse_set(set_plan(base=None, generator=server), "r", quiet=True)


def test_both_models_are_looked_for_before_one_of_them_writes(set_plan: SetPlan) -> None:
    plan = set_plan(latest=None)
    with pytest.raises(GenerationError, match="path-switching/v1 is not trained yet"):
        rehearse_set(plan, "r", quiet=True)
    assert not list(plan.layout.rehearsal("r").glob("*.jsonl"))


def test_a_document_that_holds_the_separator_is_no_demonstration(set_plan: SetPlan) -> None:
    with pytest.raises(
        GenerationError, match=r"set synthesis.separator to a text that occurs in none of them, unlike ' '"
    ):
        rehearse_set(set_plan(separator=" ", demonstration_tokens=12), "r", quiet=True)


def test_a_second_process_is_told_what_the_first_does(set_plan: SetPlan) -> None:
    plan = set_plan()
    with path_lock(plan.layout.rehearsal("r")), pytest.raises(LineageError, match="r: is being written by process"):
        rehearse_set(plan, "r", quiet=True)


def test_changed_settings_begin_anew(set_plan: SetPlan) -> None:
    """Stages of other settings lie beside each other, and each gives what it would have given alone."""
    one, other = set_plan(), set_plan(top_p=0.9)
    alone = made(other)[1]
    again(other)
    made(one)
    shutil.rmtree(one.config.data.root / "r")
    assert made(make_plan(other.config))[1] == alone
    assert len(list(one.layout.rehearsal("r").glob("synthesis-*"))) == 2
    assert len(list(one.layout.rehearsal("r").glob("demonstrations-*"))) == 1


def test_too_few_instances_say_what_to_do_and_go_on(set_plan: SetPlan) -> None:
    plan = set_plan(generations=5)
    with pytest.raises(
        GenerationError, match=r"r: \d+ instances of 5 generations remain, (\d+) sequences of 16 tokens"
    ) as few:
        rehearse_set(plan, "r", quiet=True)
    assert "raise synthesis.generations above 5" in str(few.value)
    before = {file.name: file.read_bytes() for file in plan.layout.rehearsal("r").glob("synthesis-*")}
    more = set_plan(generations=60)
    content = made(more)[1]
    (file,) = more.layout.rehearsal("r").glob("synthesis-*")
    assert file.read_bytes().startswith(before[file.name])
    assert made(again(more))[1] == content


def test_less_of_it_takes_what_is_there(set_plan: SetPlan) -> None:
    plan = set_plan(generations=5)
    with pytest.raises(GenerationError, match=r"lower data.rehearsal.r.tokens to (\d+) or less") as few:
        rehearse_set(plan, "r", quiet=True)
    tokens = int(str(few.value).split("tokens to ")[1].split(" ")[0])
    smaller = set_plan(tokens=tokens, generations=5)
    manifest, _ = made(smaller)
    assert manifest.rows(16) * 16 == tokens


def test_without_refinement_outputs_stay(set_plan: SetPlan) -> None:
    plan = set_plan(refine=False, latest="nobody/asks", selection="random", clusters=None)
    manifest, _ = made(plan)
    assert manifest.provenance["latest"] is None
    assert manifest.provenance["embedding"] is None
    assert [one[:2] for one in stage(plan, "candidates")[1:]] == [
        one for one in stage(plan, "instances")[1:] if not is_heldout("".join(one), 0.2, "lrps")
    ]


def test_the_cost_is_booked_once(set_plan: SetPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = set_plan()
    with monkeypatch.context() as killed:  # Between the shards and the ledger.
        killed.setattr(module, "book_event", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            rehearse_set(plan, "r", quiet=True)
    for _ in range(2):
        manifest, _ = rehearse_set(make_plan(plan.config), "r", quiet=True)
    (record,) = (each for each in read_ledger(plan.layout.ledger) if each.kind == "rehearsal")
    assert record.facts["set"] == "r"
    assert record.facts["manifest_sha256"] == manifest.sha256
    spent = sum(record.facts[f"{each}_seconds"] for each in ("synthesis", "refinement", "selection"))
    assert record.counters.allocated_seconds == pytest.approx(spent)
    written = [json.loads(line) for line in (plan.layout.rehearsal("r") / "costs.jsonl").read_text().splitlines()]
    assert record.facts["tokens"] == sum(each["tokens"] for each in written) > 0


def test_the_provenance_holds_no_place_and_no_time(set_plan: SetPlan, tmp_path: Path) -> None:
    manifest, _ = made(set_plan())
    text = json.dumps(manifest.provenance)
    assert str(tmp_path) not in text
    assert manifest.provenance["of"] == {"v1": make_plan(set_plan().config).manifests["v1"].sha256}
    assert manifest.provenance["settings"]["top_p"] == 0.6
    assert manifest.provenance["settings"]["seed"] == 7
    assert set(manifest.provenance["stages"]) == {
        "demonstrations", "synthesis", "instances", "refinement", "candidates", "selection"
    }  # fmt: skip


def test_what_was_made_is_told(set_plan: SetPlan, capsys: pytest.CaptureFixture[str]) -> None:
    plan = set_plan()
    manifest, _ = made(plan)
    plan = make_plan(plan.config)
    print_made(made_document(plan, "r", manifest, made=False))
    text = capsys.readouterr().out
    assert "r: already made; nothing was generated" in text
    assert f"{manifest.documents:,} documents, {manifest.tokens:,} tokens, 20 sequences in the plan" in text


FORMER_HEADER = {
    "maker": "lrps.rehearsal/1",
    "task": "",
    "input_mark": "Input: ",
    "output_mark": "\nOutput: ",
    "samples": 3,
    "sampling": {"max_new_tokens": 24, "temperature": 0.9, "top_p": 0.6, "repetition_penalty": 1.2},
}
"""Some settings of a synthesis, as releases wrote them that penalized the tokens of the prompt."""


def headers(plan: Plan) -> dict[str, dict[str, Any]]:
    files = plan.layout.rehearsal("r").glob("*-*.jsonl")
    found = [json.loads(file.read_text().splitlines()[0]) for file in files]
    return {
        each["stage"]: each["made_by"] for each in found if "device" in each["made_by"] or each["stage"] != "synthesis"
    }


def test_a_set_that_was_begun_by_the_former_rules_continues_by_them(
    set_plan: SetPlan, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = set_plan(min_demonstrations=None)
    directory = plan.layout.rehearsal("r")
    directory.mkdir(parents=True)
    line = json.dumps({"stage": "synthesis", "key": "0", "made_by": FORMER_HEADER})
    (directory / "synthesis-0.jsonl").write_text(line + "\n")
    manifest, _ = made(plan)
    assert "r: was begun by an older release and continues by its rules" in capsys.readouterr().err
    former = headers(plan)
    assert former["synthesis"]["sampling"] == FORMER_HEADER["sampling"]
    assert not any(RULES in made_by for made_by in former.values())
    assert former["refinement"]["instances"] == manifest.provenance["stages"]["instances"]
    assert "fewest" not in former["demonstrations"]
    assert not manifest.provenance["settings"].keys() & {*ADDED, RULES}
    assert manifest.provenance["settings"]["repetition_penalty"] == 1.2
    (directory / "synthesis-0.jsonl").unlink()
    assert rehearse_set(make_plan(plan.config), "r", quiet=True) == (manifest, False), "it loads without its files too"
    with pytest.raises(DataError, match="r was made with other near_duplicates, and"):
        rehearse_set(set_plan(min_demonstrations=None, near_duplicates=0.5), "r", quiet=True)


@pytest.mark.parametrize("changes", [{"top_p": 0.7}, {"near_duplicates": 0.95}], ids=["changed", "added"])
def test_other_settings_of_the_synthesis_begin_by_the_current_rules(set_plan: SetPlan, changes: dict[str, Any]) -> None:
    plan = set_plan(**{"min_demonstrations": None, **changes})
    plan.layout.rehearsal("r").mkdir(parents=True)
    line = json.dumps({"stage": "synthesis", "key": "0", "made_by": FORMER_HEADER})
    (plan.layout.rehearsal("r") / "synthesis-0.jsonl").write_text(line + "\n")
    manifest, _ = made(plan)
    assert manifest.provenance["settings"][RULES] == 2
    assert all(headers(plan)[name][RULES] == 2 for name in ("demonstrations", "synthesis", "refinement"))


def test_more_generations_refine_only_what_is_new(set_plan: SetPlan) -> None:
    with pytest.raises(GenerationError, match="raise synthesis.generations above 20"):
        rehearse_set(set_plan(640, generations=20), "r", quiet=True)
    more = set_plan(640, generations=60)
    directory = more.layout.rehearsal("r")
    (file,) = directory.glob("refinement-*")
    before = file.read_bytes().splitlines(keepends=True)
    content = made(more)[1]
    (file,) = directory.glob("refinement-*")
    whole = 1 + (len(before) - 1) // 16 * 16  # Chunks of four batches of four.
    assert whole > 1
    assert file.read_bytes().splitlines(keepends=True)[:whole] == before[:whole]
    assert made(again(more))[1] == content


def test_sets_that_differ_in_selection_share_their_generations(set_plan: SetPlan) -> None:
    plan = set_plan()
    made(plan)
    own = plan.layout.rehearsal("r")
    other = own.parent / "s"
    own.rename(other)
    shutil.rmtree(plan.config.data.root / "r")
    random = set_plan(selection="random", clusters=None)
    made(random)
    for name in ("synthesis", "refinement"):
        (mine,), (theirs,) = own.glob(f"{name}-*"), other.glob(f"{name}-*")
        assert mine.read_bytes() == theirs.read_bytes()
    spent = [json.loads(line) for line in (own / "costs.jsonl").read_text().splitlines()]
    assert {each["stage"] for each in spent} == {"selection"}, "no model was asked again"


def test_too_few_prompts_are_found_before_anything_is_generated(
    set_plan: SetPlan, capsys: pytest.CaptureFixture[str]
) -> None:
    few: dict[str, Any] = {"demonstration_share": 1e-9, "min_demonstrations": 2}
    plan = set_plan(**few)
    with pytest.raises(
        GenerationError,
        match=r"r: about 14 instances fill its 20 sequences, but 2 demonstrations allow "
        r"only 6 generations; raise min_demonstrations, .*; or set synthesis.generations",
    ):
        rehearse_set(plan, "r", quiet=True)
    assert not list(plan.layout.rehearsal("r").glob("synthesis-*"))
    assert "allow only 6 generations" in str(outline(plan, "r").shortfall)
    with pytest.raises(GenerationError, match="of 6 generations remain"):
        rehearse_set(set_plan(**few, generations=6), "r", quiet=True)
    assert "r: about 14 instances fill its 20 sequences" in capsys.readouterr().err


def test_clusters_are_few_where_candidates_are(set_plan: SetPlan) -> None:
    plan = set_plan(clusters=1000)
    manifest, _ = made(plan)
    (file,) = plan.layout.rehearsal("r").glob("selection-*")
    candidates = manifest.provenance["counts"]["refined"]["candidates"]
    assert json.loads(file.read_text().splitlines()[0])["made_by"]["clusters"] == candidates // 5
