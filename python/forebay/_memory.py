"""Data that is in memory already: pyarrow Tables and RecordBatches as a list of blocks."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from ._columns import choose_columns, duplicate_names, quoted, unknown_column_message


class MemoryProvider:
    """Tables and RecordBatches, in turn, as a source of blocks: `_ext.block_source(schema, blocks, provider)`.

    The memory stays the caller's, and is not charged: nothing is copied here.

    Attributes:
        schema: pyarrow.Schema of the chosen columns.
        blocks: pyarrow.RecordBatch list; where the chunks of a Table's columns differ, each block ends where one does.
    """

    def __init__(self, data: Sequence[pa.Table | pa.RecordBatch], columns: Sequence[str] | None) -> None:
        """data: at least one.

        Raises ValueError for a column that does not exist, or exists twice, for data without any column, and where two
        differ in names or types of the chosen columns.
        """
        first = data[0]
        where = "source[0]" if len(data) > 1 else _name(first)
        chosen = choose_columns(first.schema.names, columns, where)
        if not chosen:
            raise ValueError(f"{where} has no column")
        for number, other in enumerate(data[1:], start=1):
            _check_same(first.schema, other.schema, chosen, columns is None, f"source[{number}]")
        parts = [part.select(chosen) for part in data]
        self.schema: pa.Schema = _merged_schema([part.schema for part in parts])
        batches = [
            batch for part in parts for batch in (part.to_batches() if isinstance(part, pa.Table) else [part])
        ]
        self.blocks = [batch for batch in batches if batch.num_rows]

    def describe(self, unit: int) -> tuple[None, None, int]:
        """A block has neither path nor row group: its rows are shown by their numbers in the whole data."""
        return None, None, sum(block.num_rows for block in self.blocks[:unit])

    def take_error(self, unit: int) -> None:
        """A block raises nothing while it is read."""
        return None


def _name(data: pa.Table | pa.RecordBatch) -> str:
    return "the table" if isinstance(data, pa.Table) else "the record batch"


def _check_same(
    first: pa.Schema, other: pa.Schema, chosen: Sequence[str], all_chosen: bool, where: str
) -> None:
    """Raises ValueError where another schema lacks a chosen column of the first, has it twice or of another type."""
    for name in chosen:
        if name not in other.names:
            raise ValueError(
                f"{where} and source[0] differ: {unknown_column_message(name, other.names, where)}"
            )
    twice = [name for name in duplicate_names(other.names) if name in chosen]
    if twice:
        raise ValueError(f"{where} has more than one column named {quoted(twice)}")
    extra = [name for name in other.names if name not in chosen]
    if all_chosen and extra:
        raise ValueError(
            f"{where} and source[0] differ: the second has no column {quoted(extra)}: name the columns to read with "
            "columns="
        )
    for name in chosen:
        own, expected = other.field(name).type, first.field(name).type
        if own != expected:
            raise ValueError(f"column {name!r} is {own} in {where} and {expected} in source[0]")


def _merged_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The first one's columns; one is nullable where it is in any."""
    nullable = [any(schema.field(i).nullable for schema in schemas) for i in range(len(schemas[0]))]
    fields = [field.with_nullable(may) for field, may in zip(schemas[0], nullable, strict=True)]
    return pa.schema(fields)
