"""Parquet's own structures: what a footer and page headers say of the columns and of the bytes that they take.

pyarrow gives the same figures of a footer, but it ends the process on some damaged ones, and it does not show how many
bytes of strings a chunk decodes to, nor how large its pages are. A reader holds one page and one dictionary of a column
at a time, so these are what bounds it. Fields are those of
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ._thrift import MalformedThrift, iterate_structs, parse_struct, size_field

# Encodings by their number.
PLAIN, PLAIN_DICTIONARY, RLE, BIT_PACKED, RLE_DICTIONARY = 0, 2, 3, 4, 8

_NOT_HERE = {1, 8, 9}  # fields of a chunk that is in another file, or encrypted
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3

_HEADER_BYTES = 256  # enough for nearly every page header
_LONG_HEADER_BYTES = 64 << 10  # statistics hold values of any length
_MOST_PAGES = 1024
_MOST_NESTING = 64
TAIL_BYTES = 8  # the footer's length and the magic


@dataclass(frozen=True, slots=True)
class Node:
    """An element of the schema: a group of others, or a leaf, whose values are stored."""

    physical_type: int | None  # None: a group
    type_bytes: int  # of a value of fixed length
    repetition: int  # 0: required, 1: optional, 2: repeated
    children: int
    converted_type: int | None
    logical_type: dict[int, Any]  # the union: one field, or none


@dataclass(slots=True)
class Chunk:
    """A column chunk, as its footer describes it."""

    start: int  # of its first page in the file
    codec: int
    values: int
    compressed_bytes: int
    uncompressed_bytes: int
    has_dictionary: bool
    string_bytes: int | None  # bytes of its strings once decoded, where its writer noted that
    physical_type: int
    encodings: tuple[int, ...]  # of levels and values; empty where the footer does not say
    is_plainly_here: bool  # not encrypted, and not in another file


@dataclass(slots=True)
class ChunkPages:
    """The most that the pages of a column chunk take, and its dictionary."""

    compressed_bytes: int = 0  # of the largest page, a dictionary's included
    uncompressed_bytes: int = 0
    data_bytes: int = 0  # uncompressed bytes of the largest data page
    dictionary_bytes: int = 0  # uncompressed
    dictionary_values: int = 0


def read_at(descriptor: int, count: int, offset: int) -> bytes:
    """Bytes of a file from offset on: count of them, fewer only where the file ends. A read may give less than that."""
    data = os.pread(descriptor, count, offset)
    while data and len(data) < count:
        more = os.pread(descriptor, count - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def read_footer(descriptor: int, file_bytes: int) -> bytes:
    """The footer's bytes, which end TAIL_BYTES before the file does. Raises MalformedThrift or OSError."""
    tail = read_at(descriptor, TAIL_BYTES, max(0, file_bytes - TAIL_BYTES))
    length = int.from_bytes(tail[:4], "little")
    if length + TAIL_BYTES > file_bytes:
        raise MalformedThrift("the footer is longer than the file")
    return read_at(descriptor, length, file_bytes - TAIL_BYTES - length)


def read_leaves(footer: bytes) -> list[list[Node]]:
    """The leaf columns in their order, each as the nodes from its top-level column down to itself.

    Raises MalformedThrift.
    """
    nodes = [_node(element) for element in iterate_structs(footer, 2)]
    if not nodes or not nodes[0].children:
        return []
    leaves: list[list[Node]] = []
    above: list[Node] = []
    left = [nodes[0].children]  # children still to come: of the root, and of each group in above
    for node in nodes[1:]:
        if not left:
            raise MalformedThrift("a schema with elements beside its root")
        left[-1] -= 1
        if node.children:  # a group
            above.append(node)
            left.append(node.children)
            if len(above) > _MOST_NESTING:
                raise MalformedThrift("a schema nested too deep")
        else:
            if node.physical_type is not None:
                leaves.append([*above, node])
        while left and not left[-1]:
            left.pop()
            if above:
                above.pop()
    if left:
        raise MalformedThrift("a schema that ends early")
    return leaves


def _node(element: dict[int, Any]) -> Node:
    return Node(
        physical_type=size_field(element, 1) if 1 in element else None,
        type_bytes=size_field(element, 2) if 2 in element else 0,
        repetition=size_field(element, 3) if 3 in element else 0,
        children=size_field(element, 5) if 5 in element else 0,
        converted_type=size_field(element, 6) if 6 in element else None,
        logical_type=logical if isinstance(logical := element.get(10), dict) else {},
    )


def read_row_groups(footer: bytes) -> Iterator[tuple[int, list[Chunk]]]:
    """(rows, the chunk of each leaf column) of each row group, parsed as they are asked for.

    Raises MalformedThrift.
    """
    for group in iterate_structs(footer, 4):
        columns = group.get(1)
        if not isinstance(columns, list):
            raise MalformedThrift("a row group without columns")
        yield size_field(group, 3), [_chunk(column) for column in columns]


def _chunk(column: Any) -> Chunk:
    metadata = column.get(3) if isinstance(column, dict) else None
    if not isinstance(metadata, dict):
        raise MalformedThrift("a column chunk without its metadata")
    dictionary_at = metadata.get(11)
    # Some writers leave 0 where there is no dictionary page.
    has_dictionary = isinstance(dictionary_at, int) and dictionary_at > 0
    data_at = size_field(metadata, 9)
    sizes = metadata.get(16)
    encodings = metadata.get(2)
    return Chunk(
        start=min(data_at, size_field(metadata, 11)) if has_dictionary else data_at,
        codec=size_field(metadata, 4),
        values=size_field(metadata, 5),
        compressed_bytes=size_field(metadata, 7),
        uncompressed_bytes=size_field(metadata, 6),
        has_dictionary=has_dictionary,
        string_bytes=size_field(sizes, 1) if isinstance(sizes, dict) and 1 in sizes else None,
        physical_type=size_field(metadata, 1),
        encodings=tuple(encodings) if isinstance(encodings, list) else (),
        is_plainly_here=not column.keys() & _NOT_HERE,
    )


def read_chunk_pages(descriptor: int, offset: int, chunk_bytes: int) -> ChunkPages:
    """Walks the page headers of the chunk at offset. Raises MalformedThrift or OSError.

    A chunk of more than _MOST_PAGES pages is walked that far: its pages have the size that its writer was set to.
    """
    pages = ChunkPages()
    end = offset + chunk_bytes
    for _ in range(_MOST_PAGES):
        if offset >= end:
            break
        header, header_bytes = _read_header(descriptor, offset)
        kind, uncompressed, compressed = (size_field(header, field) for field in (1, 2, 3))
        if header_bytes + compressed > end - offset:
            raise MalformedThrift("a page is longer than its chunk")
        pages.compressed_bytes = max(pages.compressed_bytes, compressed)
        pages.uncompressed_bytes = max(pages.uncompressed_bytes, uncompressed)
        if kind == _DICTIONARY_PAGE:
            details = header.get(7)
            if not isinstance(details, dict):
                raise MalformedThrift("a dictionary page without its header")
            pages.dictionary_bytes = max(pages.dictionary_bytes, uncompressed)
            pages.dictionary_values = max(pages.dictionary_values, size_field(details, 1))
        elif kind in (_DATA_PAGE, _DATA_PAGE_V2):
            pages.data_bytes = max(pages.data_bytes, uncompressed)
        offset += header_bytes + compressed
    return pages


def read_level_encodings(descriptor: int, offset: int, chunk_bytes: int) -> tuple[int, int]:
    """Encodings of definition and repetition levels in the first data page of the chunk at offset.

    Raises MalformedThrift or OSError.
    """
    end = offset + chunk_bytes
    for _ in range(_MOST_PAGES):
        if offset >= end:
            break
        header, header_bytes = _read_header(descriptor, offset)
        kind = size_field(header, 1)
        if kind == _DATA_PAGE_V2:
            return RLE, RLE
        if kind == _DATA_PAGE:
            details = header.get(5)
            if not isinstance(details, dict):
                raise MalformedThrift("a data page without its header")
            return size_field(details, 3), size_field(details, 4)
        offset += header_bytes + size_field(header, 3)
    raise MalformedThrift("a chunk without a data page")


def _read_header(descriptor: int, offset: int) -> tuple[dict[int, Any], int]:
    data = read_at(descriptor, _HEADER_BYTES, offset)
    try:
        return parse_struct(data)
    except MalformedThrift:
        if len(data) < _HEADER_BYTES:
            raise
    return parse_struct(read_at(descriptor, _LONG_HEADER_BYTES, offset))
