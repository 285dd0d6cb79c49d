"""The command line: what it prints, and that a user's mistake is one line and exit status 2."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import forebay
from forebay import demo
from forebay._progress import LiveLine
from forebay.cli import main


@pytest.fixture
def clicks(tmp_path):
    """A directory with two files, nulls and strings included."""
    for number in range(2):
        table = pa.table(
            {
                "id": range(number * 5000, number * 5000 + 5000),
                "maybe": [None if i % 7 == 0 else float(i) for i in range(5000)],
                "word": [None if i % 5 == 0 else f"word {i}" for i in range(5000)],
            }
        )
        pq.write_table(table, tmp_path / f"part-{number}.parquet", row_group_size=2000)
    return tmp_path


def run(capsys, *arguments):
    """(exit status, stdout, stderr) of a command."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as end:
        status = end.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_run_streams_nulls_and_strings_and_ends_with_a_table(capsys, clicks):
    status, out, _ = run(capsys, "run", clicks, "--batch-size", 1024, "--memory-limit", "64MiB")
    assert status == 0
    assert "10,000 in 10 batches" in out
    for part in ("rate", "first batch", "p50", "p99", "of 64.0 MiB", "held", "pool", "bottleneck"):
        assert part in out


def test_run_takes_every_option(capsys, clicks):
    status, out, _ = run(
        capsys, "run", clicks / "part-0.parquet", clicks / "part-1.parquet", "--batch-size=3000", "--columns=word,id",
        "--threads=1", "--prefetch=0", "--order", "--drop-last", "--timeout=30",
    )  # fmt: skip
    assert status == 0
    assert "9,000 in 3 batches" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["{}/nowhere"], "no such file or directory"),
        (["{}/part-0.parqet"], r"did you mean '.*part-0\.parquet'"),
        (["{}", "--memory-limit", "10 apples"], "memory_limit must be a size such as"),
        (["{}", "--memory-limit", "4KiB"], r"give --memory-limit \d+MiB or more"),
        (["{}", "--batch-size", "0"], "batch_size must be at least 1"),
        (["{}", "--batch-size", "many"], "invalid int value: 'many'"),
        (["{}", "--columns", "idd"], "did you mean 'id'"),
        (["{}", "--threads", "-1"], "num_threads must be at least 1"),
        (["{}", "--timeout", "0"], "timeout must be more than 0"),
        (["{}", "--colour"], "--colour"),
        ([], "SOURCE"),
        (["s3://bucket/key"], "URLs are not read"),
    ],
)
def test_a_mistake_is_one_line_with_a_remedy_and_exit_status_2(capsys, clicks, arguments, expected):
    status, out, err = run(capsys, "run", *[argument.format(clicks) for argument in arguments])
    assert status == 2
    assert out == ""
    assert err.startswith("forebay: ") and err.count("\n") == 1
    assert re.search(expected, err)


def test_the_limit_that_the_remedy_names_will_do(capsys, clicks):
    _, _, err = run(capsys, "run", clicks, "--memory-limit", "4KiB")
    least = re.search(r"give --memory-limit (\d+MiB)", err)[1]
    status, _, _ = run(capsys, "run", clicks, "--memory-limit", least)
    assert status == 0


def test_a_type_that_is_not_supported_names_the_way_around_it(capsys, tmp_path):
    permuted = pa.fixed_shape_tensor(pa.int8(), [2, 2], permutation=[1, 0])
    pairs = pa.ExtensionArray.from_storage(permuted, pa.array([[1, 2, 3, 4]], pa.list_(pa.int8(), 4)))
    pq.write_table(pa.table({"id": [1], "pairs": pairs}), tmp_path / "a.parquet")
    status, _, err = run(capsys, "run", tmp_path)
    assert status == 2
    assert "pairs" in err and "--columns" in err and err.count("\n") == 1


def test_a_damaged_file_is_one_line_that_names_it(capsys, clicks):
    path = clicks / "part-1.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    status, _, err = run(capsys, "run", clicks)
    assert status == 2
    assert str(path) in err and "truncated" in err and err.count("\n") == 1


def test_help_and_version_are_said(capsys):
    status, out, _ = run(capsys, "--version")
    assert (status, out) == (0, f"forebay {forebay.__version__}\n")
    status, out, _ = run(capsys, "run", "--help")
    assert status == 0 and "--memory-limit" in out
    status, _, err = run(capsys)
    assert status == 2 and err.count("\n") == 1


def test_the_module_is_a_command(clicks):
    command = [sys.executable, "-m", "forebay", "run", str(clicks), "--batch-size", "5000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "10,000 in 2 batches" in done.stdout
    # stderr is no terminal here: progress is logged, at the end at least.
    assert "2/2  " in done.stderr


def test_interrupting_a_run_is_one_line_and_exit_status_130(tmp_path):
    rows = 1 << 20
    pq.write_table(
        pa.table({f"c{i}": np.random.default_rng(i).random(rows) for i in range(4)}), tmp_path / "a.parquet"
    )
    program = (
        "import sys; from forebay import cli\n"
        "print('ready', flush=True)\n"
        "sys.exit(cli.main(['run'] + [sys.argv[1]] * 400 + ['--batch-size', '16', '--columns', 'c0,c1']))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.parquet")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 30
        while not threads_of(process.pid) > 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "forebay: interrupted"
    assert out == ""


def threads_of(process_id):
    return len(os.listdir(f"/proc/{process_id}/task"))


def test_output_that_nobody_reads_ends_quietly(clicks):
    command = f"{sys.executable} -m forebay run {clicks} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


# ---- the demo ------------------------------------------------------------------------------------------------------


def test_the_demo_makes_its_data_once_and_trains_on_it(capsys, tmp_path):
    directory = tmp_path / "data"
    status, out, _ = run(capsys, "demo", directory, "--files", 2, "--rows-per-file", 70_000)
    assert status == 0
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", out)]
    assert len(losses) >= 5
    assert losses[-1] < 0.8 * losses[0] < 0.7
    assert "140,000 in 35 batches" in out
    files = sorted(directory.iterdir())
    assert [file.name for file in files] == ["part-00000.parquet", "part-00001.parquet"]
    times = [file.stat().st_mtime_ns for file in files]
    status, _, _ = run(capsys, "demo", directory, "--files", 2, "--rows-per-file", 70_000)
    assert status == 0
    assert [file.stat().st_mtime_ns for file in files] == times


def test_the_demo_data_is_a_click_log(tmp_path):
    [path] = demo.make_data(tmp_path, 1, 70_000, LiveLine())
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(i).num_rows for i in range(2)] == [65_536, 70_000 - 65_536]
    assert metadata.row_group(0).column(0).compression == "SNAPPY"
    table = pq.read_table(path)
    assert table.num_columns == 42
    assert table["id"].to_pylist()[-1] == 69_999
    assert table["emb"].type == pa.list_(pa.float32(), 32)
    assert 0.02 < table["label"].to_numpy().mean() < 0.3
    category = table["cat_3"].to_numpy()
    assert category.dtype == np.int64 and 0 <= category.min() and category.max() < 1_000_003
    # Zipf-like: the most frequent value is frequent, and there are many others.
    values, counts = np.unique(category, return_counts=True)
    assert counts.max() > 0.1 * len(category) and len(values) > 3000


def test_the_demo_does_not_take_another_file_for_its_own(capsys, tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "part-00000.parquet")
    status, _, err = run(capsys, "demo", tmp_path, "--files", 1, "--rows-per-file", 100)
    assert status == 2
    assert "part-00000.parquet" in err and "another directory" in err and err.count("\n") == 1
    assert pq.read_metadata(tmp_path / "part-00000.parquet").num_rows == 1


def test_a_demo_that_is_stopped_leaves_no_file_that_is_not_whole(monkeypatch, tmp_path):
    original = demo._RowCounter.add

    def add_then_stop(counter, rows):
        original(counter, rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(demo._RowCounter, "add", add_then_stop)
    with pytest.raises(KeyboardInterrupt):
        demo.make_data(tmp_path, 2, 70_000, LiveLine())
    assert list(tmp_path.iterdir()) == []


def test_a_demo_of_no_rows_is_a_mistake(capsys, tmp_path):
    status, _, err = run(capsys, "demo", tmp_path, "--files", 0)
    assert status == 2
    assert "--files: must be at least 1" in err
