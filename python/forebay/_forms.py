"""What a batch looks like in Python: the keys of its dict and the form of each value, or how a pyarrow batch is made.

A form tells the extension what to make of a part of a column (python/forebay/_ext/forms.c):

    dtype                          an array of shape (rows,)
    (dtype, shape)                 an array of shape (rows, *shape)
    None                           an ArrowColumn
    ("list", form)                 (values, offsets)
    ("dictionary", form)           (codes, dictionary)
    ("struct", ((name, form), ...))   a dict: a struct inside a list; the others become keys of their own
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ._columns import unknown_column_message
from ._numpy import element_dtype
from ._types import Storage, batch_schema, decoded, fields_of, is_binary, is_list, refuse, storage_of

Form = Any
Output = tuple[str, int, tuple[int, ...], Form]


@dataclass(slots=True)
class Forms:
    """How batches are stored and shown."""

    schema: pa.Schema
    outputs: list[Output] = field(default_factory=list)
    column_options: list[tuple[int, bool, bool, int]] = field(default_factory=list)
    convert: Callable[[Any], Any] | None = None


def make_forms(schema: pa.Schema, batch_format: str, dtypes: Mapping[str, str]) -> Forms:
    """How batches of that format look. Raises UnsupportedError by column and type, ValueError for a wrong dtypes."""
    for name in dtypes:
        if name not in schema.names:
            raise ValueError(unknown_column_message(name, schema.names, "dtypes: the selection"))
    if batch_format == "numpy":
        return _numpy_forms(schema, dtypes)
    if batch_format == "pandas" and importlib.util.find_spec("pandas") is None:
        raise ImportError('batch_format="pandas" needs pandas: pip install "forebay[pandas]"')
    stored = batch_schema(schema)
    for name, kind in zip(schema.names, schema.types, strict=True):
        _check_supported(name, kind)
    if batch_format == "pyarrow":
        return Forms(stored, convert=_ArrowBatches(stored))
    for column in stored:
        _check_pandas(column)
    return Forms(stored, convert=_PandasBatches(stored))


# ---- numpy ----


def _numpy_forms(schema: pa.Schema, dtypes: Mapping[str, str]) -> Forms:
    forms = Forms(schema)
    for number, column in enumerate(schema):
        storage = storage_of(column.name, column)
        is_dictionary = dtypes.get(column.name) == "dictionary"
        if is_dictionary:
            values = decoded(storage.kind)
            if storage.shape or pa.types.is_nested(values) or pa.types.is_null(values):
                raise refuse(column.name, column.type, "it has no values that a dictionary could hold")
            form = ("dictionary", _form(column.name, Storage(values)))
            forms.outputs.append((column.name, number, (), form))
        else:
            _add_outputs(forms.outputs, column.name, number, (), storage)
        if is_dictionary or storage.is_bool8 or storage.list_size:
            forms.column_options.append((number, is_dictionary, storage.is_bool8, storage.list_size))
    return forms


def _add_outputs(
    outputs: list[Output], name: str, number: int, path: tuple[int, ...], storage: Storage
) -> None:
    """The keys of a column: one, or one for each field of a struct, with a dot between the names."""
    kind = decoded(storage.kind)
    if not pa.types.is_struct(kind) or kind is not storage.kind:
        outputs.append((name, number, path, _form(name, storage)))
        return
    for place, part in enumerate(fields_of(kind)):
        dotted = f"{name}.{part.name}"
        inner = storage_of(dotted, part)
        _add_outputs(outputs, dotted, number, (*path, place), Storage(inner.kind))


def _form(name: str, storage: Storage) -> Form:
    kind = decoded(storage.kind)
    if isinstance(kind, pa.BaseExtensionType):
        kind = decoded(kind.storage_type)
    if storage.is_bool8:
        return element_dtype(pa.bool_())
    if storage.shape:
        return element_dtype(_tensor_element(name, kind)), storage.shape
    if pa.types.is_map(kind):
        return "list", ("struct", tuple((part.name, _child_form(name, part)) for part in fields_of(kind)))
    if is_list(kind):
        return "list", _child_form(name, kind.value_field)
    if pa.types.is_fixed_size_list(kind):
        return _fixed_list_form(name, kind)
    if pa.types.is_struct(kind):
        fields = ((part.name, _child_form(f"{name}.{part.name}", part)) for part in fields_of(kind))
        return "struct", tuple(fields)
    try:
        return element_dtype(kind)
    except TypeError:
        raise refuse(name, kind) from None


def _child_form(name: str, part: pa.Field) -> Form:
    return _form(name, Storage(storage_of(name, part).kind))


def _tensor_element(name: str, kind: pa.DataType) -> pa.DataType:
    while is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    if element_dtype(kind) is None:
        raise refuse(name, kind, "a tensor needs elements of fixed width")
    return kind


def _fixed_list_form(name: str, kind: pa.DataType) -> Form:
    """An array with a dimension for each level where the elements are plain, else (values, offsets)."""
    shape = []
    inner = kind
    while pa.types.is_fixed_size_list(inner):
        shape.append(inner.list_size)
        inner = inner.value_type
        if isinstance(inner, pa.BaseExtensionType):
            inner = inner.storage_type
    is_plain = not (pa.types.is_nested(inner) or is_binary(inner)) and decoded(inner) is inner
    if not is_plain:
        return "list", _child_form(name, kind.value_field)
    dtype = _form(name, Storage(inner))
    return ("list", None) if dtype is None else (dtype, tuple(shape))


# ---- pyarrow and pandas ----


def _check_supported(name: str, kind: pa.DataType) -> None:
    """Refuses what the core would refuse too, in the words of pyarrow's types."""
    kind = decoded(kind)
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_union(kind) or pa.types.is_interval(kind):
        raise refuse(name, kind)
    if pa.types.is_struct(kind) or pa.types.is_map(kind):
        for part in fields_of(kind):
            _check_supported(f"{name}.{part.name}", part.type)
    elif is_list(kind) or pa.types.is_fixed_size_list(kind):
        _check_supported(name, kind.value_type)


def _check_pandas(column: pa.Field) -> None:
    """Refuses what pyarrow does not make pandas' own, which its columns of no rows say as well."""
    try:
        pa.schema([column]).empty_table().to_pandas(ignore_metadata=True, use_threads=False)
    except pa.ArrowNotImplementedError as error:
        why = 'pyarrow does not convert it to pandas, but batch_format="pyarrow" has it'
        raise refuse(column.name, column.type, why) from error


class _Exported:
    """An Arrow array with the schema that the loader shows: extension types, time zones and metadata in place."""

    __slots__ = ("_capsule", "_schema")

    def __init__(self, schema: pa.Schema, capsule: Any) -> None:
        self._schema = schema
        self._capsule = capsule

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]:
        return self._schema.__arrow_c_schema__(), self._capsule


class _ArrowBatches:
    """Makes a RecordBatch over the memory of a batch."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema

    def __call__(self, capsule: Any) -> pa.RecordBatch:
        return pa.record_batch(_Exported(self._schema, capsule))


class _PandasBatches(_ArrowBatches):
    """Makes a DataFrame; what pandas copies for it is outside of the limit."""

    def __call__(self, capsule: Any) -> Any:
        # What pandas noted of the whole table, its index say, does not hold for a batch of it.
        return super().__call__(capsule).to_pandas(ignore_metadata=True, use_threads=False)
