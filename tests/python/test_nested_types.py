"""Columns of nested and encoded types show what a plain model says, in every format, however blocks are cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nested_cases import (
    LEAVES,
    Nested,
    assert_batch_shows,
    has_null,
    make_array,
    random_type,
    random_value,
)

import forebay

pytestmark = pytest.mark.usefixtures("module_process")

# The same examples each time, but for long runs: tests/soak/properties.py asks for more, and for others.
EXAMPLES_ASKED = os.environ.get("FOREBAY_EXAMPLES")
steady = settings(
    derandomize=EXAMPLES_ASKED is None,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=int(EXAMPLES_ASKED or 200),
)

EXAMPLES = {
    "list": pa.list_(pa.int32()),
    "list of strings": pa.list_(pa.string()),
    "list of lists": pa.large_list(pa.list_(pa.float32())),
    "list of structs": pa.list_(pa.struct([("a", pa.int8()), ("b", pa.list_(pa.string()))])),
    "struct": pa.struct([("a", pa.int64()), ("b", pa.struct([("c", pa.string()), ("d", pa.bool_())]))]),
    "map": pa.map_(pa.string(), pa.float64()),
    "fixed-size list of strings": pa.list_(pa.string(), 2),
    "fixed-size list of fixed-size lists": pa.list_(pa.list_(pa.float32(), 3), 2),
    "fixed-size list of decimals": pa.list_(pa.decimal128(9, 2), 2),
    "dictionary of strings": pa.dictionary(pa.int8(), pa.string()),
    "dictionary of integers": pa.dictionary(pa.uint16(), pa.int64()),
    "runs of strings": pa.run_end_encoded(pa.int32(), pa.string()),
    "runs of floats": pa.run_end_encoded(pa.int16(), pa.float32()),
    "list view of views": pa.list_view(pa.string_view()),
    **{str(kind): kind for kind in LEAVES},
}


def random_column(kind: pa.DataType, rows: int, seed: int, null_share: float) -> Nested:
    random = np.random.default_rng(seed)
    return Nested(kind, [random_value(kind, random, null_share) for _ in range(rows)])


def make_table(columns: dict[str, Nested], cuts: list[int], padding: int) -> pa.Table:
    """The columns as a table of chunks that end at cuts, each a slice of a longer array."""
    rows = len(next(iter(columns.values())).values)
    bounds = [0, *sorted(cut for cut in cuts if cut <= rows), rows]
    tables = [
        pa.table({name: column.array(begin, end, padding) for name, column in columns.items()})
        for begin, end in zip(bounds, bounds[1:], strict=False)
    ]
    return pa.concat_tables(tables)


def check_numpy(source: Any, columns: dict[str, Nested], policy: str, **arguments: Any) -> None:
    size = arguments["batch_size"]
    with forebay.Loader(
        source, null_policy=policy, preserve_order=True, memory_limit="64MiB", **arguments
    ) as loader:
        rows = len(next(iter(columns.values())).values)
        begin = 0
        batch: Any = None
        for batch in loader:
            for name, column in columns.items():
                values = column.values[begin : begin + size]
                assert_batch_shows(batch, name, column.kind, values, policy == "mask")
            begin += size
        batch = None  # the last one goes back before the loader is closed
        assert begin >= rows > begin - size or (rows == 0 and begin == 0)
    assert loader.stats().charged_bytes == 0


def check_arrow(source: Any, columns: dict[str, Nested], **arguments: Any) -> None:
    with forebay.Loader(
        source, batch_format="pyarrow", preserve_order=True, memory_limit="64MiB", **arguments
    ) as loader:
        batches = list(loader)
        for batch in batches:
            batch.validate(full=True)
            assert batch.schema == loader.schema
        table = pa.Table.from_batches(batches, loader.schema)
        for name, column in columns.items():
            assert table[name].to_pylist() == column.values
        batch = batches = table = None
    assert loader.stats().charged_bytes == 0


@pytest.mark.parametrize("null_share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", EXAMPLES.values(), ids=EXAMPLES)
def test_a_column_of_this_type_shows_its_values(kind: pa.DataType, null_share: float) -> None:
    column = random_column(kind, 60, 7, null_share)
    table = make_table({"c": column}, [7, 7, 40], padding=3)
    for policy in ("fill", "mask"):
        check_numpy(table, {"c": column}, policy, batch_size=16)
        check_numpy(table, {"c": column}, policy, batch_size=16, prefetch_batches=3, num_threads=2)
    check_arrow(table, {"c": column}, batch_size=16)
    check_arrow(table, {"c": column}, batch_size=16, prefetch_batches=3, num_threads=2)


@pytest.mark.parametrize("kind", EXAMPLES.values(), ids=EXAMPLES)
def test_a_null_anywhere_in_a_column_of_this_type_is_an_error_that_names_its_row(kind: pa.DataType) -> None:
    column = random_column(kind, 20, 3, 0.0)
    row = 13
    if pa.types.is_null(kind):
        row = 0
    column.values[row] = None
    with forebay.Loader(make_table({"c": column}, [], 0), batch_size=5) as loader:
        with pytest.raises(forebay.SourceError, match=f"row {row}.*'c.*has a null"):
            for _ in loader:
                pass


@steady
@given(st.data())
def test_random_tables_show_their_values(data: st.DataObject) -> None:
    rows = data.draw(st.one_of(st.integers(0, 8), st.integers(0, 80)))
    columns = {}
    for number in range(data.draw(st.integers(1, 3))):
        random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        share = data.draw(st.sampled_from([0.0, 0.05, 0.4, 1.0]))
        kind = random_type(random, data.draw(st.integers(0, 3)))
        columns[f"c{number}"] = Nested(kind, [random_value(kind, random, share) for _ in range(rows)])
    cuts = data.draw(st.lists(st.integers(0, 80), max_size=5))
    table = make_table(columns, cuts, data.draw(st.integers(0, 3)))
    arguments = {
        "batch_size": data.draw(st.one_of(st.integers(1, 5), st.integers(1, 100))),
        "prefetch_batches": data.draw(st.sampled_from([None, 2])),
        "num_threads": data.draw(st.integers(1, 3)),
    }
    check_numpy(table, columns, data.draw(st.sampled_from(["fill", "mask"])), **arguments)
    check_arrow(table, columns, **arguments)
    if not any(has_null(column.kind, value) for column in columns.values() for value in column.values):
        check_numpy(table, columns, "error", **arguments)


def parquet_kind(random: np.random.Generator, depth: int) -> pa.DataType:
    """A type that pyarrow writes to Parquet and reads back."""
    for _ in range(1000):
        kind = random_type(random, depth)
        text = str(kind)
        unsupported = (
            "run_end",
            "view",
            "decimal32",
            "decimal64",
            "null",
            "halffloat",
            "dictionary",
            "time32",
        )
        if not any(word in text for word in unsupported):
            return kind
    raise AssertionError("no such type came up")


@settings(steady, max_examples=int(EXAMPLES_ASKED or 60))
@given(data=st.data())
def test_random_parquet_files_show_their_values(tmp_path_factory: Any, data: st.DataObject) -> None:
    rows = data.draw(st.integers(0, 120))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    share = data.draw(st.sampled_from([0.0, 0.1, 1.0]))
    columns = {"id": Nested(pa.int64(), list(range(rows)))}
    for number in range(data.draw(st.integers(1, 2))):
        kind = parquet_kind(random, 2)
        columns[f"c{number}"] = Nested(kind, [random_value(kind, random, share) for _ in range(rows)])
    folder = Path(tmp_path_factory.mktemp("nested"))
    path = folder / "file.parquet"
    pq.write_table(make_table(columns, [], 0), path, row_group_size=data.draw(st.integers(1, 60)))
    arguments = {"batch_size": data.draw(st.integers(1, 50)), "num_threads": data.draw(st.integers(1, 3))}
    check_numpy(str(path), columns, "mask", **arguments)
    check_arrow(str(path), columns, **arguments)


def test_a_dictionary_is_kept_as_codes_and_distinct_values() -> None:
    values = ["b", "a", None, "b", "c", "a", "", "c", "c"]
    for kind in (pa.string(), pa.dictionary(pa.int8(), pa.string()), pa.string_view()):
        table = pa.table({"c": make_array(values, kind), "id": range(9)})
        with forebay.Loader(
            table, batch_size=5, dtypes={"c": "dictionary"}, null_policy="mask", preserve_order=True
        ) as loader:
            shown = []
            for batch in loader:
                codes, dictionary = batch["c"]
                assert codes.dtype == np.int32
                distinct = dictionary.to_pylist()
                assert len(set(distinct)) == len(distinct)
                shown += [distinct[code] for code in codes]
                assert batch["c.valid"].tolist() == [values[row] is not None for row in batch["id"]]
            assert shown == [value or "" for value in values]


def test_codes_follow_from_the_batch_alone() -> None:
    random = np.random.default_rng(0)
    values = [f"v{number}" for number in random.integers(0, 50, 5000)]
    table = pa.concat_tables(
        pa.table({"c": pa.array(values[at : at + 97]).dictionary_encode()}) for at in range(0, 5000, 97)
    )
    seen = []
    for threads in (1, 2, 4):
        with forebay.Loader(
            table,
            batch_size=500,
            dtypes={"c": "dictionary"},
            num_threads=threads,
            prefetch_batches=4,
            preserve_order=True,
        ) as loader:
            seen.append([(batch["c"][0].tolist(), batch["c"][1].to_pylist()) for batch in loader])
    assert seen[0] == seen[1] == seen[2]
    for at, (codes, distinct) in enumerate(seen[0]):
        rows = values[at * 500 : at * 500 + 500]
        assert [distinct[code] for code in codes] == rows
        assert distinct == list(dict.fromkeys(rows))


def test_a_tensor_has_its_shape() -> None:
    tensors = np.arange(2 * 3 * 7, dtype=np.float32).reshape(7, 2, 3)
    array = pa.FixedShapeTensorArray.from_numpy_ndarray(tensors)
    with forebay.Loader(pa.table({"t": array}), batch_size=4, preserve_order=True) as loader:
        shown = np.concatenate([batch["t"] for batch in loader])
    assert np.array_equal(shown, tensors)


@pytest.mark.parametrize("version", ["ray.data.arrow_tensor", "ray.data.arrow_tensor_v2"])
def test_a_tensor_of_ray_has_its_shape_without_ray(version: str) -> None:
    kind = pa.list_(pa.int64()) if version.endswith("tensor") else pa.large_list(pa.int64())
    metadata = {b"ARROW:extension:name": version.encode(), b"ARROW:extension:metadata": b"[2, 3]"}
    rows = [list(range(row, row + 6)) for row in range(9)]
    table = pa.Table.from_arrays(
        [pa.array(rows, kind)], schema=pa.schema([pa.field("t", kind, metadata=metadata)])
    )
    with forebay.Loader(table, batch_size=4, preserve_order=True) as loader:
        shown = np.concatenate([batch["t"] for batch in loader])
    assert np.array_equal(shown, np.array(rows).reshape(9, 2, 3))


def test_a_tensor_of_another_length_is_an_error_that_names_its_row() -> None:
    metadata = {b"ARROW:extension:name": b"ray.data.arrow_tensor", b"ARROW:extension:metadata": b"[2]"}
    field = pa.field("t", pa.list_(pa.int64()), metadata=metadata)
    table = pa.Table.from_arrays([pa.array([[1, 2], [3]], field.type)], schema=pa.schema([field]))
    with (
        forebay.Loader(table, batch_size=4) as loader,
        pytest.raises(forebay.SourceError, match="row 1.*'t'"),
    ):
        list(loader)


def test_extension_types_show_their_plain_form() -> None:
    uuids = pa.array([bytes(range(16)), bytes(16)], pa.uuid())
    flags = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, 5], pa.int8()))
    table = pa.table({"u": uuids, "f": flags})
    with forebay.Loader(table, batch_size=2) as loader:
        [batch] = loader
    assert batch["u"].to_pylist() == [bytes(range(16)), bytes(16)]
    assert batch["f"].dtype == np.bool_ and batch["f"].tolist() == [False, True]
    with forebay.Loader(table, batch_size=2, batch_format="pyarrow") as loader:
        [exported] = loader
    assert exported.schema == table.schema
    assert exported.to_pylist() == table.to_pylist()


REFUSED = {
    "union": pa.UnionArray.from_dense(
        pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array([1]), pa.array(["a"])]
    ),
    "interval": pa.array([(1, 2, 3), (4, 5, 6)], pa.month_day_nano_interval()),
}


@pytest.mark.parametrize("batch_format", ["numpy", "pyarrow", "pandas"])
@pytest.mark.parametrize("array", REFUSED.values(), ids=REFUSED)
def test_what_is_not_supported_is_refused_by_column_and_type(array: pa.Array, batch_format: str) -> None:
    inside = pa.StructArray.from_arrays([array], names=["x"])
    for table, name in ((pa.table({"c": array}), "'c'"), (pa.table({"s": inside}), "'s.x'")):
        with pytest.raises(forebay.UnsupportedError, match=f"column {name} has type.*columns="):
            forebay.Loader(table, batch_size=1, batch_format=batch_format)
        with forebay.Loader(
            table.append_column("id", [[1, 2]]), batch_size=1, batch_format=batch_format, columns=["id"]
        ) as loader:
            assert len(list(loader)) == 2


def test_two_columns_of_one_dotted_name_are_refused() -> None:
    table = pa.table({"a.b": [1], "a": pa.array([{"b": 2}])})
    with pytest.raises(ValueError, match=r"two columns of a batch would be named 'a\.b'"):
        forebay.Loader(table, batch_size=1)


def test_fill_values_reach_fields_of_structs_and_elements_of_lists() -> None:
    table = pa.table(
        {
            "s": pa.array([{"x": None, "y": "a"}, None], pa.struct([("x", pa.int32()), ("y", pa.string())])),
            "l": pa.array([[1.0, None], None], pa.list_(pa.float32())),
            "d": pa.array([None, None], pa.decimal128(5, 2)),
        }
    )
    fills = {"s.x": 7, "s.y": "none", "l": -1.0, "d": 3}
    with forebay.Loader(table, batch_size=2, null_policy="fill", fill_value=fills) as loader:
        [batch] = loader
    assert batch["s.x"].tolist() == [7, 7]
    assert batch["s.y"].to_pylist() == ["a", "none"]
    assert batch["l"][0].tolist() == [1.0, -1.0] and batch["l"][1].tolist() == [0, 2, 2]
    assert [str(value) for value in batch["d"].to_pylist()] == ["3.00", "3.00"]
    with pytest.raises(ValueError, match=r"no column 's\.z': did you mean"):
        forebay.Loader(table, batch_size=2, null_policy="fill", fill_value={"s.z": 1})


def test_pandas_batches_are_frames_of_the_rows() -> None:
    table = pa.table(
        {"a": [1, 2, 3], "s": ["x", None, "z"], "c": pa.array(["u", "v", "u"]).dictionary_encode()}
    )
    with forebay.Loader(table, batch_size=2, batch_format="pandas", preserve_order=True) as loader:
        frames = list(loader)
        assert all(isinstance(frame, pandas.DataFrame) for frame in frames)
        joined = pandas.concat(frames)
        assert joined["a"].tolist() == [1, 2, 3]
        assert joined["s"].fillna("-").tolist() == ["x", "-", "z"]
        assert joined["c"].tolist() == ["u", "v", "u"]
        del frames, joined
    assert loader.stats().charged_bytes == 0


@pytest.mark.parametrize("kind", [pa.list_(pa.binary(3)), pa.large_list(pa.list_(pa.decimal32(7, 1)))])
def test_what_pandas_cannot_hold_is_refused_at_construction(kind: pa.DataType) -> None:
    table = pa.table({"id": [1], "odd": pa.array([[]], kind)})
    with pytest.raises(forebay.UnsupportedError, match="'odd' has type .*list.* to pandas") as refused:
        forebay.Loader(table, batch_size=1, batch_format="pandas")
    assert isinstance(refused.value.__cause__, pa.ArrowNotImplementedError)
    with forebay.Loader(table, batch_size=1, batch_format="pandas", columns=["id"]) as loader:
        assert next(iter(loader))["id"].tolist() == [1]


def test_pandas_that_is_missing_is_said_at_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"forebay\[pandas\]"):
        forebay.Loader(pa.table({"a": [1]}), batch_size=1, batch_format="pandas")


def test_arrow_batches_stay_charged_until_their_last_array_is_gone() -> None:
    table = pa.table({"a": np.arange(1000), "s": [f"row {row}" for row in range(1000)]})
    with forebay.Loader(table, batch_size=500, batch_format="pyarrow") as loader:
        batches = iter(loader)
        batch = next(batches)
        column = batch.column("s").slice(3, 2)
        del batch
        assert loader.stats().accounts["held"][0] > 0
        assert column.to_pylist() == ["row 3", "row 4"]
        del column
        assert loader.stats().accounts["held"][0] == 0
