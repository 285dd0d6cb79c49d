"""next() that has to wait: timeout=, and bytes that are in the user's hands (rule 4 of docs/design.md)."""

from __future__ import annotations

import threading
import time
from typing import Any

import pyarrow as pa
import pytest

import forebay

pytestmark = pytest.mark.usefixtures("process")

TIMEOUT_S = 0.3
FIXED = ["id", "value", "embedding"]


def tight_loader(source: Any, *, batches_more: float = 0, **arguments: Any) -> forebay.Loader:
    """A loader whose limit is the least, and room for so many batches more."""
    arguments = {"batch_size": 256, "columns": FIXED, "timeout": TIMEOUT_S, **arguments}
    with forebay.Loader(source, **{**arguments, "memory_limit": "1GiB"}) as roomy:
        batch_bytes = sum(column.nbytes for column in next(iter(roomy)).values())
        least_bytes = roomy.plan().least_memory_bytes
    return forebay.Loader(source, **arguments, memory_limit=least_bytes + int(batches_more * batch_bytes))


def row_count(batches: Any) -> int:
    return sum(len(batch["id"]) for batch in batches)


@pytest.fixture(params=["parquet", "table"])
def source(request: pytest.FixtureRequest, parquet_set: Any) -> Any:
    """12,000 rows, as files and in memory."""
    if request.param == "parquet":
        return parquet_set.path
    return parquet_set.table(0, parquet_set.rows)


# ---- timeout= ----


def test_timeout_raises_and_the_next_next_goes_on(parquet_set: Any, hold: Any) -> None:
    with forebay.Loader(parquet_set.path, batch_size=256, timeout=0.05, preserve_order=True) as loader:
        batches = iter(loader)
        for _ in range(3):
            start = time.monotonic()
            with pytest.raises(forebay.LoaderTimeoutError, match=r"0\.05 s"):
                next(batches)
            assert 0.05 <= time.monotonic() - start < 2
        hold.released.set()
        ids: list[int] = []
        while len(ids) < parquet_set.rows:
            try:
                ids += next(batches)["id"].tolist()
            except forebay.LoaderTimeoutError:  # a slow machine
                continue
        assert ids == list(range(parquet_set.rows))
        assert next(batches, None) is None


def test_timeout_is_of_one_next_not_of_the_epoch(parquet_set: Any, replace_open: Any) -> None:
    def open_slowly(open_unit: Any, unit: int) -> Any:
        time.sleep(0.05)
        return open_unit()

    replace_open(open_slowly)
    with forebay.Loader(parquet_set.path, batch_size=256, num_threads=1, timeout=0.5) as loader:
        start = time.monotonic()
        assert row_count(loader) == parquet_set.rows
        assert time.monotonic() - start > 0.5


def test_a_timeout_is_a_timeout_error() -> None:
    assert issubclass(forebay.LoaderTimeoutError, TimeoutError)


# ---- the user holds batches ----


def keep_until_refused(batches: Any) -> tuple[list[Any], forebay.MemoryLimitError]:
    """Keeps every batch until the limit refuses one more."""
    kept: list[Any] = []
    with pytest.raises(forebay.MemoryLimitError) as caught:
        for batch in batches:
            kept.append(batch)
            del batch
    return kept, caught.value


@pytest.mark.parametrize("preserve_order", [False, True])
@pytest.mark.parametrize("batches_more", [0, 3.5, 10])
def test_list_of_a_loader_that_does_not_fit_says_what_is_held(
    preserve_order: bool, batches_more: float, source: Any, accounts_of: Any
) -> None:
    with tight_loader(source, batches_more=batches_more, preserve_order=preserve_order) as loader:
        accounts = accounts_of(loader)
        for _ in range(2):  # the loader stays usable
            start = time.monotonic()
            with pytest.raises(forebay.MemoryLimitError, match=r"you hold \d+ batches, \d+ bytes: copy"):
                list(loader)
            assert TIMEOUT_S * 0.9 <= time.monotonic() - start < 10
            accounts.check_as_before()
            assert row_count(loader) == 12_000
        assert loader.stats().peak_bytes <= loader.stats().memory_limit


def test_the_refusal_counts_batches_and_bytes(source: Any, parquet_set: Any) -> None:
    with tight_loader(source, batches_more=5) as loader:
        kept, error = keep_until_refused(iter(loader))
        stats = loader.stats()
        assert 2 <= len(kept) < 47
        assert stats.accounts["held"].bytes >= sum(
            column.nbytes for batch in kept for column in batch.values()
        )
        assert f"you hold {len(kept)} batches, {stats.accounts['held'].bytes} bytes" in str(error)
        assert "raise memory_limit" in str(error)
        assert error.limit == stats.memory_limit
        assert isinstance(error, MemoryError)
        for batch in kept:
            parquet_set.check(batch)


def test_the_next_next_goes_on_after_batches_were_let_go(source: Any, parquet_set: Any) -> None:
    with tight_loader(source, preserve_order=True) as loader:
        batches = iter(loader)
        kept, _ = keep_until_refused(batches)
        with pytest.raises(forebay.MemoryLimitError, match="you hold"):  # still so
            next(batches)
        ids = [number for batch in kept for number in batch["id"].tolist()]
        del kept[:]
        for batch in batches:
            parquet_set.check(batch)
            ids += batch["id"].tolist()
            del batch
        assert ids == list(range(parquet_set.rows))


def test_a_list_that_fits_is_no_error(source: Any, parquet_set: Any) -> None:
    with forebay.Loader(source, batch_size=256, columns=FIXED, timeout=TIMEOUT_S) as loader:
        batches = list(loader)
        assert row_count(batches) == parquet_set.rows
        for batch in batches:
            parquet_set.check(batch)


def test_one_batch_kept_costs_nothing_but_its_bytes(source: Any, parquet_set: Any) -> None:
    """The least counts two batches in the user's hands."""
    with tight_loader(source) as loader:
        batches = iter(loader)
        kept = next(batches)
        rows = len(kept["id"])
        while (batch := next(batches, None)) is not None:
            rows += len(batch["id"])
            del batch  # a loop that lets go before it asks: one is kept, none in the loop
        assert rows == parquet_set.rows
        parquet_set.check(kept)


def test_the_loop_itself_may_hold_one(source: Any, parquet_set: Any) -> None:
    with tight_loader(source) as loader:
        previous = None
        for batch in loader:
            if previous is not None:
                parquet_set.check(previous)
            previous = batch
            del batch
        assert loader.stats().rows == parquet_set.rows


def test_garbage_is_collected_before_next_gives_up(source: Any) -> None:
    import gc

    gc.disable()  # what automatic collection would find in time
    try:
        with tight_loader(source) as loader:
            rows = 0
            for batch in loader:
                rows += len(batch["id"])
                cycle: list[Any] = [batch]
                cycle.append(cycle)
                del batch, cycle
            assert rows == 12_000
    finally:
        gc.enable()


def test_batches_that_another_thread_lets_go_later_are_waited_for(source: Any, parquet_set: Any) -> None:
    with tight_loader(source, batches_more=8, timeout=10.0) as loader:
        kept: list[Any] = []
        is_over = threading.Event()
        times_let_go = []

        def let_go_when_nothing_moves() -> None:
            seen = 0
            while not is_over.wait(0.05):
                if kept and len(kept) == seen:
                    times_let_go.append(seen)
                    kept.clear()
                seen = len(kept)

        releaser = threading.Thread(target=let_go_when_nothing_moves)
        releaser.start()
        try:
            rows = 0
            for batch in loader:
                parquet_set.check(batch)
                rows += len(batch["id"])
                kept.append(batch)
                del batch
        finally:
            is_over.set()
            releaser.join()
        assert rows == 12_000
        assert len(times_let_go) >= 2
        assert loader.stats().peak_bytes <= loader.stats().memory_limit


def test_a_thread_that_lets_go_one_by_one_keeps_next_going(source: Any) -> None:
    """Each release begins the patience anew: the loop as a whole takes longer than the timeout."""
    with tight_loader(source, batches_more=2, timeout=TIMEOUT_S) as loader:
        kept: list[Any] = []
        is_over = threading.Event()

        def let_go_slowly() -> None:
            while not is_over.wait(0.02):
                if kept:
                    kept.pop(0)

        releaser = threading.Thread(target=let_go_slowly)
        releaser.start()
        start = time.monotonic()
        try:
            rows = 0
            for batch in loader:
                rows += len(batch["id"])
                kept.append(batch)
                del batch
        finally:
            is_over.set()
            releaser.join()
        assert rows == 12_000
        assert time.monotonic() - start > 2 * TIMEOUT_S
        kept.clear()


@pytest.mark.slow
def test_without_a_timeout_next_waits_ten_seconds_for_a_release(parquet_set: Any) -> None:
    with tight_loader(parquet_set.path, timeout=None) as loader:
        start = time.monotonic()
        with pytest.raises(forebay.MemoryLimitError, match="you hold"):
            list(loader)
        assert 10 <= time.monotonic() - start < 20


def test_held_batches_of_an_earlier_epoch_count(source: Any) -> None:
    with tight_loader(source) as loader:
        kept, _ = keep_until_refused(iter(loader))
        with pytest.raises(forebay.MemoryLimitError, match=f"you hold {len(kept)} batches"):
            next(iter(loader))
        kept.clear()
        assert row_count(loader) == 12_000


def test_close_while_next_waits_for_batches_to_be_let_go(source: Any) -> None:
    loader = tight_loader(source, timeout=30.0)
    kept: list[Any] = []
    raised: list[BaseException] = []

    def consume() -> None:
        try:
            for batch in loader:
                kept.append(batch)
        except BaseException as error:
            raised.append(error)

    consumer = threading.Thread(target=consume)
    consumer.start()
    seen = -1
    while seen != len(kept) or not kept:  # until it waits
        seen = len(kept)
        time.sleep(0.1)
    loader.close()
    consumer.join(10)
    assert not consumer.is_alive()
    assert [type(error) for error in raised] == [RuntimeError]
    assert "closed" in str(raised[0])


def test_a_limit_below_the_least_is_refused_with_the_figure(source: Any) -> None:
    with forebay.Loader(source, batch_size=256, columns=FIXED) as roomy:
        least_bytes = roomy.plan().least_memory_bytes
    with pytest.raises(forebay.MemoryLimitError) as caught:
        forebay.Loader(source, batch_size=256, columns=FIXED, memory_limit=least_bytes - 1)
    assert (caught.value.required, caught.value.limit) == (least_bytes, least_bytes - 1)
    with forebay.Loader(source, batch_size=256, columns=FIXED, memory_limit=least_bytes) as loader:
        assert row_count(loader) == 12_000
        assert loader.stats().peak_bytes <= least_bytes


def test_views_of_a_batch_hold_all_of_it(source: Any) -> None:
    """Rule 2: a slice pins its batch, and the account says so."""
    with tight_loader(source, batches_more=4) as loader:
        corners: list[Any] = []
        with pytest.raises(forebay.MemoryLimitError, match="you hold"):
            for batch in loader:
                corners.append(batch["value"][:1])
                del batch
        assert sum(corner.nbytes for corner in corners) == 4 * len(corners)
        assert loader.stats().accounts["held"].bytes >= 256 * 28 * len(corners)
        corners.clear()
        assert loader.stats().accounts["held"].bytes == 0


def test_arrow_views_of_a_string_column_hold_their_batch(parquet_set: Any) -> None:
    with tight_loader(parquet_set.path, columns=["name"]) as loader:
        batches = iter(loader)
        arrow = pa.array(next(batches)["name"])
        assert loader.stats().accounts["held"].bytes >= arrow.nbytes
        del arrow
        assert loader.stats().accounts["held"].bytes == 0
