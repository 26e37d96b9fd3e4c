"""Structure of the package: imports go down the floors without circles, and only one module imports a heavy library."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

LRPS = Path(__file__).parent.parent / "lrps"
MODULES = sorted(LRPS.rglob("*.py"))

FLOORS = (
    ("base", "charts"),
    ("config", "ledger"),
    ("paths",),
    ("data", "forecast"),
    ("store",),
    ("plan", "engine", "audit"),
    ("track", "launch", "costs", "start", "demo"),
    ("train", "export", "report", "doctor"),
    ("rehearsal",),
    ("evaluation",),
    ("api",),
    ("cli",),
)
"""Packages from the bottom up. A module imports its own package and lower floors, never another of its own floor."""
DOORS: dict[str, str | tuple[str, ...]] = {
    "deepspeed": ("engine/deepspeed_engine.py", "engine/optimizers/muon.py"),
    "webdataset": "data/webdataset.py",
    "wandb": "track/wandb/",
    "wandb_workspaces": "track/wandb/workspace.py",
    "tensorboard": "track/tensorboard.py",
    "trackio": "track/trackio.py",
    "mlflow": "track/mlflow.py",
    "lm_eval": "evaluation/harness.py",
    "rouge_score": "evaluation/rouge.py",
}
"""Library -> the only modules or packages that import it."""
WITH_TORCH = {"engine", "train", "api", "rehearsal", "export", "doctor", "cli"}


def package(module: Path) -> str:
    return module.relative_to(LRPS).parts[0].removesuffix(".py")


def dotted(module: Path) -> str:
    """Return the name by which a module is imported."""
    parts = module.relative_to(LRPS.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


KNOWN = {dotted(each) for each in MODULES}


@cache
def parsed(module: Path) -> ast.Module:
    return ast.parse(module.read_text())


@cache
def imports(module: Path) -> frozenset[str]:
    """Return the dotted names of everything that a module imports, also inside functions."""
    found = set[str]()
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def lrps_imports(module: Path) -> set[str]:
    """Return the modules of lrps that a module imports, also inside functions and for type checking only."""
    return {name for name in imports(module) if name in KNOWN} - {dotted(module), "lrps"}


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of names that reach each other, each sorted; empty if nothing runs in a circle."""
    reach: dict[str, set[str]] = {}
    for node in graph:
        found, todo = set[str](), [*graph[node]]
        while todo:
            if (other := todo.pop()) not in found:
                found.add(other)
                todo += graph.get(other, ())
        reach[node] = found
    groups = {frozenset(other for other in reach[node] if node in reach.get(other, ())) for node in graph}
    return sorted(sorted(group) for group in groups if group)


def floor(name: str) -> int:
    return next(number for number, packages in enumerate(FLOORS) if name in packages)


def test_every_package_has_a_floor() -> None:
    assert sorted(name for packages in FLOORS for name in packages) == sorted(
        path.name for path in LRPS.iterdir() if (path / "__init__.py").exists()
    )
    assert {module.name for module in LRPS.glob("*.py")} == {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(LRPS)))
def test_imports_go_down(module: Path) -> None:
    if module.parent == LRPS:
        return
    here = package(module)
    for name in lrps_imports(module):
        other = name.split(".")[1]
        assert other == here or floor(other) < floor(here), f"{dotted(module)} (floor {floor(here)}) imports {name}"


def test_no_circle_between_files() -> None:
    assert circles({dotted(module): lrps_imports(module) for module in MODULES}) == []


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, [["b", "c"]]),
        ({"a": {"c"}, "b": {"a"}, "c": {"b", "d"}, "d": {"e"}, "e": {"d"}}, [["a", "b", "c"], ["d", "e"]]),
    ],
)
def test_every_circle_is_found(graph: Mapping[str, set[str]], expected: list[list[str]]) -> None:
    assert circles(graph) == expected


@pytest.mark.parametrize("library", DOORS)
def test_one_door_each(library: str) -> None:
    users = {str(m.relative_to(LRPS)) for m in MODULES if any(n.split(".")[0] == library for n in imports(m))}
    assert users
    assert {user for user in users if not user.startswith(DOORS[library])} == set()


@pytest.mark.parametrize(
    "module", [m for m in MODULES if package(m) not in {*WITH_TORCH, "__main__"}], ids=lambda m: m.stem
)
def test_low_floors_do_not_name_torch(module: Path) -> None:
    assert not {name.split(".")[0] for name in imports(module)} & {"torch", "transformers", "deepspeed"}


@pytest.mark.parametrize("verb", ["plan", "status", "report --json", "prune --dry-run", "compare", "sweep"])
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
    assert [m for m in MODULES if not ast.get_docstring(parsed(m))] == []


def test_functions_and_files_stay_short() -> None:
    assert [module for module in MODULES if len(module.read_text().splitlines()) > 450] == []
    functions = [
        (module, node) for module in MODULES for node in ast.walk(parsed(module)) if isinstance(node, ast.FunctionDef)
    ]
    long = [f"{module}:{node.lineno}" for module, node in functions if (node.end_lineno or 0) - node.lineno >= 50]
    assert long == []
