"""What is printed while paths are trained."""

from __future__ import annotations

import pytest

from lrps.ledger.metrics import Metrics
from lrps.track.console import TrainingConsole, duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (59.4, "59s"), (59.6, "1m00s"), (3599, "59m59s"), (7500, "2h05m")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrps.track.console.LINE_EVERY_SECONDS", 0.0)
    with TrainingConsole(total_steps=100) as console:
        console.begin("main", 40, 100, "resumed from main at step 40")
        console.show(Metrics(step=50, tokens=800, loss=2.5, lr=1e-3, grad_norm=None, tokens_per_second=1234.5))
    first, second = capsys.readouterr().out.splitlines()
    assert first == "main: steps 40 to 100, resumed from main at step 40"
    assert second.startswith("main: step 50/100  loss 2.5000  lr 1.00e-03  1,234 tokens/s  ETA ")


def test_progress_of_the_whole_plan(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrps.track.console.LINE_EVERY_SECONDS", 0.0)
    with TrainingConsole(total_steps=100, progress=lambda steps, _: f"{steps} steps of the plan") as console:
        for path, stop in (("main", 100), ("branch-v1", 60)):
            console.begin(path, 40, stop, "resumed")
            console.show(Metrics(step=50, tokens=800, loss=2.5, lr=1e-3, grad_norm=None, tokens_per_second=1234.5))
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("tokens/s  ")[2] for line in lines] == [
        "",
        "10 steps of the plan",
        "",
        "20 steps of the plan",
    ]
