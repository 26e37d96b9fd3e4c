"""`lrps status --watch`: looks at a running graph again and again, and shows what it sees until there is no more."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live

from lrps.base.errors import OUR_FAULT
from lrps.costs.status_document import status_document
from lrps.plan.follow import Follower
from lrps.plan.plan import Plan
from lrps.report.status_lines import status_block
from lrps.report.status_view import status_view

Show = Callable[[Mapping[str, Any]], None]
Jobs = Callable[[], Mapping[str, Mapping[str, Any]]]


def watch(plan: Plan, every_seconds: float, as_json: bool = False, jobs: Jobs = dict) -> int:
    """Show the status every so many seconds; the exit code once there is nothing more to wait for.

    jobs: asked every time for the jobs in a scheduler, see status_document.

    0: everything is complete, or Ctrl-C. 1: a path has failed meanwhile and none runs any more. A failure from before
    is shown and waited over: somebody may be about to run it again.
    """
    follower = Follower(plan)
    old_failures: set[str] | None = None
    try:
        with _output(as_json) as show:
            while True:
                document = status_document(plan, follower.look(), jobs())
                show(document)
                failures = failed_paths(document)
                old_failures = failures if old_failures is None else old_failures & failures
                if document["state"] == "complete":
                    return 0
                if document["state"] == "failed" and failures - old_failures:
                    return OUR_FAULT
                time.sleep(every_seconds)
    except KeyboardInterrupt:
        return 0


def failed_paths(document: Mapping[str, Any]) -> set[str]:
    """Their names."""
    return {path["name"] for path in document["paths"] if path["state"] == "failed"}


@contextmanager
def _output(as_json: bool) -> Iterator[Show]:
    """A JSON object a line, a view that stays in its place on a terminal, or a block of lines elsewhere."""
    console = Console(highlight=False)
    if as_json:
        yield lambda document: print(json.dumps(document), flush=True)
    elif sys.stdout.isatty() and not console.is_dumb_terminal:
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            yield lambda document: live.update(status_view(document, console), refresh=True)
    else:
        yield lambda document: print("\n".join(status_block(document)), flush=True)
