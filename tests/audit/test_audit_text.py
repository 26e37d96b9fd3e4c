"""What people see of an audit."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lrps.audit.run import audit_run
from lrps.report.audit_text import audit_document, print_audit
from support.synthetic_run import (
    LENGTH,
    position_off,
)


def test_the_document_and_its_tables(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit = audit_run(run)
    document = audit_document(audit)
    assert document["ok"]
    assert document["first_difference"] is None
    assert document["tokens"] == document["rows"] * LENGTH
    assert json.loads(json.dumps(document)) == document
    print_audit(audit)
    shown = " ".join(capsys.readouterr().out.split())
    assert "branch-v2: 352 tokens (main to step 15, branch-v2 to step 22)" in shown
    assert re.search(r"v2 +0 +20 +25 +80\.0% +160 +5", shown)
    assert re.search(
        r"No row twice, none left out; [\d,]+ tokens = the ledger's, \d+ checkpoints agree; \d+ steps", shown
    )


def test_the_first_difference_is_shown(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = position_off(run)
    audit = audit_run(run)
    document = audit_document(audit)
    first = document["first_difference"]
    assert (first["path"], first["step"], first["source"], first["expected"], first["found"]) == (
        "main",
        15,
        "v2",
        10,
        11,
    )
    assert first["file"].endswith("main/branch_points/step-00000015/manifest.json")
    print_audit(audit)
    assert re.search("NOT PROVED: " + told, " ".join(capsys.readouterr().out.split()))
