"""What Python sees of the core. Sizes are in bytes, times in seconds, units of a source are counted from 0."""

from array import array
from collections.abc import Callable
from typing import Any, Protocol, Self, TypedDict, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import CapsuleType

class _HasSchema(Protocol):
    def __arrow_c_schema__(self) -> CapsuleType: ...

class _HasArray(Protocol):
    def __arrow_c_array__(
        self, requested_schema: CapsuleType | None = None, /
    ) -> tuple[CapsuleType, CapsuleType]: ...

class _HasStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: CapsuleType | None = None, /) -> CapsuleType: ...

class _Describes(Protocol):
    """What a source of any kind says of its units."""

    def describe(self, unit: int, /) -> tuple[str | None, int | None] | tuple[str | None, int | None, int]:
        """(path, row group) of a unit, for messages and the attributes of exceptions.

        A third figure is the unit's first row, where rows are to be counted from the beginning of the source.
        """

    def take_error(self, unit: int, /) -> BaseException | None:
        """An exception that was caught while a stream of the unit was read, given once."""

class _Opens(_Describes, Protocol):
    """What opens the units of a stream source. Called from reader threads, several at once.

    It must not hold the Source or the Loader made from it: the garbage collector does not see the core's reference.
    """

    @property
    def plan_bytes(self) -> int:
        """Bytes that the provider keeps as long as it lives (footers, say); read once, at construction."""

    def open(self, unit: int, columns: tuple[int, ...], piece_rows: int, /) -> _HasStream:
        """Columns (places in the schema, ascending) of a unit, in record batches of at most piece_rows rows."""

    def allocated_bytes(self) -> int:
        """Bytes that all streams of this source hold now, by the decoder's own counter."""

class _Streams(_Describes, Protocol):
    """What opens the one stream of an epoch. Called from a reader thread; it must not hold the Source or the Loader.

    What it raises, and what its take_error(0) gives, is raised by next() as it is.
    """

    @property
    def plan_bytes(self) -> int:
        """Bytes that the provider keeps as long as it lives; read once, at construction."""

    def open_stream(self) -> _HasStream:
        """The stream of the next epoch."""

class _Plan(TypedDict):
    batches: int | None  # None where the source is of unknown length; rows and units likewise
    rows: int | None
    units: int | None
    least_memory_bytes: int
    batch_bytes: int
    piece_rows: int
    column_sets: int
    thread_count: int

@final
class Source:
    """Where rows come from; made by one of the *_source() functions and consumed by one Loader."""

def stream_source(
    schema: _HasSchema, unit_rows: NDArray[np.uint64], costs: NDArray[np.uint64], provider: _Opens, /
) -> Source:
    """A source whose units are opened as Arrow streams.

    unit_rows: rows of each unit, shape (units,). costs: shape (columns, 4), C-contiguous: fixed bytes, bytes of a row,
    bytes of its string, weight, as in struct fb_stream_column_cost. Any buffer of uint64 does for both.
    Raises UnsupportedError for a type that cannot be a batch column, ValueError for malformed arguments.
    """

def parquet_source(
    schema: _HasSchema,
    unit_rows: NDArray[np.uint64],
    costs: NDArray[np.uint64],
    provider: _Opens,
    files: list[tuple[bytes, int, int]],
    unit_files: array[int],
    columns: list[tuple[int, int, int, int, int, int, int, int] | None],
    chunks: NDArray[np.uint64],
    /,
) -> Source:
    """A source over Parquet files. Some columns are decoded by the core, the others opened as Arrow streams.

    schema, unit_rows, costs, provider: as in stream_source(); a column decoded by the core needs of costs the weight
    only. files: (path as bytes, size in bytes, mtime_ns) of each. unit_files: the file of each unit, shape (units,).
    columns: None for a column that is opened as a stream; for the others physical type, bytes of a value of fixed
    length, max definition level, max repetition level, definition level of an element, most bytes of a page, of one as
    stored, and of a dictionary, as in struct fb_parquet_column. chunks: shape (units * columns that are not None, 4),
    unit by unit, C-contiguous: offset, bytes as stored, values, codec, as in struct fb_parquet_chunk.
    Raises UnsupportedError as stream_source(), ValueError and OverflowError for malformed arguments.
    """

def parquet_codec_is_supported(codec: int, /) -> bool:
    """Whether pages of this codec (CompressionCodec of parquet.thrift) can be decoded by the core."""

def block_source(schema: _HasSchema, blocks: list[_HasArray], provider: _Describes, /) -> Source:
    """A source of blocks that are in memory already; each is one unit, moved out of what exports it.

    Raises UnsupportedError, and ValueError where a block's types differ from the schema or its arrays are malformed.
    """

def pull_source(schema: _HasSchema, provider: _Streams, /) -> Source:
    """A source of unknown length: one Arrow stream an epoch, read by one thread.

    Raises UnsupportedError for a type that cannot be a batch column, ValueError for a malformed schema.
    """

@final
class Loader:
    """Plans the epochs over a source, runs them, and owns every byte that they take.

    One thread at a time uses it, others get RuntimeError; plan(), stats(), closed and close() are for any thread.
    In a child of fork() every method raises ForkedLoaderError.
    """

    def __new__(
        cls,
        source: Source,
        *,
        batch_rows: int,  # 0: a batch is a unit of the source, or a block of its stream
        memory_limit: int,
        prefetch_batches: int,  # -1: adaptive
        thread_count: int,
        preserve_order: bool,
        drop_last: bool,
        null_policy: int,  # 0: error, 1: fill, 2: mask
        # (column, leaf of a struct, one element as stored or the bytes of a string)
        fill_values: list[tuple[int, int, bytes]],
        outputs: list[
            tuple[str, int, tuple[int, ...], Any]
        ],  # (key, column, fields to it, form), see forms.c
        column_options: list[tuple[int, bool, bool, int]],  # (column, is dictionary, is bool8, list size)
        column_class: Callable[[Column], object],  # makes what the user sees of a column without a dtype
        convert: Callable[[CapsuleType], object]
        | None,  # makes a batch of an arrow_array; None: dicts of outputs
        timeout: float | None,
        close_timeout: float,
    ) -> Self:
        """Raises MemoryLimitError (with .required and .limit) where the limit is too small, ValueError, TypeError."""

    def plan(self) -> _Plan:
        """What the plan settled. Works after close() as well."""

    def stats(self) -> dict[str, Any]:
        """A snapshot of the counters; after close() as they were when it was done.

        batches rows bytes_out memory_limit peak_bytes charged_bytes foreign_bytes held_batches gate_allocations: int;
        first_batch_s blocked_s user_s: float; bottleneck: str or None (no batch yet);
        accounts: {name: (bytes, most bytes so far)}; next_wait: {count p50 p90 p99 max sum};
        stages: {name: {busy_s wait_input_s wait_output_s wait_bytes_s items}}.
        """

    def arrow_schema(self) -> CapsuleType:
        """The schema of the arrays that convert is given."""

    def iterate(self) -> Iterator:
        """Begins the next epoch; the one before it ends, and its iterator raises RuntimeError from then on."""

    def close(self) -> None:
        """Ends the epoch, joins the threads and gives the memory back; any number of times, from any thread.

        A next() that waits in another thread raises RuntimeError. Warns with ResourceWarning, naming the unit, where a
        reader did not come back within close_timeout.
        """

    @property
    def closed(self) -> bool:
        """Whether close() was called; always true in a child of fork()."""

@final
class Iterator:
    """The batches of one epoch. Keeps the loader alive; when it dies before the end, the epoch ends."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> dict[str, Any]:
        """The next batch: column name -> numpy array over forebay's memory, shape (rows,) or (rows, list size), or what
        column_class made; with null_policy 2 also "<name>.valid" -> bool array of shape (rows,).

        Raises LoaderTimeoutError at the timeout and MemoryLimitError when the user holds all the bytes (the next call
        tries again after either), SourceError or MemoryLimitError when the epoch has failed (then each call does), and
        RuntimeError once the loader is closed or a newer iterator has begun.
        """

@final
class Column:
    """One string or binary column of a batch, over the batch's memory, which it keeps."""

    def __len__(self) -> int: ...
    def __arrow_c_array__(
        self, requested_schema: CapsuleType | None = None
    ) -> tuple[CapsuleType, CapsuleType]:
        """(schema, array) capsules without a copy. The one layout answers every request; the consumer casts."""

    @property
    def format(self) -> str:
        """The Arrow format string: "u" or "U" for strings, "z" or "Z" for binary."""

    @property
    def nbytes(self) -> int:
        """Bytes of values, offsets and validity."""
