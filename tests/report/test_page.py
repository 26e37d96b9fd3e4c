"""The page: its words and numbers, that it needs nothing else, and, in a real browser, that nothing collides."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lrps.report.comparison import comparison_document
from lrps.report.page import render_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VOID = {"meta", "link"}


@pytest.fixture(scope="module")
def page(trained: Any) -> str:
    return render_page(comparison_document(trained))


def words(page: str) -> str:
    """The text of the page, without figures and style."""
    bare = re.sub(r"<(svg|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", bare)).split())


def test_rehearsal_sets_are_described(rehearsing: Any) -> None:
    text = words(render_page(comparison_document(rehearsing)))
    assert "r rehearsal since v2: 30 rows, 1.92K tokens; manifest n/a (no shards yet)" in text


def test_the_headline_is_computed(page: str) -> None:
    text = words(page)
    assert "4 versions: path-switching takes 2,900 steps, 58.0% of those of training every version from scratch" in text
    assert "Measured: 0.0457 device-hours on cpu, 58.0% of the training time of PTFS." in text
    assert "The last version adds, in steps: path-switching 800, ptfs 2,000, cpt 500." in text


def test_another_plan_has_another_headline(make: Any) -> None:
    text = words(render_page(comparison_document(make(versions=2, steps=100))))
    assert "2 versions: path-switching takes 260 steps, 86.7% of those" in text
    assert "Nothing of path-switching was measured yet." in text
    assert "the figures of losses appear with the first evaluated version" in text
    assert "last written to n/a" in text


def test_every_section_is_there(page: str) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == ["Summary", "Goodput", "Figures", "Paths", "Lineage", "Method", "Provenance"]
    text = words(page)
    assert "EMNLP 2024, arXiv 2410.04103" in text
    assert "Not claimed: the perplexities" in text
    assert "our contract, 2026-01-31" in text
    assert page.count("<svg") == 3 + 1 + 2 + 2 + 3 + 3


def test_it_is_one_small_file(page: str) -> None:
    assert len(page.encode()) < 200_000
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert not re.findall(r"https?:|@import|url\(", page)
    assert "<script" not in page


def test_it_says_when_the_run_was_written_and_not_when_it_was_drawn(trained: Any, page: str) -> None:
    updated = comparison_document(trained)["updated"]
    assert updated in page
    assert render_page(comparison_document(trained)) == page


def test_measured_cells_are_not_applicable_before_training(make: Any) -> None:
    text = words(render_page(comparison_document(make())))
    summary = text[text.index("paradigm steps") : text.index("Planned: computed")]
    row = summary[summary.index("path-switching") : summary.index("ptfs 5,000")]
    assert row.split() == ["path-switching", "2,900", "58.0%", "145.0%", "2.05e12"] + ["n/a"] * 5


def test_names_are_escaped(make: Any) -> None:
    price = {"amount": 1.0, "currency": "<b>", "source": "A & <i>B</i>", "date": "2026-01-31"}
    page = render_page(comparison_document(make(hardware={"device": "cpu", "price_per_device_hour": price})))
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
    const box = svg.getBoundingClientRect(), slack = 1;
    const texts = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
    texts.forEach(([words, a], i) => {
      if (a.left < box.left - slack || a.right > box.right + slack || a.top < box.top - slack
          || a.bottom > box.bottom + slack) found.outside.push(svg.querySelector('title').textContent + ': ' + words);
      for (const [other, b] of texts.slice(i + 1))
        if (a.left + slack < b.right && b.left + slack < a.right && a.top + 2 * slack < b.bottom
            && b.top + 2 * slack < a.bottom)
          found.overlaps.push(svg.querySelector('title').textContent + ': ' + words + ' / ' + other);
    });
  }
  return found;
}
const found = look(document.querySelectorAll('svg.chart'));
found.width = innerWidth;
found.page = document.documentElement.scrollWidth;
found.figures = document.querySelectorAll('svg.chart').length;
const control = document.createElement('div');
control.innerHTML = '<svg class="chart" viewBox="0 0 99 99"><title>control</title><text x="5" y="50">one</text>'
  + '<text x="9" y="52">two</text><text x="80" y="20">far too long for its figure</text></svg>';
document.body.append(control);
found.control = look(control.children);
control.innerHTML = '<pre id="found"></pre>';
control.firstChild.textContent = JSON.stringify(found);
</script>
"""


def look(page: str, width: int, directory: Path) -> dict[str, Any]:
    """What a headless browser of this width finds: texts outside their figure, overlapping texts, the page's width.

    The page stands in a frame: a browser's own window has a least width.
    """
    (directory / "page.html").write_text(page.replace("</body>", MEASURE + "</body>"), encoding="utf-8")
    frame = (
        f'<iframe id="f" src="page.html" style="width:{width}px;height:900px;border:0"></iframe><pre id="found"></pre>'
        "<script>onload = () => { document.getElementById('found').textContent ="
        "document.getElementById('f').contentDocument.getElementById('found').textContent }</script>"
    )
    (directory / "frame.html").write_text(frame, encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking --no-first-run"
    command = [str(CHROMIUM), *flags.split(), "--allow-file-access-from-files", f"--user-data-dir={directory}/profile"]
    command += ["--window-size=1300,1000", "--dump-dom", (directory / "frame.html").as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    return json.loads(html.unescape(dom[dom.index('id="found">') + len('id="found">') : dom.index("</pre>")]))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [1200, 360])
@pytest.mark.parametrize("which", ["finished", "half-way, many versions and long names"])
def test_in_a_browser_nothing_collides(
    page: str, which: str, width: int, make: Any, formulas: Any, tmp_path: Path
) -> None:
    if which != "finished":
        plan = make(
            versions=9,
            paradigms={
                "path-switching": {"alpha": 0.6},
                "ptfs": {},
                "wsd": {"kind": "wsd-s", "decay": "linear"},
                "a-paradigm-with-a-name-of-some-length": {"kind": "path-switching", "alpha": 0.4},
                "cpt": {},
            },
        )
        formulas.Run(plan).train([p.name for p in plan.graph.paths if p.name.endswith(("main", "v1", "v2", "v9"))])
        page = render_page(comparison_document(plan))
    found = look(page, width, tmp_path)
    assert found["width"] == width
    assert found["figures"] == page.count("<svg")
    assert found["control"] == {"outside": ["control: far too long for its figure"], "overlaps": ["control: one / two"]}
    assert found["outside"] == []
    assert found["overlaps"] == []
    assert found["page"] <= width, "the page scrolls sideways"
