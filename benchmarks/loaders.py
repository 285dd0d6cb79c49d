"""The loaders that are compared: each turns a folder of Parquet files into dicts of numpy arrays of the same rows.

Every loader runs with its default number of threads, without a promise of order, and with the settings that were
fastest for it on these data sets among those its documentation offers for local files. Whatever size a peer's own
pieces have, `rebatch` cuts them into batches by views, which costs a copy only where a batch spans two pieces.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Batch = dict[str, np.ndarray]

# Rows of a piece where a peer lets its caller choose: a row group of the small set.
PIECE_ROWS = 65_536


@dataclasses.dataclass
class Job:
    """What one run reads, and where a loader may leave figures of its own (`extra`, JSON values)."""

    folder: Path
    batch_rows: int
    memory_limit: str
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)

    def files(self) -> list[str]:
        """The Parquet files, sorted."""
        return sorted(str(path) for path in self.folder.glob("*.parquet"))


@dataclasses.dataclass(frozen=True)
class Entry:
    """A loader: the modules that are imported before the clock starts, the distribution, and the function."""

    modules: tuple[str, ...]
    distribution: str
    run: Callable[[Job], Iterator[Batch]]

    def load(self) -> None:
        """Import what the loader needs."""
        for module in self.modules:
            importlib.import_module(module)


def cpu_count() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def rebatch(pieces: Iterable[Batch], batch_rows: int) -> Iterator[Batch]:
    """Cut pieces of any length into batches of `batch_rows` rows; the last one may be shorter."""
    held: list[Batch] = []
    held_rows = 0
    for piece in pieces:
        rows = len(next(iter(piece.values())))
        start = 0
        if held:
            start = min(batch_rows - held_rows, rows)
            held.append({name: values[:start] for name, values in piece.items()})
            held_rows += start
            if held_rows < batch_rows:
                continue
            yield {name: np.concatenate([part[name] for part in held]) for name in piece}
            held, held_rows = [], 0
        while rows - start >= batch_rows:
            stop = start + batch_rows
            yield {name: values[start:stop] for name, values in piece.items()}
            start = stop
        if start < rows:
            held = [{name: values[start:] for name, values in piece.items()}]
            held_rows = rows - start
    if held:
        yield {name: np.concatenate([part[name] for part in held]) for name in held[0]}


def arrow_piece(piece: Any) -> Batch:
    """A pyarrow RecordBatch as views: one array a column, lists of one length as (rows, length)."""
    import pyarrow as pa

    arrays: Batch = {}
    for name, column in zip(piece.schema.names, piece.columns, strict=True):
        if pa.types.is_fixed_size_list(column.type) or pa.types.is_list(column.type):
            arrays[name] = column.flatten().to_numpy().reshape(len(column), -1)
        else:
            arrays[name] = column.to_numpy()
    return arrays


def forebay(job: Job) -> Iterator[Batch]:
    """The loader under test, within `memory_limit`."""
    import forebay as package

    with package.Loader(str(job.folder), batch_size=job.batch_rows, memory_limit=job.memory_limit) as loader:
        yield from loader
        stats = loader.stats().to_dict()
    for name in (
        "memory_limit",
        "peak_bytes",
        "foreign_bytes",
        "gate_allocations",
        "blocked_s",
        "bottleneck",
    ):
        if name in stats:
            job.extra[name] = stats[name]
    job.extra["first_next_s"] = stats[
        "first_batch_s"
    ]  # from the first next(); the child counts construction in


def polars(job: Job) -> Iterator[Batch]:
    """Polars' streaming engine. Chunks of four batches were a little faster than chunks of one."""
    import polars as package

    frames = package.scan_parquet(job.files()).collect_batches(
        chunk_size=4 * job.batch_rows, maintain_order=False
    )
    pieces = ({column.name: column.to_numpy() for column in frame} for frame in frames)
    yield from rebatch(pieces, job.batch_rows)


def spdl(job: Job) -> Iterator[Batch]:
    """An SPDL pipeline whose two workers each stream a row group through pyarrow, one thread each."""
    import pyarrow.parquet as pq
    from spdl.pipeline import PipelineBuilder

    footers = {path: pq.read_metadata(path) for path in job.files()}
    units = [(path, group) for path, footer in footers.items() for group in range(footer.num_row_groups)]

    def decode(unit: tuple[str, int]) -> Iterator[Batch]:
        path, group = unit
        file = pq.ParquetFile(path, metadata=footers[path], memory_map=True)
        for piece in file.iter_batches(PIECE_ROWS, row_groups=[group], use_threads=False):
            yield arrow_piece(piece)

    builder = PipelineBuilder().add_source(units).pipe(decode, concurrency=cpu_count()).add_sink(2)
    pipeline = builder.build(num_threads=cpu_count())
    with pipeline.auto_stop():
        yield from rebatch(pipeline.get_iterator(), job.batch_rows)


def duckdb(job: Job) -> Iterator[Batch]:
    """DuckDB's streaming result. Without insertion order it may decode row groups side by side."""
    import duckdb as package

    connection = package.connect()
    connection.execute("set preserve_insertion_order = false")
    reader = connection.read_parquet(job.files()).to_arrow_reader(PIECE_ROWS)
    yield from rebatch((arrow_piece(piece) for piece in reader), job.batch_rows)


def pyarrow_file(job: Job) -> Iterator[Batch]:
    """`ParquetFile.iter_batches`, file after file, columns decoded by pyarrow's threads."""
    import pyarrow.parquet as pq

    def pieces() -> Iterator[Batch]:
        for path in job.files():
            for piece in pq.ParquetFile(path, memory_map=True).iter_batches(PIECE_ROWS):
                yield arrow_piece(piece)

    yield from rebatch(pieces(), job.batch_rows)


def _scan(job: Job, **read_ahead: int) -> Iterator[Batch]:
    """The scanner of `pyarrow.dataset`."""
    import pyarrow.dataset as ds

    scanned = ds.dataset(job.files()).to_batches(batch_size=PIECE_ROWS, **read_ahead)
    yield from rebatch((arrow_piece(piece) for piece in scanned if piece.num_rows), job.batch_rows)


def pyarrow_dataset(job: Job) -> Iterator[Batch]:
    """The scanner with its own read-ahead: 16 batches and 4 files. Fast where fresh memory is cheap."""
    return _scan(job)


def pyarrow_dataset_lean(job: Job) -> Iterator[Batch]:
    """The scanner with a short read-ahead. Faster than its default where fresh memory is dear."""
    return _scan(job, batch_readahead=4, fragment_readahead=1)


LOADERS = {
    "forebay": Entry(("forebay", "pyarrow.parquet"), "forebay", forebay),
    "polars": Entry(("polars",), "polars", polars),
    "spdl": Entry(("spdl.pipeline", "pyarrow.parquet"), "spdl", spdl),
    "duckdb": Entry(("duckdb", "pyarrow"), "duckdb", duckdb),
    "pyarrow-file": Entry(("pyarrow.parquet",), "pyarrow", pyarrow_file),
    "pyarrow-dataset": Entry(("pyarrow.dataset", "pyarrow.parquet"), "pyarrow", pyarrow_dataset),
    "pyarrow-dataset-lean": Entry(("pyarrow.dataset", "pyarrow.parquet"), "pyarrow", pyarrow_dataset_lean),
}
