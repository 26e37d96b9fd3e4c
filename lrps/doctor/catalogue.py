"""The list of all checks of `lrps doctor`, in the order in which their findings are printed."""

from __future__ import annotations

from lrps.doctor.communication import check_backends, check_host, check_two_processes
from lrps.doctor.data import check_data, check_remote
from lrps.doctor.devices import check_cpu, check_gpus, check_memory, check_price
from lrps.doctor.examination import Check
from lrps.doctor.filesystem import check_free_space, check_semantics, check_speed
from lrps.doctor.model import check_model
from lrps.doctor.ops import check_ops
from lrps.doctor.tracking import check_tracking
from lrps.doctor.versions import check_torch, check_versions

CHECKS = (
    Check("versions", "packages", check_versions),
    Check("price", "price", check_price),
    Check("tracking", "trackers", check_tracking),
    Check("data", "shards", check_data),
    Check("file system", "links, renames, locks", check_semantics),
    Check("file system", "free space", check_free_space),
    Check("devices", "cores", check_cpu),
    Check("devices", "memory", check_memory),
    Check("communication", "this host", check_host),
    # These load torch or take seconds.
    Check("versions", "torch", check_torch, slow=True),
    Check("model", "architecture, weights and a small copy", check_model, slow=True),
    Check("devices", "GPUs", check_gpus, slow=True),
    Check("communication", "gloo and NCCL", check_backends, slow=True),
    Check("ops", "compilers and locks", check_ops, slow=True),
    Check("data", "remote shards", check_remote, slow=True),
    Check("file system", "write and read speed", check_speed, slow=True),
    Check("communication", "all-reduce of two processes", check_two_processes, slow=True),
)
