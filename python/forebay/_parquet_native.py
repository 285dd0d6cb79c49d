"""Which columns of Parquet files the core decodes by itself, and where their pages lie.

A column is decoded by the core where everything that the footers say of it, in every row group of every file, is
within what src/source/parquet/column.h supports: values of fixed width whose Arrow type is the Parquet type, flat or in
lists of one size, in codecs and encodings that the core has. Wherever a footer says anything else, or nothing, the
column is read through pyarrow as a stream: nothing is refused here.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from . import _ext
from ._parquet_costs import ColumnCost
from ._parquet_pages import (
    BIT_PACKED,
    PLAIN,
    PLAIN_DICTIONARY,
    RLE,
    RLE_DICTIONARY,
    Chunk,
    Node,
    read_level_encodings,
)
from ._thrift import MalformedThrift

# False: every column is read through pyarrow, so that the two ways can be compared.
ENABLED = True

_BOOLEAN, _INT32, _INT64, _FLOAT, _DOUBLE, _FIXED_LEN_BYTE_ARRAY = 0, 1, 2, 4, 5, 7
_REQUIRED, _OPTIONAL, _REPEATED = 0, 1, 2
_ENCODINGS = frozenset((PLAIN, PLAIN_DICTIONARY, RLE, RLE_DICTIONARY))
_CHUNK_NUMBERS = 4

# Fields of the union LogicalType, and values of ConvertedType.
_LIST, _DATE, _TIME, _TIMESTAMP, _INTEGER, _FLOAT16 = 3, 6, 7, 8, 10, 15
_CONVERTED_LIST, _CONVERTED_DATE = 3, 6
_CONVERTED_UNITS = {7: (_TIME, "ms"), 8: (_TIME, "us"), 9: (_TIMESTAMP, "ms"), 10: (_TIMESTAMP, "us")}
_CONVERTED_INTEGERS = {
    11: (8, False), 12: (16, False), 13: (32, False), 14: (64, False),
    15: (8, True), 16: (16, True), 17: (32, True), 18: (64, True),
}  # fmt: skip
_UNITS = {1: "ms", 2: "us", 3: "ns"}  # fields of the union TimeUnit

_Description = tuple[int, int, int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Levels:
    """How a column is stored, as struct fb_parquet_column wants it."""

    physical_type: int
    type_bytes: int
    max_definition: int
    max_repetition: int
    element_definition: int


@dataclass(slots=True)
class NativePlan:
    """What the core is told of the columns that it decodes."""

    columns: list[_Description | None]  # one a column of the schema; None: a stream
    chunks: NDArray[np.uint64]  # shape (units * columns that are not None, 4), unit by unit

    @property
    def native_columns(self) -> list[bool]:
        """Which columns the core decodes."""
        return [column is not None for column in self.columns]


class FileChunks:
    """The chosen columns of one file, and the chunks of those that the core can decode as far as was seen.

    Attributes:
        columns: the storage of each chosen column, None once it is known to be a stream.
    """

    __slots__ = (
        *(
            "_candidates",
            "_data_end",
            "_descriptor",
            "_encodings",
            "_kept",
            "_leaves",
            "_list_sizes",
            "_numbers",
            "_seen",
        ),
        "columns",
    )

    def __init__(
        self,
        schema: pa.Schema,
        leaves: Sequence[Sequence[int]],
        nodes: list[list[Node]],
        descriptor: int,
        data_end: int,
    ) -> None:
        """schema: of the chosen columns. leaves: theirs, as places in nodes. data_end: where the file's pages end."""
        self.columns: list[Levels | None] = [
            _levels(field.type, nodes[own[0]]) if len(own) == 1 and own[0] < len(nodes) else None
            for field, own in zip(schema, leaves, strict=True)
        ]
        self._candidates = [place for place, levels in enumerate(self.columns) if levels]
        self._leaves = [own[0] if own else -1 for own in leaves]
        self._list_sizes = [getattr(kind, "list_size", 1) for kind in schema.types]
        self._numbers = array("Q")
        self._kept: list[int] | None = None
        self._encodings: set[tuple[int, ...]] = set()  # that were found to be supported
        self._seen: set[int] = set()  # columns whose levels were looked at
        self._descriptor = descriptor
        self._data_end = data_end

    def add(self, rows: int, group: list[Chunk]) -> None:
        """Takes the chunks of the next row group that has rows. Raises IndexError where it lacks a column."""
        numbers = self._numbers
        for place in self._candidates:
            levels = self.columns[place]
            chunk = group[self._leaves[place]]
            if levels and self._is_supported(place, levels, rows, chunk):
                numbers.extend((chunk.start, chunk.compressed_bytes, chunk.values, chunk.codec))
            else:
                self.columns[place] = None
                numbers.extend((0, 0, 0, 0))

    def keep(self, units: list[int]) -> None:
        """Only these are read, in this order, of the row groups that were added."""
        self._kept = units

    def close(self) -> None:
        """The file is about to be closed: nothing more is added."""
        self._descriptor = -1
        self._encodings.clear()
        self._seen.clear()

    def chunks_of(self, places: list[int]) -> NDArray[np.uint64]:
        """Chunks of those columns, which were candidates, of shape (units, columns, 4)."""
        numbers = np.frombuffer(self._numbers, np.uint64) if self._numbers else np.zeros(0, np.uint64)
        every = numbers.reshape(-1, len(self._candidates), _CHUNK_NUMBERS)
        if self._kept is not None:
            every = every[self._kept]
        return every[:, [self._candidates.index(place) for place in places]]

    def _is_supported(self, place: int, levels: Levels, rows: int, chunk: Chunk) -> bool:
        return (
            chunk.is_plainly_here
            and chunk.physical_type == levels.physical_type
            and rows <= chunk.values <= rows * self._list_sizes[place]
            and chunk.start > 0
            and 0 < chunk.compressed_bytes <= self._data_end - chunk.start
            and _ext.parquet_codec_is_supported(chunk.codec)
            and (chunk.encodings in self._encodings or self._has_encodings(place, levels, chunk))
        )

    def _has_encodings(self, place: int, levels: Levels, chunk: Chunk) -> bool:
        others = set(chunk.encodings) - _ENCODINGS
        if not chunk.encodings or others - {BIT_PACKED}:
            return False
        if not others:
            self._encodings.add(chunk.encodings)
            return True
        if place in self._seen or not levels.max_definition:
            return True
        # Writers list the old bit-packed encoding for levels that a flat column does not have; where a column's levels
        # are stored in it, the core does not read it. A file has one writer: the first chunk stands for the others.
        try:
            definition, repetition = read_level_encodings(
                self._descriptor, chunk.start, chunk.compressed_bytes
            )
        except (MalformedThrift, OSError):
            return False
        self._seen.add(place)
        return definition == RLE and (not levels.max_repetition or repetition == RLE)


def plan(files: Sequence[FileChunks | None], costs: Sequence[ColumnCost]) -> NativePlan:
    """What the core decodes: the columns that it can decode in every file, all stored alike.

    files: None where a file's footer could not be followed. costs: one a column, over all files.
    """
    columns: list[_Description | None] = [None] * len(costs)
    places = []
    if ENABLED and files and all(files):
        first, *rest = [file for file in files if file]
        for place, (levels, cost) in enumerate(zip(first.columns, costs, strict=True)):
            if levels and cost.are_pages_known and all(file.columns[place] == levels for file in rest):
                places.append(place)
                columns[place] = (
                    *astuple(levels),
                    cost.largest_bytes,
                    cost.stored_bytes,
                    cost.dictionary_bytes,
                )
    if not places:
        return NativePlan(columns, np.zeros((0, _CHUNK_NUMBERS), np.uint64))
    chunks = np.concatenate([file.chunks_of(places) for file in files if file])
    return NativePlan(columns, np.ascontiguousarray(chunks.reshape(-1, _CHUNK_NUMBERS)))


def _levels(kind: pa.DataType, path: list[Node]) -> Levels | None:
    """How the leaf at the end of path stores a column of that Arrow type, None where the core does not decode that."""
    *groups, leaf = path
    if not pa.types.is_fixed_size_list(kind):
        if groups or leaf.repetition not in (_REQUIRED, _OPTIONAL):
            return None
        return _value_levels(kind, leaf, above=0, max_repetition=0)
    if kind.list_size < 1 or not groups or not _is_list(groups[0]):
        return None
    # Three levels: a list of "list" groups of one element each. Two levels: the element itself is what is repeated.
    *middle, inner = *groups[1:], leaf
    if len(middle) > 1:
        return None
    if middle:
        [repeated] = middle
        if repeated.repetition != _REPEATED or repeated.children != 1 or inner.repetition == _REPEATED:
            return None
    elif inner.repetition != _REPEATED:
        return None
    above = 1 + (groups[0].repetition == _OPTIONAL)
    return _value_levels(kind.value_type, inner, above=above, max_repetition=1)


def _value_levels(kind: pa.DataType, leaf: Node, *, above: int, max_repetition: int) -> Levels | None:
    """above: definition levels of what the leaf is in."""
    if leaf.physical_type is None or not _is_stored_as(kind, leaf):
        return None
    is_float16 = leaf.physical_type == _FIXED_LEN_BYTE_ARRAY
    return Levels(
        physical_type=leaf.physical_type,
        type_bytes=leaf.type_bytes if is_float16 else 0,
        max_definition=above + (leaf.repetition == _OPTIONAL),
        max_repetition=max_repetition,
        element_definition=above,
    )


def _is_list(node: Node) -> bool:
    is_annotated = list(node.logical_type) == [_LIST] or (
        not node.logical_type and node.converted_type == _CONVERTED_LIST
    )
    return is_annotated and node.repetition in (_REQUIRED, _OPTIONAL) and node.children == 1


def _is_stored_as(kind: pa.DataType, leaf: Node) -> bool:
    """Whether the leaf's values are those of the Arrow type, to be copied, narrowed or widened but not converted."""
    annotation = _annotation(leaf)
    types = pa.types
    if types.is_integer(kind):
        is_signed = types.is_signed_integer(kind)
        is_plain = annotation is None and is_signed and kind.bit_width >= 32
        physical = _INT64 if kind.bit_width == 64 else _INT32
        return leaf.physical_type == physical and (
            is_plain or annotation == (_INTEGER, kind.bit_width, is_signed)
        )
    if types.is_float16(kind):
        return (
            leaf.physical_type == _FIXED_LEN_BYTE_ARRAY and leaf.type_bytes == 2 and annotation == (_FLOAT16,)
        )
    if types.is_date32(kind):
        return leaf.physical_type == _INT32 and annotation == (_DATE,)
    if types.is_time32(kind):
        return leaf.physical_type == _INT32 and kind.unit == "ms" and annotation == (_TIME, "ms")
    if types.is_time64(kind):
        return leaf.physical_type == _INT64 and annotation == (_TIME, kind.unit)
    if types.is_timestamp(kind):
        return leaf.physical_type == _INT64 and annotation == (_TIMESTAMP, kind.unit)
    if annotation is not None:
        return False
    return (
        (types.is_boolean(kind) and leaf.physical_type == _BOOLEAN)
        or (types.is_float32(kind) and leaf.physical_type == _FLOAT)
        or (types.is_float64(kind) and leaf.physical_type == _DOUBLE)
        or (types.is_duration(kind) and leaf.physical_type == _INT64)
    )


def _annotation(leaf: Node) -> tuple[Any, ...] | None:
    """What a leaf's values mean, as (logical type, its parameters); None: nothing beyond their physical type.

    The logical type holds where both it and the older converted type are there. Anything odd is (None,).
    """
    if leaf.logical_type:
        [(kind, details), *others] = leaf.logical_type.items()
        if others or not isinstance(details, dict):
            return (None,)
        if kind in (_TIME, _TIMESTAMP):
            unit = details.get(2)
            fields = list(unit) if isinstance(unit, dict) else []
            return (kind, _UNITS.get(fields[0])) if len(fields) == 1 else (None,)
        if kind == _INTEGER:
            return kind, details.get(1), details.get(2)
        return (kind,)
    converted = leaf.converted_type
    if converted is None:
        return None
    if converted == _CONVERTED_DATE:
        return (_DATE,)
    if converted in _CONVERTED_INTEGERS:
        return _INTEGER, *_CONVERTED_INTEGERS[converted]
    return _CONVERTED_UNITS.get(converted, (None,))
