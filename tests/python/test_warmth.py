"""Once warm, a batch costs no page fault and no allocation in the core."""

from __future__ import annotations

import os
import resource

import numpy as np
import pyarrow as pa
import pytest

import forebay

ROWS, BATCH_SIZE = 400_000, 4096
# The pool grows while readers and consumer find their pace; that takes an epoch or two, and here at most so many.
MOST_EPOCHS = 30


def minor_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def wide_table() -> pa.Table:
    """20 float32 and 20 int64 columns and a vector of 32 float32, all touched."""
    random = np.random.default_rng(0)
    columns: dict[str, pa.Array] = {}
    for number in range(20):
        columns[f"dense_{number}"] = pa.array(random.standard_normal(ROWS, dtype=np.float32))
        columns[f"category_{number}"] = pa.array(random.integers(0, 1000, ROWS))
    vectors = pa.array(random.standard_normal(ROWS * 32, dtype=np.float32))
    columns["vector"] = pa.FixedSizeListArray.from_arrays(vectors, 32)
    return pa.table(columns)


@pytest.mark.measures
def test_a_warm_epoch_makes_no_allocation_and_under_one_page_fault_a_batch() -> None:
    # A set prefetch: the adaptive one takes more buffers whenever a busy machine makes it wait.
    with forebay.Loader(
        wide_table(), batch_size=BATCH_SIZE, memory_limit="64MiB", prefetch_batches=2
    ) as loader:
        total = 0.0
        for _ in range(MOST_EPOCHS):
            batches = iter(loader)
            total += float(
                next(batches)["dense_0"].sum()
            )  # threads start and stop with the epoch, not with a batch
            allocations = loader.stats().gate_allocations
            faults = minor_faults()
            for batch in batches:
                total += float(batch["dense_0"].sum())
            faults = minor_faults() - faults
            # What counts is what came between an epoch's first batch and its last. A buffer made just before the
            # first one is touched after it, so an epoch may still fault that makes nothing.
            if loader.stats().gate_allocations == allocations and faults < len(loader):
                break
        assert loader.stats().gate_allocations == allocations
        assert faults < len(loader)
        assert np.isfinite(total)


@pytest.mark.measures
def test_small_batches_from_memory_cost_no_allocation_and_no_thread() -> None:
    columns = {f"feature_{number}": np.zeros(ROWS, np.float32) for number in range(8)}
    table = pa.table({**columns, "label": np.arange(ROWS)})
    with forebay.Loader(table, batch_size=64, memory_limit="64MiB") as loader:
        for _ in loader:
            pass
        allocations, faults, threads = (
            loader.stats().gate_allocations,
            minor_faults(),
            len(os.listdir("/proc/self/task")),
        )
        batches = iter(loader)
        next_id = 0
        for batch in batches:
            assert batch["label"][0] == next_id
            next_id += len(batch["label"])
        assert next_id == ROWS
        assert len(os.listdir("/proc/self/task")) == threads
        assert loader.stats().gate_allocations < allocations + 10  # the epoch itself, not its 6,250 batches
        assert minor_faults() - faults < len(loader) / 10
