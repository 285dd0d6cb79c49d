"""How Arrow types look in a numpy batch: the dtype of each column, and the bytes of a value that stands for nulls."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from ._columns import unknown_column_message
from ._errors import UnsupportedError


def batch_dtypes(schema: pa.Schema) -> list[np.dtype[Any] | None]:
    """The dtype of each column's elements in a batch; None for string and binary columns.

    A fixed-size list has the dtype of its elements. Raises UnsupportedError naming column and type for a type that
    cannot be a batch column: extension types, of which the core sees the storage only. It refuses all others itself.
    """
    dtypes = []
    for field in schema:
        try:
            dtypes.append(element_dtype(element_type(field.type)))
        except TypeError:
            raise UnsupportedError(
                f"column {field.name!r} has type {field.type}, which cannot be a batch column: "
                "leave it out with columns="
            ) from None
    return dtypes


def element_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column's elements: a fixed-size list's value type, else the type itself."""
    return kind.value_type if pa.types.is_fixed_size_list(kind) else kind


def element_dtype(kind: pa.DataType) -> np.dtype[Any] | None:
    """The numpy dtype of one element as a batch stores it; None for string and binary."""
    types = pa.types
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
    if (
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
    ):
        return None
    raise TypeError(f"{kind} has no numpy form")


def fill_bytes(schema: pa.Schema, fill_value: Mapping[str, Any]) -> list[tuple[int, bytes]]:
    """(column, bytes) for each entry of fill_value: one element as the batch stores it, or the bytes of a string.

    Raises ValueError for a column that is not among the chosen, TypeError or ValueError for a value that the column's
    type cannot hold exactly (a float for an integer column, say).
    """
    fills = []
    for name, value in fill_value.items():
        column = schema.get_field_index(name)
        if column < 0:
            raise ValueError(unknown_column_message(name, schema.names, "fill_value: the chosen columns"))
        fills.append((column, _element_bytes(name, element_type(schema.field(column).type), value)))
    return fills


def _element_bytes(name: str, kind: pa.DataType, value: Any) -> bytes:
    dtype = element_dtype(kind)
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


def _string_bytes(name: str, kind: pa.DataType, value: Any) -> bytes:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        if isinstance(value, str):
            try:
                return value.encode()
            except UnicodeEncodeError as error:
                raise ValueError(f"fill_value[{name!r}] cannot be written as UTF-8: {error}") from None
    elif isinstance(value, (bytes, bytearray, memoryview)):
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
