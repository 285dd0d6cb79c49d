"""The benchmarks of the command line: forebay beside what the same loop costs without it, in one process and one run.

`parquet` streams files beside `pyarrow.parquet`; `small` streams small batches from memory beside plain slicing of
numpy arrays. Rates swing from one run to the next; what holds is a ratio within one run, so each round runs all of
them in turn, and the ratio is the median of the rounds' own.
"""

from __future__ import annotations

import functools
import itertools
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from . import _paths, demo
from ._progress import LiveLine
from ._stats import Stats, _table, bytes_text
from .loader import Batch, Loader

MEMORY_LIMIT = "192MiB"
PARQUET_ROWS, PARQUET_BATCH, PARQUET_ROUNDS = 1_000_000, 4096, 3
SMALL_ROWS, SMALL_BATCH, SMALL_ROUNDS = 400_000, 64, 5

_FILES = 2
_FEATURES = 8
# Rows that pyarrow decodes at a time; its batches are views of such a piece, which is faster than small pieces.
_PIECE_ROWS = 65_536

Batches = Callable[[], Iterator[Batch]]


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the data by one loader.

    Attributes:
        batches: how many there were. seconds: from before the loader was asked for them to the last one's end.
        first_batch_s: from there to the first batch.
        faults_per_batch: minor page faults of the process, over the second half of the batches.
    """

    batches: int
    seconds: float
    first_batch_s: float
    faults_per_batch: float


def parquet(
    source: Sequence[str | os.PathLike[str]] | None = None,
    *,
    rows: int = PARQUET_ROWS,
    columns: Sequence[str] | None = None,
    batch_size: int = PARQUET_BATCH,
    memory_limit: int | str = MEMORY_LIMIT,
    rounds: int = PARQUET_ROUNDS,
) -> None:
    """Streams Parquet files, made in a temporary folder where source is None, beside pyarrow; prints what came out.

    rows: of the data that is made. Raises what Loader raises, and OSError where the data does not fit on the disk.
    """
    line = LiveLine()
    if source is None:
        with tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
            paths = demo.make_data(Path(folder), _FILES, -(-rows // _FILES), line)
            _parquet([str(path) for path in paths], columns, batch_size, memory_limit, rounds, line)
    else:
        files = [file.path for file in _paths.find_files(_paths.check_paths(list(source)))]
        _parquet(files, columns, batch_size, memory_limit, rounds, line)


def _parquet(
    files: list[str],
    columns: Sequence[str] | None,
    batch_size: int,
    memory_limit: int | str,
    rounds: int,
    line: LiveLine,
) -> None:
    """`parquet` over files that are there."""
    seen: list[Stats] = []

    def ours() -> Iterator[Batch]:
        with Loader(
            files, batch_size=batch_size, columns=columns, memory_limit=memory_limit, null_policy="fill"
        ) as loader:
            yield from loader
            seen.append(loader.stats())

    with Loader(files, batch_size=batch_size, columns=columns, memory_limit=memory_limit) as loader:
        plan, names = loader.plan(), loader.schema.names
    if not plan.rows or not plan.batches:
        raise ValueError(f"{files[0]}: there are no rows to stream: give --data files that have some")
    loaders: dict[str, Batches] = {
        "pyarrow": functools.partial(_pyarrow_batches, files, names, batch_size),
        "forebay": ours,
    }
    passes = _run_rounds(loaders, plan.batches, rounds, line)
    _print_report(
        f"{plan.rows:,} rows, {len(names):,} columns, {_count(len(files), 'Parquet file')}",
        batch_size,
        passes,
        seen,
        "pyarrow.parquet's iter_batches",
    )


def small(
    *,
    rows: int = SMALL_ROWS,
    batch_size: int = SMALL_BATCH,
    memory_limit: int | str = MEMORY_LIMIT,
    rounds: int = SMALL_ROUNDS,
) -> None:
    """Streams small batches of 9 columns from memory beside slicing numpy arrays; prints what came out.

    Raises what Loader raises.
    """
    random = np.random.default_rng(0)
    arrays: dict[str, np.ndarray[Any, Any]] = {
        f"feature_{number}": random.standard_normal(rows, dtype=np.float32) for number in range(_FEATURES)
    }
    arrays["label"] = random.integers(0, 2, rows)
    starts = range(0, rows, batch_size)

    def slices() -> Iterator[Batch]:
        return (
            {name: array[start : start + batch_size] for name, array in arrays.items()} for start in starts
        )

    def copies() -> Iterator[Batch]:
        return ({name: array.copy() for name, array in batch.items()} for batch in slices())

    with Loader(pa.table(arrays), batch_size=batch_size, memory_limit=memory_limit) as loader:
        loaders: dict[str, Batches] = {
            "numpy views": slices,
            "numpy copies": copies,
            "forebay": lambda: iter(loader),
        }
        passes = _run_rounds(loaders, len(loader), rounds, LiveLine())
        seen = [loader.stats()]
    size = f"{rows:,} rows, {len(arrays)} columns, in memory"
    _print_report(size, batch_size, passes, seen, "slicing numpy arrays")


def _pyarrow_batches(files: list[str], columns: list[str], batch_size: int) -> Iterator[Batch]:
    """Batches as views of larger pieces; the last one of a piece may be shorter."""
    for path in files:
        with pq.ParquetFile(path, memory_map=True) as file:
            for piece in file.iter_batches(_whole_batches(batch_size), columns=columns):
                arrays = {name: _array(piece.column(name)) for name in columns}
                for start in range(0, piece.num_rows, batch_size):
                    yield {name: array[start : start + batch_size] for name, array in arrays.items()}


def _whole_batches(batch_size: int) -> int:
    """Rows of a piece that holds as many whole batches as _PIECE_ROWS does, one at least."""
    return max(1, _PIECE_ROWS // batch_size) * batch_size


def _array(column: pa.Array) -> Any:
    """A column as a numpy array, without a copy where pyarrow can; what numpy has no dtype for stays as it is."""
    kind = column.type
    if pa.types.is_fixed_size_list(kind) and not column.null_count and pa.types.is_primitive(kind.value_type):
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    if pa.types.is_primitive(kind) and not pa.types.is_time(kind):
        return column.to_numpy(zero_copy_only=False)
    return column


def _run_rounds(
    loaders: Mapping[str, Batches], batches: int, rounds: int, line: LiveLine
) -> dict[str, list[Pass]]:
    """Every loader once in each round, after a round that is not counted: it brings files and memory in."""
    passes: dict[str, list[Pass]] = {name: [] for name in loaders}
    for number in range(rounds + 1):
        for name, make in loaders.items():
            if line.is_due():
                line.update(f"round {number} of {rounds}: {name}")
            done = _run_pass(make, batches)
            if number:
                passes[name].append(done)
    line.clear()
    return passes


def _run_pass(make: Batches, expected: int) -> Pass:
    """Streams all batches, of which about so many are expected; each is held while the next is made."""
    count = 1
    start = time.perf_counter()
    batches = make()
    batch = next(batches)
    first = time.perf_counter()
    for batch in itertools.islice(batches, expected // 2):  # noqa: B007
        count += 1
    before, half = _page_faults(), count
    for batch in batches:  # noqa: B007
        count += 1
    end = time.perf_counter()
    faults = (_page_faults() - before) / max(1, count - half)
    del batch
    return Pass(count, end - start, first - start, faults)


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _print_report(
    size: str, batch_size: int, passes: Mapping[str, list[Pass]], seen: list[Stats], reference_text: str
) -> None:
    """Prints a row for each loader, the first of which ratios are against, and what forebay held."""
    reference = next(iter(passes))
    rounds = len(passes[reference])
    # What a loader calls a batch may differ by a few shorter ones: rates are of the same rows and bytes.
    batches = passes["forebay"][0].batches
    bytes_out = seen[0].bytes_out / (seen[0].batches // batches)
    rows: dict[str, list[str]] = {}
    for name, runs in passes.items():
        seconds = statistics.median(run.seconds for run in runs)
        rows[name] = [
            f"{batches / seconds:,.0f}",
            f"{bytes_out / seconds / 1e6:,.1f}",
            f"{statistics.median(run.first_batch_s for run in runs) * 1e3:,.2f} ms",
            f"{statistics.median(run.faults_per_batch for run in runs):,.2f}",
            f"{statistics.median(_ratios(runs, passes[reference])):,.3f}",
        ]
    ratios = _ratios(passes["forebay"], passes[reference])
    peak, limit = max(stats.peak_bytes for stats in seen), seen[0].memory_limit
    print(f"{size}, {bytes_out / 1e6:,.1f} MB")
    print(f"batches of {_count(batch_size, 'row')}, {_count(rounds, 'round')} in turn, medians\n")
    print(_table("loader", ("batches/s", "MB/s", "first batch", "faults/batch", "ratio"), rows))
    print(f"\nforebay at {statistics.median(ratios):,.3f} times the rate of {reference_text}")
    print(f"({min(ratios):,.3f} to {max(ratios):,.3f} over the rounds)")
    print(f"memory: peak {bytes_text(peak)} of {bytes_text(limit)}")


def _ratios(runs: list[Pass], others: list[Pass]) -> list[float]:
    """The rate of each run over that of the other in the same round."""
    return [other.seconds / run.seconds for run, other in zip(runs, others, strict=True)]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}"
