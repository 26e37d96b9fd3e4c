"""Export of one state: a check that it is the plan's, then weights, tokenizer, card and facts."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lrps.base.errors import CheckpointError, DataError
from lrps.base.files import atomic_write_bytes, atomic_write_json, atomic_write_text, located
from lrps.config.model_directory import read_model_config
from lrps.data.data_tokenizer import EOS_TOKENS, DataTokenizer, config_tokenizer
from lrps.data.manifest import TokenizerIdentity, existing_manifests
from lrps.engine.averages.merged_state import ensure_merged
from lrps.engine.flat_pieces import WEIGHTS
from lrps.engine.pretrained import write_pretrained
from lrps.export.base_settings import carry_settings
from lrps.export.card import card_document, render_card
from lrps.export.directory import finalize_directory, holds, new_directory
from lrps.export.states import PathState
from lrps.ledger.reader import EMA, MERGE, RAW
from lrps.ledger.writer import book_event
from lrps.paths.optimizer_states import AVERAGE
from lrps.plan.initial import with_initial_weights
from lrps.plan.plan import Plan
from lrps.plan.released_state import merge_release
from lrps.plan.status import check_run_dir
from lrps.store.checkpoints import MERGED, Checkpoint, find, verify_checkpoint
from lrps.store.identity import AVERAGE_KEY, check_identity, equal_digests, training_digest


@dataclass(frozen=True)
class ExportFormat:
    """The form of an export. dtype: `fp32` or `bf16`. max_shard_bytes: maximal size of a file of weights."""

    dtype: str
    max_shard_bytes: int = 5 * 10**9


@dataclass(frozen=True)
class Exported:
    """The result of an export. made: False if the directory already had this state in this form."""

    directory: Path
    made: bool
    bytes: int


def export_state(plan: Plan, state: PathState, directory: Path, form: ExportFormat, *, force: bool = False) -> Exported:
    """Write the state as a Hugging Face model to `directory`, atomically.

    An existing export of the same state and form is kept, unless forced. Everything is read from files, so it needs
    neither GPU nor process group, and memory for about one shard. Raises CheckpointError if the directory has anything
    else, and an LrpsError if the state was not saved, is damaged, or is of another plan, model or tokenizer.
    """
    states = _checkpoints(plan, state)
    checkpoint = states[-1]
    identity: dict[str, Any] = {"checkpoint": checkpoint.digest, **asdict(form)}
    if len(states) > 1:
        identity[MERGED] = [[each.step, each.digest] for each in states]
    if state.form == EMA:
        identity["form"] = state.form
        _check_average(checkpoint)
    if holds(directory, identity, force=force):
        return Exported(directory, False, sum(path.stat().st_size for path in directory.iterdir()))
    data = plan.config.data
    tokenizer = release_tokenizer(plan)
    for each in states:
        _check(plan, state, each, tokenizer.identity)
        verify_checkpoint(each)
    began = time.monotonic()
    with new_directory(directory) as temporary:
        written = write_pretrained(
            plan.config.model,
            plan.config.seed,
            [each.directory for each in states],
            temporary,
            dtype=form.dtype,
            max_shard_bytes=form.max_shard_bytes,
            document_end=tokenizer.identity.eos,
            begun=plan.begun,
            weights_of=AVERAGE.name if state.form == EMA else WEIGHTS,
        )
        write_tokenizer(tokenizer, temporary, data.sequence_length)
        if plan.config.model.checkpoint is not None:
            carry_settings(plan.config.model.checkpoint, temporary, tokenizer.identity.eos)
        card = card_document(plan, state, states, tokenizer.identity, {**asdict(written), "dtype": form.dtype})
        atomic_write_text(temporary / "README.md", render_card(card))
        size = finalize_directory(temporary, {"state": identity, **card})
    facts = {"path": state.path.name, "directory": str(directory), "bytes": size, "checkpoint": identity["checkpoint"]}
    if state.form != RAW:
        facts["form"] = state.form
    book_event(plan.layout.ledger, "export", state.step, time.monotonic() - began, **facts, dtype=form.dtype)
    return Exported(directory, True, size)


def _check_average(checkpoint: Checkpoint) -> None:
    """Raise CheckpointError if a checkpoint has no average of the weights."""
    if AVERAGE.name not in checkpoint.identity.get(AVERAGE_KEY, {}):
        raise CheckpointError(
            f"{checkpoint.directory} has no moving average of the weights, because it was saved without average.ema; "
            "export a later state with --step, or leave --ema out"
        )


def _checkpoints(plan: Plan, state: PathState) -> tuple[Checkpoint, ...]:
    """Return the checkpoints whose weights are exported, in the order of steps: several for a merge that is no release.

    The merged state of a release is made if it does not exist.
    """
    release = merge_release(plan, state.path.name, state.step) if state.form == MERGE and state.versions else None
    if release is not None:
        check_run_dir(plan, [state.path])
        return (ensure_merged(plan.layout, release),)
    layout = plan.layout.path(state.path.name)
    return tuple(find(layout, step) for step in state.averaged or (state.step,))


def release_tokenizer(plan: Plan) -> DataTokenizer:
    """Return the tokenizer of a plan with the tokens that documents began and ended with in training.

    The shards say which, also for a plan that is read from its run directory. Raises DataError if there are none here
    and the tokenizer leaves a choice.
    """
    data = plan.config.data
    made = [*plan.manifests.values()] or existing_manifests(data.root, [shards.name for shards in data.shard_sets])
    tokenizer = config_tokenizer(plan.config, made)
    usual = [token for token in EOS_TOKENS if token in tokenizer.file.vocabulary]
    if not made and data.end_token is None and usual != [tokenizer.end]:
        raise DataError(
            f"{located(data.root)} has no manifest that says which token ended the documents: give the config file "
            f"with its data, or set data.end_token, to {tokenizer.end} if that is the one"
        )
    return tokenizer


def _check(plan: Plan, state: PathState, checkpoint: Checkpoint, tokenizer: TokenizerIdentity) -> None:
    """Raise LineageError, DataError or CheckpointError if the state does not match the config."""
    check_run_dir(plan, [state.path])
    identity, path_json = plan.identity(state.path), plan.layout.path(state.path.name).path_json
    trained_with = identity["training"]["tokenizer_sha256"]
    if trained_with not in (None, tokenizer.sha256):
        raise DataError(
            f"{plan.config.data.tokenizer_path} ({tokenizer.sha256[:12]}) is not the tokenizer that made the shards "
            f"({trained_with[:12]}); give that one as data.tokenizer"
        )
    identity["training"]["tokenizer_sha256"] = tokenizer.sha256
    allowed = {training_digest(identity), *equal_digests(plan.config.run_dir, training_digest(identity))}
    if checkpoint.identity.get("training_sha256") not in allowed:
        raise CheckpointError(
            f"{checkpoint.directory} is of another plan ({checkpoint.identity.get('plan')}, path "
            f"{checkpoint.identity.get('path')}): its model, tokenizer, optimizer, batch or seed differ; give the "
            "config and the tokenizer that it was trained with"
        )
    named = (checkpoint.identity.get("path"), checkpoint.identity.get("step"))
    if named != (state.path.name, checkpoint.step):
        raise CheckpointError(
            f"{checkpoint.directory} is the state of path {named[0]} at step {named[1]}, not of {state.path.name} at "
            f"step {checkpoint.step}: it was copied or moved here; put back the one that was trained here"
        )
    model = plan.config.model
    if model.checkpoint is not None:
        # Its config defines the model of the weights, so it must be the one that training used.
        read_model_config(model.checkpoint)
    # The initial state of training may be gone; its hash is in path.json and in the card.
    if model.checkpoint is not None or (model.initial_state is not None and model.initial_state.exists()):
        check_identity(path_json, with_initial_weights(identity, model), plan.config)


def write_tokenizer(tokenizer: DataTokenizer, directory: Path, row_tokens: int) -> None:
    """Write tokenizer.json and tokenizer_config.json, from which `AutoTokenizer` encodes as training did.

    The released tokenizer adds to a text what documents in the shards begin with: the BOS token, or nothing. Its
    truncation, padding and dropout are off. row_tokens: length of the sequences in training: `model_max_length`.
    """
    library, contents = tokenizer.file.library(), tokenizer.file.effective
    first = tokenizer.begin_id
    added = library.num_special_tokens_to_add(is_pair=False)
    as_wanted = not added if first is None else added == 1 and library.encode("a").ids[0] == first
    if not as_wanted:
        contents["post_processor"] = None if first is None else _adding(str(tokenizer.begin), first)
    if contents == tokenizer.file.contents:
        data = tokenizer.file.path.read_bytes()
    else:
        data = json.dumps(contents, indent=2, ensure_ascii=False).encode()
    atomic_write_bytes(directory / "tokenizer.json", data)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokenizer.begin or tokenizer.end,
        "eos_token": tokenizer.end,
        "add_bos_token": tokenizer.begin is not None,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": row_tokens,
    }
    atomic_write_json(directory / "tokenizer_config.json", settings)


def _adding(token: str, number: int) -> dict[str, Any]:
    """Return the post-processor of a tokenizer.json that puts a token before every text."""
    special, one, other = (
        {"SpecialToken": {"id": token, "type_id": 0}},
        *({"Sequence": {"id": name, "type_id": 0}} for name in "AB"),
    )
    return {
        "type": "TemplateProcessing",
        "single": [special, one],
        "pair": [special, one, other],
        "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}},
    }
