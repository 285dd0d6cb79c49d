"""Parquet files: footers become a plan, and each (row group, set of columns) an Arrow C stream through pyarrow.

Columns that the core decodes by itself (_parquet_native.py says which) are never opened here. A partition column is a
stream too, of constant pieces beside the others; it needs no file.

This is the one file that touches pyarrow._parquet, which is private: its reader is the only one that decodes into a
memory pool of the caller's and streams a row group by pages. pyproject.toml pins the versions it was read in, and
tests/python/test_parquet_source.py fails where a version differs.

How the reader is used, and why: `pre_buffer=False` with a small `buffer_size` reads pages as they are needed;
`use_threads=False` since threads are the core's; one proxy pool per loader over jemalloc counts what the reader holds.
The pool must outlive every block that was made from it: the provider owns it, and the core lets go of every block
before it lets go of the provider.

Threads: open(), allocated_bytes(), describe() and take_error() are called from reader threads, holding the GIL.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import _parquet

from . import _ext, _parquet_native
from ._bad_files import BadFiles
from ._columns import choose_columns, duplicate_names, quoted, unknown_column_message
from ._errors import SourceError, UnsupportedError
from ._machine import usable_processors
from ._parquet_costs import BUFFER_BYTES, ColumnCost, spread_transient
from ._parquet_files import (
    FOOTER_GROWTH,
    KEPT_FOOTER_BYTES,
    DatasetParts,
    FileFigures,
    Footer,
    FooterCache,
    SourceFile,
    first_of,
    none_left,
    wanted_groups,
)
from ._parquet_pages import read_at
from ._parquet_survey import examine
from ._partitions import ConstantColumns, Partitions
from ._types import decoded, text_family

# What the allocators keep beside what is in use: measured at up to a quarter of it on top, see docs/design.md.
_RETAINED_SHARE = 4
_FOOTER_THREADS = 8
# What columns cost is worked out from so many files, spread evenly over the source: files of a source have one writer,
# and where one is unlike the rest the core adjusts.
_SURVEYED_FILES = 64
_MAGIC, _ENCRYPTED_MAGIC = b"PAR1", b"PARE"
_LEAST_FILE_BYTES = 12  # magic, an empty footer's length, magic


class ParquetProvider:
    """A list of Parquet files as a source of units; make_source() gives it to the core.

    Attributes:
        schema: pyarrow.Schema of the chosen columns.
        unit_rows: numpy uint64, rows of each unit; a unit is a row group that has rows.
        native_columns: which columns the core decodes by itself; the others are opened here.
        partition_columns: which are not in the files: a file's place says their values.
        costs: numpy uint64 of shape (columns, 4): fixed bytes, bytes of a row, of its string, weight. The first three
            are 0 for a column that the core decodes.
        plan_bytes: most bytes that the footers kept and the list of units take.
    """

    def __init__(
        self,
        paths: Sequence[str],
        columns: Sequence[str] | None,
        thread_count: int,
        *,
        partitions: Partitions | None = None,
        dataset: DatasetParts | None = None,
        bad_files: BadFiles | None = None,
    ) -> None:
        """Reads every footer, in threads that are joined here.

        partitions: of the files; None: there are none. dataset: None: the first file's columns are the source's.
        bad_files: takes the files that cannot be read; None: the first of them is raised.
        Raises SourceError (UnsupportedError for what pyarrow does not read) naming the file, ValueError for a column
        that does not exist.
        """
        self._partitions = partitions or Partitions()
        self._dataset = dataset
        self._pool = pa.proxy_memory_pool(_base_pool())
        self._footers = FooterCache()
        self._page_bytes_open: dict[int, int] = {}
        self._errors: dict[int, BaseException] = {}
        footers = self._read_footers(paths, columns, bad_files or BadFiles())
        self._files = [footer.file for footer in footers]
        self._unit_files = array("I")
        self._unit_groups = array("I")
        unit_rows = array("Q")
        for number, footer in enumerate(footers):
            self._unit_files.extend([number] * len(footer.groups))
            self._unit_groups.extend(footer.groups)
            unit_rows.extend(footer.group_rows)
        self.unit_rows = np.frombuffer(unit_rows, dtype=np.uint64) if unit_rows else np.zeros(0, np.uint64)
        self.schema = _merged_schema(footers)
        costs = [ColumnCost() for _ in self.schema]
        for footer in footers:
            for cost, other in zip(costs, footer.costs, strict=bool(footer.costs)):
                cost.widen(other)
        self._native = _parquet_native.plan([footer.chunks for footer in footers], costs)
        self.native_columns = self._native.native_columns
        self.partition_columns = [name in footers[0].partitions for name in self.schema.names]
        streamed = []
        for place, name in enumerate(self.schema.names):
            if self.partition_columns[place]:
                costs[place] = self._partitions.cost(name)
            elif not self.native_columns[place]:
                streamed.append(costs[place])
        spread_transient(streamed)
        self._column_page_bytes = [cost.page_bytes for cost in costs]
        self.costs = np.array(
            [
                (0, 0, 0, cost.native_weight) if native else _stream_cost(cost)
                for cost, native in zip(costs, self.native_columns, strict=True)
            ],
            np.uint64,
        ).reshape(-1, 4)
        self.plan_bytes = 8 * len(unit_rows)
        if streamed:
            largest = max(footer.footer_bytes for footer in footers)
            together = sum(footer.footer_bytes for footer in footers)
            self.plan_bytes += min(together, max(KEPT_FOOTER_BYTES, largest) + thread_count * largest)
        else:
            self._footers = FooterCache()  # nothing will be opened
        self._partitions, self._dataset = Partitions(), None

    def files(self) -> list[FileFigures]:
        """The files of the source, without those that were left out."""
        row_groups = np.bincount(self._unit_files, minlength=len(self._files))
        rows = np.bincount(self._unit_files, weights=self.unit_rows, minlength=len(self._files))
        return [
            FileFigures(file.path, file.identity[0], int(row_groups[number]), int(rows[number]))
            for number, file in enumerate(self._files)
        ]

    def make_source(self) -> Any:
        """The core's source over these files, once: what only it needs is let go of here.

        Raises UnsupportedError for a type that cannot be a batch column, ValueError for a schema that no writer writes.
        """
        if not any(self.native_columns):
            return _ext.stream_source(self.schema, self.unit_rows, self.costs, self)
        native, self._native = self._native, _parquet_native.NativePlan([], np.zeros((0, 4), np.uint64))
        files = [(os.fsencode(file.path), *file.identity) for file in self._files]
        return _ext.parquet_source(
            self.schema,
            self.unit_rows,
            self.costs,
            self,
            files,
            self._unit_files,
            native.columns,
            native.chunks,
        )

    def open(self, unit: int, columns: tuple[int, ...], piece_rows: int) -> pa.RecordBatchReader:
        """One unit's chosen columns as a stream of record batches of at most piece_rows rows."""
        file = self._files[self._unit_files[unit]]
        schema = pa.schema([self.schema.field(column) for column in columns])
        of_file = [column for column in columns if not self.partition_columns[column]]
        constants = None
        if len(of_file) < len(columns):
            unit_rows = int(self.unit_rows[unit])
            values = {
                place: file.partitions[self.schema.names[column]]
                for place, column in enumerate(columns)
                if self.partition_columns[column]
            }
            constants = ConstantColumns(schema, values, min(piece_rows, unit_rows), self._pool)
            if not of_file:
                return pa.RecordBatchReader.from_batches(schema, constants.pieces(unit_rows))
        with _naming(file.path, prefix=""):  # the core puts path and row group before the message
            if _identity(os.stat(file.path)) != file.identity:
                raise SourceError(
                    "the file has changed since the loader was made: make a new loader", path=file.path
                )
            handle = pa.OSFile(os.fsencode(file.path), memory_pool=self._pool)
            try:
                metadata = self._footers.get((file.path, file.identity))
                reader = _parquet.ParquetReader(memory_pool=self._pool)
                reader.open(handle, metadata=metadata, buffer_size=BUFFER_BYTES, pre_buffer=False)
                if metadata is None:
                    metadata = self._footers.put((file.path, file.identity), reader.metadata)
                batches = reader.iter_batches(
                    piece_rows,
                    row_groups=[self._unit_groups[unit]],
                    column_indices=[leaf for column in of_file for leaf in file.leaves[column]],
                    use_threads=False,
                )
                pieces = _Pieces(self, unit, handle, metadata, batches, constants, schema)
            except BaseException:
                handle.close()
                raise
        self._page_bytes_open[id(pieces)] = sum(self._column_page_bytes[column] for column in columns)
        return pa.RecordBatchReader.from_batches(schema, pieces)

    def allocated_bytes(self) -> int:
        """Bytes that all open streams hold: the pool's counter, and the bound of the page buffers beside it."""
        # A list made of a dict's values is made in one go; a generator over them could see the dict change.
        return self._pool.bytes_allocated() + sum(list(self._page_bytes_open.values()))

    def describe(self, unit: int) -> tuple[str, int]:
        """(path, row group) of a unit, for messages."""
        return self._files[self._unit_files[unit]].path, self._unit_groups[unit]

    def take_error(self, unit: int) -> BaseException | None:
        """The exception that ended a stream of this unit, once."""
        return self._errors.pop(unit, None)

    def _stream_failed(self, unit: int, error: BaseException) -> None:
        # Without its frames, which would keep the reader's memory.
        self._errors.setdefault(unit, error.with_traceback(None))

    def _stream_closed(self, key: int) -> None:
        self._page_bytes_open.pop(key, None)

    def _read_footers(
        self, paths: Sequence[str], columns: Sequence[str] | None, bad_files: BadFiles
    ) -> list[Footer]:
        """The footers of the files that can be read; the first of those says what the others must agree with."""
        step = -(-len(paths) // _SURVEYED_FILES)

        footers: list[Footer] = []
        errors = []
        first = None
        if self._dataset:
            first = first_of(self._dataset, columns)
            columns = first.schema.names  # what else files hold is not read

        def read(number: int) -> Footer | SourceError | ValueError:
            is_surveyed = number % step == 0 or not footers
            try:
                return self._read_footer(number, paths[number], columns, first, is_surveyed)
            except (SourceError, ValueError) as error:
                if bad_files.are_errors:
                    raise
                return error.with_traceback(None)

        begin = 0
        while begin < len(paths) and not footers:
            one = read(begin)
            if isinstance(one, Footer):
                footers.append(one)
                first = first or one
            else:
                bad_files.leave_out(paths[begin], one)
                errors.append(one)
            begin += 1
        if not footers:
            raise none_left(paths, errors)
        workers = max(1, min(_FOOTER_THREADS, usable_processors(), len(paths) - begin))
        with ThreadPoolExecutor(workers, "forebay-footer") as executor:
            try:
                rest = executor.map(read, range(begin, len(paths)))
                for path, one in zip(paths[begin:], rest, strict=True):
                    if isinstance(one, Footer):
                        footers.append(one)
                    else:
                        bad_files.leave_out(path, one)
            except BaseException:
                executor.shutdown(wait=True, cancel_futures=True)
                raise
        return footers

    def _read_footer(
        self, number: int, path: str, columns: Sequence[str] | None, first: Footer | None, survey: bool
    ) -> Footer:
        """Reads one footer and checks it against the first file's."""
        with _naming(path, prefix=f"{path}: "), open(path, "rb", opener=_open_at_once) as descriptor:
            identity = _check_magic(path, descriptor.fileno())
            handle = pa.OSFile(os.fsencode(path), memory_pool=self._pool)
            try:
                reader = _parquet.ParquetReader(memory_pool=self._pool)
                reader.open(handle, buffer_size=BUFFER_BYTES, pre_buffer=False)
                metadata = reader.metadata
                available = reader.schema_arrow
                leaves_by_name = _leaves_by_name(available.names, reader.column_paths)
            finally:
                handle.close()
            footer_bytes = metadata.serialized_size * FOOTER_GROWTH
            partitions = self._partitions_of(number, path, available, columns, first)
            for name in partitions:
                hidden = [i for i, other in enumerate(available.names) if other == name]
                for place in reversed(hidden):
                    available = available.remove(place)
                available = available.append(self._partitions.field(name))
                leaves_by_name[name] = ()
            schema = _choose(path, available, columns, first)
            leaves = tuple(leaves_by_name[name] for name in schema.names)
            if first is not None and leaves == first.file.leaves:
                leaves = first.file.leaves  # one copy for all files that are alike
            group_rows = _group_rows(path, metadata)
            costs, chunks = examine(path, descriptor.fileno(), metadata, schema, leaves, group_rows, survey)
            groups = [group for group, rows in enumerate(group_rows) if rows]
            if self._dataset:
                wanted = wanted_groups(path, self._dataset.row_groups[number](), group_rows)
                if chunks:
                    chunks.keep([groups.index(group) for group in wanted])
                groups = wanted
            self._footers.put((path, identity), metadata)
            return Footer(
                SourceFile(path, identity, leaves, self._partitions.of_file(number)),
                schema,
                partitions,
                groups,
                [group_rows[group] for group in groups],
                costs,
                footer_bytes,
                chunks,
            )

    def _partitions_of(
        self,
        number: int,
        path: str,
        available: pa.Schema,
        columns: Sequence[str] | None,
        first: Footer | None,
    ) -> tuple[str, ...]:
        """The partition columns of a file; they agree with the first file's as far as they were chosen."""
        if first is None:
            return self._partitions.first_columns(number, available)
        expected = [name for name in first.partitions if columns is None or name in columns]
        self._partitions.check_same(number, path, available, first.file.path, expected, columns is None)
        return tuple(expected)


class _Pieces:
    """The record batches of one open stream; closes the file at the end, at an error, or when it is let go."""

    def __init__(
        self,
        provider: ParquetProvider,
        unit: int,
        handle: Any,
        metadata: Any,
        batches: Any,
        constants: ConstantColumns | None,
        schema: pa.Schema,
    ) -> None:
        self._provider = provider
        self._schema = schema
        self._unit = unit
        self._handle = handle
        self._metadata = metadata  # alive while it is read, so that other streams of the file share it
        self._batches = batches
        self._constants = constants

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self

    def __next__(self) -> pa.RecordBatch:
        if self._batches is None:
            raise StopIteration
        try:
            piece = next(self._batches)
            if self._constants:
                piece = self._constants.beside(piece)
            return _as_announced(piece, self._schema, self._provider._pool)
        except StopIteration:
            self.close()
            raise
        except BaseException as error:
            self.close()
            self._provider._stream_failed(self._unit, error)
            raise

    def close(self) -> None:
        """Lets the reader and its file go. Idempotent."""
        self._batches = self._metadata = self._constants = None
        self._provider._stream_closed(id(self))
        self._handle.close()

    def __del__(self) -> None:
        self.close()


def _stream_cost(cost: ColumnCost) -> tuple[int, int, int, int]:
    """Of a column that is opened as a stream, as struct fb_stream_column_cost."""
    return (
        _with_retained(cost.page_bytes + cost.decoder_bytes),
        _with_retained(cost.row_bytes),
        cost.string_bytes,
        cost.weight,
    )


def _with_retained(used_bytes: int) -> int:
    return used_bytes + -(-used_bytes // _RETAINED_SHARE)


def _base_pool() -> pa.MemoryPool:
    """jemalloc keeps the least beside what is in use, of the allocators pyarrow comes with."""
    try:
        return pa.jemalloc_memory_pool()
    except NotImplementedError:
        return pa.default_memory_pool()


@contextmanager
def _naming(path: str, prefix: str) -> Iterator[None]:
    """Errors of pyarrow and of the system as SourceError of that path, their messages begun with prefix."""
    try:
        yield
    except SourceError:
        raise
    except pa.ArrowNotImplementedError as error:
        raise UnsupportedError(f"{prefix}{error}", path=path) from error
    except MemoryError:
        raise
    except OSError as error:
        raise SourceError(f"{prefix}{error.strerror or error}", path=path) from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{prefix}a column's name is not UTF-8: the file is damaged", path=path) from error
    except pa.ArrowException as error:
        raise SourceError(f"{prefix}{error}", path=path) from error


def _open_at_once(path: str, flags: int) -> int:
    """Opens a file; a pipe too, without waiting for somebody to write to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _check_magic(path: str, descriptor: int) -> tuple[int, int]:
    """Says in plain words what a file is that is not a whole Parquet file. Returns its identity."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"{path}: not a file but a pipe or a device", path=path)
    head = read_at(descriptor, 4, 0)
    tail = read_at(descriptor, 4, max(0, status.st_size - 4))
    if _ENCRYPTED_MAGIC in (head, tail):
        raise UnsupportedError(f"{path}: encrypted Parquet files are not read", path=path)
    if tail != _MAGIC or status.st_size < _LEAST_FILE_BYTES:
        if head == _MAGIC:
            what = "the file is truncated: it begins as Parquet but has no footer at its end"
        else:
            what = "not a Parquet file" if status.st_size else "an empty file"
            what += ": name the Parquet files only, with a glob such as 'DIR/*.parquet'"
        raise SourceError(f"{path}: {what}", path=path)
    return _identity(status)


def _leaves_by_name(names: list[str], paths: list[list[str]]) -> dict[str, tuple[int, ...]]:
    """The leaf columns of each top-level column: a leaf's path begins with that column's name."""
    leaves: dict[str, list[int]] = {name: [] for name in names}
    for number, path in enumerate(paths):
        leaves.setdefault(path[0], []).append(number)
    return {name: tuple(numbers) for name, numbers in leaves.items()}


def _choose(
    path: str, available: pa.Schema, columns: Sequence[str] | None, first: Footer | None
) -> pa.Schema:
    """The schema of the chosen columns of one file; they agree with the first file's by name and type."""
    names = available.names
    if first is None:
        try:
            chosen = choose_columns(names, columns, path)
        except ValueError as error:
            if columns is None:  # it is the file that is wrong, not an argument
                raise SourceError(str(error), path=path) from None
            raise
        if not chosen:
            raise SourceError(f"{path}: the file has no column", path=path)
        return pa.schema([available.field(name) for name in chosen])
    known, wanted = set(names), set(first.schema.names)
    other = first.file.path
    for name in first.schema.names:
        if name not in known:
            message = f"{path} and {other} differ: {unknown_column_message(name, names, path)}"
            raise SourceError(message, path=path)
    twice = [name for name in duplicate_names(names) if name in wanted]
    if twice:
        raise SourceError(f"{path} has more than one column named {quoted(twice)}", path=path)
    if columns is None:
        extra = [name for name in names if name not in wanted]
        if extra:
            raise SourceError(
                f"{path} and {other} differ: the second has no column {quoted(extra)}: "
                "name the columns to read with columns=",
                path=path,
            )
    for field in first.schema:
        own = available.field(field.name)
        if not _same_type(own.type, field.type):
            raise SourceError(
                f"column {field.name!r} is {own.type} in {path} and {field.type} in {other}", path=path
            )
    schema = pa.schema([available.field(name) for name in first.schema.names])
    return first.schema if schema == first.schema else schema  # one copy for all files that are alike


def _same_type(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether two types are the same but for what may differ.

    That is the name and nullability of a list's elements, and what Parquet does not know of strings and binary: whether
    their writer had them with 64-bit offsets, as views or as a dictionary. See _as_announced().
    """
    if pa.types.is_fixed_size_list(one) and pa.types.is_fixed_size_list(other):
        return one.list_size == other.list_size and _same_type(one.value_type, other.value_type)
    return bool(one == other or (text_family(one) is not None and text_family(one) == text_family(other)))


def _as_announced(piece: pa.RecordBatch, schema: pa.Schema, pool: pa.MemoryPool) -> pa.RecordBatch:
    """A piece with strings and binary as the schema has them: files of other writers may have them otherwise."""
    if piece.schema.types == schema.types:
        return piece
    columns = []
    for column, field in zip(piece.columns, schema, strict=True):
        if column.type != field.type and text_family(field.type) is not None:
            if pa.types.is_dictionary(column.type):
                column = pc.cast(column, column.type.value_type, memory_pool=pool)
            column = pc.cast(column, field.type, memory_pool=pool)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=schema.names)


def _merged_schema(footers: list[Footer]) -> pa.Schema:
    """The first file's columns; one is nullable where it is in any file, and strings are plain where files differ."""
    fields = []
    for number, field in enumerate(footers[0].schema):
        others = [footer.schema.field(number) for footer in footers]
        kinds = {other.type for other in others}
        family = text_family(field.type)
        if len(kinds) > 1 and family is not None:
            is_large = any(decoded(kind) in (pa.large_string(), pa.large_binary()) for kind in kinds)
            large = pa.large_string() if family == pa.string() else pa.large_binary()
            field = field.with_type(large if is_large else family)
        fields.append(field.with_nullable(any(other.nullable for other in others)))
    return pa.schema(fields)


def _group_rows(path: str, metadata: Any) -> list[int]:
    """Rows of each row group."""
    rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    for number, count in enumerate(rows):
        if count < 0:
            raise SourceError(f"{path}: row group {number} has {count} rows: the file is corrupt", path=path)
    return rows
