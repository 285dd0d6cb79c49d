"""However an epoch ends, nothing of it is left: no thread, no descriptor, no charged byte."""

from __future__ import annotations

import gc
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import forebay

pytestmark = pytest.mark.usefixtures("process")

WAYS_TO_READ = {
    "by default": {},
    "one thread": {"num_threads": 1},
    "in order": {"num_threads": 4, "preserve_order": True},
    "on demand": {"prefetch_batches": 0},
    "read ahead": {"prefetch_batches": 3},
    "least memory": {"memory_limit": "least"},
}


class Stop(Exception):
    """Raised by the body of a loop."""


@pytest.fixture(params=["parquet", "table"])
def source(request: pytest.FixtureRequest, parquet_set: Any) -> Any:
    """12,000 rows, as files and in memory."""
    if request.param == "parquet":
        return parquet_set.path
    table = parquet_set.table(0, parquet_set.rows)
    return pa.concat_tables(table.slice(first, 1000) for first in range(0, parquet_set.rows, 1000))


def make_loader(source: Any, **arguments: Any) -> forebay.Loader:
    """A loader of batches of 256 rows of fixed width. memory_limit="least": the least that its plan takes."""
    arguments = {"batch_size": 256, "columns": ["id", "value", "embedding"], **arguments}
    if arguments.get("memory_limit") == "least":
        with forebay.Loader(source, **{**arguments, "memory_limit": "1GiB"}) as loader:
            arguments["memory_limit"] = loader.plan().least_memory_bytes
    return forebay.Loader(source, **arguments)


def row_count(batches: Any) -> int:
    return sum(len(batch["id"]) for batch in batches)


# ---- the loop ends early ----


def repeat_ends(
    loader: forebay.Loader, process: Any, accounts: Any, times: int, end: Callable[[], None]
) -> None:
    """Ends an epoch early many times and looks after each."""
    end()
    core_bytes = loader.stats().accounts["core"].bytes
    descriptors = len(process.new_descriptors())
    for number in range(times - 1):
        end()
        accounts.check_as_before()
        assert loader.stats().accounts["core"].bytes == core_bytes
        if number % 50 == 0:
            assert len(process.new_descriptors()) == descriptors
    process.check_nothing_new()


def test_a_thousand_breaks_leave_nothing(
    source: Any, process: Any, accounts_of: Any, all_given_back: Any
) -> None:
    with make_loader(source) as loader:

        def break_early() -> None:
            for batch in loader:
                assert len(batch["id"]) == 256
                break

        repeat_ends(loader, process, accounts_of(loader), 1000, break_early)
        assert row_count(loader) == 12_000
    all_given_back(loader)


def test_a_thousand_exceptions_in_the_loop_leave_nothing(
    source: Any, process: Any, accounts_of: Any, all_given_back: Any
) -> None:
    with make_loader(source) as loader:

        def raise_early() -> None:
            with pytest.raises(Stop):
                for _ in loader:
                    raise Stop

        repeat_ends(loader, process, accounts_of(loader), 1000, raise_early)
        assert row_count(loader) == 12_000
    all_given_back(loader)


@pytest.mark.parametrize("way", WAYS_TO_READ)
@pytest.mark.parametrize("batches", [1, 5, 30])
def test_a_break_leaves_nothing_however_the_loader_reads(
    way: str, batches: int, source: Any, process: Any, accounts_of: Any, all_given_back: Any
) -> None:
    with make_loader(source, **WAYS_TO_READ[way]) as loader:
        accounts = accounts_of(loader)

        def break_late() -> None:
            for number, _ in enumerate(loader, 1):
                if number == batches:
                    break

        repeat_ends(loader, process, accounts, 10, break_late)
        assert row_count(loader) == 12_000
        accounts.check_as_before()
    all_given_back(loader)


def test_the_end_of_an_epoch_leaves_nothing_though_its_iterator_lives(
    source: Any, process: Any, accounts_of: Any
) -> None:
    with make_loader(source) as loader:
        accounts = accounts_of(loader)
        batches = iter(loader)
        assert row_count(batches) == 12_000
        process.check_nothing_new()
        accounts.check_as_before()
        for _ in range(3):
            assert next(batches, None) is None


def test_no_thread_starts_before_the_first_next(source: Any, process: Any) -> None:
    with make_loader(source) as loader:
        batches = iter(loader)
        process.check_no_new_threads()
        next(batches)


# ---- iterators and loaders are dropped ----


def test_a_dropped_iterator_leaves_nothing(source: Any, process: Any, accounts_of: Any) -> None:
    with make_loader(source) as loader:
        accounts = accounts_of(loader)
        opened = len(process.new_descriptors())
        for taken in (0, 1, 7):
            batches = iter(loader)
            for _ in range(taken):
                next(batches)
            del batches
            process.check_no_new_threads()
            assert len(process.new_descriptors()) <= opened
            accounts.check_as_before()


def test_an_iterator_keeps_its_loader_and_the_last_of_both_closes(source: Any, process: Any) -> None:
    batches = iter(make_loader(source))
    assert row_count(batches) == 12_000
    batches = iter(make_loader(source))
    next(batches)
    del batches
    process.check_nothing_new()


def test_a_dropped_loader_leaves_nothing(source: Any, process: Any) -> None:
    for _ in range(20):
        loader = make_loader(source)
        for _ in loader:
            break
        del loader
    process.check_nothing_new()


@pytest.mark.parametrize("how", ["dropped", "closed", "exhausted", "thrown into"])
def test_the_generator_form_closes_its_loader(how: str, source: Any, process: Any) -> None:
    batches = forebay.iter_batches(source, batch_size=256)
    first = next(batches)
    assert len(first["id"]) == 256
    if how == "closed":
        batches.close()
    elif how == "exhausted":
        assert row_count(batches) == 12_000 - 256
    elif how == "thrown into":
        with pytest.raises(Stop):
            batches.throw(Stop())
    else:
        del batches
    process.check_nothing_new()


def test_an_iterator_in_a_reference_cycle_is_collected(source: Any, process: Any, accounts_of: Any) -> None:
    with make_loader(source) as loader:
        accounts = accounts_of(loader)
        cycle: list[Any] = [iter(loader)]
        cycle.append(cycle)
        cycle.append(next(cycle[0]))
        del cycle
        gc.collect()
        process.check_nothing_new(collecting=True)
        accounts.check_as_before()


def test_a_loader_in_a_reference_cycle_is_collected(source: Any, process: Any) -> None:
    class Trainer:
        def __init__(self) -> None:
            self.loader = make_loader(source)
            self.batches = iter(self.loader)
            self.batch = next(self.batches)
            self.step = self.train  # a bound method: a cycle

        def train(self) -> None:
            raise NotImplementedError

    for _ in range(10):
        Trainer()
    gc.collect()
    process.check_nothing_new(collecting=True)


@pytest.mark.parametrize("num_threads", [1, 2, 4])
def test_a_reader_may_be_the_one_that_collects_its_own_iterator(
    num_threads: int, parquet_set: Any, process: Any, replace_open: Any
) -> None:
    """Garbage is collected on any thread that runs Python; this one cannot wait for itself."""
    may_open = threading.Event()
    took_s: list[float] = []

    def open_collecting(open_unit: Any, unit: int) -> Any:
        assert may_open.wait(60)
        start = time.monotonic()
        gc.collect()
        took_s.append(time.monotonic() - start)
        return open_unit()

    replace_open(open_collecting)
    gc.disable()
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", ResourceWarning)
            loader = make_loader(parquet_set.path, num_threads=num_threads, timeout=0.05, close_timeout=30.0)
            batches = iter(loader)
            with pytest.raises(forebay.LoaderTimeoutError):
                next(batches)
            cycle: list[Any] = [loader, batches]
            cycle.append(cycle)
            del loader, batches, cycle
            may_open.set()
            process.check_nothing_new()
    finally:
        gc.enable()
    assert warned == []
    assert took_s and max(took_s) < 5


def test_an_exception_that_holds_the_loop_in_its_frames_is_collected(source: Any, process: Any) -> None:
    def train() -> None:
        loader = make_loader(source)
        batches = iter(loader)
        try:
            next(batches)
            raise Stop
        except Stop as error:
            kept = error  # noqa: F841  a cycle: the frame holds the error, and the error the frame
            raise

    for _ in range(10):
        with pytest.raises(Stop):
            train()
    gc.collect()
    process.check_nothing_new(collecting=True)


# ---- a second iter() ----


def test_a_second_iter_ends_the_first(source: Any, accounts_of: Any) -> None:
    with make_loader(source) as loader:
        accounts = accounts_of(loader)
        first = iter(loader)
        next(first)
        second = iter(loader)
        accounts.check_as_before()
        for _ in range(2):
            with pytest.raises(RuntimeError, match="newer"):
                next(first)
        next(second)
        del first  # its end is not the second's
        assert row_count(second) == 12_000 - 256


def test_a_finished_iterator_stays_finished_after_a_second_iter(source: Any) -> None:
    with make_loader(source) as loader:
        first = iter(loader)
        assert row_count(first) == 12_000
        second = iter(loader)
        assert next(first, None) is None
        assert row_count(second) == 12_000


# ---- close() ----


def test_close_twice_is_fine(source: Any, process: Any, all_given_back: Any) -> None:
    loader = make_loader(source)
    next(iter(loader))
    loader.close()
    process.check_nothing_new()
    all_given_back(loader)
    loader.close()
    all_given_back(loader)


def test_a_closed_loader_says_so(source: Any) -> None:
    loader = make_loader(source)
    batches = iter(loader)
    next(batches)
    loader.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(batches)
    with pytest.raises(RuntimeError, match="closed"):
        iter(loader)
    assert len(loader) == loader.plan().batches == 47
    assert loader.stats().batches == 1
    assert "closed" in repr(loader)


def test_close_in_the_loop_ends_it(source: Any, process: Any) -> None:
    loader = make_loader(source)
    with pytest.raises(RuntimeError, match="closed"):
        for _ in loader:
            loader.close()
            process.check_nothing_new()
    assert loader.stats().batches == 1


def test_the_context_manager_closes(source: Any, process: Any, all_given_back: Any) -> None:
    with make_loader(source) as loader:
        next(iter(loader))
    process.check_nothing_new()
    all_given_back(loader)
    with pytest.raises(Stop), make_loader(source) as loader:
        next(iter(loader))
        raise Stop
    process.check_nothing_new()
    all_given_back(loader)


def test_close_from_another_thread_ends_a_waiting_next(
    parquet_set: Any, hold: Any, process: Any, all_given_back: Any
) -> None:
    loader = make_loader(parquet_set.path, close_timeout=30.0)
    raised: list[BaseException] = []

    def consume() -> None:
        try:
            next(iter(loader))
        except BaseException as error:
            raised.append(error)

    consumer = threading.Thread(target=consume)
    consumer.start()
    assert hold.reached.wait(10)
    closer = threading.Thread(target=loader.close)
    closer.start()
    consumer.join(10)  # before a reader has come back
    assert not consumer.is_alive()
    hold.released.set()
    closer.join(10)
    assert [type(error) for error in raised] == [RuntimeError]
    assert "closed" in str(raised[0])
    del raised[:]
    process.check_nothing_new()
    all_given_back(loader)


def test_many_threads_may_close_while_one_iterates(source: Any, process: Any) -> None:
    for number in range(50):
        loader = make_loader(source)
        started = threading.Barrier(4)

        def consume(loader: forebay.Loader = loader, started: threading.Barrier = started) -> None:
            started.wait()
            try:
                for _ in loader:
                    pass
            except RuntimeError as error:
                assert "closed" in str(error)

        def close(
            loader: forebay.Loader = loader, started: threading.Barrier = started, number: int = number
        ) -> None:
            started.wait()
            threading.Event().wait(number * 0.0001)
            loader.close()

        threads = [threading.Thread(target=target) for target in (consume, close, close, close)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        # The last snapshot is of the moment of closing, when the thread in the loop may still have held a batch.
        accounts = loader.stats().accounts
        assert {name for name, figures in accounts.items() if figures.bytes} <= {"held", "core"}
    process.check_nothing_new()


def test_one_thread_at_a_time_is_told(parquet_set: Any, hold: Any) -> None:
    loader = make_loader(parquet_set.path)
    batches = iter(loader)
    first: list[Any] = []
    consumer = threading.Thread(target=lambda: first.append(next(batches)))
    consumer.start()
    assert hold.reached.wait(10)
    assert loader.stats().batches == 0  # any thread may look on
    with pytest.raises(RuntimeError, match="another thread"):
        next(batches)
    hold.released.set()
    consumer.join(10)
    parquet_set.check(first[0])
    loader.close()


# ---- what the user keeps ----


def test_a_batch_outlives_close_and_stays_charged_to_held(source: Any, parquet_set: Any) -> None:
    loader = make_loader(source)
    batch = next(iter(loader))
    loader.close()
    accounts = loader.stats().accounts
    held_bytes = accounts["held"].bytes
    assert held_bytes >= sum(column.nbytes for column in batch.values())
    assert loader.stats().charged_bytes == sum(figures.bytes for figures in accounts.values()) >= held_bytes
    assert [name for name, figures in accounts.items() if figures.bytes] in (["held"], ["core", "held"])
    parquet_set.check(batch)
    batch["value"][:] = 7
    assert batch["value"].sum() == 7 * 256


def test_a_slice_of_a_column_outlives_iterator_loader_and_close(source: Any, parquet_set: Any) -> None:
    loader = make_loader(source, columns=["id", "value", "embedding", "name"], preserve_order=True)
    batches = iter(loader)
    next(batches)
    batch = next(batches)
    corner = batch["embedding"][10:13, 1:3]
    names = batch["name"][100:102]
    arrow_names = pa.array(batch["name"]).slice(255)
    bytes_of_batch = batch["id"].view(np.uint8)[-8:]
    del batch
    next(batches)
    held = loader.stats().accounts["held"].bytes
    assert held > 0
    loader.close()
    assert loader.stats().accounts["held"].bytes == held
    del loader, batches
    gc.collect()
    noise = [np.full(4096, 255, np.uint8) for _ in range(1000)]  # would lie where the batch was
    assert np.array_equal(
        corner, np.repeat(np.arange(256 + 10, 256 + 13), 2).reshape(3, 2).astype(np.float32)
    )
    assert names.to_pylist() == ["row 356", "row 357"]
    assert arrow_names.to_pylist() == ["row 511"]
    assert int(bytes_of_batch.view(np.int64)[0]) == 511
    assert corner.flags.writeable
    del noise


def test_held_falls_when_the_last_array_goes(source: Any) -> None:
    with make_loader(source) as loader:
        batches = iter(loader)
        batch = next(batches)
        held_bytes = loader.stats().accounts["held"].bytes
        column = batch["embedding"]
        part = column[5:6]
        del batch, column
        assert loader.stats().accounts["held"].bytes == held_bytes
        del part
        assert loader.stats().accounts["held"].bytes == 0
        next(batches)


def test_a_kept_batch_is_as_before_when_the_epoch_ends(
    source: Any, parquet_set: Any, accounts_of: Any
) -> None:
    """Rule 6: every account is as before the epoch; what the user has is held."""
    with make_loader(source) as loader:
        kept = next(iter(loader))
        accounts = accounts_of(loader)
        assert row_count(loader) == 12_000
        accounts.check_as_before()
        parquet_set.check(kept)
