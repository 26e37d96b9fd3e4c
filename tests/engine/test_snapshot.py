"""Copies of the state in the memory of the host: their bytes, their memory, and the updates that wait for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import CheckpointError
from lrps.engine import checkpointing
from lrps.engine.checkpointing import Saver, save_checkpoint
from lrps.engine.fragments import FragmentKey, Fragments
from lrps.engine.snapshot import PIECE_BYTES, Snapshot, StateCopy, pieces
from lrps.engine.update_gate import UpdateGate
from lrps.store.fragments.index import FragmentIndex
from lrps.store.fragments.layouts import Shares, covered
from lrps.store.fragments.ranges import StoredState
from lrps.store.layout import PathLayout

A, B = FragmentKey("fp32", "a", 0), FragmentKey("momentum", "b", 0)


def fragments(*values: float) -> Fragments:
    """Disjoint views of one memory, as in an engine, and values of another type."""
    weights, momentum = torch.tensor(values[:2]), torch.tensor(values[2:], dtype=torch.bfloat16)
    states = {"fp32": StoredState("elementwise", "F32"), "momentum": StoredState("whole", "BF16")}
    return Fragments({A: weights, B: momentum}, {"a": [2], "b": [1]}, states, {"adam_step": values[0]})


def write(own: Fragments, directory: Path) -> Path:
    """Write what one rank has: the weights are of one parameter, the momentum of another."""
    rules = {state: Shares(1, (2, 1), covered(own.pieces(state))) for state in own.states}
    index = FragmentIndex(own.shapes, own.states, rules, (1,), own.steps)
    return directory / own.write(directory, index, 0).file


def test_a_copy_is_what_the_state_was() -> None:
    live = fragments(1.0, 2.0, 3.0)
    copy = Snapshot(live).take(live).fragments
    live.tensors[A].zero_()
    assert {key: tensor.tolist() for key, tensor in copy.tensors.items()} == {A: [1.0, 2.0], B: [3.0]}
    assert {key: tensor.dtype for key, tensor in copy.tensors.items()} == {A: torch.float32, B: torch.bfloat16}
    assert (copy.shapes, copy.states, copy.steps) == (live.shapes, live.states, live.steps)


def test_the_memory_is_used_again() -> None:
    snapshot = Snapshot(fragments(0.0, 0.0, 0.0))
    first = snapshot.take(fragments(1.0, 2.0, 3.0)).fragments
    where = {key: tensor.data_ptr() for key, tensor in first.tensors.items()}
    second = snapshot.take(fragments(4.0, 5.0, 6.0)).fragments
    assert {key: tensor.data_ptr() for key, tensor in second.tensors.items()} == where
    assert [*second.tensors[A].tolist(), *second.tensors[B].tolist()] == [4.0, 5.0, 6.0]
    assert second.steps == {"adam_step": 4.0}


def test_a_copy_takes_the_bytes_of_the_state() -> None:
    copy = Snapshot(fragments(1.0, 2.0, 3.0)).take(fragments(1.0, 2.0, 3.0)).fragments
    storages = [tensor.untyped_storage() for tensor in copy.tensors.values()]
    assert sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values()) == 2 * 4 + 2


def test_a_copy_is_written_like_the_state(tmp_path: Path) -> None:
    live = fragments(1.0, 2.0, 3.0)
    (tmp_path / "copy").mkdir()
    one, other = write(live, tmp_path), write(Snapshot(live).take(live).fragments, tmp_path / "copy")
    assert one.read_bytes() == other.read_bytes()


def test_too_little_host_memory_names_the_setting() -> None:
    endless = torch.zeros(1).expand(2**60)
    with pytest.raises(CheckpointError, match=r"no host memory for a copy of .* GB .* checkpoint.asynchronous: false"):
        Snapshot(Fragments({A: endless}, {}, {}, {}))


@given(st.lists(st.integers(1, 50)), st.integers(1, 40))
def test_pieces_cover_the_tensors_in_order(counts: list[int], most: int) -> None:
    found = list(pieces(counts, most))
    assert [count for piece in found for count in counts[piece]] == counts
    sums = [sum(counts[piece]) for piece in found]
    assert all(total <= most or len(counts[piece]) == 1 for total, piece in zip(sums, found, strict=True))
    # None could have been joined to the next one.
    assert all(total + counts[piece.start] > most for total, piece in zip(sums, found[1:], strict=False))


def test_pinned_pieces_of_a_7b_model_are_rounded_up_by_little() -> None:
    """On 8 ranks: 32 layers of attention, MLP and norms, and two embeddings, cut into 8; torch takes powers of two."""
    layer = [*[4096 * 4096] * 4, *[4096 * 11008] * 3, 4096, 4096]
    counts = [each // 8 for _ in range(3) for each in [32000 * 4096, *layer * 32, 4096, 32000 * 4096]]
    needed = 4 * sum(counts)
    taken = sum(_power_of_two(4 * sum(counts[piece])) for piece in pieces(counts, PIECE_BYTES // 4))
    assert 10.0e9 < needed < 10.2e9
    assert _power_of_two(needed) > 1.6 * needed, "as one block"
    assert taken < 1.1 * needed


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()


class BesideSnapshot(Snapshot):
    """A snapshot that a thread fills once `may_copy` is set, as a stream of a GPU fills it beside training."""

    may_copy = threading.Event()

    def take(self, live: Fragments) -> StateCopy:
        def fill() -> None:
            self.may_copy.wait(5.0)  # An update that asks nobody is long over then.
            self._copy(live)

        thread = threading.Thread(target=fill)
        thread.start()
        return StateCopy(replace(live, tensors=self._buffers), thread.join, self._hold(thread))

    def _hold(self, thread: threading.Thread) -> Callable[[], None]:
        def hold() -> None:
            self.may_copy.set()  # An update that did not ask would have changed the state by now.
            thread.join()

        return hold


class OneTensorEngine:
    """Its state is changed by updates only; between gate and update nothing else happens, as in the real engine."""

    facts: dict[str, Any] = {}  # noqa: RUF012
    average = SimpleNamespace(rule=None)

    def __init__(self) -> None:
        values = {A: torch.tensor([1.0, 2.0]), A._replace(name="b"): torch.tensor([3.0])}
        self.state = Fragments(values, {"a": [2], "b": [1]}, {"fp32": StoredState("elementwise", "F32")}, {})
        config = SimpleNamespace(_param_dict={"gradient_clipping": 0.0}, gradient_clipping=0.0)
        self.gate = UpdateGate(SimpleNamespace(zero_optimization_stage=lambda: 0, optimizer=None, _config=config))

    def own_fragments(self) -> Fragments:
        return self.state

    def hold_update(self, until: Callable[[], None]) -> None:
        self.gate.hold = until

    def update(self) -> None:
        self.gate.begin(None, torch.zeros(()))
        for tensor in self.state.tensors.values():
            tensor.add_(1.0)


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[BesideSnapshot]]:
    monkeypatch.setattr(checkpointing, "Snapshot", BesideSnapshot)
    BesideSnapshot.may_copy.clear()
    yield BesideSnapshot
    BesideSnapshot.may_copy.set()


def test_an_update_waits_for_the_copy_and_the_writer_does_too(beside: type[BesideSnapshot], tmp_path: Path) -> None:
    engine: Any = OneTensorEngine()
    expected = save_checkpoint(engine, PathLayout(tmp_path / "awaited"), 1, {})
    with closing(Saver(engine, PathLayout(tmp_path / "beside"))) as saver:
        saver.begin(1, {})
        assert not saver.written, "no bytes are written before they are copied"
        engine.update()
        engine.update()
        found = saver.finish()
    assert found is not None
    assert found.manifest["files"] == expected.manifest["files"]
