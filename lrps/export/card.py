"""The model card of a released model, from the plan, the run directory and the ledgers, as JSON and as README.md.

It does not depend on the time or the machine of the export: equal states give equal cards.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lrps import __version__
from lrps.audit.lineage import ranges_read
from lrps.base.document import to_json
from lrps.base.foreign_json import read_json
from lrps.base.numbers import amount, count, flops, loss, ratio
from lrps.costs.curves.average_beside_branch import averages_beside_branches
from lrps.costs.measured_cost import measured_cost
from lrps.data.manifest import TokenizerIdentity
from lrps.export.states import PathState
from lrps.ledger.reader import EMA, MERGE, RAW, EvaluationKey, HeldoutEvaluation, evaluations, read_ledger, until
from lrps.ledger.records import Record
from lrps.ledger.totals import total
from lrps.paths.amendments import in_force
from lrps.paths.graph import TrainingPath
from lrps.paths.optimizer_states import AVERAGE
from lrps.plan.parent_state import other_parent
from lrps.plan.plan import Plan
from lrps.store.checkpoints import MERGED, Checkpoint
from lrps.store.identity import AVERAGE_KEY, SKIPPED

_TEMPLATE = "card.md.j2"
_SUMMED = ("repeated_steps", "spent_tokens", "spent_flops", "device_hours", "training_hours", "money")


@dataclass(frozen=True)
class _Leg:
    """The part of a lineage that one path trained, up to the next path's fork or to the exported step."""

    path: TrainingPath
    stop: int


def card_document(
    plan: Plan,
    state: PathState,
    checkpoints: Sequence[Checkpoint],
    tokenizer: TokenizerIdentity,
    model: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the card as JSON values. Unknown values are null.

    checkpoints: those whose weights were written, the newest one last. model: facts of the written weights.
    """
    checkpoint = checkpoints[-1]
    lineage = plan.graph.lineage(state.path)
    stops = [*(path.start for path in lineage[1:]), state.step]
    legs = [_Leg(path, stop) for path, stop in zip(lineage, stops, strict=True)]
    stored = [read_json(plan.layout.path(leg.path.name).path_json) for leg in legs]
    config, data = plan.config, _data(plan, legs, stored)
    return {
        "lrps": __version__,
        "plan": config.name,
        "path": state.path.name,
        "step": state.step,
        "tokens": state.step * config.tokens_per_step,
        "versions": list(state.versions),
        "probes": list(plan.graph.probed.get(state.path.name, ())) if state.step == state.path.stop else [],
        "form": state.form,
        "average": checkpoint.identity[AVERAGE_KEY][AVERAGE.name] if state.form == EMA else None,
        MERGED: _averaged(checkpoints),
        "paradigms": {p.name: p.kind for p in plan.graph.paradigms if any(q.name == state.path.name for q in p.paths)},
        "model": dict(model),
        "checkpoint": _checkpoint(plan, checkpoint),
        "learning_rate": {"peak": max(map(_peak, legs)), "reached": state.path.rates.lr_after(state.step)},
        "initial_weights": stored[0]["training"].get("initial_weights"),
        "initial_state": stored[0].get("initial_state"),
        "lineage": [_described(leg) for leg in legs],
        "other_parents": _other_parents(plan, legs),
        "amendments": [each for leg in legs for each in _amendments(leg)],
        "skipped": checkpoint.identity.get(SKIPPED, []),
        "data": data,
        "tokenizer": asdict(tokenizer),
        "batch_sequences": config.batch.sequences,
        "sequence_length": config.data.sequence_length,
        "attention_across_documents": config.data.attention_across_documents,
        "seed": config.seed,
        **({} if config.order_seed == config.seed else {"order_seed": config.order_seed}),
        "optimizer": config.optimizer.model_dump(mode="json"),
        "heldout": _heldout(plan, state, {source["name"] for source in data}),
        "branches": _branches(plan, state),
        "cost": _cost(plan, legs),
    }


def _peak(leg: _Leg) -> float:
    """Return the highest learning rate that the schedule of a leg reaches or aims at."""
    return max(max(piece.lr_start, piece.lr_stop) for piece in leg.path.schedule.clipped(leg.path.start, leg.stop))


def _averaged(checkpoints: Sequence[Checkpoint]) -> list[list[Any]]:
    """Return [step, digest] of every state whose weights are averaged; none for a state that was trained."""
    if len(checkpoints) > 1:
        return [[each.step, each.digest] for each in checkpoints]
    return [list(each) for each in checkpoints[0].merged]


def _checkpoint(plan: Plan, checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "directory": str(checkpoint.directory.relative_to(plan.layout.run_dir)),
        "digest": checkpoint.manifest["digest"],
        **{key: checkpoint.identity[key] for key in ("training_sha256", "precision", "zero_stage", "world_size")},
        "versions": dict(checkpoint.identity["versions"]),
    }


def render_card(document: Mapping[str, Any]) -> str:
    """Return the text of README.md for the Hub: front matter, then Markdown."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # Markdown
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"amount": amount, "count": count, "flops": flops, "loss": loss, "ratio": ratio, "lr": _lr}
    environment.filters |= {"difference": "{:+.4f}".format, "error": "{:.4f}".format}
    return environment.get_template(_TEMPLATE).render(document)


def _lr(rate: float) -> str:
    return f"{rate:.4g}"


def _amendments(leg: _Leg) -> list[dict[str, Any]]:
    """Return what `lrps rewind` changed on the steps of a leg: rates, clipping and steps that were left out."""
    return [
        {"path": leg.path.name, "number": number, **each.to_json()}
        for number, each in in_force(leg.path.amendments)
        if each.at < leg.stop
    ]


def _described(leg: _Leg) -> dict[str, Any]:
    path, stop = leg.path, leg.stop
    return {
        "path": path.name,
        "parent": None if path.parent is None else asdict(path.parent),
        "start_step": path.start,
        "stop_step": stop,
        "lr_start": path.lr_start,
        "lr_stop": path.rates.lr_after(stop),
        "pieces": [
            {"shape": piece.shape, "from_step": max(piece.start, path.start), "to_step": min(piece.stop or stop, stop)}
            for piece in path.rates.base.clipped(path.start, stop)
        ],
    }


def _other_parents(plan: Plan, legs: Sequence[_Leg]) -> dict[str, str]:
    """Return path -> description of its fork, of the legs whose parent has another state there now."""
    records = {leg.path.name: read_ledger(plan.layout.path(leg.path.name).ledger, heartbeats=False) for leg in legs}
    found = {leg.path.name: other_parent(plan, leg.path, records[leg.path.name]) for leg in legs}
    return {name: what for name, what in found.items() if what is not None}


def _data(plan: Plan, legs: Sequence[_Leg], stored: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the sources that the lineage read, in order of first use: hash, rows, and rows that were read.

    stored: path.json of each leg, which has the hashes even if the run was copied without its data.
    """
    read: Counter[str] = Counter()
    known: dict[str, Any] = {}
    for leg, identity in zip(legs, stored, strict=True):
        known |= identity["sources"]
        for part in (part for _, parts in ranges_read(leg.path, leg.stop) for part in parts):
            read[part.source] += part.rows
    return [
        {
            "name": name,
            "manifest_sha256": known[name]["manifest_sha256"],
            "rows": known[name]["rows"],
            "read_rows": rows,
            "read_tokens": rows * plan.config.data.sequence_length,
        }
        for name, rows in read.items()
        if rows
    ]


def _heldout(plan: Plan, state: PathState, trained: set[str]) -> list[dict[str, Any]]:
    """Return the newest evaluation of this state on each held-out set.

    None for a merge that is no release: those in the ledger are of the released one, which averages other states.
    """
    if state.form == MERGE and not state.versions:
        return []
    found = _evaluations(plan, state.path.name)
    order = [increment.version for increment in plan.increments]
    mine = [evaluation for key, evaluation in found.items() if (key.step, key.form) == (state.step, state.form)]
    mine.sort(key=lambda evaluation: order.index(evaluation.heldout) if evaluation.heldout in order else len(order))
    facts = [asdict(evaluation) | {"trained": evaluation.heldout in trained} for evaluation in mine]
    return [{key: value for key, value in each.items() if key not in ("initial_weights", "form")} for each in facts]


def _evaluations(plan: Plan, name: str) -> dict[EvaluationKey, HeldoutEvaluation]:
    return evaluations(read_ledger(plan.layout.path(name).ledger, heartbeats=False))


def _branches(plan: Plan, state: PathState) -> list[dict[str, Any]]:
    """Return the losses of an average beside those of the branches of the same version; none for raw weights.

    None for a merge that is no release either, as its losses are not known.
    """
    if state.form == RAW or (state.form == MERGE and not state.versions):
        return []
    found = averages_beside_branches(plan, cache(partial(_evaluations, plan)))
    mine = (each for each in found if (each.path, each.step, each.form) == (state.path.name, state.step, state.form))
    return [to_json(each) for each in mine]


def _measured(plan: Plan, leg: _Leg) -> dict[str, Any]:
    """Return the cost of a leg, and the hash of the last line of its ledger up to the state: proof of all before it."""
    newest = deque[Record](maxlen=1)

    def records() -> Iterator[Record]:
        for record in until(read_ledger(plan.layout.path(leg.path.name).ledger), leg.stop):
            newest.append(record)
            yield record

    cost = asdict(measured_cost(plan, total(records())))
    return {"path": leg.path.name, **cost, "ledger_sha256": newest[0].sha256 if newest else None}


def _cost(plan: Plan, legs: Sequence[_Leg]) -> dict[str, Any]:
    """Return the measured cost of every leg, and the sums, which are null if a ledger is missing."""
    measured = [_measured(plan, leg) for leg in legs]
    whole = all(leg["attempts"] for leg in measured)
    price = plan.config.hardware.price_per_device_hour if plan.config.hardware else None
    return {
        "legs": measured,
        "price": None if price is None else price.model_dump(mode="json"),
        **{
            key: sum(leg[key] for leg in measured) if whole and all(leg[key] is not None for leg in measured) else None
            for key in _SUMMED
        },
    }
