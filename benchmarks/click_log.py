"""The data of the benchmarks: click-log-like Parquet, 42 columns, 400 bytes a row, the same bytes on every run.

A row is an int64 id, a float32 label (3% ones), 13 log-normal float32, 26 Zipf-distributed int64 and a vector of 32
float32. Every row group has a random stream of its own, so the content does not depend on the number of threads.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DENSE_COLUMNS = 13
CATEGORY_COLUMNS = 26
VECTOR_WIDTH = 32
ROW_BYTES = 8 + 4 + 4 * DENSE_COLUMNS + 8 * CATEGORY_COLUMNS + 4 * VECTOR_WIDTH

ZIPF_EXPONENT = 1.3
CATEGORY_MODULUS = 1_000_003
TABLE_SIZE = 1 << 20


class DataSetError(Exception):
    """The files in a folder are not those that the benchmark describes."""


@dataclasses.dataclass(frozen=True)
class DataSet:
    """One data set: how many files of how many rows, cut into row groups of which size, under which codec."""

    name: str
    file_count: int
    file_rows: int
    group_rows: int
    codec: str

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return self.file_count * self.file_rows

    @property
    def decoded_bytes(self) -> int:
        """Bytes of all rows once decoded to dense columns."""
        return self.rows * ROW_BYTES

    def describe(self) -> str:
        """One line for a table head: files, rows, row groups, codec."""
        return (
            f"{self.file_count} x {self.file_rows:,} rows, row groups of {min(self.group_rows, self.file_rows):,}, "
            f"{self.codec}, {self.decoded_bytes / 1e6:,.0f} MB decoded"
        )


FULL = {
    "small": DataSet("small", 8, 500_000, 65_536, "snappy"),
    "big": DataSet("big", 2, 2_000_000, 1_048_576, "zstd"),
}
# A quarter of the rows. The big set keeps one whole file of one big row group: smaller groups would not be "big".
QUARTER = {
    "small": DataSet("small-quarter", 2, 500_000, 65_536, "snappy"),
    "big": DataSet("big-quarter", 1, 1_000_000, 1_048_576, "zstd"),
}


class ZipfTable:
    """Zipf numbers by inverse table: a uniform index looks its number up, instead of rejection sampling.

    The table holds the quantiles of the distribution at TABLE_SIZE even steps. Where one step spans several
    numbers (the rare ones, about 5% of the draws) the number is worked out from a continuous inverse of the tail
    instead, so that rare numbers are as many and as rare as they should be.
    """

    def __init__(self, exponent: float, modulus: int) -> None:
        self._power = -1.0 / (exponent - 1.0)
        self._modulus = modulus
        head_count = 1 << 16
        weights = np.arange(1, head_count + 1, dtype=np.float64) ** -exponent
        # The sum of the weights past the head, by the integral with the midpoint rule: error below 1e-12 here.
        beyond = (head_count + 0.5) ** (1.0 - exponent) / (exponent - 1.0)
        total = weights.sum() + beyond
        # Mass above number k is about (k + 0.5) ** (1 - exponent) / scale.
        self._scale = total * (exponent - 1.0)
        common_count = int(np.count_nonzero(weights / total * TABLE_SIZE >= 1.0))
        cumulative = np.cumsum(weights[:common_count]) / total
        steps = (np.arange(TABLE_SIZE, dtype=np.float64) + 0.5) / TABLE_SIZE
        numbers = np.searchsorted(cumulative, steps, side="right") + 1
        self._tail_start = int(np.searchsorted(numbers, common_count + 1))
        self._tail_mass = 1.0 - cumulative[-1]
        self._numbers = (numbers % modulus).astype(np.int64)

    def draw(self, random: np.random.Generator, count: int) -> np.ndarray:
        """`count` int64 numbers in [0, modulus)."""
        indices = random.integers(0, TABLE_SIZE, size=count, dtype=np.uint32)
        values = self._numbers[indices]
        places = np.flatnonzero(indices >= self._tail_start)
        # 1 - random() lies in (0, 1]: the inverse of zero mass would be infinite.
        mass = self._tail_mass * (1.0 - random.random(places.size))
        numbers = np.minimum((mass * self._scale) ** self._power + 0.5, 2.0**62)
        values[places] = numbers.astype(np.int64) % self._modulus
        return values


def column_names() -> list[str]:
    """The 42 names, in file order."""
    dense = [f"dense_{index}" for index in range(DENSE_COLUMNS)]
    category = [f"cat_{index}" for index in range(CATEGORY_COLUMNS)]
    return ["id", "label", *dense, *category, "emb"]


def click_log_table(
    rows: int, *, first_id: int = 0, seed: tuple[int, ...] = (0,), zipf: ZipfTable | None = None
) -> pa.Table:
    """A table of `rows` rows in one chunk a column; ids count from `first_id`, the rest follows from `seed`."""
    zipf = zipf or ZipfTable(ZIPF_EXPONENT, CATEGORY_MODULUS)
    random = np.random.default_rng(seed)
    columns: list[pa.Array] = [
        pa.array(np.arange(first_id, first_id + rows, dtype=np.int64)),
        pa.array((random.random(rows, dtype=np.float32) < 0.03).astype(np.float32)),
    ]
    for _ in range(DENSE_COLUMNS):
        columns.append(pa.array(np.exp(random.standard_normal(rows, dtype=np.float32))))
    for _ in range(CATEGORY_COLUMNS):
        columns.append(pa.array(zipf.draw(random, rows)))
    vectors = pa.array(random.standard_normal(rows * VECTOR_WIDTH, dtype=np.float32))
    columns.append(pa.FixedSizeListArray.from_arrays(vectors, VECTOR_WIDTH))
    return pa.table(columns, names=column_names())


def _write_file(data_set: DataSet, index: int, path: Path, zipf: ZipfTable) -> None:
    """Write file `index` of the set, one row group at a time, under a hidden name until it is whole."""
    partial = path.with_name(f".{path.name}.partial")
    writer = None
    for group, start in enumerate(range(0, data_set.file_rows, data_set.group_rows)):
        rows = min(data_set.group_rows, data_set.file_rows - start)
        table = click_log_table(
            rows, first_id=index * data_set.file_rows + start, seed=(index, group), zipf=zipf
        )
        if writer is None:
            writer = pq.ParquetWriter(partial, table.schema, compression=data_set.codec)
        writer.write_table(table, row_group_size=rows)
    assert writer is not None
    writer.close()
    os.replace(partial, path)


def _check_file(data_set: DataSet, path: Path) -> None:
    """Raise DataSetError where the file's footer says other rows, row groups, columns or codec than the set."""
    footer = pq.read_metadata(path)
    group = footer.row_group(0)
    found = (footer.num_rows, group.num_rows, footer.num_columns, group.column(0).compression.lower())
    expected = (
        data_set.file_rows,
        min(data_set.group_rows, data_set.file_rows),
        len(column_names()),
        data_set.codec,
    )
    if found != expected:
        raise DataSetError(
            f"{path} has (rows, rows of its first row group, columns, codec) {found}, the benchmark needs {expected}: "
            "remove the folder and it is made again"
        )


def ensure(data_set: DataSet, folder: Path, *, progress: bool = True) -> list[Path]:
    """Make what is missing of `data_set` under `folder` and return its files, sorted.

    Files that are there are checked by their footers. Raises DataSetError where they are of another shape, or where
    the folder holds Parquet files that are not of this set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"part-{index:05d}.parquet" for index in range(data_set.file_count)]
    for path in sorted(set(folder.glob("*.parquet")) - set(paths)):
        raise DataSetError(f"{path} is not a file of the set {data_set.name}: remove it")
    for path in paths:
        if path.exists():
            _check_file(data_set, path)
    missing = [index for index, path in enumerate(paths) if not path.exists()]
    if not missing:
        return paths
    zipf = ZipfTable(ZIPF_EXPONENT, CATEGORY_MODULUS)
    done = itertools.count(1)
    with ThreadPoolExecutor(max_workers=min(len(missing), len(os.sched_getaffinity(0)))) as executor:
        for _ in executor.map(lambda index: _write_file(data_set, index, paths[index], zipf), missing):
            if progress:
                print(
                    f"{data_set.name}: file {next(done)} of {len(missing)} made", file=sys.stderr, flush=True
                )
    return paths


def main() -> int:
    """Make the named sets under a folder."""
    parser = argparse.ArgumentParser(description="Make the data sets of the benchmarks.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", choices=sorted(FULL), default=sorted(FULL))
    parser.add_argument("--quarter", action="store_true", help="a quarter of the rows")
    arguments = parser.parse_args()
    for name in arguments.sets:
        data_set = (QUARTER if arguments.quarter else FULL)[name]
        try:
            ensure(data_set, arguments.folder / data_set.name)
        except DataSetError as error:
            print(f"click_log: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
