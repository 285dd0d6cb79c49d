"""Streams of record batches as sources: read block by block, of unknown length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from ._columns import choose_columns
from ._errors import SourceError


class StreamProvider:
    """One stream of record batches an epoch: `_ext.pull_source(schema, provider)`.

    A pyarrow RecordBatchReader is read once; the second epoch raises RuntimeError. Any other object with
    `__arrow_c_stream__` is asked for a stream each epoch. The first one is opened at construction, for its schema.

    Exceptions of the user's own code, which a reader may run, are kept for take_error() as they are; those of the Arrow
    library become SourceError.

    Attributes:
        schema: pyarrow.Schema of the chosen columns.
        plan_bytes: 0: nothing is kept beside the stream itself.
    """

    plan_bytes = 0

    def __init__(self, source: Any, columns: Sequence[str] | None) -> None:
        """Raises ValueError for a column that does not exist, or exists twice; SourceError where no stream opens."""
        self._name = f"{type(source).__module__.partition('.')[0]}.{type(source).__name__}"
        self._source = None if isinstance(source, pa.RecordBatchReader) else source
        self._opened: pa.RecordBatchReader | None = source if self._source is None else self._import()
        self._chosen = choose_columns(self._opened.schema.names, columns, "the stream")
        if not self._chosen:
            raise ValueError("the stream has no column")
        fields = [self._opened.schema.field(name) for name in self._chosen]
        self.schema = pa.schema(fields)
        self._error: BaseException | None = None
        self._epoch = 0
        self._rows_before = 0  # of the epoch before

    def open_stream(self) -> pa.RecordBatchReader:
        """The stream of the next epoch. Raises RuntimeError where there is none any more."""
        reader, self._opened = self._opened, None
        if reader is None:
            if self._source is None:
                raise RuntimeError(
                    f"the source is a {self._name}, which gives one epoch only: make a new loader over a new one"
                )
            reader = self._import()
        self._epoch += 1
        return pa.RecordBatchReader.from_batches(self.schema, self._blocks(reader, self._epoch))

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

    def _import(self) -> pa.RecordBatchReader:
        try:
            return pa.RecordBatchReader.from_stream(self._source)
        except pa.ArrowException as error:
            raise SourceError(f"{self._name} gave no stream of record batches: {error}") from error

    def _blocks(self, reader: pa.RecordBatchReader | None, epoch: int) -> Iterator[pa.RecordBatch]:
        """The chosen columns of each block, which must be what the stream announced."""
        rows = 0
        try:
            while (block := _next_block(reader)) is not None:
                rows += block.num_rows
                block = self._choose(block, rows)
                yield block
                block = None
            if rows == 0 and self._rows_before > 0:
                raise RuntimeError(
                    f"the source is a {self._name}, which gave {self._rows_before:,} rows in an earlier epoch and none "
                    "now: it can be read once only"
                )
            self._rows_before = rows
        except GeneratorExit:
            raise
        except BaseException as error:
            reader = block = None  # or the frames of the exception would keep them
            error.add_note(f"raised by the source of a forebay.Loader, in stage 'read', after {rows:,} rows")
            if epoch == self._epoch:  # else a thread that was left behind came back
                self._error = error
            raise

    def _choose(self, block: pa.RecordBatch, rows: int) -> pa.RecordBatch:
        chosen = block.select(self._chosen)
        for field, column in zip(self.schema, chosen.columns, strict=True):
            if column.type != field.type:
                raise SourceError(
                    f"column {field.name!r} of a block is {column.type}, the stream announced {field.type}",
                    row=rows - block.num_rows,
                )
        return chosen


def _next_block(reader: pa.RecordBatchReader) -> pa.RecordBatch | None:
    """The next block; None at the end. What the Arrow library raises of its own becomes SourceError."""
    try:
        return reader.read_next_batch()
    except StopIteration:
        return None
    except pa.ArrowException as error:
        raise SourceError(f"reading the stream failed: {error}") from error
