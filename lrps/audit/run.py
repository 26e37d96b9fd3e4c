"""Audit of a run: all paths, forks and lineages, from path.json, checkpoints and ledgers alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from lrps.audit.digests import check_digests, check_parent_state
from lrps.audit.evidence import PathEvidence, read_run
from lrps.audit.lineage import audit_lineage, lineage_legs, next_positions, ranges_read
from lrps.audit.result import Audit, Difference, Lineage
from lrps.audit.rows import Progress, recompute
from lrps.audit.skipped import chain_of, check_skipped
from lrps.data.manifest import MIXTURE, ORDER
from lrps.paths.amendments import GENERATION, generation
from lrps.store.checkpoints import MANIFEST, Checkpoint


def audit_run(run_dir: Path, data_root: Path | None = None, progress: Progress | None = None) -> Audit:
    """Return the proof that no lineage used a row twice or left one out, and that the ledgers have the same sums.

    Lineages end at the newest saved state of their path. Files with weights are not read. data_root: folder of the
    manifests, to compute every row one by one as well, at about two million rows a second. progress: called while they
    are computed. Raises LineageError if the run has no path.
    """
    paths, unreadable = read_run(run_dir)
    audit = audit_paths(run_dir, paths, unreadable)
    if data_root is None or not audit.ok:
        return audit
    rows, difference = recompute(paths, audit.lineages, data_root, progress or (lambda *_: None))
    return replace(audit, recomputed_rows=rows, differences=() if difference is None else (difference,))


def audit_paths(run_dir: Path, paths: tuple[PathEvidence, ...], unreadable: tuple[Difference, ...] = ()) -> Audit:
    """Return the audit of paths that were read, parents before children. unreadable: differences of the others."""
    run = {evidence.path.name: evidence for evidence in paths}
    differences = list(unreadable)
    lineages: list[Lineage] = []
    for name, evidence in run.items():
        differences += [*evidence.differences, *evidence.chain.differences]
        differences += [*_check_plan(evidence), *_check_checkpoints(evidence), *_check_fork(run, evidence)]
        lineage = lineage_legs(run, name)
        if lineage is None or any(leg.stop not in chain_of(run, leg).saves for leg in lineage):
            continue  # The reason is among the differences already.
        differences += [*_check_ancestors([run[leg.path] for leg in lineage]), *check_skipped(run, lineage)]
        if evidence.chain.end > evidence.path.start:
            used, wrong = audit_lineage(run, lineage)
            lineages.append(used)
            differences += [*wrong, *_check_sums(evidence, used)]
    digests = check_digests(run)
    differences += digests.differences
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
        digests=digests.compared,
        without_digest=digests.missing,
        differences=tuple(differences),
        skipped_steps=sum(len(chain.skipped(chain.end)) for chain in chains if chain.end in chain.saves),
    )


def _own_rows(evidence: PathEvidence) -> int:
    """Return the number of rows that the path's segments assign to its own steps, up to the newest saved state."""
    return sum(part.rows for _, parts in ranges_read(evidence.path, evidence.chain.end) for part in parts)


def _check_plan(evidence: PathEvidence) -> Iterator[Difference]:
    """Check that this version of lrps has the order of the rows, and that every step reads one batch."""
    if (found := evidence.training.row_order) != (ORDER, MIXTURE):
        what = "its rows were read in an order that this version of lrps lacks; audit it with the one that trained it"
        yield Difference(what, evidence.path.name, evidence.path_json, expected=[ORDER, MIXTURE], found=list(found))
    step = evidence.path.start
    for segment in evidence.path.segments:
        expected = segment.steps * evidence.training.batch_sequences
        if segment.rows != expected:
            what = f"the parts of these {segment.steps} steps do not add up to their batches"
            yield Difference(what, evidence.path.name, evidence.path_json, step, expected=expected, found=segment.rows)
        step += segment.steps


def _check_checkpoints(evidence: PathEvidence) -> Iterator[Difference]:
    for checkpoint in evidence.checkpoints:
        yield from _check_checkpoint(evidence, checkpoint)


def _check_checkpoint(evidence: PathEvidence, checkpoint: Checkpoint) -> Iterator[Difference]:
    """Check that a checkpoint's step, tokens and positions follow from the path, and that the ledger has its state."""
    path, step, identity = evidence.path, checkpoint.step, checkpoint.identity
    file = checkpoint.directory / MANIFEST
    if not path.start <= step <= path.stop:
        what = "the checkpoint's step is not one of the path"
        yield Difference(what, path.name, file, step, expected=f"{path.start} to {path.stop}", found=step)
        return
    if step not in evidence.chain.saves:
        saves = sorted(evidence.chain.saves)
        what = "the ledger has no record of this checkpoint"
        yield Difference(what, path.name, file, step, expected=f"one of {saves}", found=step)
    tokens, training = step * evidence.training.tokens_per_step, evidence.training.sha256
    if identity.get("training_sha256") in evidence.training.equal:
        training = identity["training_sha256"]
    facts = {"path": path.name, "tokens": tokens, "training_sha256": training}
    for key, expected in (facts | {GENERATION: generation(path.amendments, step)}).items():
        if (found := identity.get(key, 0 if key == GENERATION else None)) != expected:
            what = f"the checkpoint's `{key}` is not what path.json gives"
            yield Difference(what, path.name, file, step, expected=expected, found=found)
    found_positions = identity["positions"]
    reached, later = next_positions(path, step)
    # The path may have grown since, so a checkpoint may lack sources that were not begun then.
    wanted = reached | {source: position for source, position in later.items() if source in found_positions}
    for source in sorted(wanted.keys() | found_positions.keys()):
        if (found := found_positions.get(source)) != (expected := wanted.get(source)):
            what = "the checkpoint's position of the source does not follow from its path"
            yield Difference(what, path.name, file, step, source, expected, found)
    recorded = evidence.chain.state_digests.get(step, checkpoint.digest)
    if recorded != checkpoint.digest:
        what = "the checkpoint is not the state that the ledger has a record of: it was replaced"
        yield Difference(what, path.name, file, step, expected=recorded, found=checkpoint.digest)


def _check_fork(run: Mapping[str, PathEvidence], child: PathEvidence) -> Iterator[Difference]:
    """Check that a path starts from a state that its parent saved."""
    fork, name = child.path.parent, child.path.name
    if fork is None:
        return
    parent = run.get(fork.path)
    if parent is None:
        yield Difference("its parent is not in the run", name, child.path_json, fork.step, expected=fork.path)
        return
    start, stop = parent.path.start, parent.path.stop
    saved = parent.chain.of_history(fork.generation).saves
    if not start < fork.step <= stop:
        what = f"the fork is not within {fork.path}"
        yield Difference(
            what, name, child.path_json, fork.step, expected=f"after {start}, up to {stop}", found=fork.step
        )
    elif child.chain.attempts and fork.step not in saved:
        saves = sorted(saved.keys() - {start})
        what = f"the path was forked from {fork.path} at a step that was never saved"
        yield Difference(what, name, child.path_json, fork.step, expected=f"one of {saves}", found=fork.step)
    yield from check_parent_state(parent, child)


def _check_ancestors(lineage: list[PathEvidence]) -> Iterator[Difference]:
    """Check that the last path of a lineage has the training settings and the sources of its ancestors."""
    child = lineage[-1]
    name, file, step = child.path.name, child.path_json, child.path.start
    for ancestor in reversed(lineage[:-1]):
        if child.training != ancestor.training:
            what = f"seed, order, batch or another training setting differs from that of {ancestor.path.name}"
            yield Difference(what, name, file, step, expected=vars(ancestor.training), found=vars(child.training))
        for source in sorted(child.sources.keys() & ancestor.sources.keys()):
            if child.sources[source] != ancestor.sources[source]:
                expected, found = vars(ancestor.sources[source]), vars(child.sources[source])
                what = f"the source has another manifest or other rows than in {ancestor.path.name}"
                yield Difference(what, name, file, step, source, expected, found)


def _check_sums(evidence: PathEvidence, lineage: Lineage) -> Iterator[Difference]:
    if lineage.tokens != lineage.ledger_tokens:
        what = "the tokens of the lineage's rows differ from those of its ledgers"
        yield Difference(
            what,
            lineage.path,
            evidence.layout.ledger,
            lineage.stop,
            expected=lineage.tokens,
            found=lineage.ledger_tokens,
        )
