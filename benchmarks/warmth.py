"""Whether forebay is warm: page faults and core allocations per batch, from an in-memory Table of 42 columns.

One epoch is streamed in batches of 4,096 rows. Over its second half, minor page faults of the process (ru_minflt) must
stay under one per batch, and the core must allocate nothing: every buffer is one that a batch before it gave back.
Exits with 1 where that is not so.
"""

from __future__ import annotations

import argparse
import resource
import sys

from click_log import click_log_table, column_names

import forebay


def minor_faults() -> int:
    """Minor page faults of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def main() -> int:
    """Run one epoch and print both figures per batch."""
    parser = argparse.ArgumentParser(
        description="Count page faults and core allocations per batch once warm."
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch-rows", type=int, default=4096)
    parser.add_argument("--memory-limit", default="192MiB")
    options = parser.parse_args()
    batch_count = options.rows // options.batch_rows
    if batch_count < 64:
        parser.error("--rows must make 64 batches or more: fewer say little about a warm loader")
    table = click_log_table(options.rows)
    with forebay.Loader(
        table, batch_size=options.batch_rows, memory_limit=options.memory_limit, drop_last=True
    ) as loader:
        faults = allocations = counted = 0
        label_sum = 0.0
        for number, batch in enumerate(loader, start=1):
            label_sum += float(batch["label"].sum())
            if number == batch_count // 2:
                allocations = loader.stats().to_dict()["gate_allocations"]
                faults = minor_faults()
            elif number == batch_count:
                # The faults first: asking for stats may itself touch new memory.
                faults = minor_faults() - faults
                allocations = loader.stats().to_dict()["gate_allocations"] - allocations
                counted = number - batch_count // 2
    if not counted or len(batch) != len(column_names()):
        print(f"warmth: the loader gave {number} batches of {len(batch)} columns", file=sys.stderr)
        return 1
    holds = faults < counted and allocations == 0
    print(
        f"{counted} batches of {options.batch_rows:,} rows x {len(batch)} columns once warm: "
        f"{faults / counted:.3f} page faults a batch (promised: under 1), "
        f"{allocations / counted:.3f} core allocations a batch (promised: 0): {'holds' if holds else 'MISSED'}"
    )
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
