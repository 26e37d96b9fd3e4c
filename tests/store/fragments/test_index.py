"""The index of a checkpoint: pieces become bytes of segments and are found again, whatever the division."""

from __future__ import annotations

import json
from itertools import pairwise
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.store.fragments.index import FragmentIndex, read_index
from lrps.store.fragments.layouts import ElementRange, Listed, Shares, layout_of
from lrps.store.fragments.ranges import DTYPE_BYTES
from support.divided_states import indexes, stored_parameters


@given(indexes(), st.data())
def test_every_element_is_at_bytes_of_its_own(index: FragmentIndex, data: st.DataObject) -> None:
    taken: dict[str, list[tuple[int, int]]] = {}
    for state, parameters in stored_parameters(index).items():
        for number, name in enumerate(index.shapes):
            size = prod(index.shapes[name])
            found = list(index.overlapping(state, name, 0, size))
            if number not in parameters:
                assert found == []
                continue
            assert [each.start for each in found] == [0, *(each.stop for each in found[:-1])]
            assert found[-1].stop == size
            start = data.draw(st.integers(0, size - 1))
            stop = data.draw(st.integers(start + 1, size))
            some = list(index.overlapping(state, name, start, stop))
            assert some == [each for each in found if each.start < stop and start < each.stop]
            for each in found:
                assert each.bytes == (each.stop - each.start) * DTYPE_BYTES[each.dtype]
                assert each.offset % DTYPE_BYTES[each.dtype] == 0, "aligned for its type"
                taken.setdefault(each.file, []).append((each.offset, each.offset + each.bytes))
    for ranges in taken.values():
        ordered = sorted(ranges)
        assert all(stop <= start for (_, stop), (start, _) in pairwise(ordered))


@given(indexes())
def test_the_segments_of_a_file_cover_it_and_have_their_own_values(index: FragmentIndex) -> None:
    ends: dict[str, int] = {}
    for segment in range(sum(index.files)):
        file, plan = index.file_of(segment), index.plan_of(segment)
        offset, size = plan.extents[segment]
        assert offset == ends.get(file, 0)
        ends[file] = offset + size
        for state, stored in index.states.items():
            begin = plan.tensors[state, segment]
            elements = sum(piece.stop - piece.start for piece in index.pieces(state, segment))
            assert elements == index.layouts[state].elements(segment)
            assert offset <= begin <= begin + elements * DTYPE_BYTES[stored.dtype] <= offset + size
    assert len(ends) == len(index.files)


@given(indexes())
def test_what_is_written_is_what_is_read(index: FragmentIndex) -> None:
    again = read_index(index.text())
    assert again == index
    assert again.text() == index.text()
    assert index.fault() is None


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.integers(1, 6))
def test_pieces_that_follow_the_rule_are_not_listed(sizes: list[int], ranks: int) -> None:
    shares = Shares(ranks, tuple(sizes), tuple(range(len(sizes))))
    assert layout_of([None] * ranks, shares) is shares
    assert shares.to_json() == {"rule": "shares", "of": ranks}
    listed = layout_of([*([None] * (ranks - 1)), shares.pieces(ranks - 1)], shares)
    assert isinstance(listed, Listed)
    for number, size in enumerate(sizes):
        assert list(listed.find(number, 0, size)) == list(shares.find(number, 0, size))
    for rank in range(ranks):
        share = [-(-size // ranks) for size in sizes]
        expected = [(n, rank * share[n], min(size, (rank + 1) * share[n])) for n, size in enumerate(sizes)]
        assert shares.pieces(rank) == [piece for piece in expected if piece[1] < piece[2]]


@pytest.mark.parametrize(
    ("pieces", "fault"),
    [
        ([[(0, 0, 6)], [(1, 0, 2)]], None),
        ([[(0, 0, 3)], [(0, 3, 6)]], None),
        ([[(0, 0, 3)], [(0, 4, 6)]], "a: elements 3 to 4 are missing"),
        ([[(0, 0, 5)], []], "a: elements 5 to 6 are missing"),
        ([[(0, 0, 4)], [(0, 3, 6)]], "a: elements 3 to 4 are stored twice"),
        ([[(0, 0, 6)], [(0, 0, 6)]], "a: elements 0 to 6 are stored twice"),
    ],
)
def test_gaps_and_values_that_are_stored_twice_are_found(
    pieces: list[list[tuple[int, int, int]]], fault: str | None
) -> None:
    layout = Listed(tuple(tuple(ElementRange(*piece) for piece in each) for each in pieces))
    assert layout.fault([6, 2], ["a", "b"]) == fault


def test_an_index_of_another_format_or_rule_is_refused() -> None:
    text = '{"format":"lrps-fragments/2","parameters":[["a",[2]]],"states":{"fp32":{"kind":"elementwise",'
    text += '"dtype":"F32"}},"layout":[{"states":["fp32"],"rule":"shares","of":1}],"files":[1],"steps":{}}'
    assert read_index(text).text() == text + "\n"
    with pytest.raises(ValueError, match="has format 'lrps-fragments/9'"):
        read_index(text.replace("fragments/2", "fragments/9"))
    with pytest.raises(ValueError, match="the rule 'stripes'; use the lrps that wrote it"):
        read_index(text.replace("shares", "stripes"))


GOOD = """{"format":"lrps-fragments/2","parameters":[["a",[2]],["b",[3]]],"states":{"fp32":{"kind":"elementwise",
"dtype":"F32"}},"layout":[{"states":["fp32"],"rule":"shares","of":1}],"files":[1],"steps":{}}"""
LISTED = GOOD.replace('"rule":"shares","of":1', '"pieces":[[0,0,2,0],[1,0,3,0]]')


@pytest.mark.parametrize(
    ("good", "there", "instead"),
    [
        (GOOD, "[2]", "[-2]"),
        (GOOD, "[2]", "[true]"),
        (GOOD, "[2]", "[99999999999999999999]"),
        (GOOD, '"files":[1]', '"files":[9999999999]'),
        (GOOD, '"files":[1]', '"files":[2,-1]'),
        (GOOD, '"files":[1]', '"files":[]'),
        (GOOD, '"of":1', '"of":0'),
        (GOOD, '"of":1', '"of":1e300'),
        (GOOD, '"of":1', '"of":1,"parameters":[7]'),
        (LISTED, "[1,0,3,0]", "[1,0,4,0]"),
        (LISTED, "[1,0,3,0]", "[1,2,1,0]"),
        (LISTED, "[1,0,3,0]", "[1,0,3,-1]"),
        (LISTED, "[1,0,3,0]", "[-1,0,3,0]"),
    ],
)
def test_numbers_that_no_state_has_are_refused(good: str, there: str, instead: str) -> None:
    assert read_index(good).fault() is None
    with pytest.raises(ValueError, match=r"has shape|are not those of ranks|its layout "):
        read_index(good.replace(there, instead, 1))


def test_the_index_of_a_thousand_ranks_at_stage_3_lists_no_pieces() -> None:
    shapes = {f"layer.{n}": [4096, 4096] for n in range(291)}
    shares = Shares(1024, (2**24,) * 291, tuple(range(291)))
    index = FragmentIndex(shapes, {}, {"fp32": shares}, (8,) * 128, {})
    assert len(index.text()) < 10_000
    assert "pieces" not in json.loads(index.text())["layout"][0]
