"""The page: its words and numbers, that it needs nothing else, and, in a real browser, that nothing collides."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lrps.base.numbers import amount
from lrps.costs.comparison import Comparison, make_comparison
from lrps.costs.forgetting_matrix import forgetting_matrices
from lrps.costs.measured_cost import MeasuredCost
from lrps.costs.price import parse_price
from lrps.costs.provenance import Processor
from lrps.costs.released_version import TaskScore
from lrps.plan.scores import MetricResult
from lrps.report.figures.catalogue import figures
from lrps.report.figures.goodput import USES
from lrps.report.headline import opening
from lrps.report.page import render_page
from lrps.report.tags import START_UP
from support.browser import CHROMIUM, found_by

VOID = {"meta", "link", "input"}


@pytest.fixture(scope="module")
def page(trained: Any) -> str:
    return render_page(make_comparison(trained))


def words(page: str) -> str:
    """The text of the page, without figures and style."""
    bare = re.sub(r"<(svg|style|script)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", bare)).split())


def lede(page: str) -> str:
    """The sentences at the top of the page."""
    found = re.search(r'<p class="lede">(.*?)</p>', page)
    assert found
    return html.unescape(re.sub(r"</?b>", "", found[1]))


def test_rehearsal_sets_are_described(rehearsing: Any) -> None:
    text = words(render_page(make_comparison(rehearsing)))
    assert "r rehearsal since v2: 30 rows, 1.92K tokens; manifest n/a (no shards yet)" in text


def test_the_headline_is_computed(trained: Any, page: str) -> None:
    text = words(page)
    assert " ".join(opening(make_comparison(trained))).replace("**", "").split() == lede(page).split()
    assert "One more version of the size of v4 would add, in steps: path-switching 800, ptfs 2,500, cpt 500." in text


def test_another_plan_has_another_headline(make: Any) -> None:
    text = words(render_page(make_comparison(make(versions=2, steps=100))))
    assert "2 versions by path switching take 260 steps . No cost has been measured yet" in text
    assert "Training takes 86.7% of what" in text
    assert "the figures of losses appear with the first evaluated version" in text
    assert "last written to n/a" in text


def test_every_section_is_there(page: str) -> None:
    titles = re.findall(r"<h2 id=.*?>(.*?)</h2>", page)
    assert titles == [
        "Against the others",
        "What if?",
        "Words",
        "Summary",
        "Paths",
        "Cost of each version",
        "Quality of the versions",
        "Goodput",
        "Method",
        "Provenance",
    ]
    text = words(page)
    assert "EMNLP 2024, arXiv 2410.04103" in text
    assert "Not claimed: the perplexities" in text
    assert "our contract, 2026-01-31" in text


def test_every_figure_is_shown_once_and_says_what_it_is(trained: Any, page: str) -> None:
    shown = figures(make_comparison(trained))
    drawings = sum(len(figure.panels) for figure in shown) + len(("rates", "loss", "speeds"))
    assert page.count('<svg class="chart"') == drawings == page.count("</title><desc>")
    assert [page.count(f'<figure id="{figure.name}"') for figure in shown] == [1] * len(shown)
    assert all(len(drawing.description) > 60 for figure in shown for _, drawing in figure.panels)


def test_it_is_one_small_file(page: str) -> None:
    assert len(page.encode()) < 200_000
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert not re.findall(r"https?:|@import|url\((?!#)", page)
    assert page.count("<script") == 2, "the what-if panel and its data"


def test_it_says_when_the_run_was_written_and_not_when_it_was_drawn(trained: Any, page: str) -> None:
    updated = make_comparison(trained).updated
    assert updated is not None
    assert updated[:19] + " UTC" in page
    assert render_page(make_comparison(trained)) == page


def test_measured_cells_are_not_applicable_before_training(make: Any) -> None:
    text = words(render_page(make_comparison(make())))
    summary = text[text.index("paradigm steps") : text.index("◆ measured")]
    row = summary[summary.index("path-switching") : summary.index("ptfs 5,000")]
    assert row.split() == ["path-switching", "2,900", "58.0%", "145.0%", "2.05e12"] + ["n/a"] * 7
    assert "Tokens" not in re.findall(r'aria-label="(\w+)"', render_page(make_comparison(make())))


def test_costs_say_whether_they_are_measured_or_modelled(page: str, make: Any, formulas: Any) -> None:
    costs = re.findall(r'<abbr title="(\w+)">(.)</abbr>', page)
    assert set(costs) == {("measured", "◆")}
    assert "~ modelled" not in page
    plan = make(hardware=formulas.PRICED)
    formulas.Run(plan).train(["main", "branch-v1"])
    half = render_page(make_comparison(plan))
    assert set(re.findall(r'<abbr title="(\w+)">(.)</abbr>', half)) == {("measured", "◆"), ("modelled", "~")}
    assert "~ modelled, in whole or in part" in half


def test_each_version_has_its_three_costs(page: str) -> None:
    text = words(page)
    table = text[text.index("added by it (marginal)") : text.index("marginal: what the version added")]
    costs = r"([\d,]+) ([\d.]+) ◆ ([\d.]+) ◆ ([\d.]+) ◆"
    rows = re.findall(rf"v(\d) {costs} {costs} {costs}", table)
    steps = [(row[0], row[1], row[5], row[9]) for row in rows]
    assert rows[3][3] == amount(800 * 0.036 / 3600), "training-hours"
    assert steps[:4] == [
        ("1", "500", "350", "500"),
        ("2", "800", "517", "1,000"),
        ("3", "800", "767", "1,500"),
        ("4", "800", "1,267", "2,000"),
    ]
    assert len(steps) == 3 * 4
    assert steps[4:8] == [(str(k), *[f"{500 * k:,}"] * 3) for k in range(1, 5)], "ptfs shares nothing"


def test_tokens_are_told_by_kind(page: str) -> None:
    assert re.search(r"cpt 512K 550K 512K 0 0 38.4K", words(page)), "150 steps were lost and trained again"


def test_provenance_is_shown_where_it_is_known(trained: Any, page: str) -> None:
    comparison = make_comparison(trained)
    processors = (Processor("A Processor", "AVX512", 1),)
    software = {"torch": ("2.9",), "deepspeed": ("0.18.1", "0.18.2")}
    made = replace(comparison.provenance, software=software, processors=processors)
    text = words(render_page(replace(comparison, provenance=made)))
    assert f"fingerprint of model, optimizer, batch and seed {trained.training_sha256[:16]} " in text
    assert "optimizer adamw " in text
    with_muon = replace(comparison, plan=replace(comparison.plan, optimizer="muon"))
    assert "optimizer muon " in words(render_page(with_muon))
    assert "torch 2.9, deepspeed 0.18.1, 0.18.2" in text
    assert "processors A Processor (AVX512, 1 threads a process)" in text
    assert "lrps ledger verify CONFIG checks every line" in words(page)
    assert comparison.graph.measured is not None
    hours = amount(comparison.graph.measured.device_hours)
    assert f"prices paid as the ledgers recorded them: 2.0 EUR per device-hour for {hours} device-hours price" in text
    assert "price now 2.0 EUR per device-hour, by the config (our contract, 2026-01-31): for planned and" in text
    assert "16 attempts" not in text
    assert "13 attempts" in text, "12 paths, of which one began twice"


def test_prices_that_were_paid_are_not_those_of_the_config(make: Any, formulas: Any) -> None:
    formulas.Run(make()).train(["ptfs-v1"])
    formulas.Run(make(hardware=formulas.PRICED)).train(["ptfs-v2"])
    later = {**formulas.PRICED, "price_per_device_hour": formulas.PRICED["price_per_device_hour"] | {"amount": 9.5}}
    text = words(render_page(make_comparison(make(hardware=later))))
    first, second = (amount((steps * 0.036 + 12) / 3600) for steps in (500, 1000))
    assert (
        f"none recorded for {first} device-hours; 2.0 EUR per device-hour for {second} device-hours price now 9.5"
        in text
    )


def test_a_stated_price_is_said_to_hold_for_everything(trained: Any) -> None:
    stated = replace(trained, stated_price=parse_price("2.5USD", date(2026, 3, 4)))
    text = words(render_page(make_comparison(stated)))
    assert "price now 2.5 USD per device-hour, by --price on 2026-03-04: for all device-hours" in text


def test_the_method_says_what_is_mixed(page: str, rehearsing: Any) -> None:
    alone = "CPT continues from the last version, on the new data alone. With N versions"
    assert alone in words(page)
    text = words(render_page(make_comparison(rehearsing)))
    assert alone not in text
    assert "Sequences of the branches of path-switching: 70% new, 10% replay, 20% rehearsal." in text
    assert "Sequences of the paths of cpt: 90% new, 10% replay." in text


def test_rows_break_between_parts_only(page: str) -> None:
    assert '<td class="text rows"><span>v1[0:2K]</span> <span>v2[0:2K]</span></td>' in page


def test_start_up_is_told_beside_the_costs_of_versions(page: str, make: Any) -> None:
    assert page.count(START_UP) == 2, "below the table, and in the caption of the figure"
    assert render_page(make_comparison(make())).count(START_UP) == 1, "the figure shows planned steps alone"


def test_names_are_escaped(make: Any) -> None:
    price = {"amount": 1.0, "currency": "<b>", "source": "A & <i>B</i>", "date": "2026-01-31"}
    page = render_page(make_comparison(make(hardware={"device": "cpu", "price_per_device_hour": price})))
    assert "A &amp; &lt;i&gt;B&lt;/i&gt;" in page
    assert "<i>B" not in page
    assert "<b></th>" not in page


def test_tags_are_closed(page: str) -> None:
    opened: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            if tag not in VOID:
                opened.append(tag)

        def handle_startendtag(self, tag: str, attrs: Any) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Checker().feed(page)
    assert opened == []


MEASURE = """
<script>
function look(svgs) {
  const found = {outside: [], overlaps: []};
  for (const svg of svgs) {
    const box = svg.getBoundingClientRect(), slack = 1, name = svg.querySelector('title').textContent;
    const beyond = a => a.left < box.left - slack || a.right > box.right + slack || a.top < box.top - slack
      || a.bottom > box.bottom + slack;
    for (const shape of svg.querySelectorAll('path, rect, circle'))
      if (!shape.closest('defs') && beyond(shape.getBoundingClientRect()))
        found.outside.push(name + ': a ' + shape.tagName);
    const texts = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
    texts.forEach(([words, a], i) => {
      if (beyond(a)) found.outside.push(name + ': ' + words);
      for (const [other, b] of texts.slice(i + 1))
        if (a.left + slack < b.right && b.left + slack < a.right && a.top + 2 * slack < b.bottom
            && b.top + 2 * slack < a.bottom)
          found.overlaps.push(name + ': ' + words + ' / ' + other);
    });
  }
  return found;
}
const found = look(document.querySelectorAll('svg.chart'));
found.width = innerWidth;
found.page = document.documentElement.scrollWidth;
found.figures = document.querySelectorAll('svg.chart').length;
const wider = e => e.scrollWidth > e.clientWidth;
found.scrolled = [...document.querySelectorAll('.box')].filter(wider).map(e => e.getAttribute('aria-label'));
found.broken = [...document.querySelectorAll('td.rows span')]
  .filter(e => e.getClientRects().length > 1).map(e => e.textContent);
found.cut = [...document.querySelectorAll('h1, h2, p:not(.hide), figcaption, dd, dt, nav a')]
  .filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth).map(e => e.textContent);
const control = document.createElement('div');
control.innerHTML = '<svg class="chart" viewBox="0 0 99 99"><title>control</title><text x="5" y="50">one</text>'
  + '<text x="9" y="52">two</text><text x="80" y="20">far too long for its figure</text></svg>';
document.body.append(control);
found.control = look(control.children);
control.innerHTML = '<pre id="found"></pre>';
control.firstChild.textContent = JSON.stringify(found);
</script>
"""
WIDTHS = (1280, 700, 380)


def look(pages: Mapping[str, str], directory: Path) -> dict[str, dict[str, Any]]:
    """What a headless browser finds in each page at each width: texts and shapes outside of their figure, texts that
    overlap or are cut off, the page's width.

    The pages stand in frames: a browser's own window has a least width, and one browser does for all.
    """
    frames = []
    for name, page in pages.items():
        (directory / f"{name}.html").write_text(page.replace("</body>", MEASURE + "</body>"), encoding="utf-8")
        for width in WIDTHS:
            style = f"width:{width}px;height:900px;border:0"
            frames.append(f'<iframe id="{name} {width}" src="{name}.html" style="{style}"></iframe>')
    script = (
        '<pre id="found"></pre><script>onload = () => { const found = {}; for (const f of document.querySelectorAll('
        "'iframe')) found[f.id] = JSON.parse(f.contentDocument.getElementById('found').textContent);"
        "document.getElementById('found').textContent = JSON.stringify(found) }</script>"
    )
    (directory / "frames.html").write_text('<meta charset="utf-8">' + "".join(frames) + script, encoding="utf-8")
    found = found_by(directory / "frames.html")
    assert isinstance(found, dict)
    return found


def pages_to_look_at(make: Any, formulas: Any) -> dict[str, str]:
    """One and ten versions, planned and half-way with long names and with all that can be measured."""
    paradigms = {"path-switching": {"alpha": 0.6}, "ptfs": {}, "wsd": {"kind": "wsd-s", "decay": "linear"}, "cpt": {}}
    long = "a-paradigm-with-a-name-of-some-length"
    plans = {
        "one": make(name="one", versions=1, paradigms={"path-switching": {}}),
        "ten": make(name="ten", versions=10, steps=100, paradigms=paradigms),
        "planned": make(name="planned"),
        "half-way": make(
            name="half-way",
            versions=9,
            steps=100,
            paradigms=paradigms | {long: {"kind": "path-switching", "alpha": 0.4}},
            hardware=formulas.PRICED,
        ),
    }
    formulas.Run(plans["one"]).train()
    formulas.Run(plans["ten"]).train(fail_at={"ptfs-v2": (150, 60)})
    begun = [p.name for p in plans["half-way"].graph.paths if p.name.endswith(("main", "v1", "v2", "v9"))]
    formulas.Run(plans["half-way"]).train(begun)
    comparisons = {name: make_comparison(plan) for name, plan in plans.items()}
    comparisons["wasteful"] = wasteful(comparisons["half-way"])
    comparisons["scored"] = scored(comparisons["half-way"])
    return {name: render_page(comparison) for name, comparison in comparisons.items()}


def wasteful(comparison: Comparison) -> Comparison:
    """Return the comparison as if device time had gone into every use, and the devices had metered their energy."""

    def wasted(measured: MeasuredCost | None) -> MeasuredCost:
        assert measured is not None
        return replace(measured, device_hours_by_use=dict.fromkeys(USES, 0.01), energy_kwh=12345.6)

    paradigms = {name: replace(p, measured=wasted(p.measured)) for name, p in comparison.paradigms.items()}
    graph = replace(comparison.graph, measured=wasted(comparison.graph.measured))
    return replace(comparison, paradigms=paradigms, graph=graph)


def scored(comparison: Comparison) -> Comparison:
    """Return the comparison as if every version had been scored on pairs of every version, and on an lm-eval task."""
    names = [version.name for version in comparison.plan.versions]
    tasks = {f"pairs-with-a-long-name-{name}": name for name in names} | {"a_task_of_lm_eval": None}
    scores = {
        task: TaskScore(
            {
                "perplexity,with-a-filter" if version is None else "rouge_l": MetricResult(
                    12.34, None, version is not None
                )
            },
            10,
        )
        for task, version in tasks.items()
    }
    paradigms = {}
    for name, paradigm in comparison.paradigms.items():
        releases = tuple(replace(release, scores=scores) for release in paradigm.releases)
        matrices = forgetting_matrices(names, releases, tasks, {})
        paradigms[name] = replace(paradigm, releases=releases, matrices=matrices)
    return replace(comparison, tasks=tasks, paradigms=paradigms)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_in_a_browser_nothing_collides_or_is_cut_off(page: str, make: Any, formulas: Any, tmp_path: Path) -> None:
    pages = {"finished": page, **pages_to_look_at(make, formulas)}
    looked = look(pages, tmp_path)
    assert len(looked) == len(pages) * len(WIDTHS)
    for name, found in looked.items():
        which, width = name.split()
        assert found["width"] == int(width)
        assert found["figures"] == pages[which].count('<svg class="chart"')
        control = {"outside": ["control: far too long for its figure"], "overlaps": ["control: one / two"]}
        assert found["control"] == control
        assert (found["outside"], found["overlaps"], found["cut"]) == ([], [], []), name
        assert found["broken"] == [], name
        assert which != "finished" or width != "1280" or found["scrolled"] == []
        assert found["page"] <= int(width), f"{name}: the page scrolls sideways"
