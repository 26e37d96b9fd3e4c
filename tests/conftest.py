"""What tests of several packages share: small configs as plain values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lrps.config.models import Config
from tests_support import config_values

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def make_config() -> Callable[..., Config]:
    """Config with some top-level keys replaced."""
    return lambda **changes: Config.model_validate(config_values(**changes))
