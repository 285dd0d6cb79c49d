"""pyarrow's Parquet datasets as sources: their fragments become files, what they settled is kept.

The dataset's own scanner is never used: it reads ahead by count, not by bytes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from ._errors import SourceError, UnsupportedError
from ._parquet_files import DatasetParts
from ._partitions import Partitions

_INSTEAD = "give the paths of its Parquet files instead"


@dataclass(frozen=True, slots=True)
class DatasetFiles:
    """A dataset's files in its order, and what it says of them."""

    paths: list[str]
    partitions: Partitions
    parts: DatasetParts


def is_dataset(source: Any) -> bool:
    """Whether source is a pyarrow Dataset or ParquetDataset. Imports nothing: one that exists has been imported."""
    return any(
        (module := sys.modules.get(name)) is not None and isinstance(source, getattr(module, kind))
        for name, kind in (("pyarrow._dataset", "Dataset"), ("pyarrow.parquet.core", "ParquetDataset"))
    )


def read_dataset(source: Any) -> DatasetFiles:
    """What a dataset holds; no file is opened. Raises UnsupportedError for what is not local Parquet files."""
    import pyarrow.dataset as ds

    if isinstance(source, ds.Dataset):
        dataset, has_filter = source, bool(source._scan_options)
    else:  # a ParquetDataset, which keeps the dataset that it stands for
        dataset, has_filter = source._dataset, source._filter_expression is not None
    if has_filter:
        raise UnsupportedError(
            "a dataset with a filter is not read: give the dataset as it was before filter()"
        )
    if isinstance(dataset, ds.InMemoryDataset):
        raise UnsupportedError("a pyarrow InMemoryDataset is not read: give the tables that it was made of")
    if not isinstance(dataset, ds.FileSystemDataset):
        raise UnsupportedError(f"a pyarrow {type(dataset).__name__} is not read: {_INSTEAD}")
    if not isinstance(dataset.format, ds.ParquetFileFormat):
        name = dataset.format.default_extname
        raise UnsupportedError(f"a dataset of format {name!r} is not read: write its data as Parquet")
    to_path = _local_path(dataset.filesystem)
    fragments = list(dataset.get_fragments())
    if not fragments:
        raise SourceError("the dataset holds no file to read")
    if any(fragment.path is None or fragment.buffer is not None for fragment in fragments):
        raise UnsupportedError("a dataset over buffers is not read: give pyarrow.parquet.read_table(buffer)")
    paths = [to_path(fragment.path) for fragment in fragments]
    root_keys = ds.get_partition_keys(dataset.partition_expression)
    keys = [root_keys | ds.get_partition_keys(fragment.partition_expression) for fragment in fragments]
    return _keep(dataset.schema, paths, keys, [partial(_row_groups, fragment) for fragment in fragments])


def _keep(
    schema: pa.Schema,
    paths: list[str],
    keys: list[dict[str, Any]],
    row_groups: Sequence[Callable[[], Sequence[int]]],
) -> DatasetFiles:
    names = set().union(*keys)
    types = {
        field.name: field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        for field in schema
        if field.name in names
    }
    shared: dict[tuple[tuple[str, Any], ...], dict[str, pa.Scalar]] = {}
    values = []
    for path, own in zip(paths, keys, strict=True):
        key = tuple(sorted(own.items()))
        if key not in shared:
            shared[key] = {
                name: _scalar(path, name, value, types[name]) for name, value in own.items() if name in types
            }
        values.append(shared[key])
    plain = pa.schema([field.with_type(types.get(field.name, field.type)) for field in schema])
    return DatasetFiles(
        paths, Partitions(types, values, hide_columns=True), DatasetParts(plain, tuple(types), row_groups)
    )


def _scalar(path: str, name: str, value: Any, kind: pa.DataType) -> pa.Scalar:
    try:
        return pa.scalar(value, type=kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise SourceError(
            f"{path}: its partition expression says {value!r} of column {name!r}, whose type in the dataset's schema "
            f"is {kind}",
            path=path,
        ) from error


def _row_groups(fragment: Any) -> list[int]:
    return [group.id for group in fragment.row_groups]


def _local_path(filesystem: Any) -> Callable[[str], str]:
    """What makes a path of this machine of a fragment's path. Raises UnsupportedError for another filesystem."""
    from pyarrow import fs

    if isinstance(filesystem, fs.LocalFileSystem):
        return str
    if isinstance(filesystem, fs.SubTreeFileSystem):
        to_path = _local_path(filesystem.base_fs)
        return lambda path: to_path(os.path.join(filesystem.base_path, path))
    kind = getattr(filesystem, "type_name", type(filesystem).__name__)
    raise UnsupportedError(
        f"a dataset on the filesystem {kind!r} is not read: copy its files to this machine and {_INSTEAD}"
    )
