"""How Arrow types look in a numpy batch: the dtype of each column, and the bytes of a value that stands for nulls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from ._columns import unknown_column_message
from ._types import decoded, fields_of, is_binary, is_list, storage_of


def element_dtype(kind: pa.DataType) -> np.dtype[Any] | None:
    """The numpy dtype of one element as a batch stores it; None for strings, binary and decimals.

    Raises TypeError for a type that is no plain element.
    """
    types = pa.types
    if types.is_null(kind):
        return np.dtype(np.float64)
    if types.is_boolean(kind):
        return np.dtype(np.bool_)
    if types.is_integer(kind) or types.is_floating(kind):
        return np.dtype(kind.to_pandas_dtype())
    if types.is_date32(kind):
        return np.dtype("datetime64[D]")
    if types.is_date64(kind):
        return np.dtype("datetime64[ms]")
    if types.is_timestamp(kind):
        return np.dtype(f"datetime64[{kind.unit}]")
    if types.is_duration(kind) or types.is_time(kind):
        return np.dtype(f"timedelta64[{kind.unit}]")
    if is_binary(kind) or types.is_fixed_size_binary(kind) or types.is_decimal(kind):
        return None
    raise TypeError(f"{kind} has no numpy form")


def fill_bytes(schema: pa.Schema, fill_value: Mapping[str, Any]) -> list[tuple[int, int, bytes]]:
    """(column, leaf, bytes) for each entry of fill_value: one element as the batch stores it, or the bytes of a string.

    A key is the name of a column, or the dotted name of a field of a struct; of a list it is the elements' value.
    Raises ValueError for a column that is not among the chosen, TypeError or ValueError for a value that the column's
    type cannot hold exactly (a float for an integer column, say).
    """
    fills = []
    for name, value in fill_value.items():
        column, leaf, kind = _fill_target(schema, name)
        fills.append((column, leaf, _element_bytes(name, kind, value)))
    return fills


def _fill_target(schema: pa.Schema, name: str) -> tuple[int, int, pa.DataType]:
    """The column and leaf that a key of fill_value names, and the type of what is filled."""
    leaves = {
        dotted: (number, place, kind)
        for number, column in enumerate(schema)
        for place, (dotted, kind) in enumerate(_leaves(column.name, column))
    }
    if name not in leaves:
        raise ValueError(unknown_column_message(name, list(leaves), "fill_value: the selection"))
    number, place, kind = leaves[name]
    element = kind
    while is_list(element) or pa.types.is_fixed_size_list(element):
        if pa.types.is_map(element):
            break
        element = decoded(element.value_type)
    if pa.types.is_nested(element) or isinstance(element, pa.BaseExtensionType):
        raise ValueError(f"fill_value[{name!r}]: a column of {kind} cannot have one")
    return number, place, element


def _leaves(name: str, column: pa.Field) -> Iterator[tuple[str, pa.DataType]]:
    """The keys that a column becomes in a batch, with their types."""
    storage = storage_of(name, column)
    if pa.types.is_struct(storage.kind):
        for part in fields_of(storage.kind):
            yield from _leaves(f"{name}.{part.name}", part)
    else:
        yield name, pa.bool_() if storage.is_bool8 else decoded(storage.kind)


def _element_bytes(name: str, kind: pa.DataType, value: Any) -> bytes:
    if pa.types.is_null(kind):
        kind = pa.float64()
    dtype = element_dtype(kind)
    if pa.types.is_decimal(kind):
        return _decimal_bytes(name, kind, value)
    if dtype is None:
        return _string_bytes(name, kind, value)
    if dtype.kind in "mM":
        return _time_bytes(name, kind, dtype, value)
    if isinstance(value, (np.bool_, np.number)):
        value = value.item()
    if value is None:
        raise ValueError(f"fill_value[{name!r}] must not be null")
    # pyarrow would take a bool for a number, and cut a float down to an int.
    is_misfit = not isinstance(value, (int, float)) or isinstance(value, bool) != pa.types.is_boolean(kind)
    if is_misfit or (pa.types.is_integer(kind) and isinstance(value, float)):
        raise _misfit(name, kind, value)
    try:
        element = np.array(pa.scalar(value, type=kind).as_py(), dtype)
    except (pa.ArrowException, OverflowError) as error:
        raise ValueError(f"fill_value[{name!r}] cannot be {value!r} in a column of {kind}: {error}") from None
    if np.isinf(element) and not np.isinf(value):
        raise ValueError(f"fill_value[{name!r}] cannot be {value!r} in a column of {kind}: it is too large")
    return element.tobytes()


def _decimal_bytes(name: str, kind: pa.DataType, value: Any) -> bytes:
    if isinstance(value, bool) or not isinstance(value, (Decimal, int)):
        raise _misfit(name, kind, value)
    try:
        buffer = pa.array([Decimal(value)], type=kind).buffers()[1]
    except (pa.ArrowException, ArithmeticError) as error:
        raise ValueError(f"fill_value[{name!r}] cannot be {value!r} in a column of {kind}: {error}") from None
    return bytes(buffer.to_pybytes()[: kind.byte_width])


def _string_bytes(name: str, kind: pa.DataType, value: Any) -> bytes:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        if isinstance(value, str):
            try:
                return value.encode()
            except UnicodeEncodeError as error:
                raise ValueError(f"fill_value[{name!r}] cannot be written as UTF-8: {error}") from None
    elif isinstance(value, (bytes, bytearray, memoryview)):
        if pa.types.is_fixed_size_binary(kind) and len(value) != kind.byte_width:
            raise ValueError(f"fill_value[{name!r}] must have {kind.byte_width} bytes, not {len(value)}")
        return bytes(value)
    raise _misfit(name, kind, value)


def _time_bytes(name: str, kind: pa.DataType, dtype: np.dtype[Any], value: Any) -> bytes:
    """NaT, or an instant or span of time that the column's unit expresses exactly."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        if not pa.types.is_timestamp(kind) or kind.tz is None:
            raise ValueError(f"fill_value[{name!r}] cannot have a time zone in a column of {kind}")
        value = value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, date):  # a datetime is one too
        value = np.datetime64(value)
    elif isinstance(value, time) and value.tzinfo is None:
        value = np.timedelta64(datetime.combine(date.min, value) - datetime.min)
    elif isinstance(value, timedelta):
        value = np.timedelta64(value)
    if not isinstance(value, (np.datetime64, np.timedelta64)):
        raise _misfit(name, kind, value)
    if np.isnat(value):
        return np.array("NaT", dtype).tobytes()
    if dtype.kind != value.dtype.kind or not np.can_cast(value.dtype, dtype, "same_kind"):
        raise _misfit(name, kind, value)  # of other kinds: a number of months is no number of seconds
    # numpy wraps what is out of range around, and cuts off what is too fine: only there and back tells.
    stored = value.astype(dtype)
    is_exact = stored.astype(value.dtype) == value
    if not is_exact or (pa.types.is_date64(kind) and stored != stored.astype("datetime64[D]")):
        raise ValueError(
            f"fill_value[{name!r}] cannot be {value!r} in a column of {kind}: its unit cannot express that"
        )
    return stored.tobytes()


def _misfit(name: str, kind: pa.DataType, value: Any) -> TypeError:
    return TypeError(f"fill_value[{name!r}] must fit a column of {kind}, not be {type(value).__name__}")
