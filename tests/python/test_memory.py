"""The promise: what forebay holds never passes the limit, in its own books and as the kernel counts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import forebay

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import click_log  # noqa: E402
import memory  # noqa: E402

MIB = 1 << 20
LIMIT = 192 * MIB
# What the process may hold beside bare imports and the limit: interpreter objects, thread stacks, allocator slack.
ALLOWANCE = 48 * MIB

BARE = "import forebay, pyarrow.parquet, time; time.sleep(0.3)"
EPOCH = """
import sys, time, forebay
with forebay.Loader(sys.argv[1], batch_size=4096, memory_limit=int(sys.argv[2])) as loader:
    rows = sum(len(batch["label"]) for batch in loader)
stats = loader.stats()
assert stats.peak_bytes <= stats.memory_limit == int(sys.argv[2])
print(rows)
"""


@pytest.fixture(scope="module")
def quarter_sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The data sets of the benchmarks at a quarter of their size: small row groups with snappy, a big one with zstd."""
    folder = tmp_path_factory.mktemp("quarter-sets")
    for name, data_set in click_log.QUARTER.items():
        click_log.ensure(data_set, folder / name, progress=False)
    return {name: folder / name for name in click_log.QUARTER}


def peak_of(program: str, *arguments: object) -> tuple[int, str]:
    """The peak of the process tree (anonymous and shared memory) that runs a program text, and what it printed."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        peak = memory.peak_until_exit(process, 120)
        assert process.stdout is not None
        output = process.stdout.read()
    assert process.returncode == 0
    return peak, output.strip()


@pytest.mark.measures
@pytest.mark.parametrize("name", ["small", "big"])
def test_the_process_stays_within_bare_imports_and_the_limit_and_48_mib(
    quarter_sets: dict[str, Path], name: str
) -> None:
    bare, _ = peak_of(BARE)
    peak, output = peak_of(EPOCH, quarter_sets[name], LIMIT)
    assert int(output) == click_log.QUARTER[name].rows
    assert peak <= bare + LIMIT + ALLOWANCE


@pytest.mark.parametrize("name", ["small", "big"])
@pytest.mark.parametrize("preserve_order", [False, True])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_the_least_completes_and_one_byte_less_is_refused_with_the_figure(
    quarter_sets: dict[str, Path], name: str, preserve_order: bool, num_threads: int
) -> None:
    arguments = {"batch_size": 4096, "preserve_order": preserve_order, "num_threads": num_threads}
    with forebay.Loader(quarter_sets[name], memory_limit="1GiB", **arguments) as loader:
        least = loader.plan().least_memory_bytes
    with pytest.raises(forebay.MemoryLimitError) as refused:
        forebay.Loader(quarter_sets[name], memory_limit=least - 1, **arguments)
    assert refused.value.required == least
    assert refused.value.limit == least - 1
    assert str(least) in str(refused.value)
    columns = ["id", "label", "dense_0", "cat_0", "cat_1", "emb"]
    with forebay.Loader(quarter_sets[name], memory_limit="1GiB", columns=columns, **arguments) as loader:
        least = loader.plan().least_memory_bytes
    with forebay.Loader(quarter_sets[name], memory_limit=least, columns=columns, **arguments) as loader:
        ids = np.concatenate([batch["id"].copy() for batch in loader])
        stats = loader.stats()
    assert np.array_equal(np.sort(ids), np.arange(click_log.QUARTER[name].rows))
    assert stats.peak_bytes <= least


def test_a_limit_far_too_small_names_the_least_at_once(quarter_sets: dict[str, Path]) -> None:
    with pytest.raises(forebay.MemoryLimitError) as refused:
        forebay.Loader(quarter_sets["small"], batch_size=4096, memory_limit=1)
    required = refused.value.required
    with forebay.Loader(quarter_sets["small"], batch_size=4096, memory_limit=required) as loader:
        assert loader.plan().least_memory_bytes == required


def dictionary_strings(path: Path) -> tuple[int, int]:
    """One column of 64 long strings behind a dictionary. Returns its bytes in the footer and decoded."""
    rows = 1_000_000
    random = np.random.default_rng(0)
    words = ["".join(map(chr, random.integers(65, 91, 198))) + f"{number:02}" for number in range(64)]
    strings = pa.DictionaryArray.from_arrays(random.integers(0, 64, rows, np.int32), words).cast(pa.string())
    pq.write_table(pa.table({"text": strings}), path, row_group_size=rows)
    return pq.read_metadata(path).row_group(0).column(0).total_uncompressed_size, strings.nbytes


def test_strings_that_decode_to_250_times_what_the_footer_says_stay_within_the_limit(tmp_path: Path) -> None:
    stored, decoded = dictionary_strings(tmp_path / "strings.parquet")
    assert stored < 1_000_000 and decoded > 200_000_000
    arguments = {"source": tmp_path / "strings.parquet", "batch_size": 4096}
    with forebay.Loader(**arguments, memory_limit="1GiB") as loader:
        least = loader.plan().least_memory_bytes
    assert least < 32 * MIB
    for limit in (least, 32 * MIB, 64 * MIB):
        with forebay.Loader(**arguments, memory_limit=limit) as loader:
            rows = text_bytes = 0
            for batch in loader:
                rows += len(batch["text"])
                text_bytes += batch["text"].nbytes
            stats = loader.stats()
        assert rows == 1_000_000
        assert text_bytes > 200_000_000
        assert stats.peak_bytes <= limit
        assert stats.foreign_bytes == 0


@pytest.mark.measures
def test_the_process_that_decodes_such_strings_stays_within_the_limit_too(tmp_path: Path) -> None:
    dictionary_strings(tmp_path / "strings.parquet")
    bare, _ = peak_of(BARE)
    peak, output = peak_of(EPOCH.replace("label", "text"), tmp_path / "strings.parquet", 64 * MIB)
    assert int(output) == 1_000_000
    assert peak <= bare + 64 * MIB + ALLOWANCE


@pytest.mark.parametrize("use_dictionary", [True, False])
def test_strings_that_grow_late_in_a_row_group_end_in_rows_or_in_an_error_with_figures(
    tmp_path: Path, use_dictionary: bool
) -> None:
    path = tmp_path / "late.parquet"
    strings = ["a"] * 50_000 + ["z" * 20_000] * 2_000
    pq.write_table(
        pa.table({"text": strings}), path, row_group_size=len(strings), use_dictionary=use_dictionary
    )
    outcomes = set()
    with forebay.Loader(path, batch_size=1024, memory_limit="1GiB") as loader:
        least = loader.plan().least_memory_bytes
    for limit in (least, least + 8 * MIB, least + 64 * MIB, 256 * MIB):
        with forebay.Loader(path, batch_size=1024, memory_limit=limit) as loader:
            try:
                rows = sum(len(batch["text"]) for batch in loader)
                outcomes.add("rows")
                assert rows == len(strings)
            except forebay.MemoryLimitError as error:
                outcomes.add("error")
                assert error.required is not None and error.required > limit
                assert error.path == str(path)
                assert error.row_group == 0
            assert loader.stats().peak_bytes <= limit
    assert outcomes == {"rows", "error"}


@pytest.mark.parametrize("size", [20, 200])
def test_the_least_does_for_wide_dictionaries_that_stay_dictionaries(tmp_path: Path, size: int) -> None:
    """The reader has such a dictionary several times over."""
    rows = 200_000
    words = [f"{number:0{size}}" for number in range(60_000)]
    codes = np.random.default_rng(0).integers(0, len(words), rows, np.int32)
    column = pa.DictionaryArray.from_arrays(codes, words)
    lists = pa.ListArray.from_arrays(np.arange(0, rows + 1, 2, np.int32), column)
    path = tmp_path / "words.parquet"
    # How much lists of strings take in batches is known less well.
    for table, more in ((pa.table({"word": column}), 0), (pa.table({"words": lists}), MIB)):
        pq.write_table(table, path, row_group_size=rows, dictionary_pagesize_limit=1 << 28)
        arguments = {"batch_size": 1024, "num_threads": 1}
        with forebay.Loader(path, memory_limit="1GiB", **arguments) as loader:
            limit = loader.plan().least_memory_bytes + more
        with forebay.Loader(path, memory_limit=limit, **arguments) as loader:
            assert sum(1 for _ in loader) == len(loader)
            stats = loader.stats()
        assert stats.peak_bytes <= limit
        assert stats.foreign_bytes == 0


def test_a_larger_limit_buys_larger_pieces(quarter_sets: dict[str, Path]) -> None:
    pieces = []
    for limit in ("128MiB", "192MiB", "1GiB"):
        with forebay.Loader(quarter_sets["big"], batch_size=4096, memory_limit=limit) as loader:
            pieces.append(loader.plan().to_dict()["piece_rows"])
    assert pieces == sorted(pieces)
    assert pieces[0] < pieces[-1]
