"""Tests of the public names of lrps: lazy, complete, and none that a module or package bears."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lrps


def test_no_public_name_is_that_of_a_module() -> None:
    """A lazy attribute of such a name would give the module once that is imported."""
    folder = Path(lrps.__file__).parent
    modules = {entry.stem for entry in folder.iterdir() if entry.suffix == ".py" or (entry / "__init__.py").exists()}
    assert set(lrps.__all__) & modules == set()


def test_every_public_name_is_there_twice_and_documented(repository: Path) -> None:
    pages = "".join((repository / "docs" / name).read_text() for name in ("api.md", "extending.md"))
    for name in lrps.__all__:
        assert getattr(lrps, name) is getattr(lrps, name)
        assert getattr(lrps, name).__doc__, name
        assert f"`{name}" in pages or f"lrps.{name}" in pages, f"docs/api.md does not name {name}"
    assert set(lrps.__all__) <= set(dir(lrps))
    assert list(lrps.__all__) == sorted(lrps.__all__)


def test_importing_lrps_imports_nothing_of_it_and_a_plan_no_torch() -> None:
    script = (
        "import sys, lrps\n"
        "assert [name for name in sys.modules if name.startswith('lrps.')] == []\n"
        "lrps.compile_plan('configs/llama-1.2b.yaml')._repr_html_()\n"
        "lrps.Callback; lrps.register_decay; lrps.LrpsError\n"
        "heavy = {'torch', 'deepspeed', 'transformers', 'wandb', 'webdataset', 'pandas', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(lrps.__file__).parent.parent)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    assert not hasattr(lrps, "no_such_name")
