"""The what-if panel: its start reproduces the run, and its script agrees with `lrps sweep` in steps and in words."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from lrps.base.amounts import bill_time, money, percentage
from lrps.costs.comparison import Comparison, make_comparison
from lrps.costs.sweep import Grid, sweep_costs
from lrps.report.first_screen.what_if import OWN, what_if, what_if_rows
from lrps.report.page import render_page
from support.browser import CHROMIUM, found_by

SIZES = [900, 500, 700, 300]


def uneven(make: Any, switching: dict[str, Any], **changes: Any) -> Any:
    """Return a plan of increments of different sizes."""
    versions = [{"name": f"v{k}", "tokens": size * 256} for k, size in enumerate(SIZES, 1)]
    data = make().config.data.model_dump()
    return make(data={**data, "versions": versions}, paradigms={"path-switching": switching}, **changes)


def steps_of(comparison: Comparison) -> list[tuple[int, int]]:
    """Return the steps of path switching, PTFS and CPT, and what the next version adds, as the paths of plans say."""
    ways = [comparison.answers.main, comparison.answers.base("ptfs"), comparison.answers.base("cpt")]
    return [(way.all_versions.steps, way.next_version.steps) for way in ways]


@pytest.mark.parametrize(
    ("switching", "explained"),
    [
        ({"alpha": 0.6}, True),
        ({"alpha": 0.3, "alpha_of": "steps-so-far"}, True),
        ({"alpha": 0.6, "release_first": False}, True),
        ({"alpha": 0.625}, False),
        ({"release": "merge"}, False),
        ({"release_per_version": {"v2": "main"}}, False),
        ({"alpha": 120, "alpha_of": "steps"}, False),
        ({"alpha": 0.6, "alpha_per_version": {"v2": 0.2}}, False),
    ],
)
def test_it_starts_with_the_steps_of_the_run(make: Any, switching: dict[str, Any], explained: bool) -> None:
    for plan in (make(paradigms={"path-switching": switching}), uneven(make, switching)):
        comparison = make_comparison(plan)
        panel = what_if(comparison)
        assert (panel.alpha_of != OWN) == explained
        assert panel.keeps_increments == (plan.increments[1].steps != 500 or plan.increments[0].steps != 500)
        found = panel.steps()
        whole = [each[-2] for each in (found.path_switching, found.ptfs, found.cpt)]
        assert whole == [steps for steps, _ in steps_of(comparison)]
        if explained:  # Otherwise decays of further versions are those of the newest, in steps.
            more = [each[-1] - each[-2] for each in (found.path_switching, found.ptfs, found.cpt)]
            assert more == [added for _, added in steps_of(comparison)]


def test_without_a_speed_its_table_is_in_steps(make: Any) -> None:
    comparison = make_comparison(make())
    rows = what_if_rows(comparison, what_if(comparison), (0, 1, 2))
    assert [row.cost for row in rows] == ["2,900 steps", "5,000 steps", "2,000 steps"]
    assert rows[0].cells == ("58.0%", "145.0%", "800 steps", "2,900", "n/a", "n/a")
    assert 'id="price"' not in render_page(comparison)


DRIVE = """
<pre id="found"></pre>
<script>
const texts = (key) => [...document.getElementById(key + '-row').cells].map((cell) => cell.textContent);
const before = ['ps', 'ptfs', 'cpt'].map(texts), found = [];
for (const settings of %s) {
  for (const [id, value] of Object.entries(settings)) {
    const control = document.getElementById(id);
    control.value = value;
    control.dispatchEvent(new Event('input', {bubbles: true}));
  }
  found.push(['ps', 'ptfs', 'cpt'].map(texts));
}
document.getElementById('what-if-controls').reset();
onload = () => setTimeout(() => {
  const after = ['ps', 'ptfs', 'cpt'].map(texts);
  document.getElementById('found').textContent = JSON.stringify({before, found, after});
}, 50);
</script>
"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_script_agrees_with_the_sweep_in_steps_and_words(make: Any, formulas: Any, tmp_path: Path) -> None:
    plan = make(hardware=formulas.PRICED, paradigms={"path-switching": {"alpha": 0.6}})
    formulas.Run(plan).train(["main"])
    comparison = make_comparison(plan)
    alphas = tuple(Fraction(k, 100) for k in (5, 33, 60, 87, 100))
    grid = Grid(alphas, (1, 2, 3, 4, 7, 20), tuple(Fraction(k, 100) for k in (50, 95, 100, 105, 115, 200)))
    so_far = make(paradigms={"path-switching": {"alpha": 0.6, "alpha_of": "steps-so-far"}})
    sweeps = {"increment": sweep_costs(plan, grid), "steps-so-far": sweep_costs(so_far, grid)}
    points = [(of, point) for of, sweep in sweeps.items() for point in sweep.points]
    settings = []
    # Prices that give amounts of every size, up to millions.
    prices = [10.0 ** (k % 9 - 3) * (1 + 0.37 * (k % 7)) for k in range(len(points))]
    for (of, point), price in zip(points, prices, strict=True):
        chosen = {"versions": point.versions, "growth": point.growth, "alpha": point.alpha}
        settings.append({**chosen, "alpha-of": of, "price": price})
    page = tmp_path / "page.html"
    page.write_text(render_page(comparison).replace("</body>", DRIVE % json.dumps(settings) + "</body>"), "utf-8")
    found = found_by(page)
    rows = what_if_rows(comparison, what_if(comparison), (0, 1, 2))
    assert found["before"] == found["after"] == [[row.name, *row.cells] for row in rows]
    assert len(points) == 360
    for (_, point), price, shown in zip(points, prices, found["found"], strict=True):
        steps = [point.costs[kind].cost.steps for kind in ("path-switching", "ptfs", "cpt")]
        for own, cells in zip(steps, shown, strict=True):
            hours = comparison.pace.hours(own)
            assert hours is not None
            costs = [f"{own:,}", bill_time(hours), money(hours * price, "EUR")]
            assert cells[1:3] == [percentage(own / steps[1]), percentage(own / steps[2])], point
            assert cells[4:] == costs, point
