"""Small batches from memory: 64 rows of 9 columns, where a loader's cost for each batch is all there is.

As a program it runs one loader in a process of its own and prints one JSON line. Plain slicing of numpy arrays, which
is what the same loop costs without a loader, is measured in the same process in turn with it. Batches are dicts of
numpy arrays that nobody touches but in the first pass, which is not timed: it checks that every row came.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from frameworks import RAY_VARIABLES, RAY_VERSIONS, WORKERS, start_ray
from memory import private_bytes
from pieces import Batch, Entry, arrow_piece

ROWS = 400_000
BATCH_ROWS = 64
FEATURES = 8
BLOCK_ROWS = 50_000
# A loader that is slow here gets so many batches, which is enough to tell its rate.
SLOW_BATCHES = 1_500


def make_table(rows: int) -> pa.Table:
    """`rows` rows of 8 float32 and one int64 column, in one chunk a column."""
    random = np.random.default_rng(0)
    columns = {f"f{number}": random.standard_normal(rows, dtype=np.float32) for number in range(FEATURES)}
    return pa.table(columns | {"label": random.integers(0, 2, rows)})


@dataclasses.dataclass
class Memory:
    """What one run streams, as often as it has passes, and in batches of how many rows."""

    table: pa.Table
    batch_rows: int
    memory_limit: str
    arrays: dict[str, np.ndarray] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.arrays = {
            name: column.chunk(0).to_numpy()
            for name, column in zip(self.table.column_names, self.table.columns, strict=True)
        }

    def batch_count(self) -> int:
        """Batches of one pass, the last one may be shorter."""
        return math.ceil(self.table.num_rows / self.batch_rows)

    def starts(self) -> range:
        """The first row of each batch."""
        return range(0, self.table.num_rows, self.batch_rows)


Passes = Callable[[], Iterator[Batch]]


def numpy_slices(job: Memory) -> Iterator[Batch]:
    """Views of arrays: the least that such a loop can cost."""
    arrays, rows = job.arrays, job.batch_rows
    return ({name: array[start : start + rows] for name, array in arrays.items()} for start in job.starts())


def numpy_copies(job: Memory) -> Iterator[Batch]:
    """Copies of slices: arrays that are the consumer's own, as forebay's are."""
    arrays, rows = job.arrays, job.batch_rows
    return (
        {name: array[start : start + rows].copy() for name, array in arrays.items()} for start in job.starts()
    )


def pyarrow_slices(job: Memory) -> Iterator[Batch]:
    """Slices of a RecordBatch, each column seen as an array."""
    [piece] = job.table.to_batches()
    return (arrow_piece(piece.slice(start, job.batch_rows)) for start in job.starts())


def forebay_passes(job: Memory) -> Passes:
    """The loader under test: one loader, an epoch each pass."""
    import forebay

    loader = forebay.Loader(job.table, batch_size=job.batch_rows, memory_limit=job.memory_limit)
    return lambda: iter(loader)


def torch_passes(job: Memory, workers: int) -> Passes:
    """DataLoader over slices of arrays; its workers, where it has any, outlive a pass."""
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info

    class Slices(IterableDataset):
        def __iter__(self) -> Iterator[Batch]:
            worker = get_worker_info()
            share = (worker.id, worker.num_workers) if worker else (0, 1)
            return itertools.islice(numpy_slices(job), share[0], None, share[1])

    options = {"prefetch_factor": 4, "persistent_workers": True} if workers else {}
    loader = DataLoader(
        Slices(), batch_size=None, num_workers=workers, collate_fn=lambda batch: batch, **options
    )
    return lambda: iter(loader)


def spdl_passes(job: Memory) -> Passes:
    """A pipeline from the slices to a sink of eight batches, which is all of SPDL that this work needs."""
    from spdl.pipeline import PipelineBuilder

    def one_pass() -> Iterator[Batch]:
        pipeline = PipelineBuilder().add_source(numpy_slices(job)).add_sink(8).build(num_threads=1)
        with pipeline.auto_stop():
            yield from pipeline.get_iterator()

    return one_pass


def grain_passes(job: Memory) -> Passes:
    """A map over the starts of the batches that slices, read by two threads."""
    import grain

    def cut(start: int) -> Batch:
        return {name: array[start : start + job.batch_rows] for name, array in job.arrays.items()}

    options = grain.ReadOptions(num_threads=WORKERS, prefetch_buffer_size=16)
    batches = grain.MapDataset.source(list(job.starts())).map(cut).to_iter_dataset(options)
    return lambda: iter(batches)


def ray_passes(job: Memory) -> Passes:
    """`iter_batches` in the "numpy" format over blocks that the object store holds, one batch ahead."""
    import ray

    blocks = [
        job.table.slice(start, BLOCK_ROWS).combine_chunks()
        for start in range(0, job.table.num_rows, BLOCK_ROWS)
    ]
    data_set = ray.data.from_arrow(blocks).materialize()
    return lambda: iter(
        data_set.iter_batches(batch_size=job.batch_rows, batch_format="numpy", prefetch_batches=1)
    )


def again(slices: Callable[[Memory], Iterator[Batch]]) -> Callable[[Memory], Passes]:
    """A function that makes passes of a function that makes one."""
    return lambda job: lambda: slices(job)


# `run` of these entries takes a Memory and gives Passes.
LOADERS: dict[str, Entry] = {
    "forebay": Entry(("forebay",), "forebay", forebay_passes),
    "numpy-copies": Entry((), "numpy", again(numpy_copies)),
    "pyarrow-slices": Entry((), "pyarrow", again(pyarrow_slices)),
    "torch-0-workers": Entry(("torch.utils.data",), "torch", lambda job: torch_passes(job, 0)),
    "torch": Entry(("torch.utils.data",), "torch", lambda job: torch_passes(job, WORKERS), is_slow=True),
    "spdl": Entry(("spdl.pipeline",), "spdl", spdl_passes),
    "grain": Entry(("grain",), "grain", grain_passes),
    **{
        f"ray-{version}": Entry(
            ("ray.data",),
            "ray",
            ray_passes,
            prepare=start_ray,
            environment=f"ray-{version}",
            variables=RAY_VARIABLES,
            is_slow=True,
        )
        for version in RAY_VERSIONS
    },
}


def check(batches: Iterator[Batch], job: Memory) -> None:
    """One pass that looks at what it gets. Raises SystemExit where a row or a column is missing."""
    rows = label_sum = 0
    for batch in batches:
        if set(batch) != set(job.arrays) or not all(
            isinstance(array, np.ndarray) for array in batch.values()
        ):
            raise SystemExit(f"small_batches: a batch is {batch}")
        rows += len(batch["label"])
        label_sum += int(batch["label"].sum())
    if (rows, label_sum) != (job.table.num_rows, int(job.arrays["label"].sum())):
        raise SystemExit(f"small_batches: gave {rows} rows whose labels add up to {label_sum}")


def one_pass(batches: Iterator[Batch], count: int) -> tuple[float, list[float], float]:
    """Streams `count` batches: seconds, how long each took, minor page faults a batch over the second half."""
    waits: list[float] = []
    faults = 0
    half = count // 2
    start = before = time.perf_counter()
    for part in (half, count - half):
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _batch in itertools.islice(batches, part):  # held while the next is fetched, as a loop does
            now = time.perf_counter()
            waits.append(now - before)
            before = now
    seconds = time.perf_counter() - start
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return seconds, waits, faults / (count - half)


def measure(entry: Entry, job: Memory, passes: int) -> dict[str, Any]:
    """Passes of the loader and of plain slicing in turn; medians over them.

    Returns batches, seconds (of one pass), bytes, ratio_to_numpy (of rates), wait_p50_s, wait_p99_s and
    faults_per_batch; the slices' own figures with `numpy_` before the name.
    """
    make_pass = entry.run(job)
    count = job.batch_count()
    check(make_pass(), job)
    found: dict[str, list[float]] = {}
    for _ in range(passes):
        seconds: dict[str, float] = {}
        for prefix, source in (("numpy_", lambda: numpy_slices(job)), ("", make_pass)):
            batches = source()
            seconds[prefix], waits, faults = one_pass(batches, count)
            del batches
            figures = {
                "seconds": seconds[prefix],
                "wait_p50_s": float(np.percentile(waits, 50)),
                "wait_p99_s": float(np.percentile(waits, 99)),
                "faults_per_batch": faults,
            }
            for name, value in figures.items():
                found.setdefault(prefix + name, []).append(value)
        found.setdefault("ratio_to_numpy", []).append(seconds["numpy_"] / seconds[""])
    medians = {name: statistics.median(values) for name, values in found.items()}
    return medians | {"batches": count, "rows": job.table.num_rows, "bytes": job.table.nbytes}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description="Run one loader over small batches and print one JSON line.")
    parser.add_argument("loader", choices=sorted(LOADERS))
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--batch-rows", type=int, default=BATCH_ROWS)
    parser.add_argument("--memory-limit", default="192MiB", help="for loaders that have such a thing")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument(
        "--bare", action="store_true", help="import only, and print the memory and the versions"
    )
    arguments = parser.parse_args()
    entry = LOADERS[arguments.loader]
    entry.load()
    if arguments.bare:
        result: dict[str, Any] = {"private_bytes": private_bytes(), "versions": entry.versions()}
    else:
        if entry.prepare is not None:
            entry.prepare()
        most_rows = SLOW_BATCHES * arguments.batch_rows if entry.is_slow else arguments.rows
        table = make_table(min(arguments.rows, most_rows))
        result = measure(entry, Memory(table, arguments.batch_rows, arguments.memory_limit), arguments.passes)
    json.dump(result, sys.stdout)
    print(flush=True)


if __name__ == "__main__":
    main()
