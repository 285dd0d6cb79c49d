"""What batches show, type by type: values, dtypes, shapes, nulls under each policy, and whose the memory is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from arrow_cases import (
    EMPTY_LISTS,
    KINDS,
    Column,
    Kind,
    assert_batch,
    build_array,
    build_chunks,
    random_column,
)

import forebay

# What the tests open is closed in the end.
pytestmark = pytest.mark.usefixtures("module_process")

ROWS = 150  # more than two words of a validity bitmap, and no whole number of bytes


def batches_of(source: Any, **arguments: Any) -> list[dict[str, Any]]:
    """The batches of one epoch, in order."""
    with forebay.Loader(source, preserve_order=True, **arguments) as loader:
        return list(loader)


def one_batch(array: Any, **arguments: Any) -> dict[str, Any]:
    """The only batch of a table whose column "x" this is."""
    [batch] = batches_of(pa.table({"x": array}), **({"batch_size": len(array)} | arguments))
    return batch


def random_for(kind: Kind) -> np.random.Generator:
    return np.random.default_rng(KINDS.index(kind))


def check_batches(batches: list[dict[str, Any]], column: Column, batch_size: int, policy: str) -> None:
    assert [len(next(iter(batch.values()))) for batch in batches] == [
        min(batch_size, len(column.valid) - begin) for begin in range(0, len(column.valid), batch_size)
    ]
    for number, batch in enumerate(batches):
        rows = column.rows(number * batch_size, (number + 1) * batch_size)
        assert_batch(batch, {"x": rows}, policy, {})


# ---- every type ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("nulls", ["no bitmap", "few", "all"])
def test_every_type_of_a_table_and_of_a_record_batch(kind: Kind, nulls: str) -> None:
    random = random_for(kind)
    column = random_column(kind, ROWS, random, nulls, nulls)
    chunks = build_chunks(column, [0, 1, 1, 64, 65, ROWS], random, nulls)
    array = build_array(column, random, head=67, tail=3, nulls=nulls)
    for source in (pa.table({"x": chunks}), pa.RecordBatch.from_arrays([array], ["x"])):
        for policy in ("fill", "mask"):
            batches = batches_of(source, batch_size=64, null_policy=policy)
            check_batches(batches, column, 64, policy)


# Seconds of time become milliseconds in Parquet, and dates of milliseconds become days.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in EMPTY_LISTS], ids=str)
def test_every_type_of_a_parquet_file(kind: Kind, tmp_path: Path) -> None:
    random = random_for(kind)
    column = random_column(kind, ROWS, random, "few", "few", tame=True)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": build_array(column, random)}), path, row_group_size=70, data_page_size=512)
    stored = pq.read_schema(path).field("x").type
    element = stored.value_type if kind.list_size is not None else stored
    if element != kind.element.type:
        [known] = [known for known in KINDS if known.type == element]
        column.values = column.values.astype(known.dtype)
        column.kind = Kind(stored, known.stored, known.dtype, known.fill, kind.list_size)
    with forebay.Loader(path, batch_size=64, null_policy="mask", preserve_order=True) as loader:
        assert loader.schema.field("x").type == stored
        check_batches(list(loader), column, 64, "mask")


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_type_names_column_and_row_of_a_null(kind: Kind) -> None:
    random = random_for(kind)
    column = random_column(kind, ROWS, random, "no nulls", "no nulls")
    column.valid[[120, 121, 149]] = False
    table = pa.table({"y": range(ROWS), "x": build_chunks(column, [50, 100, 119], random)})
    with forebay.Loader(table, batch_size=50, preserve_order=True, num_threads=1) as loader:
        batches = iter(loader)
        assert [next(batches)["y"][0], next(batches)["y"][0]] == [0, 50]
        with pytest.raises(forebay.SourceError, match=r"^row 120: column 'x' has a null") as caught:
            next(batches)
    assert (caught.value.row, caught.value.path, caught.value.row_group) == (120, None, None)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_type_without_rows_is_an_epoch_without_batches(kind: Kind) -> None:
    random = random_for(kind)
    nothing = random_column(kind, 0, random)
    hidden = random_column(kind, 9, random)
    for chunks in (
        pa.chunked_array([], kind.type),
        build_chunks(nothing, [0, 0], random),
        pa.chunked_array([build_array(hidden, random)]).slice(9),
        pa.chunked_array([build_array(hidden, random)]).slice(4, 0),
    ):
        with forebay.Loader(pa.table({"x": chunks}), batch_size=3) as loader:
            assert len(loader) == 0
            assert loader.plan().units == 0
            assert [list(loader), list(loader)] == [[], []]


# ---- what stands for a null ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.int8(), "0"),
        (pa.uint64(), "0"),
        (pa.float16(), "nan"),
        (pa.float32(), "nan"),
        (pa.float64(), "nan"),
        (pa.bool_(), "False"),
        (pa.date32(), "NaT"),
        (pa.date64(), "NaT"),
        (pa.timestamp("ns", "UTC"), "NaT"),
        (pa.duration("s"), "NaT"),
        (pa.time32("ms"), "NaT"),
        (pa.time64("ns"), "NaT"),
    ],
    ids=str,
)
def test_a_null_becomes_zero_nan_nat_or_false(kind: pa.DataType, expected: str) -> None:
    assert str(one_batch(pa.array([None], kind), null_policy="fill")["x"][0]) == expected


def test_a_null_list_is_filled_whole_and_a_null_inside_alone() -> None:
    lists = pa.array([[1, 2], None, [None, 3]], pa.list_(pa.int16(), 2))
    filled = one_batch(lists, null_policy="fill", fill_value={"x": -1})["x"]
    assert filled.tolist() == [[1, 2], [-1, -1], [-1, 3]]
    masked = one_batch(lists, null_policy="mask")
    assert masked["x"].tolist() == [[1, 2], [0, 0], [0, 3]]
    assert masked["x.valid"].tolist() == [True, False, True]


def test_a_null_inside_a_list_is_an_error_that_says_so() -> None:
    with pytest.raises(forebay.SourceError, match=r"^row 1: column 'x' has a null inside a list"):
        one_batch(pa.array([[1, 2], [None, 3], None], pa.list_(pa.int16(), 2)))


def test_nulls_of_columns_that_are_not_chosen_do_not_matter() -> None:
    table = pa.table({"a": [1, 2], "b": [None, 1]})
    [batch] = batches_of(table, batch_size=2, columns=["a"])
    assert batch["a"].tolist() == [1, 2]


def test_nulls_of_rows_that_are_left_out_do_not_matter() -> None:
    table = pa.table({"a": [1, 2, None]})
    [batch] = batches_of(table, batch_size=2, drop_last=True)
    assert batch["a"].tolist() == [1, 2]
    [batch] = batches_of(table.slice(0, 2), batch_size=5)
    assert batch["a"].tolist() == [1, 2]


def test_a_column_named_as_the_mask_of_another_is_refused() -> None:
    table = pa.table({"a": [1], "a.valid": [2]})
    with pytest.raises(ValueError, match=r"'a\.valid'"):
        forebay.Loader(table, batch_size=1, null_policy="mask")
    assert list(batches_of(table, batch_size=1)[0]) == ["a", "a.valid"]


def test_the_row_of_a_null_in_a_file_is_the_row_of_its_row_group(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    values = [*range(10), None, *range(3)]
    pq.write_table(pa.table({"x": values}), path, row_group_size=7)
    with (
        forebay.Loader(path, batch_size=4) as loader,
        pytest.raises(forebay.SourceError, match="row group 1, row 3: column 'x' has a null") as caught,
    ):
        list(loader)
    assert (caught.value.path, caught.value.row_group, caught.value.row) == (str(path), 1, 3)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.timestamp("ns"), np.datetime64("9999-01-01")),
        (pa.timestamp("ns"), np.datetime64(1 << 62, "s")),
        (pa.duration("us"), np.timedelta64(1 << 62, "s")),
        (pa.float32(), 1e300),
        (pa.float16(), 65536),
        (pa.string(), "\ud800"),
    ],
)
def test_a_fill_value_out_of_range_is_refused_and_not_wrapped_around(kind: pa.DataType, value: Any) -> None:
    with pytest.raises(ValueError, match="fill_value"):
        one_batch(pa.array([None], kind), null_policy="fill", fill_value={"x": value})


# ---- names and order -----------------------------------------------------------------------------------------------


def test_a_batch_has_the_chosen_columns_in_the_order_of_columns() -> None:
    names = ["b", "a", "", "ü.x", "a b", "column\n"]
    table = pa.table({name: [number, number] for number, name in enumerate(names)})
    assert list(batches_of(table, batch_size=2)[0]) == names
    chosen = ["column\n", "", "b"]
    with forebay.Loader(table, batch_size=2, columns=chosen, null_policy="mask") as loader:
        assert loader.schema.names == chosen
        [batch] = list(loader)
    assert [name for name in batch if not name.endswith(".valid")] == chosen
    assert {name: batch[name].tolist() for name in chosen} == {"column\n": [5, 5], "": [2, 2], "b": [0, 0]}


def test_the_schema_has_the_exact_types_and_zones_without_metadata() -> None:
    schema = pa.schema(
        [
            pa.field("t", pa.timestamp("ms", "Europe/Paris"), metadata={"a": "b"}),
            pa.field("f", pa.list_(pa.float16(), 3), nullable=False),
            pa.field("s", pa.large_string()),
        ],
        metadata={"pandas": "{}"},
    )
    with forebay.Loader(schema.empty_table(), batch_size=1, columns=["f", "t", "s"]) as loader:
        assert loader.schema.names == ["f", "t", "s"]
        assert all(loader.schema.field(name).type == schema.field(name).type for name in schema.names)
        assert loader.schema.metadata is None


def test_instants_are_of_utc_whatever_the_zone() -> None:
    moment = np.datetime64("2026-03-01T12:00:00", "ms")
    for zone in (None, "UTC", "Asia/Kathmandu"):
        array = pa.array([moment]).cast(pa.timestamp("ms")).cast(pa.int64()).cast(pa.timestamp("ms", zone))
        assert one_batch(array)["x"][0] == moment


def test_two_thousand_columns_are_shown() -> None:
    table = pa.table({f"c{number}": [number, number + 1] for number in range(2000)})
    [first, second] = batches_of(table, batch_size=1)
    assert list(first) == table.column_names
    assert [column.item() for column in second.values()] == list(range(1, 2001))


# ---- batches and rows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 10, 11, 1 << 40, (1 << 62) - 1])
@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_cut_rows_as_they_come(batch_size: int, drop_last: bool) -> None:
    chunks = pa.chunked_array([[0], [], [1, 2, 3], [4], [5, 6, 7, 8, 9]], pa.int64())
    with forebay.Loader(
        pa.table({"x": chunks}), batch_size=batch_size, drop_last=drop_last, preserve_order=True
    ) as loader:
        shown = [batch["x"].tolist() for batch in loader]
        assert len(loader) == len(shown)
        assert loader.plan().rows == sum(len(rows) for rows in shown)
        assert loader.plan().piece_rows == 0  # nothing is decoded
    expected = [list(range(begin, min(begin + batch_size, 10))) for begin in range(0, 10, batch_size)]
    if drop_last and len(expected[-1]) < batch_size:
        expected.pop()
    assert shown == expected


def test_batches_are_the_same_without_order_and_with_many_threads() -> None:
    table = pa.table({"x": range(1000), "s": [str(number) for number in range(1000)]})
    ordered = batches_of(table, batch_size=7)
    with forebay.Loader(table, batch_size=7, num_threads=4, prefetch_batches=0) as loader:
        for _ in range(3):
            shown = sorted(loader, key=lambda batch: int(batch["x"][0]))
            assert [batch["x"].tolist() for batch in shown] == [batch["x"].tolist() for batch in ordered]
            assert [batch["s"].to_pylist() for batch in shown] == [
                batch["s"].to_pylist() for batch in ordered
            ]


def test_strings_of_every_length_are_joined_across_chunks() -> None:
    texts = ["x" * length for length in (0, 1, 63, 64, 65, 4096, 100_000, 0)] * 5
    chunks = pa.chunked_array([texts[:3], texts[3:4], [], texts[4:]], pa.string())
    [batch] = batches_of(pa.table({"x": chunks}), batch_size=len(texts))
    assert batch["x"].to_pylist() == texts
    batches = batches_of(pa.table({"x": chunks}), batch_size=3)
    assert [text for batch in batches for text in batch["x"]] == texts


# ---- whose the memory is -------------------------------------------------------------------------------------------


def test_a_batch_is_the_users_own_to_write_into() -> None:
    values = np.arange(100)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(200.0)), 2)
    table = pa.table({"x": values, "f": lists})
    with forebay.Loader(table, batch_size=10, null_policy="mask", preserve_order=True) as loader:
        for _ in range(2):
            for number, batch in enumerate(loader):
                assert batch["x"].tolist() == values[number * 10 : number * 10 + 10].tolist()
                assert batch["f"].shape == (10, 2) and batch["f"][0, 0] == number * 20
                for array in batch.values():
                    array[...] = 0
    assert table["x"].to_pylist() == values.tolist()
    assert table["f"].combine_chunks().flatten().to_pylist() == list(range(200))


def test_batches_that_are_kept_stay_as_they_are() -> None:
    texts = [f"row {number}" for number in range(500)]
    with forebay.Loader(
        pa.table({"x": range(500), "s": texts}), batch_size=9, preserve_order=True, memory_limit="64MiB"
    ) as loader:
        kept = list(loader)
        list(loader)
    assert np.concatenate([batch["x"] for batch in kept]).tolist() == list(range(500))
    assert [text for batch in kept for text in batch["s"]] == texts


def test_arrays_of_a_batch_do_not_overlap() -> None:
    random = np.random.default_rng(0)
    chosen = [kind for kind in KINDS if not kind.is_binary and kind.list_size != 0]
    columns = {str(number): random_column(kind, 33, random) for number, kind in enumerate(chosen)}
    table = pa.table({name: build_array(column, random) for name, column in columns.items()})
    [batch] = batches_of(table, batch_size=33, null_policy="mask")
    places = sorted(
        (array.__array_interface__["data"][0], array.nbytes, name) for name, array in batch.items()
    )
    for (begin, size, name), (next_begin, _, next_name) in zip(places, places[1:], strict=False):
        assert begin + size <= next_begin, (name, next_name)
        assert begin % 64 == 0
