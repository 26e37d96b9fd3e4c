"""Cross-entropy in chunks is that of all logits at once: loss and gradients, whatever the chunks."""

from __future__ import annotations

import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lrps.engine.losses.cross_entropy import chunked_cross_entropy, chunked_token_losses, mean_of_targets
from lrps.engine.rows.packing import NOT_PREDICTED


def case(tokens: int, seed: int, dtype: torch.dtype = torch.float32, bias: bool = True) -> list[Tensor]:
    """hidden, weight, bias (if any), targets: some of these are not predicted."""
    draw = torch.Generator().manual_seed(seed)
    shapes = [(tokens, 8), (31, 8), *([(31,)] if bias else [])]
    values = [torch.randn(shape, generator=draw).to(dtype).requires_grad_() for shape in shapes]
    targets = torch.randint(0, 31, (tokens,), generator=draw)
    targets[1::3] = NOT_PREDICTED
    return [*values, targets]


def gradients(loss: Tensor, values: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(3.0 * loss, values))


def at_once(hidden: Tensor, weight: Tensor, *rest: Tensor) -> Tensor:
    *bias, targets = rest
    return nn.functional.cross_entropy(nn.functional.linear(hidden, weight, *bias).float(), targets)


def in_chunks(hidden: Tensor, weight: Tensor, *rest: Tensor, rows: int) -> Tensor:
    *bias, targets = rest
    return chunked_cross_entropy(hidden, weight, bias[0] if bias else None, targets, 31 * rows)


@settings(max_examples=40, deadline=None)
@given(tokens=st.integers(1, 40), rows=st.integers(0, 41), seed=st.integers(0, 2**32), bias=st.booleans())
def test_chunks_change_rounding_only(tokens: int, rows: int, seed: int, bias: bool) -> None:
    values = case(tokens, seed, bias=bias)
    whole, parts = at_once(*values), in_chunks(*values, rows=rows)
    torch.testing.assert_close(parts, whole, rtol=1e-6, atol=2e-6)
    for ours, theirs in zip(gradients(parts, values[:-1]), gradients(whole, values[:-1]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_bf16_gradients_are_about_as_near_to_the_exact_ones_as_all_logits_at_once() -> None:
    values = case(256, 0, torch.bfloat16)
    exact = [value.detach().double().requires_grad_() for value in values[:-1]]
    truth = nn.functional.cross_entropy(nn.functional.linear(*exact), values[-1])
    whole, parts = at_once(*values), in_chunks(*values, rows=7)
    assert parts.dtype == torch.float32, "a loss of 8 bits could not be reported"
    torch.testing.assert_close(parts, whole, rtol=1e-6, atol=0)
    sought = gradients(truth, exact)
    for ours, theirs, right in zip(*(gradients(x, values[:-1]) for x in (parts, whole)), sought, strict=True):
        assert ours.dtype == torch.bfloat16
        apart = [float((found.double() - right).norm() / right.norm()) for found in (ours, theirs)]
        assert apart[0] < 1.6 * apart[1], "37 chunks, and the factor of backward, round once more"


def test_without_gradients_the_loss_is_the_same() -> None:
    values = case(20, 1)
    with torch.no_grad():
        assert torch.equal(in_chunks(*values, rows=6), in_chunks(*values, rows=6).detach())
        alone = in_chunks(*values, rows=6)
    assert not alone.requires_grad
    assert torch.equal(alone, in_chunks(*values, rows=6).detach())


@pytest.mark.parametrize("rows", [1, 6, 20])
def test_the_losses_of_tokens_are_those_of_all_logits_at_once(rows: int) -> None:
    hidden, weight, bias, targets = case(20, 1)
    losses = chunked_token_losses(hidden, weight, bias, targets, 31 * rows)
    expected = nn.functional.cross_entropy(nn.functional.linear(hidden, weight, bias), targets, reduction="none")
    predicted = targets != NOT_PREDICTED
    torch.testing.assert_close(losses[predicted], expected[predicted], rtol=1e-6, atol=2e-6)
    assert torch.equal(mean_of_targets(losses, targets), in_chunks(hidden, weight, bias, targets, rows=rows).detach())


def test_never_are_all_logits_there() -> None:
    """Of 2,000 tokens and 31 words: nothing as large as a tenth of their logits is allocated."""
    values = case(2000, 2, bias=False)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            found = function(*arguments, **(options or {}))
            shapes = [each.shape for each in torch.utils._pytree.tree_leaves(found) if isinstance(each, Tensor)]
            largest = max([largest, *(shape.numel() for shape in shapes if shape[-1:] == (31,))])
            return found

    with Watch():
        in_chunks(*values, rows=100).backward()
    assert largest == 100 * 31


@pytest.mark.parametrize("rows", [3, 100])
def test_tokens_that_are_not_predicted_count_for_nothing(rows: int) -> None:
    hidden, weight, targets = case(12, 3, bias=False)
    parts = in_chunks(hidden, weight, targets, rows=rows)
    (of_hidden,) = gradients(parts, [hidden])
    assert not of_hidden[1::3].any()
    assert of_hidden[0::3].any()
    kept = targets != NOT_PREDICTED
    torch.testing.assert_close(in_chunks(hidden[kept], weight, targets[kept], rows=rows), parts, rtol=1e-6, atol=0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), rows=st.integers(1, 12), cut=st.integers(0, 12))
def test_the_losses_of_parts_add_up_to_that_of_the_whole(seed: int, rows: int, cut: int) -> None:
    hidden, weight, bias, targets = case(12, seed)
    predicted = int((targets != NOT_PREDICTED).sum())
    whole = at_once(hidden, weight, bias, targets)
    parts = [
        chunked_cross_entropy(hidden[part], weight, bias, targets[part], 31 * rows, predicted)
        for part in (slice(0, cut), slice(cut, 12))
        if len(targets[part])
    ]
    torch.testing.assert_close(torch.stack(parts).sum(), whole, rtol=1e-5, atol=2e-6)
    values = [hidden, weight, bias]
    for ours, theirs in zip(gradients(torch.stack(parts).sum(), values), gradients(whole, values), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 5])
def test_a_part_without_targets_has_no_loss_and_no_gradient(rows: int) -> None:
    hidden, weight, bias, _ = case(3, 0)
    loss = chunked_cross_entropy(hidden, weight, bias, torch.full((3,), NOT_PREDICTED), 31 * rows, 7)
    assert float(loss.detach()) == 0.0
    assert all(not each.any() for each in gradients(loss, [hidden, weight, bias]))


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_passes_change_rounding_only(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last chunk is smaller, so that a second shape is compiled as well."""
    monkeypatch.delenv("TORCHDYNAMO_DISABLE")
    torch._dynamo.utils.counters.clear()
    values = case(40, 3, dtype)
    inputs = values[:-1]
    parts = [chunked_cross_entropy(*values, 31 * 16, None, fused) for fused in (False, True)]
    torch.testing.assert_close(parts[1], parts[0], rtol=1e-6, atol=0)
    rtol = 1e-5 if dtype == torch.float32 else 2e-2
    for ours, theirs in zip(*(gradients(part, inputs) for part in reversed(parts)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=rtol * float(theirs.abs().max()))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1, "it was compiled"
