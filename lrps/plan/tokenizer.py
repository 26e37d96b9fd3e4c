"""The check of a plan's tokenizer against its shards and its model. Imports no torch."""

from __future__ import annotations

from lrps.base.errors import DataError
from lrps.base.files import located
from lrps.data.build.built import changed_by_settings
from lrps.data.data_tokenizer import config_tokenizer
from lrps.data.manifest import made_with_another
from lrps.plan.plan import Plan
from lrps.plan.status import saved_step


def check_tokenizer(plan: Plan) -> None:
    """Raise DataError if the config's tokenizer is not the one that made the shards of every version.

    Also, unless the run was begun so, if settings of its file changed tokens of the shards, or if documents end with
    another token than the checkpoint's EOS token.
    """
    manifests = plan.manifests.values()
    tokenizer = config_tokenizer(plan.config, manifests)
    if others := made_with_another(tokenizer.identity.sha256, manifests):
        raise DataError(
            f"{', '.join(others)}: tokenized with another tokenizer than the config's, {located(tokenizer.file.path)} "
            f"(sha256 {tokenizer.identity.sha256[:12]}); give the one that made the shards, or build the version again "
            "under another name"
        )
    if any(saved_step(plan.layout.path(path.name)) is not None for path in plan.graph.paths):
        return
    if changed := changed_by_settings(tokenizer.file.ignored_settings, manifests):
        settings = " and ".join(tokenizer.file.ignored_settings)
        raise DataError(
            f"{settings} in {located(tokenizer.file.path)} changed the tokens of {', '.join(changed)} when they were "
            "built; build their text again as other versions"
        )
    if tokenizer.checkpoint_mismatch is not None:
        raise DataError(tokenizer.checkpoint_mismatch)
