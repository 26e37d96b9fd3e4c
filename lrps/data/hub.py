"""Names of repositories on the Hugging Face Hub in place of paths: the command that downloads a file of one.

Must not import torch.
"""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")


def download_advice(path: Path, file: str, key: str) -> str | None:
    """Return how to download `file` if `path`, the value of a config key, reads as the name of a repository.

    None if it exists, or is no such name: lrps reads local files only, so that a run never depends on the Hub.
    """
    name = path.as_posix()
    if path.exists() or not _NAME.fullmatch(name) or path.suffix == Path(file).suffix:
        return None
    folder = path.name
    return (
        f"if {name} is a repository on the Hugging Face Hub, run `hf download {name} {file} --local-dir {folder}` and "
        f"set {key}: {folder}/{file}"
    )
