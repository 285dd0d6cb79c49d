"""What goes wrong in the middle of an epoch: stuck readers, failing sources, a system that refuses."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import threading
import warnings
from typing import Any

import pyarrow as pa
import pytest
from sanitizers import IS_SANITIZED

import forebay

pytestmark = pytest.mark.usefixtures("process")


def make_loader(source: Any, **arguments: Any) -> forebay.Loader:
    """A loader of batches of 256 rows of fixed width."""
    return forebay.Loader(source, **{"batch_size": 256, "columns": ["id", "value", "embedding"], **arguments})


def row_count(batches: Any) -> int:
    return sum(len(batch["id"]) for batch in batches)


# ---- a reader that does not come back ----


def test_close_leaves_a_stuck_reader_behind_and_names_what_it_reads(
    parquet_set: Any, hold: Any, process: Any
) -> None:
    hold.units = {5}
    loader = make_loader(parquet_set.path, num_threads=2, close_timeout=0.1, prefetch_batches=1000)
    batches = iter(loader)
    next(batches)
    assert hold.reached.wait(10)
    with pytest.warns(ResourceWarning) as warned:
        loader.close()
    message = str(warned[0].message)
    assert len(warned) == 1
    assert parquet_set.path_of(5) in message
    assert f"row group {parquet_set.group_of(5)}" in message
    left = len(process.new_threads())  # two where both have columns of that unit to read
    assert left in (1, 2)
    assert f"{left} reader thread" in message
    assert loader.stats().charged_bytes > 0  # what it may still use
    hold.released.set()
    process.check_nothing_new()


def test_a_stream_that_does_not_return_is_left_behind(
    parquet_set: Any, process: Any, replace_open: Any
) -> None:
    reached, released = threading.Event(), threading.Event()

    def open_stuck(open_unit: Any, unit: int) -> Any:
        reader = open_unit()

        def pieces() -> Any:
            reached.set()
            assert released.wait(60)
            yield from reader

        return pa.RecordBatchReader.from_batches(reader.schema, pieces())

    replace_open(open_stuck)
    loader = make_loader(parquet_set.path, num_threads=1, close_timeout=0.1, timeout=0.05)
    batches = iter(loader)
    try:
        with pytest.raises(forebay.LoaderTimeoutError):
            next(batches)
        assert reached.wait(10)
        with pytest.warns(ResourceWarning, match=r"part-00000\.parquet, row group 0"):
            loader.close()
        assert len(process.new_threads()) == 1
    finally:
        released.set()
    process.check_nothing_new()


def test_a_warning_that_is_an_error_does_not_undo_the_close(
    parquet_set: Any, hold: Any, process: Any
) -> None:
    loader = make_loader(parquet_set.path, num_threads=1, close_timeout=0.0, timeout=0.05)
    batches = iter(loader)
    with pytest.raises(forebay.LoaderTimeoutError):
        next(batches)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        with pytest.raises(ResourceWarning):
            loader.close()
    loader.close()  # closed it is
    with pytest.raises(RuntimeError, match="closed"):
        next(batches)
    hold.released.set()
    process.check_nothing_new()


def test_the_loader_goes_on_after_an_epoch_left_a_reader_behind(
    parquet_set: Any, hold: Any, process: Any, all_given_back: Any
) -> None:
    loader = make_loader(parquet_set.path, num_threads=2, close_timeout=0.05, timeout=0.05)
    batches = iter(loader)
    with pytest.raises(forebay.LoaderTimeoutError):
        next(batches)
    with pytest.warns(ResourceWarning):
        del batches
    assert len(process.new_threads()) == 2
    hold.released.set()
    process.check_nothing_new()
    with make_loader(parquet_set.path) as other:
        assert row_count(other) == 12_000
    loader.close()
    all_given_back(loader)


# ---- errors in the middle of an epoch ----


@pytest.fixture
def broken_unit(replace_open: Any) -> int:
    """Unit 6 fails after its first 300 rows."""

    def open_broken(open_unit: Any, unit: int) -> Any:
        reader = open_unit()
        if unit != 6:
            return reader

        def pieces() -> Any:
            yield reader.read_next_batch().slice(0, 300)
            raise ValueError("the disk is on fire")

        return pa.RecordBatchReader.from_batches(reader.schema, pieces())

    replace_open(open_broken)
    return 6


@pytest.mark.parametrize("num_threads", [1, 3])
def test_an_error_comes_after_the_batches_before_it_where_order_was_asked_for(
    num_threads: int, parquet_set: Any, broken_unit: int, process: Any, accounts_of: Any, all_given_back: Any
) -> None:
    loader = make_loader(parquet_set.path, num_threads=num_threads, preserve_order=True)
    for _ in range(2):  # the next epoch fails as well
        accounts = accounts_of(loader)
        batches = iter(loader)
        seen = []
        with pytest.raises(forebay.SourceError) as caught:
            for batch in batches:
                seen.extend(batch["id"].tolist())
        batch = None
        assert seen == list(range((broken_unit * 1000 + 300) // 256 * 256))
        error = caught.value
        assert error.path == parquet_set.path_of(broken_unit)
        assert error.row_group == parquet_set.group_of(broken_unit)
        assert str(error).startswith(f"{error.path}, row group {error.row_group}, row ")
        assert "the disk is on fire" in str(error)
        for _ in range(2):
            with pytest.raises(forebay.SourceError) as again:
                next(batches)
            assert (str(again.value), again.value.path) == (str(error), error.path)
        process.check_nothing_new()
        accounts.check_as_before()
    loader.close()
    all_given_back(loader)


def test_the_error_of_opening_a_unit_is_the_cause(parquet_set: Any, replace_open: Any) -> None:
    disk_error = PermissionError(13, "no entry")

    def open_broken(open_unit: Any, unit: int) -> Any:
        if unit == 3:
            raise disk_error
        return open_unit()

    replace_open(open_broken)
    with make_loader(parquet_set.path) as loader:
        batches = iter(loader)
        for _ in range(2):
            with pytest.raises(forebay.SourceError, match="no entry") as caught:
                for _ in batches:
                    pass
            assert caught.value.__cause__ is disk_error
            assert (caught.value.path, caught.value.row_group) == (parquet_set.path_of(3), 3)


@pytest.mark.parametrize("kind", [MemoryError, StopIteration, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_would_mislead_a_loop_arrives_as_runtime_error(
    kind: type[BaseException], parquet_set: Any, replace_open: Any
) -> None:
    def open_broken(open_unit: Any, unit: int) -> Any:
        raise kind("from a reader")

    replace_open(open_broken)
    with make_loader(parquet_set.path) as loader:
        with pytest.raises(RuntimeError, match="from a reader") as caught:
            next(iter(loader))
        assert type(caught.value) is RuntimeError
        assert type(caught.value.__cause__) is kind


def test_a_file_that_is_cut_while_it_is_read(parquet_set: Any, tmp_path: Any, process: Any) -> None:
    """A real one: the footer was good, the pages are not."""
    folder = tmp_path / "set"
    shutil.copytree(parquet_set.path, folder)
    damaged = folder / "part-00001.parquet"
    loader = make_loader(folder, preserve_order=True, num_threads=2)
    content = bytearray(damaged.read_bytes())
    status = damaged.stat()
    content[4:2000] = b"\xff" * 1996  # pages of its first row group
    damaged.write_bytes(content)
    os.utime(damaged, ns=(status.st_atime_ns, status.st_mtime_ns))
    batches = iter(loader)
    seen = 0
    with pytest.raises(forebay.SourceError) as caught:
        for batch in batches:
            parquet_set.check(batch)
            seen += len(batch["id"])
    batch = None
    assert seen == 4000 // 256 * 256
    assert (caught.value.path, caught.value.row_group) == (str(damaged), 0)
    process.check_nothing_new()
    loader.close()


# ---- what the system refuses ----

FEW_THREADS = """
import os, resource, sys, threading
import pyarrow as pa, pyarrow.parquet as pq
import forebay
from forebay import _parquet_native
from forebay._parquet import ParquetProvider

_parquet_native.ENABLED = False  # every column is opened as a stream
table = pq.read_table(sys.argv[1])
may_open = threading.Event()
def open_from_memory(self, unit, columns, piece_rows):
    assert may_open.wait(30)
    return table.slice(unit * 1000, 1000).select(list(columns)).to_reader(piece_rows)
ParquetProvider.open = open_from_memory

loader = forebay.Loader(sys.argv[1], batch_size=256, num_threads=40)
before = len(os.listdir("/proc/self/task"))
os.setresuid(54321, 54321, 54321)  # a user whose only threads are these
soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
resource.setrlimit(resource.RLIMIT_NPROC, (before + 5, hard))
batches = iter(loader)
threading.Timer(0.2, may_open.set).start()
for _ in range(2):
    try:
        next(batches)
    except MemoryError as error:
        assert "cannot start thread" in str(error), error
    else:
        raise AssertionError("40 threads were started")
resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
assert sum(len(batch["id"]) for batch in loader) == 12_000
loader.close()
assert loader.stats().charged_bytes == 0
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without other threads")
@pytest.mark.skipif(
    IS_SANITIZED, reason="its library warns that it cannot read the stack of another user's process"
)
def test_threads_that_cannot_all_be_started_are_an_error_and_no_hang(
    parquet_set: Any, run_python: Any
) -> None:
    ended = run_python(FEW_THREADS, parquet_set.path)
    assert ended.errors == ""
    assert ended.code == 0


def test_descriptors_that_cannot_be_opened_are_an_error(
    parquet_set: Any, process: Any, all_given_back: Any
) -> None:
    loader = make_loader(parquet_set.path)
    assert row_count(loader) == 12_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(descriptor) for descriptor in os.listdir("/proc/self/fd")) + 1
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
        fillers = []
        with contextlib.suppress(OSError):
            while True:
                fillers.append(open("/dev/null", "rb"))
        with pytest.raises(forebay.SourceError, match="open files"):
            iter(loader)
        fillers.pop().close()  # enough to begin, not to read
        with pytest.raises(forebay.SourceError, match="Too many open files"):
            next(iter(loader))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            filler.close()
    process.check_no_new_threads()
    assert row_count(loader) == 12_000
    loader.close()
    all_given_back(loader)
