"""What training is going to hold on a device, by ZeRO stage: `lrps plan`'s forecast, as JSON and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lrps.base.numbers import NOT_APPLICABLE, count, ratio, size
from lrps.config.models import Config
from lrps.paths.decoder import Decoder, decoder_of
from lrps.paths.memory import HEADROOM, Forecast, Setting, device_bytes, forecast
from lrps.plan.plan import Plan

LEFT_OUT = (
    "the GPU's context, NCCL's buffers, fragmentation, workspaces of kernels, evaluation, and what torch.compile saves"
)
_PARTS = ("weights", "gradients", "master", "moments", "buckets", "activations", "logits")


def memory_document(plan: Plan) -> dict[str, Any] | None:
    """The forecast; null without hardware, where the batch does not divide, and for models that lrps cannot count.

    Of a stage, in bytes: what the fullest moment of a step holds by part, and what a device holds between steps; and
    the largest batch.micro_sequences that fits, null where none does or the device's memory is not known. Of several
    kinds of process groups it is the smallest, whose devices hold most.
    """
    config, decoder = plan.config, decoder_of(plan.config.model)
    if config.hardware is None or decoder is None:
        return None
    processes = _processes(plan)
    share, rest = divmod(config.batch.sequences, processes)
    rows = min(config.batch.micro_sequences or share, share)
    if rest or not share or share % rows:
        return None
    stages = range(0 if config.engine.precision == "fp32" else 1, 4)
    return {
        "basis": "modelled",
        "device": config.hardware.device,
        "device_bytes": device_bytes(config.hardware),
        "headroom": HEADROOM,
        "processes": processes,
        "rows_per_process": share,
        "micro_sequences": rows,
        "zero_stage": config.engine.zero_stage,
        "stages": {str(stage): _stage(config, decoder, stage, processes, rows) for stage in stages},
        "left_out": LEFT_OUT,
    }


def _processes(plan: Plan) -> int:
    """Of the smallest group that trains a path."""
    config, sizes = plan.config, []
    for job in {path.kind for path in plan.graph.paths}:
        given = next((resources for kind, resources in config.launch.resources.items() if kind == job), None)
        if config.launch.launcher == "deepspeed" and (given is None or given.nodes is None):
            # The hostfile says how many hosts there are; it is read when something is started.
            sizes.append(config.hardware.devices if config.hardware else 1)
        else:
            resources = config.launch.resources_of(job)
            sizes.append((resources.nodes or 1) * (resources.processes or 1))
    return min(sizes)


def _stage(config: Config, decoder: Decoder, stage: int, processes: int, rows: int) -> dict[str, Any]:
    share = config.batch.sequences // processes
    found = _forecast(config, decoder, stage, processes, rows)
    room = device_bytes(config.hardware) if config.hardware else None
    fitting = None
    if room is not None:
        sizes = (size for size in range(share, 0, -1) if share % size == 0)
        fits = (1 - HEADROOM) * room
        fitting = next((n for n in sizes if _forecast(config, decoder, stage, processes, n).peak.total <= fits), None)
    return {
        "peak_bytes": found.peak.total,
        "fullest_moment": found.fullest,
        **{f"{part}_bytes": getattr(found.peak, part) for part in _PARTS},
        "share_of_device": None if room is None else found.peak.total / room,
        "largest_micro_sequences": fitting,
    }


def _forecast(config: Config, decoder: Decoder, stage: int, processes: int, rows: int) -> Forecast:
    setting = Setting(
        zero_stage=stage,
        precision=config.engine.precision,
        devices=processes,
        rows=rows,
        micro_batches=config.batch.sequences // processes // rows,
        length=config.data.sequence_length,
        checkpointing=config.engine.activation_checkpointing,
        attention=config.engine.attention,
        masked=not config.data.attention_across_documents,
        chunked=config.engine.cross_entropy != "full",
        gloo=config.hardware is not None and config.hardware.device.lower() == "cpu",
    )
    return forecast(decoder, setting)


def memory_table(document: Mapping[str, Any]) -> tuple[str, Sequence[str], Sequence[Sequence[str]]]:
    """(title, columns, rows) of the forecast by ZeRO stage; the config's own stage is marked."""
    columns = ("ZeRO", *_PARTS, "peak", "of device", "largest micro_sequences")
    rows = [
        (
            f"{stage} *" if int(stage) == document["zero_stage"] else stage,
            *(size(found[f"{part}_bytes"]) for part in _PARTS),
            size(found["peak_bytes"]),
            ratio(found["share_of_device"]),
            _fitting(document, found),
        )
        for stage, found in document["stages"].items()
    ]
    return f"memory of one device, forecast: micro-batches of {document['micro_sequences']} rows", columns, rows


def _fitting(document: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    if document["device_bytes"] is None:
        return NOT_APPLICABLE
    return count(found["largest_micro_sequences"]) if found["largest_micro_sequences"] else "none fits"


def memory_lines(document: Mapping[str, Any] | None) -> list[str]:
    """What the table says for the config's own stage (*), and what it leaves out."""
    if document is None:
        return []
    own, room = document["stages"][str(document["zero_stage"])], document["device_bytes"]
    processes = document["processes"]
    of_group = f"{document['device']}, {count(processes)} process{'' if processes == 1 else 'es'} a group"
    left_out = f"A forecast of a step's fullest moment; it leaves out {document['left_out']}."
    if room is None:
        return [f"{of_group}: to see what fits, give hardware.memory_gb. {left_out}", ""]
    fits, wanted = own["largest_micro_sequences"], document["micro_sequences"]
    if fits is None:
        advice = "not even one row fits: take a higher ZeRO stage, more processes or engine.activation_checkpointing"
    elif fits == wanted:
        advice = f"batch.micro_sequences {wanted} is the largest that fits"
    elif fits > wanted:
        advice = f"batch.micro_sequences {fits} fits too, in fewer micro-batches a step"
    else:
        advice = f"batch.micro_sequences {wanted} does not fit; take {fits}"
    free = f"with {document['headroom']:.0%} of {size(room)} left free"
    return [f"{of_group}, ZeRO {document['zero_stage']}: {advice}, {free}.", left_out, ""]
