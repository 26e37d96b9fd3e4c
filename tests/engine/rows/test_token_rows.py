"""Token ids on the device are those of the host, whatever the type of the shards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrps.engine.rows.token_rows import TokenRows, as_signed, widened

IDS = st.sampled_from((np.uint16, np.uint32, np.int32, np.int64)).flatmap(
    lambda dtype: st.lists(
        st.lists(st.integers(0, int(np.iinfo(dtype).max)), min_size=3, max_size=3), min_size=1, max_size=5
    ).map(lambda rows: np.array(rows, dtype))
)


@given(IDS)
def test_what_is_copied_in_few_bytes_is_widened_to_the_ids(ids: np.ndarray) -> None:
    signed = as_signed(ids)
    assert signed.element_size() == ids.itemsize, "no byte more is copied"
    assert widened(signed, ids.dtype).tolist() == ids.tolist()
    assert widened(signed, ids.dtype).dtype == torch.int64


@given(IDS, st.integers(1, 6))
def test_parts_are_the_rows_in_order(ids: np.ndarray, rows: int) -> None:
    parts = TokenRows(ids, "cpu").split(rows)
    assert torch.cat([part.on_host for part in parts]).tolist() == ids.tolist()
    assert all(part.shape[0] == rows for part in parts[:-1])
    assert all(part.on_device is part.on_host for part in parts), "on a CPU nothing is copied"


def test_missing_rows_are_filled_in() -> None:
    rows = TokenRows(np.full((2, 3), 7, np.uint16), "cpu")
    assert rows.filled_to(4).on_host.tolist() == [[7] * 3] * 2 + [[0] * 3] * 2
    assert rows.filled_to(2) is rows.filled_to(1) is rows


@pytest.mark.gpu
def test_the_device_has_the_ids_of_the_host() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    for dtype in (np.uint16, np.uint32, np.int64):
        rows = TokenRows(np.array([[0, 1, np.iinfo(dtype).max]], dtype), "cuda")
        assert rows.on_device.is_cuda
        assert rows.on_device.cpu().tolist() == rows.on_host.tolist()
