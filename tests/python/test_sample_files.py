"""Files as other writers make them: every encoding, old types, odd shapes; each is read as pyarrow reads it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import forebay

# What the tests open is closed in the end.
pytestmark = pytest.mark.usefixtures("module_process")

ROWS = 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test writes its file."""
    return tmp_path / "a.parquet"


# ---- pyarrow's word for what is in a file --------------------------------------------------------------------------


def plain_values(column: pa.ChunkedArray) -> list[Any]:
    """Values as Python's own, times as numbers of their unit."""
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        return [None if row is None else [comparable(value) for value in row] for row in column.to_pylist()]
    if pa.types.is_temporal(kind):
        column = column.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    return [comparable(value) for value in column.to_pylist()]


def comparable(value: Any) -> Any:
    """NaN is itself here."""
    return "NaN" if isinstance(value, float) and value != value else value


def shown_values(column: Any, valid: np.ndarray) -> list[Any]:
    if isinstance(column, forebay.ArrowColumn):
        return column.to_pylist()
    if column.dtype.kind in "mM":
        column = column.view(np.int64)
    rows = column.tolist()
    if column.ndim == 2:
        rows = [[comparable(value) for value in row] for row in rows]
    return [comparable(row) if ok else None for row, ok in zip(rows, valid.tolist(), strict=True)]


def check(path: Path, columns: list[str] | None = None, **arguments: Any) -> None:
    """The loader and pyarrow read the same from the file, whatever the batch size and the threads."""
    expected = pq.ParquetFile(path, pre_buffer=False).read(use_threads=False)
    names = columns if columns is not None else expected.column_names
    for batch_size, threads in ((1 << 20, 1), (97, 3)):
        with forebay.Loader(
            path,
            columns=columns,
            batch_size=batch_size,
            num_threads=threads,
            null_policy="mask",
            preserve_order=True,
            memory_limit="256MiB",
            **arguments,
        ) as loader:
            assert loader.schema.types == [expected.schema.field(name).type for name in names]
            shown: dict[str, list[Any]] = {name: [] for name in names}
            for batch in loader:
                for name in names:
                    shown[name] += shown_values(batch[name], batch[f"{name}.valid"])
        for name in names:
            assert shown[name] == plain_values(expected.column(name)), name


# ---- columns to write ----------------------------------------------------------------------------------------------


def with_nulls(values: pa.Array | np.ndarray | list[Any], every: int = 7) -> pa.Array:
    """The values, each so-manieth of them null."""
    nulls = pa.array(np.arange(len(values)) % every == 3)
    return pc.if_else(nulls, pa.scalar(None), pa.array(values))


def numbers(dtype: str, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.frombuffer(random.bytes(ROWS * np.dtype(dtype).itemsize), dtype)


def words(seed: int = 0, unique: int = 50) -> list[str]:
    random = np.random.default_rng(seed)
    known = [f"word {number} " + "é" * int(random.integers(0, 30)) for number in range(unique)]
    return [known[number] for number in random.integers(0, unique, ROWS)]


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize(
    ("encoding", "make"),
    [
        ("PLAIN", lambda: numbers("i4")),
        ("PLAIN", lambda: numbers("f8")),
        ("PLAIN", words),
        ("PLAIN", lambda: numbers("i1") > 0),
        ("RLE", lambda: numbers("i1") > 100),
        ("RLE", lambda: np.arange(ROWS) % 400 < 200),
        ("DELTA_BINARY_PACKED", lambda: numbers("i4")),
        ("DELTA_BINARY_PACKED", lambda: numbers("i8")),
        ("DELTA_BINARY_PACKED", lambda: np.arange(ROWS) * 3),
        ("DELTA_BINARY_PACKED", lambda: np.array([-(1 << 63), (1 << 63) - 1] * (ROWS // 2))),
        ("DELTA_LENGTH_BYTE_ARRAY", words),
        ("DELTA_BYTE_ARRAY", lambda: sorted(words())),
        ("BYTE_STREAM_SPLIT", lambda: numbers("f4")),
        ("BYTE_STREAM_SPLIT", lambda: numbers("f2")),
        ("BYTE_STREAM_SPLIT", lambda: numbers("i8")),
    ],
)
def test_every_encoding(
    path: Path, encoding: str, make: Callable[[], Any], compression: str, version: str
) -> None:
    values = pa.array(make())
    table = pa.table({"x": values, "n": with_nulls(values), "z": pa.nulls(ROWS, values.type)})
    pq.write_table(
        table,
        path,
        use_dictionary=False,
        column_encoding=encoding,
        compression=compression,
        data_page_version=version,
        data_page_size=600,
        row_group_size=333,
    )
    check(path)


@pytest.mark.parametrize("unique", [1, 2, 3, 16, 17, 255, 256, 257, 999])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_dictionaries_of_every_width(path: Path, unique: int, version: str) -> None:
    places = np.random.default_rng(unique).integers(0, unique, ROWS)
    table = pa.table(
        {
            "i": with_nulls(places * 7),
            "f": places / 3,
            "s": with_nulls([f"text {place}" for place in places]),
            "v": pa.FixedSizeListArray.from_arrays(pa.array(np.repeat(places, 3)), 3),
        }
    )
    pq.write_table(table, path, data_page_version=version, data_page_size=200)
    check(path)


def test_dictionaries_that_were_given_up_halfway(path: Path) -> None:
    texts = [f"text {number % 5}" for number in range(500)] + [
        f"other text {number}" for number in range(500)
    ]
    table = pa.table({"s": with_nulls(texts), "i": np.arange(ROWS) // 2})
    pq.write_table(table, path, dictionary_pagesize_limit=256, data_page_size=256, write_batch_size=16)
    check(path)


MOMENTS = pa.array([datetime.datetime(1970 + number, 1, 2, 3, 4, 5, 678) for number in range(100)])


@pytest.mark.parametrize(
    "options",
    [
        {"use_deprecated_int96_timestamps": True},
        {"coerce_timestamps": "ms", "allow_truncated_timestamps": True},
        {"coerce_timestamps": "us"},
        {"version": "1.0"},
        {"version": "2.4"},
        {"version": "2.6"},
        {"store_schema": False},
    ],
    ids=str,
)
def test_old_types_of_timestamps_and_schemas_that_were_not_stored(
    path: Path, options: dict[str, Any]
) -> None:
    table = pa.table(
        {
            "plain": MOMENTS,
            "zoned": MOMENTS.cast(pa.timestamp("us", "Europe/Paris")),
            "seconds": MOMENTS.cast(pa.timestamp("s"), safe=False),
            "nanoseconds": MOMENTS.cast(pa.timestamp("ns")),
            "days": MOMENTS.cast(pa.date32()),
            "unsigned": pa.array(range(100), pa.uint32()),
            "small": pa.array(range(100), pa.uint8()),
            "long text": pa.array(["x"] * 100, pa.large_string()),
        }
    )
    pq.write_table(table, path, **options)
    check(path)


@pytest.mark.parametrize(
    "options",
    [
        {"write_page_checksum": True},
        {"write_page_index": True},
        {"write_statistics": False},
        {"write_statistics": ["s"]},
        {"sorting_columns": [pq.SortingColumn(0)]},
        {"use_byte_stream_split": ["f"], "use_dictionary": ["s"]},
        {"compression": {"i": "gzip", "s": "zstd", "f": "none"}},
        {"compression": "gzip", "compression_level": 9},
        {"use_compliant_nested_type": False},
    ],
    ids=str,
)
def test_what_else_a_writer_may_do(path: Path, options: dict[str, Any]) -> None:
    table = pa.table(
        {
            "i": np.arange(ROWS),
            "s": with_nulls(words()),
            "f": numbers("f4"),
            "v": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(2 * ROWS)), 2),
        }
    )
    pq.write_table(
        table.replace_schema_metadata({"key": "value" * 10_000}), path, data_page_size=512, **options
    )
    check(path)


@pytest.mark.parametrize(
    "groups", [[1], [0], [1, 0, 1], [0, 0, 5], [1000, 1, 999], [3] * 50, [8, 64, 65, 63, 1]]
)
def test_row_groups_of_any_size(path: Path, groups: list[int]) -> None:
    schema = pa.schema([("i", pa.int64()), ("s", pa.string()), ("b", pa.bool_())])
    first = 0
    with pq.ParquetWriter(path, schema) as writer:
        for rows in groups:
            values = np.arange(first, first + rows)
            writer.write_table(
                pa.table([values, [str(value) for value in values], values % 3 == 0], schema=schema)
            )
            first += rows
    check(path)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 63, 64, 65])
@pytest.mark.parametrize("nullable", [False, True])
def test_few_rows_of_columns_that_may_and_may_not_be_null(path: Path, rows: int, nullable: bool) -> None:
    arrays = {
        "b": pa.array(np.arange(rows) % 3 == 0),
        "i": pa.array(np.arange(rows), pa.int8()),
        "s": pa.array(["x" * number for number in range(rows)]),
        "v": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(rows * 2.0)), 2),
    }
    schema = pa.schema([pa.field(name, array.type, nullable=nullable) for name, array in arrays.items()])
    pq.write_table(pa.table(list(arrays.values()), schema=schema), path)
    check(path)


@pytest.mark.parametrize("size", [1, 2, 3, 64, 512])
def test_lists_of_any_size_and_nulls_in_and_around_them(path: Path, size: int) -> None:
    random = np.random.default_rng(size)
    elements = pa.array(random.random(100 * size).astype(np.float32), mask=random.random(100 * size) < 0.2)
    whole = pa.FixedSizeListArray.from_arrays(elements, size)
    some = pa.FixedSizeListArray.from_arrays(
        elements.fill_null(0), size, mask=pa.array(random.random(100) < 0.3)
    )
    pq.write_table(pa.table({"whole": whole, "some": some}), path, row_group_size=33, data_page_size=1024)
    with forebay.Loader(
        path, batch_size=40, null_policy="mask", preserve_order=True, fill_value={"whole": -1.0}
    ) as loader:
        batches = list(loader)
    shown = np.concatenate([batch["whole"] for batch in batches])
    np.testing.assert_array_equal(shown.ravel(), elements.fill_null(-1.0).to_numpy())
    valid = np.concatenate([batch["some.valid"] for batch in batches])
    np.testing.assert_array_equal(valid, some.is_valid().to_numpy(zero_copy_only=False))
    np.testing.assert_array_equal(
        np.concatenate([batch["some"] for batch in batches])[valid].ravel(),
        some.drop_null().flatten().to_numpy(),
    )


def test_pages_and_row_groups_of_nulls_alone(path: Path) -> None:
    blocks = np.arange(ROWS) // 100 % 2 == 0
    table = pa.table(
        {
            "i": pa.array(np.arange(ROWS), mask=blocks),
            "s": pa.array([str(number) for number in range(ROWS)], mask=blocks),
            "all": pa.nulls(ROWS, pa.int16()),
            "text": pa.nulls(ROWS, pa.string()),
        }
    )
    pq.write_table(table, path, row_group_size=200, data_page_size=64, write_batch_size=20)
    check(path)


def test_strings_longer_than_pages_and_none_at_all(path: Path) -> None:
    long = ["x" * (1 << 20), "", "é" * 100_000, "y" * 70_000] * 3
    table = pa.table(
        {
            "long": long,
            "empty": [""] * 12,
            "bytes": [bytes(range(256)) * (number % 3) for number in range(12)],
        }
    )
    for use_dictionary in (False, True):
        pq.write_table(table, path, data_page_size=1024, use_dictionary=use_dictionary, row_group_size=5)
        check(path)


def test_a_few_large_rows_are_not_taken_for_a_thousand(path: Path) -> None:
    texts = ["x" * 500_000] * 4
    pq.write_table(pa.table({"s": texts}), path, use_dictionary=False, compression="none")
    with forebay.Loader(path, batch_size=1000, memory_limit="64MiB") as loader:
        assert loader.plan().piece_rows == 4
        [batch] = list(loader)
    assert batch["s"].to_pylist() == texts


def test_many_columns_with_odd_names(path: Path) -> None:
    names = [
        "",
        " ",
        ".",
        "a.b",
        "a",
        "ü",
        "list",
        "element",
        "new\nline",
        *(f"c{number}" for number in range(300)),
    ]
    pq.write_table(
        pa.table([pa.array([number, number + 1]) for number in range(len(names))], names=names), path
    )
    check(path)
    check(path, columns=["c299", "", "a", "a.b"])


def test_flat_columns_among_nested_ones_are_found(path: Path) -> None:
    nested = {
        "a": [1, 2, None],
        "l": [[{"x": 1, "y": "a"}], [], None],
        "b": ["x", None, "z"],
        "s": [{"p": {"q": [1]}, "r": 2}, None, {"p": None, "r": 3}],
        "v": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2)),
        "m": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        "c": [1.5, None, 2.5],
    }
    pq.write_table(pa.table(nested), path)
    check(path, columns=["c", "a", "b"])
    with forebay.Loader(path, batch_size=3, columns=["v", "c"], null_policy="mask") as loader:
        [batch] = list(loader)
    assert batch["v"][[0, 2]].tolist() == [[1, 2], [3, 4]]
    assert batch["v.valid"].tolist() == [True, False, True]
    assert batch["c"].tolist()[::2] == [1.5, 2.5]


def test_a_list_whose_size_was_not_stored_is_a_list(path: Path) -> None:
    pq.write_table(pa.table({"v": pa.array([[1, 2]], pa.list_(pa.int32(), 2))}), path, store_schema=False)
    with forebay.Loader(path, batch_size=1) as loader:
        [batch] = loader
    assert [part.tolist() for part in batch["v"]] == [[1, 2], [0, 2]]


# ---- damage that a footer does not show ----------------------------------------------------------------------------


def damaged_pages(content: bytes, start: int, end: int) -> Iterator[tuple[str, bytes]]:
    """The same file with the pages between two offsets damaged in ways that decoders have met."""
    middle = (start + end) // 2
    yield "zeros", content[:start] + bytes(end - start) + content[end:]
    yield "ones", content[:start] + b"\xff" * (end - start) + content[end:]
    yield "the end of them zero", content[:middle] + bytes(end - middle) + content[end:]
    yield "shifted by one byte", content[:start] + b"\0" + content[start : end - 1] + content[end:]
    yield "back to front", content[:start] + content[start:end][::-1] + content[end:]
    yield "doubled", content[:start] + content[start:middle] * 2 + content[end:]


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip", "lz4", "brotli"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: pa.array(np.arange(ROWS)),
        lambda: with_nulls(words()),
        lambda: pa.array(np.arange(ROWS) % 2 == 0),
        lambda: pa.FixedSizeListArray.from_arrays(pa.array(np.arange(4.0 * ROWS)), 4),
    ],
    ids=["int64", "string", "bool", "list"],
)
def test_damaged_pages_end_the_epoch_with_an_error_that_names_the_row_group(
    path: Path, make: Callable[[], pa.Array], compression: str
) -> None:
    pq.write_table(
        pa.table({"x": make()}), path, compression=compression, row_group_size=400, data_page_size=500
    )
    content = path.read_bytes()
    chunk = pq.read_metadata(path).row_group(1).column(0)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    found = []
    for name, damaged in damaged_pages(content, start, start + chunk.total_compressed_size):
        assert len(damaged) == len(content) or name == "doubled"
        if len(damaged) != len(content):
            damaged = damaged[: len(content) - 8] + content[-8:]
        path.write_bytes(damaged)
        try:
            with forebay.Loader(
                path, batch_size=100, null_policy="fill", preserve_order=True, timeout=60
            ) as loader:
                for batch in loader:
                    assert len(batch["x"]) == 100
        except forebay.SourceError as error:
            assert error.path == str(path)
            assert error.row_group in (None, 1)
            found.append(name)
        path.write_bytes(content)
    assert {"zeros", "ones"} <= set(found)
