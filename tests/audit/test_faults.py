"""Corrupted runs: the audit finds every fault and names it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.audit.run import audit_run
from lrps.ledger.reader import read_attempt, read_ledger
from lrps.ledger.records import Record, attempt_files
from lrps.plan.plan import Plan
from lrps.store.checkpoints import Checkpoint, begin, complete_checkpoints, find, fsync_and_hash, publish
from lrps.store.layout import PathLayout
from support.synthetic_run import (
    edit,
    few,
    forge,
    moved,
    position_off,
    resumed_attempt,
    rewrite,
    tokens_off,
)

# One fault each. A function corrupts the run and returns a pattern of the first difference.


def position_missing(run: Path) -> str:
    forge(find(PathLayout(run / "main"), 15), lambda identity: identity["positions"].pop("v1"))
    return r"main at step 15, v1: the checkpoint's position .* expected 20, found None"


def checkpoint_changed(run: Path) -> str:
    file = find(PathLayout(run / "main"), 15).directory / "manifest.json"
    text = file.read_text()
    file.unlink()
    file.write_text(text.replace('"tokens": 240', '"tokens": 241'))
    return r"main: the checkpoint is incomplete or was changed .*step-00000015"


def foreign_checkpoint(run: Path) -> str:
    theirs = find(PathLayout(run / "ptfs-v3"), 33).directory
    shutil.copytree(theirs, run / "branch-v3" / "checkpoints" / theirs.name, dirs_exist_ok=True)
    return r"branch-v3 at step 33: the checkpoint's `path` .* expected branch-v3, found ptfs-v3"


def unknown_checkpoint(run: Path) -> str:
    layout = PathLayout(run / "main")
    temporary = begin(layout.checkpoints, 14)
    publish(temporary, 14, {}, {**find(layout, 15).identity, "tokens": 224, "positions": {"v1": 20, "v2": 8}})
    return r"main at step 14: the ledger has no record of this checkpoint: expected one of .*, found 14"


def fork_moved(run: Path) -> str:
    def move(values: dict[str, Any]) -> None:
        path = values["path"]
        path["start"], path["stop"], path["parent"]["step"] = path["start"] + 1, path["stop"] + 1, path["start"] + 1

    edit(run / "branch-v2" / "path.json", move)
    return r"branch-v2 at step 15: .* starts from a state that no earlier one saved.*expected 16, found 15"


def fork_never_saved(run: Path) -> str:
    rewrite(
        run / "main" / "ledger",
        lambda _, record: (
            record if record.kind not in ("checkpoint", "branch-point") or record.saved_step != 15 else None
        ),
    )
    return r"main at step 15: the ledger has no record of this checkpoint|forked from main at a step that was never"


def parent_gone(run: Path) -> str:
    shutil.rmtree(run / "main")
    return r"branch-v\d at step \d+: its parent is not in the run: expected main"


def path_unreadable(run: Path) -> str:
    (run / "main" / "path.json").write_text("{")
    return r"main: cannot be read as a path .*main/path\.json"


def attempt_too_late(run: Path) -> str:
    layout, late = resumed_attempt(run)
    rewrite(layout.ledger, lambda number, record: moved(record, 30) if number >= late else record)
    return r"starts from a state that no earlier one saved: the steps before it were left out: expected \d+, found \d+"


def attempt_gone(run: Path) -> str:
    layout, late = resumed_attempt(run)
    rewrite(layout.ledger, lambda number, record: record if number >= late else None)
    return r"starts from a state that no earlier one saved"


def ledger_tokens_off(run: Path) -> str:
    def more(_: int, record: Record) -> Record:
        return record._replace(counters=replace(record.counters, tokens=record.counters.tokens + 1))

    rewrite(run / "ptfs-v3" / "ledger", more)
    return r"ptfs-v3 at step 0: .* tokens are not those of 0 steps of 16: expected 0, found 1 .*ledger/000\.jsonl"


def ledger_step_skipped(run: Path) -> str:
    rewrite(run / "ptfs-v3" / "ledger", lambda _, r: moved(r, 1) if r.kind == "heartbeat" and r.step >= 9 else r)
    return r"ptfs-v3 at step \d+: a record that counts \d+ steps from step \d+ is at another step"


def ledger_saved_without_heartbeat(run: Path) -> str:
    def one_step_earlier(_: int, record: Record) -> Record:
        earlier = {"saved_step": record.saved_step - 1} if record.kind == "checkpoint" else {}
        return record._replace(facts={**record.facts, **earlier})

    rewrite(run / "ptfs-v3" / "ledger", one_step_earlier)
    return r"ptfs-v3 at step 9: .* a state was saved at a step for which it has no heartbeat: expected .*8.*, found 7"


def ledger_line_changed(run: Path) -> str:
    file = attempt_files(run / "ptfs-v3" / "ledger")[0]
    file.write_bytes(file.read_bytes().replace(b'"loss":1.0', b'"loss":0.9', 1))
    return r"ptfs-v3: .*000\.jsonl:\d+: this line, or one before it, was changed"


def ledger_of_another_manifest(run: Path) -> str:
    def other(_: int, record: Record) -> Record:
        named = record.facts.get("manifests", {})
        return record._replace(facts={**record.facts, "manifests": named | {"v1": "f" * 64}} if named else record.facts)

    rewrite(run / "ptfs-v3" / "ledger", other)
    return r"ptfs-v3 at step 0, v1: .* a source whose `manifests` are not the path's: expected \w+, found f{64}"


def ledger_of_another_initial_state(run: Path) -> str:
    def other(_: int, record: Record) -> Record:
        started = record.kind == "start"
        return record._replace(facts={**record.facts, "initial_state": "e" * 64} if started else record.facts)

    rewrite(run / "main" / "ledger", other)
    return r"main at step 0: the ledger's `initial_state` is not the path's: expected None, found e{64}"


def ledger_of_other_rows(run: Path) -> str:
    def other(_: int, record: Record) -> Record:
        rows = record.facts.get("rows", {})
        return record._replace(facts={**record.facts, "rows": rows | {"v2": 7}} if rows else record.facts)

    rewrite(run / "ptfs-v3" / "ledger", other)
    return r"ptfs-v3 at step 0, v2: .* a source whose `rows` are not the path's: expected \d+, found 7"


def shifted(source: str, by: int) -> Callable[[dict[str, Any]], None]:
    def shift(values: dict[str, Any]) -> None:
        for part in (part for segment in values["path"]["segments"] for part in segment["parts"]):
            part["from_row"] += by * (part["source"] == source)

    return shift


def without_checkpoints(directory: Path) -> None:
    """Remove the checkpoints of a path, so that no saved state contradicts its path.json."""
    shutil.rmtree(directory / "checkpoints")
    shutil.rmtree(directory / "branch_points")


def used_twice(run: Path) -> str:
    edit(run / "branch-v2" / "path.json", shifted("v2", -3))
    without_checkpoints(run / "branch-v2")
    return r"branch-v2 at step 15, v2: 3 rows used twice in epoch 0: .* expected 10, found 7 .*branch-v2/path\.json"


def left_out(run: Path) -> str:
    edit(run / "branch-v2" / "path.json", shifted("v2", 3))
    without_checkpoints(run / "branch-v2")
    return r"branch-v2 at step 15, v2: 3 rows left out in epoch 0: .* expected 10, found 13"


def another_manifest(run: Path) -> str:
    edit(run / "branch-v2" / "path.json", lambda values: values["sources"]["v1"].update(manifest_sha256="e" * 64))
    return r"branch-v2 at step 15, v1: the attempt read a source whose `manifests` are not the path's"


def rows_everywhere(run: Path, path: str, rows: int) -> None:
    """Change a path as if it had been trained on `rows` rows of v1."""

    def other(_: int, record: Record) -> Record:
        known = record.facts.get("rows", {})
        return record._replace(facts={**record.facts, "rows": known | {"v1": rows}} if known else record.facts)

    rewrite(run / path / "ledger", other)
    edit(run / path / "path.json", lambda values: values["sources"]["v1"].update(rows=rows))


def another_epoch(run: Path) -> str:
    rows_everywhere(run, "branch-v2", 22)
    return r"branch-v2 at step 15, v1: the source has another manifest or other rows than in main: .*'rows': 21.*22"


def no_rows_known(run: Path) -> str:
    rows_everywhere(run, "ptfs-v3", 0)
    return r"ptfs-v3 at step 0, v1: the path reads a source without giving the number of its rows"


def another_batch(run: Path) -> str:
    edit(run / "ptfs-v3" / "path.json", lambda values: values["training"].update(batch_sequences=4))
    return r"ptfs-v3 at step 0: the ledger's `tokens_per_step` is not the path's: expected 32, found 16"


def another_seed(run: Path) -> str:
    edit(run / "branch-v2" / "path.json", lambda values: values["training"].update(seed=8))
    return r"branch-v2 at step \d+: the checkpoint's `training_sha256` is not what path.json gives"


def changed_rate(run: Path) -> str:
    edit(run / "main" / "path.json", lambda values: values["path"]["schedule"]["pieces"][-1].update(lr_start=0.99))
    return r"main at step \d+: trained up to this step with other values than path.json has: the learning rates "


def changed_rate_of_the_parent(run: Path) -> str:
    changed_rate(run)
    without_checkpoints(run / "main")
    rewrite(run / "main" / "ledger", without("path_digest", "digest"))
    return r"branch-v1 at step \d+: trained up to this step with other values .*: the history of its parent "


def other_start_of_the_optimizer(run: Path) -> str:
    edit(run / "branch-v2" / "path.json", lambda values: values["path"]["parent"].update(optimizer="reset"))
    return r"branch-v2 at step 15: trained up to this step with other values .*: the history of its parent "


def schedule_cut_short(run: Path) -> str:
    edit(run / "ptfs-v3" / "path.json", lambda values: values["path"]["schedule"]["pieces"].pop())
    return r"ptfs-v3 at step 33: trained up to this step with other values than path.json has: the learning rates"


def schedule_of_text(run: Path) -> str:
    edit(run / "ptfs-v3" / "path.json", lambda values: values["path"]["schedule"]["pieces"][-1].update(lr_stop="low"))
    return r"ptfs-v3: cannot be read as a path"


def rewound_by_hand_with_another_rate(run: Path) -> str:
    forge(find(PathLayout(run / "main"), 15), lambda identity: identity["path_digest"].update(rates="0" * 64))
    rewrite(run / "main" / "ledger", without("digest"))
    rewrite(run / "branch-v2" / "ledger", without("parent"))
    return r"main at step 15: trained up to this step with other values than path.json has: the learning rates "


def retrained(run: Path, *, known: bool) -> None:
    """Replace the state of main at step 15 by another one with the same identity, as if it was trained again.

    known: whether the ledger of main has a record of the new state.
    """
    layout = PathLayout(run / "main")
    for place in (layout.branch_points, layout.checkpoints):
        if (place / "step-00000015").is_dir():
            identity = find(layout, 15).identity
            temporary = begin(place, 15)
            (temporary / "state.bin").write_bytes(b"y")
            publish(temporary, 15, {"state.bin": fsync_and_hash(temporary / "state.bin")}, identity)
    digest = find(layout, 15).digest if known else None

    def record_it(_: int, record: Record) -> Record:
        new = {"digest": digest} if record.kind == "checkpoint" and record.saved_step == 15 and known else {}
        return record._replace(facts={**record.facts, **new})

    rewrite(layout.ledger, record_it)


def replaced_checkpoint(run: Path) -> str:
    retrained(run, known=False)
    return r"main at step 15: the checkpoint is not the state that the ledger has a record of: it was replaced"


def parent_trained_again(run: Path) -> str:
    retrained(run, known=True)
    return r"branch-v2 at step 15: the path was forked from another state of main .*: main was trained again.*step-0+15"


def parent_trained_again_and_pruned(run: Path) -> str:
    retrained(run, known=True)
    without_checkpoints(run / "main")
    return r"branch-v2 at step 15: the path was forked from another state of main .*main/ledger"


def without(*keys: str) -> Callable[[int, Record], Record]:
    """Return a change of records that removes facts, as those of an earlier version of lrps lack them."""
    kept = {"parent": ("path", "step")}

    def change(_: int, record: Record) -> Record:
        facts = {key: value for key, value in record.facts.items() if key not in keys or key in kept}
        if "parent" in keys and facts.get("parent"):
            facts["parent"] = {key: facts["parent"][key] for key in kept["parent"]}
        return record._replace(facts=facts)

    return change


def another_row_order(run: Path) -> str:
    edit(run / "main" / "path.json", lambda values: values["training"].update(row_order=["older", "older"]))
    return r"main: its rows were read in an order that this version of lrps lacks"


FAULTS: list[Callable[[Path], str]] = [
    *(position_off, position_missing, tokens_off, checkpoint_changed, foreign_checkpoint, unknown_checkpoint),
    *(fork_moved, fork_never_saved, parent_gone, path_unreadable, attempt_too_late, attempt_gone),
    *(ledger_tokens_off, ledger_step_skipped, ledger_saved_without_heartbeat, ledger_line_changed),
    *(ledger_of_another_manifest, ledger_of_another_initial_state, ledger_of_other_rows),
    *(used_twice, left_out, another_manifest, another_epoch, no_rows_known, another_batch, another_seed),
    *(another_row_order, changed_rate, changed_rate_of_the_parent, other_start_of_the_optimizer, schedule_cut_short),
    *(schedule_of_text, rewound_by_hand_with_another_rate, replaced_checkpoint, parent_trained_again),
    parent_trained_again_and_pruned,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_found_and_named(run: Path, fault: Callable[[Path], str]) -> None:
    pattern = fault(run)
    audit = audit_run(run)
    assert not audit.ok
    assert re.search(pattern, str(audit.differences[0]), re.DOTALL), str(audit.differences[0])


def test_a_run_of_an_earlier_version_has_no_digests_and_passes(run: Path) -> None:
    whole = audit_run(run)
    assert (whole.digests > whole.checkpoints, whole.without_digest) == (True, 0), "starts have digests too"
    for place in ("branch_points", "checkpoints"):
        for saved in (saved for found in run.glob(f"*/{place}") for saved in complete_checkpoints(found)):
            forge(saved, lambda identity: identity.pop("path_digest"))
    for ledger in run.glob("*/ledger"):
        rewrite(ledger, without("path_digest", "digest", "parent"))
    older = audit_run(run)
    assert older.differences == ()
    assert (older.digests, older.without_digest) == (0, whole.digests)


def test_a_parent_whose_state_is_not_here_is_compared_with_its_ledger_alone(run: Path) -> None:
    shutil.rmtree(run / "main" / "branch_points")
    shutil.rmtree(run / "main" / "checkpoints")
    assert audit_run(run).ok


# Random corruptions of a clean run. The audit must find each of them.


def a_checkpoint(draw: st.DrawFn, run: Path) -> Checkpoint:
    places = sorted(run.glob("*/checkpoints")) + sorted(run.glob("*/branch_points"))
    return draw(st.sampled_from([checkpoint for place in places for checkpoint in complete_checkpoints(place)]))


def a_path(draw: st.DrawFn, run: Path) -> Path:
    return draw(st.sampled_from(sorted(run.iterdir())))


def other_position(draw: st.DrawFn, run: Path) -> None:
    checkpoint, by = a_checkpoint(draw, run), draw(st.integers(1, 40))
    source = draw(st.sampled_from(sorted(checkpoint.identity["positions"])))
    old = checkpoint.identity["positions"][source]
    forge(checkpoint, lambda identity: identity["positions"].update({source: old + by}))


def other_tokens(draw: st.DrawFn, run: Path) -> None:
    by = draw(st.integers(-500, 500).filter(bool))
    forge(a_checkpoint(draw, run), lambda identity: identity.update(tokens=identity["tokens"] + by))


def other_rows_of_a_part(draw: st.DrawFn, run: Path) -> None:
    by, which = draw(st.integers(1, 40)), draw(st.integers(0, 100))

    def shift(values: dict[str, Any]) -> None:
        parts = [part for segment in values["path"]["segments"] for part in segment["parts"]]
        parts[which % len(parts)]["from_row"] += by

    edit(a_path(draw, run) / "path.json", shift)


def other_share_of_a_part(draw: st.DrawFn, run: Path) -> None:
    by, which = draw(st.integers(1, 40)), draw(st.integers(0, 100))

    def grow(values: dict[str, Any]) -> None:
        parts = [part for segment in values["path"]["segments"] for part in segment["parts"]]
        parts[which % len(parts)]["rows"] += by

    edit(a_path(draw, run) / "path.json", grow)


def other_rate(draw: st.DrawFn, run: Path) -> None:
    file, factor = a_path(draw, run) / "path.json", draw(st.floats(0.5, 2).filter(lambda factor: factor != 1))
    which, key = draw(st.integers(0, 100)), draw(st.sampled_from(["lr_start", "lr_stop"]))

    def change(values: dict[str, Any]) -> None:
        path = values["path"]
        reached = [p for p in path["schedule"]["pieces"] if p["start"] < path["stop"]]
        piece = reached[which % len(reached)]
        piece[key] = piece[key] * factor if piece[key] else factor

    edit(file, change)


def other_source(draw: st.DrawFn, run: Path) -> None:
    file = a_path(draw, run) / "path.json"
    name = draw(st.sampled_from(sorted(json.loads(file.read_text())["sources"])))
    edit(file, lambda values: values["sources"][name].update(manifest_sha256="e" * 64))


def other_counter(draw: st.DrawFn, run: Path) -> None:
    ledger, by = a_path(draw, run) / "ledger", draw(st.integers(-300, 300).filter(bool))
    chosen = draw(st.sampled_from(list(read_ledger(ledger))))

    def count(_: int, record: Record) -> Record:
        more = replace(record.counters, tokens=record.counters.tokens + by)
        return record._replace(counters=more) if record.sha256 == chosen.sha256 else record

    rewrite(ledger, count)


def other_step(draw: st.DrawFn, run: Path) -> None:
    ledger, by = a_path(draw, run) / "ledger", draw(st.integers(-20, 20).filter(bool))
    records = [record for record in read_ledger(ledger) if record.kind in ("start", "heartbeat", "checkpoint")]
    # The first record may be that of an attempt that saved nothing. Its start is part of no lineage.
    chosen = draw(st.sampled_from(records[1:]))
    rewrite(ledger, lambda _, record: moved(record, by) if record.sha256 == chosen.sha256 else record)


def attempt_left_out(draw: st.DrawFn, run: Path) -> None:
    ledger = a_path(draw, run) / "ledger"
    saved = [
        n for n, file in enumerate(attempt_files(ledger)) if any(r.kind == "checkpoint" for r in read_attempt(file))
    ]
    chosen = draw(st.sampled_from(saved))
    rewrite(ledger, lambda number, record: None if number == chosen else record)


def other_byte(draw: st.DrawFn, run: Path) -> None:
    file = draw(st.sampled_from([*attempt_files(a_path(draw, run) / "ledger")]))
    data = bytearray(file.read_bytes())
    data[draw(st.integers(0, data.index(b"\n") - 1))] ^= 1
    file.write_bytes(data)


def other_byte_of_a_checkpoint(draw: st.DrawFn, run: Path) -> None:
    file = a_checkpoint(draw, run).directory / "manifest.json"
    data = bytearray(file.read_bytes())
    data[draw(st.integers(0, len(data) - 1))] ^= 1
    file.unlink()
    file.write_bytes(data)


CORRUPTIONS = [
    *(other_position, other_tokens, other_rows_of_a_part, other_share_of_a_part, other_source),
    *(other_rate, other_counter, other_step, attempt_left_out, other_byte, other_byte_of_a_checkpoint),
]


@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=lambda corrupt: corrupt.__name__)
@given(data=st.data())
@few
def test_one_random_corruption_is_never_clean(
    clean: Plan,
    tmp_path_factory: pytest.TempPathFactory,
    corrupt: Callable[[st.DrawFn, Path], None],
    data: st.DataObject,
) -> None:
    run = tmp_path_factory.mktemp("corrupt") / "run"
    shutil.copytree(clean.layout.run_dir, run)
    corrupt(data.draw, run)
    assert not audit_run(run).ok
    shutil.rmtree(run.parent)
