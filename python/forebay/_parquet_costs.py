"""What a column of a Parquet file costs to read, worked out from its footer and page headers before anything is read.

The figures bound what pyarrow's reader holds for one open stream. Two kinds are kept apart, since the reader takes them
from different places: its page buffers come from pyarrow's default memory pool, which others use too, so that they can
only be bounded; everything else comes from the pool that the loader gives it, and is counted there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ._parquet_pages import Chunk, ChunkPages, read_chunk_pages
from ._thrift import MalformedThrift
from ._types import decoded, fields_of, is_list

BUFFER_BYTES = 64 << 10  # of an open column's input stream

# A stream decodes its columns one after the other, so that only one of them holds a compressed page: the largest such
# page is spread over so many columns, as few as a thread is likely to be given.
_TRANSIENT_SHARERS = 8

# Relative to what the core decodes, which is 1000: a value through pyarrow is decoded, then copied.
_STREAM_WEIGHT = 4000

# Pages of other chunks may be larger than those of the largest one, by so much; where they are larger still the core
# asks for more bytes when it meets them.
_PAGE_SLACK_SHARE = 16

# Where page headers cannot be read, a page is taken to be no larger than this: writers cut pages at about 1 MiB.
_UNKNOWN_PAGE_BYTES = 8 << 20
_PHYSICAL_BYTES = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}

# Besides each value itself the reader keeps its definition level (2 bytes) and validity bits, and for lists its
# repetition level; the buffers of both grow by doubling.
_NULLABLE_BYTES = 4.375
_LIST_ELEMENT_BYTES = 8.375
_LIST_ROW_BYTES = 12
# A decoded dictionary of strings: the bytes, and for each value an offset (4) and a pointer with a length (16).
_DICTIONARY_ENTRY_BYTES = 20
# Where the column is a dictionary in Arrow too, the reader has it in its decoder, in a table of what it has seen, in
# the piece being made and in the one before; buffers grow by doubling. Measured: 5 times the bytes, and this much for
# each value.
_ARROW_DICTIONARY_COPIES = 5
_ARROW_DICTIONARY_ENTRY_BYTES = 100
# Largest offsets and the growth of their buffers, for each row of a string column.
_STRING_ROW_BYTES = 24


@dataclass(slots=True)
class ColumnCost:
    """Most bytes and relative work of one column, over the chunks seen so far."""

    page_bytes: int = 0  # an open stream's page buffers, not seen by the loader's pool
    transient_bytes: int = (
        0  # a page as it is compressed, while it is decompressed; not seen by the pool either
    )
    decoder_bytes: int = 0  # what a stream holds beside its piece and its pages: dictionaries, reserves
    row_bytes: int = 0  # of a piece while it is decoded, the piece before it still alive
    weight: int = 1
    string_bytes: int = 0  # estimated bytes of a row's string, as a batch stores it
    # Of a column that the core decodes: its largest page, one as stored, and dictionary; and its weight.
    largest_bytes: int = 0
    stored_bytes: int = 0
    dictionary_bytes: int = 0
    native_weight: int = 1
    are_pages_known: bool = True  # False: some page headers could not be read

    def widen(self, other: ColumnCost) -> None:
        """Takes the larger of each figure."""
        self.page_bytes = max(self.page_bytes, other.page_bytes)
        self.transient_bytes = max(self.transient_bytes, other.transient_bytes)
        self.decoder_bytes = max(self.decoder_bytes, other.decoder_bytes)
        self.row_bytes = max(self.row_bytes, other.row_bytes)
        self.weight = max(self.weight, other.weight)
        self.string_bytes = max(self.string_bytes, other.string_bytes)
        self.largest_bytes = max(self.largest_bytes, other.largest_bytes)
        self.stored_bytes = max(self.stored_bytes, other.stored_bytes)
        self.dictionary_bytes = max(self.dictionary_bytes, other.dictionary_bytes)
        self.native_weight = max(self.native_weight, other.native_weight)
        self.are_pages_known = self.are_pages_known and other.are_pages_known


@dataclass(slots=True)
class LeafChunks:
    """What the footer says of one leaf column over a file's row groups; the largest chunk stands for all."""

    rows: int = 0
    values: int = 0
    string_bytes: float = 0.0  # most bytes per value in any chunk, as its writer noted it
    plain_value_bytes: float = 0.0  # most uncompressed bytes per value in any chunk without such a note
    largest: Chunk | None = None

    def add(self, rows: int, chunk: Chunk) -> None:
        """Counts the chunk of a row group of that many rows."""
        self.rows += rows
        self.values += chunk.values
        if chunk.values and chunk.string_bytes is not None:
            self.string_bytes = max(self.string_bytes, chunk.string_bytes / chunk.values)
        elif chunk.values:
            self.plain_value_bytes = max(self.plain_value_bytes, chunk.uncompressed_bytes / chunk.values)
        if self.largest is None or chunk.uncompressed_bytes > self.largest.uncompressed_bytes:
            self.largest = chunk


def spread_transient(costs: list[ColumnCost]) -> None:
    """Adds to each column's page bytes its share of the one compressed page that a stream holds."""
    if not costs:
        return
    share = -(-max(cost.transient_bytes for cost in costs) // min(len(costs), _TRANSIENT_SHARERS))
    for cost in costs:
        cost.page_bytes += share


def column_cost(field: pa.Field, leaves: list[tuple[Any, LeafChunks]], descriptor: int) -> ColumnCost:
    """The cost of one top-level column.

    leaves: its leaf columns, each as (pyarrow ColumnSchema, chunks). descriptor: of the open file, for page headers.
    """
    cost = ColumnCost()
    row_bytes = 0.0
    weight = 0.0
    kinds = _leaf_types(field.type)
    if len(kinds) != len(leaves):  # a type that Arrow stores otherwise than Parquet
        kinds = [(None, bool(schema.max_repetition_level)) for schema, _ in leaves]
    for (schema, chunks), (kind, is_in_list) in zip(leaves, kinds, strict=True):
        values = max(1.0, chunks.values / chunks.rows) if is_in_list and chunks.rows else 1.0
        pages, are_known = _pages(chunks.largest, descriptor)
        cost.are_pages_known = cost.are_pages_known and are_known
        cost.page_bytes += BUFFER_BYTES + pages.uncompressed_bytes
        cost.transient_bytes = max(cost.transient_bytes, pages.compressed_bytes)
        if schema.physical_type == "BYTE_ARRAY":
            mean = _mean_value_bytes(chunks, pages)
            # Below a list the batch stores the lengths beside the bytes.
            cost.string_bytes += int(values * (mean + (8 if is_in_list else 0)) + 1)
            # A decoder of plain strings reserves what is left of its page at once.
            is_kept = kind is not None and pa.types.is_dictionary(kind)
            copies = _ARROW_DICTIONARY_COPIES if is_kept else 1
            entry_bytes = _ARROW_DICTIONARY_ENTRY_BYTES if is_kept else _DICTIONARY_ENTRY_BYTES
            cost.decoder_bytes += (
                copies * pages.dictionary_bytes + pages.dictionary_values * entry_bytes + pages.data_bytes
            )
            row_bytes += values * (3 * mean + _STRING_ROW_BYTES + (_LIST_ELEMENT_BYTES if is_in_list else 0))
            row_bytes += _LIST_ROW_BYTES if is_in_list else 0
            weight += values * (mean + 6)
        else:
            plain = None if kind is None else decoded(kind)
            leaf_row_bytes, values, width = _fixed_row_bytes(plain, schema, chunks)
            if (
                is_in_list
            ):  # dates and times are widened, validity may be stored, and so may lengths of inner lists
                cost.string_bytes += int(values * (max(width, 8) + 1 + 8) + 1)
            cost.decoder_bytes += pages.dictionary_values * max(width, _physical_bytes(schema))
            row_bytes += leaf_row_bytes
            weight += values * (width + 6)
            # What decodes it in the core: a copy of the bytes, and a look at each value.
            cost.native_weight = 1000 * values * (width + 2)
        cost.largest_bytes = _with_slack(pages.uncompressed_bytes)
        cost.stored_bytes = _with_slack(pages.compressed_bytes)
        cost.dictionary_bytes = _with_slack(pages.dictionary_bytes)
    cost.row_bytes = int(row_bytes) + 1
    cost.weight = max(1, int(_STREAM_WEIGHT * weight))
    return cost


def _with_slack(page_bytes: int) -> int:
    return page_bytes + -(-page_bytes // _PAGE_SLACK_SHARE)


def _physical_bytes(schema: Any) -> int:
    return _PHYSICAL_BYTES.get(schema.physical_type) or max(1, schema.length)


def _leaf_types(kind: pa.DataType) -> list[tuple[pa.DataType | None, bool]]:
    """The types of a column's leaves in Parquet's order, dictionaries as such, and whether each lies below a list.

    A fixed-size list of plain elements is one leaf.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return _leaf_types(kind.storage_type)
    if pa.types.is_map(kind) or pa.types.is_struct(kind):
        is_map = pa.types.is_map(kind)
        return [(leaf, is_map or below) for part in fields_of(kind) for leaf, below in _leaf_types(part.type)]
    if is_list(kind):
        return [(leaf, True) for leaf, _ in _leaf_types(kind.value_type)]
    if pa.types.is_fixed_size_list(kind):
        inner = _leaf_types(kind.value_type)
        is_plain = len(inner) == 1 and not inner[0][1] and not pa.types.is_nested(decoded(kind.value_type))
        return [(kind, False)] if is_plain else [(leaf, True) for leaf, _ in inner]
    return [(kind, False)]


def _fixed_row_bytes(kind: pa.DataType | None, schema: Any, chunks: LeafChunks) -> tuple[float, int, int]:
    """Bytes that a row of a fixed-width leaf takes while decoded, its values a row, and their width in bytes.

    The piece before stays alive (pyarrow's iterator keeps it until the next one is complete), the buffer of raw values
    grows by doubling, and a type that Parquet stores in another width is converted into a buffer of its own.
    """
    values = max(1, -(-chunks.values // chunks.rows)) if chunks.rows else 1
    if kind is None:
        kind = pa.binary(max(1, _physical_bytes(schema)))
    is_fixed_list = pa.types.is_fixed_size_list(kind)
    if is_fixed_list:
        values = max(values, kind.list_size)
        kind = kind.value_type
    physical = _physical_bytes(schema)
    try:
        width = max(1, kind.bit_width // 8)
    except ValueError:  # a type of no fixed width, which will be refused by name
        width = physical
    is_stored_as_read = (
        pa.types.is_int32(kind)
        or pa.types.is_int64(kind)
        or pa.types.is_float32(kind)
        or pa.types.is_float64(kind)
        or (pa.types.is_timestamp(kind) and schema.physical_type == "INT64")
    )
    value_bytes = width + 2 * physical + (0 if is_stored_as_read else width)
    if is_fixed_list or schema.max_repetition_level:
        return values * (value_bytes + _LIST_ELEMENT_BYTES) + _LIST_ROW_BYTES, values, width
    return value_bytes + (_NULLABLE_BYTES if schema.max_definition_level else 0), 1, width


def _pages(chunk: Chunk | None, descriptor: int) -> tuple[ChunkPages, bool]:
    """A chunk's pages and whether their headers said so; where those cannot be read the chunk's size bounds them."""
    if chunk is None:
        return ChunkPages(), True
    try:
        return read_chunk_pages(descriptor, chunk.start, chunk.compressed_bytes), True
    except (MalformedThrift, OSError, OverflowError):
        pass  # the decoder will say what is wrong with the file, if anything is
    uncompressed = min(chunk.uncompressed_bytes, _UNKNOWN_PAGE_BYTES)
    bounds = ChunkPages(
        compressed_bytes=min(chunk.compressed_bytes, _UNKNOWN_PAGE_BYTES),
        uncompressed_bytes=uncompressed,
        data_bytes=uncompressed,
        dictionary_bytes=uncompressed if chunk.has_dictionary else 0,
    )
    return bounds, False


def _mean_value_bytes(chunks: LeafChunks, pages: ChunkPages) -> int:
    """Bytes of a string: as noted by the writer, else the dictionary's mean, or the chunk's where that is more.

    A chunk that points into a dictionary says little about what it decodes to: 0.8 MB of it can be 200 MB of strings.
    Each value of the dictionary carries a length of 4 bytes, which is left in: strings vary around their mean.
    """
    mean = max(chunks.string_bytes, chunks.plain_value_bytes)
    if chunks.plain_value_bytes and pages.dictionary_values:
        mean = max(mean, pages.dictionary_bytes / pages.dictionary_values)
    return int(mean) + 1
