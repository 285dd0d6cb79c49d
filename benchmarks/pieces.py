"""What the loaders of the benchmarks share: what a run reads, how a loader is named, how pieces become batches."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Batch = dict[str, np.ndarray]

# Rows of a piece where a peer lets its caller choose: a row group of the small set.
PIECE_ROWS = 65_536


@dataclasses.dataclass
class Job:
    """What one run reads, and where a loader may leave figures of its own (`extra`, JSON values)."""

    folder: Path
    batch_rows: int
    memory_limit: str
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)

    def files(self) -> list[str]:
        """The Parquet files, sorted."""
        return sorted(str(path) for path in self.folder.glob("*.parquet"))


@dataclasses.dataclass(frozen=True)
class Entry:
    """A loader: what must be there before the clock starts, and the function that is timed.

    Attributes:
        modules: what is imported before the clock starts.
        distribution: the package that the report names with its version.
        run: takes the workload's job and gives batches.
        prepare: called after the imports, before the clock: what a program has running before it trains.
        environment: "" for the peers' common environment, or the name of one of the loader's own.
        variables: environment variables of its process.
        is_slow: run once where others are run in every round.
        by_default: whether it runs when no loader is named.
    """

    modules: tuple[str, ...]
    distribution: str
    run: Callable[[Any], Iterator[Batch]]
    prepare: Callable[[], None] | None = None
    environment: str = ""
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    is_slow: bool = False
    by_default: bool = True

    def load(self) -> None:
        """Import what the loader needs."""
        os.environ.update(self.variables)
        for module in self.modules:
            importlib.import_module(module)

    def versions(self) -> dict[str, str]:
        """The versions that a run is made of, by distribution."""
        names = dict.fromkeys((self.distribution, "pyarrow", "numpy"))
        return {"python": platform.python_version()} | {
            name: importlib.metadata.version(name) for name in names
        }


def cpu_count() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def rebatch(pieces: Iterable[Batch], batch_rows: int) -> Iterator[Batch]:
    """Cut pieces of any length into batches of `batch_rows` rows; the last one may be shorter."""
    held: list[Batch] = []
    held_rows = 0
    for piece in pieces:
        rows = len(next(iter(piece.values())))
        start = 0
        if held:
            start = min(batch_rows - held_rows, rows)
            held.append({name: values[:start] for name, values in piece.items()})
            held_rows += start
            if held_rows < batch_rows:
                continue
            yield {name: np.concatenate([part[name] for part in held]) for name in piece}
            held, held_rows = [], 0
        while rows - start >= batch_rows:
            stop = start + batch_rows
            yield {name: values[start:stop] for name, values in piece.items()}
            start = stop
        if start < rows:
            held = [{name: values[start:] for name, values in piece.items()}]
            held_rows = rows - start
    if held:
        yield {name: np.concatenate([part[name] for part in held]) for name in held[0]}


def arrow_piece(piece: Any) -> Batch:
    """A pyarrow RecordBatch as views: one array a column, lists of one length as (rows, length)."""
    import pyarrow as pa

    arrays: Batch = {}
    for name, column in zip(piece.schema.names, piece.columns, strict=True):
        if pa.types.is_fixed_size_list(column.type) or pa.types.is_list(column.type):
            arrays[name] = column.flatten().to_numpy().reshape(len(column), -1)
        else:
            arrays[name] = column.to_numpy()
    return arrays


def arrow_pieces(table: Any) -> Iterator[Batch]:
    """A pyarrow Table as views, a piece for each stretch of rows that lies in one chunk of every column."""
    return (arrow_piece(piece) for piece in table.to_batches() if piece.num_rows)
