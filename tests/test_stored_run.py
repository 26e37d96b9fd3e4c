"""Stored runs of tests/stored: the program reads, reports, exports and continues them as the old version did.

The tests only use the command line, so that they do not depend on the structure of the package.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tarfile
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.cells import cell_len
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from lrps.store.marks import MARK

STORED = Path(__file__).parent / "stored"
DOCUMENTS: dict[str, dict[str, list[str]]] = json.loads((STORED / "documents.json").read_text(encoding="utf-8"))
"""plan -> file of documents/<plan> -> arguments of `lrps` whose standard output it holds."""
NOT_COMPARED = {
    "/time": "when `lrps status` looked",
    "/lrps": "the version of the program",
    "/format": "the name of the format, which the old program did not write",
}
FITTED = ("plan.txt", "status.txt", "report.txt", "ledger-show.txt")
"""Tables that show what fits the terminal, with times in the unit that fits them. Their values are in the JSON."""
HEADERS = {
    "steps, of PTFS": "steps, % of PTFS",
    "steps, of CPT": "steps, % of CPT",
    "measured device-hours": "allocated device-hours",
    "of them training": "training device-hours",
    "training time, of PTFS": "training device-hours, % of PTFS",
    "held, of PTFS": "allocated device-hours, % of PTFS",
}
"""Header in the stored Markdown and LaTeX -> header now."""
NARROW = (
    "plan small.yaml",
    "status small.yaml",
    "report small.yaml --format json",
    "compare small.yaml",
    "compare small.yaml bf16.yaml",
    "ledger show small.yaml",
    "ledger show small.yaml main",
    "ledger verify small.yaml",
    "prune small.yaml --dry-run",
    "data audit small.yaml",
    "sweep small.yaml",
    "doctor small.yaml",
)
"""Verbs whose output fits a terminal of 80 columns."""
NEXT_VERSION = {
    "small": "data.versions.3={name: v4, text: [text/v4.jsonl], tokens: 768}",
    "bf16": "data.versions.1={name: v2, text: [text/v2.jsonl], tokens: 1024}",
}
"""plan -> the version that is added to it."""
REMOVED_AND_NEW = {"small": ("branch-v2", "branch-v4"), "bf16": ("branch-v1", "branch-v2")}
"""plan -> a branch that is trained again, and the one that the added version brings."""


def lrps(directory: Path, *arguments: str | Path, columns: int = 300) -> str:
    """Run a verb in a directory and return its standard output, made for a terminal of that many columns."""
    command = [sys.executable, "-m", "lrps.cli", *map(str, arguments)]
    environment = os.environ | {"COLUMNS": str(columns)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=directory, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def read_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def read_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def differences(before: Any, now: Any, where: str = "") -> list[str]:
    """Return the places where two JSON documents differ. Keys may be added; none may be lost or change its value."""
    if where in NOT_COMPARED:
        return []
    if isinstance(before, dict) and isinstance(now, dict):
        lost = [f"{where}/{key}: lost" for key in before.keys() - now.keys()]
        return lost + [
            line for key in before.keys() & now.keys() for line in differences(before[key], now[key], f"{where}/{key}")
        ]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [line for number, pair in pairs for line in differences(*pair, f"{where}/{number}")]
    if type(before) in (int, float) and type(now) in (int, float):
        return [] if math.isclose(before, now, rel_tol=1e-9) else [f"{where}: {before} before, {now} now"]
    return [] if before == now else [f"{where}: {before!r} before, {now!r} now"]


def numbers(text: str) -> list[float]:
    """Return the numbers of a text in their order. The words around them may change."""
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?(?:e[+-]\d+)?", text)]


def csv_tables(text: str) -> list[list[list[float | str]]]:
    """Return the table of a CSV file: rows of cells, numbers as numbers."""
    return [[[_number(cell) for cell in row] for row in csv.reader(io.StringIO(text))]]


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def text_tables(text: str) -> list[list[list[str]]]:
    """Return the tables of a Markdown or LaTeX file: rows of cells, the first row with the headers as they are now."""
    lines = text.splitlines()
    if markdown := any(line.startswith("| ---") for line in lines):
        rows = [line.strip("| ").split(" | ") if line.startswith("|") else [] for line in lines]
    else:
        rows = [line.removesuffix(r" \\").replace("\\%", "%").split(" & ") if " & " in line else [] for line in lines]
    found = [list(group) for filled, group in groupby(rows, key=bool) if filled]
    if not markdown:  # a rule of LaTeX is a line of its own between the headers and the rows
        found = [[head, *body] for (head,), body in zip(found[::2], found[1::2], strict=True)]
    return [[[HEADERS.get(header, header) for header in head], *body] for head, *body in found]


def check_same(before: str, now: str, name: str) -> None:
    if name.endswith(".json"):
        assert differences(json.loads(before), json.loads(now)) == []
    elif name.endswith((".csv", ".md", ".tex")):
        tables = csv_tables if name.endswith(".csv") else text_tables
        assert tables(before)
        assert differences(tables(before), tables(now)) == []
    else:
        assert numbers(now) == pytest.approx(numbers(before), rel=1e-9)


def files_of(directory: Path) -> dict[str, bytes]:
    """Return the content of every file of a directory."""
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the stored files that a test may change."""
    return shutil.copytree(STORED, tmp_path / "copy")


@pytest.mark.parametrize(
    ("plan", "name"), [(plan, name) for plan in DOCUMENTS for name in DOCUMENTS[plan] if name not in FITTED]
)
def test_a_document_says_what_it_said(copy: Path, plan: str, name: str) -> None:
    before = (STORED / "documents" / plan / name).read_text(encoding="utf-8")
    check_same(before, lrps(copy, *DOCUMENTS[plan][name]), name)


@pytest.mark.parametrize("plan", DOCUMENTS)
def test_the_files_of_the_report_say_what_they_said(copy: Path, plan: str) -> None:
    report = copy / "runs" / plan / "report"
    before = files_of(report)
    shutil.rmtree(report)
    lrps(copy, "report", f"{plan}.yaml", "--format", "html,json,md,csv,tex")
    for name, content in before.items():
        check_same(content.decode(), (report / name).read_text(encoding="utf-8"), name)


@pytest.mark.parametrize("arguments", NARROW)
def test_the_terminal_fits_80_columns(copy: Path, arguments: str) -> None:
    lines = lrps(copy, *arguments.split(), columns=80).splitlines()
    assert len(lines) > 3
    assert [line for line in lines if cell_len(line) > 80 and " " in line.strip()] == [], "no path is broken"


@pytest.mark.parametrize("plan", DOCUMENTS)
def test_a_finished_run_has_nothing_to_do_and_is_not_touched(copy: Path, plan: str) -> None:
    lrps(copy, "run", f"{plan}.yaml")
    before, now = (files_of(root / "runs" / plan) for root in (STORED, copy))
    assert differences(json.loads(before.pop("plan.json")), json.loads(now["plan.json"])) == []
    of_paths = {name: content for name, content in before.items() if not name.startswith("report/")}
    assert {name: now[name] for name in of_paths} == of_paths


def test_the_same_text_gives_the_same_shards(copy: Path) -> None:
    for source in ("v2", "older"):
        shutil.rmtree(copy / "shards" / source)
    lrps(copy, "data", "build", "small.yaml")
    assert files_of(copy / "shards") == files_of(STORED / "shards")


def evaluations(plan: str, path: str) -> dict[str, float]:
    """Return the stored losses of a path by held-out version."""
    files = (STORED / "runs" / plan / path / "ledger").iterdir()
    facts = [line["facts"] for file in files for line in read_lines(file) if line["kind"] == "evaluation"]
    return {each["heldout"]: each["loss"] for each in facts}


def heldout_sequences(version: str) -> torch.Tensor:
    """Return the held-out sequences of a version, 16 tokens each, read from the shard without the program."""
    with tarfile.open(STORED / "shards" / version / f"{version}-heldout-000000.tar") as shard:
        block = shard.extractfile(f"{version}-heldout-000000000.tokens.npy")
        assert block is not None
        tokens = np.load(io.BytesIO(block.read()))
    return torch.from_numpy(tokens[: len(tokens) // 16 * 16].reshape(-1, 16).astype(np.int64))


@pytest.mark.parametrize("path", ["branch-v3", "cpt-v3"])
def test_an_exported_model_has_the_losses_of_the_ledger(copy: Path, path: str) -> None:
    lrps(copy, "export", "small.yaml", path, "--out", "model")
    model = AutoModelForCausalLM.from_pretrained(copy / "model")
    losses = evaluations("small", path)
    assert losses.keys() == {"v1", "v2", "v3"}
    for version, loss in losses.items():
        rows = heldout_sequences(version)
        with torch.no_grad():
            assert float(model(input_ids=rows, labels=rows).loss) == pytest.approx(loss, rel=1e-5)


def test_an_export_is_the_stored_one(copy: Path) -> None:
    lrps(copy, "export", "small.yaml", "branch-v3", "--out", "again")
    before, now = STORED / "runs" / "small" / "branch-v3" / "model", copy / "again"
    old, new = (load_file(model / "model.safetensors") for model in (before, now))
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)
    # The hashes of its files are left out: other versions of transformers write other configs.
    facts = [{**read_json(model / "lrps.json"), "files": None} for model in (before, now)]
    assert differences(*facts) == []


@pytest.mark.slow
@pytest.mark.parametrize(("plan", "tolerance"), [("small", 1e-4), pytest.param("bf16", 1e-2, marks=pytest.mark.long)])
def test_a_new_version_continues_the_run(copy: Path, plan: str, tolerance: float) -> None:
    """The main path resumes, a branch forks from it, and a removed branch is trained again as it was."""
    run, before, removed, new = copy / "runs" / plan, STORED / "runs" / plan, *REMOVED_AND_NEW[plan]
    shutil.rmtree(run / removed)
    version = ("--set", NEXT_VERSION[plan], "--set", "data.heldout_share=0.2")
    lrps(copy, "data", "build", "small.yaml", *(version if plan == "small" else ()))
    lrps(copy, "run", f"{plan}.yaml", *version, "--paradigm", "path-switching")

    states = {
        path["name"]: path for path in json.loads(lrps(copy, "status", f"{plan}.yaml", *version, "--json"))["paths"]
    }
    assert {states[name]["state"] for name in ("main", removed, new)} == {"complete"}
    assert states[new]["parent"] == {"path": "main", "step": states["main"]["stop_step"]}

    old, now = files_of(before), files_of(run)
    changing = ("plan.json", "report/", "main/path.json", "main/metrics.jsonl", "main/checkpoints/", f"{removed}/")
    kept = {name: content for name, content in old.items() if not name.startswith(changing)}
    # A version that is evaluated on the new held-out set gets a line more.
    longer = {name for name in kept if name.endswith("/metrics.jsonl")}
    assert all(now[name].startswith(kept[name]) for name in longer)
    assert {name: now.get(name) for name in kept.keys() - longer} == {name: kept[name] for name in kept.keys() - longer}
    check_resumed(before / "main", run / "main")

    stored = read_json(before / removed / "path.json")
    again, first = (read_json(run / name / "path.json") for name in (removed, new))
    assert again.pop(MARK) != first.pop(MARK), "a path that begins now has a mark, in an old run too"
    assert again == stored
    assert key_paths(first) == key_paths(stored)
    again, first = (
        [line for line in read_lines(root / removed / "metrics.jsonl") if "loss" in line] for root in (run, before)
    )
    for key in ("step", "loss", "lr", "grad_norm"):
        assert [each[key] for each in again] == pytest.approx([each[key] for each in first], rel=tolerance), key

    assert json.loads(lrps(copy, "ledger", "verify", f"{plan}.yaml", "--json"))["ok"]
    assert json.loads(lrps(copy, "data", "audit", f"{plan}.yaml", *version, "--rows", "--json"))["ok"]


def check_resumed(before: Path, now: Path) -> None:
    """Assert that a path was trained from its last stored step on, and on nothing before."""
    attempts = len(list((before / "ledger").iterdir()))
    start = read_lines(now / "ledger" / f"{attempts:03d}.jsonl")[0]
    assert start["facts"]["origin"] == "resume"
    assert start["step"] == read_json(before / "path.json")["path"]["stop"]
    logged, more = (read_lines(root / "metrics.jsonl") for root in (before, now))
    assert more[: len(logged)] == logged
    assert len(more) > len(logged)
    old, new = (read_json(root / "path.json") for root in (before, now))
    assert key_paths(new) == key_paths(old)
    assert new["training"] == old["training"]


def key_paths(document: Any, where: str = "") -> set[str]:
    """Return the keys of a document, each with those above it; those of sources, which name versions, as one."""
    if isinstance(document, list) or (where == "/sources" and isinstance(document, dict)):
        each_in = document if isinstance(document, list) else document.values()
        return {where} | {path for each in each_in for path in key_paths(each, f"{where}/*")}
    if isinstance(document, dict):
        return {where} | {path for key, each in document.items() for path in key_paths(each, f"{where}/{key}")}
    return {where}
