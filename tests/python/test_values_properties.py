"""Whatever the source looks like inside, batches show exactly the values that were put in."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from arrow_cases import (
    BINARIES,
    KINDS,
    LISTS,
    NULL_PATTERNS,
    SCALARS,
    Column,
    Kind,
    assert_batch,
    build_array,
    build_chunks,
    random_column,
)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import forebay

# What the tests open is closed in the end.
pytestmark = pytest.mark.usefixtures("module_process")

ROW = "row"  # a column of row numbers without nulls: it says which batch a batch is

# A run under a sanitizer may take as long as it likes.
# The same examples each time, but for long runs: tests/soak/properties.py asks for more, and for others.
EXAMPLES_ASKED = os.environ.get("FOREBAY_EXAMPLES")
steady = settings(
    derandomize=EXAMPLES_ASKED is None,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=int(EXAMPLES_ASKED or 250),
)


@dataclass
class Case:
    """A source's rows and how they are asked for."""

    rows: int
    columns: dict[str, Column]
    patterns: dict[str, str]  # of the nulls of each column
    chosen: list[str] | None
    arguments: dict[str, Any]
    random: np.random.Generator
    fills: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The columns that batches must have, in order."""
        return self.chosen if self.chosen is not None else list(self.columns)

    def expected_bounds(self) -> list[tuple[int, int]]:
        """First row and end of each batch."""
        size = self.arguments["batch_size"]
        end = self.rows - self.rows % size if self.arguments["drop_last"] else self.rows
        return [(begin, min(begin + size, end)) for begin in range(0, end, size)]

    def bad_rows(self) -> set[int]:
        """Delivered rows that null_policy="error" refuses."""
        end = max((end for _, end in self.expected_bounds()), default=0)
        together = set().union(*(self.columns[name].null_rows() for name in self.names))
        return {row for row in together if row < end}


def fill_for(kind: Kind) -> Any:
    """A value that is not the default for nulls, as a user gives it."""
    if kind.is_binary:
        return "naïve\0" if kind.is_text else b"\xff\0x"
    if kind.dtype.kind in "mM":
        return np.array(3 * 86_400_000 if pa.types.is_date64(kind.element.type) else 7, kind.dtype)[()]
    return {"b": True, "f": 0.5}.get(kind.dtype.kind, 7)


@st.composite
def cases(draw: st.DrawFn, *, tame: bool = False, kinds: list[Kind] = KINDS) -> Case:
    rows = draw(st.one_of(st.integers(0, 10), st.integers(0, 200)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    row_kind = next(kind for kind in SCALARS if kind.type == pa.int64())
    columns = {ROW: Column(row_kind, np.arange(rows), np.ones(rows, np.bool_))}
    patterns = {ROW: "no bitmap"}
    for number in range(draw(st.integers(1, 4))):
        name = f"c{number}"
        kind = draw(st.sampled_from(kinds))
        patterns[name] = draw(st.sampled_from(NULL_PATTERNS))
        item_nulls = draw(st.sampled_from(NULL_PATTERNS))
        columns[name] = random_column(kind, rows, random, patterns[name], item_nulls, tame=tame)
    chosen = None
    if draw(st.booleans()):
        chosen = draw(st.permutations(list(columns)))
        others = draw(st.sets(st.sampled_from([name for name in columns if name != ROW])))
        chosen = [name for name in chosen if name not in others]
    policy = draw(st.sampled_from(["error", "fill", "mask"]))
    fills = {}
    if policy != "error" and draw(st.booleans()):
        fills = {name: fill_for(columns[name].kind) for name in chosen or columns if name != ROW}
    arguments = {
        "batch_size": draw(st.one_of(st.integers(1, 8), st.integers(1, rows + 10))),
        "columns": chosen,
        "num_threads": draw(st.integers(1, 3)),
        "preserve_order": draw(st.booleans()),
        "drop_last": draw(st.booleans()),
        "prefetch_batches": draw(st.sampled_from([None, 0, 1, 3])),
        "null_policy": policy,
        "fill_value": fills or None,
    }
    return Case(rows, columns, patterns, chosen, arguments, random, fills)


def check_epochs(source: Any, case: Case, epochs: int = 2) -> None:
    """The batches of a loader over source are those of the case, epoch after epoch, or the right error."""
    with forebay.Loader(source, memory_limit="64MiB", **case.arguments) as loader:
        bounds = case.expected_bounds()
        assert len(loader) == len(bounds)
        assert loader.plan().rows == sum(end - begin for begin, end in bounds)
        assert loader.schema.names == case.names
        bad_rows = case.bad_rows() if case.arguments["null_policy"] == "error" else set()
        for _ in range(epochs):
            if bad_rows:
                check_failing_epoch(loader, case, bounds, bad_rows)
            else:
                check_epoch(loader, case, bounds)


def check_epoch(loader: forebay.Loader, case: Case, bounds: list[tuple[int, int]]) -> None:
    batches = list(loader)
    assert len(batches) == len(bounds)
    if not case.arguments["preserve_order"]:
        batches.sort(key=lambda batch: int(batch[ROW][0]))
    for batch, (begin, end) in zip(batches, bounds, strict=True):
        check_batch(batch, case, begin, end)


def check_batch(batch: Mapping[str, Any], case: Case, begin: int, end: int) -> None:
    columns = {name: case.columns[name].rows(begin, end) for name in case.names}
    assert_batch(batch, columns, case.arguments["null_policy"], case.fills)


def check_failing_epoch(
    loader: forebay.Loader, case: Case, bounds: list[tuple[int, int]], bad_rows: set[int]
) -> None:
    """Batches without nulls may come (with order, all those before the first null do), then the error, then again."""
    batches = []
    iterator = iter(loader)
    with pytest.raises(forebay.SourceError, match=r"column '[^']+' has a null") as caught:
        batches.extend(iterator)
    with pytest.raises(forebay.SourceError) as again:
        next(iterator)
    assert str(again.value) == str(caught.value)
    by_row = dict(bounds)
    for batch in batches:
        begin = int(batch[ROW][0])
        check_batch(batch, case, begin, by_row[begin])
        assert not bad_rows.intersection(range(begin, by_row[begin]))
    if case.arguments["preserve_order"]:
        whole = itertools.takewhile(lambda bound: not bad_rows.intersection(range(*bound)), bounds)
        assert [int(batch[ROW][0]) for batch in batches] == [begin for begin, _ in whole]
    check_located(caught.value, case, bad_rows)


def check_located(error: forebay.SourceError, case: Case, bad_rows: set[int]) -> None:
    """The error names a column that has a null, and the row of that null."""
    name = str(error).partition("column '")[2].partition("'")[0]
    row = error.row
    if error.path is not None:
        metadata = pq.read_metadata(error.path)
        row += sum(metadata.row_group(group).num_rows for group in range(error.row_group))
        row += int(Path(error.path).stem.partition("-")[2])  # the file's first row
    assert row in bad_rows
    assert row in case.columns[name].null_rows()
    assert f"row {error.row}:" in str(error)


def cuts(case: Case, random: np.random.Generator) -> list[int]:
    """Where to cut a column into chunks: some chunks are empty."""
    count = int(random.integers(0, 6))
    return sorted(random.integers(0, case.rows + 1, count).tolist())


@steady
@given(case=cases())
def test_a_record_batch_is_shown_as_it_is(case: Case) -> None:
    # All columns of a record batch have its length; each is a slice of something longer.
    arrays = []
    for name, column in case.columns.items():
        head, tail = (int(count) for count in case.random.integers(0, 70, 2))
        arrays.append(build_array(column, case.random, head=head, tail=tail, nulls=case.patterns[name]))
    check_epochs(pa.RecordBatch.from_arrays(arrays, names=list(case.columns)), case)


@steady
@given(case=cases(), top=st.integers(0, 70), bottom=st.integers(0, 5))
def test_a_sliced_record_batch_shows_its_own_rows_only(case: Case, top: int, bottom: int) -> None:
    arrays = []
    for name, column in case.columns.items():
        extra = build_array(column, case.random, head=top, tail=bottom, nulls=case.patterns[name])
        before = random_column(column.kind, top, case.random, "many", "many")
        after = random_column(column.kind, bottom, case.random, "all", "all")
        whole = [build_array(before, case.random), extra, build_array(after, case.random)]
        arrays.append(pa.concat_arrays(whole))
    batch = pa.RecordBatch.from_arrays(arrays, names=list(case.columns))
    check_epochs(batch.slice(top, case.rows), case)


@steady
@given(case=cases(), is_sliced=st.booleans())
def test_a_table_of_ragged_chunks_is_shown_as_it_is(case: Case, is_sliced: bool) -> None:
    chunked = {}
    top, bottom = case.random.integers(0, 20, 2) if is_sliced else (0, 0)
    for name, column in case.columns.items():
        chunks = build_chunks(column, cuts(case, case.random), case.random, case.patterns[name]).chunks
        before = random_column(column.kind, int(top), case.random, "all", "all")
        after = random_column(column.kind, int(bottom), case.random, "all", "all")
        chunks = [build_array(before, case.random), *chunks, build_array(after, case.random)]
        chunked[name] = pa.chunked_array(chunks, column.kind.type)
    check_epochs(pa.table(chunked).slice(int(top), case.rows), case)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A place for files that one example makes and the next removes."""
    place = Path(tempfile.mkdtemp(prefix="forebay-"))
    yield place
    shutil.rmtree(place)


def pyarrow_reads(path: Path) -> bool:
    """Whether pyarrow does: it may end a column of lists with an empty page that it then trips over."""
    file = pq.ParquetFile(path, pre_buffer=False)
    try:
        return file.read(use_threads=False).num_rows == file.metadata.num_rows
    except pa.ArrowInvalid:
        return False


def as_parquet_has_it(column: Column, stored: pa.DataType) -> Column:
    """The column once Parquet has kept it: it knows no seconds, and dates are days."""
    kind = column.kind
    if stored == kind.type:
        return column
    is_list = kind.list_size is not None
    [known] = [known for known in SCALARS if known.type == (stored.value_type if is_list else stored)]
    now = Kind(stored, known.stored, known.dtype, known.fill, kind.list_size)
    return Column(now, column.values.astype(now.dtype), column.valid, column.item_valid)


@steady
@given(
    case=cases(tame=True, kinds=SCALARS + LISTS + BINARIES),
    group_rows=st.integers(1, 70),
    file_count=st.integers(1, 3),
    page_bytes=st.sampled_from([64, 1 << 10, 1 << 20]),
    version=st.sampled_from(["1.0", "2.0"]),
    use_dictionary=st.booleans(),
)
def test_parquet_files_of_small_groups_and_pages_are_shown_as_they_are(
    case: Case,
    group_rows: int,
    file_count: int,
    page_bytes: int,
    version: str,
    use_dictionary: bool,
    folder: Path,
) -> None:
    for path in folder.iterdir():
        path.unlink()
    table = pa.table(
        {
            name: build_chunks(column, cuts(case, case.random), case.random, case.patterns[name])
            for name, column in case.columns.items()
        }
    )
    bounds = [0, *sorted(case.random.integers(0, case.rows + 1, file_count - 1).tolist()), case.rows]
    for number, (begin, end) in enumerate(itertools.pairwise(bounds)):
        pq.write_table(
            table.slice(begin, end - begin),
            folder / f"{number}-{begin}.parquet",
            row_group_size=group_rows,
            data_page_size=page_bytes,
            write_batch_size=min(page_bytes, 1024),
            data_page_version=version,
            use_dictionary=use_dictionary,
        )
    assume(all(pyarrow_reads(path) for path in folder.iterdir()))
    kept = pq.read_schema(folder / "0-0.parquet")
    case.columns = {
        name: as_parquet_has_it(column, kept.field(name).type) for name, column in case.columns.items()
    }
    case.fills = {name: fill_for(case.columns[name].kind) for name in case.fills}
    case.arguments["fill_value"] = case.fills or None
    check_epochs(str(folder), case, epochs=1)
