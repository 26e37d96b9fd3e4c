"""The floors: an import goes down, never up; heavy packages have one door each."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LRPS = Path(__file__).parent.parent / "lrps"
MODULES = sorted(LRPS.rglob("*.py"))

FLOORS = {
    "errors": 0,
    "config": 0,
    "paths": 0,
    "ledger": 1,
    "store": 1,
    "data": 1,
    "plan": 2,
    "status": 2,
    "follow": 2,
    "prune": 2,
    "engine": 2,
    "track": 2,
    "report": 3,
    "train": 3,
    "rehearsal": 3,
    "evaluation": 3,
    "supervise": 1,
    "export": 3,
    "launch": 4,
    "slurm": 4,
    "doctor": 4,
    "audit": 2,
    "cli": 5,
}
DOORS = {
    "deepspeed": {"engine/deepspeed_engine.py"},
    "webdataset": {"data/writer.py", "data/remote.py"},
    "wandb": {"track/wandb.py", "track/wandb_link.py", "track/wandb_workspace.py"},
    "wandb_workspaces": {"track/wandb_workspace.py"},
    "tensorboard": {"track/tensorboard.py"},
    "trackio": {"track/trackio.py"},
    "lm_eval": {"evaluation/harness.py"},
    "rouge_score": {"evaluation/rouge.py"},
}
WITHOUT_TORCH = {*FLOORS} - {
    "engine",
    "train",
    "rehearsal",
    "export",
    "doctor",
    "cli",
}


def package(module: Path) -> str:
    return module.relative_to(LRPS).parts[0].removesuffix(".py")


def imports(module: Path) -> Iterator[str]:
    """Dotted names of everything that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            yield node.module or ""


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(LRPS)))
def test_imports_go_down(module: Path) -> None:
    if module == LRPS / "__init__.py":
        assert list(imports(module)) == []
        return
    here = FLOORS[package(module)]
    for name in imports(module):
        if name.startswith("lrps."):
            assert FLOORS[name.split(".")[1]] <= here, f"{module.name} (floor {here}) imports {name}"


@pytest.mark.parametrize("library", DOORS)
def test_one_door_each(library: str) -> None:
    users = {str(m.relative_to(LRPS)) for m in MODULES if any(n.split(".")[0] == library for n in imports(m))}
    assert users == DOORS[library]


@pytest.mark.parametrize("module", [m for m in MODULES if package(m) in WITHOUT_TORCH], ids=lambda m: m.stem)
def test_low_floors_do_not_name_torch(module: Path) -> None:
    assert not {name.split(".")[0] for name in imports(module)} & {"torch", "transformers", "deepspeed"}


@pytest.mark.parametrize(
    "verb", ["plan", "status", "report --json", "run --dry-run", "prune --dry-run", "compare", "sweep"]
)
def test_light_verbs_import_nothing_heavy(verb: str, repository: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from lrps.cli import app\n"
        f"try: app({[*verb.split(), 'configs/llama-1.2b.yaml', '-s', f'runs={tmp_path}']!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'deepspeed', 'transformers', 'wandb', 'webdataset'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=repository, stdout=subprocess.DEVNULL)


def test_every_module_says_what_it_is_for() -> None:
    assert [m for m in MODULES if not ast.get_docstring(ast.parse(m.read_text()))] == []
