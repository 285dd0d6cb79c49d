"""The loader: a source becomes batches inside one byte limit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from . import _arguments, _ext
from ._arguments import Settings
from ._column import ArrowColumn
from ._errors import ForkedLoaderError
from ._forms import Forms, make_forms
from ._numpy import fill_bytes
from ._progress import LiveLine, Progress
from ._sources import open_source
from ._stats import Plan, Stats, bytes_text

Batch = dict[str, Any]


class Loader:
    """Streams a columnar source as training batches; every byte it holds fits inside one limit.

    Each `iter()` is one epoch. A batch is a dict of numpy arrays by column name, in the order of `columns`: contiguous,
    writable, the user's own until dropped. When the last array of a batch is gone, its memory is used again.

        with forebay.Loader("clicks/", batch_size=4096, memory_limit="256MiB") as loader:
            for batch in loader:
                train(batch["dense_0"], batch["label"])

    Arguments
    ---------
    source
        A path, a directory, a glob, or a list of those, naming Parquet files; a pyarrow Table or RecordBatch; or a
        stream of unknown length: a pyarrow RecordBatchReader, which gives one epoch, or any object with
        `__arrow_c_stream__`; or an iterable of tables, record batches and such objects, or a function without
        arguments that gives any of these and is called each epoch; an iterator gives one epoch. A stream is read by one
        thread, block by block, and its batches come in order. In a
        directory, searched to the bottom, names that begin with "_" or "." are ignored and the rest is sorted by path;
        any other file that is not Parquet is an error. Files must agree in names and types of the chosen columns; the
        order of columns and their nullability may differ. Also a pyarrow Parquet Dataset (FileSystemDataset or
        ParquetDataset on this machine's files: its fragments in its order, with the row groups, the schema and the
        partition columns that it has settled), a list of tables and record batches that agree in the same way, and an
        object whose `__arrow_c_array__` gives a struct array.
    batch_size
        Rows of a batch, at least 1. The last batch of an epoch may have fewer. None: the source's own blocks, row
        groups of files or record batches, one batch each.
    columns
        Names of the columns to read, in this order; None for all.
    batch_format
        "numpy": a dict of numpy arrays. Integers, floats and bool keep their dtype; dates and timestamps become
        datetime64 (instants of UTC), times and durations timedelta64; a fixed-size list becomes an array of shape
        (rows, list size), nested ones of (rows, ...), and tensors (Arrow's and Ray's extension types) of their shape;
        strings, binary and decimals become `forebay.ArrowColumn`. A list of any other size, and a map, is a pair
        (values, offsets): row i has values[offsets[i]:offsets[i + 1]]. The fields of a struct have dotted names. A
        dictionary-encoded or run-end encoded column is decoded.
        "pyarrow": a pyarrow.RecordBatch over the batch's memory, nulls kept; its types are those of `schema`.
        "pandas": a pandas.DataFrame made from that. What pandas copies for it is pandas' own and not counted; what it
        does not copy, strings say, stays the batch's. A type that it cannot hold is refused by column.
    memory_limit
        Bytes, as an int or as text such as "256MiB". None: 1 GiB, or an eighth of what the machine or its control
        group grants if that is less. Stack, Python objects and memory that the caller owned before are not counted.
    prefetch_batches
        Most batches that are ready ahead; 0 makes each on demand. None: few at first, more whenever the consumer is
        seen to wait, within the limit.
    num_threads
        Reader threads. None: the processors that this process may use.
    preserve_order
        True: batch k comes before batch k+1. False: batches come as they are complete. Their contents are the same.
    drop_last
        Leave out a last batch that has fewer than batch_size rows; not where batch_size is None.
    null_policy
        "error": a null ends the epoch with SourceError naming its column and row. "fill": a null becomes 0, NaN, NaT,
        False or an empty string, or what fill_value says. "mask": as "fill", and "<name>.valid" is a bool array of
        shape (rows,), false where the row is null.
    fill_value
        {column: value}: what stands for nulls under "fill" and "mask". A field of a struct has its dotted name; for a
        column of lists it is what stands for null elements.
    dtypes
        {column: "dictionary"}: a pair (codes, dictionary), an int32 array of shape (rows,) and the distinct values of
        this batch in order of appearance, for any column of plain values. For batch_format="numpy".
    timeout
        Seconds that one next() may take before it raises LoaderTimeoutError; None to wait.
    close_timeout
        Seconds to wait, when an epoch ends, for a thread that is inside code of another library; after them the thread
        is left to end by itself and a ResourceWarning names what it read.
    progress
        Show a live line on stderr: rows/s, MB/s, bytes held of the limit, share of time waited. When stderr is not a
        terminal, a line is logged every 10 s at level INFO by the logger "forebay".
    partitioning
        "hive": folders called `key=value` become columns, in the order of the folders, after the files' own. Only
        folders below the root count: the directory that was given, or what a glob names before its first special
        character; a file that was named itself has no root. Keys and values are URL-decoded;
        `__HIVE_DEFAULT_PARTITION__` is null. A column is int32 where all of its values, over all files, are decimal
        numbers that fit, int64 where they fit that, else string. A key that is a column of the files too is read from
        the files. Files must agree in the keys that are read. None: folders are only folders.
    on_bad_file
        What becomes of a file that cannot be read when the loader is made: its footer is damaged or missing, it is
        empty, no Parquet file, or differs from the first good file in the chosen columns. "error": SourceError.
        "skip": it is left out, and counted in stats(). "warn": as "skip", with a UserWarning for each of the first ten
        and one for the rest. When no file is left it is SourceError. Damage inside pages is found only in mid-epoch,
        when the rows of each batch are settled: it is always an error.

    Raises
    ------
    TypeError, ValueError
        An argument is wrong. Arguments are checked before a file is opened.
    SourceError
        There is nothing to read, a file cannot be read, or files differ; names the file. UnsupportedError for a type
        or codec that is not supported, named by column.
    MemoryLimitError
        The plan does not fit memory_limit; `.required` is the least that would do.
    """

    def __init__(
        self,
        source: Any,
        *,
        batch_size: int | None,
        columns: Sequence[str] | None = None,
        batch_format: str = "numpy",
        memory_limit: int | str | None = None,
        prefetch_batches: int | None = None,
        num_threads: int | None = None,
        preserve_order: bool = False,
        drop_last: bool = False,
        null_policy: str = "error",
        fill_value: Mapping[str, Any] | None = None,
        dtypes: Mapping[str, str] | None = None,
        timeout: float | None = None,
        close_timeout: float = 1.0,
        progress: bool = False,
        partitioning: str | None = "hive",
        on_bad_file: str = "error",
    ) -> None:
        settings = _arguments.check(
            batch_size=batch_size,
            columns=columns,
            batch_format=batch_format,
            memory_limit=memory_limit,
            prefetch_batches=prefetch_batches,
            num_threads=num_threads,
            preserve_order=preserve_order,
            drop_last=drop_last,
            null_policy=null_policy,
            fill_value=fill_value,
            dtypes=dtypes,
            timeout=timeout,
            close_timeout=close_timeout,
            progress=progress,
            partitioning=partitioning,
            on_bad_file=on_bad_file,
        )
        opened = open_source(source, settings)
        self._stream = opened.stream
        forms = make_forms(opened.schema, settings.batch_format, settings.dtypes)
        self._schema = forms.schema
        self._bad_files = opened.bad_files
        self._ext = make_core_loader(opened.core, opened.schema, forms, settings)
        self._plan = Plan(**self._ext.plan())
        self._progress = settings.progress
        self._epoch = 0

    def __iter__(self) -> Iterator[Batch]:
        """Begins the next epoch. The iterator of the epoch before it, if any, raises RuntimeError from now on.

        Raises RuntimeError once the loader is closed, ForkedLoaderError in a child of fork().
        """
        if self._progress:
            return self._follow(LiveLine())
        batches: Iterator[Batch] = self._ext.iterate()
        self._epoch += 1
        return batches

    def _follow(self, line: LiveLine) -> Progress:
        """Begins the next epoch, its progress shown on line."""
        batches: Iterator[Batch] = self._ext.iterate()
        self._epoch += 1
        return Progress(batches, self._ext.stats, self._plan.batches, line)

    def __len__(self) -> int:
        """Batches of an epoch, exact. Raises TypeError where the source does not know its length."""
        if self._plan.batches is None:
            raise TypeError("this loader has no len(): its source is a stream, whose length is not known")
        return self._plan.batches

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exception: object) -> None:
        """Closes. In a child of fork() that leaves its parent's block there is nothing to close."""
        with contextlib.suppress(ForkedLoaderError):
            self.close()

    def __repr__(self) -> str:
        limit = bytes_text(self._ext.stats()["memory_limit"])
        state = "closed, " if self._ext.closed else ""
        plan = self._plan
        if plan.batches is None:
            return f"<forebay.Loader {state}a stream of unknown length, limit {limit}>"
        return f"<forebay.Loader {state}{plan.rows:,} rows in {plan.batches:,} batches, limit {limit}>"

    def close(self) -> None:
        """Ends the epoch, joins its threads, closes files and gives all memory back. Idempotent.

        Batches that the user still holds stay valid, and charged, until they are dropped. Dropping the last of loader
        and iterator closes too.
        """
        self._ext.close()
        if self._stream is not None:
            self._stream.close()

    def stats(self) -> Stats:
        """A snapshot of the loader's figures, also while an epoch runs; after close() the last ones."""
        return Stats.from_core(self._ext.stats(), self._bad_files)

    def plan(self) -> Plan:
        """What was settled at construction: batches, rows, units, the least memory that would do."""
        return self._plan

    @property
    def schema(self) -> pa.Schema:
        """The chosen columns as a pyarrow.Schema."""
        return self._schema

    @property
    def epoch(self) -> int:
        """The number of the epoch that the next iter() begins; it goes up with each."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Sets the number of the epoch that the next iter() begins, an int of at least 0."""
        self._epoch = _arguments.check_integer("epoch", epoch, least=0)


def iter_batches(source: Any, **arguments: Any) -> Iterator[Batch]:
    """One epoch over a source, as a generator: the batches of `Loader(source, **arguments)`.

    Arguments are checked and the source is planned here, before the first next(). The loader is closed when the
    generator ends, is closed, or is let go. Raises what Loader raises.
    """
    return _one_epoch(Loader(source, **arguments))


def _one_epoch(loader: Loader) -> Iterator[Batch]:
    with loader:
        yield from loader


def make_core_loader(core_source: Any, schema: pa.Schema, forms: Forms, settings: Settings) -> _ext.Loader:
    """The core's loader over a source, of which schema are the chosen columns, and forms what becomes of them."""
    return _ext.Loader(
        core_source,
        batch_rows=settings.batch_size,
        memory_limit=settings.memory_limit,
        prefetch_batches=settings.prefetch_batches,
        thread_count=settings.num_threads,
        preserve_order=settings.preserve_order,
        drop_last=settings.drop_last,
        null_policy=_arguments.NULL_POLICIES[settings.null_policy],
        fill_values=fill_bytes(schema, settings.fill_value),
        outputs=forms.outputs,
        column_options=forms.column_options,
        column_class=ArrowColumn,
        convert=forms.convert,
        timeout=settings.timeout,
        close_timeout=settings.close_timeout,
    )
