"""The loaders that are compared: each turns a folder of Parquet files into dicts of numpy arrays of the same rows.

Every loader runs with its default number of threads, without a promise of order, and with the settings that were
fastest for it on these data sets among those its documentation offers for local files. Whatever size a peer's own
pieces have, `rebatch` cuts them into batches by views, which costs a copy only where a batch spans two pieces.
"""

from __future__ import annotations

from collections.abc import Iterator

from frameworks import FRAMEWORKS
from pieces import PIECE_ROWS, Batch, Entry, Job, arrow_piece, cpu_count, rebatch


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


LOADERS: dict[str, Entry] = {
    "forebay": Entry(("forebay", "pyarrow.parquet"), "forebay", forebay),
    "polars": Entry(("polars",), "polars", polars),
    "spdl": Entry(("spdl.pipeline", "pyarrow.parquet"), "spdl", spdl),
    "duckdb": Entry(("duckdb", "pyarrow"), "duckdb", duckdb),
    "pyarrow-file": Entry(("pyarrow.parquet",), "pyarrow", pyarrow_file),
    "pyarrow-dataset": Entry(("pyarrow.dataset", "pyarrow.parquet"), "pyarrow", pyarrow_dataset),
    "pyarrow-dataset-lean": Entry(("pyarrow.dataset", "pyarrow.parquet"), "pyarrow", pyarrow_dataset_lean),
    **FRAMEWORKS,
}
