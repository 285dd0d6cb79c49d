"""Streams of record batches as sources: read block by block, of unknown length."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from ._columns import choose_columns
from ._errors import SourceError

_BLOCKS = "pyarrow.Table, pyarrow.RecordBatch, or another object with __arrow_c_stream__ or __arrow_c_array__"

_NOTHING = object()


class _Opened(NamedTuple):
    """A stream that has begun."""

    schema: pa.Schema
    blocks: Iterator[pa.RecordBatch]
    held_bytes: int = 0  # of a block that had to be read for the schema


class StreamProvider:
    """One stream of record batches an epoch: `_ext.pull_source(schema, provider)`.

    The source is a pyarrow RecordBatchReader or another iterator, which are read once: the second epoch raises
    RuntimeError; or an object with `__arrow_c_stream__` or an iterable, which are asked for a stream each epoch; or a
    callable, which is called each epoch and gives any of these, or a Table. An iterable gives tables, record batches
    and streams. The first stream is opened at construction, for its schema.

    Exceptions of the user's own code, which a reader may run, are kept for take_error() as they are; those of the Arrow
    library become SourceError.

    Attributes:
        schema: pyarrow.Schema of the chosen columns.
        plan_bytes: of a block that had to be read at construction.
    """

    def __init__(self, source: Any, columns: Sequence[str] | None, name: str) -> None:
        """name: what to call the source in messages.

        Raises ValueError for a column that does not exist, or exists twice; SourceError where no stream opens;
        TypeError where what is given is no stream; and what the user's own code raises."""
        self._name = name
        is_once = isinstance(source, pa.RecordBatchReader) or (
            not hasattr(source, "__arrow_c_stream__")
            and isinstance(source, Iterable)
            and iter(source) is source
        )
        self._source = None if is_once else source
        opened = _open(source, self._name)
        self._opened: _Opened | None = opened
        self._chosen = choose_columns(opened.schema.names, columns, "the stream")
        if not self._chosen:
            raise ValueError("the stream has no column")
        self.schema = pa.schema([opened.schema.field(name) for name in self._chosen])
        self.plan_bytes = opened.held_bytes
        self._error: BaseException | None = None
        self._epoch = 0
        self._rows_before = 0  # of the epoch before

    def open_stream(self) -> pa.RecordBatchReader:
        """The stream of the next epoch. Raises RuntimeError where there is none any more."""
        opened, self._opened = self._opened, None
        if opened is None:
            if self._source is None:
                raise RuntimeError(
                    f"the source is a {self._name}, which gives one epoch only: make a new loader over a new one, "
                    "or give a function that makes it"
                )
            opened = _open(self._source, self._name)
        self._epoch += 1
        return pa.RecordBatchReader.from_batches(self.schema, self._blocks(opened.blocks, self._epoch))

    def describe(self, unit: int) -> tuple[None, None, int]:
        """A stream has neither path nor row group: its rows are shown by their numbers in the whole of it."""
        return None, None, 0

    def take_error(self, unit: int) -> BaseException | None:
        """The exception that ended the stream, once."""
        error, self._error = self._error, None
        return error

    def close(self) -> None:
        """Lets go of a stream that no epoch has read. Idempotent."""
        self._opened = None

    def _blocks(self, blocks: Iterator[pa.RecordBatch] | None, epoch: int) -> Iterator[pa.RecordBatch]:
        """The chosen columns of each block, which must be what the stream announced."""
        rows = 0
        block: pa.RecordBatch | None = None
        try:
            while blocks is not None and (block := next(blocks, None)) is not None:
                block = self._choose(block, rows)
                rows += block.num_rows
                try:
                    yield block
                except GeneratorExit:  # whoever reads the stream lets it go; the source may raise another one
                    return
                block = None
            if rows == 0 and self._rows_before > 0:
                raise RuntimeError(
                    f"the source is a {self._name}, which gave {self._rows_before:,} rows in an earlier epoch and none "
                    "now: it can be read once only"
                )
            self._rows_before = rows
        except BaseException as error:
            blocks = block = None  # or the frames of the exception would keep them
            error.add_note(f"raised by the source of a forebay.Loader, in stage 'read', after {rows:,} rows")
            if epoch == self._epoch:  # else a thread that was left behind came back
                self._error = error
            raise

    def _choose(self, block: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
        if block.schema.names != self._chosen:
            for name in self._chosen:
                count = block.schema.names.count(name)
                if count != 1:
                    raise SourceError(
                        f"the block that begins with row {first_row} has {count or 'no'} column{'s' * (count > 1)} "
                        f"named {name!r}, the first block has one",
                        row=first_row,
                    )
            block = block.select(self._chosen)
        for field, column in zip(self.schema, block.columns, strict=True):
            if column.type != field.type:
                raise SourceError(
                    f"column {field.name!r} of the block that begins with row {first_row} is {column.type}, the stream "
                    f"announced {field.type}",
                    row=first_row,
                )
        return block


def is_stream(source: Any) -> bool:
    """Whether a source is one to be pulled: a stream, an iterable of blocks, or a callable that gives one."""
    return hasattr(source, "__arrow_c_stream__") or isinstance(source, Iterable) or callable(source)


def type_name(source: Any) -> str:
    """Package and class of an object; of Python's own the class."""
    package = type(source).__module__.partition(".")[0]
    return type(source).__name__ if package == "builtins" else f"{package}.{type(source).__name__}"


def _open(source: Any, name: str) -> _Opened:
    """The next stream of a source."""
    if not hasattr(source, "__arrow_c_stream__") and not isinstance(source, Iterable):
        made = source()
        name = f"{name} that gave a {type_name(made)}"
        if isinstance(made, (str, bytes, os.PathLike)) or not (
            hasattr(made, "__arrow_c_array__") or (is_stream(made) and not callable(made))
        ):
            raise TypeError(f"the source is a {name}: it must give a {_BLOCKS}, or an iterable of those")
        source = made
    opened = _open_block(source, name)
    if opened is not None:
        return opened
    items = iter(source)
    first = next(items, _NOTHING)
    if first is _NOTHING:
        raise SourceError(
            f"the source is a {name} that gave nothing: its columns are those of the first block, so it must have one"
        )
    opened = _open_item(first, name)
    return _Opened(opened.schema, _chain(opened.blocks, items, name), getattr(first, "nbytes", 0))


def _chain(first: Iterator[pa.RecordBatch], items: Iterator[Any], name: str) -> Iterator[pa.RecordBatch]:
    """The blocks of the item that is open, then those of the others."""
    yield from first
    del first
    for item in items:
        opened = _open_item(item, name)
        del item
        yield from opened.blocks


def _open_item(item: Any, name: str) -> _Opened:
    opened = _open_block(item, name)
    if opened is None:
        raise TypeError(f"the source is a {name} that gave a {type_name(item)}: it must give a {_BLOCKS}")
    return opened


def _open_block(item: Any, name: str) -> _Opened | None:
    """A table, a record batch, or a stream of those, as blocks; None for anything else."""
    if isinstance(item, pa.Table):
        return _Opened(item.schema, iter(item.to_batches()))
    try:
        if isinstance(item, pa.RecordBatch) or (
            hasattr(item, "__arrow_c_array__") and not hasattr(item, "__arrow_c_stream__")
        ):
            block = pa.record_batch(item)
            return _Opened(block.schema, iter([block]))
        if hasattr(item, "__arrow_c_stream__"):
            reader = (
                item if isinstance(item, pa.RecordBatchReader) else pa.RecordBatchReader.from_stream(item)
            )
            return _Opened(reader.schema, _read(reader))
    except pa.ArrowException as error:
        raise SourceError(f"{name} gave no stream of record batches: {error}") from error
    return None


def _read(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The blocks of a stream. What the Arrow library raises of its own becomes SourceError."""
    while True:
        try:
            block = reader.read_next_batch()
        except StopIteration:
            return
        except pa.ArrowException as error:
            raise SourceError(f"reading the stream failed: {error}") from error
        yield block
        del block
