"""`lrps run` as people use it: all paradigms on two ranks, run again, interrupted, grown by a version, spoiled."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from lrps.config.loader import load_config
from lrps.data.cache import open_files
from lrps.data.stream import TokenSource
from lrps.ledger.metrics import read_metrics
from lrps.ledger.reader import evaluations, read_ledger
from lrps.ledger.totals import total
from lrps.plan.plan import make_plan
from lrps.store.checkpoints import find
from lrps.store.layout import PathLayout
from support.preloaded import run_lrps as lrps
from support.values import tiny_values

pytestmark = pytest.mark.slow

LRPS = [sys.executable, "-m", "lrps.cli"]
PATHS = ["main", "branch-v1", "branch-v2", "straight-v1", "straight-v2", "cpt-v1", "cpt-v2"]
STEPS = {"main": 28, "branch-v1": 20, "branch-v2": 40, "straight-v2": 40, "cpt-v2": 40}


def tables(*arguments: str | Path) -> Any:
    done = lrps(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def file_states(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Every file of a directory: its bytes and when it was written."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.fixture(scope="module")
def finished(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config file of a plan of two versions that was run to its end."""
    file = tmp_path_factory.mktemp("finished") / "config.yaml"
    values = yaml.safe_load(tiny_config.read_text())
    values["launch"] |= {"threads": 1}
    file.write_text(yaml.safe_dump({**values, "runs": str(file.parent / "runs")}, sort_keys=False))
    watching = [*LRPS, "status", str(file), "--watch", "--every", "0.3", "--json"]
    with open(file.with_name("watched.jsonl"), "w") as seen, subprocess.Popen(watching, stdout=seen) as watcher:
        done = lrps("run", file)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert watcher.wait() == 0, "everything is complete"
    return file


def run_dir(file: Path) -> Path:
    return file.parent / "runs" / "tiny"


def path_of(file: Path, name: str) -> PathLayout:
    return PathLayout(run_dir(file) / name)


def test_processes_have_the_threads_of_the_config(finished: Path) -> None:
    start, *_ = read_ledger(path_of(finished, "main").ledger)
    assert start.facts["processor"]["threads"] == 1
    assert start.facts["processor"]["instructions"] == torch.backends.cpu.get_cpu_capability()


def test_everything_is_complete(finished: Path) -> None:
    status = tables("status", finished)
    assert {path["name"]: path["state"] for path in status["paths"]} == dict.fromkeys(PATHS, "complete")
    assert all(path["step"] == path["stop_step"] for path in status["paths"])
    report = (run_dir(finished) / "report" / "index.html").read_text()
    assert "path-switching" in report
    assert "<svg" in report


def test_who_watched_has_seen_it_run(finished: Path) -> None:
    lines = finished.with_name("watched.jsonl").read_text().splitlines()
    looks = [{path["name"]: path for path in json.loads(line)["paths"]} for line in lines]
    states = [list(dict.fromkeys(look[name]["state"] for look in looks)) for name in PATHS]
    course = ["planned", "running", "complete"]
    assert all(seen == [state for state in course if state in seen] for seen in states), "none seemed to have failed"
    assert any("running" in seen for seen in states)
    done = [sum(path["live_step"] for path in look.values()) for look in looks]
    assert done == sorted(done)
    paths = [path for look in looks for path in look.values()]
    assert any(path["live_step"] > path["step"] for path in paths), "it sees more than checkpoints"
    assert all(path["warning"] is None for path in paths)


def test_the_ledger_holds_what_was_planned(finished: Path) -> None:
    report = tables("report", finished)
    for paradigm in report["paradigms"].values():
        measured = paradigm["measured"]
        assert measured["total_steps"] == paradigm["total_steps"]
        assert measured["total_tokens"] == measured["spent_tokens"] == paradigm["total_tokens"]
        assert measured["spent_flops"] == paradigm["total_flops"]
        assert measured["repeated_steps"] == 0
        assert 0 < measured["training_hours"] < measured["device_hours"]
    newest = {name: paradigm["releases"][-1] for name, paradigm in report["paradigms"].items()}
    # Version 3 has shards but is not in the config: nothing is evaluated on it yet.
    assert all(set(release["heldout"]) == {"v1", "v2"} for release in newest.values())
    assert newest["path-switching"]["seen_loss"] == pytest.approx(
        sum(e["loss"] for e in newest["path-switching"]["heldout"].values()) / 2
    )


def test_a_second_run_trains_nothing(finished: Path) -> None:
    before = {name: file_states(run_dir(finished) / name) for name in PATHS}
    done = lrps("run", finished)
    assert done.returncode == 0, done.stderr
    assert "everything is trained and evaluated already" in done.stdout
    assert {name: file_states(run_dir(finished) / name) for name in PATHS} == before


@pytest.mark.parametrize("kept", [["cpt"], ["cpt", "path-switching"], ["straight"]], ids=str)
def test_paradigms_can_be_left_out_and_reordered(finished: Path, tmp_path: Path, kept: list[str]) -> None:
    values = yaml.safe_load(finished.read_text())
    paradigms = {name: values["paradigms"][name] for name in kept}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({**values, "paradigms": paradigms}, sort_keys=False))
    assert {path["state"] for path in tables("status", file)["paths"]} == {"complete"}
    where, nothing = lrps("run", file, "--dry-run").stdout.splitlines()
    assert where.startswith("# Run directory: ")
    assert "everything is trained and evaluated already" in nothing


def test_a_copied_run_explains_itself_without_its_data(finished: Path, tmp_path: Path) -> None:
    file = copied(finished, tmp_path)
    values = yaml.safe_load(file.read_text())
    values["data"]["root"] = str(tmp_path / "elsewhere")
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    assert {path["state"] for path in tables("status", file)["paths"]} == {"complete"}
    measured = tables("report", file)["paradigms"]["path-switching"]["measured"]
    assert measured["total_steps"] == 28 + 12 + 12


def test_other_heldout_rows_are_evaluated_anew(finished: Path) -> None:
    states = {
        path["name"]: path["state"] for path in tables("status", finished, "-s", "evaluation.max_rows=5")["paths"]
    }
    assert states == {"main": "complete"} | dict.fromkeys(PATHS[1:], "trained")


def test_checkpoints_are_kept_for_branch_points_and_releases_only(finished: Path) -> None:
    kept = {
        name: sorted(int(p.name.removeprefix("step-")) for p in path_of(finished, name).branch_points.iterdir())
        for name in PATHS
    }
    assert kept == {
        "main": [8, 28],
        **{name: [20] for name in ("branch-v1", "straight-v1", "cpt-v1")},
        **{name: [40] for name in ("branch-v2", "straight-v2", "cpt-v2")},
    }
    pinned = find(path_of(finished, "main"), 28).directory / "state.json"
    assert pinned.stat().st_nlink == 2, "a pin is a link, not a copy"
    assert not pinned.stat().st_mode & 0o222, "a pin is read-only"


def copied(finished: Path, into: Path) -> Path:
    """A copy of the finished run and its config that a test may change."""
    shutil.copytree(run_dir(finished), into / "runs" / "tiny")
    file = into / "config.yaml"
    values = yaml.safe_load(finished.read_text())
    file.write_text(yaml.safe_dump({**values, "runs": str(into / "runs")}, sort_keys=False))
    return file


def test_a_new_version_trains_only_what_is_new(finished: Path, tiny_config: Path, tmp_path: Path) -> None:
    file = copied(finished, tmp_path)
    values = tiny_values(tiny_config.parent, versions=3, runs=str(tmp_path / "runs"))
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    plan = tables("plan", file)
    to_do = {
        path["name"]: path["steps"] - path["done_steps"]
        for path in plan["paradigms"]["path-switching"]["paths"]
        if path["steps"] > path["done_steps"]
    }
    assert to_do == {"main": 20, "branch-v3": 12}, "the rest of v2 and the part of v3 on the main path; one branch"
    assert plan["paradigms"]["path-switching"]["steps_to_do"] == 32

    before = {name: file_states(run_dir(file) / name / "branch_points") for name in PATHS}
    crashed_before_its_pin = path_of(file, "main").branch_points / "step-00000028"
    pinned = find(path_of(file, "main"), 28).manifest
    shutil.rmtree(crashed_before_its_pin)
    before["main"] = file_states(path_of(file, "main").branch_points)
    pruned = {each["directory"]: each for each in tables("prune", file, "--damaged")["checkpoints"]}
    assert not any(each["goes"] for each in pruned.values()), "a finished run holds nothing that is not needed"
    assert pruned["main/checkpoints/step-00000028"]["reason"] == "fork of branch-v2"
    done = lrps("run", file, "--paradigm", "path-switching")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    after = {path["name"]: path for path in tables("status", file)["paths"]}
    assert {name for name, path in after.items() if path["state"] == "complete"} == {
        *("main", "branch-v1", "branch-v2", "branch-v3"),
        *("straight-v1", "cpt-v1"),  # released before v2: nothing new to evaluate them on
    }
    trained = {name: total(read_ledger(path_of(file, name).ledger)) for name in (*PATHS, "branch-v3")}
    assert (trained["main"].spent.steps, trained["main"].attempts) == (48, 2)
    assert trained["branch-v3"].spent.steps == 12
    assert trained["branch-v2"].spent.steps == 12, "evaluated on v3, not trained"
    assert trained["branch-v2"].attempts == 2
    assert trained["straight-v2"].attempts == trained["cpt-v2"].attempts == 1, "another paradigm's"
    assert find(path_of(file, "main"), 28).manifest == pinned, "pinned when the path went on"
    assert crashed_before_its_pin.is_dir()
    for name in PATHS:
        now = file_states(run_dir(file) / name / "branch_points")
        assert before[name].items() <= now.items(), "no pinned byte has changed"


def wait_for_steps(layout: PathLayout, steps: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 600
    while len(read_metrics(layout.metrics)) < steps:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "training did not begin"
        time.sleep(0.01)


def test_interrupted_and_run_again_is_the_same_run(finished: Path, tmp_path: Path) -> None:
    values = {**yaml.safe_load(finished.read_text()), "runs": str(tmp_path / "runs")}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    command = [*LRPS, "run", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for_steps(path_of(file, "main"), 3, process)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
    assert process.returncode == 75, stderr
    assert "Run the same command again to resume" in stderr
    assert "Traceback" not in stderr
    states = {path["state"] for path in tables("status", file)["paths"]}
    assert states <= {"complete", "interrupted", "planned"}, "nothing has failed"
    assert states != {"complete"}, "it was caught under way"
    assert workers_of(file) == []

    again = lrps("run", file)
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    for name in PATHS:
        path = total(read_ledger(path_of(file, name).ledger))
        assert path.repeated_steps == 0, "it saved before it stopped"
    for name, stop in STEPS.items():
        ours, theirs = path_of(file, name), path_of(finished, name)
        assert {m.step: m.loss for m in read_metrics(ours.metrics)} == {
            m.step: m.loss for m in read_metrics(theirs.metrics)
        }
        assert find(ours, stop).manifest["files"] == find(theirs, stop).manifest["files"], "bit for bit"


def workers_of(file: Path) -> list[psutil.Process]:
    """The training processes of a config, the launcher's own processes among them."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if {"train", str(file)} <= set(process.info["cmdline"] or ())
    ]


def started(finished: Path, directory: Path) -> tuple[Path, subprocess.Popen[str]]:
    """A run of path switching alone that is under way in its main path."""
    values = {**yaml.safe_load(finished.read_text()), "runs": str(directory / "runs")}
    values["paradigms"] = {"path-switching": {"alpha": 0.6}}
    file = directory / "config.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    command = [*LRPS, "run", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_steps(path_of(file, "main"), 3, process)
    return file, process


@pytest.mark.long
def test_ctrl_c_twice_ends_at_once_and_leaves_nobody(finished: Path, tmp_path: Path) -> None:
    file, process = started(finished, tmp_path)
    for worker in workers_of(file):
        worker.suspend()  # it could not save, however long it was waited for
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None, "it waits for the workers to save"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 75, stderr
    assert workers_of(file) == []


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_the_run_saves(finished: Path, tmp_path: Path, number: signal.Signals) -> None:
    file, process = started(finished, tmp_path)
    process.send_signal(number)
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == 75, stderr
    assert workers_of(file) == []
    assert {path["state"] for path in tables("status", file)["paths"]} <= {"complete", "interrupted", "planned"}


@pytest.mark.long
def test_a_launcher_that_dies_is_no_reason_to_lose_work(finished: Path, tmp_path: Path) -> None:
    file, process = started(finished, tmp_path)
    outer = next(p for p in psutil.Process(process.pid).children() if "deepspeed" in " ".join(p.cmdline()))
    outer.kill()
    _, stderr = process.communicate()
    # Workers may finish before they are asked to stop; what counts is the run directory, not the launcher.
    assert process.returncode in (0, 75), stderr
    assert workers_of(file) == []
    assert lrps("run", file).returncode == 0
    assert total(read_ledger(path_of(file, "main").ledger)).repeated_steps == 0


def test_a_killed_worker_ends_all_and_the_run_goes_on_again(finished: Path, tmp_path: Path) -> None:
    """SIGKILL leaves no time to save: the steps since the last checkpoint are repeated and booked as waste."""
    values = {**yaml.safe_load(finished.read_text()), "runs": str(tmp_path / "runs")}
    values["paradigms"] = {"path-switching": {"alpha": 0.6}}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    with subprocess.Popen(
        [*LRPS, "run", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for_steps(path_of(file, "main"), 6, process)
        next(worker for worker in workers_of(file) if "deepspeed" not in " ".join(worker.cmdline())).kill()
        _, stderr = process.communicate()
    assert process.returncode == 1, stderr
    assert stderr.index("lost another process") < stderr.index("the training processes ended with code")
    assert workers_of(file) == []
    assert tables("status", file)["paths"][0]["state"] == "failed"
    again = lrps("run", file)
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    main = total(read_ledger(path_of(file, "main").ledger))
    assert main.attempts == 2
    assert main.repeated_steps == main.spent.steps - 28 >= 0
    assert find(path_of(file, "main"), 28).manifest["files"] == find(path_of(finished, "main"), 28).manifest["files"]


def test_evaluate_fills_in_what_is_missing_and_trains_nothing(finished: Path, tmp_path: Path) -> None:
    file = copied(finished, tmp_path)
    fewer = ("-s", "evaluation.max_rows=5")
    done = lrps("evaluate", file, "branch-v1", *fewer)
    assert done.returncode == 0, done.stderr
    states = {path["name"]: path["state"] for path in tables("status", file, *fewer)["paths"]}
    assert (states["branch-v1"], states["branch-v2"]) == ("complete", "trained")
    branch = total(read_ledger(path_of(file, "branch-v1").ledger))
    assert (branch.attempts, branch.spent.steps) == (2, 12)


def test_a_released_model_has_the_losses_that_the_ledger_says(finished: Path, tmp_path: Path) -> None:
    file = copied(finished, tmp_path)
    done = lrps("export", file, "--version", "v2", "--max-shard-size", "20kB")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["branch-v2", "straight-v2", "cpt-v2"]
    plan = make_plan(load_config(file))
    for name in ("branch-v2", "straight-v2", "cpt-v2"):
        model = AutoModelForCausalLM.from_pretrained(path_of(file, name).model)
        card = (path_of(file, name).model / "README.md").read_text()
        for (step, version, _), evaluation in evaluations(read_ledger(path_of(file, name).ledger)).items():
            files = open_files(plan.config.data, version)
            source = TokenSource(plan.heldout[version].parts[0].manifest, files, sequence_length=16, seed=0)
            rows = torch.from_numpy(source.read(np.arange(evaluation.rows)).astype(np.int64))
            with torch.no_grad():
                loss = float(model(input_ids=rows, labels=rows).loss)
            assert (step, loss) == (40, pytest.approx(evaluation.loss, rel=1e-5))
            assert f"| {version} | {evaluation.loss:.4f} |" in card
            assert plan.manifests[version].sha256 in card
    assert {path["state"] for path in tables("status", file)["paths"]} == {"complete"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ((), "branch-v1 is at step 8 of 20; `lrps run` trains it first"),
        (("-s", "model.architecture.vocab_size=200"), "give model.architecture.vocab_size 257 or more"),
        (("-s", "data.tokenizer=TOKENIZER"), "give the one that made the shards"),
    ],
    ids=["not trained", "a model too small", "another tokenizer"],
)
def test_a_worker_refuses_with_the_way_out(
    finished: Path, tmp_path: Path, settings: tuple[str, ...], told: str
) -> None:
    file = copied(finished, tmp_path)
    shutil.rmtree(path_of(file, "branch-v1").directory)
    other = tmp_path / "other.json"
    other.write_text((Path(yaml.safe_load(file.read_text())["data"]["root"]) / "tokenizer.json").read_text() + " ")
    words = [word.replace("TOKENIZER", str(other)) for word in settings]
    if "vocab_size" in " ".join(words):
        words += ["-s", f"runs={tmp_path / 'fresh'}"]
    verb, name = ("train", "main") if words else ("evaluate", "branch-v1")
    done = lrps(verb, file, name, *words)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_another_plan_under_the_same_name_is_refused_before_anything_starts(finished: Path) -> None:
    done = lrps("run", finished, "-s", "seed=8")
    assert done.returncode == 2
    assert "was made by another plan" in done.stderr
    assert "`seed`: the run was begun with 7, the config says 8" in done.stderr
    assert {path["state"] for path in tables("status", finished, "-s", "seed=8")["paths"]} == {"foreign"}


def test_a_damaged_shard_stops_training_before_a_wrong_token_is_used(tiny_config: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_config.parent / "shards", tmp_path / "shards")
    shard = tmp_path / "shards" / "v1" / "v1-train-000000.tar"
    data = bytearray(shard.read_bytes())
    data[3000] ^= 1
    shard.write_bytes(data)
    values = yaml.safe_load(tiny_config.read_text())
    values["data"]["root"] = str(tmp_path / "shards")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({**values, "runs": str(tmp_path / "runs")}, sort_keys=False))
    verified = lrps("data", "verify", file)
    assert verified.returncode == 2
    assert "DAMAGED" in verified.stdout
    done = lrps("run", file)
    assert done.returncode == 2, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(r"v1-train-000000\.tar: block v1-train-000000000 is damaged", done.stderr)
    ledger = list(read_ledger(path_of(file, "main").ledger))
    assert [record.kind for record in ledger] == ["start", "failure"], "not one step was taken"
