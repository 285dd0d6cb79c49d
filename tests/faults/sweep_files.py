"""Every open, fstat, pread and read of a data file fails in turn: errors, interruptions, short reads, files that end.

A Parquet loader is made and run over files whose columns are decoded by the core, by pyarrow, or both. The outcome
must be the right rows (where a call was interrupted or short), SourceError naming the file, or MemoryError: never a
hang, a crash, a wrong row, or a descriptor or thread that is left. Then the same loader, with nothing failing any more,
must give every row.

Usage: LD_PRELOAD=.../forebay_faults.so python sweep_files.py [every N-th call [reader threads ...]]
"""

from __future__ import annotations

import collections
import errno
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import faults
import numpy as np
import pyarrow.parquet as pq
from faults import END, FOR_EVER, SHORT, Kind

import forebay

FILES, GROUPS, GROUP_ROWS = 2, 3, 300
ROWS = FILES * GROUPS * GROUP_ROWS
FIXED = ["id", "value", "embedding"]


@dataclass(frozen=True)
class Failure:
    """What fails, and what that may come to: "rows" or names of exceptions."""

    name: str
    kind: Kind
    code: int
    repeats: tuple[int, ...]
    outcomes: frozenset[str]


def failure(name: str, kind: Kind, code: int, repeats: tuple[int, ...], *outcomes: str) -> Failure:
    return Failure(name, kind, code, repeats, frozenset(outcomes))


FAILURES = [
    failure("open, i/o", Kind.OPEN, errno.EIO, (1, FOR_EVER), "SourceError"),
    failure("open, too many", Kind.OPEN, errno.EMFILE, (1, FOR_EVER), "SourceError"),
    failure("open, memory", Kind.OPEN, errno.ENOMEM, (1, FOR_EVER), "SourceError", "MemoryError"),
    failure("open, again", Kind.OPEN, errno.EAGAIN, (1, FOR_EVER), "SourceError"),
    failure("open, interrupted", Kind.OPEN, errno.EINTR, (1, 3), "rows"),
    # Python's own open() asks fstat() for a better size of its buffer, and does without.
    failure("fstat, i/o", Kind.STATUS, errno.EIO, (1, FOR_EVER), "SourceError", "rows"),
    failure("fstat, memory", Kind.STATUS, errno.ENOMEM, (1, FOR_EVER), "SourceError", "MemoryError", "rows"),
    failure("read, i/o", Kind.READ, errno.EIO, (1, FOR_EVER), "SourceError"),
    failure("read, memory", Kind.READ, errno.ENOMEM, (1, FOR_EVER), "SourceError", "MemoryError"),
    failure("read, again", Kind.READ, errno.EAGAIN, (1, FOR_EVER), "SourceError"),
    failure("read, the end", Kind.READ, END, (1, FOR_EVER), "SourceError"),
    failure("read, interrupted", Kind.READ, errno.EINTR, (1, 3), "rows"),
    failure("read, short", Kind.READ, SHORT, (1, FOR_EVER), "rows"),
]
COLUMNS = {"decoded here": FIXED, "by pyarrow": ["name"], "both": None}


def check_epoch(loader: forebay.Loader) -> None:
    """All rows come, right and once."""
    seen = [faults.check_batch(batch) for batch in loader]
    assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(ROWS)), "wrong rows"


def outcome_of(loader: forebay.Loader, folder: str) -> tuple[str, str]:
    """Runs an epoch while calls fail: what came of it, and the message."""
    seen = 0
    try:
        for batch in loader:
            seen += len(faults.check_batch(batch))
    except forebay.SourceError as error:
        return check_source_error(error, folder), str(error)
    except MemoryError as error:
        assert type(error) is MemoryError
        return "MemoryError", str(error)
    assert seen == ROWS, "rows are missing"
    return "rows", ""


def check_source_error(error: forebay.SourceError, folder: str) -> str:
    """It names the file."""
    assert error.path is not None and error.path.startswith(folder), repr(error)
    assert error.path in str(error), repr(error)
    error.__cause__ = None  # whose frames may hold a file
    return type(error).__name__


class Sweep:
    """The calls of one kind of columns and number of threads."""

    def __init__(self, folder: str, columns: list[str] | None, threads: int, process: faults.Process) -> None:
        self.folder, self.columns, self.threads, self.process = folder, columns, threads, process
        self.outcomes: collections.Counter[tuple[str, str]] = collections.Counter()
        self.lives = 0
        self.message = ""

    def make(self) -> forebay.Loader:
        return forebay.Loader(self.folder, batch_size=128, num_threads=self.threads, columns=self.columns)

    def life(self, what: Failure, after: int, repeat: int, *, in_construction: bool) -> bool:
        """Whether there was a call to fail."""
        self.lives += 1
        loader, outcome = None if in_construction else self.make(), ""
        faults.arm(what.kind, after, repeat, what.code)
        if in_construction:
            try:
                loader = self.make()
            except forebay.SourceError as error:
                outcome, self.message = check_source_error(error, self.folder), str(error)
            except MemoryError:
                outcome = "MemoryError"
        if loader is not None:
            outcome, self.message = outcome_of(loader, self.folder)
        count = faults.failures(what.kind)
        faults.disarm()
        allowed = what.outcomes if count else {"rows"}
        if in_construction and repeat == 1 and what.code != SHORT:
            allowed |= {"rows"}  # the survey of pages does without what it cannot read
        assert outcome in allowed, f"{outcome} after {count} failed: {self.message}"
        if count:
            self.outcomes[what.name, outcome] += 1
        if loader is not None:
            check_epoch(loader)
            loader.close()
            assert loader.stats().charged_bytes == 0
        loader = None
        self.process.check_nothing_new()
        return count > 0

    def run(self, what: Failure, every: int) -> None:
        """Every call, until three in a row turned out not to be there."""
        for in_construction in (True, False):
            for repeat in what.repeats:
                after, last = 0, -1
                while after < last + 4:
                    try:
                        if self.life(what, after, repeat, in_construction=in_construction):
                            last = after + every - 1
                    except BaseException:
                        when = "making" if in_construction else "epoch"
                        print(
                            f"{what.name}, call {after} x {repeat}, {when}, {self.columns}", file=sys.stderr
                        )
                        raise
                    after += every


# ---- files that change after the plan -------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def truncate_and_set_back_the_clock(path: Path) -> None:
    status = path.stat()
    truncate(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def delete(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    """By other rows, in one step."""
    other = path.with_name("_other")
    pq.write_table(faults.table(10**6, GROUPS * GROUP_ROWS), other, row_group_size=GROUP_ROWS)
    os.replace(other, path)


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


CHANGES = [truncate, truncate_and_set_back_the_clock, delete, replace, make_a_folder]


def write_files(folder: str) -> list[Path]:
    paths = []
    for number in range(FILES):
        paths.append(Path(folder, f"{number}.parquet"))
        rows = GROUPS * GROUP_ROWS
        pq.write_table(faults.table(number * rows, rows), paths[-1], row_group_size=GROUP_ROWS)
    return paths


def sweep_changes(
    columns: list[str] | None, threads: int, process: faults.Process
) -> collections.Counter[str]:
    """The second file changes before the first batch, or after some of them: the rows are right, or it is named."""
    outcomes: collections.Counter[str] = collections.Counter()
    for change in CHANGES:
        for batches_before in range(0, 14, 3):
            with tempfile.TemporaryDirectory() as folder:
                path = write_files(folder)[1]
                loader = forebay.Loader(
                    folder, batch_size=128, num_threads=threads, columns=columns, prefetch_batches=0
                )
                batches = iter(loader)
                seen = [len(faults.check_batch(next(batches))) for _ in range(batches_before)]
                change(path)
                outcome = "rows"
                try:
                    seen.extend(len(faults.check_batch(batch)) for batch in batches)
                except forebay.SourceError as error:
                    outcome = check_source_error(error, folder)
                    assert error.path == str(path), error
                assert sum(seen) == ROWS or outcome == "SourceError"
                assert batches_before > 4 or outcome == "SourceError", "rows of a file that is gone"
                outcomes[f"{change.__name__}: {outcome}"] += 1
                loader.close()
                assert loader.stats().charged_bytes == 0
                del batches, loader
                process.check_nothing_new()
    return outcomes


def main() -> None:
    every = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    thread_counts = [int(count) for count in sys.argv[2:]] or [1]
    lives = 0
    with tempfile.TemporaryDirectory() as folder:
        write_files(folder)
        faults.watch_extension()
        faults.watch_files(folder)
        with forebay.Loader(folder, batch_size=128) as loader:  # what is started once is started now
            check_epoch(loader)
        process = faults.Process()
        for name, columns in COLUMNS.items():
            for threads in thread_counts:
                sweep = Sweep(folder, columns, threads, process)
                for what in FAILURES:
                    sweep.run(what, every)
                for (failed, outcome), count in sweep.outcomes.items():
                    print(f"  {name}, {threads} threads: {failed}: {outcome} x {count}")
                changed = sweep_changes(columns, threads, process)
                for outcome, count in changed.items():
                    print(f"  {name}, {threads} threads: {outcome} x {count}")
                lives += sweep.lives + sum(changed.values())
    print(f"cases: {lives}")


if __name__ == "__main__":
    main()
