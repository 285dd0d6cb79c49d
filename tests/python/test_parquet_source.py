"""Parquet through pyarrow: what is read, what the plan is told of it, and what is said of files that are wrong."""

import dataclasses
import gc
import os
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import _parquet

import forebay
from forebay import _parquet_native, _parquet_pages
from forebay._parquet import ParquetProvider
from forebay._parquet_pages import read_chunk_pages, read_footer, read_row_groups
from forebay._thrift import MalformedThrift, parse_struct

ROWS = 60_000


def read_all(provider, columns, piece_rows=16384):
    """All units' columns as one table."""
    tables = []
    for unit in range(len(provider.unit_rows)):
        stream = provider.open(unit, columns, piece_rows)
        tables.append(stream.read_all())
    return pa.concat_tables(tables)


def provider_of(*paths, columns=None, threads=1):
    return ParquetProvider([str(path) for path in paths], columns, threads)


@pytest.fixture
def through_pyarrow(monkeypatch):
    """No column is decoded by the core itself."""
    monkeypatch.setattr(_parquet_native, "ENABLED", False)


def rows_of(loader):
    """The rows of an epoch, column by column."""
    batches = list(loader)
    return {name: [value for batch in batches for value in batch[name].tolist()] for name in batches[0]}


# ---- pyarrow's private reader --------------------------------------------------------------------------------------


def test_the_private_reader_of_pyarrow_has_what_is_used_of_it(tmp_path):
    """Fails where a version of pyarrow is not the one that _parquet.py was written for."""
    assert 26 <= int(pa.__version__.split(".")[0]) < 28
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": range(100), "b": range(100)}), path, row_group_size=50)
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    handle = pa.OSFile(os.fsencode(path), memory_pool=pool)
    reader = _parquet.ParquetReader(memory_pool=pool)
    reader.open(handle, metadata=None, buffer_size=65536, pre_buffer=False)
    assert reader.column_paths == [["a"], ["b"]]
    assert reader.schema_arrow.names == ["a", "b"]
    batches = list(reader.iter_batches(20, row_groups=[1], column_indices=[1], use_threads=False))
    assert [batch.num_rows for batch in batches] == [20, 20, 10]
    assert batches[0].schema.names == ["b"]
    assert pool.bytes_allocated() > 0
    del batches
    handle.close()


# ---- what is read --------------------------------------------------------------------------------------------------


def test_columns_come_in_the_order_that_was_asked_for(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [1, 2], "b": [3, 4], "c": [5, 6]}), path)
    with forebay.Loader(path, batch_size=2, columns=["c", "a"]) as loader:
        assert loader.schema.names == ["c", "a"]
        assert rows_of(loader) == {"c": [5, 6], "a": [1, 2]}


def test_files_may_order_their_columns_differently_and_have_others_beside(tmp_path):
    pq.write_table(
        pa.table({"a": [1], "v": pa.array([[1, 2]], pa.list_(pa.int32(), 2)), "b": [2]}),
        tmp_path / "1.parquet",
    )
    pq.write_table(
        pa.table({"z": ["?"], "b": [4], "v": pa.array([[3, 4]], pa.list_(pa.int32(), 2)), "a": [3]}),
        tmp_path / "2.parquet",
    )
    with forebay.Loader(tmp_path, batch_size=1, columns=["a", "b", "v"], preserve_order=True) as loader:
        assert rows_of(loader) == {"a": [1, 3], "b": [2, 4], "v": [[1, 2], [3, 4]]}


def test_a_column_is_nullable_in_the_schema_where_it_is_in_any_file(tmp_path):
    for number, nullable in enumerate((False, True)):
        schema = pa.schema([pa.field("a", pa.int64(), nullable=nullable)])
        pq.write_table(pa.table({"a": [number]}, schema=schema), tmp_path / f"{number}.parquet")
    with forebay.Loader(tmp_path, batch_size=1, preserve_order=True) as loader:
        assert loader.schema.field("a").nullable
        assert rows_of(loader) == {"a": [0, 1]}


def test_columns_whose_names_hold_dots_are_found(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"a": [1], "a.b": [2], "a.b.list": pa.array([[3]], pa.list_(pa.int8(), 1))}), path
    )
    with forebay.Loader(path, batch_size=1) as loader:
        assert rows_of(loader) == {"a": [1], "a.b": [2], "a.b.list": [[3]]}


def test_files_and_row_groups_without_rows_are_stepped_over(tmp_path):
    empty = pa.table({"a": pa.array([], pa.int64())})
    pq.write_table(empty, tmp_path / "0.parquet")
    with pq.ParquetWriter(tmp_path / "1.parquet", empty.schema) as writer:
        for values in ([1, 2], [], [3]):
            writer.write_table(pa.table({"a": pa.array(values, pa.int64())}))
    with forebay.Loader(tmp_path, batch_size=2, preserve_order=True) as loader:
        assert (loader.plan().rows, loader.plan().units) == (3, 2)
        assert rows_of(loader) == {"a": [1, 2, 3]}


def test_a_source_without_rows_is_an_epoch_without_batches(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": pa.array([], pa.int64()), "s": pa.array([], pa.string())}), path)
    with forebay.Loader(path, batch_size=2) as loader:
        assert len(loader) == 0
        assert list(loader) == []


def test_one_row_is_one_batch(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [7]}), path)
    with forebay.Loader(path, batch_size=4096) as loader:
        assert rows_of(loader) == {"a": [7]}


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_every_codec_and_page_version_is_read(tmp_path, compression, version):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": range(1000)}), path, compression=compression, data_page_version=version)
    with forebay.Loader(path, batch_size=1000) as loader:
        assert rows_of(loader) == {"a": list(range(1000))}


# ---- streams of one unit -------------------------------------------------------------------------------------------


def test_a_stream_gives_pieces_of_the_chosen_columns(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": range(100), "b": range(100), "c": range(100)}), path, row_group_size=60)
    provider = provider_of(path)
    assert provider.unit_rows.tolist() == [60, 40]
    assert provider.describe(1) == (str(path), 1)
    stream = provider.open(1, (0, 2), 16)
    assert stream.schema.names == ["a", "c"]
    pieces = list(stream)
    assert [piece.num_rows for piece in pieces] == [16, 16, 8]
    assert pieces[0].column(1).to_pylist() == list(range(60, 76))
    del pieces


def test_bytes_are_counted_while_a_stream_is_open_and_gone_when_it_is_let_go(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": np.random.default_rng(0).random(ROWS)}), path)
    provider = provider_of(path)
    assert provider.allocated_bytes() == 0
    stream = provider.open(0, (0,), 1024)
    first = stream.read_next_batch()
    assert provider.allocated_bytes() >= first.nbytes
    open_files = len(os.listdir("/proc/self/fd"))
    del first, stream
    gc.collect()
    assert provider.allocated_bytes() == 0
    assert len(os.listdir("/proc/self/fd")) == open_files - 1


def test_a_stream_that_was_never_read_lets_its_file_go(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": range(10)}), path)
    provider = provider_of(path)
    before = len(os.listdir("/proc/self/fd"))
    stream = provider.open(0, (0,), 4)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del stream
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    assert provider.allocated_bytes() == 0


def test_footers_are_kept_within_what_the_plan_says(through_pyarrow, tmp_path):
    table = pa.table({f"column_{i}": [i] for i in range(200)})
    paths = [tmp_path / f"{number:02}.parquet" for number in range(20)]
    for path in paths:
        with pq.ParquetWriter(path, table.schema) as writer:
            for _ in range(5):
                writer.write_table(table)
    provider = provider_of(*paths, threads=2)
    kept = provider._footers._kept
    one = pq.read_metadata(paths[0]).serialized_size
    assert 1 <= len(kept) < len(paths)
    assert len(kept) * one <= provider.plan_bytes < len(paths) * one * 8

    # A footer that was let go is read again, and each stream of the file shares it.
    def kept_paths():
        return {path for path, _ in kept}

    evicted = next(number for number in range(20) if str(paths[number]) not in kept_paths())
    unit = evicted * 5
    first = provider.open(unit, (0,), 1)
    assert str(paths[evicted]) in kept_paths()
    second = provider.open(unit, (1,), 1)
    assert first.read_all()["column_0"].to_pylist() == [0]
    assert second.read_all()["column_1"].to_pylist() == [1]
    assert len(kept) * one <= provider.plan_bytes


def test_a_file_that_changes_after_construction_is_an_error_that_says_so(through_pyarrow, tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": range(10)}), path)
    with forebay.Loader(path, batch_size=5) as loader:
        pq.write_table(pa.table({"a": range(20)}), path)
        with pytest.raises(forebay.SourceError, match="changed") as caught:
            list(loader)
        assert caught.value.path == str(path)
        assert caught.value.row_group == 0
        assert str(caught.value).count(str(path)) == 1


def test_a_file_that_goes_away_is_an_error_that_names_it(through_pyarrow, tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": range(10)}), path)
    with forebay.Loader(path, batch_size=5) as loader:
        path.unlink()
        with pytest.raises(forebay.SourceError, match="No such file") as caught:
            list(loader)
        assert caught.value.path == str(path)


def test_damage_inside_a_row_group_is_an_error_with_its_cause(through_pyarrow, tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"a": np.random.default_rng(0).integers(0, 1 << 60, 2000)})
    pq.write_table(table, path, row_group_size=1000, compression="zstd", use_dictionary=False)
    start = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[start + 40 : start + 400] = bytes(360)
    path.write_bytes(data)
    with forebay.Loader(path, batch_size=1000, preserve_order=True) as loader:
        iterator = iter(loader)
        assert len(next(iterator)["a"]) == 1000
        with pytest.raises(forebay.SourceError) as caught:
            next(iterator)
    assert (caught.value.path, caught.value.row_group) == (str(path), 1)
    assert isinstance(caught.value.__cause__, (OSError, pa.ArrowException))


# ---- files that are wrong ------------------------------------------------------------------------------------------


def test_a_truncated_file_is_an_error_that_says_so(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": range(1000)}), path)
    whole = path.read_bytes()
    for length in (4, 8, 11, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(forebay.SourceError, match="truncated") as caught:
            forebay.Loader(path, batch_size=1)
        assert caught.value.path == str(path)


def test_an_empty_file_and_one_that_is_not_parquet_are_errors_with_a_remedy(tmp_path):
    path = tmp_path / "a.parquet"
    for content, what in ((b"", "an empty file"), (b"x" * 100, "not a Parquet file")):
        path.write_bytes(content)
        with pytest.raises(forebay.SourceError, match=f"{what}.*glob"):
            forebay.Loader(path, batch_size=1)


def test_a_damaged_footer_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": range(1000), "s": ["x"] * 1000}), path)
    whole = path.read_bytes()
    [length] = struct.unpack("<I", whole[-8:-4])
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        at = len(whole) - 8 - length + int(random.integers(length))
        damaged[at] ^= int(random.integers(1, 256))
        path.write_bytes(damaged)
        try:
            forebay.Loader(path, batch_size=1).close()
        except forebay.SourceError as error:
            assert str(path) in str(error) or isinstance(error, forebay.UnsupportedError)
            refused += 1
    assert refused > 20


def test_an_encrypted_file_is_refused_by_name(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PARE" + bytes(100) + b"PARE")
    with pytest.raises(forebay.UnsupportedError, match="encrypted") as caught:
        forebay.Loader(path, batch_size=1)
    assert caught.value.path == str(path)


def test_a_file_that_may_not_be_read_is_an_error_with_its_cause(tmp_path):
    path = tmp_path / "a.parquet"
    path.symlink_to(path)
    with pytest.raises(forebay.SourceError, match="symbolic links") as caught:
        forebay.Loader(path, batch_size=1)
    assert isinstance(caught.value.__cause__, OSError)


def test_files_that_differ_in_type_are_an_error_naming_both_and_the_column(tmp_path):
    one, two = tmp_path / "1.parquet", tmp_path / "2.parquet"
    pq.write_table(pa.table({"a": [1], "b": [1]}), one)
    pq.write_table(pa.table({"a": [1], "b": pa.array([1.0], pa.float32())}), two)
    with pytest.raises(forebay.SourceError) as caught:
        forebay.Loader(tmp_path, batch_size=1)
    for part in (str(one), str(two), "'b'", "int64", "float"):
        assert part in str(caught.value)
    assert caught.value.path == str(two)
    with forebay.Loader(tmp_path, batch_size=1, columns=["a"]) as loader:
        assert len(loader) == 2


@pytest.mark.parametrize("which", [0, 1])
def test_a_column_that_one_file_lacks_is_an_error_naming_both_and_the_column(tmp_path, which):
    one, two = tmp_path / "1.parquet", tmp_path / "2.parquet"
    for number, path in enumerate((one, two)):
        pq.write_table(pa.table({"a": [1], "b": [1]} if number == which else {"a": [1]}), path)
    with pytest.raises(forebay.SourceError) as caught:
        forebay.Loader(tmp_path, batch_size=1)
    for part in (str(one), str(two), "'b'"):
        assert part in str(caught.value)


def test_a_column_twice_in_a_file_is_an_error_unless_others_are_chosen(tmp_path):
    one, two = tmp_path / "1.parquet", tmp_path / "2.parquet"
    twice = pa.table([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "a", "b"])
    pq.write_table(pa.table({"a": [1], "b": [4]}), one)
    pq.write_table(twice, two)
    for source in (two, tmp_path):
        with pytest.raises(forebay.SourceError, match="more than one column named 'a'"):
            forebay.Loader(source, batch_size=1)
    with forebay.Loader(tmp_path, batch_size=1, columns=["b"], preserve_order=True) as loader:
        assert rows_of(loader) == {"b": [4, 3]}


def test_an_unknown_column_is_a_value_error_that_names_close_ones(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"label": [1], "dense": [1]}), path)
    with pytest.raises(ValueError, match=r"no column 'labl': did you mean 'label'"):
        forebay.Loader(path, batch_size=1, columns=["labl"])


# ---- costs ---------------------------------------------------------------------------------------------------------

RANDOM = np.random.default_rng(1)
NULLS = RANDOM.random(ROWS) < 0.2
FIXED_TYPES = [
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.date32(), pa.date64()),
    *(pa.timestamp("s"), pa.timestamp("ns", "UTC"), pa.time32("ms"), pa.time64("us"), pa.duration("ns")),
    *(pa.list_(pa.float32(), 8), pa.list_(pa.int8(), 3), pa.list_(pa.timestamp("ms"), 1)),
]


def column_of(kind, *, nullable):
    """ROWS values of a type, a fifth of them null where nullable."""
    if pa.types.is_fixed_size_list(kind):
        elements = np.resize(column_of(kind.value_type, nullable=False), ROWS * kind.list_size)
        return pa.FixedSizeListArray.from_arrays(
            pa.array(elements, kind.value_type), kind.list_size, mask=pa.array(NULLS) if nullable else None
        )
    numbers = RANDOM.integers(0, 100, ROWS)
    if pa.types.is_floating(kind):
        values = RANDOM.random(ROWS).astype(kind.to_pandas_dtype())
        return pa.array(values, kind, mask=NULLS if nullable else None)
    if pa.types.is_boolean(kind):
        return pa.array(numbers % 2 == 0, mask=NULLS if nullable else None)
    if pa.types.is_integer(kind):
        return pa.array(numbers.astype(kind.to_pandas_dtype()), kind, mask=NULLS if nullable else None)
    if pa.types.is_date64(kind):
        numbers = numbers * 86_400_000
    storage = pa.int32() if kind.bit_width == 32 else pa.int64()
    return pa.array(numbers, storage, mask=NULLS if nullable else None).cast(kind)


def decoded_peak(path, piece_rows):
    """(most bytes in the loader's pool while the first unit is read piece by piece, what its costs bound them by)."""
    provider = provider_of(path)
    columns = tuple(range(len(provider.schema)))
    for piece in provider.open(0, columns, piece_rows):
        del piece
    fixed, row_bytes = (int(provider.costs[:, i].sum()) for i in (0, 1))
    return provider._pool.max_memory(), fixed - sum(provider._column_page_bytes) + piece_rows * row_bytes


@pytest.mark.parametrize("nullable", [False, True])
@pytest.mark.parametrize("kind", FIXED_TYPES, ids=str)
def test_decoding_fixed_width_columns_takes_no_more_than_their_costs_say(
    through_pyarrow, tmp_path, kind, nullable
):
    path = tmp_path / "a.parquet"
    schema = pa.schema([pa.field("x", kind, nullable=nullable)])
    table = pa.table([column_of(kind, nullable=nullable)], schema=schema)
    for use_dictionary in (False, True):
        pq.write_table(table, path, use_dictionary=use_dictionary, compression="snappy")
        for piece_rows in (2048, 10_000, 16384):
            peak, bound = decoded_peak(path, piece_rows)
            # A footer is read in one go of 64 KiB, before there are pieces.
            assert peak <= max(bound, 64 << 10) + 4096
            assert bound < 4 * peak + (2 << 20), "a bound far from the truth wastes the limit"


@pytest.mark.parametrize("kind", [pa.string(), pa.large_binary()], ids=str)
@pytest.mark.parametrize("use_dictionary", [False, True])
def test_decoding_strings_takes_about_what_their_costs_say(tmp_path, kind, use_dictionary):
    path = tmp_path / "a.parquet"
    values = pa.array([f"some string {i % 5000} {'x' * (i % 60)}" for i in range(ROWS)]).cast(kind)
    pq.write_table(pa.table({"x": values}), path, use_dictionary=use_dictionary)
    for piece_rows in (2048, 16384):
        peak, bound = decoded_peak(path, piece_rows)
        assert peak <= max(bound, 64 << 10) + 4096
        assert bound < 4 * peak + (2 << 20)


@pytest.mark.parametrize("is_noted", [False, True])
def test_a_dictionary_of_long_strings_is_not_taken_for_its_size_in_the_file(tmp_path, monkeypatch, is_noted):
    """Whether the writer noted how many bytes the strings have, as newer ones do, or not."""
    original = _parquet_pages._chunk
    noted = []

    def chunk_of(column):
        chunk = original(column)
        noted.append(chunk.string_bytes)
        return chunk if is_noted else dataclasses.replace(chunk, string_bytes=None)

    monkeypatch.setattr(_parquet_pages, "_chunk", chunk_of)
    path = tmp_path / "a.parquet"
    lengths = [100, 20_000, 40_000]
    values = pa.DictionaryArray.from_arrays(
        pa.array(RANDOM.integers(0, 3, 5000).astype(np.int32)), pa.array(["v" * length for length in lengths])
    ).cast(pa.string())
    pq.write_table(pa.table({"x": values}), path)
    chunk = pq.read_metadata(path).row_group(0).column(0)
    assert chunk.total_uncompressed_size < 100_000 < values.nbytes // 500
    provider = provider_of(path)
    mean = values.nbytes / len(values)
    assert noted == [pytest.approx(values.nbytes, rel=0.01)]
    assert 0.9 * mean < provider.costs[0, 2] < 1.2 * mean


def test_strings_and_fixed_width_columns_say_which_they_are(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"s": ["abcd"] * 100, "a": range(100)}), path, use_dictionary=False)
    strings = provider_of(path).costs[:, 2]
    assert 4 <= strings[0] <= 10
    assert strings[1] == 0


def test_pages_are_seen_as_their_headers_say(tmp_path):
    path = tmp_path / "a.parquet"
    values = RANDOM.integers(0, 1000, ROWS)
    pq.write_table(
        pa.table({"x": values}), path, compression="snappy", data_page_size=4096, write_statistics=True
    )
    metadata = pq.read_metadata(path).row_group(0).column(0)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        [(rows, [chunk])] = list(read_row_groups(read_footer(descriptor, path.stat().st_size)))
        pages = read_chunk_pages(descriptor, chunk.start, chunk.compressed_bytes)
    finally:
        os.close(descriptor)
    assert (rows, chunk.values) == (ROWS, ROWS)
    assert chunk.compressed_bytes == metadata.total_compressed_size
    assert chunk.uncompressed_bytes == metadata.total_uncompressed_size
    assert chunk.start == metadata.dictionary_page_offset
    assert pages.dictionary_values == len(np.unique(values))
    assert pages.dictionary_bytes == 8 * pages.dictionary_values
    assert 1000 < pages.data_bytes < 16384
    assert max(pages.data_bytes, pages.dictionary_bytes) == pages.uncompressed_bytes


def test_page_headers_with_long_statistics_are_read(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": ["y" * 2000]}), path, use_dictionary=False)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        [(_, [chunk])] = list(read_row_groups(read_footer(descriptor, path.stat().st_size)))
        assert read_chunk_pages(descriptor, chunk.start, chunk.compressed_bytes).data_bytes > 2000
        with pytest.raises(MalformedThrift):
            read_chunk_pages(descriptor, chunk.start, chunk.compressed_bytes - 1)
    finally:
        os.close(descriptor)


def test_structs_of_unknown_fields_are_stepped_over_and_damage_is_an_error():
    # 1: i32 5; 2: true; 3: binary "ab"; 4: list of i32 [1, 2]; 6: map {1: "x"}; 7: double; 9: struct {1: i64 -1}
    data = bytes([0x15, 10, 0x11, 0x18, 2, 97, 98, 0x19, 0x25, 2, 4, 0x2B, 1, 0x58, 2, 1, 120])
    data += bytes([0x17, *range(8), 0x2C, 0x16, 1, 0, 0])
    fields, length = parse_struct(data + b"rest")
    assert length == len(data)
    assert fields == {1: 5, 2: True, 3: None, 4: [1, 2], 6: None, 7: None, 9: {1: -1}}
    for end in range(len(data)):
        with pytest.raises(MalformedThrift):
            parse_struct(data[:end])
    random = np.random.default_rng(2)
    for _ in range(2000):
        junk = random.integers(0, 256, random.integers(1, 80), np.uint8).tobytes()
        try:
            parse_struct(junk)
        except MalformedThrift:
            pass


def test_deeply_nested_and_endless_structs_are_refused():
    with pytest.raises(MalformedThrift):
        parse_struct(bytes([0x1C]) * 100_000)
    with pytest.raises(MalformedThrift):
        parse_struct(bytes([0x19, 0xF5]) + b"\xff" * 8 + b"\x7f")
    with pytest.raises(MalformedThrift):
        parse_struct(bytes([0x15]) + b"\xff" * 20)


# ---- writers -------------------------------------------------------------------------------------------------------


def test_strings_of_writers_that_store_them_otherwise_are_the_same_column(tmp_path):
    words = ["a", None, "ccc", "a"] * 50
    kinds = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
    for number, kind in enumerate(kinds):
        values = pa.array(words)
        values = values.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else values.cast(kind)
        table = pa.table({"id": range(number * 200, number * 200 + 200), "word": values})
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=30)
    for turn in range(4):  # each of them first
        paths = [tmp_path / f"{(number + turn) % 4}.parquet" for number in range(4)]
        with forebay.Loader(paths, batch_size=64, null_policy="mask", preserve_order=True) as loader:
            shown = [word for batch in loader for word in batch["word"].to_pylist()]
            assert shown == words * 4
        with forebay.Loader(paths, batch_size=64, batch_format="pyarrow", preserve_order=True) as loader:
            table = pa.Table.from_batches(list(loader), loader.schema)
            assert table["word"].to_pylist() == words * 4
