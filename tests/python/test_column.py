"""String and binary columns: sequences of str and bytes, Arrow arrays without a copy, and their lifetime."""

import copy
import decimal
import gc
import pickle

import numpy as np
import pyarrow as pa
import pytest

import forebay

STRINGS = ["", "one", None, "naïve", "x" * 1000, "six"]
KINDS = [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()]


def one_batch(array, **arguments):
    with forebay.Loader(
        pa.table({"s": array}), **{"batch_size": len(array), "null_policy": "mask"} | arguments
    ) as loader:
        [batch] = list(loader)
    return batch


@pytest.fixture(params=KINDS, ids=str)
def values(request):
    """The same values as str and as bytes."""
    is_binary = pa.types.is_binary(request.param) or pa.types.is_large_binary(request.param)
    expected = [value and value.encode() if is_binary and value is not None else value for value in STRINGS]
    return [b"" if is_binary and value == "" else value for value in expected], request.param


def test_a_column_is_a_sequence(values):
    expected, kind = values
    column = one_batch(pa.array(expected, kind))["s"]
    assert isinstance(column, forebay.ArrowColumn)
    assert len(column) == 6
    assert [column[i] for i in range(6)] == expected
    assert column[-1] == expected[-1]
    assert column[np.int64(1)] == expected[1]
    assert list(column) == expected
    assert column.to_pylist() == expected
    for wrong in (6, -7):
        with pytest.raises(IndexError):
            column[wrong]
    with pytest.raises(TypeError):
        column["one"]


def test_slices_are_columns(values):
    expected, kind = values
    column = one_batch(pa.array(expected, kind))["s"]
    for cut in (
        slice(1, 4),
        slice(None),
        slice(-2, None),
        slice(4, 1),
        slice(None, None, 2),
        slice(None, None, -1),
    ):
        part = column[cut]
        assert isinstance(part, forebay.ArrowColumn)
        assert len(part) == len(expected[cut])
        assert part.to_pylist() == expected[cut]
    assert column[1:5][1:3].to_pylist() == expected[2:4]


def test_to_numpy_is_an_array_of_objects(values):
    expected, kind = values
    column = one_batch(pa.array(expected, kind))["s"]
    array = column.to_numpy()
    assert array.dtype == object and array.shape == (6,)
    assert array.tolist() == expected
    assert np.asarray(column).tolist() == expected
    with pytest.raises(ValueError, match="copy"):
        np.asarray(column, copy=False)


def test_arrow_reads_it_without_a_copy(values):
    expected, kind = values
    column = one_batch(pa.array(expected, kind))["s"]
    first, second = pa.array(column), pa.array(column)
    assert first.type == kind
    assert first.to_pylist() == expected
    assert first.buffers()[2].address == second.buffers()[2].address
    first.validate(full=True)


def test_a_slice_outlives_its_batch_and_its_loader(values):
    expected, kind = values
    part = one_batch(pa.array(expected, kind))["s"][1:5]
    array = pa.array(part)
    gc.collect()
    assert part.to_pylist() == expected[1:5]
    del part
    gc.collect()
    assert array.to_pylist() == expected[1:5]


def test_memory_is_held_until_the_last_view_of_a_column_is_gone():
    with forebay.Loader(pa.table({"s": ["x" * 100] * 64}), batch_size=64) as loader:
        iterator = iter(loader)
        part = next(iterator)["s"][3:5]
        assert next(iterator, None) is None
        assert loader.stats().held_batches == 1
        array = pa.array(part)
        del part
        gc.collect()
        assert loader.stats().held_batches == 1
        assert array.to_pylist() == ["x" * 100] * 2
        del array
        gc.collect()
        assert loader.stats().held_batches == 0


def test_nulls_are_none_where_masked_and_empty_where_filled():
    masked = one_batch(pa.array(["a", None]))
    assert masked["s"].to_pylist() == ["a", None]
    assert masked["s.valid"].tolist() == [True, False]
    assert one_batch(pa.array(["a", None]), null_policy="fill")["s"].to_pylist() == ["a", ""]


def test_a_column_is_copied_and_pickled_by_value(values):
    expected, kind = values
    column = one_batch(pa.array(expected, kind))["s"]
    assert pickle.loads(pickle.dumps(column)).to_pylist() == expected
    assert copy.deepcopy(column[1:3]).to_pylist() == expected[1:3]


def test_a_pickled_slice_carries_its_own_rows_only():
    column = one_batch(pa.array(["x" * 1000] * 1000))["s"]
    assert len(pickle.dumps(column[:2])) < 10_000


def test_repr_shows_type_rows_and_the_first_values():
    column = one_batch(pa.array(["y" * 100, None, "c", "d", "e"]))["s"]
    text = repr(column)
    assert text.startswith("<forebay.ArrowColumn string, 5 rows: ['yyy")
    assert "None" in text and "..." in text and "'e'" not in text
    assert len(text) < 200


def test_nbytes_counts_offsets_and_values():
    column = one_batch(pa.array(["abc", "de"]))["s"]
    assert 5 <= column.nbytes <= 5 + 3 * 4 + 2


def test_an_empty_column_has_no_values():
    column = one_batch(pa.array(["", ""]))["s"]
    assert column[:0].to_pylist() == []
    assert list(column) == ["", ""]


def test_a_column_of_decimals_shows_them() -> None:
    table = pa.table(
        {"d": pa.array([decimal.Decimal("1.50"), decimal.Decimal("-2.25")], pa.decimal128(5, 2))}
    )
    with forebay.Loader(table, batch_size=2) as loader:
        [batch] = loader
    assert repr(batch["d"]) == (
        "<forebay.ArrowColumn decimal128(5, 2), 2 rows: [Decimal('1.50'), Decimal('-2.25')]>"
    )
    assert batch["d"][1] == decimal.Decimal("-2.25")
