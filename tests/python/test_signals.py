"""Ctrl-C inside next(): a KeyboardInterrupt soon, and a loader that works afterwards."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import forebay

pytestmark = pytest.mark.usefixtures("process")

SOON_S = 0.25


class Interrupt:
    """Sends SIGINT to the main thread after a while; threads of other libraries that tests import could take it too."""

    def __init__(self, after_s: float) -> None:
        self.sent_at = 0.0
        self._timer = threading.Timer(after_s, self._send)

    def _send(self) -> None:
        main_thread = threading.main_thread().ident
        assert main_thread is not None
        self.sent_at = time.monotonic()
        signal.pthread_kill(main_thread, signal.SIGINT)

    def __enter__(self) -> Interrupt:
        self._timer.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._timer.join()


@contextlib.contextmanager
def interrupted(after_s: float = 0.1) -> Iterator[None]:
    """The block ends in KeyboardInterrupt soon after a SIGINT."""
    with pytest.raises(KeyboardInterrupt), Interrupt(after_s) as interrupt:
        yield
    assert 0 < time.monotonic() - interrupt.sent_at < SOON_S


def row_count(batches: Any) -> int:
    return sum(len(batch["id"]) for batch in batches)


def test_an_interrupt_ends_a_next_that_waits_for_the_source(
    parquet_set: Any, hold: Any, accounts_of: Any
) -> None:
    with forebay.Loader(parquet_set.path, batch_size=256) as loader:
        accounts = accounts_of(loader)
        batches = iter(loader)
        for _ in range(3):
            with interrupted():
                next(batches)
        hold.released.set()
        assert row_count(batches) == parquet_set.rows  # nothing was lost
        assert row_count(loader) == parquet_set.rows
        accounts.check_as_before()


def test_an_interrupt_ends_a_next_with_a_timeout(parquet_set: Any, hold: Any) -> None:
    with forebay.Loader(parquet_set.path, batch_size=256, timeout=30.0) as loader:
        batches = iter(loader)
        with interrupted():
            next(batches)
        hold.released.set()
        assert row_count(batches) == parquet_set.rows


def test_an_interrupt_ends_a_next_that_waits_for_batches_to_be_let_go(parquet_set: Any) -> None:
    table = parquet_set.table(0, parquet_set.rows)
    with forebay.Loader(table, batch_size=256) as roomy:
        least_bytes = roomy.plan().least_memory_bytes
    with forebay.Loader(table, batch_size=256, memory_limit=least_bytes, timeout=30.0) as loader:
        kept: list[Any] = []
        batches = iter(loader)
        with interrupted(0.3):
            for batch in batches:
                kept.append(batch)
                del batch
        rows = row_count(kept)
        assert 0 < rows < parquet_set.rows
        kept.clear()
        assert rows + row_count(batches) == parquet_set.rows


def test_an_interrupted_loop_leaves_nothing(
    parquet_set: Any, hold: Any, process: Any, all_given_back: Any
) -> None:
    hold.units = {7, 8}
    with pytest.warns(ResourceWarning, match="left 2 reader"):  # still held when the loader closes
        with forebay.Loader(parquet_set.path, batch_size=256, num_threads=2, close_timeout=0.05) as loader:
            with interrupted(0.3):
                for batch in loader:
                    parquet_set.check(batch)
    hold.released.set()
    process.check_nothing_new()
    del batch, loader


def test_a_handler_of_the_users_runs_while_next_waits(parquet_set: Any, hold: Any) -> None:
    called: list[float] = []
    before = signal.signal(signal.SIGINT, lambda *_: called.append(time.monotonic()))
    try:
        with forebay.Loader(parquet_set.path, batch_size=256, timeout=0.5) as loader:
            batches = iter(loader)
            start = time.monotonic()
            with Interrupt(0.1) as interrupt, pytest.raises(forebay.LoaderTimeoutError):
                next(batches)
            assert len(called) == 1
            assert called[0] - interrupt.sent_at < SOON_S
            assert 0.5 <= time.monotonic() - start < 2  # the timeout did not begin anew
            hold.released.set()
            assert row_count(batches) == parquet_set.rows
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_alarm_does_not_end_a_next(parquet_set: Any, hold: Any) -> None:
    called: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: called.append(number))
    try:
        with forebay.Loader(parquet_set.path, batch_size=256) as loader:
            signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
            threading.Timer(0.3, hold.released.set).start()
            assert row_count(loader) == parquet_set.rows
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(called) >= 3


def test_the_signal_mask_is_as_before(parquet_set: Any, hold: Any) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with forebay.Loader(parquet_set.path, batch_size=256, timeout=0.02) as loader:
        batches = iter(loader)
        with pytest.raises(forebay.LoaderTimeoutError):
            next(batches)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
        hold.released.set()
        assert row_count(loader) == parquet_set.rows
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_interrupts_at_random_moments_of_an_epoch(
    parquet_set: Any, process: Any, accounts_of: Any, all_given_back: Any
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    moments = random.Random(seed)
    loader = forebay.Loader(parquet_set.path, batch_size=64, preserve_order=True)
    accounts = accounts_of(loader)
    start = time.monotonic()
    assert row_count(loader) == parquet_set.rows
    epoch_s = time.monotonic() - start
    interrupts = 0
    for _ in range(50):
        with contextlib.ExitStack() as stack:
            ids: list[int] = []
            try:
                stack.enter_context(Interrupt(moments.uniform(0, epoch_s)))
                while True:
                    ids = []
                    for batch in loader:
                        ids += batch["id"].tolist()
                        del batch
                    assert len(ids) == parquet_set.rows
            except KeyboardInterrupt:
                interrupts += 1
            assert ids == list(range(len(ids)))
        accounts.check_as_before()
        assert row_count(loader) == parquet_set.rows
    assert interrupts == 50
    loader.close()
    process.check_nothing_new()
    all_given_back(loader)


INTERRUPTED = """
import sys, threading, forebay
from forebay import _parquet_native
from forebay._parquet import ParquetProvider

_parquet_native.ENABLED = False  # every column is opened as a stream

never = threading.Event()
def open_never(self, unit, columns, piece_rows):
    never.wait()
ParquetProvider.open = open_never

loader = forebay.Loader(sys.argv[1], batch_size=256, close_timeout=0.1)
print("waiting", flush=True)
try:
    for batch in loader:
        pass
except KeyboardInterrupt:
    print("interrupted")
"""


def test_control_c_ends_a_program_that_waits(parquet_set: Any, run_python: Any) -> None:
    ended = run_python(INTERRUPTED, parquet_set.path, interrupt_on="waiting")
    assert (ended.code, ended.output.split()) == (0, ["waiting", "interrupted"])
    assert "ResourceWarning: forebay left" in ended.errors
    assert "Traceback" not in ended.errors


UNCAUGHT = """
import sys, forebay
print("looping", flush=True)
while True:
    for batch in forebay.iter_batches(sys.argv[1], batch_size=16):
        pass
"""


def test_control_c_that_nobody_catches_ends_as_python_programs_do(parquet_set: Any, run_python: Any) -> None:
    ended = run_python(UNCAUGHT, parquet_set.path, interrupt_on="looping")
    assert ended.code == -signal.SIGINT
    assert ended.errors.count("Traceback") == 1
    assert ended.errors.endswith("KeyboardInterrupt\n")
