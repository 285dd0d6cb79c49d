"""Runs one loader over one folder once, in a process of its own, and prints one JSON line.

Imports are done before the clock starts, and so is what a loader's `prepare` does. The clock stops when the loader says
that it has no more batches. Nothing else runs meanwhile: whoever samples the memory of this process does so in a run
whose rate is not used.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
from loaders import LOADERS
from memory import private_bytes, tree_cpu_s
from pieces import Entry, Job


def measure(entry: Entry, job: Job) -> dict[str, object]:
    """Run one epoch as a training loop would, touching the labels of every batch.

    Returns rows, batches, bytes, seconds (all of it), first_batch_s, wait_p50_s, wait_p99_s and wait_max_s (of the
    batches after the first), faults_per_batch (minor page faults of this process over the second half of the batches),
    cpu_s (of the process and all its descendants), and label_sum, by which the caller sees that every loader gave the
    same rows.
    """
    waits: list[float] = []
    faults: list[int] = []
    rows = size = 0
    label_sum = 0.0
    cpu_start_s = tree_cpu_s()
    start = before = time.perf_counter()
    iterator = entry.run(job)
    while (batch := next(iterator, None)) is not None:
        waits.append(time.perf_counter() - before)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
        labels = batch["label"]
        rows += len(labels)
        size += sum(array.nbytes for array in batch.values())
        label_sum += float(labels.sum(dtype=np.float64))
        before = time.perf_counter()
    seconds = time.perf_counter() - start
    if len(waits) < 4:
        raise SystemExit(f"child: only {len(waits)} batches in {job.folder}: too few to measure")
    half = len(faults) // 2
    later = np.array(waits[1:])
    return {
        "rows": rows,
        "batches": len(waits),
        "bytes": size,
        "seconds": seconds,
        "first_batch_s": waits[0],
        "wait_p50_s": float(np.percentile(later, 50)),
        "wait_p99_s": float(np.percentile(later, 99)),
        "wait_max_s": float(later.max()),
        "faults_per_batch": (faults[-1] - faults[half]) / (len(faults) - 1 - half),
        "cpu_s": tree_cpu_s() - cpu_start_s,
        "label_sum": label_sum,
        **job.extra,
    }


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description="Run one loader once and print one JSON line.")
    parser.add_argument("loader", choices=sorted(LOADERS))
    parser.add_argument("--folder", type=Path, default=Path("."))
    parser.add_argument("--batch-rows", type=int, default=4096)
    parser.add_argument("--memory-limit", default="192MiB", help="for loaders that have such a thing")
    parser.add_argument(
        "--bare", action="store_true", help="import only, and print the memory and the versions"
    )
    arguments = parser.parse_args()
    entry = LOADERS[arguments.loader]
    entry.load()
    if arguments.bare:
        result: dict[str, object] = {"private_bytes": private_bytes(), "versions": entry.versions()}
    else:
        if entry.prepare is not None:
            entry.prepare()
        result = measure(entry, Job(arguments.folder, arguments.batch_rows, arguments.memory_limit))
    json.dump(result, sys.stdout)
    print(flush=True)


if __name__ == "__main__":
    main()
