"""Tests under pytest as claims, one for each file; for tools/gpu_proof.py.

usage: gpu_tests.py --found FILE TEST... -- OPTIONS OF PYTEST
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

from gpu_findings import Findings

ROOT = Path(__file__).parent.parent


def judge(findings: Findings, report: Path) -> None:
    """Write down the outcomes in a JUnit report, by the module of the tests."""
    outcomes: dict[str, Counter[str]] = {}
    failed: dict[str, list[str]] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        module = case.get("classname", "?")
        outcome = next((kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None), "passed")
        outcomes.setdefault(module, Counter())[outcome] += 1
        if outcome in ("failure", "error"):
            failed.setdefault(module, []).append(case.get("name", "?"))
    for module, counts in outcomes.items():
        wrong = failed.get(module, [])
        said = f"{counts['passed']} passed, {counts['skipped']} skipped" + "".join(
            f"; failed: {name}" for name in wrong
        )
        findings.claim(f"tests of {module}", not wrong and counts["passed"] > 0, said)


def main() -> None:
    """Run pytest, and write down what it found; its exit code is that of pytest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--found", type=Path, required=True, help="file of findings")
    parser.add_argument("tests", nargs="+", help="files, then -- and options of pytest")
    arguments = parser.parse_args()
    report = arguments.found.resolve().with_name("junit.xml")
    report.unlink(missing_ok=True)
    words = ["-p", "no:cacheprovider", f"--junitxml={report}", *arguments.tests]
    code = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT).returncode
    if report.exists():
        judge(Findings(arguments.found), report)
    sys.exit(code)


if __name__ == "__main__":
    main()
