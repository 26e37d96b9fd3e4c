"""The check of a plan's tokenizer against its shards and its model. Imports no torch."""

from __future__ import annotations

from lrps.base.errors import DataError
from lrps.data.data_tokenizer import config_tokenizer
from lrps.plan.plan import Plan
from lrps.plan.status import saved_step


def check_tokenizer(plan: Plan) -> None:
    """Raise DataError if the config's tokenizer is not the one that made the shards of every version.

    Also if documents end with another token than the checkpoint's EOS token, unless the run was begun so.
    """
    tokenizer = config_tokenizer(plan.config, plan.manifests.values())
    identity = tokenizer.identity
    for version, manifest in plan.manifests.items():
        found = manifest.tokenizer
        if (found.sha256, found.vocabulary, found.eos) != (identity.sha256, identity.vocabulary, identity.eos):
            raise DataError(
                f"version {version} was tokenized with {manifest.tokenizer.name} ({manifest.tokenizer.sha256[:12]}), "
                f"the config's tokenizer is {tokenizer.file.path} ({identity.sha256[:12]}); "
                "give the one that made the shards, or build the version again under another name"
            )
    begun = any(saved_step(plan.layout.path(path.name)) is not None for path in plan.graph.paths)
    if tokenizer.checkpoint_mismatch is not None and not begun:
        raise DataError(tokenizer.checkpoint_mismatch)
