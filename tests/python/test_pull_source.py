"""Streams of unknown length: pulled block by block, one an epoch, inside the limit."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import forebay

pytestmark = pytest.mark.usefixtures("process")

SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string())])


def block(first: int, rows: int) -> pa.RecordBatch:
    ids = np.arange(first, first + rows)
    return pa.record_batch([pa.array(ids), pa.array([f"row {i}" for i in ids], pa.string())], schema=SCHEMA)


class Blocks:
    """Blocks of given rows, counted as they are pulled; before(number) runs before each."""

    def __init__(self, *sizes: int, before: Callable[[int], None] | None = None) -> None:
        self.sizes = sizes
        self.pulled = 0
        self.given: list[weakref.ref[pa.RecordBatch]] = []
        self._before = before

    @property
    def rows(self) -> int:
        return sum(self.sizes)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        first = 0
        for number, size in enumerate(self.sizes):
            if self._before is not None:
                self._before(number)
            self.pulled += 1
            made = block(first, size)
            self.given.append(weakref.ref(made))
            yield made
            first += size

    def reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(SCHEMA, iter(self))


class Again:
    """An object whose stream can be had any number of times."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self.opened = 0

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        self.opened += 1
        return self._blocks.reader().__arrow_c_stream__(requested_schema)


def check(batch: dict[str, Any]) -> list[int]:
    """The ids of a batch whose columns say the same."""
    ids: list[int] = batch["id"].tolist()
    assert batch["name"].to_pylist() == [f"row {i}" for i in ids]
    return ids


def settle(loader: forebay.Loader) -> None:
    """Waits until the reader has made nothing new for a while."""
    items = -1
    while items != (items := loader.stats().stages["read"].items):
        time.sleep(0.05)


# ---- rows, batches, length ----


@pytest.mark.parametrize("prefetch_batches", [None, 0, 3])
@pytest.mark.parametrize("sizes", [(1000,), (0, 1, 999, 0), (300, 300, 300, 100), (7,) * 100])
def test_every_row_comes_once_and_in_order(
    sizes: tuple[int, ...], prefetch_batches: int | None, all_given_back: Any
) -> None:
    blocks = Blocks(*sizes)
    with forebay.Loader(Again(blocks), batch_size=64, prefetch_batches=prefetch_batches) as loader:
        for _ in range(2):
            batches = [check(batch) for batch in loader]
            assert sum(batches, []) == list(range(blocks.rows))
            assert [len(batch) for batch in batches[:-1]] == [64] * (blocks.rows // 64)
    gc.collect()
    all_given_back(loader)


def test_a_length_that_is_not_known_is_not_made_up() -> None:
    with forebay.Loader(Blocks(10).reader(), batch_size=4) as loader:
        plan = loader.plan()
        assert (plan.batches, plan.rows, plan.units) == (None, None, None)
        assert plan.least_memory_bytes > 2 * plan.batch_bytes
        assert plan.thread_count == 1
        with pytest.raises(TypeError, match="length is not known"):
            len(loader)
        assert "unknown length" in repr(loader)
        assert loader.schema == SCHEMA
        assert len(list(loader)) == 3


@pytest.mark.parametrize("rows", [0, 3, 4, 8, 11])
def test_drop_last(rows: int) -> None:
    with forebay.Loader(Blocks(2, rows, 0).reader(), batch_size=4, drop_last=True) as loader:
        assert [len(batch["id"]) for batch in loader] == [4] * ((rows + 2) // 4)


@pytest.mark.parametrize("sizes", [(), (0,), (0, 0, 0)])
def test_a_stream_without_rows(sizes: tuple[int, ...]) -> None:
    with forebay.Loader(Again(Blocks(*sizes)), batch_size=4) as loader:
        for _ in range(2):
            assert list(loader) == []
        assert loader.stats().batches == 0


def test_without_a_batch_size_every_block_that_has_rows_is_a_batch() -> None:
    sizes = (0, 70, 0, 950, 3, 70, 0)
    with forebay.Loader(Again(Blocks(*sizes)), batch_size=None) as loader:
        for _ in range(2):
            batches = [check(batch) for batch in loader]
            assert [len(batch) for batch in batches] == [70, 950, 3, 70]
            assert sum(batches, []) == list(range(sum(sizes)))


def test_columns_are_chosen_by_name() -> None:
    with forebay.Loader(Blocks(5, 5).reader(), batch_size=4, columns=["name"]) as loader:
        assert loader.schema.names == ["name"]
        names = [name for batch in loader for name in batch["name"].to_pylist()]
    assert names == [f"row {i}" for i in range(10)]
    with pytest.raises(ValueError, match="did you mean 'name'"):
        forebay.Loader(Blocks(5).reader(), batch_size=4, columns=["names"])


def test_progress_shows_no_total(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level("INFO", logger="forebay"),
        forebay.Loader(Blocks(10).reader(), batch_size=4, progress=True) as loader,
    ):
        assert len(list(loader)) == 3
    assert caplog.messages[-1].startswith("3  ")


# ---- nothing ahead of what was asked for ----


@pytest.mark.parametrize("prefetch_batches", [0, 1, 3])
def test_blocks_are_pulled_no_further_ahead_than_asked(prefetch_batches: int) -> None:
    blocks = Blocks(*[10] * 20)
    with forebay.Loader(blocks.reader(), batch_size=10, prefetch_batches=prefetch_batches) as loader:
        batches = iter(loader)
        assert blocks.pulled == 0
        for taken in range(1, 6):
            next(batches)
            settle(loader)
            assert blocks.pulled == taken + prefetch_batches


def test_leaving_in_the_middle_lets_block_and_stream_go(accounts_of: Any) -> None:
    blocks = Blocks(1000, 1000, 1000)
    with forebay.Loader(blocks.reader(), batch_size=30, prefetch_batches=2) as loader:
        accounts = accounts_of(loader)
        for batch in loader:
            assert len(batch["id"]) == 30
            break
        del batch
        accounts.check_as_before()
        assert 1 <= len(blocks.given) < 3
        assert [made() for made in blocks.given] == [None] * len(blocks.given)


def test_a_stream_that_no_epoch_read_is_let_go_by_close() -> None:
    reader = Blocks(10).reader()
    with forebay.Loader(reader, batch_size=4):
        alive = weakref.ref(reader)
        del reader
        assert alive() is not None
    assert alive() is None


# ---- one epoch only ----


def test_a_reader_gives_one_epoch_and_then_an_error_never_an_empty_epoch() -> None:
    with forebay.Loader(Blocks(10).reader(), batch_size=4) as loader:
        assert len(list(loader)) == 3
        for _ in range(2):
            batches = iter(loader)
            for _ in range(2):
                with pytest.raises(RuntimeError, match="one epoch only"):
                    next(batches)


def test_an_object_whose_stream_is_used_up_is_an_error() -> None:
    class Spent:
        """Gives the rest of the one reader that it has."""

        def __init__(self) -> None:
            self._reader = Blocks(10).reader()

        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            return self._reader.__arrow_c_stream__(requested_schema)

    with forebay.Loader(Spent(), batch_size=4) as loader:
        assert len(list(loader)) == 3
        with pytest.raises(RuntimeError, match="none now"):
            list(loader)


def test_the_stream_that_told_the_schema_is_the_first_epochs() -> None:
    source = Again(Blocks(10))
    with forebay.Loader(source, batch_size=4) as loader:
        for epoch in range(1, 4):
            assert len(list(loader)) == 3
            assert source.opened == epoch


# ---- bytes ----


def test_a_block_larger_than_the_limit_is_refused_with_its_figures() -> None:
    blocks = Blocks(100, 100_000, 100)
    block_bytes = 100_000 * 8 + 100_001 * 4 + sum(len(f"row {i}") for i in range(100, 100_100))
    with forebay.Loader(blocks.reader(), batch_size=50, memory_limit="512KiB") as loader:
        batches = iter(loader)
        assert check(next(batches)) == list(range(50))
        assert check(next(batches)) == list(range(50, 100))
        with pytest.raises(forebay.MemoryLimitError, match=f"a block of {block_bytes} bytes") as caught:
            next(batches)
        error, stats = caught.value, loader.stats()
        assert error.limit == stats.memory_limit == 512 << 10
        assert error.required > block_bytes
        assert block_bytes * 0.9 < stats.foreign_bytes < block_bytes
        assert stats.peak_bytes <= stats.memory_limit
        assert [made() for made in blocks.given] == [None, None]
        required = error.required
    with forebay.Loader(blocks.reader(), batch_size=50, memory_limit=required) as loader:
        assert sum(len(check(batch)) for batch in loader) == blocks.rows
        assert loader.stats().foreign_bytes == 0


@pytest.mark.parametrize("prefetch_batches", [None, 0, 100])
def test_the_peak_stays_within_a_small_limit(prefetch_batches: int | None) -> None:
    blocks = Blocks(*[2000] * 30)
    with forebay.Loader(
        Again(blocks), batch_size=100, memory_limit="192KiB", prefetch_batches=prefetch_batches
    ) as loader:
        for _ in range(2):
            ids = [i for batch in loader for i in check(batch)]
            assert ids == list(range(blocks.rows))
        stats = loader.stats()
        assert 16_000 < stats.accounts["read"].peak < 70_000  # a block
        assert stats.peak_bytes <= stats.memory_limit
        assert stats.foreign_bytes == 0


def test_slices_of_one_large_block_are_charged_for_their_rows() -> None:
    table = pa.table({"id": np.arange(1 << 20)})  # 8 MiB that are the caller's own
    reader = table.to_reader(max_chunksize=1 << 10)
    with forebay.Loader(reader, batch_size=1000, memory_limit="256KiB") as loader:
        ids = np.concatenate([batch["id"].copy() for batch in loader])
        assert np.array_equal(ids, np.arange(1 << 20))
        assert loader.stats().accounts["read"].peak == 8 << 10


def test_a_limit_below_the_least_is_refused_and_the_reader_stays_usable() -> None:
    reader = Blocks(10).reader()
    with pytest.raises(forebay.MemoryLimitError) as caught:
        forebay.Loader(reader, batch_size=1000, memory_limit=1000)
    assert caught.value.required > 1000
    with forebay.Loader(reader, batch_size=4) as loader:
        assert len(list(loader)) == 3


# ---- errors ----


class Broken(Exception):
    """Raised by the user's own generator."""


def fail_at(block_number: int, error: BaseException) -> Callable[[int], None]:
    def before(number: int) -> None:
        if number == block_number:
            raise error

    return before


@pytest.mark.parametrize("preserve_order", [False, True])
def test_an_exception_of_the_source_comes_after_the_batches_before_it(preserve_order: bool) -> None:
    failure = Broken("no more rows")
    blocks = Blocks(25, 10, 40, before=fail_at(2, failure))
    with forebay.Loader(blocks.reader(), batch_size=10, preserve_order=preserve_order) as loader:
        batches = iter(loader)
        ids = [i for _ in range(3) for i in check(next(batches))]
        assert ids == list(range(30))  # of 35: the half batch is dropped
        for _ in range(2):
            with pytest.raises(Broken, match="no more rows") as caught:
                next(batches)
            assert caught.value is failure
        assert "stage 'read'" in failure.__notes__[0]
        assert len(failure.__notes__) == 1
        assert loader.stats().accounts["read"].bytes == 0


@pytest.mark.parametrize(
    "error", [StopIteration("early"), SystemExit(3), GeneratorExit(), MemoryError("his")]
)
def test_exceptions_that_mean_something_to_whoever_catches_them_are_wrapped(error: BaseException) -> None:
    class Source:
        """Fails when it is asked for the stream of the second epoch."""

        opened = 0

        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            self.opened += 1
            if self.opened == 2:
                raise error
            return Blocks(10).reader().__arrow_c_stream__(requested_schema)

    with forebay.Loader(Source(), batch_size=4) as loader:
        assert len(list(loader)) == 3
        with pytest.raises(RuntimeError) as caught:
            list(loader)
        assert caught.value.__cause__ is error


def test_an_error_of_the_library_is_a_source_error_with_its_cause() -> None:
    blocks = Blocks(10, 10, before=fail_at(1, pa.ArrowInvalid("damaged")))
    with forebay.Loader(blocks.reader(), batch_size=4) as loader:
        with pytest.raises(forebay.SourceError, match="damaged") as caught:
            list(loader)
        assert isinstance(caught.value.__cause__, pa.ArrowInvalid)


def test_a_block_of_other_types_than_announced_is_refused() -> None:
    def blocks() -> Iterator[pa.RecordBatch]:
        yield block(0, 10)
        yield pa.record_batch({"id": pa.array([1], pa.int32()), "name": ["x"]})

    with (
        forebay.Loader(pa.RecordBatchReader.from_batches(SCHEMA, blocks()), batch_size=5) as loader,
        pytest.raises(
            forebay.SourceError,
            match="'id' of the block that begins with row 10 is int32, the stream announced int64",
        ),
    ):
        list(loader)


def test_a_stream_whose_schema_changes_between_epochs_is_refused() -> None:
    class Source:
        """Another type each time."""

        types = iter([pa.int64(), pa.int64(), pa.int32()])

        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            return pa.table({"a": pa.array([1, 2], next(self.types))}).__arrow_c_stream__(requested_schema)

    with forebay.Loader(Source(), batch_size=5) as loader:
        for _ in range(2):
            assert [batch["a"].tolist() for batch in loader] == [[1, 2]]
        with pytest.raises(forebay.SourceError, match="int32"):
            list(loader)


def test_a_null_is_named_by_its_row_of_the_stream() -> None:
    table = pa.table({"a": pa.array([1, 2, 3, None])})
    reader = pa.RecordBatchReader.from_batches(
        table.schema, [*table.slice(0, 3).to_batches(), *table.slice(3).to_batches()]
    )
    with forebay.Loader(reader, batch_size=2) as loader:
        batches = iter(loader)
        assert next(batches)["a"].tolist() == [1, 2]
        with pytest.raises(forebay.SourceError, match="row 3: column 'a' has a null") as caught:
            next(batches)
        assert caught.value.row == 3


def test_what_has_no_stream_of_record_batches_is_refused_at_construction() -> None:
    with pytest.raises(forebay.SourceError, match="no stream of record batches"):
        forebay.Loader(pa.chunked_array([[1, 2]]), batch_size=4)
    with pytest.raises(ValueError, match="no column"):
        forebay.Loader(pa.RecordBatchReader.from_batches(pa.schema([]), []), batch_size=4)
    with pytest.raises(TypeError, match="__arrow_c_stream__"):
        forebay.Loader(7, batch_size=4)


# ---- ends ----


def test_a_source_that_sleeps_is_left_behind_after_close_timeout() -> None:
    reached, released = threading.Event(), threading.Event()

    def sleep(number: int) -> None:
        if number == 1:
            reached.set()
            assert released.wait(60)

    loader = forebay.Loader(
        Blocks(10, 10, before=sleep).reader(), batch_size=10, prefetch_batches=1, close_timeout=0.2
    )
    try:
        batches = iter(loader)
        assert check(next(batches)) == list(range(10))
        assert reached.wait(60)
        start = time.monotonic()
        with pytest.warns(ResourceWarning, match="the source's stream within 0.2 s"):
            loader.close()
        assert 0.2 <= time.monotonic() - start < 5
        with pytest.raises(RuntimeError, match="closed"):
            next(batches)
    finally:
        released.set()


def test_timeout_of_next_and_going_on() -> None:
    released = threading.Event()
    blocks = Blocks(10, 10, before=lambda number: None if number == 0 else released.wait(60) and None)
    with forebay.Loader(blocks.reader(), batch_size=10, timeout=0.1) as loader:
        batches = iter(loader)
        assert check(next(batches)) == list(range(10))
        with pytest.raises(forebay.LoaderTimeoutError):
            next(batches)
        released.set()
        while True:
            try:
                assert check(next(batches)) == list(range(10, 20))
                break
            except forebay.LoaderTimeoutError:  # a slow machine
                continue
        assert next(batches, None) is None
