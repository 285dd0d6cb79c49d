"""The interpreter ends in the middle of an epoch: at once, without a word, with the exit code that was asked for."""

from __future__ import annotations

from typing import Any

import pytest
from sanitizers import IS_SANITIZED

PRELUDE = """
import atexit, gc, os, sys, threading, time
import pyarrow.parquet as pq
import forebay

path = sys.argv[1]
source = path if sys.argv[2] == "parquet" else pq.read_table(path)
loader = forebay.Loader(source, batch_size=256, timeout=60.0)

def leave():
    print("end of script at", time.monotonic(), flush=True)
"""

# Each ends in the middle of an epoch. Some end with another exit code than 0: {name: (program, code)}.
ENDINGS = {
    "iterator and batch are global": (
        """
batches = iter(loader)
batch = next(batches)
leave()
""",
        0,
    ),
    "iterator was never asked": (
        """
batches = iter(loader)
leave()
""",
        0,
    ),
    "inside the loop by sys.exit": (
        """
for batch in loader:
    leave()
    sys.exit(3)
""",
        3,
    ),
    "inside a generator that hangs about": (
        """
def stream():
    for batch in loader:
        yield batch["id"]
ids = stream()
next(ids)
leave()
""",
        0,
    ),
    "the generator form hangs about": (
        """
batches = forebay.iter_batches(source, batch_size=256)
kept = [next(batches), next(batches)]
leave()
""",
        0,
    ),
    "in a reference cycle, collection off": (
        """
gc.disable()
class Trainer:
    pass
trainer = Trainer()
trainer.itself = trainer
trainer.batches = iter(loader)
trainer.batch = next(trainer.batches)
del trainer, loader
leave()
""",
        0,
    ),
    "with many loaders": (
        """
loaders = [loader] + [forebay.Loader(source, batch_size=100, preserve_order=True) for _ in range(9)]
iterators = [iter(one) for one in loaders]
kept = [next(iterator) for iterator in iterators]
leave()
""",
        0,
    ),
    "one is closed, one is at its end, one is dropped": (
        """
others = [forebay.Loader(source, batch_size=100) for _ in range(3)]
next(iter(others[0]))
others[0].close()
rows = sum(len(batch["id"]) for batch in others[1])
assert rows == 12_000, rows
batches = iter(others.pop())
next(batches)
del batches
next(iter(loader))
leave()
""",
        0,
    ),
    "a daemon thread is in the loop": (
        """
started = threading.Event()
def consume():
    while True:
        for batch in loader:
            started.set()
threading.Thread(target=consume, daemon=True).start()
started.wait()
leave()
""",
        0,
    ),
    "a daemon thread waits inside next()": (
        """
least = loader.plan().least_memory_bytes
tight = forebay.Loader(source, batch_size=256, memory_limit=least, timeout=60.0)
kept = []
def consume():
    for batch in tight:
        kept.append(batch)
threading.Thread(target=consume, daemon=True).start()
seen = -1
while not kept or len(kept) != seen:  # until nothing fits any more
    seen = len(kept)
    time.sleep(0.1)
leave()
""",
        0,
    ),
    "a daemon thread waits inside next() for a source that does not answer": (
        """
from forebay import _parquet_native
from forebay._parquet import ParquetProvider
_parquet_native.ENABLED = False  # every column is opened as a stream
reached, never = threading.Event(), threading.Event()
def open_never(self, unit, columns, piece_rows):
    reached.set()
    never.wait()
ParquetProvider.open = open_never
stuck = forebay.Loader(path, batch_size=256, close_timeout=0.1)
threading.Thread(target=lambda: next(iter(stuck)), daemon=True).start()
reached.wait()
import warnings
warnings.simplefilter("ignore", ResourceWarning)
leave()
""",
        0,
    ),
    "a hook of the user's runs after ours": (
        """
batches = iter(loader)
next(batches)
leave()
""",
        0,
    ),
    "a hook of the user's runs before ours": (
        """
batches = iter(loader)
next(batches)
@atexit.register
def goodbye():
    assert len(next(batches)["id"]) == 256
    for batch in loader:
        break
    leave()
""",
        0,
    ),
    "with arrays that live on": (
        """
kept = []
for batch in loader:
    kept.append(batch["name"][3:5])
    kept.append(batch["embedding"][1:, 2])
    if len(kept) == 20:
        break
sys.kept = kept  # what is torn down last
import builtins
builtins.kept = kept[:4]
leave()
""",
        0,
    ),
    "progress is shown": (
        """
import logging
logging.disable()
shown = forebay.Loader(source, batch_size=256, progress=True)
batches = iter(shown)
next(batches)
leave()
""",
        0,
    ),
}

HOOK_BEFORE = """
import atexit
@atexit.register
def after_ours():  # hooks run last in, first out: this one runs when every loader is closed
    try:
        next(batches)
    except RuntimeError as error:
        assert "closed" in str(error)
    else:
        raise AssertionError
    assert loader.stats().charged_bytes == 0
"""


@pytest.mark.parametrize("source", ["parquet", "table"])
@pytest.mark.parametrize("name", ENDINGS)
def test_exit_in_the_middle_of_an_epoch_is_silent(
    name: str, source: str, parquet_set: Any, run_python: Any
) -> None:
    if IS_SANITIZED and name == "with arrays that live on":
        pytest.skip("what is torn down last is let go when Python can no longer be entered: a leak by design")
    body, code = ENDINGS[name]
    before = HOOK_BEFORE if name == "a hook of the user's runs after ours" else ""
    ended = run_python(before + PRELUDE + body, parquet_set.path, source)
    assert ended.errors == ""
    assert ended.code == code
    assert ended.exit_s < 2


def test_an_exception_that_ends_the_program_is_the_only_word(parquet_set: Any, run_python: Any) -> None:
    body = """
for batch in loader:
    leave()
    raise KeyError("mine")
"""
    ended = run_python(PRELUDE + body, parquet_set.path, "parquet")
    assert ended.code == 1
    assert ended.errors.count("Traceback") == 1
    assert ended.errors.endswith("KeyError: 'mine'\n")
    assert ended.exit_s < 2


def test_a_reader_that_is_stuck_at_exit_is_named_and_left(parquet_set: Any, run_python: Any) -> None:
    body = """
from forebay import _parquet_native
from forebay._parquet import ParquetProvider
_parquet_native.ENABLED = False  # every column is opened as a stream
never = threading.Event()
def open_never(self, unit, columns, piece_rows):
    never.wait()
ParquetProvider.open = open_never
stuck = forebay.Loader(path, batch_size=256, num_threads=1, timeout=0.1, close_timeout=0.2)
batches = iter(stuck)
try:
    next(batches)
except forebay.LoaderTimeoutError:
    leave()
"""
    ended = run_python(PRELUDE + body, parquet_set.path, "parquet")
    assert ended.code == 0
    assert ended.errors.count("\n") <= 2
    assert "ResourceWarning: forebay left 1 reader thread(s) behind" in ended.errors
    assert "part-00000.parquet, row group 0" in ended.errors
    assert ended.exit_s < 2


def test_a_reader_that_comes_back_while_python_ends_does_no_harm(parquet_set: Any, run_python: Any) -> None:
    """It slept in code of the source, was left behind, and wakes at some moment of the end."""
    body = """
import warnings
warnings.simplefilter("ignore", ResourceWarning)
from forebay import _parquet_native
from forebay._parquet import ParquetProvider
_parquet_native.ENABLED = False  # every column is opened as a stream
original = ParquetProvider.open
def open_slowly(self, unit, columns, piece_rows):
    time.sleep(float(sys.argv[3]))
    return original(self, unit, columns, piece_rows)
ParquetProvider.open = open_slowly
slow = forebay.Loader(path, batch_size=256, num_threads=3, timeout=0.01, close_timeout=0.0)
batches = iter(slow)
try:
    next(batches)
except forebay.LoaderTimeoutError:
    leave()
"""
    for delay_s in (0.02, 0.03, 0.04, 0.06, 0.1):
        ended = run_python(PRELUDE + body, parquet_set.path, "parquet", delay_s)
        assert (ended.code, ended.errors) == (0, "")


def test_a_source_that_computes_in_python_at_exit_is_named_and_ended(
    parquet_set: Any, run_python: Any
) -> None:
    body = """
import pyarrow as pa
def computing():
    yield pa.table({"id": [1, 2]})
    while True:
        sum(range(1000))
busy = forebay.Loader(computing(), batch_size=1, timeout=0.1, close_timeout=0.2)
batches = iter(busy)
try:
    while True:
        next(batches)
except forebay.LoaderTimeoutError:
    if sys.argv[3] == "closed before":
        busy.close()
    leave()
"""
    for when in ("closed at exit", "closed before"):
        ended = run_python(PRELUDE + body, parquet_set.path, "parquet", when)
        assert ended.code == 0, ended.errors
        assert ended.errors.count("ResourceWarning: forebay left 1 reader thread(s) behind") == 1
        assert "Fatal" not in ended.errors and "Traceback" not in ended.errors
        assert ended.exit_s < 2
