"""Whether messages advise users to delete what only they can judge: states, data and models."""

from __future__ import annotations

import ast
import re
from pathlib import Path

DELETING = re.compile(r"\b(delete|remove) (it|them|this|that|its|the (pin|path|state|directory|run))\b", re.IGNORECASE)
HARMLESS = {
    "lrps/data/cache.py": "a copy that is downloaded again",
    "lrps/launch/slurm/record.py": "a record that jobs are found without",
    "lrps/launch/slurm/script.py": "a line of the config",
    "lrps/data/build/inputs.py": "a link of a directory to itself",
    "lrps/data/data_tokenizer.py": "a key of the config",
    "lrps/doctor/rollcall.py": "a folder of the examination itself",
    "lrps/engine/architecture.py": "a key of the config",
    "lrps/store/model_files.py": "a key of the settings of a tokenizer, or a device that is no file",
    "lrps/demo/corpus.py": "text that is made again",
    "lrps/evaluation/kept_answers.py": "answers that `lrps score --answers` makes again",
}
"""Modules with such an advice -> what may be deleted."""


def messages(file: Path) -> list[str]:
    """Return the texts of a module that are no docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [str(node.value) for node in texts if id(node) not in statements]


def test_no_message_advises_to_delete_what_training_cost(repository: Path) -> None:
    found = {
        str(file.relative_to(repository)): text
        for file in sorted((repository / "lrps").rglob("*.py"))
        for text in messages(file)
        if DELETING.search(text)
    }
    assert found.keys() == HARMLESS.keys(), found
