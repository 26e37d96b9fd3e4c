"""Check that all ranks have the same code of every plug-in, which decides what they train."""

from __future__ import annotations

from collections.abc import Sequence

from lrps.base.document import to_json
from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.engine.ranks import gather
from lrps.paths.graph import TrainingPath
from lrps.store.plugin_identity import used_plugins


def check_plugins(config: Config, paths: Sequence[TrainingPath]) -> None:
    """Raise ConfigError on all ranks if the plug-ins of one of them have other code. Collective."""
    own = to_json([used_plugins(path, config) for path in paths])
    if any(each != own for each in gather(own)):
        raise ConfigError(
            "the ranks have different code of a plug-in: put the same file on every host, or install the same version"
        )
