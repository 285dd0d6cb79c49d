"""What is kept of the files of a Parquet source: of each one, and of footers while the source is read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import pyarrow as pa

from ._columns import choose_columns
from ._errors import SourceError
from ._parquet_costs import ColumnCost
from ._parquet_native import FileChunks
from ._partitions import Values

# A parsed footer takes about this many times its length in the file (measured: 5.7 without statistics, 7.2 with).
FOOTER_GROWTH = 8
KEPT_FOOTER_BYTES = 1 << 20

FileKey = tuple[str, tuple[int, int]]  # path and identity
Leaves = tuple[tuple[int, ...], ...]  # leaf columns of each chosen column


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the source: what it takes to open it again and to know that it is still the same."""

    path: str
    identity: tuple[int, int]  # length and time of the last change
    leaves: Leaves
    partitions: Values = field(default_factory=dict)


class FileFigures(NamedTuple):
    """What a file of the source holds: its bytes as stored, and the row groups that are read, and their rows."""

    path: str
    stored_bytes: int
    row_groups: int
    rows: int


@dataclass(frozen=True, slots=True)
class DatasetParts:
    """What somebody else has settled of a source.

    Attributes:
        schema: its columns, partition columns included; files hold them in these types.
        partitions: its partition columns.
        row_groups: for each file a function that gives the row groups to read. It may read the file's footer.
    """

    schema: pa.Schema
    partitions: tuple[str, ...]
    row_groups: Sequence[Callable[[], Sequence[int]]]


@dataclass(slots=True)
class Footer:
    """What the plan needs of a footer; the rest of it is let go."""

    file: SourceFile
    schema: pa.Schema  # of the chosen columns, in their order
    partitions: tuple[str, ...]  # the file's partition columns, chosen or not
    groups: list[int]  # row groups that have rows
    group_rows: list[int]  # of each of them
    costs: list[ColumnCost]  # empty where the file was not surveyed
    footer_bytes: int  # once parsed
    chunks: FileChunks | None  # of the columns that the core may decode; None: of none


class FooterCache:
    """Parsed footers: those of open streams are shared, and a few more are kept, least recently used out first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alive: WeakValueDictionary[FileKey, Any] = WeakValueDictionary()
        self._kept: OrderedDict[FileKey, Any] = OrderedDict()
        self._kept_bytes = 0

    def get(self, file: FileKey) -> Any:
        """The footer of a file, None where it has to be read again."""
        with self._lock:
            metadata = self._alive.get(file)
            if file in self._kept:
                self._kept.move_to_end(file)
            return metadata

    def put(self, file: FileKey, metadata: Any) -> Any:
        """Keeps a footer; returns it, or the one that another thread has put there meanwhile."""
        with self._lock:
            present = self._alive.setdefault(file, metadata)
            if file not in self._kept:
                self._kept[file] = present
                self._kept_bytes += _parsed_bytes(present)
                while self._kept_bytes > KEPT_FOOTER_BYTES and len(self._kept) > 1:
                    _, dropped = self._kept.popitem(last=False)
                    self._kept_bytes -= _parsed_bytes(dropped)
            return present


def _parsed_bytes(metadata: Any) -> int:
    return int(metadata.serialized_size) * FOOTER_GROWTH


def first_of(dataset: DatasetParts, columns: Sequence[str] | None) -> Footer:
    """What the files of a dataset must agree with: its schema, in place of a first file."""
    where = "the dataset's schema"
    names = choose_columns(dataset.schema.names, columns, where)
    if not names:
        raise SourceError(f"{where} has no column")
    schema = pa.schema([dataset.schema.field(name) for name in names])
    return Footer(SourceFile(where, (0, 0), ()), schema, dataset.partitions, [], [], [], 0, None)


def wanted_groups(path: str, wanted: Sequence[int], group_rows: list[int]) -> list[int]:
    """Those of the wanted row groups that have rows."""
    for group in wanted:
        if not 0 <= group < len(group_rows):
            raise SourceError(
                f"{path}: the file has {len(group_rows)} row groups, row group {group} is not among them",
                path=path,
            )
    return [group for group in wanted if group_rows[group]]


def none_left(paths: Sequence[str], errors: Sequence[SourceError | ValueError]) -> SourceError | ValueError:
    """The error where no file is left to read: a wrong name in columns= is the user's, not the files'."""
    if not any(isinstance(error, SourceError) for error in errors):
        return errors[0]
    error = SourceError(f"none of the {len(paths)} files can be read; the first: {errors[0]}", path=paths[0])
    error.__cause__ = errors[0]
    return error
