"""Random columns of nested types, and a plain model of what a batch shows of them."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

import forebay

PLAIN = [
    pa.int8(),
    pa.uint16(),
    pa.int32(),
    pa.int64(),
    pa.float16(),
    pa.float32(),
    pa.float64(),
    pa.bool_(),
    pa.date32(),
    pa.timestamp("us", "UTC"),
    pa.duration("ms"),
    pa.time32("s"),
]
DTYPELESS = [
    pa.string(),
    pa.large_string(),
    pa.binary(),
    pa.string_view(),
    pa.binary_view(),
    pa.decimal128(9, 2),
    pa.decimal256(40, 3),
    pa.decimal32(7, 1),
    pa.decimal64(15, 2),
    pa.binary(3),
]
LEAVES = PLAIN + DTYPELESS + [pa.null()]


def random_type(random: np.random.Generator, depth: int) -> pa.DataType:
    """A type of at most that many levels above its leaves."""
    if depth == 0 or random.random() < 0.25:
        return LEAVES[random.integers(len(LEAVES))]
    inner = random_type(random, depth - 1)
    plain = LEAVES[random.integers(len(LEAVES) - 1)]
    return [
        lambda: pa.list_(inner),
        lambda: pa.large_list(inner),
        lambda: pa.list_view(inner),
        lambda: pa.large_list_view(inner),
        lambda: pa.list_(inner, int(random.integers(1, 4))),
        lambda: pa.struct([("x", inner), ("y", random_type(random, depth - 1))]),
        lambda: pa.map_(pa.string(), inner),
        lambda: pa.dictionary([pa.int8(), pa.uint32(), pa.int64()][random.integers(3)], plain),
        lambda: pa.run_end_encoded([pa.int16(), pa.int32(), pa.int64()][random.integers(3)], plain),
    ][random.integers(9)]()


def random_value(kind: pa.DataType, random: np.random.Generator, null_share: float) -> Any:
    """A value of that type as Python has it, None for null."""
    types = pa.types
    if random.random() < null_share or types.is_null(kind):
        return None
    small = int(random.integers(0, 100))
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return random_value(kind.value_type, random, 0)
    if types.is_map(kind):
        return [
            (f"k{number}", random_value(kind.item_type, random, null_share))
            for number in range(random.integers(0, 4))
        ]
    if types.is_fixed_size_list(kind):
        return [random_value(kind.value_type, random, null_share) for _ in range(kind.list_size)]
    if types.is_nested(kind) and not types.is_struct(kind):
        return [random_value(kind.value_type, random, null_share) for _ in range(random.integers(0, 5))]
    if types.is_struct(kind):
        return {part.name: random_value(part.type, random, null_share) for part in kind}
    if types.is_boolean(kind):
        return small % 2 == 0
    if types.is_floating(kind):
        return small / 4
    if types.is_date(kind):
        return datetime.date(2000, 1, 1) + datetime.timedelta(days=small)
    if types.is_timestamp(kind):
        return datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=small)
    if types.is_duration(kind):
        return datetime.timedelta(milliseconds=small)
    if types.is_time(kind):
        return datetime.time(1, 2, small % 60)
    if types.is_decimal(kind):
        return decimal.Decimal(small) / 10
    if types.is_fixed_size_binary(kind):
        return bytes([small] * kind.byte_width)
    if kind in (pa.binary(), pa.binary_view()):
        return bytes([small] * (small % 20))
    if types.is_integer(kind):
        return small
    return "äb" * (small % 11)


def make_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """An Arrow array of those values; pyarrow makes dictionaries and runs from plain ones only."""
    types = pa.types
    if types.is_dictionary(kind):
        plain = make_array(values, kind.value_type)
        if types.is_null(kind.value_type):
            return pa.DictionaryArray.from_arrays(pa.nulls(len(values), kind.index_type), plain[:0])
        distinct = list(dict.fromkeys(value for value in values if value is not None))
        places = {value: place for place, value in enumerate(distinct)}
        codes = pa.array([places.get(value) for value in values], kind.index_type)
        return pa.DictionaryArray.from_arrays(codes, make_array(distinct, kind.value_type))
    if types.is_run_end_encoded(kind):
        ends: list[int] = []
        runs: list[Any] = []
        for row, value in enumerate(values):
            if runs and runs[-1] == value:
                ends[-1] = row + 1
            else:
                ends.append(row + 1)
                runs.append(value)
        return pa.RunEndEncodedArray.from_arrays(
            pa.array(ends, kind.run_end_type), make_array(runs, kind.value_type), type=kind
        )
    mask = pa.array([value is None for value in values], pa.bool_())
    if types.is_struct(kind):
        parts = [
            make_array([None if value is None else value[part.name] for value in values], part.type)
            for part in kind
        ]
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=mask)
    if types.is_fixed_size_list(kind):
        flat = [
            item for value in values for item in (value if value is not None else [None] * kind.list_size)
        ]
        return pa.FixedSizeListArray.from_arrays(make_array(flat, kind.value_type), type=kind, mask=mask)
    if types.is_map(kind):
        pairs = [pair for value in values for pair in value or ()]
        keys = make_array([key for key, _ in pairs], kind.key_type)
        items = make_array([item for _, item in pairs], kind.item_type)
        return pa.MapArray.from_arrays(_offsets(values), keys, items, type=kind)
    if types.is_nested(kind):
        flat = make_array([item for value in values for item in value or ()], kind.value_type)
        if types.is_list(kind):
            return pa.ListArray.from_arrays(_offsets(values), flat, type=kind)
        if types.is_large_list(kind):
            return pa.LargeListArray.from_arrays(_offsets(values, pa.int64()), flat, type=kind)
        is_large = types.is_large_list_view(kind)
        width = pa.int64() if is_large else pa.int32()
        offsets = _offsets(values, width).fill_null(0).to_pylist()[:-1]
        sizes = pa.array([len(value or ()) for value in values], width)
        made = pa.LargeListViewArray if is_large else pa.ListViewArray
        return made.from_arrays(pa.array(offsets, width), sizes, flat, type=kind, mask=mask)
    return pa.array(values, kind)


def _offsets(values: Sequence[Any], width: pa.DataType | None = None) -> pa.Array:
    """Offsets of lists, null where the list is null."""
    offsets: list[int | None] = []
    at = 0
    for value in values:
        offsets.append(None if value is None else at)
        at += len(value or ())
    return pa.array([*offsets, at], width or pa.int32())


@dataclass
class Nested:
    """A column: its type and its rows as Python has them."""

    kind: pa.DataType
    values: list[Any]

    def array(self, begin: int, end: int, padding: int) -> pa.Array:
        """Rows of it, as a slice of an array with so many rows more at both ends."""
        rows = self.values[begin:end]
        padded = [*(self.values[:padding]), *rows, *(self.values[:padding])]
        before = len(self.values[:padding])
        return make_array(padded, self.kind).slice(before, len(rows))


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Of dictionaries and runs, what they hold."""
    while pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        kind = kind.value_type
    return kind


def _fill(kind: pa.DataType) -> Any:
    types = pa.types
    if types.is_decimal(kind):
        return decimal.Decimal(0)
    if types.is_fixed_size_binary(kind):
        return bytes(kind.byte_width)
    return b"" if kind in (pa.binary(), pa.binary_view()) else ""


def _dtype(kind: pa.DataType) -> np.dtype[Any] | None:
    if kind in DTYPELESS:
        return None
    if pa.types.is_null(kind):
        return np.dtype(np.float64)
    if pa.types.is_timestamp(kind):
        return np.dtype("datetime64[us]")
    if pa.types.is_time(kind):
        return np.dtype("timedelta64[s]")
    if pa.types.is_date(kind):
        return np.dtype("datetime64[D]")
    if pa.types.is_duration(kind):
        return np.dtype("timedelta64[ms]")
    return np.dtype(kind.to_pandas_dtype())


def _element(value: Any, dtype: np.dtype[Any]) -> Any:
    if value is None:
        return {"f": np.nan, "M": np.datetime64("NaT"), "m": np.timedelta64("NaT")}.get(dtype.kind, 0)
    if isinstance(value, datetime.datetime):
        value = value.replace(tzinfo=None)
    if isinstance(value, datetime.time):
        value = datetime.timedelta(hours=value.hour, minutes=value.minute, seconds=value.second)
    return value


def assert_shows(shown: Any, kind: pa.DataType, values: list[Any], *, nulls_stay: bool) -> None:
    """What a numpy batch shows of values of that type. nulls_stay: strings are None where null, not filled."""
    types = pa.types
    kind = plain_type(kind)
    if types.is_fixed_size_list(kind):
        sizes = []
        inner = kind
        flat = values
        while types.is_fixed_size_list(inner):
            sizes.append(inner.list_size)
            flat = [
                item for value in flat for item in (value if value is not None else [None] * inner.list_size)
            ]
            inner = inner.value_type
        if not types.is_nested(inner) and plain_type(inner) is inner and _dtype(inner) is not None:
            assert isinstance(shown, np.ndarray) and shown.shape == (len(values), *sizes)
            assert_shows(shown.reshape(-1), inner, flat, nulls_stay=False)
            return
        if types.is_nested(inner) or plain_type(inner) is not inner:
            flat = [
                item for value in values for item in (value if value is not None else [None] * kind.list_size)
            ]
            inner = kind.value_type
        got, offsets = shown
        assert np.array_equal(offsets, np.arange(len(values) + 1) * (len(flat) // max(1, len(values))))
        assert_shows(got, inner, flat, nulls_stay=False)
    elif types.is_map(kind) or (types.is_nested(kind) and not types.is_struct(kind)):
        got, offsets = shown
        lengths = [len(value or ()) for value in values]
        assert np.array_equal(offsets, np.concatenate([[0], np.cumsum(lengths)]))
        flat = [item for value in values for item in value or ()]
        if types.is_map(kind):
            assert list(got) == [kind.key_field.name, kind.item_field.name]
            assert_shows(got[kind.key_field.name], kind.key_type, [key for key, _ in flat], nulls_stay=False)
            assert_shows(
                got[kind.item_field.name], kind.item_type, [item for _, item in flat], nulls_stay=False
            )
        else:
            assert_shows(got, kind.value_type, flat, nulls_stay=False)
    elif types.is_struct(kind):
        for part in kind:
            inside = [None if value is None else value[part.name] for value in values]
            assert_shows(shown[part.name], part.type, inside, nulls_stay=False)
    elif (dtype := _dtype(kind)) is None:
        assert isinstance(shown, forebay.ArrowColumn)
        expected = values if nulls_stay else [_fill(kind) if value is None else value for value in values]
        assert shown.to_pylist() == expected
    else:
        assert isinstance(shown, np.ndarray) and shown.dtype == dtype and shown.flags.c_contiguous
        assert shown.flags.writeable
        expected = np.array([_element(value, dtype) for value in values], dtype)
        assert np.array_equal(shown, expected, equal_nan=dtype.kind in "fmM")


def assert_batch_shows(
    batch: dict[str, Any], name: str, kind: pa.DataType, values: list[Any], mask: bool
) -> None:
    """A column of a numpy batch and, under null_policy="mask", its validity."""
    if pa.types.is_struct(kind):
        for part in kind:
            inside = [None if value is None else value[part.name] for value in values]
            assert_batch_shows(batch, f"{name}.{part.name}", part.type, inside, mask)
        return
    assert_shows(batch[name], kind, values, nulls_stay=mask)
    if mask:
        assert batch[f"{name}.valid"].tolist() == [value is not None for value in values]


def has_null(kind: pa.DataType, value: Any) -> bool:
    """Whether a value, or anything in it, is null."""
    kind = plain_type(kind)
    if value is None:
        return True
    if pa.types.is_map(kind):
        return any(item is None or has_null(kind.item_type, item) for _, item in value)
    if pa.types.is_struct(kind):
        return any(has_null(part.type, value[part.name]) for part in kind)
    if pa.types.is_nested(kind):
        return any(has_null(kind.value_type, item) for item in value)
    return False
