"""One walk over a file's row groups: what its columns cost to read, and which of them the core can decode by itself."""

from __future__ import annotations

import os
from typing import Any

import pyarrow as pa

from . import _parquet_native
from ._errors import SourceError, UnsupportedError
from ._parquet_costs import ColumnCost, LeafChunks, column_cost
from ._parquet_native import FileChunks
from ._parquet_pages import TAIL_BYTES, read_footer, read_leaves, read_row_groups
from ._thrift import MalformedThrift

# Costs are worked out from so many column chunks of a file, of one row group at least.
_SURVEYED_CHUNKS = 1024
# Codecs by their number in Parquet, as pyarrow calls them; 5 is the LZ4 of Hadoop, 7 the plain one. 0 is none.
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 5: "lz4", 6: "zstd", 7: "lz4"}
_CODECS_NOT_READ = {3: "LZO"}


def examine(
    path: str,
    descriptor: int,
    metadata: Any,
    schema: pa.Schema,
    leaves: tuple[tuple[int, ...], ...],
    group_rows: list[int],
    survey: bool,
) -> tuple[list[ColumnCost], FileChunks | None]:
    """The cost of each chosen column, and where the pages lie of those that the core may decode.

    leaves: the leaf columns of each chosen one. group_rows: of each row group, as pyarrow says. survey: False leaves
    out the costs. None in place of chunks: no column of this file. Raises SourceError, UnsupportedError for a codec.
    """
    surveyed = {leaf: LeafChunks() for own in leaves for leaf in own}
    left = max(_SURVEYED_CHUNKS, metadata.num_columns) if survey else 0
    unit_rows = []
    try:
        file_bytes = os.fstat(descriptor).st_size
        footer = read_footer(descriptor, file_bytes)
        chunks = _candidates(
            footer, schema, leaves, metadata.num_columns, descriptor, file_bytes - TAIL_BYTES - len(footer)
        )
        for rows, group in read_row_groups(footer):
            left -= len(group)
            if chunks and not any(chunks.columns):
                chunks = None
            if left < 0 and not chunks:
                break
            if not rows:
                continue
            unit_rows.append(rows)
            for name, own in zip(schema.names, leaves, strict=True) if left >= 0 else ():
                for leaf in own:
                    _check_codec(path, name, group[leaf].codec)
                    surveyed[leaf].add(rows, group[leaf])
            if chunks:
                chunks.add(rows, group)
    except (MalformedThrift, IndexError) as error:
        raise SourceError(f"{path}: the footer is damaged: {error}", path=path) from error
    if chunks:
        chunks.close()
        if unit_rows != [rows for rows in group_rows if rows]:
            chunks = None
    if not survey:
        return [], chunks
    return [
        column_cost(field, [(metadata.schema.column(leaf), surveyed[leaf]) for leaf in own], descriptor)
        for field, own in zip(schema, leaves, strict=True)
    ], chunks


def _candidates(
    footer: bytes,
    schema: pa.Schema,
    leaves: tuple[tuple[int, ...], ...],
    leaf_count: int,
    descriptor: int,
    data_end: int,
) -> FileChunks | None:
    """The columns that the core can decode as far as their schema says; None: none of them."""
    if not _parquet_native.ENABLED:
        return None
    try:
        nodes = read_leaves(footer)
    except MalformedThrift:
        return None
    if len(nodes) != leaf_count:
        return None
    chunks = FileChunks(schema, leaves, nodes, descriptor, data_end)
    return chunks if any(chunks.columns) else None


def _check_codec(path: str, column: str, codec: int) -> None:
    name = _CODECS.get(codec)
    if codec and (name is None or not pa.Codec.is_available(name)):
        what = _CODECS_NOT_READ.get(codec, f"codec {codec}")
        raise UnsupportedError(f"{path}: column {column!r} is compressed with {what}", path=path)
