"""The audit of a run: every path, every fork and every lineage, from path.json, checkpoints and ledger alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from lrps.audit.evidence import Evidence, read_run
from lrps.audit.lineage import begun, legs, positions, use
from lrps.audit.result import Audit, Difference, Lineage
from lrps.audit.rows import Progress, recompute
from lrps.data.manifest import MIXTURE, ORDER
from lrps.store.checkpoints import MANIFEST, Checkpoint


def audit_run(run_dir: Path, data_root: Path | None = None, progress: Progress | None = None) -> Audit:
    """Prove that along every lineage no row was used twice or left out, and that the ledger has the same sums.

    data_root: the folder of the manifests, to work out every row as well; about two million a second.
    A lineage goes as far as its path is saved. The bytes of weights are not read. LineageError if nothing is there.
    """
    paths, unreadable = read_run(run_dir)
    audit = audit_paths(run_dir, paths, unreadable)
    if data_root is None or not audit.ok:
        return audit
    rows, difference = recompute(paths, audit.lineages, data_root, progress or _silent)
    return replace(audit, recomputed_rows=rows, differences=() if difference is None else (difference,))


def _silent(done: int, total: int) -> None:
    """Nobody watches."""


def audit_paths(run_dir: Path, paths: tuple[Evidence, ...], unreadable: tuple[Difference, ...] = ()) -> Audit:
    """The audit of what was read, parents before children."""
    run = {evidence.path.name: evidence for evidence in paths}
    differences = list(unreadable)
    lineages: list[Lineage] = []
    for name, evidence in run.items():
        differences += [*evidence.differences, *evidence.chain.differences]
        differences += [*_check_plan(evidence), *_check_checkpoints(evidence), *_check_fork(run, evidence)]
        lineage = legs(run, name)
        if lineage is None or any(leg.stop not in run[leg.path].chain.saves for leg in lineage):
            continue  # why, is told already
        differences += _check_ancestors([run[leg.path] for leg in lineage])
        if evidence.chain.end > evidence.path.start:
            used, wrong = use(run, lineage)
            lineages.append(used)
            differences += [*wrong, *_check_sums(evidence, used)]
    rows = {name: _own_rows(evidence) for name, evidence in run.items()}
    chains = [evidence.chain for evidence in paths]
    ledger_tokens = sum(chain.tokens(chain.end) for chain in chains)
    return Audit(
        run_dir,
        tuple(lineages),
        rows=sum(rows.values()),
        tokens=sum(rows[evidence.path.name] * evidence.training.sequence_length for evidence in paths),
        ledger_tokens=ledger_tokens,
        spare_steps=sum(evidence.chain.executed_steps - evidence.chain.end + evidence.path.start for evidence in paths),
        spare_tokens=sum(chain.executed_tokens for chain in chains) - ledger_tokens,
        checkpoints=sum(len(evidence.checkpoints) for evidence in paths),
        differences=tuple(differences),
    )


def _own_rows(evidence: Evidence) -> int:
    """Rows that the path's own parts give to its steps, as far as they are saved."""
    return sum(part.rows for _, parts in begun(evidence.path, evidence.chain.end) for part in parts)


def _check_plan(evidence: Evidence) -> Iterator[Difference]:
    """The rows are in an order that is known here, and every step of every segment takes one batch."""
    if (found := evidence.training.row_order) != (ORDER, MIXTURE):
        what = "its rows were read in another order than this lrps knows; audit it with the one that trained it"
        yield Difference(what, evidence.path.name, evidence.path_json, expected=[ORDER, MIXTURE], found=list(found))
    step = evidence.path.start
    for segment in evidence.path.segments:
        expected = segment.steps * evidence.training.batch_sequences
        if segment.rows != expected:
            what = f"the parts of these {segment.steps} steps do not add up to their batches"
            yield Difference(what, evidence.path.name, evidence.path_json, step, expected=expected, found=segment.rows)
        step += segment.steps


def _check_checkpoints(evidence: Evidence) -> Iterator[Difference]:
    for checkpoint in evidence.checkpoints:
        yield from _check_checkpoint(evidence, checkpoint)


def _check_checkpoint(evidence: Evidence, checkpoint: Checkpoint) -> Iterator[Difference]:
    """Step, tokens and positions follow from the path, and the ledger knows of the state."""
    path, step, identity = evidence.path, checkpoint.step, checkpoint.identity
    file = checkpoint.directory / MANIFEST
    if not path.start <= step <= path.stop:
        what = "the checkpoint is of no step of the path"
        yield Difference(what, path.name, file, step, expected=f"{path.start} to {path.stop}", found=step)
        return
    if step not in evidence.chain.saves:
        saves = sorted(evidence.chain.saves)
        what = "the ledger knows nothing of this checkpoint"
        yield Difference(what, path.name, file, step, expected=f"one of {saves}", found=step)
    tokens, training = step * evidence.training.tokens_per_step, evidence.training.sha256
    for key, expected in {"path": path.name, "tokens": tokens, "training_sha256": training}.items():
        if (found := identity.get(key)) != expected:
            what = f"the checkpoint's `{key}` is not what path.json gives"
            yield Difference(what, path.name, file, step, expected=expected, found=found)
    found_positions = identity["positions"]
    reached, later = positions(path, step)
    # A path may have grown since: sources that it had not begun then need not be there.
    wanted = reached | {source: position for source, position in later.items() if source in found_positions}
    for source in sorted(wanted.keys() | found_positions.keys()):
        if (found := found_positions.get(source)) != (expected := wanted.get(source)):
            what = "the checkpoint's position of the source does not follow from its path"
            yield Difference(what, path.name, file, step, source, expected, found)


def _check_fork(run: Mapping[str, Evidence], child: Evidence) -> Iterator[Difference]:
    """The path begins at a state that its parent saved."""
    fork, name = child.path.parent, child.path.name
    if fork is None:
        return
    parent = run.get(fork.path)
    if parent is None:
        yield Difference("its parent is not in the run", name, child.path_json, fork.step, expected=fork.path)
        return
    start, stop = parent.path.start, parent.path.stop
    if not start < fork.step <= stop:
        what = f"the fork does not lie within {fork.path}"
        yield Difference(
            what, name, child.path_json, fork.step, expected=f"after {start}, up to {stop}", found=fork.step
        )
    elif child.chain.attempts and fork.step not in parent.chain.saves:
        saves = sorted(parent.chain.saves.keys() - {start})
        what = f"the path was forked from {fork.path} at a step that was never saved"
        yield Difference(what, name, child.path_json, fork.step, expected=f"one of {saves}", found=fork.step)


def _check_ancestors(lineage: list[Evidence]) -> Iterator[Difference]:
    """The last path of a lineage means the same by a row and by a source as its ancestors."""
    child = lineage[-1]
    name, file, step = child.path.name, child.path_json, child.path.start
    for ancestor in reversed(lineage[:-1]):
        if child.training != ancestor.training:
            what = f"seed, order, batch or row length are not those of {ancestor.path.name}"
            yield Difference(what, name, file, step, expected=vars(ancestor.training), found=vars(child.training))
        for source in sorted(child.sources.keys() & ancestor.sources.keys()):
            if child.sources[source] != ancestor.sources[source]:
                expected, found = vars(ancestor.sources[source]), vars(child.sources[source])
                what = f"the source has another manifest or other rows than in {ancestor.path.name}"
                yield Difference(what, name, file, step, source, expected, found)


def _check_sums(evidence: Evidence, lineage: Lineage) -> Iterator[Difference]:
    if lineage.tokens != lineage.ledger_tokens:
        what = "the tokens of the lineage's rows are not those of its ledgers"
        yield Difference(
            what,
            lineage.path,
            evidence.layout.ledger,
            lineage.stop,
            expected=lineage.tokens,
            found=lineage.ledger_tokens,
        )
