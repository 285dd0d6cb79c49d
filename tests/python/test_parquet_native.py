"""Columns that the core decodes by itself: which they are, and that they are what pyarrow makes of them."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_cases import (
    HAS_SNAPPY,
    HAS_ZSTD,
    KINDS,
    NULLS,
    ROWS,
    batches_of,
    check_same,
    native_columns,
    table_of,
    through,
    values_of,
)

import forebay
from forebay import _ext, _parquet_native, _parquet_pages, _parquet_survey
from forebay._parquet import ParquetProvider

# ---- which columns -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("nulls", ["required", "few"])
def test_fixed_width_columns_are_decoded_by_the_core(tmp_path: Path, kind: pa.DataType, nulls: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table_of([kind], 20, nulls), path, compression="none")
    assert native_columns(path) == [True]
    with through(core=False):
        assert native_columns(path) == [False]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", "b"]),
        pa.array([b"a", b"b"], pa.large_binary()),
        pa.array([[1], [2]]),
        pa.array([[], []], pa.list_(pa.int32(), 0)),
        pa.array([["a"], ["b"]], pa.list_(pa.string(), 1)),
        pa.array([{"a": 1}, {"a": 2}]),
        pa.array([b"ab", b"cd"], pa.binary(2)),
        pa.array([1, 2], pa.decimal128(5, 0)),
    ],
    ids=lambda column: str(column.type)[:30],
)
def test_every_other_column_is_not(tmp_path: Path, column: pa.Array) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": column, "b": [1.0, 2.0]}), path, compression="none")
    assert native_columns(path) == [False, True]


def test_a_column_whose_arrow_type_is_not_how_it_is_stored_is_read_through_pyarrow(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    times = pa.array([1, 2], pa.timestamp("ns"))
    pq.write_table(pa.table({"t": times}), path, use_deprecated_int96_timestamps=True, compression="none")
    assert native_columns(path) == [False]
    check_same(path)
    # Version 1.0 has no 32-bit unsigned integers: they are stored as 64-bit ones.
    pq.write_table(pa.table({"u": pa.array([1, 2], pa.uint32())}), path, version="1.0", compression="none")
    check_same(path)


@pytest.mark.parametrize(
    ("codec", "expected"),
    [
        ("none", True),
        ("snappy", HAS_SNAPPY),
        ("zstd", HAS_ZSTD),
        ("gzip", False),
        ("lz4", False),
        ("brotli", False),
    ],
)
def test_a_codec_that_the_core_does_not_have_is_left_to_pyarrow(
    tmp_path: Path, codec: str, expected: bool
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table_of(KINDS, ROWS, "few"), path, compression=codec, row_group_size=400)
    assert native_columns(path) == [expected] * len(KINDS)
    check_same(path)


@pytest.mark.parametrize("encoding", ["DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"])
def test_an_encoding_that_the_core_does_not_have_is_left_to_pyarrow(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"a": range(ROWS), "b": range(ROWS)})
    pq.write_table(table, path, use_dictionary=False, column_encoding={"a": encoding}, compression="none")
    assert native_columns(path) == [False, True]
    check_same(path)


def test_one_chunk_that_the_core_cannot_read_makes_the_column_a_stream_in_every_file(tmp_path: Path) -> None:
    table = pa.table({"a": range(ROWS), "b": range(ROWS), "s": [str(i) for i in range(ROWS)]})
    paths = [tmp_path / f"{i}.parquet" for i in range(3)]
    for number, path in enumerate(paths):
        codecs = {"a": "gzip" if number == 2 else "none", "b": "none", "s": "snappy"}
        pq.write_table(table, path, compression=codecs, row_group_size=300)
    assert native_columns(paths[:2]) == [True, True, False]
    assert native_columns(paths) == [False, True, False]
    check_same([str(path) for path in paths])


def test_files_whose_columns_differ_in_nullability_are_read_through_pyarrow(tmp_path: Path) -> None:
    for number, nulls in enumerate(("required", "few")):
        pq.write_table(table_of([pa.int64()], 100, nulls), tmp_path / f"{number}.parquet", compression="none")
    assert native_columns(sorted(tmp_path.iterdir())) == [False]
    check_same(tmp_path)


def chunk_change(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Footers say something else of every chunk."""
    original = _parquet_pages._chunk

    def changed(column: Any) -> Any:
        chunk = original(column)
        return dataclasses.replace(
            chunk, **{name: value(chunk) if callable(value) else value for name, value in changes.items()}
        )

    monkeypatch.setattr(_parquet_pages, "_chunk", changed)


@pytest.mark.parametrize(
    "changes",
    [
        {"is_plainly_here": False},
        {"physical_type": 1},
        {"encodings": ()},
        {"encodings": (0, 3, 9)},
        {"start": 0},
        {"start": 1 << 40},
        {"compressed_bytes": 0},
        {"compressed_bytes": 1 << 40},
        {"values": lambda chunk: chunk.values - 1},
        {"values": lambda chunk: chunk.values + 1},
        {"codec": 2},
    ],
    ids=str,
)
def test_a_footer_that_says_anything_odd_leaves_the_column_to_pyarrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table_of([pa.int64()], 100, "few"), path, compression="none")
    assert native_columns(path) == [True]
    chunk_change(monkeypatch, **changes)
    assert native_columns(path) == [False]
    check_same(path)


def test_the_old_encoding_of_levels_is_taken_for_what_the_first_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writers list it for levels that the column does not have."""
    path = tmp_path / "a.parquet"
    pq.write_table(table_of([pa.int64(), pa.list_(pa.int8(), 2)], 100, "few"), path, compression="none")
    chunk_change(monkeypatch, encodings=lambda chunk: (*chunk.encodings, _parquet_pages.BIT_PACKED))
    assert native_columns(path) == [True, True]
    check_same(path)
    for levels, expected in (((4, 3), [False, False]), ((3, 4), [True, False])):
        monkeypatch.setattr(_parquet_native, "read_level_encodings", lambda *_, levels=levels: levels)
        assert native_columns(path) == expected


def test_pages_that_cannot_be_surveyed_leave_the_column_to_pyarrow(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table_of([pa.int64(), pa.int32()], 100, "few"), path, compression="none")
    content = bytearray(path.read_bytes())
    content[4:20] = b"\xff" * 16  # the header of the first column's first page
    path.write_bytes(content)
    assert native_columns(path) == [False, True]


def test_a_schema_that_cannot_be_followed_leaves_every_column_to_pyarrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table_of([pa.int64()], 100, "few"), path, compression="none")
    monkeypatch.setattr(_parquet_survey, "read_leaves", lambda footer: [])
    assert native_columns(path) == [False]
    check_same(path)


def test_nothing_is_kept_of_footers_where_no_column_is_a_stream(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table_of(KINDS, 100, "few"), path, compression="none", row_group_size=10)
    provider = ParquetProvider([str(path)], None, 2)
    assert provider.plan_bytes == 8 * 10
    assert not provider._footers._kept
    with through(core=False):
        assert ParquetProvider([str(path)], None, 2).plan_bytes > 10_000


# ---- the same values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nulls", NULLS)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("use_dictionary", [False, True])
@pytest.mark.parametrize("codec", ["none", "snappy", "zstd"])
def test_batches_are_those_of_pyarrow(
    tmp_path: Path, nulls: str, version: str, use_dictionary: bool, codec: str
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        table_of(KINDS, ROWS, nulls),
        path,
        compression=codec,
        data_page_version=version,
        use_dictionary=use_dictionary,
        data_page_size=700,
        write_batch_size=37,
        row_group_size=430,
    )
    for policy in ("mask", "fill") if nulls != "required" else ("error",):
        check_same(path, null_policy=policy, batch_size=271)


@pytest.mark.parametrize("group_rows", [1, 7, 64, 999, ROWS])
@pytest.mark.parametrize("batch_rows", [1, 8, 333, 5000])
def test_row_groups_and_batches_may_have_any_size(tmp_path: Path, group_rows: int, batch_rows: int) -> None:
    kinds = [pa.int64(), pa.bool_(), pa.int8(), pa.list_(pa.float32(), 3), pa.string()]
    rows = 60 if group_rows == 1 else ROWS
    random = np.random.default_rng(3)
    table = table_of(kinds[:-1], rows, "few").append_column(
        "s", pa.array([f"{value}" for value in random.integers(0, 50, rows)])
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=group_rows, data_page_size=200, write_batch_size=10)
    if HAS_SNAPPY:
        assert native_columns(path) == [True, True, True, True, False]
    check_same(path, batch_size=batch_rows, num_threads=2)


@pytest.mark.parametrize("kind", [pa.int64(), pa.float32(), pa.bool_(), pa.list_(pa.int16(), 3)], ids=str)
@pytest.mark.parametrize("rows", [0, 1, 8, 9])
def test_few_rows_and_none(tmp_path: Path, kind: pa.DataType, rows: int) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table_of([kind], rows, "none"), path, compression="none")
    check_same(path)


def test_pages_that_are_larger_than_those_that_were_surveyed_are_read(tmp_path: Path) -> None:
    """Only some files are surveyed: buffers grow to the pages of the others."""
    values = np.random.default_rng(0).random(100_000)
    table = pa.table({"a": values})
    for number in range(130):
        rows = len(values) if number == 1 else 10
        pq.write_table(
            table.slice(0, rows), tmp_path / f"{number:03}.parquet", use_dictionary=False, compression="none"
        )
    provider = ParquetProvider([str(path) for path in sorted(tmp_path.iterdir())], None, 1)
    [column] = provider._native.columns
    assert column is not None and column[5] < 200
    check_same(tmp_path, batch_size=5000)


def test_a_dictionary_that_falls_back_to_plain_pages_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"a": np.random.default_rng(0).integers(0, 1 << 60, 5000)})
    pq.write_table(table, path, dictionary_pagesize_limit=4096, data_page_size=2000, write_batch_size=100)
    check_same(path)


def test_pages_that_end_inside_lists_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = table_of([pa.list_(pa.float32(), 8)], 20, "few")
    pq.write_table(
        table, path, compression="none", dictionary_pagesize_limit=10, data_page_size=1, write_batch_size=1
    )
    assert batches_of(path, core=True, batch_size=7) == batches_of(table, core=True, batch_size=7)


def test_lists_that_were_sliced_or_hold_null_elements_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    kind = pa.list_(pa.float32(), 2)
    rows = [[1.0, None], None, [None, None], [3.0, 4.0]] * 50
    table = pa.table({"a": pa.array(rows, kind)}).slice(3, 150)
    pq.write_table(table, path, compression="none", data_page_size=50, write_batch_size=5)
    assert native_columns(path) == [True]
    for policy in ("mask", "fill"):
        check_same(path, batch_size=11, null_policy=policy)


@pytest.mark.parametrize("kind", [pa.int32(), pa.bool_(), pa.list_(pa.float32(), 2)], ids=str)
def test_a_null_is_the_same_error_both_ways(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "a.parquet"
    values = values_of(kind, 500, "none", np.random.default_rng(0)).to_pylist()
    values[321] = None
    pq.write_table(pa.table({"x": pa.array(values, kind)}), path, row_group_size=200, compression="none")
    messages = []
    for core in (True, False):
        with pytest.raises(forebay.SourceError) as caught:
            batches_of(path, core=core, null_policy="error", batch_size=50)
        assert (caught.value.path, caught.value.row_group) == (str(path), 1)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "'x'" in messages[0] and "row 121" in messages[0]


def test_fill_values_stand_for_nulls(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table_of([pa.int16(), pa.timestamp("us")], ROWS, "many"), path, compression="none")
    check_same(
        path, null_policy="fill", fill_value={"c0": -7, "c1": np.datetime64("2020-01-01T00:00:00.000001")}
    )


def test_a_loader_with_little_memory_and_many_threads_gives_the_same(tmp_path: Path) -> None:
    table = table_of(KINDS, 20_000, "few")
    table = table.append_column("s", pa.array([f"row {i}" for i in range(table.num_rows)]))
    for number in range(3):
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=6000, data_page_size=8000)
    with pytest.raises(forebay.MemoryLimitError) as caught:
        forebay.Loader(tmp_path, batch_size=512, null_policy="mask", num_threads=4, memory_limit=1)
    check_same(tmp_path, batch_size=512, num_threads=4, memory_limit="256MiB")
    least = caught.value.required
    core = batches_of(tmp_path, core=True, batch_size=512, num_threads=4, memory_limit=least)
    assert core == batches_of(tmp_path, core=False, batch_size=512)


@st.composite
def written(draw: st.DrawFn) -> tuple[pa.Table, dict[str, Any], dict[str, Any]]:
    """A table, how to write it, and how to read it."""
    rows = draw(st.integers(0, 200))
    seed = draw(st.integers(0, 1 << 32))
    columns = draw(
        st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(NULLS)), min_size=1, max_size=5)
    )
    random = np.random.default_rng(seed)
    table = pa.table(
        [values_of(kind, rows, nulls, random) for kind, nulls in columns],
        schema=pa.schema(
            [pa.field(f"c{i}", kind, nullable=nulls != "required") for i, (kind, nulls) in enumerate(columns)]
        ),
    )
    if draw(st.booleans()):
        strings = pa.array([f"{number}" for number in random.integers(0, 9, rows)], pa.string())
        table = table.append_column("s", strings)
    writing = {
        "compression": draw(st.sampled_from(["none", "snappy", "zstd", "gzip"])),
        "data_page_version": draw(st.sampled_from(["1.0", "2.0"])),
        "use_dictionary": draw(st.booleans()),
        "row_group_size": draw(st.integers(1, 250)),
        "data_page_size": draw(st.sampled_from([1, 50, 400, 1 << 20])),
        "write_batch_size": draw(st.sampled_from([1, 3, 10, 1024])),
        "store_decimal_as_integer": False,
        "write_page_checksum": draw(st.booleans()),
        "dictionary_pagesize_limit": draw(st.sampled_from([10, 1 << 20])),
    }
    reading = {
        "batch_size": draw(st.integers(1, 250)),
        "null_policy": draw(st.sampled_from(["mask", "fill"])),
        "num_threads": draw(st.integers(1, 3)),
        "drop_last": draw(st.booleans()),
    }
    return table, writing, reading


def pyarrow_reads(path: Path, rows: int) -> bool:
    """Not so where pages end inside a list: there is a page without values then, where pyarrow's own reader stops."""
    try:
        return bool(pq.read_table(path).num_rows == rows)
    except pa.ArrowInvalid:
        return False


@given(case=written())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_pyarrow_writes_is_read_as_it_was(case: tuple[Any, Any, Any]) -> None:
    table, writing, reading = case
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        pq.write_table(table, path, **writing)
        expected = writing["compression"] in ("none", *["snappy"] * HAS_SNAPPY, *["zstd"] * HAS_ZSTD)
        if table.num_rows:
            assert native_columns(path) == [expected and name != "s" for name in table.column_names]
        if pyarrow_reads(path, table.num_rows):
            check_same(path, **reading)
        elif not all(native_columns(path)):
            return
        assert batches_of(path, core=True, **reading) == batches_of(table, core=True, **reading)


# ---- the extension -------------------------------------------------------------------------------------------------


def source_arguments(path: Path) -> list[Any]:
    """What a source over two units of columns a (decoded by the core) and s is made from."""
    table = pa.table({"a": range(100), "s": ["x"] * 100})
    pq.write_table(table, path, row_group_size=50, compression="none")
    provider = ParquetProvider([str(path)], None, 1)
    native = provider._native
    assert provider.native_columns == [True, False]
    files = [(os.fsencode(file.path), *file.identity) for file in provider._files]
    return [
        *(provider.schema, provider.unit_rows, provider.costs, provider),
        *(files, provider._unit_files, native.columns, native.chunks),
    ]


def test_tables_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    good = source_arguments(path)
    assert isinstance(_ext.parquet_source(*good), _ext.Source)
    schema, unit_rows, costs, provider, files, unit_files, columns, chunks = range(8)
    [column, _] = good[columns]
    bad: list[tuple[int, Any]] = [
        *((unit_rows, good[unit_rows][:1]), (unit_rows, good[unit_rows].astype(np.int64))),
        *((costs, good[costs][:1]), (files, []), (files, [(os.fsencode(path), 1)])),
        *((files, [(b"a\0b", 1, 1)]), (files, [(b"a", -1, 1)]), (files, [("a", 1, 1)]), (files, None)),
        *((unit_files, good[unit_files][:1]), (unit_files, np.array([0, 1], np.uint32))),
        *((unit_files, np.array([0, 0], np.uint64)), (columns, [column]), (columns, [column, column])),
        *((columns, [column[:7], None]), (columns, [(-1, *column[1:]), None])),
        *((columns, [(1 << 32, *column[1:]), None]), (columns, [(*column[:7], 1 << 64), None])),
        *((columns, [None, None]), (chunks, good[chunks][:1]), (chunks, good[chunks].astype(np.int32))),
        *((chunks, good[chunks] * np.uint64(1000)), (chunks, good[chunks][:, ::-1])),
    ]
    for place, value in bad:
        arguments = list(good)
        arguments[place] = value
        with pytest.raises((ValueError, TypeError, OverflowError, BufferError, forebay.UnsupportedError)):
            _ext.parquet_source(*arguments)


def test_codecs_are_asked_for_by_number() -> None:
    assert _ext.parquet_codec_is_supported(0)
    for codec in (2, 3, 4, 5, 1000, 1 << 40, 1 << 80, -1):
        assert not _ext.parquet_codec_is_supported(codec)
    with pytest.raises(TypeError):
        _ext.parquet_codec_is_supported("snappy")
