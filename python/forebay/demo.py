"""The demo: a click log made once, then one epoch of it streamed into a small training loop inside one byte limit."""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ._machine import usable_processors
from ._progress import LiveLine
from .loader import Loader

FILES, ROWS_PER_FILE, ROWS_PER_GROUP = 4, 500_000, 65_536
BATCH_SIZE, MEMORY_LIMIT = 4096, "192MiB"
DENSE, CATEGORIES, EMBEDDING = 13, 26, 32

_BYTES_PER_ROW_ON_DISK = 330  # with snappy; a little more than measured
_ZIPF_EXPONENT, _ZIPF_MODULUS, _ZIPF_QUANTILES = 1.3, 1_000_003, 1 << 20
_LEARNING_RATE = 0.5
_LOSS_LINES = 10

_SCHEMA = pa.schema(
    [("id", pa.int64()), ("label", pa.float32())]
    + [(f"dense_{i}", pa.float32()) for i in range(DENSE)]
    + [(f"cat_{i}", pa.int64()) for i in range(CATEGORIES)]
    + [("emb", pa.list_(pa.float32(), EMBEDDING))]
)


def run(directory: Path, files: int = FILES, rows_per_file: int = ROWS_PER_FILE) -> None:
    """Makes the data set in directory where it is not there yet, trains on one epoch of it, prints what happened."""
    line = LiveLine()
    paths = make_data(directory, files, rows_per_file, line)
    with Loader([str(path) for path in paths], batch_size=BATCH_SIZE, memory_limit=MEMORY_LIMIT) as loader:
        print(f"one epoch of {loader.plan().rows:,} rows, batches of {BATCH_SIZE:,}, limit {MEMORY_LIMIT}")
        train(loader, line)
    print(loader.stats())


def train(loader: Loader, line: LiveLine) -> float:
    """One epoch of logistic regression by stochastic gradient descent. Returns the mean loss of its last part."""
    weights = np.zeros(1 + DENSE + EMBEDDING, np.float32)
    every = max(1, len(loader) // _LOSS_LINES)
    losses: list[float] = []
    mean = float("nan")
    for number, batch in enumerate(loader._follow(line), 1):
        features = _features(batch)
        label = batch["label"]
        score = features @ weights
        losses.append(float(np.mean(np.logaddexp(0, score) - label * score)))
        probability = 1 / (1 + np.exp(-score))
        weights -= _LEARNING_RATE * (features.T @ (probability - label)) / len(label)
        if number % every == 0 or number == len(loader):
            mean = sum(losses) / len(losses)
            losses.clear()
            line.print(f"batch {number:>5,}  loss {mean:.4f}")
    return mean


def _features(batch: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A constant, the logarithms of the dense columns and the embedding: float32 of shape (rows, 46)."""
    features = np.empty((len(batch["label"]), 1 + DENSE + EMBEDDING), np.float32)
    features[:, 0] = 1
    for i in range(DENSE):
        np.log(batch[f"dense_{i}"], out=features[:, 1 + i])
    features[:, 1 + DENSE :] = batch["emb"]
    return features


def make_data(directory: Path, files: int, rows_per_file: int, line: LiveLine) -> list[Path]:
    """The data set's files, made where they are not there. A file appears under its name only when it is whole.

    Raises ValueError where a file of that name is something else, OSError where it does not fit on the disk.
    """
    paths = [directory / f"part-{number:05d}.parquet" for number in range(files)]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    for path in paths:
        if path.exists() and not _is_ours(path, rows_per_file):
            raise ValueError(
                f"{path} is not the demo's data set of {rows_per_file:,} rows: give another directory"
            )
    if not missing:
        return paths
    directory.mkdir(parents=True, exist_ok=True)
    needed = len(missing) * rows_per_file * _BYTES_PER_ROW_ON_DISK
    if shutil.disk_usage(directory).free < needed:
        raise OSError(
            f"{directory}: the data set takes {needed / 1e6:,.0f} MB: free some, or give another directory"
        )
    counter = _RowCounter(line, len(missing) * rows_per_file)
    quantiles = _zipf_quantiles()
    with ThreadPoolExecutor(min(len(missing), usable_processors())) as executor:
        jobs = [executor.submit(_write_file, paths[n], n, rows_per_file, quantiles, counter) for n in missing]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            counter.is_stopped = True
            executor.shutdown(wait=True, cancel_futures=True)
            line.clear()
            raise
    line.finish(counter.text())
    return paths


class _RowCounter:
    """Rows written so far by several threads, shown on one line."""

    def __init__(self, line: LiveLine, total: int) -> None:
        self.is_stopped = False
        self._line = line
        self._total = total
        self._rows = 0
        self._lock = threading.Lock()

    def add(self, rows: int) -> None:
        """Counts rows. Raises InterruptedError where the work was stopped."""
        with self._lock:
            if self.is_stopped:
                raise InterruptedError("stopped")
            self._rows += rows
            if self._line.is_due():
                self._line.update(self.text())

    def text(self) -> str:
        return f"making the data set: {self._rows:,} of {self._total:,} rows ({self._rows / self._total:.0%})"


def _is_ours(path: Path, rows: int) -> bool:
    try:
        metadata = pq.read_metadata(path)
        return metadata.num_rows == rows and metadata.schema.to_arrow_schema().equals(_SCHEMA)
    except (OSError, pa.ArrowException):
        return False


def _write_file(
    path: Path, number: int, rows: int, quantiles: np.ndarray[Any, Any], counter: _RowCounter
) -> None:
    """Writes one file, row group by row group, under a name that readers ignore; then gives it its own."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    random = np.random.Generator(np.random.SFC64(number))
    weights = np.random.default_rng(0).normal(scale=0.3, size=DENSE + EMBEDDING).astype(np.float32)
    try:
        with pq.ParquetWriter(partial, _SCHEMA, compression="snappy") as writer:
            for start in range(0, rows, ROWS_PER_GROUP):
                count = min(ROWS_PER_GROUP, rows - start)
                writer.write_table(_row_group(random, number * rows + start, count, weights, quantiles))
                counter.add(count)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _row_group(
    random: np.random.Generator,
    first_id: int,
    rows: int,
    weights: np.ndarray[Any, Any],
    quantiles: np.ndarray[Any, Any],
) -> pa.Table:
    """Rows of a click log; whether a row was clicked depends on its dense columns and its embedding."""
    dense = random.standard_normal((DENSE, rows), np.float32)
    embedding = random.standard_normal((rows, EMBEDDING), np.float32)
    score = weights[:DENSE] @ dense + embedding @ weights[DENSE:] - 3
    clicked = random.random(rows, np.float32) < 1 / (1 + np.exp(-score))
    columns: list[Any] = [np.arange(first_id, first_id + rows), clicked.astype(np.float32)]
    columns += list(np.exp(dense))
    columns += [quantiles[random.integers(0, len(quantiles), rows, np.uint32)] for _ in range(CATEGORIES)]
    columns.append(pa.FixedSizeListArray.from_arrays(pa.array(embedding.ravel()), EMBEDDING))
    return pa.table([pa.array(column) for column in columns], schema=_SCHEMA)


def _zipf_quantiles() -> np.ndarray[Any, np.dtype[np.int64]]:
    """Evenly spaced quantiles of a Zipf-like distribution: to pick one at random is to take a sample."""
    share = (np.arange(_ZIPF_QUANTILES) + 0.5) / _ZIPF_QUANTILES
    return np.fmod(np.floor(share ** (-1 / (_ZIPF_EXPONENT - 1))), _ZIPF_MODULUS).astype(np.int64)
