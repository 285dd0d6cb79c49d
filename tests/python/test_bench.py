"""`forebay bench`: what it prints, on little data. Never how fast it is."""

import re
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forebay import bench
from forebay.cli import main

NUMBER = r"[\d,]+(?:\.\d+)?"


@pytest.fixture
def clicks(tmp_path):
    """A directory with two files of 5,000 rows in groups of 2,000, nulls, vectors and strings included."""
    for number in range(2):
        ids = np.arange(number * 5000, number * 5000 + 5000)
        table = pa.table(
            {
                "id": ids,
                "maybe": [None if i % 7 == 0 else float(i) for i in range(5000)],
                "flag": ids % 2 == 0,
                "when": pa.array(ids, pa.timestamp("ms")),
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(np.repeat(ids, 4).astype("f4")), 4),
                "word": [f"word {i}" for i in range(5000)],
            }
        )
        pq.write_table(table, tmp_path / f"part-{number}.parquet", row_group_size=2000)
    return tmp_path


def run(capsys, *arguments):
    """(exit status, stdout, stderr) of a command."""
    try:
        status = main(["bench", *[str(argument) for argument in arguments]])
    except SystemExit as end:
        status = end.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def figures(out, loader):
    """The numbers in a loader's row: batches/s, MB/s, ms to the first batch, faults a batch, ratio."""
    [row] = [line for line in out.splitlines() if re.match(rf"{loader}  ", line)]
    return [float(number.replace(",", "")) for number in re.findall(NUMBER, row)]


def assert_complete(out, loaders, limit):
    """A row for each loader, ratios against the first, the peak within the limit; fits a terminal of 80 columns."""
    assert max(len(line) for line in out.splitlines()) <= 80
    for loader in loaders:
        rate, megabytes, first_ms, faults, ratio = figures(out, loader)
        assert (
            rate > 0 and min(megabytes, first_ms, faults, ratio) >= 0
        )  # so little data may round to nothing
    assert figures(out, loaders[0])[-1] == 1
    assert re.search(rf"forebay at {NUMBER} times the rate of", out)
    [(peak, unit)] = re.findall(rf"memory: peak ({NUMBER}) ([KM]iB) of {limit}\.0 MiB", out)
    assert 0 < float(peak) * {"KiB": 1, "MiB": 1024}[unit] <= limit * 1024


def test_parquet_makes_its_data_in_a_folder_that_is_gone_afterwards(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    status, out, _ = run(capsys, "parquet", "--rows", 5000, "--batch-size", 512, "--rounds", 1)
    assert status == 0
    assert "5,000 rows, 42 columns, 2 Parquet files, 2.0 MB" in out
    assert "batches of 512 rows, 1 round in turn" in out
    assert_complete(out, ["pyarrow", "forebay"], 192)
    assert list(tmp_path.iterdir()) == []


def test_parquet_streams_files_of_the_users_own(capsys, clicks):
    status, out, _ = run(
        capsys, "parquet", "--data", clicks, "--memory-limit", "64MiB", "--batch-size", 900, "--rounds", 2
    )
    assert status == 0
    assert "10,000 rows, 6 columns, 2 Parquet files" in out
    assert_complete(out, ["pyarrow", "forebay"], 64)
    status, out, _ = run(capsys, "parquet", "--data", clicks / "part-0.parquet", "--columns", "id,flag")
    assert status == 0
    assert "5,000 rows, 2 columns, 1 Parquet file, " in out


def test_small_streams_from_memory_beside_plain_slicing(capsys):
    status, out, _ = run(capsys, "small", "--rows", 1000, "--batch-size", 64, "--rounds", 2)
    assert status == 0
    assert "1,000 rows, 9 columns, in memory" in out
    assert "batches of 64 rows, 2 rounds in turn" in out
    assert_complete(out, ["numpy views", "numpy copies", "forebay"], 192)


@pytest.mark.parametrize("rows", [1, 64, 65])
def test_one_batch_or_two_are_enough(capsys, rows):
    status, out, _ = run(capsys, "small", "--rows", rows, "--batch-size", 64, "--rounds", 1)
    assert status == 0
    assert_complete(out, ["numpy views", "numpy copies", "forebay"], 192)


def test_pyarrow_is_asked_for_the_same_rows(clicks):
    files = sorted(str(path) for path in clicks.iterdir())
    batches = list(bench._pyarrow_batches(files, ["id", "vector", "flag", "maybe"], 900))
    assert np.array_equal(np.concatenate([batch["id"] for batch in batches]), np.arange(10_000))
    assert {len(batch["id"]) for batch in batches[:2]} == {900}
    for batch in batches:
        assert np.array_equal(batch["vector"], np.repeat(batch["id"], 4).reshape(-1, 4))
        assert np.array_equal(batch["flag"], batch["id"] % 2 == 0)
        assert np.array_equal(np.isnan(batch["maybe"]), batch["id"] % 5000 % 7 == 0)


def test_a_pass_counts_every_batch_and_the_faults_of_its_second_half(monkeypatch):
    readings = iter([100, 160])
    monkeypatch.setattr(bench, "_page_faults", lambda: next(readings))
    done = bench._run_pass(lambda: iter([{"a": np.zeros(1)}] * 8), 8)
    assert done.batches == 8
    assert done.faults_per_batch == 60 / 3
    assert 0 < done.first_batch_s <= done.seconds


def test_the_round_that_warms_up_is_not_counted():
    asked = []

    def one_batch():
        asked.append(1)
        return iter([{"a": np.zeros(1)}])

    passes = bench._run_rounds({"one": one_batch, "other": one_batch}, 1, 3, bench.LiveLine())
    assert len(asked) == 8
    assert [len(runs) for runs in passes.values()] == [3, 3]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "NAME"),
        (["large"], "invalid choice: 'large'"),
        (["small", "--rows", "0"], "--rows: must be at least 1"),
        (["small", "--rounds", "0"], "--rounds: must be at least 1"),
        (["small", "--data", "x"], "--data"),
        (["small", "--memory-limit", "1KiB"], r"give --memory-limit \d+MiB or more"),
        (["parquet", "--data", "{}", "--rows", "10"], "not allowed with argument"),
        (["parquet", "--data", "{}/nowhere"], "no such file or directory"),
        (["parquet", "--data", "{}", "--columns", "idd"], "did you mean 'id'"),
        (["parquet", "--data", "{}", "--memory-limit", "4KiB"], r"give --memory-limit \d+MiB or more"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(capsys, clicks, arguments, expected):
    status, out, err = run(capsys, *[argument.format(clicks) for argument in arguments])
    assert status == 2
    assert out == ""
    assert err.startswith("forebay: ") and err.count("\n") == 1
    assert re.search(expected, err)


def test_files_without_rows_are_one_line_too(capsys, tmp_path):
    pq.write_table(pa.table({"id": pa.array([], pa.int64())}), tmp_path / "empty.parquet")
    status, out, err = run(capsys, "parquet", "--data", tmp_path)
    assert (status, out) == (2, "")
    assert "no rows" in err and err.count("\n") == 1


def test_help_names_the_benchmarks(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0 and "parquet" in out and "small" in out
    status, out, _ = run(capsys, "parquet", "--help")
    assert status == 0 and "--data" in out and "192MiB" in out
