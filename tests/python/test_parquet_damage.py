"""Damaged files whose columns the core decodes by itself: rows or an error, never anything else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from native_cases import batches_of, table_of

import forebay


def outcome(path: Path, *, core: bool, **arguments: Any) -> tuple[str, Any]:
    """("rows", the batches) or ("error", its message); anything else is raised."""
    try:
        return "rows", batches_of(path, core=core, **arguments)
    except (forebay.SourceError, forebay.MemoryLimitError) as error:
        return "error", str(error)


DAMAGED = [pa.int64(), pa.int8(), pa.bool_(), pa.float64(), pa.list_(pa.float32(), 3)]


def write_small(path: Path, version: str, use_dictionary: bool, codec: str) -> bytes:
    """A file of a few small pages."""
    pq.write_table(
        table_of(DAMAGED, 120, "few"),
        path,
        compression=codec,
        data_page_version=version,
        use_dictionary=use_dictionary,
        row_group_size=70,
        data_page_size=100,
        write_batch_size=20,
        write_statistics=False,
    )
    return path.read_bytes()


@pytest.mark.parametrize("codec", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("use_dictionary", [False, True])
def test_flipped_bytes_end_in_rows_or_in_an_error(
    tmp_path: Path, version: str, use_dictionary: bool, codec: str
) -> None:
    """A value that was flipped is a row, for there is no checksum; everything else is found out."""
    path = tmp_path / "a.parquet"
    whole = write_small(path, version, use_dictionary, codec)
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    [(kind, expected)] = [outcome(path, core=True)]
    assert kind == "rows"
    random = np.random.default_rng(7)
    counts = {"rows": 0, "error": 0}
    for _ in range(250):
        damaged = bytearray(whole)
        for _ in range(int(random.integers(1, 4))):
            damaged[int(random.integers(4, footer))] ^= int(random.integers(1, 256))
        path.write_bytes(damaged)
        kind, result = outcome(path, core=True)
        counts[kind] += 1
        if kind == "rows":
            assert [batch.keys() for batch in result] == [batch.keys() for batch in expected]
            for batch, right in zip(result, expected, strict=True):
                assert {name: batch[name][:2] for name in batch} == {name: right[name][:2] for name in right}
        else:
            assert str(path) in result
    assert min(counts.values()) > 10


def test_a_flipped_footer_ends_in_rows_or_in_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    whole = write_small(path, "1.0", True, "snappy")
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    random = np.random.default_rng(8)
    counts = {"rows": 0, "error": 0}
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[int(random.integers(footer, len(whole) - 8))] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            counts[outcome(path, core=True)[0]] += 1
        except forebay.UnsupportedError:
            counts["error"] += 1
    assert min(counts.values()) > 10


def test_pages_that_were_cut_short_are_an_error_that_names_column_and_row_group(tmp_path: Path) -> None:
    """The footer stays as it is, and so does the file's length."""
    path = tmp_path / "a.parquet"
    whole = write_small(path, "1.0", False, "none")
    metadata = pq.read_metadata(path)
    for leaf, name in enumerate(f"c{i}" for i in range(len(DAMAGED))):
        chunk = metadata.row_group(1).column(leaf)
        end = chunk.data_page_offset + chunk.total_compressed_size
        for cut in (1, chunk.total_compressed_size // 2, chunk.total_compressed_size):
            damaged = bytearray(whole)
            damaged[end - cut : end] = bytes(cut)
            path.write_bytes(damaged)
            kind, result = outcome(path, core=True, columns=[name])
            # A zero can be what was there: the last byte of a value or of padding.
            if cut > 1 or kind == "error":
                assert kind == "error", (name, cut)
                assert str(path) in result and "row group 1" in result and name in result


def test_a_file_that_shrinks_changes_or_goes_away_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"

    def shrink() -> None:
        os.truncate(path, 100)

    def rewrite() -> None:
        pq.write_table(table_of([pa.int64()], 100, "none", seed=9), path, compression="none")

    def touch() -> None:
        os.utime(path, ns=(0, 1))

    for change, words in (
        (shrink, "changed"),
        (rewrite, "changed"),
        (touch, "changed"),
        (path.unlink, "No such file"),
    ):
        pq.write_table(table_of([pa.int64()], 100, "none"), path, compression="none")
        os.utime(path, ns=(0, 0))
        with forebay.Loader(path, batch_size=10) as loader:
            change()
            with pytest.raises(forebay.SourceError, match=words) as caught:
                list(loader)
        assert (caught.value.path, caught.value.row_group) == (str(path), 0)


def test_a_file_that_is_cut_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    values = np.random.default_rng(0).random(400_000)
    pq.write_table(pa.table({"a": values}), path, use_dictionary=False, compression="none")
    with forebay.Loader(
        path, batch_size=1000, prefetch_batches=0, num_threads=1, preserve_order=True
    ) as loader:
        iterator = iter(loader)
        assert next(iterator)["a"].tolist() == values[:1000].tolist()
        os.truncate(path, 500_000)
        with pytest.raises(forebay.SourceError) as caught:
            for _ in iterator:
                pass
        assert (caught.value.path, caught.value.row_group) == (str(path), 0)
        assert "'a'" in str(caught.value)
