"""Partition columns: what the place of a file says of its rows, as `key=value` folders do.

A partition column has one value in all rows of a file. It is read as a stream of constant pieces; nothing is decoded
for it, and no file is opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

import pyarrow as pa

from ._columns import quoted
from ._errors import SourceError
from ._parquet_costs import ColumnCost
from ._paths import FoundFile

_NULL = "__HIVE_DEFAULT_PARTITION__"
_INTEGER = re.compile(r"-?[0-9]{1,40}")
# Of the constant arrays of one stream: what the allocator rounds up, for each column.
_ARRAY_BYTES = 256
# Relative to what the core decodes, see _parquet_costs.py: a copy, without a look at each value.
_WEIGHT = 1000

Values = Mapping[str, pa.Scalar]


@dataclass(frozen=True, slots=True)
class Partitions:
    """The partition columns of a list of files.

    Attributes:
        types: Arrow type of each column.
        values: one a file: the value of each of its columns, in their order. Files of one folder share theirs.
        hide_columns: whether they stand for columns of the same name in the files; otherwise those are read instead.
    """

    types: dict[str, pa.DataType] = field(default_factory=dict)
    values: Sequence[Values] = ()
    hide_columns: bool = False

    def of_file(self, number: int) -> Values:
        """The values of a file, by its number in the list."""
        return self.values[number] if self.values else {}

    def field(self, name: str) -> pa.Field:
        """A partition column as a column of the schema."""
        return pa.field(name, self.types[name])

    def first_columns(self, number: int, available: pa.Schema) -> tuple[str, ...]:
        """The partition columns of a source whose columns are those of this file."""
        return tuple(
            name for name in self.of_file(number) if self.hide_columns or name not in available.names
        )

    def check_same(
        self,
        number: int,
        path: str,
        available: pa.Schema,
        other: str,
        expected: Sequence[str],
        all_chosen: bool,
    ) -> None:
        """Raises SourceError where a file's partition columns are not those of another.

        available: the file's own columns. expected: partition columns of the other file that were chosen, or all of
        them with all_chosen.
        """
        own = self.of_file(number)
        differ = f"{path} and {other} differ: "
        missing = [name for name in expected if name not in own]
        if missing and self.hide_columns:
            raise SourceError(
                f"{path}: its partition expression gives no value to {quoted(missing)}, as others of the dataset do",
                path=path,
            )
        if missing:
            raise SourceError(
                f"{differ}only the second lies in a folder that says {quoted(missing)}", path=path
            )
        hidden = set() if self.hide_columns else {name for name in expected if name in available.names}
        if hidden:
            raise SourceError(
                f"{differ}the first has a column {quoted(sorted(hidden))} of its own, where only the folder of the "
                "second says it",
                path=path,
            )
        extra = [name for name in own if name not in expected and name not in available.names]
        if extra and all_chosen:
            raise SourceError(
                f"{differ}only the first lies in a folder that says {quoted(extra)}: name the columns to read with "
                "columns=, or give partitioning=None",
                path=path,
            )

    def cost(self, name: str) -> ColumnCost:
        """What a stream of the column holds: the arrays of one piece, nothing beside them."""
        kind = self.types[name]
        try:
            text_bytes, string_bytes, width = 0, 0, -(-kind.bit_width // 8)
        except ValueError:  # text: the longest there is
            apart = {id(values): values for values in self.values}.values()
            texts = [values[name] for values in apart if name in values]
            text_bytes = max((len(text.as_buffer()) for text in texts if text.is_valid), default=0)
            string_bytes = text_bytes + 1  # a batch's strings take a little more where it crosses units
            width = 8 if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind) else 4
        return ColumnCost(
            decoder_bytes=_ARRAY_BYTES,
            row_bytes=width + text_bytes + 1,  # a bit of validity
            string_bytes=string_bytes,
            weight=_WEIGHT * (width + text_bytes + 2),
        )


def hive_partitions(files: Sequence[FoundFile]) -> Partitions:
    """The columns that `key=value` folders below the given roots make; the folders' order is theirs.

    Keys and values are URL-decoded. A column is int32 where every value of it is a decimal number that fits, int64
    where they fit that, and string otherwise. Raises SourceError for a folder that cannot be read so.
    """
    of_folder: dict[tuple[str, str | None], dict[str, str | None]] = {}
    folders = []
    for path, root in files:
        folder = os.path.dirname(path), root
        if folder not in of_folder:
            of_folder[folder] = (
                {} if root is None else _read_keys(path, os.path.relpath(folder[0] or ".", root))
            )
        folders.append(folder)
    texts: dict[str, set[str | None]] = {}
    for keys in of_folder.values():
        for name, text in keys.items():
            texts.setdefault(name, set()).add(text)
    types = {name: _infer_type(among) for name, among in texts.items()}
    values = {
        folder: {name: _value(text, types[name]) for name, text in keys.items()}
        for folder, keys in of_folder.items()
    }
    return Partitions(types, [values[folder] for folder in folders]) if types else Partitions()


def _read_keys(path: str, folders: str) -> dict[str, str | None]:
    keys: dict[str, str | None] = {}
    for part in folders.split(os.sep):
        name, equals, text = part.partition("=")
        if not equals or not name:
            continue
        name, text = _decode(path, name), _decode(path, text)
        if name in keys:
            raise SourceError(
                f"{path}: more than one of its folders says {name!r}: give partitioning=None to read no columns from "
                "folders",
                path=path,
            )
        keys[name] = None if text == _NULL else text
    return keys


def _decode(path: str, text: str) -> str:
    try:
        return unquote_to_bytes(os.fsencode(text)).decode()
    except UnicodeDecodeError:
        raise SourceError(
            f"{path}: its folder {text!r} is not UTF-8 once it is URL-decoded: give partitioning=None to read no "
            "columns from folders",
            path=path,
        ) from None


def _infer_type(texts: set[str | None]) -> pa.DataType:
    numbers = [int(text) for text in texts if text is not None and _INTEGER.fullmatch(text)]
    if not numbers or len(numbers) < len(texts - {None}):
        return pa.string()
    for bits, kind in ((31, pa.int32()), (63, pa.int64())):
        if -(1 << bits) <= min(numbers) and max(numbers) < 1 << bits:
            return kind
    return pa.string()


def _value(text: str | None, kind: pa.DataType) -> pa.Scalar:
    value: Any = text if text is None or pa.types.is_string(kind) else int(text)
    return pa.scalar(value, type=kind)


class ConstantColumns:
    """The partition columns of one open unit: arrays of one value, made once and given again with each piece."""

    def __init__(
        self, schema: pa.Schema, values: Mapping[int, pa.Scalar], piece_rows: int, pool: pa.MemoryPool
    ) -> None:
        """schema: of the unit's stream. values: of its partition columns, by their places in that."""
        self._schema = schema
        self._arrays = {
            place: pa.repeat(value, piece_rows, memory_pool=pool) for place, value in values.items()
        }

    def beside(self, piece: pa.RecordBatch) -> pa.RecordBatch:
        """The piece of the other columns, in their order, and of these."""
        others = iter(piece.columns)
        rows = piece.num_rows
        columns = [
            self._arrays[place].slice(0, rows) if place in self._arrays else next(others)
            for place in range(len(self._schema))
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def pieces(self, row_count: int) -> Iterator[pa.RecordBatch]:
        """Pieces of so many rows together, where there is no other column."""
        whole = pa.RecordBatch.from_arrays(list(self._arrays.values()), schema=self._schema)
        while row_count > 0:
            yield whole if row_count >= whole.num_rows else whole.slice(0, row_count)
            row_count -= whole.num_rows
