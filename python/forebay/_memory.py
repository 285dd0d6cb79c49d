"""Data that is in memory already: a pyarrow Table or RecordBatch as a list of blocks."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from ._columns import choose_columns


class MemoryProvider:
    """A Table or RecordBatch as a source of blocks: `_ext.block_source(schema, blocks, provider)`.

    The memory stays the caller's, and is not charged: nothing is copied here.

    Attributes:
        schema: pyarrow.Schema of the chosen columns.
        blocks: pyarrow.RecordBatch list; where the chunks of a Table's columns differ, each block ends where one does.
    """

    def __init__(self, data: pa.Table | pa.RecordBatch, columns: Sequence[str] | None) -> None:
        """Raises ValueError for a column that does not exist, or exists twice, and for data without any column."""
        where = "the table" if isinstance(data, pa.Table) else "the record batch"
        chosen = choose_columns(data.schema.names, columns, where)
        if not chosen:
            raise ValueError(f"{where} has no column")
        data = data.select(chosen)
        batches = data.to_batches() if isinstance(data, pa.Table) else [data]
        self.schema: pa.Schema = data.schema.remove_metadata()
        self.blocks = [batch for batch in batches if batch.num_rows]

    def describe(self, unit: int) -> tuple[None, None, int]:
        """A block has neither path nor row group: its rows are shown by their numbers in the whole data."""
        return None, None, sum(block.num_rows for block in self.blocks[:unit])

    def take_error(self, unit: int) -> None:
        """A block raises nothing while it is read."""
        return None
