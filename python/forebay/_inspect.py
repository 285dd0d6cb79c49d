"""What a source holds and what a loader would make of it: `forebay inspect`. Footers are read, and nothing else."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from . import _arguments, _paths
from ._arguments import Settings
from ._bad_files import BadFiles
from ._errors import SourceError, UnsupportedError
from ._forms import make_forms
from ._machine import default_memory_limit
from ._partitions import hive_partitions
from ._sources import open_files
from ._stats import bytes_text
from .loader import Loader, make_core_loader

_MOST_FILES = 10
_MOST_LINES = 60  # of columns
_MOST_REASONS = 5
_REMEDY = ": leave it out with columns="  # which is what is done here
_LEAST_RUN = 4  # columns alike that are shown as one line
_FIXED_LIST = re.compile(r"fixed_size_list<\w+: ([^<>]+)>\[([0-9]+)\]")
_NUMBERED = re.compile(r"(.*?)[0-9]+([^0-9]*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ArrayFigures:
    """One entry of a batch: dtype and shape of a numpy array, "rows" standing for the batch's rows.

    What is no array has no shape: "ArrowColumn", or the dtypes of a list's values and offsets, "(float32, int64)".
    """

    name: str
    kind: str
    shape: list[str | int]

    def __str__(self) -> str:
        if not self.shape:
            return self.kind
        sizes = ", ".join("n" if size == "rows" else str(size) for size in self.shape)
        return f"{self.kind} ({sizes})" if self.shape[1:] else f"{self.kind} ({sizes},)"


@dataclass(frozen=True, slots=True)
class ColumnFigures:
    """One column: its Arrow type, and either what it becomes in a batch or why it cannot be in one.

    Attributes:
        read_by: "forebay" decodes it; "pyarrow" does; "folder": its value is in the file's path; None: refused.
    """

    name: str
    type: str
    nullable: bool
    arrays: list[ArrayFigures]
    read_by: str | None
    refused: str | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a source holds, and what a loader over it would settle. Sizes in bytes; None where nothing can be read."""

    files: int
    row_groups: int
    rows: int
    stored_bytes: int
    largest_row_group_rows: int
    batch_size: int
    batches: int | None
    batch_bytes: int | None
    least_memory_bytes: int | None
    default_memory_limit: int
    bad_files: int
    bad_file_paths: list[tuple[str, str]]
    columns: list[ColumnFigures]
    per_file: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain dicts, lists, ints and str: ready for json."""
        return asdict(self)


class _Line(NamedTuple):
    """A column, or a run of columns that differ in the number in their name only, as it is shown."""

    name: str
    type: str
    nulls: str
    becomes: str
    read_by: str


# ---- finding out ---------------------------------------------------------------------------------------------------


def inspect(
    paths: Sequence[str],
    *,
    batch_size: int,
    columns: Sequence[str] | None,
    partitioning: str | None,
    on_bad_file: str,
) -> Inspection:
    """Reads the footers of files and plans batches of their columns.

    Raises what Loader raises, but for a column that cannot be in a batch: the others are planned then.
    """
    settings = _arguments.check(
        batch_size=batch_size, columns=columns, partitioning=partitioning, on_bad_file=on_bad_file,
        batch_format="numpy", memory_limit=None, prefetch_batches=None, num_threads=None, preserve_order=False,
        drop_last=False, null_policy="error", fill_value=None, dtypes=None, timeout=None, close_timeout=1.0,
        progress=False,
    )  # fmt: skip
    settings = replace(settings, memory_limit=_arguments.MOST)  # so that a plan of any size is made
    refused: dict[str, str] = {}
    while True:
        bad_files = BadFiles(on_bad_file)
        try:
            provider = open_files(paths, settings, bad_files)
            break
        except SourceError as error:
            names, reasons = _unreadable_columns(paths, settings, error.path) if not columns else ([], {})
            if not reasons or not names:
                raise
            refused |= reasons
            settings = replace(settings, columns=names)
    schema = provider.schema
    read_by = dict(zip(schema.names, _readers(provider), strict=True))
    unsuitable = {field.name: reason for field in schema if (reason := _reason_against(field))}
    kept = [name for name in schema.names if name not in unsuitable]
    if unsuitable and kept:
        provider = open_files(
            paths, replace(settings, columns=kept), BadFiles("skip" if on_bad_file != "error" else "error")
        )
        read_by |= dict(zip(kept, _readers(provider), strict=True))
    plan = _plan(provider, settings) if kept else {}
    arrays = _arrays(provider.schema) if kept else {}
    figures = [
        ColumnFigures(
            field.name,
            str(field.type),
            field.nullable,
            arrays.get(field.name, []),
            None if field.name in unsuitable else read_by[field.name],
            unsuitable.get(field.name),
        )
        for field in schema
    ]
    figures += [ColumnFigures(name, "?", True, [], None, reason) for name, reason in refused.items()]
    files = provider.files()
    return Inspection(
        files=len(files),
        row_groups=sum(file.row_groups for file in files),
        rows=sum(file.rows for file in files),
        stored_bytes=sum(file.stored_bytes for file in files),
        largest_row_group_rows=int(max(provider.unit_rows, default=0)),
        batch_size=settings.batch_size,
        batches=plan.get("batches"),
        batch_bytes=plan.get("batch_bytes"),
        least_memory_bytes=plan.get("least_memory_bytes"),
        default_memory_limit=default_memory_limit(),
        bad_files=bad_files.count,
        bad_file_paths=list(bad_files.listed),
        columns=figures,
        per_file=[file._asdict() for file in files],
    )


def _readers(provider: Any) -> list[str]:
    """Who reads each column."""
    return [
        "folder" if partition else "forebay" if native else "pyarrow"
        for native, partition in zip(provider.native_columns, provider.partition_columns, strict=True)
    ]


def _plan(provider: Any, settings: Settings) -> Any:
    forms = make_forms(provider.schema, settings.batch_format, settings.dtypes)
    loader = make_core_loader(provider.make_source(), provider.schema, forms, settings)
    try:
        return loader.plan()
    finally:
        loader.close()


def _null_row(field: pa.Field) -> pa.Table:
    """A table of that column with one row, a null."""
    kind = field.type
    try:
        values = pa.nulls(1, kind)
    except pa.ArrowNotImplementedError:
        values = pa.ExtensionArray.from_storage(kind, pa.nulls(1, kind.storage_type))
    return pa.table([values], schema=pa.schema([field.with_nullable(True)]))


def _reason_against(field: pa.Field) -> str | None:
    """Why a column cannot be in a batch, by trying; None where it can."""
    try:
        Loader(_null_row(field).slice(0, 0), batch_size=1).close()
    except (UnsupportedError, pa.ArrowException, ValueError) as error:
        return str(error).removesuffix(_REMEDY)
    return None


def _arrays(schema: pa.Schema) -> dict[str, list[ArrayFigures]]:
    """What each column becomes, as seen in a batch of one row."""
    figures = {}
    for field in schema:
        with Loader(_null_row(field), batch_size=1, null_policy="fill") as loader:
            [batch] = loader
            figures[field.name] = [_array_figures(name, array) for name, array in batch.items()]
    return figures


def _array_figures(name: str, array: Any) -> ArrayFigures:
    if isinstance(array, np.ndarray):
        return ArrayFigures(name, str(array.dtype), ["rows", *array.shape[1:]])
    return ArrayFigures(name, _kind_of(array), [])


def _kind_of(value: Any) -> str:
    """Of a list's values and offsets as a tuple, of a struct inside it as a dict; else a dtype or a class."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_kind_of, value))})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_kind_of(part)}' for name, part in value.items())}}}"
    return str(value.dtype) if isinstance(value, np.ndarray) else type(value).__name__


def _unreadable_columns(
    paths: Sequence[str], settings: Settings, path: str | None
) -> tuple[list[str], dict[str, str]]:
    """Where reading the columns of the file at path has failed: those that can be read, and why others cannot."""
    import pyarrow.parquet as pq

    try:
        of_file = dict.fromkeys(pq.read_schema(path).names)
    except (OSError, TypeError, pa.ArrowException):
        return [], {}
    reasons = {}
    for name in settings.columns or of_file:
        if name not in of_file:
            continue
        try:
            open_files([path], replace(settings, columns=[name], on_bad_file="error"), BadFiles())
        except (SourceError, ValueError) as error:
            reasons[name] = str(error)
    names = settings.columns
    if names is None:
        of_folders = hive_partitions(_paths.find_files(_paths.check_paths(list(paths)))).types
        names = list(dict.fromkeys([*of_file, *(of_folders if settings.partitioning else ())]))
    return [name for name in names if name not in reasons], reasons


# ---- showing -------------------------------------------------------------------------------------------------------


def text_of(inspection: Inspection, width: int) -> str:
    """For a person: lines of at most so many columns, 80 at least."""
    width = max(80, width)
    parts = ["\n".join(_head(inspection)), "\n".join(_file_lines(inspection, width))]
    if inspection.columns:
        parts.append("\n".join(_column_lines(inspection.columns, width)))
    reasons = [(f"{path} is left out", reason) for path, reason in inspection.bad_file_paths]
    parts += _reasons(reasons, inspection.bad_files, width)
    refused = [("refused", column.refused) for column in inspection.columns if column.refused]
    parts += _reasons(refused, len(refused), width)
    return "\n\n".join(parts)


def _head(inspection: Inspection) -> list[str]:
    lines = [
        (
            "source",
            f"{_count(inspection.files, 'file')}, {_count(inspection.row_groups, 'row group')}, "
            f"{_count(inspection.rows, 'row')}, {bytes_text(inspection.stored_bytes)} stored",
        ),
        ("row groups", f"{_count(inspection.largest_row_group_rows, 'row')} at most"),
        ("columns", _columns_text(inspection.columns)),
    ]
    if inspection.bad_files:
        lines.append(("bad files", f"{inspection.bad_files:,} left out"))
    if inspection.batches is None or inspection.least_memory_bytes is None or inspection.batch_bytes is None:
        lines.append(("batches", "none: every column is refused"))
        return [f"{name:<13}{value}" for name, value in lines]
    least, default = inspection.least_memory_bytes, inspection.default_memory_limit
    fits = "" if least <= default else ": give memory_limit"
    lines += [
        (
            "batches",
            f"{inspection.batches:,} of {_count(inspection.batch_size, 'row')}, "
            f"{bytes_text(inspection.batch_bytes)} each",
        ),
        ("memory", f"{bytes_text(least)} is the least; the default limit is {bytes_text(default)}{fits}"),
    ]
    return [f"{name:<13}{value}" for name, value in lines]


def _columns_text(columns: list[ColumnFigures]) -> str:
    readers = [column.read_by for column in columns]
    ways = {"forebay": "read by forebay", "pyarrow": "by pyarrow", "folder": "by folder", None: "refused"}
    parts = [f"{count:,} {how}" for reader, how in ways.items() if (count := readers.count(reader))]
    return f"{len(columns):,}: {', '.join(parts)}"


def _file_lines(inspection: Inspection, width: int) -> list[str]:
    shown = inspection.per_file[:_MOST_FILES]
    folder = _common_folder([file["path"] for file in shown])
    rows = [
        (
            os.path.relpath(file["path"], folder) if folder else file["path"],
            f"{file['row_groups']:,}",
            f"{file['rows']:,}",
            bytes_text(file["stored_bytes"]),
        )
        for file in shown
    ]
    lines = _table(
        (f"file in {folder}" if folder else "file", "row groups", "rows", "stored"), rows, width, left=1
    )
    more = len(inspection.per_file) - len(shown)
    return [*lines, f"and {_count(more, 'more file')}"] if more else lines


def _common_folder(paths: Sequence[str]) -> str | None:
    """The folder that all of them are in; None where some paths are relative and others not."""
    try:
        return os.path.commonpath([os.path.dirname(path) for path in paths]) or "."
    except ValueError:
        return None


def _column_lines(columns: list[ColumnFigures], width: int) -> list[str]:
    lines = _runs(columns)
    shown = lines[:_MOST_LINES]
    table = _table(("column", "type", "nulls", "in a batch of n", "read by"), shown, width, left=5)
    more = len(lines) - len(shown)
    return [*table, f"and {_count(more, 'more line')}: --json lists every column"] if more else table


def _runs(columns: list[ColumnFigures]) -> list[_Line]:
    """A line a column; columns alike whose names count on from each other share one."""
    lines: list[_Line] = []
    begin = 0
    while begin < len(columns):
        line, pattern = _line(columns[begin]), _pattern(columns[begin].name)
        end = begin + 1
        while (
            end < len(columns)
            and pattern
            and _pattern(columns[end].name) == pattern
            and _line(columns[end])[1:] == line[1:]
        ):
            end += 1
        if end - begin >= _LEAST_RUN:
            lines.append(
                line._replace(name=f"{columns[begin].name} .. {columns[end - 1].name} ({end - begin:,})")
            )
        else:
            lines += [_line(column) for column in columns[begin:end]]
        begin = end
    return lines


def _pattern(name: str) -> tuple[str, str] | None:
    """What stands before and after the last number of a name; None where there is no number."""
    match = _NUMBERED.fullmatch(name)
    return (match[1], match[2]) if match else None


def _line(column: ColumnFigures) -> _Line:
    becomes = "refused"
    if not column.refused:
        becomes = str(column.arrays[0]) if len(column.arrays) == 1 else f"{len(column.arrays)} entries"
    kind = _FIXED_LIST.sub(r"\1[\2]", column.type)
    return _Line(column.name, kind, "yes" if column.nullable else "no", becomes, column.read_by or "-")


def _reasons(reasons: Sequence[tuple[str, str]], count: int, width: int) -> list[str]:
    if not reasons:
        return []
    lines = []
    for what, reason in reasons[:_MOST_REASONS]:
        text = " ".join(f"{what}: {reason}".split())
        lines += textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)
    if count > _MOST_REASONS:
        lines.append(f"and {count - _MOST_REASONS:,} more: --json lists them")
    return ["\n".join(lines)]


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int, left: int) -> list[str]:
    """Lines of cells, the first `left` of them flush left; the widest are shortened until a line fits width."""
    cells = [list(titles), *([_printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(titles))]
    while sum(widths) + 2 * (len(widths) - 1) > width:
        widths[widths.index(max(widths))] -= 1
    lines = []
    for row in cells:
        shown = [_shorten(cell, size) for cell, size in zip(row, widths, strict=True)]
        lines.append(
            "  ".join(
                cell.ljust(size) if place < left else cell.rjust(size)
                for place, (cell, size) in enumerate(zip(shown, widths, strict=True))
            ).rstrip()
        )
    return lines


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _shorten(text: str, size: int) -> str:
    """Without its middle where it is too long."""
    if len(text) <= size:
        return text
    kept = max(0, size - 3)
    return f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
