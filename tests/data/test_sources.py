from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from lrps.data.sources import DataSource, SourcePart, mixture_sha256


@pytest.fixture
def parts(tmp_path, build_version) -> tuple[SourcePart, SourcePart]:
    web, code = (build_version(tmp_path, name, tokens) for name, tokens in (("v1.web", 2000), ("v1.code", 500)))
    return SourcePart(code, 25, 50), SourcePart(web, 100, 60)


def test_without_a_mixture_the_manifest_is_the_identity(parts):
    source = DataSource.plain(parts[0].manifest, 20)
    assert source.identity == {"manifest_sha256": parts[0].manifest.sha256, "rows": 20}
    assert source.text_of([20]) == (500, Fraction(1500))


def test_every_fact_of_a_part_is_in_the_identity_of_a_mixture(parts):
    code, web = parts
    source = DataSource("v1", parts)
    assert source.rows == source.identity["rows"] == 110
    assert source.identity["manifest_sha256"] == source.sha256 == mixture_sha256(source.identity["parts"])
    changed = [
        (code, replace(web, rows=99)),
        (code, replace(web, count=61)),
        (replace(code, manifest=replace(code.manifest, provenance={})), web),
    ]
    others = {DataSource("v1", each).sha256 for each in changed}
    assert len(others | {source.sha256}) == 4


def test_the_text_of_a_mixture_is_weighted_by_its_rows(parts):
    code, web = parts
    dense = replace(code, manifest=replace(code.manifest, text_bytes=500))  # One byte a token; `web` has three.
    source = DataSource("v1", (dense, web))
    assert source.text_of([30, 10]) == (40, Fraction(30 + 30))
    assert source.text_of([0, 10]) == (2000, Fraction(6000)), "one part alone: its own numbers"
