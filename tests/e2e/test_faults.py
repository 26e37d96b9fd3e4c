"""Killed at random moments again and again, a plan ends as if undisturbed, and what it lost is booked as waste.

LRPS_FAULTS in the environment is the number of kills, 6 without it: `LRPS_FAULTS=40 pytest -s tests/e2e/test_faults.py`
says where they struck. LRPS_FAULTS_SEED chooses other moments. The ranks are forked from a process that has imported
everything, so that a kill costs a second or two; what the launcher does with dying ranks is in test_main_job.py.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.context import ForkServerContext
from pathlib import Path

import psutil
import pytest
import yaml

from lrps.audit.run import audit_run
from lrps.config.loader import load_config
from lrps.ledger.metrics import read_metrics
from lrps.ledger.reader import read_ledger
from lrps.ledger.totals import total
from lrps.plan.plan import Plan, make_plan
from lrps.store.checkpoints import newest_intact
from lrps.store.copy.transfer import push_run
from lrps.store.layout import PathLayout
from support.faults_worker import run_rank

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3000)]

FAULTS = int(os.environ.get("LRPS_FAULTS", "6"))
SEED = int(os.environ.get("LRPS_FAULTS_SEED", "0"))
RANKS = 2
LIMIT = 900
"""Seconds after which a process counts as stuck, on however busy a machine."""


def config_below(directory: Path, tiny_config: Path) -> Path:
    """A config that saves often, of a main path, two branches and another paradigm; its runs are in `directory`."""
    changes = {
        "runs": str(directory / "runs"),
        "paradigms": {"path-switching": {"alpha": 0.6}, "cpt": {}},
        "checkpoint": {"every_steps": 4, "keep_last": 2},
    }
    directory.mkdir(exist_ok=True)
    file = directory / "config.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(tiny_config.read_text()), **changes}, sort_keys=False))
    return file


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    """Forks processes that have imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lrps.train.job", "transformers.models.llama.modeling_llama"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("TOKENIZERS_PARALLELISM", "false")
        context.Process(target=print).start()
    return context


class Attempt:
    """One process group on its way through a plan; ranks in `halts` wait before that step of the first path."""

    def __init__(
        self, server: ForkServerContext, file: Path, *settings: str, halts: Mapping[int, int] | None = None
    ) -> None:
        self.run_dir, self.log, self.began = file.parent / "runs" / "tiny", file.parent / "log", time.time()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        where = {"WORLD_SIZE": str(RANKS), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        self.ranks = [
            server.Process(
                target=run_rank,
                args=(
                    file,
                    settings,
                    {**where, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                    self.log,
                    (halts or {}).get(rank),
                ),
            )
            for rank in range(RANKS)
        ]
        for rank in self.ranks:
            rank.start()

    def steps(self) -> int:
        """Steps that are logged, of all paths and attempts."""
        return sum(file.read_bytes().count(b"\n") for file in self.run_dir.glob("*/metrics.jsonl"))

    def is_saving(self) -> bool:
        """True while a checkpoint of this attempt is being written."""
        with contextlib.suppress(FileNotFoundError):  # published between two looks
            return any(d.stat().st_mtime > self.began for d in self.run_dir.glob("*/checkpoints/.tmp-*"))
        return False

    def wait_for(self, more: int, in_a_save: bool = False) -> bool:
        """Until `more` steps are logged, and a save is under way if `in_a_save`; False if the run ended before."""
        goal = self.steps() + more
        while all(rank.is_alive() for rank in self.ranks):
            if self.steps() >= goal and (self.is_saving() or not in_a_save):
                return True
            time.sleep(0.001)
        return False

    def end(self) -> bool:
        """Wait for the end of all ranks; True if they did all that there was to do."""
        for rank in self.ranks:
            rank.join(LIMIT)
        assert not any(rank.is_alive() for rank in self.ranks), "no rank waits for the others forever"
        return not any(rank.exitcode for rank in self.ranks)

    def told(self) -> str:
        return self.log.read_text()


@pytest.fixture(scope="module")
def undisturbed(server: ForkServerContext, tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan that was run to its end in one attempt."""
    file = config_below(tmp_path_factory.mktemp("undisturbed"), tiny_config)
    attempt = Attempt(server, file)
    assert attempt.end(), attempt.told()[-3000:]
    return make_plan(load_config(file))


def disturb(attempt: Attempt, rng: random.Random) -> str | None:
    """Kill one rank or all of them at a random moment; who and when, or None if the run was faster."""
    in_a_save, victims = rng.random() < 0.4, rng.sample(attempt.ranks, rng.choice([1, RANKS]))
    if not attempt.wait_for(rng.randrange(1, 14), in_a_save):
        return None
    time.sleep(0 if in_a_save else rng.random() / 20)
    for victim in victims:
        victim.kill()
    saving = attempt.is_saving()
    if attempt.end():
        return None  # its last process had done its work
    return f"{'all ranks' if len(victims) == RANKS else 'one rank'}, {'in a save' if saving else 'between saves'}"


def rounds(server: ForkServerContext, directory: Path, tiny_config: Path, kills: Counter[str]) -> Iterator[Path]:
    """Run the plan under kills to its end, again and again until there were enough of them; the run directories."""
    rng = random.Random(SEED)
    while kills.total() < FAULTS:
        file = config_below(directory / f"after-{kills.total()}", tiny_config)
        finished = False
        while not finished:
            # Both ways to save, in turns.
            attempt = Attempt(server, file, f"checkpoint.asynchronous={str(kills.total() % 2 == 0).lower()}")
            struck = disturb(attempt, rng) if kills.total() < FAULTS else None
            finished = struck is None
            if struck is None:
                assert attempt.end(), attempt.told()[-3000:]
            else:
                kills[struck] += 1
        yield attempt.run_dir


def assert_same_states(ours: PathLayout, theirs: PathLayout) -> None:
    """Every branch point and released state, byte for byte."""
    assert [d.name for d in sorted(ours.branch_points.iterdir())] == [
        d.name for d in sorted(theirs.branch_points.iterdir())
    ]
    files = [file.relative_to(theirs.directory) for file in theirs.branch_points.glob("*/*.safetensors")]
    assert files
    for file in files:
        assert (ours.directory / file).read_bytes() == (theirs.directory / file).read_bytes(), file


def assert_same_run(undisturbed: Plan, run_dir: Path) -> None:
    """States and the losses of all steps are equal, and the audit of the run finds every row used once."""
    for path in undisturbed.graph.paths:
        ours, theirs = PathLayout(run_dir / path.name), undisturbed.layout.path(path.name)
        assert_same_states(ours, theirs)
        losses = [[(m.step, m.loss) for m in read_metrics(layout.metrics)] for layout in (ours, theirs)]
        assert losses[0] == losses[1]
    assert audit_run(run_dir, undisturbed.config.data.root).differences == ()


def lost_steps(plan: Plan, run_dir: Path) -> int:
    """Steps that were trained more than once, as the ledger says; checked against its single records."""
    lost = 0
    for path in plan.graph.paths:
        records = list(read_ledger(PathLayout(run_dir / path.name).ledger))
        totals = total(records)
        assert totals.spent.steps == sum(record.kind == "heartbeat" for record in records)
        assert totals.spent.tokens == totals.spent.steps * plan.config.tokens_per_step
        assert totals.useful_steps == path.stop - path.start
        lost += totals.repeated_steps
    return lost


def test_kills_change_nothing_and_are_booked(
    server: ForkServerContext, undisturbed: Plan, tiny_config: Path, tmp_path: Path
) -> None:
    assert lost_steps(undisturbed, undisturbed.layout.run_dir) == 0
    kills: Counter[str] = Counter()
    lost = 0
    for run_dir in rounds(server, tmp_path, tiny_config, kills):
        assert_same_run(undisturbed, run_dir)
        lost += lost_steps(undisturbed, run_dir)
        print(f"{run_dir.parent.parent.name}: {dict(kills)}; {lost} steps repeated", flush=True)
    assert lost > 0, "no kill struck a step"


def test_a_stuck_rank_ends_the_run(server: ForkServerContext, tiny_config: Path, tmp_path: Path) -> None:
    file = config_below(tmp_path, tiny_config)
    attempt = Attempt(server, file, "launch.collective_timeout_minutes=0.5", halts={1: 8})
    assert attempt.wait_for(3), attempt.told()
    waiting, stuck = attempt.ranks
    psutil.Process(stuck.pid).suspend()
    waiting.join(LIMIT)
    assert waiting.exitcode == 1, attempt.told()
    assert "which failed, was killed or is stuck" in attempt.told()
    stuck.kill()  # the launcher's task
    assert not attempt.end()
    (*_, last) = read_ledger(PathLayout(attempt.run_dir / "main").ledger)
    assert last.kind == "failure"
    assert "TrainingError: rank 0 lost another process" in last.facts["error"]


def test_a_run_goes_on_from_an_object_store_as_if_it_had_never_moved(
    server: ForkServerContext,
    undisturbed: Plan,
    tiny_config: Path,
    tmp_path: Path,
    s3: Callable[[str, bytes], None],
) -> None:
    file = config_below(tmp_path, tiny_config)
    attempt = Attempt(server, file, halts=dict.fromkeys(range(RANKS), 26))
    assert attempt.wait_for(12), attempt.told()
    push_run(attempt.run_dir, "s3://lake/teams/tiny")  # while it is trained, which halts before step 26 of 28
    for rank in attempt.ranks:
        rank.kill()
    assert not attempt.end()
    shutil.rmtree(attempt.run_dir)  # the machine is gone
    pull = [sys.executable, "-m", "lrps.cli", "pull", str(file), "s3://lake/teams/tiny"]
    subprocess.run(pull, check=True, timeout=LIMIT)
    layout = PathLayout(attempt.run_dir / "main")
    newest, _ = newest_intact(layout.checkpoints, layout.branch_points)
    assert newest is not None
    saved = [record.saved_step for record in read_ledger(layout.ledger) if record.kind == "checkpoint"]
    assert newest.step in saved
    again = Attempt(server, file)
    assert again.end(), again.told()[-3000:]
    assert_same_run(undisturbed, again.run_dir)
    push_run(again.run_dir, "s3://lake/teams/tiny")
    assert {group.action for group in push_run(again.run_dir, "s3://lake/teams/tiny").groups} == {"skip"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that is too small for the run; skips where none can be mounted."""
    directory = tmp_path / "disk"
    directory.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=384k", "tmpfs", str(directory)], check=False).returncode:
        pytest.skip("no right to mount a tmpfs here")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def test_a_full_disk_ends_the_run_and_more_room_goes_on(
    server: ForkServerContext, undisturbed: Plan, tiny_config: Path, small_disk: Path
) -> None:
    file = config_below(small_disk, tiny_config)
    attempt = Attempt(server, file)
    assert not attempt.end()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert "Free disk space" in attempt.told(), attempt.told()[-3000:]
    again = Attempt(server, file)
    assert again.end(), again.told()[-3000:]
    assert_same_run(undisturbed, again.run_dir)
