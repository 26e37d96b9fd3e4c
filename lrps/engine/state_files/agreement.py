"""The agreement of all ranks on the index of the checkpoint that they are about to write. Must not import deepspeed."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

from lrps.base.errors import CheckpointError
from lrps.engine.fragments import Fragments
from lrps.engine.ranks import ask_rank_zero, gather, rank, world_size
from lrps.store.fragments.index import FragmentIndex
from lrps.store.fragments.layouts import ElementRange, Layout, Shares, covered, layout_of

RanksPerFile = int | Literal["host"]
"""Number of consecutive ranks of one host that share a file; `host` for all of them."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_Pieces = tuple[ElementRange, ...] | None
_Covered = dict[str, tuple[int, ...]]
"""State -> the numbers of its parameters."""


@dataclass(frozen=True)
class _Listed:
    """The pieces of each state that a rank has, where equal ones are listed once; None if they are those of a rule."""

    host: str
    pieces: tuple[_Pieces, ...]
    numbers: Mapping[str, int]
    """State -> the place of its pieces in `pieces`."""

    def of_state(self, state: str) -> _Pieces:
        """Return the pieces of a state."""
        return self.pieces[self.numbers[state]]


def agree_on_index(own: Fragments, ranks_per_file: RanksPerFile = "host") -> FragmentIndex:
    """Return the index of the state that the ranks have together, the same on all of them. Collective.

    A state that every rank has its equal share of (ZeRO 3) is described by that rule; the pieces of any other are
    gathered. Raises CheckpointError on all ranks if a value would be missing or written twice.
    """
    sizes = tuple(prod(shape) for shape in own.shapes.values())
    stored = ask_rank_zero(lambda: {state: covered(own.pieces(state)) for state in own.states}, _Covered)
    rules = {state: Shares(world_size(), sizes, parameters) for state, parameters in stored.items()}
    everyone = gather(_listed(own, rules), _Listed)
    layouts: dict[str, Layout] = {}
    known: dict[tuple[Shares, tuple[_Pieces, ...]], Layout] = {}
    for state, rule in rules.items():
        pieces = tuple(each.of_state(state) for each in everyone)
        layouts[state] = known.setdefault((rule, pieces), layout_of(pieces, rule))
    files = ranks_in_files([each.host for each in everyone], ranks_per_file)
    index = FragmentIndex(own.shapes, own.states, layouts, files, own.steps)
    if (fault := index.fault()) is not None:
        raise CheckpointError(f"the ranks do not have the state once: {fault}; this is a defect of lrps: report it")
    return index


def index_alone(own: Fragments) -> FragmentIndex:
    """Return the index of a state that this process has as a whole. Not collective."""
    sizes = tuple(prod(shape) for shape in own.shapes.values())
    known: dict[tuple[int, ...], Layout] = {}
    layouts: dict[str, Layout] = {}
    for state in own.states:
        parameters = covered(own.pieces(state))
        layouts[state] = known.setdefault(parameters, Shares(1, sizes, parameters))
    return FragmentIndex(own.shapes, own.states, layouts, (1,), own.steps)


def _listed(own: Fragments, rules: Mapping[str, Shares]) -> _Listed:
    """Return this rank's pieces of each state."""
    known: dict[_Pieces, int] = {}
    numbers = {}
    for state in own.states:
        found = own.pieces(state)
        listed = None if found == tuple(rules[state].pieces(rank())) else found
        numbers[state] = known.setdefault(listed, len(known))
    return _Listed(_host(), tuple(known), numbers)


def _host() -> str:
    """Return what identifies this host; two hosts of the same name differ in the identifier of their boot."""
    try:
        return f"{socket.gethostname()} {_BOOT.read_text()}"
    except OSError:
        return socket.gethostname()


def ranks_in_files(hosts: Sequence[str], most: RanksPerFile) -> tuple[int, ...]:
    """Return how many consecutive ranks share each file: those of one host, at most `most` of them.

    hosts: that of each rank. Ranks of several hosts never share a file, whose locks would travel between them.
    """
    counts: list[int] = []
    for number, host in enumerate(hosts):
        if number and host == hosts[number - 1] and counts[-1] != most:
            counts[-1] += 1
        else:
            counts.append(1)
    return tuple(counts)
