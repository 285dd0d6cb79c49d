"""Every memory_limit from 1 byte up, as Python sees it.

Below the least making a loader raises MemoryLimitError with the same `.required` each time; from the least on every
epoch completes with the right rows. That is exact for columns of fixed width in memory or decoded by the core. For
strings and what pyarrow decodes it is an estimate: a run may be refused, says how much would do, and that must do
within a few rounds. What the core asked the system for never passes the peak that stats() shows, and that never passes
the limit; in the end nothing is left.

Usage: LD_PRELOAD=.../forebay_faults.so python sweep_limits.py [limits below the least [limits from it on]]
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from typing import Any

import faults
import numpy as np
import pyarrow.parquet as pq

import forebay

ROWS = 2000
ROUNDS_MOST = 40
FIXED = ["id", "value", "embedding"]


@dataclass
class Case:
    """A source with arguments of its loader."""

    name: str
    source: Any
    is_exact: bool
    arguments: dict[str, Any]
    least: int = 0
    limits: int = 0
    refused_runs: int = 0

    def make(self, limit: int) -> forebay.Loader:
        return forebay.Loader(self.source, memory_limit=limit, **self.arguments)

    def check_refused(self, limit: int) -> None:
        """Below the least."""
        try:
            self.make(limit)
        except forebay.MemoryLimitError as error:
            self.least = self.least or error.required or 0
            assert error.required == self.least > limit, (error.required, self.least, limit)
            assert error.limit == limit
            assert str(self.least) in str(error) and str(limit) in str(error), error
        else:
            raise AssertionError(f"{limit} was enough, {self.least} were required")
        self.limits += 1

    def run(self, limit: int) -> int:
        """Two epochs; returns 0, or the limit that would have done."""
        faults.reset_peak()
        loader = self.make(limit)
        assert loader.plan().least_memory_bytes == self.least
        required = 0
        for _ in range(2):
            try:
                seen = [faults.check_batch(batch) for batch in loader]
            except forebay.MemoryLimitError as error:
                assert error.required is not None and error.required > limit, (error.required, limit)
                assert error.limit == limit
                required = error.required
                break
            assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(ROWS)), "wrong rows"
        loader.close()
        stats = loader.stats()
        assert stats.peak_bytes <= limit, (stats.peak_bytes, limit)
        assert faults.peak_bytes() <= stats.peak_bytes, (faults.peak_bytes(), stats.peak_bytes)
        assert stats.charged_bytes == 0
        self.limits += 1
        return required

    def check_completes(self, limit: int) -> None:
        """At this limit, and where that was an estimate, at what is said to do instead."""
        for _ in range(ROUNDS_MOST):
            required = self.run(limit)
            if not required:
                return
            assert not self.is_exact, f"{limit} were not enough, the least is {self.least}"
            self.refused_runs += 1
            limit = required
        raise AssertionError(f"the figures did not come to an end at {limit}")


def cases(folder: str) -> list[Case]:
    """The sources: a further one is a line here."""
    data, path = faults.table(0, ROWS), f"{folder}/data.parquet"
    pq.write_table(data, path, row_group_size=700)
    nested, parts = faults.nested_table(0, ROWS), faults.write_partitioned(folder, data, 300)
    one, two = {"batch_size": 128, "num_threads": 1}, {"batch_size": 300, "num_threads": 2}
    return [
        Case("table, fixed width", data, True, {**one, "columns": FIXED}),
        Case("table, fixed width, 2 threads", data, True, {**two, "columns": FIXED, "preserve_order": True}),
        Case("table", data, False, one),
        Case("Parquet, decoded here", path, True, {**one, "columns": FIXED}),
        Case(
            "Parquet, decoded here, 2 threads", path, True, {**two, "columns": FIXED, "null_policy": "mask"}
        ),
        Case("Parquet, by pyarrow", path, False, {**one, "columns": ["name"]}),
        Case(
            "function of streams", lambda: data.to_reader(150), False, {"batch_size": 100, "columns": FIXED}
        ),
        Case("Parquet, both, 2 threads", path, False, two),
        Case("function of a generator", lambda: iter(data.to_batches(150)), False, {"batch_size": None}),
        Case("nested", nested, False, {**two, "dtypes": {"kind": "dictionary"}}),
        Case("nested, pyarrow", nested, False, {**two, "batch_format": "pyarrow"}),
        Case("nested, pandas", nested, False, {**one, "batch_format": "pandas"}),
        Case("folders", parts, False, {**two, "columns": [*FIXED, "part"]}),
    ]


def main() -> None:
    below = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    above = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    limits = 0
    with tempfile.TemporaryDirectory() as folder:
        faults.watch_extension()
        for case in cases(folder):
            with case.make(1 << 26) as loader:  # what is started once is started now
                for _ in loader:
                    pass
            _ = None
            process = faults.Process()
            case.check_refused(1)
            for limit in range(2, case.least, max(1, case.least // below)):
                case.check_refused(limit)
            case.check_refused(case.least - 1)
            process.check_nothing_new()
            for step in range(above):
                # By single bytes at first, then ever further apart, to three times the least.
                case.check_completes(case.least + min(step, 3) + 2 * case.least * step**2 // above**2)
            process.check_nothing_new()
            print(
                f"  {case.name}: least {case.least} ({'exact' if case.is_exact else 'an estimate'}), "
                f"{case.limits} limits, {case.refused_runs} runs refused"
            )
            limits += case.limits
    print(f"cases: {limits}")


if __name__ == "__main__":
    main()
