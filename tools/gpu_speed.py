"""Speed and memory of the largest model beside other programs, from tools/bench_train.py; for tools/gpu_proof.py.

Two comparisons: lrps, bare DeepSpeed tuned alike and bare PyTorch; then lrps with and without `compile`. Targets are
the model FLOPs utilization (MFU) and the step beside the tuned DeepSpeed; the claim is the forecast of the peak memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpu_findings import Findings

TOOL = Path(__file__).with_name("bench_train.py")
MFU, STEP_RATIO, FORECAST = 0.60, 1.02, 0.10
"""Targets: MFU of the best variant of lrps, and lrps' step over that of the tuned DeepSpeed. Then the largest relative
distance of the forecast of the peak memory to the measured one."""
SPEED = ("tokens_per_second", "step_seconds", "spread", "mfu", "peak_bytes", "forecast_bytes", "step_ratio", "failure")


def judge(findings: Findings, results: list[Mapping[str, Any]], with_gpu: bool) -> None:
    """Write down what the comparisons found. with_gpu: whether peaks are of tensors, as the forecast is."""
    best: dict[str, float] = {}
    for result in results:
        for label, facts in result["programs"].items():
            findings.figure(f"{result['kind']}: {label}", {key: facts[key] for key in SPEED if facts.get(key)})
            if result["kind"] == "switches" and facts.get("mfu"):
                best[label] = facts["mfu"]
    programs = next((result["programs"] for result in results if result["kind"] == "programs"), {})
    ours, tuned = (programs.get(label, {}) for label in ("lrps", "bare DeepSpeed, tuned alike"))
    findings.claim("lrps trains the model", "step_seconds" in ours, ours.get("failure", "it does"))
    if ours.get("mfu"):
        best["lrps"] = max(ours["mfu"], best.get("lrps", 0.0))
    if best:
        label = max(best, key=lambda name: best[name])
        said = f"{best[label]:.3f} with {label}; aim {MFU}"
        findings.target("MFU", best[label] >= MFU, said)
    if tuned.get("step_ratio"):
        ratio = 1 / tuned["step_ratio"]
        findings.target(
            "step beside bare DeepSpeed, tuned alike", ratio <= STEP_RATIO, f"{ratio:.3f}; aim {STEP_RATIO}"
        )
    if with_gpu and ours.get("forecast_bytes"):
        ratio = ours["forecast_bytes"] / ours["peak_bytes"]
        findings.claim(
            "peak memory is that of the forecast", abs(ratio - 1) < FORECAST, f"forecast / measured {ratio:.3f}"
        )


def main() -> None:
    """Run the comparisons, which are written down also if they are cut short."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--found", type=Path, required=True, help="file of findings")
    parser.add_argument("--seconds", type=float, required=True, help="that the comparisons may take")
    parser.add_argument("--rehearsal", action="store_true", help="tiny models on the CPU")
    arguments = parser.parse_args()
    out = arguments.found.with_name("bench-train.json")
    out.unlink(missing_ok=True)
    words = ["--preset", "gpu", "--sizes", "1.2B", "--zero", "1", "--programs", "lrps,deepspeed-tuned,pytorch"]
    words += ["--sweep", "--switches", "compile", "--blocks", "4", "--limit-minutes"]
    words += [f"{arguments.seconds / 60:.2f}", "--out", str(out), *(["--dry-run"] if arguments.rehearsal else [])]
    code = subprocess.run([sys.executable, str(TOOL), *words], cwd=TOOL.parent.parent).returncode
    measured = json.loads(out.read_text()) if out.exists() else {"results": [], "left_out": []}
    findings = Findings(arguments.found)
    findings.figure("left out", measured["left_out"])
    judge(findings, measured["results"], not arguments.rehearsal)
    sys.exit(code)


if __name__ == "__main__":
    main()
