"""pyarrow's Parquet datasets as sources, against what pyarrow reads of them."""

import datetime
import os

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.dataset as ds
import pyarrow.fs as fs
import pyarrow.parquet as pq
import pytest

import forebay


@pytest.fixture
def root(tmp_path):
    """day=*/part files of 20 rows in row groups of 6: int64, string, and the folder's int32."""
    for day in (3, 1, 2):
        folder = tmp_path / "data" / f"day={day}"
        folder.mkdir(parents=True)
        pq.write_table(
            pa.table({"x": range(day * 100, day * 100 + 20), "s": [f"{day} {i}" for i in range(20)]}),
            folder / "part.parquet",
            row_group_size=6,
        )
    return tmp_path / "data"


def read(source, **arguments):
    """{column: values} of an epoch."""
    arguments = {"batch_size": 7, "preserve_order": True, "null_policy": "mask"} | arguments
    with forebay.Loader(source, **arguments) as loader:
        batches = list(loader)
        names = loader.schema.names
        assert loader.stats().peak_bytes <= loader.stats().memory_limit
    columns = {}
    for name in names:
        columns[name] = [
            value if valid else None
            for batch in batches
            for value, valid in zip(batch[name].tolist() if hasattr(batch[name], "tolist") else batch[name],
                                    batch[f"{name}.valid"].tolist(), strict=True)
        ]  # fmt: skip
    return columns


def in_order(dataset):
    """The rows of a dataset, its fragments in their order."""
    return pa.concat_tables(
        [fragment.to_table(schema=dataset.schema) for fragment in dataset.get_fragments()]
    )


# ---- what is read --------------------------------------------------------------------------------------------------


def test_fragments_are_read_in_their_order_with_their_partition_columns(root):
    dataset = ds.dataset(root, partitioning="hive")
    assert read(dataset) == in_order(dataset).to_pydict()
    paths = [str(root / f"day={day}/part.parquet") for day in (3, 1, 2)]
    dataset = ds.dataset(paths, partitioning="hive")
    assert read(dataset) == in_order(dataset).to_pydict()
    assert read(dataset)["day"][::20] == [3, 1, 2]


def test_columns_are_the_schemas_in_its_order(root):
    schema = pa.schema([("day", pa.int64()), ("x", pa.int64())])
    dataset = ds.dataset(
        root, schema=schema, partitioning=ds.partitioning(pa.schema([("day", pa.int64())]), flavor="hive")
    )
    with forebay.Loader(dataset, batch_size=7) as loader:
        assert loader.schema.equals(schema)
    assert read(dataset) == in_order(dataset).to_pydict()
    assert read(dataset, columns=["x"]) == {"x": in_order(dataset)["x"].to_pylist()}
    assert read(dataset, columns=["x", "day"]) == in_order(dataset).select(["x", "day"]).to_pydict()
    with pytest.raises(ValueError, match="has no column 's'"):
        forebay.Loader(dataset, batch_size=1, columns=["s"])


def test_a_parquet_dataset_is_read_its_dictionary_columns_decoded(root):
    dataset = pq.ParquetDataset(root)
    assert pa.types.is_dictionary(dataset.schema.field("day").type)
    with forebay.Loader(dataset, batch_size=7) as loader:
        assert loader.schema.field("day").type == pa.int32()
    table = dataset.read()
    assert read(dataset) == table.to_pydict()


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.date32(), ["2024-01-01", "2024-01-02"]),
        (pa.timestamp("s"), ["2024-01-01T00:00:00", "2024-01-02T00:00:00"]),
        (pa.int8(), ["1", "-2"]),
        (pa.string(), ["a", "__HIVE_DEFAULT_PARTITION__"]),
        (pa.large_string(), ["a", "bcd"]),
        (pa.bool_(), ["true", "false"]),
        (pa.float64(), ["1.5", "2"]),
    ],
    ids=str,
)
def test_partition_columns_have_the_types_that_the_dataset_settled(tmp_path, kind, values):
    for value in values:
        (tmp_path / f"k={value}").mkdir()
        pq.write_table(pa.table({"x": range(30)}), tmp_path / f"k={value}" / "a.parquet", row_group_size=11)
    partitioning = ds.partitioning(pa.schema([("k", kind)]), flavor="hive")
    dataset = ds.dataset(tmp_path, partitioning=partitioning)
    with forebay.Loader(dataset, batch_size=7) as loader:
        assert loader.schema.field("k").type == kind
    expected = in_order(dataset)["k"].to_pylist()
    got = read(dataset)["k"]
    if kind == pa.date32():
        got = [value if isinstance(value, datetime.date) else value.item() for value in got]
    assert got == expected


def test_folders_without_keys_may_be_columns(root):
    dataset = ds.dataset(root, partitioning=ds.partitioning(field_names=["folder"]))
    assert read(dataset)["folder"] == in_order(dataset)["folder"].to_pylist()


def test_a_partition_column_hides_one_of_the_files(tmp_path):
    (tmp_path / "k=5").mkdir()
    pq.write_table(pa.table({"k": pa.array([1, 2], pa.int32()), "x": [1, 2]}), tmp_path / "k=5" / "a.parquet")
    dataset = ds.dataset(tmp_path, partitioning="hive")
    assert dataset.to_table()["k"].to_pylist() == [5, 5]
    assert read(dataset) == dataset.to_table().to_pydict()


def test_row_groups_of_fragments_are_those_that_are_read(root):
    dataset = ds.dataset(root, partitioning="hive")
    first, second, _ = dataset.get_fragments()
    chosen = [
        first.subset(row_group_ids=[3, 1]),
        second.subset(ds.field("x") > 207),
        *first.split_by_row_group()[:2],
    ]
    some = ds.FileSystemDataset(chosen, dataset.schema, dataset.format, dataset.filesystem)
    expected = in_order(some)
    assert 0 < len(expected) < len(in_order(dataset))
    assert read(some) == expected.to_pydict()
    # Decoded by the core alone, and as streams alone.
    assert read(some, columns=["x"])["x"] == expected["x"].to_pylist()
    assert read(some, columns=["s", "day"]) == expected.select(["s", "day"]).to_pydict()
    with forebay.Loader(some, batch_size=7) as loader:
        assert loader.plan().units == sum(len(fragment.row_groups) for fragment in chosen)


def test_a_fragment_of_no_row_group_has_no_rows(root):
    dataset = ds.dataset(root, partitioning="hive")
    first, second, _ = dataset.get_fragments()
    none = first.subset(ds.field("x") > 10_000)
    assert not none.row_groups
    some = ds.FileSystemDataset([none, second], dataset.schema, dataset.format, dataset.filesystem)
    assert read(some) == in_order(some).to_pydict()


def test_a_row_group_that_the_file_lacks_is_refused(root):
    local, parquet = fs.LocalFileSystem(), ds.ParquetFileFormat()
    path = str(root / "day=1" / "part.parquet")
    fragment = parquet.make_fragment(path, local, row_groups=[9])
    some = ds.FileSystemDataset([fragment], pa.schema([("x", pa.int64())]), parquet, local)
    with pytest.raises(forebay.SourceError, match="row group 9|references row group") as caught:
        forebay.Loader(some, batch_size=1)
    assert caught.value.path == path


def test_a_part_of_the_local_filesystem_is_read(root):
    below = fs.SubTreeFileSystem(str(root), fs.LocalFileSystem())
    dataset = ds.dataset("", filesystem=below, partitioning="hive")
    assert read(dataset) == in_order(dataset).to_pydict()


def test_relative_paths_are_read(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    dataset = ds.dataset("data", partitioning="hive")
    assert read(dataset) == in_order(dataset).to_pydict()


def test_the_dataset_stays_usable_and_is_not_kept(root):
    import gc
    import weakref

    dataset = ds.dataset(root, partitioning="hive")
    gone = weakref.ref(dataset)
    loader = forebay.Loader(dataset, batch_size=7)
    assert dataset.count_rows() == 60
    del dataset
    gc.collect()
    assert gone() is None
    assert sum(len(batch["x"]) for batch in loader) == 60
    loader.close()


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_a_fragment_that_lacks_a_column_is_refused_by_name(root):
    pq.write_table(pa.table({"x": [1]}), root / "day=2" / "part.parquet")
    dataset = ds.dataset(root, partitioning="hive")
    with pytest.raises(
        forebay.SourceError, match=r"day=2/part\.parquet.*the dataset's schema differ.*no column 's'"
    ):
        forebay.Loader(dataset, batch_size=1)
    _, stats = bad_files_of(dataset)
    assert stats.bad_files == 1
    assert read(dataset, columns=["x"])["x"] == in_order(dataset)["x"].to_pylist()


def test_a_fragment_of_another_type_is_refused_by_name(root):
    pq.write_table(pa.table({"x": pa.array([1], pa.int32()), "s": ["a"]}), root / "day=2" / "part.parquet")
    dataset = ds.dataset(root, partitioning="hive")
    with pytest.raises(
        forebay.SourceError, match=r"column 'x' is int32 in .*day=2.* int64 in the dataset's schema"
    ):
        forebay.Loader(dataset, batch_size=1)


def test_a_fragment_without_a_partition_value_is_refused_by_name(root):
    pq.write_table(pa.table({"x": [1], "s": ["a"]}), root / "stray.parquet")
    dataset = ds.dataset(root, partitioning="hive")
    with pytest.raises(
        forebay.SourceError, match=r"stray\.parquet: its partition expression gives no value to 'day'"
    ):
        forebay.Loader(dataset, batch_size=1)
    assert len(read(dataset, columns=["x"])["x"]) == 61


def bad_files_of(dataset):
    with forebay.Loader(dataset, batch_size=7, on_bad_file="skip", preserve_order=True) as loader:
        return list(loader), loader.stats()


def test_a_damaged_fragment_may_be_left_out(root):
    dataset = ds.dataset(root, partitioning="hive")
    (root / "day=1" / "part.parquet").write_bytes(b"PAR1 and no more")
    batches, stats = bad_files_of(dataset)
    assert sum(len(batch["x"]) for batch in batches) == 40
    assert [path for path, _ in stats.bad_file_paths] == [str(root / "day=1" / "part.parquet")]


def a_csv_dataset(root):
    csv.write_csv(pa.table({"x": [1]}), root.parent / "a.csv")
    return ds.dataset(root.parent / "a.csv", format="csv")


def a_buffer_dataset(root):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": [1]}), sink)
    fragment = ds.ParquetFileFormat().make_fragment(sink.getvalue())
    return ds.FileSystemDataset(
        [fragment], pa.schema([("x", pa.int64())]), ds.ParquetFileFormat(), fs.LocalFileSystem()
    )


def a_foreign_dataset(root):
    class Handler(fs.FSSpecHandler):
        def __init__(self):
            self.fs = None

        def get_type_name(self):
            return "elsewhere"

    fragment = ds.ParquetFileFormat().make_fragment(
        str(root / "day=1/part.parquet"), fs.PyFileSystem(Handler())
    )
    schema = pa.schema([("x", pa.int64())])
    return ds.FileSystemDataset([fragment], schema, ds.ParquetFileFormat(), fs.PyFileSystem(Handler()))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda root: ds.dataset(pa.table({"x": [1]})), "InMemoryDataset is not read: give the tables"),
        (
            lambda root: ds.dataset([ds.dataset(root), ds.dataset(root)]),
            "UnionDataset is not read: give the paths",
        ),
        (a_csv_dataset, "format 'csv' is not read: write its data as Parquet"),
        (a_buffer_dataset, "over buffers is not read"),
        (a_foreign_dataset, "filesystem '.*elsewhere.*' is not read: copy its files"),
        (lambda root: ds.dataset(root).filter(ds.field("x") > 5), "filter is not read"),
        (lambda root: pq.ParquetDataset(root, filters=[("x", ">", 5)]), "filter is not read"),
    ],
    ids=["in memory", "union", "csv", "buffer", "filesystem", "filter", "filters"],
)
def test_another_kind_of_dataset_is_refused_with_what_to_do_instead(root, make, expected):
    with pytest.raises(forebay.UnsupportedError, match=expected):
        forebay.Loader(make(root), batch_size=1)


def test_a_dataset_without_files_is_refused(root):
    dataset = ds.FileSystemDataset(
        [], pa.schema([("x", pa.int64())]), ds.ParquetFileFormat(), fs.LocalFileSystem()
    )
    with pytest.raises(forebay.SourceError, match="holds no file"):
        forebay.Loader(dataset, batch_size=1)


def test_no_partitioning_of_a_dataset_is_refused(root):
    with pytest.raises(ValueError, match="brings its own partitioning"):
        forebay.Loader(ds.dataset(root), batch_size=1, partitioning=None)


def test_a_file_that_goes_before_it_is_read_is_named(root):
    dataset = ds.dataset(root, partitioning="hive")
    os.remove(root / "day=3" / "part.parquet")
    with pytest.raises(forebay.SourceError, match=r"day=3/part\.parquet"):
        forebay.Loader(dataset, batch_size=1)
