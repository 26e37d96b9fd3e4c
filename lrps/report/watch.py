"""Following a running graph for `lrps status --watch`: its status at intervals, until nothing is left to wait for."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from lrps.base.document import to_json
from lrps.base.errors import OUR_FAULT
from lrps.costs.status_document import SlurmJob, StatusDocument, status_document
from lrps.plan.follow import Follower
from lrps.plan.plan import Plan
from lrps.report.status_lines import status_block
from lrps.report.status_view import status_view

Show = Callable[[StatusDocument], None]
Jobs = Callable[[], Mapping[str, SlurmJob]]


def watch(plan: Plan, every_seconds: float, as_json: bool = False, jobs: Jobs = dict) -> int:
    """Show the status at intervals of `every_seconds`, and return the exit code once there is nothing left to wait for.

    jobs: is called each time for the jobs of status_document. The code is 0 if everything is complete or after Ctrl-C;
    1 if a path failed in the meantime and none is running. A path that had failed before is shown and does not end it,
    since somebody may be about to run it again.
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
                if document.state == "complete":
                    return 0
                if document.state == "failed" and failures - old_failures:
                    return OUR_FAULT
                time.sleep(every_seconds)
    except KeyboardInterrupt:
        return 0


def failed_paths(document: StatusDocument) -> set[str]:
    """Return the names of the paths that failed."""
    return {path.name for path in document.paths if path.state == "failed"}


@contextmanager
def _output(as_json: bool) -> Iterator[Show]:
    """Yield a function that prints a status: as JSON, as a live view on a terminal, or as lines of text elsewhere."""
    console = Console(highlight=False)
    if as_json:
        yield lambda document: print(json.dumps(to_json(document)), flush=True)
    elif sys.stdout.isatty() and not console.is_dumb_terminal:
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            yield lambda document: live.update(status_view(document, console), refresh=True)
    else:
        yield lambda document: print("\n".join(status_block(document)), flush=True)
