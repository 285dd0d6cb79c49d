"""Columns of every type that a batch can hold, made buffer by buffer, and the plain model of what a batch must show.

The model is what was put in (values and which of them are null) and never goes through Arrow. The arrays made from it
have what sources in the wild have: rows hidden before and after a slice, garbage under nulls, offsets that begin
anywhere, validity bitmaps that are there though nothing is null, and lists that begin inside their elements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

NULL_PATTERNS = ("no bitmap", "no nulls", "few", "many", "runs", "all")

_CHARACTERS = ["a", "B", "7", " ", "\n", "\0", "é", "ß", "東", "🐎"]
_BINARY_FORMATS = {pa.string(): 4, pa.binary(): 4, pa.large_string(): 8, pa.large_binary(): 8}


@dataclass(frozen=True)
class Kind:
    """A type of column.

    Attributes:
        type: in Arrow.
        stored: numpy dtype of Arrow's values buffer; None for bool (bits) and for strings and binary.
        dtype: of the elements of a batch's array; None for strings and binary.
        fill: what stands for a null, as an element of that array; "" or b"" for strings and binary.
        list_size: of a fixed-size list, None for any other type.
    """

    type: pa.DataType
    stored: np.dtype[Any] | None
    dtype: np.dtype[Any] | None
    fill: Any
    list_size: int | None = None

    @property
    def element(self) -> Kind:
        """The kind of a list's elements; the kind itself where it is no list."""
        if self.list_size is None:
            return self
        return Kind(self.type.value_type, self.stored, self.dtype, self.fill)

    @property
    def is_binary(self) -> bool:
        return self.dtype is None

    @property
    def is_text(self) -> bool:
        return self.type in (pa.string(), pa.large_string())

    def __str__(self) -> str:
        return str(self.type).replace(" ", "")


def _time_kind(kind: pa.DataType, dtype: str) -> Kind:
    fill = np.array("NaT", dtype)[()]
    return Kind(kind, np.dtype(f"i{kind.bit_width // 8}"), np.dtype(dtype), fill)


def _scalar_kinds() -> list[Kind]:
    numbers = [np.dtype(code) for code in "bBhHiIlLefd"]
    kinds = [
        Kind(pa.from_numpy_dtype(dtype), dtype, dtype, np.nan if dtype.kind == "f" else 0)
        for dtype in numbers
    ]
    kinds.append(Kind(pa.bool_(), None, np.dtype(np.bool_), False))
    kinds.append(_time_kind(pa.date32(), "M8[D]"))
    kinds.append(_time_kind(pa.date64(), "M8[ms]"))
    for unit in ("s", "ms", "us", "ns"):
        for zone in (None, "UTC", "Asia/Kathmandu", "-02:15"):
            kinds.append(_time_kind(pa.timestamp(unit, zone), f"M8[{unit}]"))
        kinds.append(_time_kind(pa.duration(unit), f"m8[{unit}]"))
        clock = pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
        kinds.append(_time_kind(clock, f"m8[{unit}]"))
    return kinds


SCALARS = _scalar_kinds()
LISTS = [
    Kind(pa.list_(kind.type, size), kind.stored, kind.dtype, kind.fill, size)
    for number, kind in enumerate(SCALARS)
    for size in ((1, 2, 3, 5)[number % 4],)
]
EMPTY_LISTS = [Kind(pa.list_(kind.type, 0), kind.stored, kind.dtype, kind.fill, 0) for kind in SCALARS[:3]]
BINARIES = [Kind(kind, None, None, "" if "string" in str(kind) else b"") for kind in _BINARY_FORMATS]
KINDS = SCALARS + LISTS + EMPTY_LISTS + BINARIES


@dataclass
class Column:
    """What a column holds.

    Attributes:
        values: an array of the kind's batch dtype, shape (rows,) or (rows, list size); for strings and binary a list
            of str or bytes. Where a row or an element is null, anything.
        valid: bool, shape (rows,).
        item_valid: bool, shape (rows, list size); None where the kind is no list.
    """

    kind: Kind
    values: Any
    valid: np.ndarray
    item_valid: np.ndarray | None = None

    def rows(self, begin: int, end: int) -> Column:
        """The column of these rows alone."""
        items = None if self.item_valid is None else self.item_valid[begin:end]
        return Column(self.kind, self.values[begin:end], self.valid[begin:end], items)

    def null_rows(self) -> set[int]:
        """The rows that null_policy="error" refuses: null, or with a null inside."""
        visible = self.valid if self.item_valid is None else self.valid & self.item_valid.all(axis=1)
        return set(np.flatnonzero(~visible).tolist())

    def filled(self, fill: Any) -> Any:
        """The values as null_policy="fill" shows them."""
        if self.kind.is_binary:
            return [value if ok else fill for value, ok in zip(self.values, self.valid, strict=True)]
        values = self.values.copy()
        if self.item_valid is not None:
            values[~self.item_valid] = fill
        values[~self.valid] = fill
        return values

    def masked(self, fill: Any) -> Any:
        """The values as null_policy="mask" shows them: a null string is None, and fills its bytes alone."""
        return self.filled(None) if self.kind.is_binary else self.filled(fill)


def random_values(kind: Kind, rows: int, random: np.random.Generator, *, tame: bool = False) -> Any:
    """Rows of any value that the kind can hold, special ones among them, as Column.values.

    tame: only times that Parquet stores whatever its unit, and dates that are whole days.
    """
    if kind.is_binary:
        return _random_texts(kind, rows, random)
    shape = (rows,) if kind.list_size is None else (rows, kind.list_size)
    if kind.dtype == np.bool_:
        return random.integers(0, 2, shape).astype(np.bool_)
    stored = kind.stored
    raw = np.frombuffer(random.bytes(int(np.prod(shape)) * stored.itemsize), stored).reshape(shape).copy()
    if stored.kind in "iu" and raw.size:
        extremes = np.array([0, 1, np.iinfo(stored).min, np.iinfo(stored).max], stored)
        raw = np.where(random.random(shape) < 0.1, random.choice(extremes, shape), raw)
    if tame and pa.types.is_time(kind.element.type):
        raw = raw % (86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.element.type.unit])
    elif tame and pa.types.is_date64(kind.element.type):
        raw = raw % (1 << 30) * 86_400_000
    elif tame and kind.dtype.kind in "mM":
        raw = raw % (1 << 30)
    if kind.dtype.kind in "mM":
        return raw.astype(np.int64).view(kind.dtype)
    return raw


def _random_texts(kind: Kind, rows: int, random: np.random.Generator) -> list[Any]:
    lengths = random.integers(0, 12, rows) * (random.random(rows) < 0.8)
    if kind.is_text:
        return ["".join(random.choice(_CHARACTERS, length)) for length in lengths]
    return [random.bytes(int(length)) for length in lengths]


def random_validity(pattern: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Which of the rows, or elements, are not null."""
    if pattern in ("no bitmap", "no nulls"):
        return np.ones(shape, np.bool_)
    if pattern == "all":
        return np.zeros(shape, np.bool_)
    if pattern == "runs":
        flips = random.random(int(np.prod(shape))) < 0.05
        return (np.cumsum(flips) % 2 == 0).reshape(shape)
    return random.random(shape) < (0.9 if pattern == "few" else 0.4)


def random_column(
    kind: Kind,
    rows: int,
    random: np.random.Generator,
    nulls: str = "few",
    item_nulls: str = "no nulls",
    *,
    tame: bool = False,
) -> Column:
    """A column of so many rows; nulls and item_nulls are of NULL_PATTERNS."""
    items = None if kind.list_size is None else random_validity(item_nulls, (rows, kind.list_size), random)
    values = random_values(kind, rows, random, tame=tame)
    return Column(kind, values, random_validity(nulls, (rows,), random), items)


def build_array(
    column: Column, random: np.random.Generator, *, head: int = 0, tail: int = 0, nulls: str = "few"
) -> pa.Array:
    """The column as an Arrow array that is a slice of a longer one: head rows of garbage before it, tail after.

    A pattern of "no bitmap" leaves the validity bitmap out.
    """
    rows = len(column.valid)
    kind = column.kind
    total = head + rows + tail
    validity = None
    if nulls != "no bitmap":
        validity = _bits(_surround(column.valid, random.random(total) < 0.5, head))
    if kind.list_size is not None:
        child = _list_elements(column, random, head, total)
        array = pa.Array.from_buffers(kind.type, total, [validity], children=[child])
    elif kind.is_binary:
        offsets, data = _text_buffers(column, random, head, tail)
        array = pa.Array.from_buffers(kind.type, total, [validity, offsets, data])
    else:
        hidden = random_values(kind, total, random)
        array = pa.Array.from_buffers(kind.type, total, [validity, _values_buffer(column, hidden, head)])
    return array.slice(head, rows)


def _surround(inner: np.ndarray, outer: np.ndarray, head: int) -> np.ndarray:
    whole = outer.copy()
    whole[head : head + len(inner)] = inner
    return whole


def _bits(flags: np.ndarray) -> pa.Buffer:
    # One byte more, of ones: what lies behind the last bit must not matter.
    return pa.py_buffer(np.packbits(flags, bitorder="little").tobytes() + b"\xff")


def _values_buffer(column: Column, hidden: Any, head: int) -> pa.Buffer:
    whole = _surround(column.values, hidden, head)
    if column.kind.dtype == np.bool_:
        return _bits(whole)
    plain = whole.view(np.int64) if whole.dtype.kind in "mM" else whole
    return pa.py_buffer(plain.astype(column.kind.stored).tobytes())


def _list_elements(column: Column, random: np.random.Generator, head: int, total: int) -> pa.Array:
    """The elements of total lists, the column's among them, as an array that begins inside a longer one."""
    size = column.kind.list_size
    element = column.kind.element
    values = random_values(element, total * size, random)
    valid = random.random(total * size) < 0.5
    begin, end = head * size, (head + len(column.valid)) * size
    values[begin:end] = column.values.reshape(-1)
    valid[begin:end] = column.item_valid.reshape(-1)
    pattern = "no bitmap" if valid.all() and random.random() < 0.5 else "few"
    before, after = (int(count) for count in random.integers(0, 9, 2))
    return build_array(Column(element, values, valid), random, head=before, tail=after, nulls=pattern)


def _text_buffers(
    column: Column, random: np.random.Generator, head: int, tail: int
) -> tuple[pa.Buffer, pa.Buffer]:
    """Offsets and bytes; the first offset is anything, and nulls lie over bytes too."""
    texts = _random_texts(column.kind, head, random) + list(column.values)
    texts += _random_texts(column.kind, tail, random)
    pieces = [text.encode() if isinstance(text, str) else text for text in texts]
    first = int(random.integers(0, 5))
    offsets = first + np.cumsum([0] + [len(piece) for piece in pieces])
    dtype = np.int32 if _BINARY_FORMATS[column.kind.type] == 4 else np.int64
    return pa.py_buffer(offsets.astype(dtype).tobytes()), pa.py_buffer(b"#" * first + b"".join(pieces) + b"#")


def build_chunks(
    column: Column, cuts: Sequence[int], random: np.random.Generator, nulls: str = "few"
) -> pa.ChunkedArray:
    """The column as a chunked array that is cut at these rows; two cuts at one row make an empty chunk."""
    ends = [0, *sorted(cuts), len(column.valid)]
    chunks = []
    for begin, end in zip(ends, ends[1:], strict=False):
        head, tail = (int(count) for count in random.integers(0, 11, 2))
        chunks.append(build_array(column.rows(begin, end), random, head=head, tail=tail, nulls=nulls))
    return pa.chunked_array(chunks, column.kind.type)


def assert_same(name: str, shown: Any, expected: Any, kind: Kind) -> None:
    """Whether a batch's column holds exactly these values, bit by bit, in an array as the design promises it."""
    if kind.is_binary:
        assert shown.to_pylist() == expected, name
        return
    assert isinstance(shown, np.ndarray), name
    assert shown.dtype == kind.dtype, (name, shown.dtype)
    assert shown.shape == expected.shape, (name, shown.shape)
    assert shown.flags.c_contiguous and shown.flags.writeable and shown.flags.aligned, name
    if shown.tobytes() != expected.tobytes():
        np.testing.assert_array_equal(shown, expected, err_msg=name)
        raise AssertionError(f"{name}: the same numbers, but not the same bits")


def assert_batch(
    batch: Mapping[str, Any], columns: Mapping[str, Column], policy: str, fills: Mapping[str, Any]
) -> None:
    """Whether a batch shows these columns, in this order, under this null_policy."""
    masks = [f"{name}.valid" for name in columns] if policy == "mask" else []
    assert [key for key in batch if key not in masks] == list(columns)
    assert len(batch) == len(columns) + len(masks)
    for name, column in columns.items():
        fill = fills.get(name, column.kind.fill)
        expected = column.masked(fill) if policy == "mask" else column.filled(fill)
        assert_same(name, batch[name], expected, column.kind)
        if policy == "mask":
            valid = batch[f"{name}.valid"]
            assert valid.dtype == np.bool_ and valid.flags.c_contiguous and valid.flags.writeable, name
            np.testing.assert_array_equal(valid, column.valid, err_msg=name)
