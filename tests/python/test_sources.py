"""What may be a source besides paths: tables, record batches, lists of them, Arrow arrays; and what may not."""

import collections
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import forebay


def read(source, **arguments):
    """{column: values} of an epoch."""
    with forebay.Loader(source, **({"batch_size": 3} | arguments)) as loader:
        batches = list(loader)
    return {name: [value for batch in batches for value in list(batch[name])] for name in batches[0]}


class Exports:
    """Nothing but the Arrow array interface."""

    def __init__(self, array):
        self._array = array

    def __arrow_c_array__(self, requested_schema=None):
        return self._array.__arrow_c_array__(requested_schema)


TABLE = pa.table({"a": [1, 2, 3, 4], "s": ["w", "x", "y", "z"]})
BATCH = pa.record_batch({"a": [5, 6], "s": ["u", "v"]})


@pytest.mark.parametrize("kind", [list, tuple])
def test_tables_and_record_batches_of_a_list_are_one_source(kind):
    got = read(kind([TABLE, BATCH, TABLE.slice(1, 1)]))
    assert got == {"a": [1, 2, 3, 4, 5, 6, 2], "s": ["w", "x", "y", "z", "u", "v", "x"]}


def test_they_agree_by_name_and_may_order_their_columns_differently():
    other = pa.table({"s": ["?"], "a": [9]})
    assert read([TABLE, other], batch_size=5) == {"a": [1, 2, 3, 4, 9], "s": ["w", "x", "y", "z", "?"]}
    assert read([other, TABLE], columns=["a"], batch_size=5) == {"a": [9, 1, 2, 3, 4]}


def test_a_column_is_nullable_where_it_is_in_any():
    never = pa.table({"a": [1]}, schema=pa.schema([pa.field("a", pa.int64(), nullable=False)]))
    with forebay.Loader(
        [never, pa.table({"a": pa.array([None], pa.int64())})], batch_size=2, null_policy="fill"
    ) as loader:
        assert loader.schema.field("a").nullable
        assert [batch["a"].tolist() for batch in loader] == [[1, 0]]


def test_rows_are_numbered_over_all_of_them():
    with forebay.Loader(
        [TABLE, pa.table({"a": [1, None], "s": ["", ""]})], batch_size=2, preserve_order=True
    ) as loader:
        with pytest.raises(forebay.SourceError) as caught:
            list(loader)
        assert caught.value.row == 5


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (pa.table({"a": [1]}), r"source\[1\] and source\[0\] differ: source\[1\] has no column 's'"),
        (
            pa.table({"a": pa.array([1], pa.int8()), "s": [""]}),
            r"'a' is int8 in source\[1\] and int64 in source\[0\]",
        ),
        (pa.table({"a": [1], "s": [""], "t": [1]}), r"the second has no column 't': name the columns"),
        (
            pa.table([[1], [2], [""]], names=["a", "a", "s"]),
            r"source\[1\] has more than one column named 'a'",
        ),
    ],
)
def test_those_that_differ_are_a_value_error_that_names_both(other, expected):
    with pytest.raises(ValueError, match=expected):
        forebay.Loader([TABLE, other], batch_size=1)


def test_an_object_that_exports_a_struct_array_is_a_record_batch():
    assert read(Exports(BATCH)) == {"a": [5, 6], "s": ["u", "v"]}
    assert read(Exports(pa.array([{"a": 1}, {"a": 2}]))) == {"a": [1, 2]}
    assert read(pa.array([{"a": 1}, {"a": 2}])) == {"a": [1, 2]}


@pytest.mark.parametrize("array", [pa.array([1]), pa.array(["a"]), pa.array([{"a": 1}, None])], ids=str)
def test_an_object_that_exports_another_array_is_refused(array):
    with pytest.raises(
        TypeError, match="source is a Exports whose __arrow_c_array__ does not give a struct array"
    ):
        forebay.Loader(Exports(array), batch_size=1)


def test_a_column_of_a_batch_is_no_source():
    with forebay.Loader(TABLE, batch_size=4) as loader:
        [batch] = loader
        with pytest.raises(TypeError, match="ArrowColumn whose __arrow_c_array__"):
            forebay.Loader(batch["s"], batch_size=1)


def data_frame(module):
    kind = type("DataFrame", (), {})
    kind.__module__ = module
    return kind()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"a": np.arange(3)}, r"not dict: give pyarrow.table\(source\)"),
        (collections.OrderedDict(a=[1]), r"not OrderedDict: give pyarrow.table\(source\)"),
        (data_frame("pandas.core.frame"), r"not DataFrame: give pyarrow.Table.from_pandas\(source\)"),
        (data_frame("polars.dataframe.frame"), r"not DataFrame: give source.to_arrow\(\)"),
        (np.arange(3), r"not ndarray: give pyarrow.table\(\{\"x\": source\}\)"),
        (7, "source must be a path, .* not int$"),
        (None, "source must be a path, .* not NoneType$"),
        ([{"a": 1}], r"source\[0\] must be a path, .* not dict: give pyarrow.table\(source\[0\]\)"),
        ([1, 2], r"source\[0\] must be a path, .* not int$"),
        ([TABLE, "a.parquet"], r"source\[1\] must be a pyarrow.Table .* not str"),
        ([pathlib.Path("a.parquet"), BATCH], r"source\[0\] must be a pyarrow.Table .* not \w*Path"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_source_is_a_type_error_that_says_what_to_write(source, expected):
    with pytest.raises(TypeError, match=expected):
        forebay.Loader(source, batch_size=1)


def test_an_empty_list_is_a_value_error():
    with pytest.raises(ValueError, match="empty list"):
        forebay.Loader([], batch_size=1)


def test_a_dict_is_not_taken_for_paths(tmp_path):
    pq.write_table(TABLE, tmp_path / "a.parquet")
    with pytest.raises(TypeError, match="give pyarrow.table"):
        forebay.Loader({str(tmp_path / "a.parquet"): 1}, batch_size=1)
