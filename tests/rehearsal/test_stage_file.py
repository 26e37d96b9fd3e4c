"""The file of a stage: whole chunks survive, whatever its writer died in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrps.base.errors import GenerationError
from lrps.rehearsal.stage_file import StageCosts, StageFile

RECORDS = [{"text": text, "tokens": number} for number, text in enumerate("ab\ncé漢\u2028f\"g'h")]


def grown(directory: Path, settings: dict[str, Any], chunk: int, total: int) -> StageFile:
    file = StageFile(directory, "synthesis", settings)
    there = file.resume(chunk, total)
    for start in range(len(there), total, chunk):
        file.append(RECORDS[start : start + chunk])
    return file


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, len(RECORDS)), st.integers(0, 10**6), st.binary(max_size=3))
def test_a_torn_file_goes_on_to_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, chunk: int, total: int, cut: int, torn: bytes
) -> None:
    root = tmp_path_factory.mktemp("stage")
    whole = grown(root / "whole", {}, chunk, total).path.read_bytes()
    file = grown(root / "torn", {}, chunk, total)
    header = len(whole.split(b"\n")[0]) + 1
    kept = header + cut % (len(whole) - header + 1)
    file.path.write_bytes(whole[:kept] + (torn.replace(b"\n", b"") if kept < len(whole) else b""))
    there = file.resume(chunk, total)
    assert there == RECORDS[: len(there)]
    assert len(there) == total or len(there) % chunk == 0
    assert grown(root / "torn", {}, chunk, total).resume(chunk, total) == RECORDS[:total]
    everything = [grown(root / which, {}, chunk, len(RECORDS)).path.read_bytes() for which in ("torn", "whole")]
    assert everything[0] == everything[1]


def test_other_settings_have_another_file(tmp_path: Path) -> None:
    one, other = (grown(tmp_path, {"top_p": p}, 2, 4) for p in (0.6, 0.5))
    assert one.path != other.path
    assert StageFile(tmp_path, "synthesis", {"top_p": 0.6}).resume(2, 4) == RECORDS[:4]
    assert StageFile(tmp_path, "refinement", {"top_p": 0.6}).read() is None


def test_more_go_on_where_fewer_ended(tmp_path: Path) -> None:
    grown(tmp_path / "a", {}, 2, 4)
    assert grown(tmp_path / "a", {}, 2, 9).path.read_bytes() == grown(tmp_path / "b", {}, 2, 9).path.read_bytes()
    assert StageFile(tmp_path / "a", "synthesis", {}).resume(2, 3) == RECORDS[:3]


def test_a_file_written_whole_is_read_again(tmp_path: Path) -> None:
    file = StageFile(tmp_path / "new", "candidates", {"a": [1]})
    assert file.read() is None
    file.write([["in", "out", 3], {"counts": 1}])
    assert StageFile(tmp_path / "new", "candidates", {"a": [1]}).read() == [["in", "out", 3], {"counts": 1}]


@pytest.mark.parametrize("change", [b'"a"', b'"made_by"', b"tokens"])
def test_a_changed_file_is_refused(tmp_path: Path, change: bytes) -> None:
    file = grown(tmp_path, {}, 2, 4)
    content = file.path.read_bytes()
    file.path.write_bytes(content.replace(change, b"  " + change, 1))
    assert file.path.read_bytes() != content
    with pytest.raises(GenerationError, match="was changed .*; restore it, or move it away to make it again"):
        file.resume(2, 4)


def test_costs_add_up_by_stage(tmp_path: Path) -> None:
    costs = StageCosts(tmp_path / "new")
    assert costs.ledger_facts(()) == {"tokens": 0}
    files = [
        StageFile(tmp_path, stage, {"p": p}) for stage, p in (("synthesis", 1), ("synthesis", 2), ("selection", 1))
    ]
    for file, seconds, tokens in zip([*files, files[1]], (1.5, 2.0, 4.0, 0.25), (10, 20, 0, 5), strict=True):
        costs.add(file, seconds, tokens)
    with open(costs.directory / "costs.jsonl", "a", encoding="utf-8") as lines:
        lines.write('{"stage": "synth')
    assert costs.ledger_facts({files[1].key, files[2].key}) == {
        "tokens": 35,
        "abandoned_seconds": 1.5,
        "synthesis_seconds": 2.25,
        "selection_seconds": 4.0,
    }
