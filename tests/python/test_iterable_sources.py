"""Iterables and functions as sources: each epoch anew, or once; what they give wrongly is said by name."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import forebay

pytestmark = pytest.mark.usefixtures("process")


def table(first: int, rows: int) -> pa.Table:
    names = pa.array([f"row {row}" for row in range(first, first + rows)], pa.string())
    return pa.table({"id": np.arange(first, first + rows), "name": names})


def ids(batches: Any) -> list[int]:
    return [number for batch in batches for number in batch["id"].tolist()]


class StreamOnly:
    """A table as a library without pyarrow's classes shows it."""

    def __init__(self, inner: pa.Table) -> None:
        self._inner = inner

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._inner.__arrow_c_stream__(requested_schema)


class ArrayOnly:
    """A record batch, likewise."""

    def __init__(self, inner: pa.RecordBatch) -> None:
        self._inner = inner

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        return self._inner.__arrow_c_array__(requested_schema)


ITEMS = {
    "tables": lambda first, rows: table(first, rows),
    "record batches": lambda first, rows: table(first, rows).to_batches()[0],
    "readers": lambda first, rows: table(first, rows).to_reader(max_chunksize=3),
    "streams": lambda first, rows: StreamOnly(table(first, rows)),
    "arrays": lambda first, rows: ArrayOnly(table(first, rows).to_batches()[0]),
}


@pytest.mark.parametrize("make", ITEMS.values(), ids=ITEMS)
def test_an_iterator_gives_one_epoch_of_what_it_yields(make: Any) -> None:
    with forebay.Loader((make(at, 10) for at in range(0, 50, 10)), batch_size=7) as loader:
        assert ids(loader) == list(range(50))
        assert loader.plan().rows is None
        with pytest.raises(TypeError, match="length"):
            len(loader)
        with pytest.raises(RuntimeError, match=r"generator, which gives one epoch only"):
            list(loader)
    assert loader.stats().charged_bytes == 0


@pytest.mark.parametrize("make", ITEMS.values(), ids=ITEMS)
def test_an_iterable_and_a_function_are_read_anew_each_epoch(make: Any) -> None:
    class Iterable:
        def __iter__(self) -> Iterator[Any]:
            return (make(at, 10) for at in range(0, 50, 10))

    calls = []

    def function() -> Any:
        calls.append(1)
        return (make(at, 10) for at in range(0, 50, 10))

    for source in (Iterable(), function, lambda: Iterable()):
        with forebay.Loader(source, batch_size=7, drop_last=True, columns=["id"]) as loader:
            for _ in range(3):
                assert ids(loader) == list(range(49))
    assert len(calls) == 3  # the first one is the first epoch's


@pytest.mark.parametrize("make", ITEMS.values(), ids=ITEMS)
def test_a_function_may_give_one_block(make: Any) -> None:
    with forebay.Loader(lambda: make(0, 10), batch_size=4) as loader:
        for _ in range(2):
            assert ids(loader) == list(range(10))


def test_a_list_of_streams_is_read_anew_each_epoch() -> None:
    with forebay.Loader([StreamOnly(table(0, 5)), StreamOnly(table(5, 5))], batch_size=4) as loader:
        for _ in range(2):
            assert ids(loader) == list(range(10))


def test_an_iterator_of_paths_is_a_list_of_files(tmp_path: Path) -> None:
    for number in range(3):
        pq.write_table(table(number * 10, 10), tmp_path / f"{number}.parquet")
    with forebay.Loader(tmp_path.glob("*.parquet"), batch_size=10) as loader:
        assert len(loader) == 3
        for _ in range(2):
            assert sorted(ids(loader)) == list(range(30))


def test_a_block_is_let_go_when_its_rows_are_copied() -> None:
    alive: list[weakref.ref[Any]] = []

    def blocks() -> Iterator[pa.Table]:
        for at in range(0, 100, 10):
            made = table(at, 10)
            alive.append(weakref.ref(made))
            yield made
            del made

    with forebay.Loader(blocks, batch_size=10, prefetch_batches=0) as loader:
        for number, batch in enumerate(loader):
            assert batch["id"][0] == number * 10
            gc.collect()
            assert sum(one() is not None for one in alive) <= 2


def test_blocks_agree_by_name_and_type() -> None:
    turned = pa.table({"name": ["x"], "id": [10], "more": [1.0]})
    with forebay.Loader(iter([table(0, 10), turned]), batch_size=20) as loader:
        assert ids(loader) == list(range(11))
    for other, message in (
        (
            pa.table({"id": [1.5], "name": ["x"]}),
            "'id' of the block that begins with row 10 is double, the stream announced int64",
        ),
        (pa.table({"id": [1]}), "the block that begins with row 10 has no column named 'name'"),
    ):
        with forebay.Loader(iter([table(0, 10), other]), batch_size=5) as loader:
            batches = iter(loader)
            assert ids([next(batches), next(batches)]) == list(range(10))
            with pytest.raises(forebay.SourceError, match=message) as raised:
                next(batches)
            assert raised.value.row == 10
            assert raised.value.__notes__[0].endswith("after 10 rows")


def test_what_is_no_block_is_said_by_type() -> None:
    for source, error, message in (
        (iter([1, 2]), TypeError, r"list_iterator that gave a int: it must give a pyarrow\.Table"),
        (lambda: 5, TypeError, "function that gave a int"),
        (lambda: "data/", TypeError, "function that gave a str"),
        (lambda: lambda: table(0, 1), TypeError, "function that gave a function"),
        (iter([None, table(0, 1)]), TypeError, "list_iterator that gave a NoneType"),
        (iter([]), forebay.SourceError, "list_iterator that gave nothing"),
        (lambda: iter([]), forebay.SourceError, "list_iterator that gave nothing"),
        ({"id": [1]}, TypeError, r"pyarrow\.table\(source\)"),
        (5, TypeError, "source must be a path"),
    ):
        with pytest.raises(error, match=message):
            forebay.Loader(source, batch_size=1)


def test_an_exception_of_the_users_own_is_raised_as_it_is() -> None:
    class Own(Exception):
        pass

    def failing() -> Iterator[pa.Table]:
        yield table(0, 10)
        raise Own("mine")

    with forebay.Loader(failing, batch_size=5) as loader:
        batches = iter(loader)
        assert ids([next(batches), next(batches)]) == list(range(10))
        with pytest.raises(Own, match="mine") as raised:
            next(batches)
        assert any("in stage 'read'" in note for note in raised.value.__notes__)

    for error in (GeneratorExit(), SystemExit(3), KeyboardInterrupt()):

        class Failing:
            def __init__(self, error: BaseException) -> None:
                self._tables = [table(0, 10)]
                self._error = error

            def __iter__(self) -> Failing:
                return self

            def __next__(self) -> pa.Table:
                if not self._tables:
                    raise self._error
                return self._tables.pop()

        with forebay.Loader(Failing(error), batch_size=10) as loader:
            batches = iter(loader)
            next(batches)
            message = f"row 10: the source raised {type(error).__name__}(: 3)?$"
            with pytest.raises(RuntimeError, match=message) as wrapped:
                next(batches)
            assert wrapped.value.__cause__ is error

    def failing_at_once() -> Iterator[pa.Table]:
        raise Own("at once")

    with pytest.raises(Own, match="at once"):
        forebay.Loader(failing_at_once, batch_size=5)


@pytest.mark.parametrize("batch_format", ["numpy", "pyarrow", "pandas"])
def test_blocks_of_the_source_are_batches_where_no_size_is_given(batch_format: str) -> None:
    sizes = [3, 1, 40, 0, 7]
    tables = [table(sum(sizes[:number]), size) for number, size in enumerate(sizes)]
    for source in (tables, iter(tables), lambda: iter(tables)):
        with forebay.Loader(
            source, batch_size=None, batch_format=batch_format, preserve_order=True, memory_limit="1MiB"
        ) as loader:
            lengths = [len(batch["id"]) for batch in loader]
            assert lengths == [size for size in sizes if size > 0]
