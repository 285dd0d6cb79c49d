"""Columns that folders say: `key=value` below the root, against pyarrow.dataset on the same files."""

import datetime
import gc

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import forebay
from forebay import _partitions
from forebay._parquet import ParquetProvider
from forebay._paths import FoundFile, check_paths, find_files

NULL = "__HIVE_DEFAULT_PARTITION__"
ROWS = 100


def write(root, folders, name="part.parquet", **columns):
    """A file below root, its column "x" numbers from a start that is its own."""
    path = root / folders / name
    path.parent.mkdir(parents=True, exist_ok=True)
    start = ROWS * len(list(root.rglob("*.parquet")))
    columns = columns or {"x": np.arange(start, start + ROWS), "s": [f"row {i}" for i in range(ROWS)]}
    pq.write_table(pa.table(columns), path, row_group_size=30)
    return path


def read(source, **arguments):
    """All rows of an epoch as a table of the loader's schema; nulls as they are, under null_policy="mask"."""
    arguments = {"batch_size": 37, "preserve_order": True, "null_policy": "mask"} | arguments
    with forebay.Loader(source, **arguments) as loader:
        batches = list(loader)
        columns = []
        for field in loader.schema:
            chunks = []
            for batch in batches:
                valid = batch[f"{field.name}.valid"]
                values = batch[field.name]
                if isinstance(values, forebay.ArrowColumn):
                    chunks.append(pa.array(values))
                else:
                    chunks.append(pa.array(values, type=field.type, mask=~valid))
            columns.append(pa.chunked_array(chunks, type=field.type))
        assert loader.stats().peak_bytes <= loader.stats().memory_limit
        return pa.table(columns, names=loader.schema.names)


def expected(root):
    """What pyarrow.dataset reads, its files in the order of their paths."""
    dataset = ds.dataset(root, partitioning="hive")
    return ds.dataset(sorted(dataset.files), partitioning=dataset.partitioning).to_table()


def check_same(table, other):
    assert table.schema.names == other.schema.names
    assert table.schema.types == other.schema.types
    assert table.to_pydict() == other.to_pydict()


@pytest.fixture
def tree(tmp_path):
    """Two levels of folders, ints and strings, two files in one of them."""
    for year in (2023, 2024):
        for country in ("de", "fr"):
            write(tmp_path, f"year={year}/country={country}")
    write(tmp_path, "year=2024/country=fr", "part-2.parquet")
    return tmp_path


# ---- the same as pyarrow.dataset -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("batch_size", [1, 37, 4096])
def test_folders_become_columns_after_the_files_own(tree, threads, batch_size):
    table = read(tree, num_threads=threads, batch_size=batch_size)
    assert table.schema.names == ["x", "s", "year", "country"]
    check_same(table, expected(tree))


@pytest.mark.parametrize(
    "values",
    [
        ("1", "2", "-3"),
        ("01", "002", "-0"),
        ("2147483647", "-2147483648"),
        ("1", "x"),
        ("1", NULL),
        (NULL, "x", ""),
        ("1.5", "2"),
        ("+1", "2"),
        (" 1", "2"),
        ("1_000", "2"),
        ("١", "2"),
        ("true", "false"),
        ("a%20b", "c%2Fd", "%zz", "b+c", "a=b"),
        ("é", "%C3%A9", "\U0001f600"),
        ("99999999999999999999999999", "1"),
        ("2024-01-01", "2024-01-02"),
    ],
    ids=" ".join,
)
def test_values_have_the_types_and_values_of_pyarrow(tmp_path, values):
    for value in values:
        write(tmp_path, f"key={value}")
    check_same(read(tmp_path), expected(tmp_path))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ((2**31 - 1, -(2**31)), pa.int32()),
        ((2**31, 1), pa.int64()),
        ((-(2**31) - 1, 1), pa.int64()),
        ((20240101235959, 2**63 - 1, -(2**63)), pa.int64()),
        ((2**63, 1), pa.string()),
        ((-(2**63) - 1, 1), pa.string()),
    ],
    ids=str,
)
def test_numbers_that_int32_cannot_hold_are_int64(tmp_path, values, kind):
    """pyarrow makes strings of those."""
    for value in values:
        write(tmp_path, f"key={value}")
    table = read(tmp_path)
    assert table.schema.field("key").type == kind
    assert {int(value) for value in table["key"].to_pylist()} == set(values)


def test_a_key_that_is_null_everywhere_is_a_string_column_of_nulls(tmp_path):
    """pyarrow cannot infer its type, and fails."""
    write(tmp_path, f"key={NULL}")
    assert read(tmp_path)["key"].to_pylist() == [None] * ROWS


def test_keys_are_decoded_and_their_order_is_the_first_files(tmp_path):
    write(tmp_path, "a%20b=1/c=2")
    write(tmp_path, "c=3/a%20b=4")
    table = read(tmp_path)
    check_same(table, expected(tmp_path))
    assert table.schema.names[-2:] == ["a b", "c"]


def test_folders_that_name_no_key_are_only_folders(tmp_path):
    write(tmp_path, "year=1/raw/=5")
    write(tmp_path, "more/year=2/raw")
    assert read(tmp_path).schema.names == ["x", "s", "year"]


# ---- choosing ------------------------------------------------------------------------------------------------------


def test_columns_may_be_chosen_in_any_order(tree):
    table = read(tree, columns=["country", "x", "year"])
    check_same(table, expected(tree).select(["country", "x", "year"]))


@pytest.mark.parametrize("columns", [["year"], ["country"], ["country", "year"]])
def test_partition_columns_may_be_all_that_is_read(tree, columns):
    check_same(read(tree, columns=columns), expected(tree).select(columns))


def test_a_column_that_is_not_there_names_those_of_the_folders_too(tree):
    with pytest.raises(ValueError, match="did you mean 'country'"):
        forebay.Loader(tree, batch_size=1, columns=["country_"])


def test_without_partitioning_folders_are_only_folders(tree):
    table = read(tree, partitioning=None)
    assert table.schema.names == ["x", "s"]
    check_same(table, expected(tree).select(["x", "s"]))


@pytest.mark.parametrize("value", ["directory", "", "Hive"])
def test_another_partitioning_is_a_value_error(tree, value):
    with pytest.raises(ValueError, match='partitioning must be "hive"'):
        forebay.Loader(tree, batch_size=1, partitioning=value)


def test_partitioning_of_data_in_memory_is_a_value_error():
    with pytest.raises(ValueError, match="partitioning is for files"):
        forebay.Loader(pa.table({"a": [1]}), batch_size=1, partitioning=None)


def test_iter_batches_takes_it_too(tree):
    assert set(next(forebay.iter_batches(tree, batch_size=8))) == {"x", "s", "year", "country"}
    assert set(next(forebay.iter_batches(tree, batch_size=8, partitioning=None))) == {"x", "s"}


# ---- the root ------------------------------------------------------------------------------------------------------


def test_only_folders_below_the_root_count(tree):
    assert read(tree / "year=2024").schema.names == ["x", "s", "country"]
    assert read(tree / "year=2024" / "country=de").schema.names == ["x", "s"]
    assert read(tree / "year=2024" / "country=de" / "part.parquet").schema.names == ["x", "s"]
    assert read([tree / "year=2023", tree / "year=2024"]).schema.names == ["x", "s", "country"]


def test_the_root_of_a_glob_is_what_is_named_before_its_first_special_character(tree, monkeypatch):
    assert read(f"{tree}/year=*/country=de/*.parquet").schema.names == ["x", "s", "year", "country"]
    assert read(f"{tree}/year=2023/c*/*.parquet").schema.names == ["x", "s", "country"]
    assert read(f"{tree}/**/*.parquet").schema.names == ["x", "s", "year", "country"]
    assert read(f"{tree}/year=20*").schema.names == ["x", "s", "year", "country"]
    assert read(f"{tree}/year=2023/country=de/*").schema.names == ["x", "s"]
    assert read(f"{tree}//year=20*").schema.names == ["x", "s", "year", "country"]
    monkeypatch.chdir(tree)
    assert read("year=*/*/*.parquet").schema.names == ["x", "s", "year", "country"]
    assert read(".").schema.names == ["x", "s", "year", "country"]
    assert read("./").schema.names == ["x", "s", "year", "country"]
    monkeypatch.chdir(tree / "year=2023")
    assert read("../year=2023").schema.names == ["x", "s", "country"]


# ---- what disagrees ------------------------------------------------------------------------------------------------


def test_a_column_that_the_files_have_too_is_read_from_the_files(tmp_path):
    """pyarrow reads the folder's where both have one type, and fails where they have not."""
    for day in (1, 2):
        values = [datetime.date(2024, 1, day)] * 10
        write(tmp_path, f"date=2024-01-0{day}", date=values, x=range(10))
    table = read(tmp_path)
    assert table.schema == pa.schema([("date", pa.date32()), ("x", pa.int64())])
    assert [table["date"][i].as_py().day for i in (0, 19)] == [1, 2]


def test_files_that_disagree_whether_a_folder_says_a_column_are_refused(tmp_path):
    first = write(tmp_path, "a=1", x=[1])
    second = write(tmp_path, "a=2", x=[1], a=[2])
    with pytest.raises(forebay.SourceError, match="'a' of its own") as caught:
        forebay.Loader(tmp_path, batch_size=1)
    assert str(first) in str(caught.value) and str(second) in str(caught.value)
    assert read(tmp_path, columns=["x"])["x"].to_pylist() == [1, 1]
    with pytest.raises(forebay.SourceError, match="folder that says 'a'"):
        forebay.Loader([tmp_path / "a=2", tmp_path], batch_size=1)


@pytest.mark.parametrize("other", ["", "b=2", "a=1/b=2", "c"])
def test_files_that_disagree_in_their_keys_are_refused_naming_both(tmp_path, other):
    first = write(tmp_path, "a=1", "0.parquet")
    second = write(
        tmp_path / "a=1" if other.startswith("a=1/") else tmp_path, other.removeprefix("a=1/"), "z.parquet"
    )
    with pytest.raises(forebay.SourceError, match="differ") as caught:
        forebay.Loader(tmp_path, batch_size=1)
    assert str(first) in str(caught.value) and str(second) in str(caught.value)
    assert len(read(tmp_path, partitioning=None)) == len(read(tmp_path, columns=["x"])) == 2 * ROWS


def test_a_key_that_folders_say_twice_is_refused(tmp_path):
    path = write(tmp_path, "a=1/a=2")
    with pytest.raises(forebay.SourceError, match="more than one of its folders says 'a'") as caught:
        forebay.Loader(tmp_path, batch_size=1)
    assert caught.value.path == str(path)
    assert len(read(tmp_path, partitioning=None)) == ROWS


@pytest.mark.parametrize("folder", ["a=%FF", "%FF=a"])
def test_a_folder_that_is_not_utf_8_is_refused(tmp_path, folder):
    write(tmp_path, folder)
    with pytest.raises(forebay.SourceError, match="not UTF-8"):
        forebay.Loader(tmp_path, batch_size=1)


# ---- how it is read ------------------------------------------------------------------------------------------------


@pytest.fixture
def provider_of():
    """Makes providers, and keeps them longer than what was read of them: their pool must outlive it."""
    kept = []

    def make(root):
        found = find_files(check_paths(root))
        partitions = _partitions.hive_partitions(found)
        kept.append(ParquetProvider([file.path for file in found], None, 2, partitions=partitions))
        return kept[-1]

    yield make
    gc.collect()


def test_the_core_goes_on_decoding_the_other_columns(tree, provider_of):
    provider = provider_of(tree)
    assert provider.native_columns == [True, False, False, False]
    assert provider.partition_columns == [False, False, True, True]


def test_no_file_is_opened_for_partition_columns_alone(tree, provider_of):
    provider = provider_of(tree)
    for path in tree.rglob("*.parquet"):
        path.unlink()
    table = provider.open(0, (2, 3), 8).read_all()
    assert table.to_pydict() == {"year": [2023] * 30, "country": ["de"] * 30}


def test_pieces_are_as_asked_for_and_made_once(tree, provider_of):
    provider = provider_of(tree)
    before = provider.allocated_bytes()
    batches = list(provider.open(0, (2, 3), 8))
    assert [batch.num_rows for batch in batches] == [8, 8, 8, 6]
    assert len({batch["country"].buffers()[2].address for batch in batches}) == 1
    del batches
    assert provider.allocated_bytes() == before


def test_pieces_stand_beside_those_of_a_stream(tree, provider_of):
    provider = provider_of(tree)
    batches = list(provider.open(0, (1, 2, 3), 8))
    assert [batch.num_rows for batch in batches] == [8, 8, 8, 6]
    assert batches[3].to_pydict() == {
        "s": [f"row {i}" for i in range(24, 30)], "year": [2023] * 6, "country": ["de"] * 6
    }  # fmt: skip


@pytest.mark.parametrize("value", ["7", "x" * 200, "", NULL, "20240101235959"])
def test_a_stream_holds_no_more_than_its_cost(tmp_path, provider_of, value):
    path = tmp_path / f"key={value}" / "a.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"x": np.arange(200_000)}), path)
    provider = provider_of(tmp_path)
    fixed_bytes, row_bytes, string_bytes, _ = (int(cost) for cost in provider.costs[1])
    assert string_bytes == {"7": 0, "20240101235959": 0, NULL: 1}.get(value, len(value) + 1)
    for piece_rows in (1, 1024, 65_536):
        stream = provider.open(0, (1,), piece_rows)
        stream.read_next_batch()
        held = provider.allocated_bytes()
        assert 0 < held <= fixed_bytes + row_bytes * piece_rows
        if piece_rows > 1:
            assert held > 0.5 * (row_bytes * piece_rows)  # not far from it either
        del stream


def test_many_rows_of_a_long_value_stay_inside_a_small_limit(tmp_path):
    for value in ("a" * 200, "b"):
        path = tmp_path / f"key={value}" / "a.parquet"
        path.parent.mkdir()
        pq.write_table(pa.table({"x": np.arange(300_000)}), path)
    with forebay.Loader(tmp_path, batch_size=1024, memory_limit="4GiB") as loader:
        least = loader.plan().least_memory_bytes
    rows = 0
    with forebay.Loader(tmp_path, batch_size=1024, memory_limit=least) as loader:
        for batch in loader:
            first = batch["key"][0]
            assert set(batch["key"].to_pylist()) <= {"a" * 200, "b"} and len(first) in (1, 200)
            rows += len(batch["x"])
        stats = loader.stats()
    assert rows == 600_000
    assert stats.peak_bytes <= least and stats.foreign_bytes == 0


def test_null_policies_hold_for_partition_columns(tmp_path):
    write(tmp_path, f"key={NULL}")
    write(tmp_path, "key=5")
    with forebay.Loader(tmp_path, batch_size=50, preserve_order=True) as loader:
        with pytest.raises(forebay.SourceError, match="key"):
            list(loader)
    with forebay.Loader(tmp_path, batch_size=200, null_policy="fill", fill_value={"key": -1}) as loader:
        [batch] = loader
        assert sorted(set(batch["key"].tolist())) == [-1, 5]
        assert batch["key"].dtype == np.int32


def test_a_wide_tree_of_many_folders_is_read(tmp_path):
    for number in range(300):
        path = tmp_path / f"k={number}" / "a.parquet"
        path.parent.mkdir()
        pq.write_table(pa.table({"x": [number]}), path)
    table = read(tmp_path, batch_size=64)
    assert table["k"].to_pylist() == table["x"].to_pylist()


def test_files_found_by_their_own_name_have_no_columns_of_folders():
    assert _partitions.hive_partitions([FoundFile("a=1/b.parquet", None)]).types == {}
