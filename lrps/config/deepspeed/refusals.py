"""Reasons why settings of DeepSpeed are refused in `engine.deepspeed`, and the words for a key that is not allowed.

A key of a table is a dotted name below `engine.deepspeed`; it applies to everything below it as well. All statements
are about DeepSpeed 0.19.8.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

_ZERO = "zero_optimization."

CHANGES_TRAINING: Mapping[str, str] = {
    "gradient_clipping": "changes what is trained: give `optimizer.clip_grad_norm`",
    "bf16": "changes what is trained: give `engine.precision: bf16`; master weights and moments are in fp32",
    "bfloat16": "changes what is trained: give `engine.precision: bf16`",
    "fp16": "changes what is trained: lrps trains in bf16 or fp32, without a loss scale; give `engine.precision`",
    "amp": "changes what is trained: give `engine.precision: bf16`",
    "torch_autocast": "changes what is trained: give `engine.precision: bf16`",
    "data_types": "changes what is trained: lrps sums gradients in fp32, and `engine.precision` decides the rest",
    "fp32_allreduce": "is an old name: give `communication_data_type: fp32`",
    "gradient_allreduce_op": "changes what is trained: with `sum`, gradients grow with the number of processes",
    "sparse_gradients": "changes what is trained: the gradients of embeddings are summed as all others",
    "sparse_attention": "changes what is trained: the kernel of attention is `engine.attention`",
    "data_efficiency": "changes what is trained: the order of the data is that of lrps (`data.order`)",
    "curriculum_learning": "changes what is trained: the order of the data is that of lrps (`data.order`)",
    "progressive_layer_drop": "changes what is trained; lrps has no such setting",
    "eigenvalue": "changes what is trained; lrps has no such setting",
    "quantize_training": "changes what is trained; lrps has no such setting",
    "compression_training": "changes what is trained; lrps has no such setting",
    "weight_quantization": "changes what is trained: weights are in the precision of `engine.precision`",
    _ZERO + "compute_grad_norm": "changes what is trained: without the norm lrps can neither clip nor find a bad step",
    _ZERO + "zero_quantized_weights": "changes what is trained: quantized weights are not the ones that are saved",
    _ZERO + "zero_quantized_nontrainable_weights": "changes what is trained: lrps trains all weights",
    _ZERO + "zero_quantized_gradients": "changes what is trained: gradients lose precision",
    _ZERO + "zeropp_loco_param": "changes what is trained, and DeepSpeed has removed it",
}
"""Settings that change what is trained: those of lrps decide it (or nothing does)."""

DECIDED_BY_LRPS: Mapping[str, str] = {
    "train_batch_size": "is computed by lrps: give `batch.sequences`",
    "train_micro_batch_size_per_gpu": "is computed by lrps: give `batch.micro_sequences`",
    "gradient_accumulation_steps": "is computed by lrps from `batch.sequences`, `batch.micro_sequences` and processes",
    "managed_gradient_accumulation": "is decided by lrps, which counts micro-batches itself",
    "optimizer": "is made by lrps: give the section `optimizer`",
    "scheduler": "is made by lrps: give the section `schedule`; every rate is a function of the step",
    "zero_allow_untested_optimizer": "is decided by lrps: its optimizer is one that DeepSpeed knows",
    "checkpoint": "is decided by lrps, which writes its own checkpoints: give the section `checkpoint`",
    "load_universal_checkpoint": "is decided by lrps: give `model.initial_state` (`lrps convert from-universal`)",
    "nebula": "is decided by lrps, which writes its own checkpoints: give the section `checkpoint`",
    "datastates_ckpt": "is decided by lrps, which writes its own checkpoints: give the section `checkpoint`",
    "activation_checkpointing": "is decided by lrps: give `engine.activation_checkpointing`",
    "monitor": "is decided by lrps: give `track.trackers`",
    "tensorboard": "is decided by lrps: give `track.trackers: [tensorboard]`",
    "wandb": "is decided by lrps: give `track.trackers: [wandb]` and `track.wandb`",
    "csv_monitor": "is decided by lrps: `lrps ledger` exports all measurements",
    "comet": "is decided by lrps: the trackers are those of `track.trackers`",
    "steps_per_print": "is decided by lrps: give `track.log_every_steps`",
    "dump_state": "is decided by lrps: `lrps plan` and the ledger show the settings",
    "memory_breakdown": "is decided by lrps: `lrps plan` and tools/measure_memory.py show the memory",
    "log_level": "is decided by lrps, which shows DeepSpeed's warnings only",
    "timers": "is decided by lrps, which measures every step itself",
    "dataloader_drop_last": "is decided by lrps, which reads the data itself",
    "vocabulary_size": "is decided by lrps: give `model.architecture`",
    "seed": "is decided by lrps: give `seed`",
    "disable_allgather": "is decided by lrps: DeepSpeed needs it",
    "autotuning": "is decided by lrps: `lrps plan` shows what fits into the memory",
    "hybrid_engine": "is decided by lrps: it generates text from exported models only",
    "elasticity": "is decided by lrps: a path resumes on any number of processes",
    "pipeline": "is not built yet: lrps divides data and, by ZeRO, the state, not the layers",
    "tensor_parallel": "is not built yet: slices of parameters have no names in checkpoints",
    "expert_parallel": "is not built yet: slices of parameters have no names in checkpoints",
    "use_data_before_expert_parallelism": "is not built yet, as `expert_parallel`",
    "sequence_parallel_size": "is not built yet: rows are as long as one device can process",
    "seq_parallel_communication_data_type": "is not built yet, as `sequence_parallel_size`",
    "compile": "is decided by lrps: give `engine.compile`",
    _ZERO + "stage": "is decided by lrps: give `engine.zero_stage`",
    _ZERO + "load_from_fp32_weights": "is decided by lrps, which writes its own checkpoints",
    _ZERO + "stage3_gather_16bit_weights_on_model_save": "is decided by lrps: `lrps export` writes whole weights",
    _ZERO + "stage3_gather_fp16_weights_on_model_save": "is decided by lrps: `lrps export` writes whole weights",
    _ZERO + "gather_16bit_weights_on_model_save": "is decided by lrps: `lrps export` writes whole weights",
    _ZERO + "override_module_apply": "is decided by lrps, which builds the model before DeepSpeed divides it",
    _ZERO + "pipeline_loading_checkpoint": "is decided by lrps, which reads checkpoints itself",
    _ZERO + "save_muon_momentum_buffer_in_memory": "is decided by lrps: the momentum is in the optimizer's state",
    _ZERO + "cpu_offload": "is an old name: give `offload_optimizer: {device: cpu}`",
    _ZERO + "cpu_offload_param": "is an old name: give `offload_param: {device: cpu}`",
    _ZERO + "cpu_offload_use_pin_memory": "is an old name: give `offload_optimizer: {device: cpu, pin_memory: true}`",
    _ZERO + "offload_param.buffer_count": "is about nvme, which lrps refuses; leave it out",
    _ZERO + "offload_param.buffer_size": "is about nvme, which lrps refuses; leave it out",
    _ZERO + "offload_param.max_in_cpu": "is about nvme, which lrps refuses; leave it out",
    _ZERO + "offload_optimizer.buffer_count": "is about nvme, which lrps refuses; leave it out",
    _ZERO + "offload_optimizer.pipeline_read": "is about nvme, which lrps refuses; leave it out",
    _ZERO + "offload_optimizer.pipeline_write": "is about nvme, which lrps refuses; leave it out",
    _ZERO + "offload_optimizer.fast_init": "is about nvme, which lrps refuses; leave it out",
}
"""Settings that lrps decides itself, by its own keys or by what it is."""

BREAKS_CHECKPOINTS: Mapping[str, str] = {
    "aio": "breaks checkpoints: states that are swapped out to nvme cannot be saved; offload to cpu",
    _ZERO + "round_robin_gradients": "breaks checkpoints: states get the names of other parameters",
    _ZERO + "zenflow": "breaks checkpoints, and updates weights with old gradients",
    _ZERO + "mics_shard_size": "breaks checkpoints, and DeepSpeed has removed it",
    _ZERO + "mics_hierarchical_params_gather": "breaks checkpoints, and DeepSpeed has removed it",
    _ZERO + "offload_param.nvme_path": "breaks checkpoints: states on nvme cannot be saved; give `device: cpu`",
    _ZERO + "offload_optimizer.nvme_path": "breaks checkpoints: states on nvme cannot be saved; give `device: cpu`",
    _ZERO + "offload_optimizer.super_offload": "breaks checkpoints: it has an optimizer of its own",
    _ZERO + "offload_optimizer.cpuadam_cores_perc": "breaks checkpoints: it belongs to super_offload",
    _ZERO + "offload_optimizer.ratio": "breaks checkpoints: it needs DeepSpeed's own CPU Adam",
}
"""Settings with which states could not be saved under the right names, or could not be read."""

BROKEN: Mapping[str, str] = {
    _ZERO + "stage3_module_granularity_threshold": "is broken in DeepSpeed 0.19.8: training ends with an error",
    _ZERO + "module_granularity_threshold": "is broken in DeepSpeed 0.19.8: training ends with an error",
    _ZERO + "legacy_stage1": "is broken in DeepSpeed 0.19.8, which has no such stage any more",
}
"""Settings that DeepSpeed itself cannot train with."""

REFUSED: Mapping[str, str] = {**CHANGES_TRAINING, **DECIDED_BY_LRPS, **BREAKS_CHECKPOINTS, **BROKEN}
"""Every refused setting with its reason."""


def reason(key: str) -> str | None:
    """Return why a setting is refused, also one below a refused section; None if it is in no table."""
    parts = key.split(".")
    return next((REFUSED[name] for n in range(1, len(parts) + 1) if (name := ".".join(parts[:n])) in REFUSED), None)


def refusal_words(key: str, allowed: Collection[str]) -> str:
    """Return the words about a key that is not allowed: the reason, or the nearest name for an unknown one.

    key: dotted name below `engine.deepspeed`. allowed: keys that are allowed in the same section.
    """
    if (why := reason(key)) is not None:
        return why
    section, _, name = key.rpartition(".")
    prefix = f"{section}." if section else ""
    refused = {full.removeprefix(prefix) for full in REFUSED if full.startswith(prefix)}
    names = [*allowed, *sorted(each for each in refused if "." not in each and each not in allowed)]
    nearby = difflib.get_close_matches(name, names, 1, 0.6)
    if not nearby:
        return f"no setting of DeepSpeed that lrps knows; known keys: {', '.join(allowed)}"
    why = None if nearby[0] in allowed else reason(prefix + nearby[0])
    return f"unknown key; did you mean '{nearby[0]}'?" + (f" That one {why}" if why else "")
