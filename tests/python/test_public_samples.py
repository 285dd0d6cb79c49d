"""The sample files that the Parquet projects publish: rows as pyarrow reads them, or refused by name; never a crash.

The folders are named by FOREBAY_SAMPLES, separated by colons (good files) and FOREBAY_BAD_SAMPLES (damaged ones): the
repositories parquet-testing and arrow-testing of the Apache project hold them. Without them this is skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import forebay

# Not read as pyarrow reads them, and why.
EXCEPTIONS = {
    "incorrect_map_schema.parquet": "pyarrow does not read it either",
    "large_string_map.brotli.parquet": "strings of 2 GiB in one row group: the limit refuses it",
}

# Each file in a process of its own: a crash must be seen, not end the tests. Prints what came of it.
READ = """
import json, sys
import forebay
path, limit, outcome = sys.argv[1], 64 << 20, []
for batch_format, more in (("numpy", {"null_policy": "mask"}), ("pyarrow", {})):
    try:
        with forebay.Loader(path, batch_size=1000, batch_format=batch_format, memory_limit=limit, **more) as loader:
            for batch in loader:
                del batch
        outcome.append(["read", "", loader.stats().peak_bytes])
    except (forebay.SourceError, forebay.MemoryLimitError) as error:
        outcome.append([type(error).__name__, str(error), 0])
print(json.dumps(outcome))
"""


def files(variable: str) -> Iterator[Path]:
    for folder in filter(None, os.environ.get(variable, "").split(":")):
        yield from sorted(
            path
            for path in Path(folder).rglob("*")
            if path.is_file() and path.suffix not in (".md", ".txt", ".py")
        )


GOOD = [path for path in files("FOREBAY_SAMPLES") if path.suffix == ".parquet"]
BAD = list(files("FOREBAY_BAD_SAMPLES"))


def texts(column: pa.ChunkedArray) -> str:
    """All values in words; dates that Python has none for as numbers."""
    try:
        return str(column.to_pylist())
    except (OverflowError, ValueError):
        return str(column.combine_chunks())


@pytest.mark.slow
@pytest.mark.parametrize("path", GOOD, ids=[path.name for path in GOOD])
def test_a_good_file_has_the_rows_that_pyarrow_reads(path: Path) -> None:
    arguments: dict[str, Any] = {"batch_size": 1000, "batch_format": "pyarrow", "preserve_order": True}
    if path.name in EXCEPTIONS:
        with pytest.raises((forebay.SourceError, forebay.MemoryLimitError)):
            list(forebay.Loader(path, memory_limit="64MiB", **arguments))
        return
    expected = pq.ParquetFile(path).read()
    with forebay.Loader(path, memory_limit="1GiB", **arguments) as loader:
        table = pa.Table.from_batches(list(loader), loader.schema)
    assert table.column_names == expected.column_names
    for name in table.column_names:
        assert texts(table[name]) == texts(expected[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("path", [*GOOD, *BAD], ids=[path.name for path in [*GOOD, *BAD]])
def test_any_file_ends_in_rows_or_in_words_inside_the_limit(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    for outcome, text, peak_bytes in json.loads(done.stdout):
        assert peak_bytes <= 64 << 20
        assert (
            outcome == "read" or path.name in text or "memory_limit" in text or "more than the limit" in text
        )
