"""The configs, hardware files and schema that come with lrps: in its wheel, or in the checkout that it runs from."""

from __future__ import annotations

from pathlib import Path

from lrps.base.errors import ConfigError

_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")
"""Folder of the wheel, and folder of a checkout."""


def shipped_config(name: str) -> Path:
    """Return the path of a file of configs/, such as `demo.yaml`. Raises ConfigError if it does not come with lrps."""
    found = [folder / name for folder in _FOLDERS if (folder / name).is_file()]
    if not found:
        raise ConfigError(f"configs/{name} does not come with this installation of lrps; install the wheel again")
    return found[0]
