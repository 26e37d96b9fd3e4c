"""A config of two versions: a mixture with a part that is read several times, and one that is read 1.5 times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.values import tiny_values


def write_documents(file: Path, documents: int, words: str) -> None:
    lines = (json.dumps({"text": f"{words} {number} " * 4}) + "\n" for number in range(documents))
    file.write_text("".join(lines))


def mixed_values(root: Path, **changes: Any) -> dict[str, Any]:
    """Write the text of the versions below `root` and return the config.

    v1 mixes 75 rows of `web` and 25 of `code`, which has fewer and may be read four times. v2 has 40 rows, which are
    read one and a half times. A step has 4 rows of 16 tokens.
    """
    for name, documents in {"web": 60, "code": 12, "v2": 40}.items():
        write_documents(root / f"{name}.jsonl", documents, {"web": "a word on", "code": "x =", "v2": "news of"}[name])
    values = tiny_values(root, 0, paradigms={"path-switching": {"alpha": 0.4}, "ptfs": {}})
    values["data"]["versions"] = [
        {
            "name": "v1",
            "tokens": 1600,
            "mixture": {
                "web": {"text": [str(root / "web.jsonl")], "weight": 3},
                "code": {"text": [str(root / "code.jsonl")], "weight": 1, "epochs": 4},
            },
        },
        {"name": "v2", "text": [str(root / "v2.jsonl")], "tokens": 640, "epochs": 1.5},
    ]
    return {**values, **changes}
