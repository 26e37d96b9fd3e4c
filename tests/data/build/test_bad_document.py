"""Documents that cannot be read are refused by name, or counted, and never lost without a word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import DataError
from lrps.config.text import BadDocuments
from lrps.data.build import bad_document
from lrps.data.build.bad_document import BadDocument, check_bad, readable_documents
from lrps.data.build.tally import Tally, sum_tallies

REFUSE = BadDocuments()


def bad(number: int, kind: str = "no-text") -> BadDocument:
    return BadDocument(kind, f"a.jsonl, line {number}", "has no string.")


def skip(limit: float) -> BadDocuments:
    return BadDocuments(action="skip", limit=limit)


def test_the_first_ten_are_named() -> None:
    documents = [bad(n) if n % 3 == 0 else "text" for n in range(1, 100)]
    with pytest.raises(DataError, match="the first 10 documents that cannot be read") as refused:
        list(readable_documents(documents, REFUSE, Tally()))
    assert [line for line in str(refused.value).splitlines() if "line" in line] == [
        f"  a.jsonl, line {n}: has no string." for n in range(3, 31, 3)
    ]
    with pytest.raises(DataError, match=r"^a\.jsonl, line 7: has no string\. To leave such documents out, set"):
        list(readable_documents([bad(7)], REFUSE, Tally()))


def test_the_search_for_more_of_them_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged():
        yield from ("text", bad(2), "text", bad(4))
        raise DataError("a.jsonl: damaged")

    with pytest.raises(DataError, match="the first 2 documents"):
        list(readable_documents(damaged(), REFUSE, Tally()))
    monkeypatch.setattr(bad_document, "SEARCHED_DOCUMENTS", 5)
    read = iter([bad(1), *["text"] * 5, bad(7)])
    with pytest.raises(DataError, match=r"a\.jsonl, line 1"):
        list(readable_documents(read, REFUSE, Tally()))
    assert next(read) == bad(7)


@given(st.lists(st.sampled_from(["text", bad(1), bad(2, "broken-json")])), st.floats(0, 1))
def test_a_version_may_skip_its_limit_and_no_more(documents, limit):
    tally = Tally()
    texts = list(readable_documents(documents, skip(limit), tally))
    tally.documents["train"] += len(texts)
    count = sum(isinstance(document, BadDocument) for document in documents)
    assert (texts, tally.bad.total()) == (["text"] * (len(documents) - count), count)
    assert ("bad_documents" in tally.provenance) == (count > 0)
    if count and count > limit * len(documents):
        with pytest.raises(DataError, match=rf"v1: {count} of {len(documents)} documents cannot be read .*limit is "):
            check_bad(tally, skip(limit), "v1")
    else:
        check_bad(tally, skip(limit), "v1")
    if count:
        with pytest.raises(DataError, match=f"v1: {count} of"):
            check_bad(tally, REFUSE, "v1")


def test_a_file_of_another_kind_ends_at_once_and_damaged_documents_do_not() -> None:
    read = iter([bad(n) for n in range(10_000)])
    with pytest.raises(DataError, match="1,000 of the first 1,000 documents of a part are bad; the first 10"):
        list(readable_documents(read, skip(0.001), Tally()))
    assert next(read) == bad(1000)
    half = [document for n in range(3000) for document in ("text", bad(n))]
    assert len(list(readable_documents(half, skip(0.001), Tally()))) == 3000
    assert list(readable_documents([bad(n) for n in range(3000)], skip(1.0), Tally())) == []


@given(st.lists(st.lists(st.sampled_from(["", "a", "b"])), max_size=6))
def test_the_parts_add_up_in_order(parts):
    tallies = []
    for number, kinds in enumerate(parts):
        tally = Tally()
        for kind in kinds:
            tally.add_bad(kind, f"{number} {kind}") if kind else tally.documents.update(train=1)
        tallies.append(Tally.from_json(tally.to_json()))
        assert tallies[-1] == tally
    added = sum_tallies(tallies)
    everything = [f"{number} {kind}" for number, kinds in enumerate(parts) for kind in kinds if kind]
    assert added.first_bad == everything[:10]
    assert (added.bad.total(), added.seen) == (len(everything), sum(map(len, parts)))
