"""Replacement for a process group that trains: a script that performs the actions of its arguments in a run directory.

tests/launch/test_run.py starts it as `pretend_worker.py ROOT PATH DEED...`, where a deed is `pin:STEP`, `complete`,
`interrupt[:HOURS]`, `fail:STEP`, `touch:FILE`, `wait:FILE`, `say:TEXT` or `exit:CODE`.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from lrps.base.errors import INTERRUPTED
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter
from lrps.plan.plan import Plan
from support.run_builder import attempt, save, small_plan


def interrupt(plan: Plan, name: str, device_hours: float) -> None:
    """Write the ledger of an attempt that was asked to stop before its first step, after so many device-hours."""
    path, counters = plan.graph.by_name[name], Counters(allocated_seconds=3600 * device_hours)
    ledger = LedgerWriter(plan.layout.path(name).ledger)
    facts = {"format": FORMAT, "path": name, "path_start": path.start, "device": "cpu", "processes": 1}
    ledger.append("start", path.start, counters, **facts)
    ledger.append("stop", path.start, counters, outcome="interrupted")
    ledger.close()


def fail(plan: Plan, name: str, step: int) -> None:
    """Write the ledger of an attempt that failed at a step, from the state of ten steps before, which is saved."""
    path, counters = plan.graph.by_name[name], Counters()
    save(plan, name, step - 10)
    ledger = LedgerWriter(plan.layout.path(name).ledger)
    facts = {"format": FORMAT, "path": name, "path_start": path.start, "device": "cpu", "processes": 1}
    ledger.append("start", step - 10, counters, **facts)
    ledger.append("failure", step, Counters(steps=10), error="NonFiniteLoss", at=step, cause="non-finite")
    ledger.close()


def do(plan: Plan, name: str, deed: str) -> None:
    verb, _, what = deed.partition(":")
    stop = plan.graph.by_name[name].stop
    match verb:
        case "pin":
            attempt(plan, name, int(what) - 1, int(what), (int(what),), closed=False)
            save(plan, name, int(what), pinned=True)
        case "complete":
            attempt(plan, name, stop - 1, stop, (stop,))
            save(plan, name, stop, pinned=True)
        case "interrupt":
            interrupt(plan, name, float(what or 0))
        case "fail":
            fail(plan, name, int(what))
        case "touch":
            Path(what).touch()
        case "wait":
            while not Path(what).exists():
                time.sleep(0.02)
        case "say":
            print(what, flush=True)
        case "exit":
            sys.exit(int(what))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(INTERRUPTED))
    for each in sys.argv[3:]:
        do(small_plan(Path(sys.argv[1])), sys.argv[2], each)
