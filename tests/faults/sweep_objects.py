"""Every allocation that Python makes for the extension fails in turn: objects, dicts, strings, tuples, capsules.

Each call into the extension is made again and again, Python's first allocation failing, then the second, until the call
succeeds. It must raise MemoryError and leave a loader that can go on, or be closed, with nothing left and no wrong row.

Left out is what other code does with a refusal: the interpreter's own readers of text files and pyarrow's lists of
strings crash, and an interpreter that cannot make a thread state for a reader thread of ours ends the process.

Usage: LD_PRELOAD=.../forebay_faults.so python sweep_objects.py [every N-th allocation]
"""

from __future__ import annotations

import _testcapi
import gc
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import faults
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import forebay
from forebay import _ext

ROWS, BATCH_ROWS = 400, 100
MOST = 100_000
# In a row, so that what is tried once and once more fails as well.
LENGTHS = (1, 3)


def fails_at(number: int, length: int, function: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """What the function gives or raises while Python's allocations from this number on fail."""
    error = result = None
    _testcapi.set_nomemory(number, number + length)
    try:
        result = function()
    except BaseException as raised:
        _testcapi.remove_mem_hooks()
        error = raised.with_traceback(None)  # whose frames hold batches
    else:
        _testcapi.remove_mem_hooks()
    return result, error


class Sweep:
    """The calls of one source."""

    def __init__(self, source: Any, arguments: dict[str, Any], every: int, process: faults.Process) -> None:
        self.source, self.arguments, self.every, self.process = source, arguments, every, process
        self.lives = 0

    def make(self) -> forebay.Loader:
        return forebay.Loader(self.source, batch_size=BATCH_ROWS, preserve_order=True, **self.arguments)

    def until_it_succeeds(self, life: Callable[[int, int], bool], what: str) -> None:
        """Lives of growing number, until one in which the call succeeded, and two more."""
        for length in LENGTHS:
            number, successes = 0, 0
            while successes < 3:
                assert number < MOST
                try:
                    successes = successes + 1 if life(number, length) else 0
                    self.process.check_nothing_new()
                except BaseException:
                    _testcapi.remove_mem_hooks()
                    print(f"{what}, allocation {number} x {length}, {self.arguments}", file=sys.stderr)
                    raise
                self.lives += 1
                number += self.every
            print(f"  {what}: {number} allocations x {length}")

    def check_rest(self, loader: forebay.Loader, first: int = 0, batches: Any = None) -> None:
        """The rows from the first on come, and after the close nothing is charged."""
        seen = [faults.check_batch(batch) for batch in (loader if batches is None else batches)]
        assert np.array_equal(np.concatenate(seen), np.arange(first, ROWS)), "wrong rows"
        loader.close()
        assert loader.stats().charged_bytes == 0

    def making(self, function_name: str, number: int, length: int) -> bool:
        """A function of the extension that forebay.Loader() calls."""
        function = getattr(_ext, function_name)
        called = []

        def call(*arguments: Any, **keywords: Any) -> Any:
            result, error = fails_at(number, length, lambda: function(*arguments, **keywords))
            called.append(type(error))
            if error is not None:
                raise MemoryError  # another one: an exception that its own frames hold would hold the source
            return result

        setattr(_ext, function_name, call)
        try:
            loader = self.make()
        except MemoryError:
            assert called == [MemoryError]
            return False
        finally:
            setattr(_ext, function_name, function)
        assert called == [type(None)]
        self.check_rest(loader)
        return True

    def making_a_loader(self, number: int, length: int) -> bool:
        return self.making("Loader", number, length)

    def making_a_source(self, number: int, length: int) -> bool:
        name = {pa.Table: "block_source", str: "parquet_source"}.get(type(self.source), "pull_source")
        return self.making(name, number, length)

    def beginning(self, number: int, length: int) -> bool:
        loader = self.make()
        batches, error = fails_at(number, length, lambda: iter(loader))
        assert error is None or type(error) is MemoryError, repr(error)
        self.check_rest(loader, batches=batches)
        return error is None

    def first_next(self, number: int, length: int) -> bool:
        loader = self.make()
        batches = iter(loader)
        batch, error = fails_at(number, length, batches.__next__)
        assert error is None or type(error) is MemoryError, repr(error)
        if batch is not None:
            assert np.array_equal(faults.check_batch(batch), np.arange(BATCH_ROWS))
        del batches, batch
        self.check_rest(loader)
        return error is None

    def whole_epoch(self, number: int, length: int) -> bool:
        loader = self.make()
        _, error = fails_at(number, length, lambda: sum(1 for _ in loader))
        assert error is None or type(error) is MemoryError, repr(error)
        self.check_rest(loader)
        return error is None

    def stats(self, number: int, length: int) -> bool:
        loader = self.make()
        _, error = fails_at(number, length, lambda: (loader._ext.stats(), loader._ext.plan()))
        assert error is None or type(error) is MemoryError, repr(error)
        self.check_rest(loader)
        return error is None

    def closing(self, number: int, length: int) -> bool:
        loader = self.make()
        batches = iter(loader)
        next(batches)
        _, error = fails_at(number, length, loader.close)
        assert error is None or type(error) is MemoryError, repr(error)
        loader.close()
        assert loader.stats().charged_bytes == 0
        return error is None

    def dropping(self, number: int, length: int) -> bool:
        """The last reference goes in the middle of an epoch."""
        holder = [self.make()]
        holder.append(iter(holder[0]))
        holder.append(next(holder[1]))
        _, error = fails_at(number, length, holder.clear)
        assert error is None or type(error) is MemoryError, repr(error)
        holder.clear()
        return error is None

    def exporting(self, number: int, length: int) -> bool:
        """Strings to others, through the Arrow C data interface."""
        loader = self.make()
        batches = iter(loader)
        batch = next(batches)
        error = None
        if "name" in batch:
            column = batch["name"]._column
            capsules, error = fails_at(
                number, length, lambda: (column.__arrow_c_array__(), column.format, column.nbytes)
            )
            del column, capsules
        assert error is None or type(error) is MemoryError, repr(error)
        del batch, batches
        self.check_rest(loader)
        return error is None


CALLS = [
    "making_a_source",
    "making_a_loader",
    "beginning",
    "first_next",
    "whole_epoch",
    "stats",
    "closing",
    "dropping",
    "exporting",
]
# Of a source whose readers run Python.
CALLS_WITHOUT_READERS = {"making_a_source", "making_a_loader", "beginning", "stats"}


def main() -> None:
    every = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    only = sys.argv[2:] or CALLS
    lives = 0
    with tempfile.TemporaryDirectory() as folder:
        data, path = faults.table(0, ROWS), f"{folder}/data.parquet"
        pq.write_table(data, path, row_group_size=150)
        nested = faults.nested_table(0, ROWS)
        faults.watch_extension()
        for source, arguments in (
            (data, {"num_threads": 2}),
            (path, {"num_threads": 2, "columns": ["id", "value", "embedding"]}),
            (nested, {"num_threads": 2, "dtypes": {"kind": "dictionary"}}),
            (nested, {"num_threads": 2, "batch_format": "pyarrow"}),
            (lambda: iter(data.to_batches(130)), {"columns": ["id", "value"]}),
        ):
            with forebay.Loader(source, batch_size=BATCH_ROWS, **arguments) as loader:
                for _ in loader:
                    pass
            _ = None
            gc.collect()
            sweep = Sweep(source, arguments, every, faults.Process())
            for call in (call for call in only if not callable(source) or call in CALLS_WITHOUT_READERS):
                sweep.until_it_succeeds(getattr(sweep, call), call)
            lives += sweep.lives
    print(f"cases: {lives}")


if __name__ == "__main__":
    main()
