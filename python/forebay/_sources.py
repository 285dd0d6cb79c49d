"""From what the user gave to the core's source: each kind by its name, others refused with what to write instead."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from . import _ext, _paths
from ._arguments import Settings
from ._bad_files import BadFiles
from ._dataset import is_dataset, read_dataset
from ._errors import SourceError
from ._memory import MemoryProvider
from ._partitions import Partitions, hive_partitions
from ._streams import StreamProvider, is_stream, type_name

_PATHS = (str, bytes, os.PathLike)
_IN_MEMORY = (pa.Table, pa.RecordBatch)
_KINDS = (
    "a path, a directory, a glob, a list of those, a pyarrow.Table, a pyarrow.RecordBatch, a list of those, a pyarrow "
    "Parquet Dataset, an object with __arrow_c_stream__ or __arrow_c_array__, or an iterable or a function that gives "
    "those"
)
# What to write for data that is not columnar as it is.
_INSTEAD = {
    "dict": "pyarrow.table(source)",
    "DataFrame": "pyarrow.Table.from_pandas(source)",
    "LazyFrame": "source.collect().to_arrow()",
    "ndarray": 'pyarrow.table({"x": source})',
    "Tensor": 'pyarrow.table({"x": source.numpy()})',
}


class OpenSource(NamedTuple):
    """A source that is ready to be planned."""

    core: Any  # of the extension; consumed by a loader
    schema: pa.Schema  # of the chosen columns
    bad_files: BadFiles
    stream: StreamProvider | None = None  # to be closed with the loader


def open_source(source: Any, settings: Settings) -> OpenSource:
    """Opens what the user gave. Raises TypeError for what is no source, and what the kinds of source raise."""
    name = type_name(source)
    source = _paths_of_iterator(source)
    if _is_pulled(source):
        _check_for_files(settings, name)
        stream = StreamProvider(source, settings.columns, name)
        return OpenSource(_ext.pull_source(stream.schema, stream), stream.schema, BadFiles(), stream)
    tables = _tables(source)
    if tables is not None:
        _check_for_files(settings, name)
        memory = MemoryProvider(tables, settings.columns)
        return OpenSource(_ext.block_source(memory.schema, memory.blocks, memory), memory.schema, BadFiles())
    bad_files = BadFiles(settings.on_bad_file)
    provider = open_files(source, settings, bad_files)
    try:
        core = provider.make_source()
    except ValueError as error:  # a schema that no writer writes
        path = provider.files()[0].path
        raise SourceError(f"{path}: the footer is damaged: {error}", path=path) from error
    return OpenSource(core, provider.schema, bad_files)


def _is_pulled(source: Any) -> bool:
    """Whether source is read as a stream."""
    if isinstance(source, (*_PATHS, *_IN_MEMORY)) or is_dataset(source):
        return False
    if isinstance(source, (list, tuple)):
        return any(hasattr(one, "__arrow_c_stream__") and not isinstance(one, _IN_MEMORY) for one in source)
    if hasattr(source, "__arrow_c_stream__"):
        return True
    return not hasattr(source, "__arrow_c_array__") and not _instead(source) and is_stream(source)


def _paths_of_iterator(source: Any) -> Any:
    """The list of paths that an iterator gives, such as that of pathlib.Path.glob(); anything else as it is."""
    if not isinstance(source, Iterator) or hasattr(source, "__arrow_c_stream__"):
        return source
    for first in source:
        return [first, *source] if isinstance(first, _PATHS) else itertools.chain([first], source)
    return source


def open_files(source: Any, settings: Settings, bad_files: BadFiles) -> Any:
    """The ParquetProvider over the files that source names, the footers read. Raises TypeError where it names none."""
    if is_dataset(source):
        if settings.partitioning is None:
            raise ValueError("partitioning=None is for paths: a pyarrow Dataset brings its own partitioning")
        dataset = read_dataset(source)
        paths, partitions, parts = dataset.paths, dataset.partitions, dataset.parts
    elif isinstance(source, (*_PATHS, list, tuple)):
        found = _paths.find_files(_paths.check_paths(source))
        partitions = hive_partitions(found) if settings.partitioning == "hive" else Partitions()
        paths, parts = [file.path for file in found], None
    else:
        raise TypeError(f"source must be {_KINDS}, not {type(source).__name__}{_instead(source)}")
    # Only here: the reader of Parquet takes time and memory to import that other sources do without.
    from ._parquet import ParquetProvider

    provider = ParquetProvider(
        paths,
        settings.columns,
        settings.num_threads,
        partitions=partitions,
        dataset=parts,
        bad_files=bad_files,
    )
    bad_files.warn()
    return provider


def _tables(source: Any) -> list[pa.Table | pa.RecordBatch] | None:
    """The tables and record batches that source is, None where it is none."""
    if isinstance(source, _IN_MEMORY):
        return [source]
    if isinstance(source, (list, tuple)):
        return _tables_of_list(source)
    if not isinstance(source, _PATHS) and hasattr(source, "__arrow_c_array__"):
        return [_record_batch(source)]
    return None


def _tables_of_list(source: Sequence[Any]) -> list[pa.Table | pa.RecordBatch] | None:
    """None where they are something else, paths perhaps."""
    if not any(isinstance(one, _IN_MEMORY) for one in source):
        for number, one in enumerate(source):
            if not isinstance(one, _PATHS):
                raise TypeError(
                    f"source[{number}] must be a path, or with the others a pyarrow.Table or pyarrow.RecordBatch, not "
                    f"{type(one).__name__}{_instead(one, number)}"
                )
        return None
    for number, one in enumerate(source):
        if not isinstance(one, _IN_MEMORY):
            raise TypeError(
                f"source[{number}] must be a pyarrow.Table or pyarrow.RecordBatch, as others of the list are, not "
                f"{type(one).__name__}"
            )
    return list(source)


def _record_batch(source: Any) -> pa.RecordBatch:
    try:
        return pa.record_batch(source)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise TypeError(
            f"source is a {type(source).__name__} whose __arrow_c_array__ does not give a struct array without nulls, "
            f"of which each field would be a column: {error}"
        ) from error


def _check_for_files(settings: Settings, name: str) -> None:
    """Raises ValueError for what was asked about files where there are none."""
    for argument, value, default in (
        ("on_bad_file", settings.on_bad_file, "error"),
        ("partitioning", settings.partitioning, "hive"),
    ):
        if value != default:
            raise ValueError(f"{argument} is for files; the source is a {name}: leave it out")


def _instead(source: Any, number: int | None = None) -> str:
    """What to write in place of source, where that is known."""
    name = type(source).__name__
    if isinstance(source, dict):
        name = "dict"
    text = _INSTEAD.get(name)
    if text is None:
        return ""
    if type(source).__module__.startswith("polars") and name == "DataFrame":
        text = "source.to_arrow()"
    return f": give {text if number is None else text.replace('source', f'source[{number}]')}"
