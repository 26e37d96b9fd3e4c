"""Which versions of torch may read files of strangers."""

from __future__ import annotations

import pytest

from lrps.base.torch_version import unpickles_safely


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        *((version, False) for version in ("1.13.1", "2.6.0", "2.9.1+cu128", "2.9.99")),
        *((version, True) for version in ("2.10.0", "2.10.0+cpu", "2.10", "2.13.0a0+git12ab", "3.0.1")),
    ],
)
def test_the_version_decides(version: str, safe: bool) -> None:
    assert unpickles_safely(version) is safe
