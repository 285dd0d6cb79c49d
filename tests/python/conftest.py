"""Shared by the Python tests: small Parquet sets, and what a process has open."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import forebay

# Of Arrow's allocator: one for the process, started when it likes.
_FOREIGN_THREADS = {"jemalloc_bg_thd"}

# A thread that was joined is still listed by the kernel for a moment.
_SETTLE_S = 5.0


# Modules of many processes, waits and damaged files: in `make test`, left out of `make check`, which must stay quick.
_SLOW_MODULES = {
    "test_bad_input",
    "test_exit",
    "test_faults",
    "test_fork",
    "test_memory",
    "test_nested_types",
    "test_parquet_damage",
    "test_sample_files",
    "test_values_properties",
    "test_waiting",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what is slow by module."""
    for item in items:
        if item.path.stem in _SLOW_MODULES:
            item.add_marker(pytest.mark.slow)


@dataclass(frozen=True)
class ParquetSet:
    """A folder of Parquet files whose values all follow from the row number in column "id"."""

    path: Path
    files: int
    groups_per_file: int
    group_rows: int

    FIXED = ("id", "value", "embedding")

    @property
    def rows(self) -> int:
        return self.files * self.groups_per_file * self.group_rows

    @property
    def unit_count(self) -> int:
        return self.files * self.groups_per_file

    def path_of(self, unit: int) -> str:
        return str(self.path / f"part-{unit // self.groups_per_file:05d}.parquet")

    def group_of(self, unit: int) -> int:
        return unit % self.groups_per_file

    @staticmethod
    def table(first: int, rows: int) -> pa.Table:
        ids = np.arange(first, first + rows)
        embedding = np.repeat(ids, 4).astype(np.float32)
        return pa.table(
            {
                "id": ids,
                "value": (ids * 0.5).astype(np.float32),
                "embedding": pa.FixedSizeListArray.from_arrays(pa.array(embedding), 4),
                "name": [f"row {number}" for number in ids],
            }
        )

    @staticmethod
    def check(batch: dict[str, Any]) -> None:
        """Every column says the same as "id"."""
        ids = batch["id"]
        assert np.array_equal(batch["value"], (ids * 0.5).astype(np.float32))
        assert np.array_equal(batch["embedding"], np.repeat(ids, 4).astype(np.float32).reshape(-1, 4))
        if "name" in batch:
            assert batch["name"].to_pylist() == [f"row {number}" for number in ids]


@pytest.fixture(scope="session")
def parquet_set(tmp_path_factory: pytest.TempPathFactory) -> ParquetSet:
    """3 files x 4 row groups x 1,000 rows: int64, float32, 4 x float32 and string."""
    made = ParquetSet(tmp_path_factory.mktemp("parquet-set"), files=3, groups_per_file=4, group_rows=1000)
    file_rows = made.groups_per_file * made.group_rows
    for number in range(made.files):
        pq.write_table(
            made.table(number * file_rows, file_rows),
            made.path_of(number * made.groups_per_file),
            row_group_size=made.group_rows,
        )
    return made


def open_threads() -> dict[str, str]:
    """The threads of this process by their id, with their names."""
    threads = {}
    for task in os.listdir("/proc/self/task"):
        try:
            name = Path("/proc/self/task", task, "comm").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        if name not in _FOREIGN_THREADS:
            threads[task] = name
    return threads


def open_descriptors() -> dict[str, str]:
    """The descriptors of this process, with what they are."""
    descriptors = {}
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            descriptors[descriptor] = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            continue  # the one that the listing itself was read from
    return descriptors


class Process:
    """What this process has open, against what it had when this was made."""

    def __init__(self, *, unnamed_threads: bool = True) -> None:
        self._threads = open_threads()
        self._descriptors = open_descriptors()
        self._no_name = None if unnamed_threads else Path("/proc/self/comm").read_text().strip()

    def new_threads(self) -> dict[str, str]:
        """Threads that were not there at first, with their names."""
        return {
            key: name
            for key, name in open_threads().items()
            if key not in self._threads and name != self._no_name
        }

    def new_descriptors(self) -> dict[str, str]:
        """Descriptors that were not there at first, or were something else."""
        return {key: what for key, what in open_descriptors().items() if self._descriptors.get(key) != what}

    def check_no_new_threads(self, *, collecting: bool = False) -> None:
        """No thread is left. collecting: so that garbage is collected, which at times must be asked for twice."""
        deadline = time.monotonic() + _SETTLE_S
        while self.new_threads() and time.monotonic() < deadline:
            if collecting:
                gc.collect()  # does nothing where another thread is at it
            time.sleep(0.001)
        assert self.new_threads() == {}

    def check_nothing_new(self, *, collecting: bool = False) -> None:
        """No thread and no descriptor is left."""
        self.check_no_new_threads(collecting=collecting)
        assert self.new_descriptors() == {}


@pytest.fixture
def process() -> Iterator[Process]:
    """What the process has open; checks at the end of the test that nothing new is left."""
    gc.collect()
    opened = Process()
    yield opened
    gc.collect()
    opened.check_nothing_new(collecting=True)


@pytest.fixture(scope="module")
def module_process() -> Iterator[Process]:
    """As `process`, once for all tests of a file: for files of many quick tests.

    Threads without a name of their own do not count: each test has one that watches its time.
    """
    gc.collect()
    opened = Process(unnamed_threads=False)
    yield opened
    gc.collect()
    opened.check_nothing_new(collecting=True)


class Accounts:
    """The accounts of a loader, against what they were when this was made."""

    KEPT_BETWEEN_EPOCHS = {"pool", "plan", "core"}

    def __init__(self, loader: forebay.Loader) -> None:
        self._loader = loader
        self._before = self._bytes()

    def _bytes(self) -> dict[str, int]:
        return {
            name: figures.bytes
            for name, figures in self._loader.stats().accounts.items()
            if name not in self.KEPT_BETWEEN_EPOCHS
        }

    def check_as_before(self) -> None:
        """What an epoch took has been given back."""
        assert self._bytes() == self._before


def check_all_given_back(loader: forebay.Loader) -> None:
    """After close(): no byte is charged anywhere."""
    stats = loader.stats()
    assert {name: figures.bytes for name, figures in stats.accounts.items() if figures.bytes} == {}
    assert stats.charged_bytes == 0


@pytest.fixture
def accounts_of() -> Callable[[forebay.Loader], Accounts]:
    """Makes the accounts of a loader as they are now."""
    return Accounts


@pytest.fixture
def all_given_back() -> Callable[[forebay.Loader], None]:
    """Checks that a closed loader has no byte charged."""
    return check_all_given_back


OpenUnit = Callable[[], pa.RecordBatchReader]


@pytest.fixture
def replace_open(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[OpenUnit, int], Any]], None]:
    """replace_open(function): reader threads call function(open_unit, unit) where they would open a unit.

    Every column is read as a stream then: none is decoded by the core.
    """
    from forebay import _parquet_native
    from forebay._parquet import ParquetProvider

    monkeypatch.setattr(_parquet_native, "ENABLED", False)
    original = ParquetProvider.open

    def replace(function: Callable[[OpenUnit, int], Any]) -> None:
        def open_instead(self: Any, unit: int, columns: tuple[int, ...], piece_rows: int) -> Any:
            return function(lambda: original(self, unit, columns, piece_rows), unit)

        monkeypatch.setattr(ParquetProvider, "open", open_instead)

    return replace


class Hold:
    """Holds up the reading of some units: wait(unit) returns once `released` is set."""

    def __init__(self) -> None:
        self.units: set[int] | None = None  # None: all
        self.reached = threading.Event()
        self.released = threading.Event()

    def wait(self, unit: int) -> None:
        if self.units is None or unit in self.units:
            self.reached.set()
            assert self.released.wait(60)


@pytest.fixture
def hold(process: Process, replace_open: Callable[[Callable[[OpenUnit, int], Any]], None]) -> Iterator[Hold]:
    """Units are opened only once the hold is released; at the end of the test it is."""
    made = Hold()

    def open_held(open_unit: OpenUnit, unit: int) -> Any:
        made.wait(unit)
        return open_unit()

    replace_open(open_held)
    yield made
    made.released.set()


@dataclass(frozen=True)
class Ended:
    """How a Python program ended."""

    code: int
    output: str
    errors: str
    exit_s: float | None  # from the last line "end of script at <clock>" to the end of the process


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., Ended]:
    """Runs a program text with this Python; arguments are its sys.argv[1:]. Warnings are shown."""

    def run(text: str, *arguments: object, interrupt_on: str | None = None) -> Ended:
        """interrupt_on: send SIGINT as soon as this line is printed."""
        script = tmp_path / "program.py"
        script.write_text(text)
        command = [sys.executable, "-X", "faulthandler", "-W", "default", str(script), *map(str, arguments)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
            head = ""
            if interrupt_on is not None:
                import signal

                assert program.stdout is not None
                for line in program.stdout:
                    head += line
                    if line.strip() == interrupt_on:
                        break
                time.sleep(0.05)  # on its way from the line to the wait
                program.send_signal(signal.SIGINT)
            output, errors = program.communicate(timeout=60)
            end = time.monotonic()
        lines = (head + output).splitlines()
        clocks = [float(line.rpartition(" ")[2]) for line in lines if line.startswith("end of script at ")]
        return Ended(program.returncode, head + output, errors, end - clocks[-1] if clocks else None)

    return run
