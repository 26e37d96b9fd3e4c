"""Write the tables of files in docs/architecture.md from the docstrings of the modules. `make docs` runs it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN = "<!-- files: begin (made by `make docs`) -->"
END = "<!-- files: end -->"


def summary(module: Path) -> str:
    """Return the first sentence of a module's docstring, without its full stop."""
    text = " ".join((ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", text)[0].removesuffix(".")


def packages() -> Iterator[Path]:
    """Yield the folders of Python modules, parents before children, lrps before tools."""
    folders = {file.parent for file in (ROOT / "lrps").rglob("*.py")}
    yield from sorted(folders)
    yield ROOT / "tools"


def tables() -> str:
    """Return one section per folder: what the package is for, then a table with one line per module."""
    sections = []
    for folder in packages():
        package, name = folder / "__init__.py", folder.relative_to(ROOT).as_posix()
        modules = [file for file in sorted(folder.glob("*.py")) if file != package]
        about = f"{summary(package)}.\n\n" if package.exists() else ""
        rows = "".join(f"| `{file.name}` | {summary(file).replace('|', chr(92) + '|')} |\n" for file in modules)
        table = f"| file | purpose |\n|---|---|\n{rows}" if rows else ""
        sections.append(f"### {name}\n\n{about}{table}")
    return "\n".join(sections)


def page(text: str) -> str:
    """Return the page with the part between BEGIN and END made anew. Raises ValueError if one of them is missing."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
