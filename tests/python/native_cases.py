"""Tables for the tests of columns that the core decodes by itself, and their batches both ways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

import forebay
from forebay import _ext, _parquet_native
from forebay._parquet import ParquetProvider

ROWS = 1000
SNAPPY, ZSTD = 1, 6
HAS_SNAPPY, HAS_ZSTD = (_ext.parquet_codec_is_supported(codec) for codec in (SNAPPY, ZSTD))

INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
FLAT = [
    *INTEGERS,
    *(pa.float16(), pa.float32(), pa.float64(), pa.bool_()),
    *(pa.date32(), pa.time32("ms"), pa.time64("us"), pa.time64("ns")),
    *(pa.timestamp("ms"), pa.timestamp("us", "UTC"), pa.timestamp("ns", "Europe/Vienna")),
    *(pa.duration("s"), pa.duration("ns")),
]
LISTS = [
    *(pa.list_(pa.float32(), 8), pa.list_(pa.int64(), 1), pa.list_(pa.uint8(), 3), pa.list_(pa.bool_(), 5)),
    *(pa.list_(pa.float16(), 2), pa.list_(pa.date32(), 4), pa.list_(pa.timestamp("us"), 2)),
]
KINDS = [*FLAT, *LISTS]
NULLS = ("required", "none", "few", "many", "all")


def values_of(kind: pa.DataType, rows: int, nulls: str, random: np.random.Generator) -> pa.Array:
    """An array of that type; some of its values are equal to others, so that a dictionary is worth it."""
    share = {"required": 0.0, "none": 0.0, "few": 0.03, "many": 0.6, "all": 1.0}[nulls]
    mask = random.random(rows) < share
    if pa.types.is_fixed_size_list(kind):
        inner = values_of(kind.value_type, rows * kind.list_size, "none", random)
        return pa.FixedSizeListArray.from_arrays(inner, kind.list_size, mask=pa.array(mask))
    if pa.types.is_boolean(kind):
        return pa.array(random.random(rows) < 0.4, mask=mask)
    if pa.types.is_floating(kind):
        numbers = np.round(random.normal(0, 100, rows), 1).astype(kind.to_pandas_dtype())
        numbers[random.random(rows) < 0.05] = np.nan
        return pa.array(numbers, kind, mask=mask)
    if pa.types.is_integer(kind):
        limits = np.iinfo(kind.to_pandas_dtype())
        numbers = random.integers(limits.min, limits.max, rows, kind.to_pandas_dtype(), endpoint=True)
        repeated = np.resize(numbers[: max(1, rows // 20)], rows)
        return pa.array(np.where(random.random(rows) < 0.5, repeated, numbers), kind, mask=mask)
    numbers = random.integers(0, 86_399_000, rows)
    return pa.array(numbers, pa.int32() if kind.bit_width == 32 else pa.int64(), mask=mask).cast(kind)


def table_of(kinds: list[pa.DataType], rows: int, nulls: str, seed: int = 0) -> pa.Table:
    """Columns c0, c1, ... of those types."""
    random = np.random.default_rng(seed)
    fields = [pa.field(f"c{i}", kind, nullable=nulls != "required") for i, kind in enumerate(kinds)]
    return pa.table([values_of(kind, rows, nulls, random) for kind in kinds], schema=pa.schema(fields))


@contextmanager
def through(*, core: bool) -> Iterator[None]:
    """Whether the core decodes by itself what it can."""
    before = _parquet_native.ENABLED
    _parquet_native.ENABLED = core
    try:
        yield
    finally:
        _parquet_native.ENABLED = before


def native_columns(path: Any) -> list[bool]:
    paths = path if isinstance(path, list) else [path]
    return ParquetProvider([str(one) for one in paths], None, 1).native_columns


def batches_of(path: Any, *, core: bool, **arguments: Any) -> list[dict[str, Any]]:
    """The batches of an epoch in order, as what can be compared: bytes, so that a NaN equals itself."""
    arguments = {"batch_size": 300, "null_policy": "mask", "preserve_order": True, "timeout": 60} | arguments
    with through(core=core), forebay.Loader(path, **arguments) as loader:
        return [{name: comparable(values) for name, values in batch.items()} for batch in loader]


def comparable(values: Any) -> Any:
    if isinstance(values, np.ndarray):
        return str(values.dtype), values.shape, values.tobytes()
    if isinstance(values, tuple):  # lists
        return tuple(comparable(part) for part in values)
    if isinstance(values, dict):  # structs in lists
        return {name: comparable(part) for name, part in values.items()}
    return values.to_pylist()


def check_same(path: Any, **arguments: Any) -> None:
    """The core and pyarrow give the same batches."""
    assert batches_of(path, core=True, **arguments) == batches_of(path, core=False, **arguments)
