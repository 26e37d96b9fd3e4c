"""The plan as the terminal shows it."""

from __future__ import annotations

from cProfile import Profile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrps.base.document import to_json
from lrps.base.numbers import device_time
from lrps.costs.planned.checkpoint_interval import CheckpointInterval, ConfiguredInterval, UnknownInterval
from lrps.costs.planned.memory_forecast import MemoryForecast, memory_forecast
from lrps.costs.planned.path_plan import RowRange
from lrps.costs.planned.plan_document import plan_document
from lrps.plan.status import check_run_dir, done_steps
from lrps.report.plan_text import interval_lines, memory_table, plan_tables, print_plan, row_ranges
from support.many import many_versions

ARCHITECTURE = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 1, "vocab_size": 257}
INTERVAL = CheckpointInterval(
    devices=4,
    mtbf_hours=10.0,
    stall_seconds=2.0,
    step_seconds=3.0,
    restart_seconds=70.0,
    stall_basis="measured",
    step_basis="measured",
    restart_basis="modelled",
    young_minutes=6.32,
    every_minutes=6.3,
    every_steps=126,
    bounded_by_write=False,
    waste_share=0.0125,
    configured=None,
)


def line_of(text: str, start: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith(start)).split()


def test_plan(make: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_plan(plan_document(make()))
    text = capsys.readouterr().out
    assert line_of(text, "path-switching  ")[-2:] == ["58.0%", "145.0%"]
    assert line_of(text, "branch-v2")[1:8] == ["main", "@", "700", "v2[800:2K]", "700", "..", "1,000"]
    assert "mixed paths" not in text, "there are none"


def test_a_plan_fits_a_terminal_of_80_columns(
    make: Any, formulas: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    hardware = formulas.PRICED | {"peak_tflops": 1e-3, "memory_gb": 1, "mtbf_hours_per_device": 100}
    plan = make(hardware=hardware, model={"architecture": ARCHITECTURE})
    print_plan(plan_document(plan))
    text = capsys.readouterr().out
    # A path is not broken.
    assert max(len(line) for line in text.splitlines() if str(plan.layout.run_dir) not in line) <= 80
    assert "not shown in 80 columns: sequences; FLOPs; LR first; LR last" in text
    hours = plan.costs.of(plan.graph.by_name["main"].steps).device_hours
    assert line_of(text, "main")[-3:-1] == device_time(hours).split()


def test_mixed_paths_show_what_they_read(rehearsing: Any) -> None:
    tables = {table.title: table.texts for table in plan_tables(plan_document(rehearsing))}
    assert tables["rehearsal sets"] == (("r", "v2", "30", "1.92K"),)
    mixes = tables["tokens of the mixed paths"]
    assert ("branch-v2", "53.8K", "7.68K", "15.4K") in mixes
    assert ("cpt-v3", "115K", "12.8K", "0") in mixes


def test_of_many_ranges_the_first_and_the_last_are_shown() -> None:
    parts = [RowRange(f"v{k}", 0, 1000) for k in range(1, 6)]
    assert row_ranges(parts[:3]) == "v1[0:1K] v2[0:1K] v3[0:1K]"
    assert row_ranges(parts) == "v1[0:1K] .. v5[0:1K]"


@pytest.mark.parametrize("command", ["print", "json"])
def test_the_work_of_a_plan_grows_with_its_versions_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "400")

    def calls(versions: int) -> int:
        plan = many_versions(tmp_path, versions)
        profile = Profile()
        with profile:
            document = plan_document(plan, done_steps(plan))
            check_run_dir(plan, plan.graph.paths)
            print_plan(document) if command == "print" else to_json(document)
        return sum(entry.callcount for entry in profile.getstats())

    calls(10)  # Imports and caches are not counted.
    assert calls(150) - calls(100) < 1.1 * (calls(100) - calls(50))


def forecast(make: Any, **changes: Any) -> MemoryForecast:
    """Return a forecast for 8 rows a process on two H100, unless changed."""
    values = {
        "model": {"architecture": ARCHITECTURE},
        "batch": {"sequences": 16},
        "hardware": {"device": "H100", "devices": 2},
        "launch": {"processes": 2},
    }
    found = memory_forecast(make(**{**values, **changes}))
    assert found is not None
    return found


def advice(found: MemoryForecast) -> str:
    return memory_table(found).notes[0]


def test_memory_advises_the_largest_micro_batch(make: Any) -> None:
    assert advice(forecast(make)) == (
        "H100, 2 processes a group, ZeRO 1: batch.micro_sequences 8 is the largest that fits, "
        "with 10% of 80 GB left free."
    )
    assert "8 fits too, in fewer micro-batches a step" in advice(
        forecast(make, batch={"sequences": 16, "micro_sequences": 2})
    )
    assert advice(forecast(make, launch={"processes": 1})).startswith("H100, 1 process a group, ZeRO 1: ")
    whole = forecast(make)
    four = replace(whole.own_stage, largest_micro_sequences=4)
    assert "batch.micro_sequences 8 does not fit; take 4" in advice(replace(whole, stages={**whole.stages, 1: four}))


def test_memory_says_where_nothing_fits_or_the_device_is_not_known(make: Any) -> None:
    none = forecast(make, hardware={"device": "other", "memory_gb": 1e-6})
    assert "not even one sequence fits" in advice(none)
    table = memory_table(none)
    assert [row[0] for row in table.texts] == ["0", "1 *", "2", "3"]
    assert {row[-1] for row in table.texts} == {"none fits"}
    unknown = forecast(make, hardware={"device": "other"})
    assert "give hardware.memory_gb" in advice(unknown)
    assert {row[-1] for row in memory_table(unknown).texts} == {"n/a"}


def test_how_often_to_save() -> None:
    first, rests_on, configured = interval_lines(INTERVAL)
    assert first == (
        "A run on 4 devices fails every 10 hours. Save every 6.3 minutes: checkpoint.every_steps 126 (Daly; Young says "
        "6.32). Expected waste 1.25%."
    )
    assert rests_on == "From a stall of 2 s a save (measured), steps of 3 s (measured), restarts of 70 s (modelled)."
    assert configured.endswith("set checkpoint.every_steps.")
    own = replace(INTERVAL, bounded_by_write=True, configured=ConfiguredInterval(30.0, 0.05))
    assert "6.3 minutes, which is what writing takes: " in interval_lines(own)[0]
    assert interval_lines(own)[2] == "The config saves every 30 minutes: expected waste 5.00%."


def test_how_often_to_save_is_not_known() -> None:
    assert interval_lines(None) == []
    assert interval_lines(UnknownInterval(4, 10.0, ("hardware.peak_tflops",))) == [
        "A run on 4 devices fails every 10 hours; to say how often to save, give hardware.peak_tflops."
    ]


def test_a_version_on_which_nothing_can_be_evaluated_has_a_note(make: Any) -> None:
    document = plan_document(make())
    first, second, *rest = document.versions
    versions = (replace(first, heldout_rows=0), replace(second, heldout_rows=1), *rest)
    table = next(plan_tables(replace(document, versions=versions)))
    assert table.notes == (f"{first.name} holds out no whole sequence: all losses on it are n/a.",)
