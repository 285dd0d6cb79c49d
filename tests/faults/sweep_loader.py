"""Every call to the system that the extension's core makes fails in turn, once and from then on, as Python sees it.

A life of a forebay.Loader is run again and again, the first call failing, then the second, until none is left. What
was called must raise MemoryError (an eventfd: SourceError), work when it is called again, and give the right rows;
whenever nothing is under way what is charged must be what the core asked the system for; in the end nothing is left.

Usage: LD_PRELOAD=.../forebay_faults.so python sweep_loader.py [every N-th call]
"""

from __future__ import annotations

import errno
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import faults
import numpy as np
import pyarrow.parquet as pq
from faults import FOR_EVER, Kind

import forebay

T = TypeVar("T")
ROWS = 700


@dataclass(frozen=True)
class Failure:
    """What fails, and what it must arrive as."""

    kind: Kind
    code: int
    expected: type[BaseException]


@dataclass(frozen=True)
class Case:
    """A source with arguments of its loader."""

    name: str
    source: Any
    arguments: dict[str, Any]
    is_charged_exactly: bool = False  # nothing is charged but what the core asks for


FAILURES = [
    Failure(Kind.MEMORY, errno.ENOMEM, MemoryError),
    Failure(Kind.THREAD, errno.EAGAIN, MemoryError),
    Failure(Kind.EVENT, errno.EMFILE, forebay.SourceError),
]
FIXED = ["id", "value", "embedding"]


class Life:
    """One loader from making to closing, with one kind of failure."""

    def __init__(self, case: Case, failure: Failure, after: int, repeat: int) -> None:
        self.case, self.failure = case, failure
        self.seen = 0
        # Strings ask for more memory than they need first, and do without it.
        has_strings = case.arguments.get("columns") != FIXED
        self.may_be_tolerated = has_strings and failure.kind is Kind.MEMORY and repeat == 1
        faults.arm(failure.kind, after, repeat, failure.code)

    def check_raised(self, error: BaseException) -> None:
        """It is what must be raised, and there was a reason."""
        assert type(error) is self.failure.expected, repr(error)
        assert str(error)
        failures_now = faults.failures(self.failure.kind)
        assert failures_now > self.seen, "nothing failed"
        self.seen = failures_now

    def end_failures(self, tries: int) -> None:
        """A failure that recurs is seen twice, and then it is over."""
        assert tries <= 2
        if tries == 2:
            faults.disarm()

    def attempt(self, function: Callable[[], T]) -> T:
        """What the function gives once nothing fails any more."""
        tries = 0
        while True:
            try:
                return function()
            except (MemoryError, forebay.SourceError) as error:
                tries += 1
                self.check_raised(error)
                self.end_failures(tries)

    def check_books(self, loader: forebay.Loader) -> None:
        """Nothing is under way."""
        charged = loader.stats().charged_bytes
        if self.case.is_charged_exactly:
            assert charged == faults.live_bytes(), (charged, faults.live_bytes())
        assert charged >= faults.live_bytes()
        assert faults.live_threads() == 0

    def epoch(self, loader: forebay.Loader) -> bool:
        """False where it failed."""
        batches = self.attempt(lambda: iter(loader))
        seen, held = [], None
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                break
            except (MemoryError, forebay.SourceError) as error:
                self.check_raised(error)
                try:
                    next(batches)
                    raise AssertionError("a failed epoch went on")
                except self.failure.expected as again:
                    assert str(again) == str(error)
                assert faults.failures(self.failure.kind) == self.seen
                self.check_books(loader)
                return False
            seen.append(faults.check_batch(batch))
            held = batch
        assert held is not None
        assert np.array_equal(np.concatenate(seen), np.arange(ROWS)), "wrong rows"
        self.check_books(loader)
        return True

    def run(self) -> bool:
        """Whether there was a call to fail."""
        loader = self.attempt(
            lambda: forebay.Loader(self.case.source, preserve_order=True, **self.case.arguments)
        )
        self.check_books(loader)
        for _ in range(2):
            tries = 0
            while not self.epoch(loader):
                tries += 1
                self.end_failures(tries)
        faults.disarm()
        loader.close()
        assert loader.stats().charged_bytes == 0
        failed = faults.failures(self.failure.kind) > 0
        assert not failed or self.seen > 0 or self.may_be_tolerated, "a failure that nobody heard of"
        return failed


def sweep(case: Case, failure: Failure, repeat: int, every: int, process: faults.Process) -> int:
    """Until three calls in a row turned out not to be there. Returns the number of lives."""
    after, last, lives = 0, -1, 0
    while after < last + 4:
        if Life(case, failure, after, repeat).run():
            last = after + every - 1
        process.check_nothing_new()
        lives += 1
        after += every
    return lives


def cases(folder: str) -> list[Case]:
    """The sources: a further one is a line here."""
    data = faults.table(0, ROWS)
    pq.write_table(data, f"{folder}/data.parquet", row_group_size=250)
    path, parts = f"{folder}/data.parquet", faults.write_partitioned(folder, data, 250)
    nested, two = faults.nested_table(0, ROWS), {"batch_size": 100, "num_threads": 2}
    return [
        Case("table", data, {"batch_size": 64, "num_threads": 1}, is_charged_exactly=True),
        Case(
            "table, 2 threads, masks", data, {"batch_size": 99, "num_threads": 2, "null_policy": "mask"}, True
        ),
        Case("Parquet, decoded here", path, {"batch_size": 100, "num_threads": 1, "columns": FIXED}),
        Case("Parquet, by pyarrow", path, {"batch_size": 64, "num_threads": 1, "columns": ["name"]}),
        Case("function of streams", lambda: data.to_reader(150), {"batch_size": 100, "prefetch_batches": 1}),
        Case("Parquet, both, 3 threads", path, {"batch_size": 100, "num_threads": 3, "prefetch_batches": 0}),
        Case("list of batches", data.to_batches(150), {"batch_size": 100, "columns": FIXED}),
        Case(
            "function of a generator",
            lambda: (block for block in nested.to_batches(130)),
            {"batch_size": None},
        ),
        Case("nested", nested, {**two, "dtypes": {"kind": "dictionary"}}),
        Case("nested, pyarrow", nested, {**two, "batch_format": "pyarrow"}),
        Case("nested, pandas", nested, {**two, "batch_format": "pandas"}),
        Case("folders", parts, {**two, "columns": [*FIXED, "part"]}),
    ]


def main() -> None:
    every = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    lives = 0
    with tempfile.TemporaryDirectory() as folder:
        faults.watch_extension()
        for case in cases(folder):
            arguments = {**case.arguments, "preserve_order": True}
            with forebay.Loader(case.source, **arguments) as loader:  # what is started once is started now
                for _ in loader:
                    pass
            _ = None
            process = faults.Process()
            for failure in FAILURES:
                for repeat in (1, FOR_EVER):
                    where = f"{case.name}, {failure.kind.name}, {'once' if repeat == 1 else 'from then on'}"
                    try:
                        lives += sweep(case, failure, repeat, every, process)
                    except BaseException:
                        print(where, faults.calls(failure.kind), file=sys.stderr)
                        raise
    print(f"cases: {lives}")


if __name__ == "__main__":
    main()
