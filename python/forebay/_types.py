"""What Arrow types become in a batch: extension types seen through, and the types of a pyarrow batch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from ._errors import UnsupportedError

_RAY_TENSORS = ("ray.data.arrow_tensor", "ray.data.arrow_tensor_v2")


@dataclass(frozen=True, slots=True)
class Storage:
    """A column's type as the core sees it, and what its extension type says beyond that."""

    kind: pa.DataType
    shape: tuple[int, ...] | None = None  # a tensor's; the storage is a list of its elements
    is_bool8: bool = False

    @property
    def list_size(self) -> int:
        """Elements of each row where the storage is a list without a fixed size, else 0."""
        is_list = pa.types.is_list(self.kind) or pa.types.is_large_list(self.kind)
        return math.prod(self.shape) if self.shape and is_list else 0


def refuse(name: str, kind: pa.DataType, why: str = "") -> UnsupportedError:
    """What to raise for a column that cannot be in a batch; name is dotted for the field of a struct."""
    reason = f": {why}" if why else ""
    return UnsupportedError(
        f"column {name!r} has type {kind}, which cannot be a batch column{reason}: leave it out with columns="
    )


def storage_of(name: str, field: pa.Field) -> Storage:
    """The storage of a field. Raises UnsupportedError for a tensor whose elements lie in another order."""
    kind = field.type
    if isinstance(kind, pa.FixedShapeTensorType):
        permutation = kind.permutation
        if permutation is not None and list(permutation) != sorted(permutation):
            raise refuse(name, kind, "its dimensions are permuted")
        return Storage(kind.storage_type, tuple(kind.shape))
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == "arrow.bool8":
            return Storage(kind.storage_type, is_bool8=True)
        serialized = kind.__arrow_ext_serialize__() if kind.extension_name in _RAY_TENSORS else b""
        return Storage(kind.storage_type, _ray_shape(kind.extension_name.encode(), serialized))
    # Of a type that nobody has registered with pyarrow, Ray's where it is not imported, the name is all there is.
    metadata = field.metadata or {}
    extension = metadata.get(b"ARROW:extension:name", b"")
    return Storage(kind, _ray_shape(extension, metadata.get(b"ARROW:extension:metadata", b"")))


def _ray_shape(extension: bytes, serialized: bytes) -> tuple[int, ...] | None:
    if extension.decode(errors="replace") not in _RAY_TENSORS:
        return None
    try:
        shape = json.loads(serialized)
    except ValueError:
        return None  # the list of its elements is what is left
    is_shape = isinstance(shape, list) and shape and all(type(size) is int and size > 0 for size in shape)
    return tuple(shape) if is_shape else None


def is_list(kind: pa.DataType) -> bool:
    """A list of any size: list, large list, their views, map."""
    types = pa.types
    return bool(
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
        or types.is_map(kind)
    )


def is_binary(kind: pa.DataType) -> bool:
    """Strings and binary of any layout but fixed size."""
    types = pa.types
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
    )


def text_family(kind: pa.DataType) -> pa.DataType | None:
    """string for strings of any layout, also behind a dictionary; binary for binary; None for all else."""
    values = decoded(kind)
    if not is_binary(values):
        return None
    types = pa.types
    is_text = types.is_string(values) or types.is_large_string(values) or types.is_string_view(values)
    return pa.string() if is_text else pa.binary()


def decoded(kind: pa.DataType) -> pa.DataType:
    """The type of the values of a dictionary or run-end encoded type; the type itself where it is neither."""
    while pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    return kind


def fields_of(kind: pa.DataType) -> Iterator[pa.Field]:
    """The fields of a struct, or a map's entries as one."""
    if pa.types.is_map(kind):
        return iter((kind.key_field, kind.item_field))
    return (kind.field(number) for number in range(kind.num_fields))


# ---- batches of pyarrow ----


def batch_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of pyarrow batches: the source's, with views made plain, run-end encoded columns decoded, and
    dictionaries with int32 indices where the core keeps them."""
    return pa.schema([field.with_type(_batch_type(field.type, is_column=True)) for field in schema])


def _batch_type(kind: pa.DataType, *, is_column: bool = False) -> pa.DataType:
    types = pa.types
    if types.is_dictionary(kind) and is_column:
        values = _batch_type(kind.value_type)
        is_plain = is_binary(values) or not (types.is_nested(values) or types.is_null(values))
        return pa.dictionary(pa.int32(), values) if is_plain else values
    kind = decoded(kind)
    if isinstance(kind, pa.BaseExtensionType):
        storage = _batch_type(kind.storage_type)
        return kind if storage == kind.storage_type else storage
    if types.is_string_view(kind):
        return pa.string()
    if types.is_binary_view(kind):
        return pa.binary()
    if types.is_map(kind):
        return pa.map_(
            _batch_field(kind.key_field), _batch_field(kind.item_field), keys_sorted=kind.keys_sorted
        )
    if types.is_struct(kind):
        return pa.struct([_batch_field(field) for field in fields_of(kind)])
    if types.is_fixed_size_list(kind):
        return pa.list_(_batch_field(kind.value_field), kind.list_size)
    if types.is_list(kind) or types.is_list_view(kind):
        return pa.list_(_batch_field(kind.value_field))
    if types.is_large_list(kind) or types.is_large_list_view(kind):
        return pa.large_list(_batch_field(kind.value_field))
    return kind


def _batch_field(field: pa.Field) -> pa.Field:
    return field.with_type(_batch_type(field.type))
