"""The loaders of frameworks: torch's DataLoader, Hugging Face datasets and Ray Data, over the same files.

Those that move batches between processes are slower than what reads in the process of the consumer: they run once where
the others run in every round. Each is run as is fastest for it; the way that its guide shows first is a variant that
runs when it is named (README.md says how far apart the two are).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from pieces import PIECE_ROWS, Batch, Entry, Job, arrow_piece, arrow_pieces, rebatch

WORKERS = 2
OBJECT_STORE_BYTES = 2_000_000_000


def _same(batch: Batch) -> Batch:
    """A batch as its worker made it."""
    return batch


def _torch_batches(job: Job, *, as_tensors: bool) -> Iterator[Any]:
    """Batches of worker processes; each reads its share of the row groups through pyarrow."""
    import warnings

    import pyarrow.parquet as pq
    import torch
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info

    footers = {path: pq.read_metadata(path) for path in job.files()}
    units = [(path, group) for path, footer in footers.items() for group in range(footer.num_row_groups)]
    # Arrow's memory is read-only, which torch warns of. Nothing writes here, and sending a tensor copies it.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")

    class RowGroups(IterableDataset):
        def __iter__(self) -> Iterator[Any]:
            worker = get_worker_info()

            def pieces() -> Iterator[Batch]:
                for path, group in units[worker.id :: worker.num_workers]:
                    file = pq.ParquetFile(path, metadata=footers[path], memory_map=True)
                    for piece in file.iter_batches(PIECE_ROWS, row_groups=[group], use_threads=False):
                        yield arrow_piece(piece)

            for batch in rebatch(pieces(), job.batch_rows):
                yield (
                    {name: torch.from_numpy(array) for name, array in batch.items()} if as_tensors else batch
                )

    return iter(
        DataLoader(RowGroups(), batch_size=None, num_workers=WORKERS, prefetch_factor=4, collate_fn=_same)
    )


def torch(job: Job) -> Iterator[Batch]:
    """DataLoader with two workers; the arrays of a batch are pickled through a pipe."""
    yield from _torch_batches(job, as_tensors=False)


def torch_tensors(job: Job) -> Iterator[Batch]:
    """DataLoader with two workers; each column of a batch is a tensor in a shared segment of its own."""
    for batch in _torch_batches(job, as_tensors=True):
        yield {name: tensor.numpy() for name, tensor in batch.items()}


def _streamed(job: Job, piece_rows: int) -> Any:
    """A streaming dataset of Hugging Face, read in pieces of `piece_rows` rows."""
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_dataset(
        "parquet", data_files=job.files(), split="train", streaming=True, batch_size=piece_rows
    )


def hugging_face(job: Job) -> Iterator[Batch]:
    """Streaming Parquet in the "arrow" format: tables, seen as arrays without a copy."""
    tables = _streamed(job, PIECE_ROWS).with_format("arrow").iter(batch_size=PIECE_ROWS)
    yield from rebatch((piece for table in tables for piece in arrow_pieces(table)), job.batch_rows)


def hugging_face_numpy(job: Job) -> Iterator[Batch]:
    """Streaming Parquet in the "numpy" format."""
    yield from _streamed(job, job.batch_rows).with_format("numpy").iter(batch_size=job.batch_rows)


def start_ray() -> None:
    """A cluster of this machine. A program that trains has one running; the clock does not count its start."""
    import logging

    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    ray.init(
        num_cpus=WORKERS,
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False


def ray(job: Job) -> Iterator[Batch]:
    """`iter_batches` in the "pyarrow" format, four batches ahead: tables, seen as arrays without a copy."""
    import ray as package

    tables = package.data.read_parquet(job.files()).iter_batches(
        batch_size=job.batch_rows, batch_format="pyarrow", prefetch_batches=4
    )
    yield from rebatch((piece for table in tables for piece in arrow_pieces(table)), job.batch_rows)


def ray_numpy(job: Job) -> Iterator[Batch]:
    """`iter_batches` in the "numpy" format, which is its default; vectors come as objects, an array a row."""
    import ray as package

    batches = package.data.read_parquet(job.files()).iter_batches(
        batch_size=job.batch_rows, batch_format="numpy", prefetch_batches=4
    )
    for batch in batches:
        yield {name: np.stack(array) if array.dtype == object else array for name, array in batch.items()}


_TORCH = ("torch.utils.data", "pyarrow.parquet")
_HUGGING_FACE = ("torch", "datasets.packaged_modules.parquet.parquet")
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
RAY_VARIABLES = {"RAY_USAGE_STATS_ENABLED": "0"}
# Before and after its consumer's threads and queues were changed.
RAY_VERSIONS = ("2.55", "2.60")

FRAMEWORKS = {
    "torch": Entry(_TORCH, "torch", torch, is_slow=True),
    "torch-tensors": Entry(_TORCH, "torch", torch_tensors, is_slow=True, by_default=False),
    "datasets": Entry(_HUGGING_FACE, "datasets", hugging_face, variables=_OFFLINE),
    "datasets-numpy": Entry(
        _HUGGING_FACE, "datasets", hugging_face_numpy, variables=_OFFLINE, is_slow=True, by_default=False
    ),
    **{
        f"ray-{version}{suffix}": Entry(
            ("ray.data", "pyarrow.parquet"),
            "ray",
            run,
            prepare=start_ray,
            environment=f"ray-{version}",
            variables=RAY_VARIABLES,
            is_slow=True,
            by_default=not suffix,
        )
        for version in RAY_VERSIONS
        for suffix, run in (("", ray), ("-numpy", ray_numpy))
    },
}
