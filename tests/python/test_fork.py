"""A fork in the middle of an epoch: the parent goes on undisturbed, the child only forgets."""

from __future__ import annotations

from typing import Any

import pytest
from sanitizers import IS_SANITIZED

PRELUDE = """
import gc, os, sys, threading, time
import pyarrow.parquet as pq
import forebay

path = sys.argv[1]
source = path if sys.argv[2] == "parquet" else pq.read_table(path)

def rows(batches):
    return sum(len(batch["id"]) for batch in batches)

def is_refused(function, *arguments):
    try:
        function(*arguments)
    except forebay.ForkedLoaderError as error:
        assert "fork" in str(error), error
    else:
        raise AssertionError(f"{function} was not refused")

def wait_for(child):
    deadline = time.monotonic() + 20
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert status == 0, status
            return
        if time.monotonic() > deadline:
            import signal
            os.kill(child, signal.SIGABRT)  # faulthandler says where it hangs
            os.waitpid(child, 0)
            raise AssertionError("the child does not end")
        time.sleep(0.002)
"""

PROGRAMS = {
    "the child is refused everything": """
loader = forebay.Loader(source, batch_size=256)
batches = iter(loader)
taken = rows([next(batches)])
child = os.fork()
if child == 0:
    is_refused(next, batches)
    is_refused(iter, loader)
    is_refused(loader.stats)
    is_refused(loader.close)
    is_refused(next, batches)
    del batches, loader
    gc.collect()
    sys.exit(0)
wait_for(child)
assert taken + rows(batches) == 12_000
assert rows(loader) == 12_000
loader.close()
assert loader.stats().charged_bytes == 0
""",
    "the child keeps what it was given": """
loader = forebay.Loader(source, batch_size=256, preserve_order=True)
batches = iter(loader)
batch = next(batches)
column = next(batches)["name"][3:4]
child = os.fork()
if child == 0:
    assert batch["id"].tolist() == list(range(256))
    batch["id"][:] = -1  # its own copy
    assert column.to_pylist() == ["row 259"]
    is_refused(batch["name"].to_pylist)  # it was not Arrow yet
    del batch, column
    gc.collect()
    sys.exit(0)
wait_for(child)
assert batch["id"].tolist() == list(range(256))
assert batch["name"].to_pylist()[255] == "row 255"
assert 512 + rows(batches) == 12_000
""",
    "the child makes a loader of its own": """
loader = forebay.Loader(source, batch_size=256)
batches = iter(loader)
next(batches)
child = os.fork()
if child == 0:
    with forebay.Loader(source, batch_size=100) as own:
        assert rows(own) == 12_000
        for batch in own:
            break
    unclosed = iter(forebay.Loader(source, batch_size=100))
    next(unclosed)
    sys.exit(0)
assert 256 + rows(batches) == 12_000
wait_for(child)
""",
    "the child leaves by os._exit": """
loader = forebay.Loader(source, batch_size=256)
batches = iter(loader)
next(batches)
child = os.fork()
if child == 0:
    del batches, loader
    os._exit(0)
wait_for(child)
assert 256 + rows(batches) == 12_000
""",
    "the child has children": """
loader = forebay.Loader(source, batch_size=256)
batches = iter(loader)
next(batches)
child = os.fork()
if child == 0:
    grandchild = os.fork()
    if grandchild == 0:
        is_refused(next, batches)
        with forebay.Loader(source, batch_size=1000) as own:
            assert rows(own) == 12_000
        sys.exit(0)
    wait_for(grandchild)
    is_refused(next, batches)
    sys.exit(0)
wait_for(child)
assert 256 + rows(batches) == 12_000
""",
    "the child closes in a with block": """
with forebay.Loader(source, batch_size=256) as loader:
    batches = iter(loader)
    next(batches)
    child = os.fork()
    if child:
        wait_for(child)
        assert 256 + rows(batches) == 12_000
    else:
        is_refused(loader.close)
        os._exit(0)
""",
    "the child leaves a with block": """
with forebay.Loader(source, batch_size=256) as loader:
    batches = iter(loader)
    next(batches)
    child = os.fork()
    if child == 0:
        sys.exit(0)
    wait_for(child)
    assert 256 + rows(batches) == 12_000
""",
    "a loop goes on in parent and child": """
loader = forebay.Loader(source, batch_size=256)
count = 0
child = None
try:
    for batch in loader:
        count += len(batch["id"])
        if child is None:
            child = os.fork()
except forebay.ForkedLoaderError:
    assert child == 0 and count == 256
    sys.exit(0)
assert child and count == 12_000
wait_for(child)
""",
    "the generator form": """
batches = forebay.iter_batches(source, batch_size=256)
next(batches)
child = os.fork()
if child == 0:
    is_refused(next, batches)
    sys.exit(0)
wait_for(child)
assert 256 + rows(batches) == 12_000
""",
    "the generator form, dropped in the child": """
batches = forebay.iter_batches(source, batch_size=256)
next(batches)
child = os.fork()
if child == 0:
    del batches
    gc.collect()
    sys.exit(0)
wait_for(child)
assert 256 + rows(batches) == 12_000
""",
    "progress is shown": """
import logging
logging.disable()
loader = forebay.Loader(source, batch_size=256, progress=True)
batches = iter(loader)
next(batches)
child = os.fork()
if child == 0:
    del batches, loader
    gc.collect()
    sys.exit(0)
wait_for(child)
assert 256 + rows(batches) == 12_000
""",
    "the child is made by a thread while another waits in next()": """
least = forebay.Loader(source, batch_size=256).plan().least_memory_bytes
loader = forebay.Loader(source, batch_size=256, memory_limit=least, timeout=60.0)
kept = []
counts = []
def consume():
    for batch in loader:
        counts.append(len(batch["id"]))
        kept.append(batch)
        del batch
consumer = threading.Thread(target=consume)
consumer.start()
for _ in range(3):
    seen = -1
    while not kept or len(kept) != seen:  # until nothing fits any more
        seen = len(kept)
        time.sleep(0.05)
    child = os.fork()
    if child == 0:
        is_refused(iter, loader)
        is_refused(loader.close)
        kept.clear()
        del loader
        gc.collect()
        sys.exit(0)
    wait_for(child)
    kept.clear()
while consumer.is_alive():
    kept.clear()
    time.sleep(0.005)
assert sum(counts) == 12_000
""",
    "forks at many moments": """
loader = forebay.Loader(source, batch_size=64, num_threads=3)
for epoch in range(3):
    count = 0
    children = []
    for number, batch in enumerate(loader):
        count += len(batch["id"])
        if number % 20 == 0:
            child = os.fork()
            if child == 0:
                del batch, loader
                gc.collect()
                sys.exit(0)
            children.append(child)
    assert count == 12_000
    for child in children:
        wait_for(child)
""",
    "forks while readers enter and leave Python": """
from forebay import _parquet_native
_parquet_native.ENABLED = False  # every column is opened as a stream
loader = forebay.Loader(source, batch_size=256, num_threads=2)
for _ in range(150):
    next(batches := iter(loader))
    child = os.fork()
    if child == 0:
        os._exit(0)
    wait_for(child)
""",
    "multiprocessing by fork": """
import multiprocessing
def refused(queue):
    is_refused(next, batches)
    is_refused(iter, loader)
    with forebay.Loader(source, batch_size=100) as own:
        queue.put(rows(own))
context = multiprocessing.get_context("fork")
loader = forebay.Loader(source, batch_size=256)
batches = iter(loader)
next(batches)
queue = context.SimpleQueue()
children = [context.Process(target=refused, args=(queue,)) for _ in range(2)]
for child in children:
    child.start()
assert 256 + rows(batches) == 12_000
for child in children:
    child.join(30)
    assert child.exitcode == 0, child.exitcode
assert [queue.get(), queue.get()] == [12_000, 12_000]
""",
}

SPAWNED = """
import multiprocessing, pickle, sys
import forebay

def read(path, queue):
    with forebay.Loader(path, batch_size=100) as own:
        queue.put(sum(len(batch["id"]) for batch in own))
    batches = iter(forebay.Loader(path, batch_size=100))
    next(batches)  # not at its end when the process ends

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    loader = forebay.Loader(sys.argv[1], batch_size=256)
    batches = iter(loader)
    next(batches)
    try:
        pickle.dumps(loader)
    except TypeError:
        pass
    else:
        raise AssertionError("a loader was pickled")
    queue = context.SimpleQueue()
    child = context.Process(target=read, args=(sys.argv[1], queue))
    child.start()
    assert 256 + sum(len(batch["id"]) for batch in batches) == 12_000
    assert queue.get() == 12_000
    child.join(30)
    assert child.exitcode == 0
"""


@pytest.mark.skipif(IS_SANITIZED, reason="a fork while other threads allocate leaves its allocator locked")
@pytest.mark.parametrize("source", ["parquet", "table"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_fork_in_the_middle_of_an_epoch(name: str, source: str, parquet_set: Any, run_python: Any) -> None:
    ended = run_python(PRELUDE + PROGRAMS[name], parquet_set.path, source)
    assert ended.errors == ""
    assert ended.code == 0


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_that_is_not_forked_makes_its_own_loader(
    method: str, parquet_set: Any, run_python: Any
) -> None:
    ended = run_python(SPAWNED, parquet_set.path, method)
    assert ended.errors == ""
    assert ended.code == 0
