"""Ledgers as one Parquet file, for queries with SQL or data frames. Needs pyarrow."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import Any

from lrps.base.errors import ConfigError
from lrps.ledger.records import Counters, Record

BATCH_RECORDS = 50_000
_COUNTERS = tuple((field.name, str(field.type)) for field in fields(Counters))


def write_parquet(records: Iterable[tuple[str, int, Record]], out: Path) -> int:
    """Write (path, attempt, record) as rows, in bounded memory, and return the number of rows.

    Columns: path, attempt, kind, step, time (UTC), every counter, loss, facts (JSON), sha256. The file is written as a
    whole or not at all. Raises ConfigError without pyarrow, or if the file cannot be written.
    """
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError("--parquet needs pyarrow; install it: pip install 'lrps[parquet]'") from None
    # FLOPs of a large run do not fit into 64 bits; a double is precise enough.
    types = {"int": pa.int64(), "float": pa.float64(), "float | None": pa.float64()}
    columns = {name: pa.float64() if name == "flops" else types[kind] for name, kind in _COUNTERS}
    schema = pa.schema(
        {"path": pa.string(), "attempt": pa.int32(), "kind": pa.string(), "step": pa.int64()}
        | {"time": pa.timestamp("ms", "UTC")}
        | columns
        | {"loss": pa.float64(), "facts": pa.string(), "sha256": pa.string()}
    )
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(temporary, schema) as writer:
            rows = 0
            for batch in _batches(records):
                writer.write_table(pa.Table.from_pylist(batch, schema))
                rows += len(batch)
        os.replace(temporary, out)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error}); free space or give another path") from error
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def _batches(records: Iterable[tuple[str, int, Record]]) -> Iterator[list[dict[str, Any]]]:
    remaining = iter(records)
    while batch := [_row(*record) for record in islice(remaining, BATCH_RECORDS)]:
        yield batch


def _row(path: str, attempt: int, record: Record) -> dict[str, Any]:
    from datetime import datetime

    loss = record.facts.get("loss")
    return {
        "path": path,
        "attempt": attempt,
        "kind": record.kind,
        "step": record.step,
        "time": datetime.fromisoformat(record.time),
        **asdict(record.counters),
        "flops": float(record.counters.flops),
        "loss": loss if isinstance(loss, int | float) else None,
        "facts": json.dumps(record.facts, sort_keys=True),
        "sha256": record.sha256,
    }
