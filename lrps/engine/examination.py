"""Examination of a model type before the real model is built: does it train what lrps measures?

A small copy of the model (lrps/engine/shrink.py) with other random weights runs on this CPU. What is wrong with it is
wrong with the real one. Must not import deepspeed. Imports transformers when a model is examined, because that takes
seconds.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lrps.base.errors import ConfigError
from lrps.engine.losses.loss_head import enable_fused_loss
from lrps.engine.model import enable_checkpointing, initialised, prepare_training, set_attention
from lrps.engine.rows.packing import documents_fault, inputs
from lrps.engine.shrink import layers_of_all_kinds, shrunken

_TOKENS = 16
"""Number of tokens of a trial row, unless a model takes rows of the config's length only."""
_LARGEST_ROW = 4096
_LARGEST_TRIAL = 2.5e8
"""Number of parameters up to which a copy is tried."""
_END = 0
"""Token that ends documents in the trial of attention within documents."""
_VISIBLE = 1e-3
"""Share of an effect below which another effect is rounding."""


_ALL_LAYERS = 10**9


class _TooLargeError(Exception):
    """Raised for a copy with too many parameters."""


@dataclass(frozen=True)
class Demands:
    """Settings of a config that a model must support, beside training itself."""

    sequence_length: int
    activation_checkpointing: bool = False
    attention: str | None = None
    """Attention kernel; the flash kernels need a GPU and are tried on the real model only."""
    documents_apart: bool = False
    """Whether attention is limited to documents."""
    chunked_loss: bool = False
    """Whether the config asks for the chunked cross-entropy."""


@dataclass(frozen=True)
class Verdict:
    """The result of an examination."""

    faults: tuple[str, ...] = ()
    """Reasons why a model must not be trained, each with how to fix it."""
    notes: tuple[str, ...] = ()
    """Findings about a model that may be trained, which its user should know."""


@dataclass(frozen=True)
class Trial:
    """A small model in training mode, and the rows that it is examined with."""

    model: Any
    rows: Tensor
    """Token ids (2, length)."""

    @property
    def kind(self) -> str:
        """Name of the model type, for messages."""
        return f"a {self.model.config.model_type} model"

    def run(self, input_ids: Tensor, **more: Any) -> Any:
        """Return the output of the model, with the same random numbers in every call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.model(input_ids=input_ids, **more)

    def logits(self, rows: Tensor) -> Tensor:
        """Return the logits (rows, length, vocabulary) of a pass without gradients."""
        with torch.no_grad():
            logits: Tensor = self.run(rows).logits
            return logits.float()


def examine_config(config: Any, demands: Demands) -> Verdict:
    """Examine the model of a transformers config, which is not changed."""
    found = make_trial(config, demands)
    if isinstance(found, Verdict):
        return found
    faults: list[str] = []
    notes: list[str] = []
    for check in (_causal, _own_loss):
        faults += check(found)
    trained, unused = _gradients(found)
    faults += trained
    if unused:
        notes.append(f"{found.kind} has {_named(unused)} that no token reaches: they are stored but never trained")
    faults += _demanded(found, demands)
    if demands.attention is not None and demands.attention.startswith("flash"):
        notes.append(f"engine.attention: {demands.attention} is tried on the real model only")
    return Verdict(tuple(faults), tuple(notes))


def make_trial(config: Any, demands: Demands, usable: Callable[[Any], bool] = lambda _config: True) -> Trial | Verdict:
    """Return the smallest copy of a model that runs, or a verdict that says why there is none.

    usable: whether a copy with this config may be taken.
    """
    try:
        with torch.device("meta"):
            real = initialised(copy.deepcopy(config), 0)
    except Exception as error:
        return Verdict((f"model.architecture: no {config.model_type} model can be built from it: {_short(error)}",))
    size = sum(parameter.numel() for parameter in real.parameters())
    depths = (layers_of_all_kinds(config, real), _ALL_LAYERS)
    lengths = dict.fromkeys((min(_TOKENS, demands.sequence_length), min(demands.sequence_length, _LARGEST_ROW)))
    del real
    reasons: list[Exception] = []
    for length, depth in itertools.product(lengths, depths):
        for values in shrunken(config, depth):
            try:
                copied = type(config).from_dict(values)
                if usable(copied):
                    return _tried(copied, length, demands.attention)
            except _TooLargeError:
                break  # The next ones are larger.
            except Exception as reason:  # Whatever a class of transformers raises for sizes that do not fit.
                reasons.append(reason)
    if size > _LARGEST_TRIAL:
        why = _short(reasons[-1]) if reasons else "they are too large"
        return Verdict(notes=(f"not examined: no small copy of a {config.model_type} model runs: {why}",))
    try:
        return _tried(copy.deepcopy(config), min(demands.sequence_length, _LARGEST_ROW), demands.attention)
    except ConfigError as fault:
        return Verdict((str(fault),))
    except Exception as failure:
        return Verdict((f"a {config.model_type} model cannot be trained: a forward pass fails: {_short(failure)}",))


def _tried(config: Any, length: int, attention: str | None) -> Trial:
    """Return a trial that has run once. Raises whatever transformers raises, _TooLargeError before it takes memory."""
    with torch.device("meta"):
        if sum(each.numel() for each in initialised(copy.deepcopy(config), 0).parameters()) > _LARGEST_TRIAL:
            raise _TooLargeError
    model = initialised(config, 0)
    if attention is not None and not attention.startswith("flash"):
        set_attention(model, attention)
    prepare_training(model)
    _redraw(model)
    vocabulary = model.config.get_text_config().vocab_size
    rows = torch.randint(0, vocabulary, (2, length), generator=torch.Generator().manual_seed(0))
    trial = Trial(model.train(), rows)
    if not torch.isfinite(trial.logits(rows)).all():
        raise ValueError("the logits are not finite")
    return trial


@torch.no_grad()
def _redraw(model: nn.Module) -> None:
    """Draw weights with which everything that a model computes has an effect on its logits.

    With initial weights, which are small or zero, an effect may be smaller than rounding.
    """
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            parameter.copy_(noise / parameter.shape[-1] ** 0.5)
        else:
            parameter.add_(0.1 * noise)


def _causal(trial: Trial) -> Iterator[str]:
    changed = trial.rows.clone()
    changed[:, -1] = (changed[:, -1] + 1) % trial.model.config.get_text_config().vocab_size
    effect = (trial.logits(changed) - trial.logits(trial.rows)).abs()
    if effect[:, :-1].max() > _VISIBLE * effect[:, -1].max():
        config = trial.model.config.get_text_config()
        fix = next(
            (f"set model.architecture.{key}: true" for key in ("is_decoder", "causal") if hasattr(config, key)), ""
        )
        yield (
            f"{trial.kind} is not causal: a token changes the logits before it, so its loss says nothing; "
            f"{fix or 'take a decoder, such as llama'}"
        )


def _own_loss(trial: Trial) -> Iterator[str]:
    try:
        with torch.no_grad():
            output = trial.run(trial.rows, labels=trial.rows)
    except Exception as error:
        yield f"{trial.kind} cannot compute its loss from `labels`: {_short(error)}; take another model type"
        return
    logits, rows = output.logits.float(), trial.rows
    shifted = float(nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten()))
    loss, experts = float(output.loss), getattr(output, "aux_loss", None)
    scales = [
        value for key, value in trial.model.config.to_dict().items() if "coef" in key and isinstance(value, float)
    ]
    allowed = [shifted] if experts is None else [shifted + scale * float(experts) for scale in scales]
    if not any(abs(loss - each) <= _VISIBLE * abs(each) for each in allowed):
        given = float(nn.functional.cross_entropy(logits.flatten(0, 1), rows.flatten()))
        what = "predicts the token that it is given" if abs(loss - given) <= _VISIBLE * given else "is something else"
        yield (
            f"{trial.kind} has a loss ({loss:.3f}) that is not the cross-entropy of the next token ({shifted:.3f}): it "
            f"{what}; take a decoder-only type, such as llama"
        )


def _gradients(trial: Trial) -> tuple[list[str], list[str]]:
    """Return faults of parameters that are not trained, and the names of parameters that nothing uses."""
    parameters = dict(trial.model.named_parameters())
    faults = []
    if frozen := [name for name, each in parameters.items() if not each.requires_grad]:
        faults.append(
            f"{trial.kind} has frozen parameters, which training would leave as they are: {_named(frozen)}; take "
            "another model type"
        )
    gradients = _backward(trial)
    still = [name for name, each in parameters.items() if each.requires_grad and not gradients[name].any()]
    used = [name for name in still if _matter(trial, [name])] if _matter(trial, still) else []
    if used:
        faults.append(
            f"{trial.kind} has parameters that get no gradient though the logits depend on them: {_named(used)}; take "
            "another model type"
        )
    embedding = getattr(trial.model.get_input_embeddings(), "weight", None)
    for name in (name for name, each in parameters.items() if each is embedding):
        learned = gradients[name].any(dim=1)
        if learned.any() and (dead := [row for row in trial.rows[:, :-1].unique().tolist() if not learned[row]]):
            faults.append(f"{trial.kind} does not train row {dead[0]} of {name}, a token; take another model type")
    return faults, [name for name in still if name not in used]


def _backward(trial: Trial) -> dict[str, Tensor]:
    """Return name -> gradient of the cross-entropy of the next token, zero where there is none."""
    trial.model.zero_grad()
    logits = trial.run(trial.rows).logits.float()
    nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), trial.rows[:, 1:].flatten()).backward()
    return {
        name: torch.zeros_like(each) if each.grad is None else each.grad.clone()
        for name, each in trial.model.named_parameters()
    }


@torch.no_grad()
def _matter(trial: Trial, names: Sequence[str]) -> bool:
    """Return True if the logits change when these parameters do."""
    if not names:
        return False
    parameters = [each for name, each in trial.model.named_parameters() if name in names]
    before, kept = trial.logits(trial.rows), [each.clone() for each in parameters]
    for each in parameters:
        each.add_(torch.randn(each.shape, generator=torch.Generator().manual_seed(2)))
    after = trial.logits(trial.rows)
    for each, values in zip(parameters, kept, strict=True):
        each.copy_(values)
    return not torch.equal(before, after)


def _demanded(trial: Trial, demands: Demands) -> Iterator[str]:
    """Yield what a model cannot do of what the config asks for. The model is changed."""
    if demands.documents_apart:
        with torch.no_grad():
            why = documents_fault(trial.model, lambda rows: trial.run(**inputs(rows, _END, flat=False)).logits, _END)
        if why is not None:
            yield why
    if demands.activation_checkpointing:
        yield from _checkpointing(trial)
    if demands.chunked_loss and (why := enable_fused_loss(trial.model, lambda: _loss(trial))) is not None:
        yield f"engine.cross_entropy: {trial.kind} {why}; leave the key out, or take full"


@torch.no_grad()
def _loss(trial: Trial) -> Tensor:
    loss: Tensor = trial.run(trial.rows, labels=trial.rows).loss
    return loss


def _checkpointing(trial: Trial) -> Iterator[str]:
    before = _backward(trial)
    try:
        enable_checkpointing(trial.model)
        after = _backward(trial)
    except ConfigError as fault:
        yield str(fault)
        return
    except Exception as error:
        yield f"engine.activation_checkpointing: {trial.kind} fails with it: {_short(error)}; leave the key out"
        return
    scale = max(float(each.abs().max()) for each in before.values())
    if any((after[name] - each).abs().max() > _VISIBLE * scale for name, each in before.items()):
        yield f"engine.activation_checkpointing: {trial.kind} has other gradients with it; leave the key out"
    elif not trial.model.is_gradient_checkpointing:
        yield f"engine.activation_checkpointing: {trial.kind} has no layers that use it; leave the key out"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _short(error: Exception | None) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
