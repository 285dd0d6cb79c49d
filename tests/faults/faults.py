"""Failing calls to the system from Python: forebay_faults.so, loaded before Python by LD_PRELOAD (see fault.h).

Also what the sweeps in Python have in common: data whose values follow from the row, and what a process has open.
"""

from __future__ import annotations

import ctypes
import enum
import gc
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SHORT, END = -1, -2  # in place of an errno code, for READ
FOR_EVER = -1

_SETTLE_S = 5.0
# Of Arrow's allocator: one for the process, started when it likes.
_FOREIGN_THREADS = {"jemalloc_bg_thd"}


class Kind(enum.IntEnum):
    """enum fault_kind."""

    MEMORY = 0
    UNMAP = 1
    LOCK = 2
    THREAD = 3
    EVENT = 4
    OPEN = 5
    STATUS = 6
    READ = 7


_library = ctypes.CDLL(None)
for _name in ("fault_calls", "fault_failures", "fault_live_bytes", "fault_peak_bytes", "fault_live_threads"):
    getattr(_library, _name).restype = ctypes.c_int64  # not there: this program must run with LD_PRELOAD


def arm(kind: Kind, after: int, repeat: int, code: int) -> None:
    """Lets `after` calls through, then fails `repeat` of them (FOR_EVER: all) with code."""
    _library.fault_arm(ctypes.c_int(kind), ctypes.c_int64(after), ctypes.c_int64(repeat), ctypes.c_int(code))


def disarm() -> None:
    """Every call goes through from now on."""
    _library.fault_disarm()


def failures(kind: Kind) -> int:
    """Calls that failed since the kind was armed."""
    return _library.fault_failures(ctypes.c_int(kind))


def calls(kind: Kind) -> int:
    """Calls since the kind was armed."""
    return _library.fault_calls(ctypes.c_int(kind))


def live_bytes() -> int:
    """Bytes that the watched library has asked for and not given back."""
    return _library.fault_live_bytes()


def peak_bytes() -> int:
    """The most of them since reset_peak()."""
    return _library.fault_peak_bytes()


def reset_peak() -> None:
    """The peak is what is live now."""
    _library.fault_reset_peak()


def live_threads() -> int:
    """Threads that the watched library has started and not joined."""
    return _library.fault_live_threads()


def watch_extension() -> None:
    """Memory, threads and eventfds count where the extension asks for them."""
    import forebay._ext  # noqa: F401  # so that it is there

    assert _library.fault_watch_library(b"/forebay/_ext.") == 1


def watch_files(part: str) -> None:
    """Files count whose paths have this in them."""
    _library.fault_watch_files(part.encode())


def table(first: int, rows: int) -> pa.Table:
    """Rows whose values follow from the number in "id"; "name" is the one column that is read through pyarrow."""
    ids = np.arange(first, first + rows)
    return pa.table(
        {
            "id": ids,
            "value": (ids * 0.5).astype(np.float32),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(np.repeat(ids, 4).astype(np.float32)), 4),
            "name": [f"row {number}" for number in ids],
        }
    )


def nested_table(first: int, rows: int) -> pa.Table:
    """As table(), and columns that are nested or have few values."""
    ids = range(first, first + rows)
    return pa.table(
        {
            "id": np.arange(first, first + rows),
            "tags": pa.array([[number] * (number % 3) for number in ids]),
            "words": pa.array([[f"word {number}"] * (number % 2) for number in ids]),
            "point": pa.array([{"x": number, "y": f"row {number}"} for number in ids]),
            "kind": pa.array([f"kind {number % 5}" for number in ids]),
        }
    )


PART_ROWS = 500


def write_partitioned(folder: str, data: pa.Table, row_group_rows: int) -> str:
    """The table's rows in folders part=0, part=1, ... of PART_ROWS rows each; returns the folder of those."""
    for first in range(0, data.num_rows, PART_ROWS):
        part = Path(folder, "parts", f"part={first // PART_ROWS}")
        part.mkdir(parents=True)
        pq.write_table(data.slice(first, PART_ROWS), part / "data.parquet", row_group_size=row_group_rows)
    return f"{folder}/parts"


def _strings(ids: np.ndarray, form: str) -> list[str]:
    return [form.format(number) for number in ids]


def _lists(pair: tuple[Any, np.ndarray]) -> list[list[Any]]:
    values, offsets = pair
    flat = values.tolist() if isinstance(values, np.ndarray) else values.to_pylist()
    return [flat[begin:end] for begin, end in zip(offsets[:-1], offsets[1:], strict=True)]


def _kinds(column: Any) -> list[str]:
    if not isinstance(column, tuple):
        return column.to_pylist()
    codes, values = column
    return [values.to_pylist()[code] for code in codes]


def _check_rows(rows: list[dict[str, Any]]) -> np.ndarray:
    """Rows of a record batch or data frame, one after the other."""
    make = nested_table if "tags" in rows[0] else table
    expected = make(rows[0]["id"], len(rows)).select(list(rows[0])).to_pylist()
    assert rows == expected, (rows, expected)
    return np.array([row["id"] for row in rows])


def check_batch(batch: Any) -> np.ndarray:
    """Every column says the same as "id" (or, without it, as "name"); returns the numbers."""
    if isinstance(batch, pa.RecordBatch):
        return _check_rows(batch.to_pylist())
    if not isinstance(batch, dict):
        return _check_rows(pa.RecordBatch.from_pandas(batch, preserve_index=False).to_pylist())
    if "id" in batch:
        ids = batch["id"]
    else:
        ids = np.array([int(name[4:]) for name in batch["name"].to_pylist()])
    if "value" in batch:
        assert np.array_equal(batch["value"], (ids * 0.5).astype(np.float32)), "wrong values"
    if "embedding" in batch:
        expected = np.repeat(ids, 4).astype(np.float32).reshape(-1, 4)
        assert np.array_equal(batch["embedding"], expected), "wrong lists"
    if "name" in batch:
        assert batch["name"].to_pylist() == _strings(ids, "row {}"), "wrong strings"
    if "tags" in batch:
        assert _lists(batch["tags"]) == [[number] * (number % 3) for number in ids], "wrong lists"
        assert _lists(batch["words"]) == [[f"word {number}"] * (number % 2) for number in ids], "wrong words"
        assert np.array_equal(batch["point.x"], ids) and batch["point.y"].to_pylist() == _strings(
            ids, "row {}"
        )
        assert _kinds(batch["kind"]) == _strings(ids % 5, "kind {}"), "wrong kinds"
    if "part" in batch:
        assert np.array_equal(batch["part"], ids // PART_ROWS), "wrong folders"
    return np.array(ids)


def _threads() -> set[str]:
    names = set()
    for task in os.listdir("/proc/self/task"):
        try:
            name = Path("/proc/self/task", task, "comm").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if name not in _FOREIGN_THREADS:
            names.add(task)
    return names


def _descriptors() -> dict[str, str]:
    found = {}
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found[descriptor] = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            continue
    return found


class Process:
    """What this process has open, against what it had when this was made."""

    def __init__(self) -> None:
        gc.collect()
        self._threads = _threads()
        self._descriptors = _descriptors()

    def check_nothing_new(self) -> None:
        """No thread, descriptor or byte of the library is left."""
        deadline = time.monotonic() + _SETTLE_S
        while _threads() - self._threads and time.monotonic() < deadline:
            time.sleep(0.001)  # a thread that was joined is still listed for a moment
        assert _threads() <= self._threads, "a thread is left"
        if _descriptors() != self._descriptors:
            gc.collect()
        assert _descriptors() == self._descriptors, f"left open: {_descriptors()}, before {self._descriptors}"
        assert live_threads() == 0, f"{live_threads()} threads were not joined"
        assert live_bytes() == 0, f"{live_bytes()} bytes are left"
